"""Does a map depend on what the network learned? Parameter randomisation (Adebayo et al., arXiv:1810.03292, section 3)."""

import copy

import numpy as np
import torch
from torch import nn

from common import models, trust
from common.runtime import generator, seed_for
from q1_gradcam import gradcam

METHODS = tuple(
    name for name in gradcam.METHODS if name != "counterfactual"
)  # that one shows what speaks against a class


def methods_of(model: models.Model) -> tuple[str, ...]:
    """All METHODS, without guided backpropagation where the network has no ReLU modules."""
    guided = any(isinstance(module, nn.ReLU) for module in model.network.modules())
    return tuple(method for method in METHODS if guided or not method.startswith("guided"))


def raw_maps(network: nn.Module, images: np.ndarray, method: str, layer: str, target: np.ndarray) -> np.ndarray:
    """Signed maps (N, h, w) of one method, for pictures (N, H, W, 3) uint8 and classes (N,)."""
    device = next(network.parameters()).device
    x, y = models.to_input(images, device), torch.from_numpy(np.asarray(target)).long().to(device)
    return gradcam.explain(network, x, layer, y, method).raw.cpu().numpy()


def enlarge(raw: np.ndarray, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """Maps (N, h, w) enlarged bilinearly to (N, H, W); maps of pixels stay as they are."""
    return gradcam.enlarge(torch.from_numpy(np.ascontiguousarray(raw)).float(), size).numpy()


def weighted_layers(network: nn.Module) -> list[str]:
    """The names of the layers that learn filters, from the head down to the pixels; frozen ones left out."""
    found = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.requires_grad
    ]
    return found[::-1]


def randomised(network: nn.Module, names: list[str], images: np.ndarray, seed: int) -> nn.Module:
    """A copy whose named layers have normally distributed weights of the same spread as before, with fresh statistics of batch norm from
    `images` (N, H, W, 3)."""
    other = copy.deepcopy(network)
    for name in names:
        module = other.get_submodule(name)
        noise = torch.randn(module.weight.shape, generator=generator(seed, "randomised", name))
        module.weight.data.copy_(noise * module.weight.std().cpu())
    return models.with_fresh_statistics(other, images)


def randomisation(
    model: models.Model,
    images: np.ndarray,
    target: np.ndarray,
    methods: tuple[str, ...],
    layer: str,
    seed: int,
    progress=iter,
) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Likeness of the maps to the original ones, for each method, way (`cascading` from the head down, `independent`: one layer alone)
    and layer: {"rank": (N,) Spearman of the raw maps, "ssim": (N,) of the shown ones}.

    Under "chance" stands, instead of a way, the likeness of maps of different pictures by the trained network: what is left when nothing
    of the picture's own explanation is.
    """
    names = weighted_layers(model.network)
    variants = [("cascading", name, names[: k + 1]) for k, name in enumerate(names)]
    variants += [("independent", name, [name]) for name in names]
    before = {method: raw_maps(model.network, images, method, layer, target) for method in methods}
    found: dict = {method: {"cascading": {}, "independent": {}} for method in methods}
    for way, name, chosen in progress(variants):
        network = randomised(model.network, chosen, images, seed)
        for method in methods:
            found[method][way][name] = alike(before[method], raw_maps(network, images, method, layer, target))
    for method in methods:
        found[method]["chance"] = {"other picture": alike(before[method], np.roll(before[method], 1, axis=0))}
    return found


def alike(a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """Spearman of raw maps (N, h, w), and SSIM of what is shown of them: the positive part, enlarged, scaled to its peak."""
    shown = [gradcam.scale(torch.from_numpy(enlarge(maps))).numpy() for maps in (a, b)]
    return {"rank": trust.rank_correlation(a, b), "ssim": trust.likeness(*shown)}


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
    noisy = [again(np.clip(images + rng.normal(0, 4, images.shape), 0, 255).round().astype(np.uint8)) for _ in range(5)]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    inner, (height, width) = before[:, 2:-2, 2:-2], images.shape[1:3]
    moved = []
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):  # the padded picture seen through a window moved by one pixel
        there = again(padded[:, dy : dy + height, dx : dx + width])
        moved.append(there[:, 3 - dy : height - 1 - dy, 3 - dx : width - 1 - dx])
    flipped = again(images[:, :, ::-1])[:, :, ::-1]
    shown = np.maximum(before, 0)
    return {
        "noise_change": np.max([trust.relative_change(shown, np.maximum(maps, 0)) for maps in noisy], axis=0),
        "noise": np.min([trust.rank_correlation(before, maps) for maps in noisy], axis=0),
        "shift": np.min([trust.rank_correlation(inner, maps) for maps in moved], axis=0),
        "mirror": trust.rank_correlation(before, flipped),
    }
