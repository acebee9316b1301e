"""Does a map depend on what the network learned? Parameter randomisation (Adebayo et al., arXiv:1810.03292, section 3), for maps of any kind."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from common import metrics, models, statistics
from common.cli import generator
from evaluation import scoring

Maps = Callable[
    [nn.Module], dict[str, np.ndarray]
]  # a network -> by method, signed maps (N, h, w) of the same pictures
Enlarge = Callable[[np.ndarray], np.ndarray]  # maps (N, h, w) -> as they are shown (N, H, W)


def weighted_layers(network: nn.Module) -> list[str]:
    """The names of the layers that learn filters, from the head down to the pixels; frozen ones left out."""
    found = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.requires_grad
    ]
    return found[::-1]


def randomized(network: nn.Module, names: list[str], images: np.ndarray, seed: int) -> nn.Module:
    """A copy whose named layers have normally distributed weights of the same spread as before, with fresh statistics of batch norm from
    `images` (N, H, W, 3)."""
    other = copy.deepcopy(network)
    for name in names:
        module = other.get_submodule(name)
        noise = torch.randn(module.weight.shape, generator=generator(seed, "randomised", name))
        module.weight.data.copy_(noise * module.weight.std().cpu())
    return models.with_fresh_statistics(other, images)


def likeness(
    network: nn.Module,
    maps_of: Maps,
    enlarge: Enlarge,
    images: np.ndarray,
    seed: int,
    progress=iter,
) -> dict:
    """Likeness of the maps to the original ones, for each method, way (`cascading` from the head down, `independent`: one layer alone)
    and layer: {"rank": (N,) Spearman of the raw maps, "ssim": (N,) of the shown ones}.

    Under "chance" stands, instead of a way, the likeness of maps of different pictures by the trained network: what is left when nothing
    of the picture's own explanation is.
    """
    names = weighted_layers(network)
    variants = [("cascading", name, names[: k + 1]) for k, name in enumerate(names)]
    variants += [("independent", name, [name]) for name in names]
    before = maps_of(network)
    found: dict = {method: {"cascading": {}, "independent": {}} for method in before}
    for way, name, chosen in progress(variants):
        after = maps_of(randomized(network, chosen, images, seed))
        for method in before:
            found[method][way][name] = alike(before[method], after[method], enlarge)
    for method, maps in before.items():
        found[method]["chance"] = {"other picture": alike(maps, np.roll(maps, 1, axis=0), enlarge)}
    return found


def alike(a: np.ndarray, b: np.ndarray, enlarge: Enlarge) -> dict[str, np.ndarray]:
    """Spearman of raw maps (N, h, w), and SSIM of what is shown of them: the positive part, enlarged, scaled to its peak."""
    shown = [scoring.positive(enlarge(maps)) for maps in (a, b)]
    return {"rank": metrics.rank_correlation(a, b), "ssim": metrics.ssim(*shown)}


FAILS_ABOVE = 0.5  # of the way from chance to identical
RULE = (
    "A method fails when, with the upper half of the layers randomized, the SSIM of its maps to the original ones lies, interval and all, more than "
    "half of the way from that of different pictures' maps to 1."
)


def summary(found: dict, names: list[str]) -> dict[str, Any]:
    """What `likeness` found, as means with intervals; "passes" or "fails" for each method, by RULE. `names`: of the layers, from the head down."""
    rows = {
        method: {
            way: {
                name: {key: statistics.mean_interval(values) for key, values in row.items()}
                for name, row in part.items()
            }
            for way, part in ways.items()
        }
        for method, ways in found.items()
    }
    verdicts = {method: verdict(row, names) for method, row in rows.items()}
    return {"order": names, "methods": rows, "verdicts": verdicts, "rule": RULE}


def verdict(row: dict, names: list[str]) -> str:
    left = row["cascading"][names[max(0, len(names) // 2 - 1)]]["ssim"]
    chance = row["chance"]["other picture"]["ssim"]["mean"]
    return "fails" if left["low"] > chance + FAILS_ABOVE * (1 - chance) else "passes"
