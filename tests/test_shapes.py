"""The built-in images: reproducible, and only the shape reveals the class."""

from common import synthetic

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import cross_val_score


@pytest.fixture(scope="module")
def made():
    return synthetic.make_shapes(1000, seed=7)


def test_only_the_shape_reveals_the_class(made):
    """With a box of fixed size over the shape, linear classifiers stay at chance (10%)."""
    images = made.images.astype(float) / 255
    rows, columns = [
        np.abs(np.arange(32)[None] - made.ground_truth.any(axis).argmax(1)[:, None] - 6)
        for axis in (2, 1)
    ]
    hidden = (rows[:, :, None] < 9) & (columns[:, None, :] < 9)
    assert (hidden | ~made.ground_truth).all()
    images[hidden] = 0.5
    statistics = np.concatenate([images.mean((1, 2)), images.std((1, 2))], 1)
    for features in (statistics, images[:, ::3, ::3].reshape(1000, -1)):
        assert cross_val_score(RidgeClassifier(), features, made.labels, cv=5).mean() < 0.16


AREAS = {  # in units of the radius squared, worked out by hand
    "disk": np.pi * 0.95**2,
    "ring": np.pi * (1 - 0.55**2),
    "square": 1.7**2,
    "frame": 1.7**2 - 0.9**2,
    "triangle": 1.8**2 / 2,  # height 1.8, base 1.8
    "plus": 4 * 2 * 0.27 - 4 * 0.27**2,
    "bars": 2 * 1.7 * (0.83 - 0.27),
    "arch": 1.7**2 - 0.7 * (0.85 + 0.35),
}


@pytest.mark.parametrize("name", AREAS)
def test_area_of_the_shape(name):
    label = synthetic.SHAPE_CLASSES.index(name)
    cover = synthetic.coverage(label, np.array([16.0, 16.0]), 6.0, 0.1)
    assert cover.sum() == pytest.approx(AREAS[name] * 6.0**2, rel=0.02)
