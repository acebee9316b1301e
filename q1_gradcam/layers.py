"""The layers of a network: by name, with the sizes of their maps, and the one to explain."""

import contextlib
from collections.abc import Iterator

from common.cli import UserError

import torch
from torch import Tensor, nn

POOLING = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.MaxPool2d)


def find_layer(network: nn.Module, name: str | None) -> nn.Module:
    """The module called `name`; for an unknown name, the UserError lists the stages to choose."""
    modules = {key: module for key, module in network.named_modules() if key}
    if name not in modules:
        shallow = {k: m for k, m in modules.items() if k.count(".") <= 1 and k != "body"}
        stages = [k for k, m in shallow.items() if isinstance(m, nn.Conv2d) or list(m.children())]
        raise UserError(f"unknown layer {name!r}: choose {', '.join(stages)}, or a module in them")
    return modules[name]


@contextlib.contextmanager
def borrowed(network: nn.Module) -> Iterator[None]:
    """Eval mode, frozen weights and autograd on; restores mode and `requires_grad` afterwards."""
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
        for p, required in frozen:
            p.requires_grad_(required)


def looks_like_maps(output: object, x: Tensor) -> bool:
    """Whether a layer's output seems to be (N, C, h, w) for images x: h / w is about H / W.

    Rounding changes h and w of images that are not square by up to two cells. Channels-last outputs
    (N, h, w, C) pass only if C is about w.
    """
    if not isinstance(output, Tensor) or output.dim() != 4:
        return False
    (h, w), (height, width) = output.shape[2:], x.shape[2:]
    return abs(w - h * width / height) <= (0 if height == width else 2)


def feature_maps(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Outputs (N, C, h, w) of the layers that can be explained, by name, in the order in which they
    are computed: those that run once and have more than one position."""
    names = {module: name for name, module in network.named_modules() if name}
    outputs: dict[str, list] = {}

    def record(module, inputs, output):
        outputs.setdefault(names[module], []).append(output)

    hooks = [module.register_forward_hook(record) for module in names]
    try:
        with borrowed(network), torch.no_grad():
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    once = {name: runs[0] for name, runs in outputs.items() if len(runs) == 1}
    return {k: a for k, a in once.items() if looks_like_maps(a, x) and a.shape[2:].numel() > 1}


def last_stage(network: nn.Module, maps: dict[str, Tensor]) -> str:
    """The layer to explain by default, from `feature_maps`: the last that is not a pooling layer.

    Of the modules with the same output, it is the outermost that does not contain all of the maps:
    `layer4` of a ResNet, `features.18` of MobileNetV2. Raises UserError if there is none.
    """
    pooled = [a for name, a in maps.items() if isinstance(network.get_submodule(name), POOLING)]
    chosen = [name for name, a in maps.items() if not any(a is other for other in pooled)]
    attention = any(isinstance(module, nn.MultiheadAttention) for module in network.modules())
    if not chosen or (attention and len(maps) == 1):  # a vision transformer's patch embedding
        raise UserError("this network has no convolutional stage to explain: give a --layer")
    first = next(iter(maps))
    same = [name for name in chosen if maps[name] is maps[chosen[-1]]]
    parts = [name for name in same if not first.startswith(f"{name}.")] or same[:1]
    return min(reversed(parts), key=lambda name: name.count("."))
