"""Maps of Grad-CAM and its relatives for pictures in arrays, and whether they stay where the picture hardly changes."""

import numpy as np
import torch
from torch import nn

from common import metrics, models
from common.cli import seed_for
from q1_gradcam import gradcam

METHODS = tuple(
    name for name in gradcam.METHODS if name != "counterfactual"
)  # that one shows what speaks against a class


def methods_of(model: models.Model) -> tuple[str, ...]:
    """All METHODS, without guided backpropagation where the network has no ReLU modules."""
    guided = any(isinstance(module, nn.ReLU) for module in model.network.modules())
    return tuple(method for method in METHODS if guided or not method.startswith("guided"))


def raw_maps(
    network: nn.Module, images: np.ndarray, method: str, layer: str, target: np.ndarray
) -> np.ndarray:
    """Signed maps (N, h, w) of one method, for pictures (N, H, W, 3) uint8 and classes (N,)."""
    device = next(network.parameters()).device
    x, y = models.to_input(images, device), torch.from_numpy(np.asarray(target)).long().to(device)
    return gradcam.explain(network, x, layer, y, method).raw.cpu().numpy()


def enlarge(raw: np.ndarray, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """Maps (N, h, w) enlarged bilinearly to (N, H, W); maps of pixels stay as they are."""
    return gradcam.enlarge(torch.from_numpy(np.ascontiguousarray(raw)).float(), size).numpy()


def steadiness(
    network: nn.Module, images: np.ndarray, target: np.ndarray, method: str, layer: str, seed: int
) -> dict[str, np.ndarray]:
    """How far maps change where the picture hardly does.

    noise_change: (N,) the largest relative change of the shown map over five draws of Gaussian noise of 4 grey levels (max-sensitivity);
    noise, shift, mirror: (N,) the least rank correlation with the original over these draws; over moves by one pixel up, down, left, right
    (the edge repeated; the map moved back, its border left out); with the map of the mirrored picture, mirrored back.
    """
    before = enlarge(raw_maps(network, images, method, layer, target))

    def again(changed: np.ndarray) -> np.ndarray:
        return enlarge(raw_maps(network, changed, method, layer, target))

    rng = np.random.default_rng(seed_for(seed, "noise"))
    noisy = [
        again(np.clip(images + rng.normal(0, 4, images.shape), 0, 255).round().astype(np.uint8))
        for _ in range(5)
    ]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    inner, (height, width) = before[:, 2:-2, 2:-2], images.shape[1:3]
    moved = []
    for dy, dx in (
        (0, 1),
        (2, 1),
        (1, 0),
        (1, 2),
    ):  # the padded picture seen through a window moved by one pixel
        there = again(padded[:, dy : dy + height, dx : dx + width])
        moved.append(there[:, 3 - dy : height - 1 - dy, 3 - dx : width - 1 - dx])
    flipped = again(images[:, :, ::-1])[:, :, ::-1]
    shown = np.maximum(before, 0)
    return {
        "noise_change": np.max(
            [metrics.relative_change(shown, np.maximum(maps, 0)) for maps in noisy], axis=0
        ),
        "noise": np.min([metrics.rank_correlation(before, maps) for maps in noisy], axis=0),
        "shift": np.min([metrics.rank_correlation(inner, maps) for maps in moved], axis=0),
        "mirror": metrics.rank_correlation(before, flipped),
    }
