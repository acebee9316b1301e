"""Explanation methods and baselines behind one interface.

A new method is one function (model, batch, layer, seed) -> maps and one entry in EXPLAINERS. The
experiments of evaluation/run.py then score it, and tables and figures show it under its name.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from common import distributed, imagenet, metrics, models
from common.cli import seed_for

import numpy as np
import torch

from q1_gradcam import gradcam
from q2_lime import core, images


@dataclass(frozen=True)
class Batch:
    """Images and the class to explain in each."""

    images: np.ndarray  # (N, H, W, 3) uint8
    targets: np.ndarray  # (N,) classes
    keys: list[int | str]  # N names that seed the random draws of each image

    def __len__(self) -> int:
        return len(self.images)

    def first(self, n: int | None) -> "Batch":  # None: all
        return Batch(self.images[:n], self.targets[:n], self.keys[:n])


@dataclass(frozen=True)
class Explainer:
    """One method or baseline."""

    name: str  # in tables and figures
    kind: str  # "layer" (maps at the size of a layer), "pixels", "LIME" or "baseline"
    # (model, batch, layer, seed) -> signed maps (N, h, w)
    maps: Callable[[models.Model, Batch, str, int], np.ndarray]
    max_images: dict[str, int] = field(default_factory=dict)  # by experiment, for slow methods

    @property
    def labels(self) -> dict[str, str]:
        """The first entries of a table row."""
        return {"name": self.name, "kind": self.kind}

    def select(self, batch: Batch, experiment: str) -> Batch:
        """The first images of an experiment, as many as this explainer is evaluated on."""
        return batch.first(self.max_images.get(experiment))


def from_gradcam(method: str, kind: str) -> Explainer:
    """One of gradcam.METHODS."""

    def maps(model: models.Model, batch: Batch, layer: str, seed: int) -> np.ndarray:
        device = next(model.network.parameters()).device
        targets = torch.from_numpy(np.asarray(batch.targets)).long()

        def explain(start: int) -> np.ndarray:
            part = slice(start, start + gradcam.BATCH)
            x, y = models.to_input(batch.images[part], device), targets[part]
            return gradcam.explain(model.network, x, layer, y, method).raw.cpu().numpy()

        return np.concatenate(distributed.share(explain, range(0, len(batch), gradcam.BATCH)))

    return Explainer(gradcam.NAMES.get(method, method), kind, maps)


def lime_explanations(
    model: models.Model,
    batch: Batch,
    seed: int,
    chosen: images.ImageSettings = images.SMALL_IMAGE_SETTINGS,
) -> tuple[np.ndarray, list[core.Explanation]]:
    """LIME, by default on a grid of 8 x 8 segments: maps (N, H, W) of the segments' weights, and
    the explanations."""
    settings = replace(images.SMALL_SETTINGS, seed=seed)
    image_model = imagenet.from_model(model, "evaluation", "")

    def explain(item: tuple) -> tuple[np.ndarray, core.Explanation]:
        image, target, key = item
        segments, d, values = images.prepare(image_model, image, chosen, [int(target)])
        explanation = core.explain(values, d, settings, "trust", key)
        return explanation.weights[:, 0][segments], explanation

    items = zip(batch.images, batch.targets, batch.keys, strict=True)
    maps, explanations = zip(*distributed.share(explain, items, "LIME"), strict=True)
    return np.stack(maps), list(explanations)


def lime(model: models.Model, batch: Batch, layer: str, seed: int) -> np.ndarray:
    return lime_explanations(model, batch, seed)[0]


def refine_cam(model: models.Model, batch: Batch, layer: str, seed: int) -> np.ndarray:
    """RefineCAM (Domeniconi et al., arXiv:2605.14641): the product of the Grad-CAM++ maps of every
    stage up to the layer, each enlarged, cut at zero and divided by its maximum."""
    stages = models.STAGES[model.arch]
    chosen = stages[: stages.index(layer) + 1]
    maps = [EXPLAINERS["gradcam++"].maps(model, batch, stage, seed) for stage in chosen]
    return np.prod([positive(enlarge(m, batch.images.shape[1:3])) for m in maps], axis=0)


def random_coarse(model: models.Model, batch: Batch, layer: str, seed: int) -> np.ndarray:
    """Uniform noise at the size of the layer's maps."""
    grid = EXPLAINERS["gradcam"].maps(model, batch.first(1), layer, seed).shape[1:]
    return _rng(seed, "random map").random((len(batch), *grid))


def random_fine(model: models.Model, batch: Batch, layer: str, seed: int) -> np.ndarray:
    """Uniform noise, one value per pixel."""
    return _rng(seed, "fine random map").random(batch.images.shape[:3])


def random_squares(model: models.Model, batch: Batch, layer: str, seed: int) -> np.ndarray:
    """Uniform noise, one value per segment of LIME's 8 x 8 grid."""
    side = batch.images.shape[1] // 8
    noise = _rng(seed, "random squares").random((len(batch), 8, 8))
    return np.kron(noise, np.ones((1, side, side)))


def _rng(seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng(seed_for(seed, purpose))


LIME_IMAGES = {"faithfulness": 50, "idsds": 50, "shapes": 100, "shortcut": 50}
LIME_IMAGES |= {"randomization": 12, "stability": 12}  # explained more than ten times each
# Every CAM method but the one that shows what speaks against a class.
EXPLAINERS = {
    key: from_gradcam(key, "layer") for key in gradcam.LAYER_METHODS if key != "counterfactual"
} | {
    "refinecam": Explainer("RefineCAM", "pixels", refine_cam),
    **{key: from_gradcam(key, "pixels") for key in gradcam.PIXEL_METHODS},
    "lime": Explainer("LIME", "LIME", lime, LIME_IMAGES),
    "random": Explainer("Noise (coarse)", "baseline", random_coarse),
    "random_fine": Explainer("Noise (pixels)", "baseline", random_fine),
    "random_squares": Explainer("Noise (squares)", "baseline", random_squares, LIME_IMAGES),
    "center": Explainer("Center", "baseline", lambda _, b, *rest: metrics.center_map(b.images)),
    "edges": Explainer("Edges", "baseline", lambda _, b, *rest: metrics.edge_map(b.images)),
}
# The noise that each kind of method is compared with: as fine as its maps, because finer noise is
# an easier baseline.
NOISE = {"layer": "random", "pixels": "random_fine", "LIME": "random_squares"}


def methods(*kinds: str) -> dict[str, Explainer]:
    """The explainers of the given kinds, or all but the baselines."""
    kinds = kinds or tuple(NOISE)
    return {key: explainer for key, explainer in EXPLAINERS.items() if explainer.kind in kinds}


def enlarge(maps: np.ndarray, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """Maps (N, h, w) enlarged bilinearly to (N, H, W); maps of that size are returned unchanged."""
    if maps.shape[1:] == tuple(size):
        return maps
    return gradcam.enlarge(torch.from_numpy(np.ascontiguousarray(maps)).float(), size).numpy()


def positive(maps: np.ndarray) -> np.ndarray:
    """The positive part of maps (N, H, W), each divided by its maximum: 0 to 1."""
    level = np.maximum(maps, 0)
    peak = level.max((1, 2), keepdims=True)
    return level / np.where(peak > 0, peak, 1)
