"""Parameter randomization: do maps depend on what the network has learned?

Adebayo et al., Sanity Checks for Saliency Maps (arXiv:1810.03292, section 3).
"""

import copy
from dataclasses import replace
from typing import Any

from common import metrics, models
from common.cli import generator, progress, seed_for
from common.statistics import crossed_interval

import numpy as np
import torch
from torch import nn

from evaluation.explainers import Batch, Explainer, enlarge, positive

REPEATS = 5  # draws of the noise
FAILS_ABOVE = 0.5  # of the way from the SSIM of different images' maps to 1
RULE = (
    "A method fails if, with the upper half of the layers randomized, the lower bound of the SSIM "
    "between its maps and the original ones lies more than half of the way from the SSIM of maps "
    "of different images to 1."
)


def weighted_layers(network: nn.Module) -> list[str]:
    """Names of the trainable convolutions and linear layers, from the head to the input."""
    names = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.requires_grad
    ]
    return names[::-1]


def verdict_layer(order: list[str]) -> str:
    """The layer down to which weights are randomized when RULE is applied."""
    return order[max(0, len(order) // 2 - 1)]


def randomized(
    model: models.Model, names: list[str], images: np.ndarray, seed: int
) -> models.Model:
    """A copy of the model with normally distributed weights in the named layers, of the same
    standard deviation as before, and batch norm statistics from `images` (N, H, W, 3)."""
    other = copy.deepcopy(model.network)
    for name in names:
        module = other.get_submodule(name)
        noise = torch.randn(module.weight.shape, generator=generator(seed, "randomised", name))
        module.weight.data.copy_(noise * module.weight.std().cpu())
    return replace(model, network=models.with_fresh_statistics(other, images))


def evaluate(
    model: models.Model, explainer: Explainer, batch: Batch, layer: str, seed: int
) -> dict[str, Any]:
    """Similarity of maps to the original ones as weights are randomized.

    Returns:
        cascading: layer -> similarity with all layers from the head down to this one randomized,
            over REPEATS draws of the noise (LIME: one).
        independent: layer -> similarity with this layer alone randomized, one draw.
        other_image: similarity of the original maps of different images, as the chance level.
        Each similarity is {rank_correlation, ssim}: means with intervals over draws and images.
    """
    repeats = 1 if explainer.kind == "LIME" else REPEATS
    order = weighted_layers(model.network)
    variants = [("cascading", name, order[: k + 1]) for k, name in enumerate(order)]
    variants += [("independent", name, [name]) for name in order]
    before = explainer.maps(model, batch, layer, seed)
    row: dict[str, Any] = explainer.labels | {"cascading": {}, "independent": {}}
    for way, name, chosen in progress(variants, f"randomization, {explainer.name}"):
        found = []
        for k in range(repeats if way == "cascading" else 1):
            other = randomized(model, chosen, batch.images, seed_for(seed, k) if k else seed)
            found.append(similarity(before, explainer.maps(other, batch, layer, seed)))
        row[way][name] = intervals(found)
    row["other_image"] = intervals([similarity(before, np.roll(before, 1, axis=0))])
    return row | {"verdict": "passes" if passes(row, verdict_layer(order)) else "fails"}


def similarity(a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """Spearman correlation (N,) of signed maps (N, h, w), and SSIM (N,) of their enlarged and
    scaled positive parts."""
    shown = [positive(enlarge(maps)) for maps in (a, b)]
    return {"rank_correlation": metrics.rank_correlation(a, b), "ssim": metrics.ssim(*shown)}


def intervals(found: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Means over draws and images, with intervals."""
    return {key: crossed_interval([row[key] for row in found]) for key in found[0]}


def passes(row: dict[str, Any], layer: str) -> bool:
    """Whether maps have changed enough with all layers down to `layer` randomized (RULE)."""
    chance = row["other_image"]["ssim"]["mean"]
    return row["cascading"][layer]["ssim"]["low"] <= chance + FAILS_ABOVE * (1 - chance)
