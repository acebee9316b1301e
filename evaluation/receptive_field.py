"""Which pixels a cell of a layer can see, and which ones it responds to.

The theoretical receptive field of a cell contains every pixel that can influence it. The effective
one is much smaller: the gradient is concentrated around its center (Luo et al., "Understanding the
effective receptive field in deep convolutional neural networks", arXiv:1701.04128).
"""

import copy
from typing import Any

from common import models
from common.cli import generator

import numpy as np
import torch
from torch import Tensor, nn

RADII = range(2, 33, 2)  # pixels
LARGE = 128  # pixels: the side of an image that contains the theoretical field of its middle cell


def measure(network: nn.Module, layer: str, images: np.ndarray, seed: int) -> dict[str, Any]:
    """The theoretical and the effective receptive field of a layer's cells.

    Args:
        images: (N, H, W, 3) uint8, on which the gradient is computed.

    Returns:
        cells: number of cells, and n: number of images.
        width: of the theoretical field in pixels, on an image large enough to contain it.
        share_of_image: mean over cells, lowest cell.
        energy_within: for each radius r of RADII, the share of the squared gradient in the square
            of side 2r around the cell's center; mean over cells and images.
        half_energy_radius: the radius that contains half of it, interpolated linearly.
    """
    x = models.to_input(images, next(network.parameters()).device)
    linear = all_paths_open(network)
    seen = torch.cat(gradients(linear, layer, torch.ones_like(x[:1]))) > 0  # (cells, H, W)
    share = seen.float().mean((1, 2))
    large = torch.ones_like(x[:1, :, :1, :1]).expand(-1, -1, LARGE, LARGE)
    (middle,) = gradients(linear, layer, large, only_middle=True)
    size, grid = seen.shape[1:], round(len(seen) ** 0.5)
    centers = (np.indices((grid, grid)).reshape(2, -1).T + 0.5) * size[0] / grid - 0.5
    pixels, within = np.indices(tuple(size)), []
    signs = generator(seed, "receptive field")
    for center, squares in zip(centers, gradients(network, layer, x, signs), strict=True):
        distance = torch.from_numpy(abs(pixels - center[:, None, None]).max(0))
        total = squares.sum((1, 2)).clamp_min(1e-30)
        shares = [(squares * (distance <= r)).sum((1, 2)) / total for r in RADII]
        within.append(torch.stack(shares))
    energy = torch.stack(within).mean((0, 2)).numpy()
    return {
        "n": len(images),
        "cells": len(seen),
        "width": int((middle[0] > 0).any(0).sum()),
        "share_of_image": {"mean": share.mean().item(), "lowest": share.min().item()},
        "energy_within": energy,
        "half_energy_radius": np.interp(0.5, [0, *energy], [0, *RADII]),
    }


def gradients(
    network: nn.Module,
    layer: str,
    x: Tensor,
    signs: torch.Generator | None = None,
    only_middle: bool = False,
) -> list[Tensor]:
    """For each cell of a layer, or one in the middle, the squared gradient (N, H, W) with respect
    to the input.

    The gradient is that of the sum of the cell's channels, each times a random sign if `signs` is
    given. The expectation over signs is the sum of the squared gradients of all channels.
    """
    kept: list[Tensor] = []
    hook = network.get_submodule(layer).register_forward_hook(lambda *args: kept.append(args[2]))
    x = x.clone().requires_grad_()
    network(x)
    hook.remove()
    features = kept[0]
    weights = torch.ones(features.shape[:2])
    if signs is not None:
        weights = torch.randint(0, 2, weights.shape, generator=signs) * 2.0 - 1
    cells = (features * weights.to(features)[:, :, None, None]).sum((0, 1))
    height, width = cells.shape
    cells = cells[height // 2, width // 2, None] if only_middle else cells.flatten()
    return [
        torch.autograd.grad(cell, x, retain_graph=True)[0].pow(2).sum(1).cpu() for cell in cells
    ]


def all_paths_open(network: nn.Module) -> nn.Module:
    """A copy of a network in which every pixel of a cell's theoretical field has a positive
    gradient: filters of ones, mean instead of maximum pooling, no ReLU and no normalization."""
    network = copy.deepcopy(network).eval()
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        elif isinstance(module, nn.MaxPool2d):
            options = (module.kernel_size, module.stride, module.padding)
            network.set_submodule(name, nn.AvgPool2d(*options))
        elif isinstance(module, nn.ReLU | nn.BatchNorm2d):
            network.set_submodule(name, nn.Identity())
    return network
