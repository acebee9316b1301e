"""Grad-CAM and related methods, written from the papers.

For an image, a layer with activations A (N, C, h, w), the logit y of a class, and G = dy/dA:

    Grad-CAM       alpha_c = mean of G_c over (h, w)    (1)  arXiv:1610.02391, eq. 1
                   map     = sum_c alpha_c A_c          (2)  eq. 2 before its ReLU
    Grad-CAM++     alpha_c = sum of a_c ReLU(G_c)       (3)  arXiv:1710.11063, sec. 3; a_c: eq. 19
    HiResCAM       map     = sum_c G_c A_c              (4)  arXiv:2011.08891, section 3
    LayerCAM       map     = sum_c ReLU(G_c) A_c        (5)  Jiang et al., IEEE TIP 2021
    Counterfactual map     = sum_c -alpha_c A_c         (6)  arXiv:1610.02391, section 3.3

and, on the pixels x instead of a layer:

    Input gradient    map = max over colors of |dy/dx|                 arXiv:1312.6034, section 3
    Guided backprop   as above; ReLUs pass only positive gradients     arXiv:1412.6806
    Guided Grad-CAM   guided backprop times upsampled ReLU(Grad-CAM)   arXiv:1610.02391, section 3.2

The papers show the signed colors of guided backprop; here it is one map without signs, like the
input gradient, so that all methods can be scored alike.

Layer maps are signed and have the layer's resolution. Pixel maps have the image's resolution and
are not negative.

If only global average pooling and a linear head follow the layer, as after the last stage of the
compact network, G is the same at every position. There HiResCAM equals Grad-CAM, and the
counterfactual map is its negative. At other layers they differ.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from common.cli import UserError
from common.folding import fold

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from q1_gradcam.guided import PositiveReLUs
from q1_gradcam.layers import borrowed, find_layer, looks_like_maps


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equations 1 and 2: from (N, C, h, w) tensors, the signed map (N, h, w)."""
    alpha = gradients.mean((2, 3), keepdim=True)
    return (alpha * activations).sum(1)


def grad_cam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equation 3 for the score exp(y), whose higher derivatives are powers of the first (sec. 3.2).
    The common factor exp(y) is left out: it does not change where the map is high.

    Unlike the other maps, this one changes its form when the logits are scaled, for example by a
    temperature. Where a channel's sum is negative, as it can be before a ReLU, the denominator may
    be close to zero and the weight arbitrarily large.
    """
    square, cube = gradients**2, gradients**3
    denominator = 2 * square + activations.sum((2, 3), keepdim=True) * cube
    nonzero = denominator != 0
    a = torch.where(nonzero, square / torch.where(nonzero, denominator, 1.0), 0.0)
    alpha = (a * gradients.relu()).sum((2, 3), keepdim=True)
    return (alpha * activations).sum(1)


def hires_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equation 4: each position keeps its gradient instead of the channel's mean."""
    return (gradients * activations).sum(1)


def layer_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equation 5: HiResCAM with positive gradients only."""
    return (gradients.relu() * activations).sum(1)


def counterfactual(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equation 6, Grad-CAM of the negated gradient: high where evidence is against the class."""
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
NAMES = {  # in tables and figures; a method without an entry is shown by its key
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "counterfactual": "Counterfactual Grad-CAM",
    "input_gradient": "Input gradient",
    "guided_backprop": "Guided backprop",
    "guided_gradcam": "Guided Grad-CAM",
}


BATCH = 32  # images whose activations fit into the cache of a processor, about 10 MB


@dataclass(frozen=True)
class Maps:
    """The result of `explain`, on the device of the images."""

    raw: Tensor  # (N, h, w) signed, at the resolution of the layer or, for pixel methods, the image
    logits: Tensor  # (N, K)
    target: Tensor  # (N,) the class that each map explains
    layer: str | None  # None for methods that use no layer

    @property
    def dead(self) -> Tensor:
        """(N,) bool: the map is zero everywhere after the ReLU, so there is nothing to show."""
        return ~(self.raw > 0).flatten(1).any(1)


def explain(
    network: nn.Module,
    images: Tensor,
    layer: str | None = None,
    target: Tensor | int | None = None,
    method: str = "gradcam",
    batch: int = BATCH,
    reshape: Callable[[Tensor], Tensor] | None = None,
) -> Maps:
    """Explains the logit of one class for each image, `batch` images at a time.

    The network can be any module that maps images to logits (N, K). It runs in eval mode and is
    then restored (mode, hooks, `requires_grad`, `.grad`), even after an error. Works inside
    `torch.no_grad()` and with frozen weights. `prepare` makes it faster.

    Args:
        images: (N, C, H, W), as the network expects them.
        layer: dotted name, as in `network.named_modules()`; required by all methods except
            input_gradient and guided_backprop.
        target: one class per image (N,), one class for all, or None for the predicted class.
        method: one of METHODS.
        reshape: converts the layer's output to (N, C, h, w), for layers whose channels are last
            (`lambda a: a.permute(0, 3, 1, 2)` for Swin) or that give tokens.

    Raises:
        UserError: unknown method, layer or class; a layer without a (N, C, h, w) output or that
            runs more than once; no ReLU to guide; images, logits or maps that are not finite;
            outputs that are not (N, K).
    """
    if not (isinstance(images, Tensor) and images.dim() == 4 and len(images)):
        raise UserError("the images are not a tensor (N, C, H, W) with N > 0")
    if not images.isfinite().all():
        raise UserError("the images contain values that are not finite")
    if method not in METHODS:
        raise UserError(f"unknown method {method!r}: choose from {', '.join(METHODS)}")
    layer = None if method in LAYERLESS_METHODS else layer
    target = _as_targets(target, images)
    parts = []
    with borrowed(network):
        for start in range(0, len(images), batch):
            x = images[start : start + batch]
            y = None if target is None else target[start : start + batch]
            if method in LAYER_METHODS:
                activations, gradients, logits, y = at_layer(network, x, layer, y, reshape)
                raw = LAYER_METHODS[method](activations, gradients)
            else:
                gradients, logits, y = at_pixels(network, x, y, guided=method != "input_gradient")
                raw = gradients.abs().amax(1)
                if method == "guided_gradcam":
                    coarse = grad_cam(*at_layer(network, x, layer, y, reshape)[:2])
                    raw = raw * enlarge(coarse.relu(), x.shape[2:])
            if not raw.isfinite().all():
                raise UserError("the map has values that are not finite: its gradients overflow")
            parts.append((raw, logits, y))
    raw, logits, target = (torch.cat(part) for part in zip(*parts, strict=True))
    return Maps(raw, logits, target, layer)


def prepare(network: nn.Module, images: Tensor, layer: str | None = None) -> nn.Module:
    """A copy of the network that `explain` runs faster at `layer`, with the same maps up to
    rounding: batch norm is folded into convolutions, see common/folding.py.

    Returns the network itself where that is impossible. Worthwhile from about 100 images.
    """
    with torch.inference_mode(False):
        return fold(network, images[:2], layer) or network


def at_layer(
    network: nn.Module,
    x: Tensor,
    layer: str,
    target: Tensor | None,
    reshape: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Activations and gradients of the target logit at a layer, both (N, C, h, w); logits; targets.

    The layer's output is replaced by a detached leaf. The weights are frozen (see `borrowed`), so
    everything below the layer runs without autograd, and the backward pass ends at the layer.
    """
    leaves: list[Tensor] = []

    def detach(module, inputs, output):
        if leaves:
            raise UserError(f"layer {layer!r} runs more than once, so its map would be ambiguous")
        converted = reshape(output) if reshape and isinstance(output, Tensor) else output
        _check_maps(layer, converted, x, reshape is not None)
        leaves.append(output.detach().requires_grad_())
        return leaves[0].clone()  # an in-place ReLU after the layer must not change the activations

    hook = find_layer(network, layer).register_forward_hook(detach)
    try:
        logits, target = _forward(network, x, target)
        if not leaves:
            raise UserError(f"layer {layer!r} does not run in a forward pass")
        score, gradients = logits.gather(1, target[:, None]).sum(), None
        if score.requires_grad:
            (gradients,) = torch.autograd.grad(score, leaves[0], allow_unused=True)
        if gradients is None:
            raise UserError(f"the logits do not depend on layer {layer!r}")
    finally:
        hook.remove()
    activations = leaves[0].detach()
    if reshape:
        activations, gradients = reshape(activations), reshape(gradients)
    return activations, gradients, logits.detach(), target


def at_pixels(
    network: nn.Module, x: Tensor, target: Tensor | None, guided: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the target logit at the pixels (N, 3, H, W), guided or not; logits; targets."""
    x = x.detach().clone().requires_grad_()
    with PositiveReLUs() if guided else contextlib.nullcontext() as relus:
        logits, target = _forward(network, x, target)
        if guided and not relus.used:
            raise UserError("guided backpropagation needs ReLUs, and this network has none")
        if not logits.requires_grad:
            raise UserError("the logits have no gradient with respect to the images")
        (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), x)
    return gradient, logits.detach(), target


def enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear upsampling of maps (N, h, w) to (N, H, W); cell centers stay in place."""
    maps = F.interpolate(maps[:, None], tuple(size), mode="bilinear", align_corners=False)
    return maps[:, 0]


def _check_maps(layer: str, output: object, x: Tensor, reshaped: bool) -> None:
    """Raises UserError unless `output` is (N, C, h, w)."""
    maps = isinstance(output, Tensor) and output.dim() == 4 and len(output) == len(x)
    if not (maps and (reshaped or looks_like_maps(output, x))):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UserError(
            f"layer {layer!r} gives no feature map (N, C, h, w) but {shape}: choose another layer, "
            "or, if its channels are last, use reshape=lambda a: a.permute(0, 3, 1, 2)"
        )


def _as_targets(target: Tensor | int | None, images: Tensor) -> Tensor | None:
    """Targets (N,) on the device of the images, or None."""
    if target is None:
        return None
    target = torch.as_tensor(target, device=images.device).long()
    target = target.expand(len(images)) if target.dim() == 0 else target
    if target.shape != (len(images),):
        shape = tuple(target.shape)
        raise UserError(f"{len(images)} images need as many target classes, not {shape}")
    return target


def _forward(network: nn.Module, x: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
    """Logits (N, K), part of the graph, and targets (N,), by default the predicted classes."""
    logits = network(x)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(x):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise UserError(
            f"the network does not return logits (N, K) but {got}: wrap it in a module that does"
        )
    if not logits.isfinite().all():
        raise UserError("the network's logits are not finite numbers: its weights are damaged")
    if target is None:
        target = logits.detach().argmax(1)
    elif target.min() < 0 or target.max() >= logits.size(1):
        wrong = int(target.min() if target.min() < 0 else target.max())
        raise UserError(f"there is no class {wrong}: the classes are 0 to {logits.size(1) - 1}")
    return logits, target
