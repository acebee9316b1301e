"""The built-in pictures: reproducible, and with nothing outside the evidence that gives the class away."""

import numpy as np
import pytest

from common import synthetic


@pytest.fixture(scope="module")
def made():
    return synthetic.make_shapes(1000, seed=7)


def test_form(made):
    assert made.images.shape == (1000, 32, 32, 3) and made.images.dtype == np.uint8
    assert made.evidence.shape == (1000, 32, 32) and made.evidence.dtype == bool
    assert (np.bincount(made.labels, minlength=10) == 100).all()


def test_each_picture_depends_on_seed_and_number_alone(made):
    image, evidence = synthetic.draw_shape(3, np.random.default_rng((7, 213)))
    assert np.array_equal(image, made.images[213]) and np.array_equal(evidence, made.evidence[213])
    assert not np.array_equal(synthetic.make_shapes(1, seed=8).images[0], made.images[0])


def test_every_picture_has_a_whole_shape(made):
    area = made.evidence.sum((1, 2))
    assert area.min() >= 20 and area.max() <= 140
    border = made.evidence.copy()
    border[:, 1:-1, 1:-1] = False
    assert not border.any(), "a shape is cut off"


def test_the_mask_is_where_the_shape_stands_out(made):
    """Pixels of the shape differ from those beside it by far more than neighbours elsewhere do."""
    from scipy.ndimage import binary_dilation

    contrasts = []
    for image, mask in zip(made.images[:200].astype(float), made.evidence, strict=False):
        ring = binary_dilation(mask, iterations=3) & ~binary_dilation(mask, iterations=1)
        contrasts.append(abs(image[mask].mean() - image[ring].mean()))
    assert np.median(contrasts) > 40


def test_nothing_but_the_shape_tells_the_class(made):
    """With the shape and its surroundings cut out to one size, linear classifiers on the rest's statistics and on its pixels are no
    better than chance; on the pixels of the whole picture, one is."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import cross_val_score

    images = made.images.astype(float) / 255
    rows, columns = [
        np.abs(np.arange(32)[None] - made.evidence.any(axis).argmax(1)[:, None] - 6)
        for axis in (2, 1)
    ]
    hidden = (rows[:, :, None] < 9) & (columns[:, None, :] < 9)
    assert (hidden | ~made.evidence).all()
    images[hidden] = 0.5
    statistics = np.concatenate(
        [images.mean((1, 2)), images.std((1, 2)), np.diff(images, axis=1).std((1, 2))], 1
    )
    for features in (statistics, images.reshape(1000, -1), images[:, ::31, ::31].reshape(1000, -1)):
        assert cross_val_score(RidgeClassifier(), features, made.labels, cv=5).mean() < 0.16


AREAS = {  # in units of the half-width squared, worked out by hand from each shape's description
    "disk": np.pi * 0.95**2,
    "ring": np.pi * (1 - 0.55**2),
    "square": 1.7**2,
    "frame": 1.7**2 - 0.9**2,
    "triangle": 1.8**2
    / 2,  # from the tip at -1 to the base at 0.8, half as wide as high on each side
    "plus": 4 * 2 * 0.27 - 4 * 0.27**2,
    "cross": None,
    "bars": 2 * 1.7 * (0.83 - 0.27),
    "arch": 1.7**2 - 0.7 * (0.85 + 0.35),
    "hourglass": None,
}


@pytest.mark.parametrize("name", [name for name, area in AREAS.items() if area])
def test_area_of_the_shape(name):
    cover = synthetic.coverage(
        synthetic.SHAPE_CLASSES.index(name), np.array([16.0, 16.0]), 6.0, 0.1
    )
    assert cover.sum() == pytest.approx(AREAS[name] * 6.0**2, rel=0.02)
