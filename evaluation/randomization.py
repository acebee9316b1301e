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


def weighted_layers(network: nn.Module) -> list[str]:
    """Names of the trainable convolutions and linear layers, from the head to the input."""
    names = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.requires_grad
    ]
    return names[::-1]


def verdict_layer(order: list[str]) -> str:
    """The layer down to which weights are randomized for the verdict: the upper half of all."""
    return order[max(0, len(order) // 2 - 1)]


def randomized(
    model: models.Model, names: list[str], images: np.ndarray, seed: int
) -> models.Model:
    """A copy of the model with normally distributed weights in the named layers, of the same
    standard deviation as before, and batch norm statistics from `images` (N, H, W, 3). Biases and
    batch norm parameters are kept."""
    other = copy.deepcopy(model.network)
    for name in names:
        module = other.get_submodule(name)
        noise = torch.randn(module.weight.shape, generator=generator(seed, "randomised", name))
        module.weight.data.copy_(noise * module.weight.std().cpu())
    return replace(model, network=models.with_fresh_statistics(other, images))


def evaluate(
    model: models.Model, explainers: dict[str, Explainer], batch: Batch, layer: str, seed: int
) -> dict[str, dict[str, Any]]:
    """SSIM of the enlarged and scaled positive parts of maps with the original ones.

    Returns for each explainer:
        cascading: layer -> SSIM with all layers from the head down to this one randomized, over
            REPEATS draws of the noise (LIME: one).
        other_image: SSIM of the original maps of different images, as the chance level.
        Each is {"ssim": mean with its interval over draws and images}.
    """
    order, rows, few, before = weighted_layers(model.network), {}, {}, {}

    def maps(network: models.Model, key: str) -> np.ndarray:
        return positive(enlarge(explainers[key].maps(network, few[key], layer, seed)))

    for key, explainer in explainers.items():
        few[key] = explainer.select(batch, "randomization")
        before[key] = maps(model, key)
        chance = crossed_interval([metrics.ssim(before[key], np.roll(before[key], 1, axis=0))])
        rows[key] = explainer.labels | {"cascading": {}, "other_image": {"ssim": chance}}
    for depth, name in enumerate(progress(order, "randomization"), 1):
        found: dict[str, list[np.ndarray]] = {key: [] for key in explainers}
        for k in range(REPEATS):
            draw = seed_for(seed, k) if k else seed
            other = randomized(model, order[:depth], batch.images, draw)
            for key, explainer in explainers.items():
                if k == 0 or explainer.kind != "LIME":
                    found[key].append(metrics.ssim(before[key], maps(other, key)))
        for key, values in found.items():
            rows[key]["cascading"][name] = {"ssim": crossed_interval(values)}
    for row in rows.values():
        row["verdict"] = "passes" if passes(row, verdict_layer(order)) else "fails"
    return rows


def passes(row: dict[str, Any], layer: str) -> bool:
    """Whether maps have changed enough with all layers down to `layer` randomized.

    A method fails if the SSIM between its maps and the original ones lies more than half of the
    way from the SSIM of maps of different images to 1.
    """
    chance = row["other_image"]["ssim"]["mean"]
    return row["cascading"][layer]["ssim"]["mean"] <= chance + FAILS_ABOVE * (1 - chance)
