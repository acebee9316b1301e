"""IDSDS against hand-made examples; RefineCAM against pytorch-grad-cam."""

from dataclasses import replace

from common import data, models

import numpy as np
import pytest
import torch
from pytorch_grad_cam import RefineCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy.stats import spearmanr

from evaluation import experiments, explainers, idsds
from evaluation.explainers import EXPLAINERS, Batch
from q1_gradcam import gradcam


@pytest.fixture(scope="module")
def setup(shapes_model, tmp_path_factory):
    out, model = tmp_path_factory.mktemp("idsds"), models.load(shapes_model)
    return experiments.Setup(model, data.load_shapes(), 0, out, torch.device("cpu"))


def test_drops_and_their_correlation(setup):
    """A network whose logit 0 is the sum of the red channel: a patch's drop is its red sum."""

    class Red(torch.nn.Module):
        normalise = setup.model.network.normalise

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            return self.scale * torch.stack([x[:, 0].sum((1, 2)), x[:, 1].sum((1, 2))], 1)

    images = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8)
    batch = Batch(images, np.zeros(3, int), [0, 1, 2])
    red = replace(setup, model=replace(setup.model, network=Red()))
    with torch.inference_mode():
        drops = idsds.logit_drops(red, batch)
    fill = idsds.mean_color(red.model)[0]
    expected = images[..., 0].astype(float) - fill
    assert drops[1, 6] == pytest.approx(expected[1, 8:16, 16:24].sum() / 255, abs=0.01)
    assert idsds.patch_correlation(expected, drops) == pytest.approx(1)
    assert idsds.patch_correlation(-expected, drops) == pytest.approx(-1)
    assert np.isnan(idsds.patch_correlation(np.ones((3, 32, 32)), drops)).all()


def test_every_explainer_is_scored(setup, monkeypatch):
    monkeypatch.setitem(explainers.LIME_IMAGES, "idsds", 2)
    found = idsds.idsds(setup, 20)
    rows = found["methods"]
    assert set(rows) == set(EXPLAINERS)
    assert rows["gradcam"]["idsds"]["mean"] > rows["random"]["idsds"]["mean"] + 0.3
    assert found["accuracy"]["fine_tuned"]["one_patch_deleted"] > 0.9


def test_refinecam_agrees_with_pytorch_grad_cam(setup):
    """The library also subtracts the minimum of each map, so maps agree nearly, and in rank."""
    model, images = setup.model, setup.dataset.x_test[:6]
    targets = setup.dataset.y_test[:6].astype(int)
    ours = EXPLAINERS["refinecam"].maps(
        model, Batch(images, targets, list(range(6))), model.layer, 0
    )
    network = model.network
    layers = [gradcam.find_layer(network, name) for name in models.STAGES["compact"]]
    method = RefineCAM(network, layers)
    theirs = method(models.to_input(images), [ClassifierOutputTarget(int(k)) for k in targets])
    for a, b in zip(ours, theirs, strict=True):
        assert spearmanr(a.ravel(), b.ravel()).statistic > 0.9


def test_patches_of_training_images():
    shown = idsds.random_patches(400, torch.Generator().manual_seed(0))
    assert shown.shape == (400, 1, 32, 32)
    counts = (~shown).sum((1, 2, 3)) / 64
    assert set(counts.tolist()) == set(range(idsds.MOST_DELETED + 1))
    blocks = shown.view(400, 4, 8, 4, 8).float().mean((2, 4))
    assert ((blocks == 0) | (blocks == 1)).all()
