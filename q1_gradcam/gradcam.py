"""Grad-CAM and its relatives, from the papers.

For a picture, a layer with activations A (N, C, h, w) and the logit y of a class, with G = dy/dA:

    Grad-CAM       alpha_c = mean of G_c over (h, w)      (1)     arXiv:1610.02391, eq. 1
                   map     = sum_c alpha_c A_c            (2)     eq. 2 before its ReLU
    Grad-CAM++     alpha_c = sum of a_c ReLU(G_c)         (3)     arXiv:1710.11063, section 3, with a_c from eq. 19
    HiResCAM       map     = sum_c G_c A_c                (4)     arXiv:2011.08891, section 3
    LayerCAM       map     = sum_c ReLU(G_c) A_c          (5)     Jiang et al., IEEE TIP 2021
    Counterfactual map     = sum_c -alpha_c A_c           (6)     arXiv:1610.02391, section 3.3: what speaks against the class

and, on the pixels x instead of a layer:

    Input gradient       map = max over colours of |dy/dx|                      arXiv:1312.6034, section 3
    Guided backprop      the same with ReLUs that pass only positive gradients  arXiv:1412.6806
    Guided Grad-CAM      guided backprop x enlarged ReLU(Grad-CAM)              arXiv:1610.02391, section 3.2

Maps of a layer are signed and at the layer's own size; ReLU, enlargement and scaling are presentation, and functions of their
own. Maps of pixels are at the picture's size and not negative.

Where average pooling and a linear head follow the layer, as behind the last stage of the compact network, G is the same at
every place: there HiResCAM equals Grad-CAM and the counterfactual map is its negative. Elsewhere they differ.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.cli import UserError


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equations 1 and 2. Arguments (N, C, h, w); returns the signed map (N, h, w)."""
    alpha = gradients.mean((2, 3), keepdim=True)
    return (alpha * activations).sum(1)


def grad_cam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equation 3, with the score taken as exp(y), which makes the second and third derivatives powers of the first (section
    3.2 there). The factor exp(y), the same for the whole map, is left out, as it says nothing about places."""
    square, cube = gradients**2, gradients**3
    below = 2 * square + activations.sum((2, 3), keepdim=True) * cube
    a = torch.where(
        below != 0,
        square / torch.where(below != 0, below, torch.ones_like(below)),
        torch.zeros_like(below),
    )
    alpha = (a * gradients.relu()).sum((2, 3), keepdim=True)
    return (alpha * activations).sum(1)


def hires_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equation 4: each place keeps its own gradient instead of the channel's mean."""
    return (gradients * activations).sum(1)


def layer_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equation 5: like HiResCAM, with positive gradients only."""
    return (gradients.relu() * activations).sum(1)


def counterfactual(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equation 6: Grad-CAM of the negated gradient; its positive part marks what, if removed, would raise the class."""
    return grad_cam(activations, -gradients)


LAYER_METHODS = {
    "gradcam": grad_cam,
    "gradcam++": grad_cam_plus_plus,
    "hirescam": hires_cam,
    "layercam": layer_cam,
    "counterfactual": counterfactual,
}
PIXEL_METHODS = ("input_gradient", "guided_backprop", "guided_gradcam")
LAYERLESS_METHODS = ("input_gradient", "guided_backprop")
METHODS = (*LAYER_METHODS, *PIXEL_METHODS)


@dataclass(frozen=True)
class Maps:
    """What `explain` returns, on the device of the pictures.

    Attributes:
        raw: (N, h, w) signed; h x w is the layer's size, for pixel methods the picture's.
        logits: (N, K).
        target: (N,) the class that each map explains.
        method, layer: as asked; layer is None for methods that look at no layer.
    """

    raw: Tensor
    logits: Tensor
    target: Tensor
    method: str
    layer: str | None

    @property
    def dead(self) -> Tensor:
        """(N,) bool: nothing is left of the map after the ReLU, so there is nothing to show."""
        return ~(self.raw > 0).flatten(1).any(1)


def explain(
    network: nn.Module,
    pictures: Tensor,
    layer: str | None = None,
    target: Tensor | int | None = None,
    method: str = "gradcam",
    batch: int = 128,
) -> Maps:
    """Explains the logit of one class for each picture.

    The network is used in eval mode and comes back as it was (mode, hooks, `requires_grad`, `.grad`), even after an error.
    Works inside `torch.no_grad()` and with frozen weights.

    Args:
        pictures: (N, 3, H, W), whatever the network takes.
        layer: dotted name, as in `network.named_modules()`; needed by all methods but input_gradient and guided_backprop.
        target: class per picture (N,), one class for all, or None for the predicted class.
        method: one of METHODS.
        batch: how many pictures at a time; the maps don't depend on it.

    Raises:
        UserError: unknown method, layer or class; a layer that gives no (N, C, h, w) map or runs more than once; guided
            backpropagation of a network without ReLU modules.
    """
    if method not in METHODS:
        raise UserError(f"unknown method {method!r}: choose from {', '.join(METHODS)}")
    if method in LAYERLESS_METHODS:
        layer = None
    else:
        find_layer(network, layer)
    target = _as_targets(target, pictures)
    parts = []
    with borrowed(network):
        for start in range(0, len(pictures), batch):
            x, y = (
                pictures[start : start + batch],
                None if target is None else target[start : start + batch],
            )
            if method in LAYER_METHODS:
                activations, gradients, logits, y = at_layer(network, x, layer, y)
                raw = LAYER_METHODS[method](activations, gradients)
            else:
                gradients, logits, y = at_pixels(network, x, y, guided=method != "input_gradient")
                raw = gradients.abs().amax(1)
                if method == "guided_gradcam":
                    coarse = grad_cam(*at_layer(network, x, layer, y)[:2])
                    raw = raw * enlarge(coarse.relu(), x.shape[2:])
            parts.append((raw, logits, y))
    raw, logits, target = (torch.cat(part) for part in zip(*parts, strict=True))
    return Maps(raw, logits, target, method, layer)


def at_layer(
    network: nn.Module, x: Tensor, layer: str, target: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Activations A of a layer and gradients G of the target's logit there, both (N, C, h, w); logits (N, K); targets (N,).

    The layer's output is cut out of the graph and put back as a new leaf. Weights are frozen (see `borrowed`), so everything
    below the layer runs without autograd and the backward pass ends at the layer.
    """
    found: list[Tensor] = []

    def cut(module, inputs, output):
        if not isinstance(output, Tensor) or output.dim() != 4:
            raise UserError(
                f"layer {layer!r} gives no feature map (N, C, h, w), so there is nothing to weigh there"
            )
        if found:
            raise UserError(
                f"layer {layer!r} runs more than once in a forward pass, so its map is ambiguous"
            )
        found.append(output.detach().requires_grad_())
        return found[
            0
        ].clone()  # a copy, so that an in-place ReLU after the layer leaves the activations alone

    hook = find_layer(network, layer).register_forward_hook(cut)
    try:
        logits, target = _forward(network, x, target)
        if not found:
            raise UserError(f"layer {layer!r} does not run in a forward pass")
        (gradients,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), found[0])
    finally:
        hook.remove()
    return found[0].detach(), gradients, logits.detach(), target


def at_pixels(
    network: nn.Module, x: Tensor, target: Tensor | None, guided: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the target's logit at the pixels (N, 3, H, W), logits (N, K), targets (N,). With `guided`, every ReLU passes
    back only what is positive."""
    x = x.detach().clone().requires_grad_()
    with _guided(network) if guided else contextlib.nullcontext():
        logits, target = _forward(network, x, target)
        (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), x)
    return gradient, logits.detach(), target


def find_layer(network: nn.Module, name: str | None) -> nn.Module:
    """The module called `name`; an unknown name is answered with the stages there are, and how what is inside them is called."""
    modules = {key: module for key, module in network.named_modules() if key}
    if name not in modules:
        stages = [
            key
            for key, module in modules.items()
            if key.count(".") <= 1
            and key != "body"
            and (isinstance(module, nn.Conv2d) or list(module.children()))
        ]
        inside = [key for key in modules if key.rpartition(".")[0] in stages]
        more = (
            f", or a module inside one of them by its whole name, such as {inside[0]}"
            if inside
            else ""
        )
        raise UserError(f"unknown layer {name!r}: choose {', '.join(stages)}{more}")
    return modules[name]


def enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear enlargement of maps (N, h, w) to (N, H, W); cell centres stay where they are in the picture."""
    return F.interpolate(maps[:, None], size=tuple(size), mode="bilinear", align_corners=False)[
        :, 0
    ]


def scale(maps: Tensor) -> Tensor:
    """Positive part of maps (N, h, w), each divided by its own peak: 0 to 1. A dead map stays all zero."""
    positive = maps.relu()
    peak = positive.flatten(1).amax(1)[:, None, None]
    return positive / torch.where(peak > 0, peak, torch.ones_like(peak))


def _as_targets(target: Tensor | int | None, pictures: Tensor) -> Tensor | None:
    if target is None:
        return None
    target = torch.as_tensor(target, device=pictures.device).long()
    target = target.expand(len(pictures)) if target.dim() == 0 else target
    if target.shape != (len(pictures),):
        raise UserError(
            f"{len(pictures)} pictures need as many target classes, not {tuple(target.shape)}"
        )
    return target


def _forward(network: nn.Module, x: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
    """Logits (N, K), with gradients recorded, and targets (N,), the predicted classes where none are given."""
    logits = network(x)
    if target is None:
        target = logits.detach().argmax(1)
    elif target.min() < 0 or target.max() >= logits.size(1):
        raise UserError(
            f"there is no class {int(target.min() if target.min() < 0 else target.max())}: "
            f"the network knows 0 to {logits.size(1) - 1}"
        )
    return logits, target


@contextlib.contextmanager
def borrowed(network: nn.Module) -> Iterator[None]:
    """The network in eval mode with frozen weights and recording on; afterwards as it was."""
    modes = [(module, module.training) for module in network.modules()]
    frozen = [(p, p.requires_grad) for p in network.parameters()]
    try:
        network.eval()
        for p, _ in frozen:
            p.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for p, needed in frozen:
            p.requires_grad_(needed)


class _PositiveOnly(torch.autograd.Function):
    """The identity, whose gradient loses its negative part."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.relu()


@contextlib.contextmanager
def _guided(network: nn.Module) -> Iterator[None]:
    """While it lasts, gradients leave every ReLU module with their positive part only (arXiv:1412.6806)."""
    relus = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    if not relus:
        raise UserError(
            "guided backpropagation is defined for ReLU networks, and this one has no nn.ReLU modules"
        )
    hooks = [
        relu.register_forward_hook(lambda module, inputs, output: _PositiveOnly.apply(output))
        for relu in relus
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
