"""Batch norm folded into convolutions: fewer operations for the same function."""

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

TOLERANCE = 1e-5  # largest relative change of the outputs


def fold(network: nn.Module, x: Tensor, layer: str | None = None) -> nn.Module | None:
    """A copy in `eval()` mode, frozen and in channels-last memory, with batch norm folded.

    Module names stay the same; a folded batch norm becomes an `nn.Identity`. `layer` names a module
    whose output must not change.

    Returns None if torch.fx cannot trace the network, or if its outputs for the images x change by
    more than TOLERANCE of the largest.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    try:
        folded = copy.deepcopy(network).eval().requires_grad_(False)
        with torch.inference_mode():
            before = folded(x)
        for names in _chains(folded, layer):
            conv, norm = (folded.get_submodule(name) for name in (names[0], names[-1]))
            fused = fuse_conv_bn_eval(conv, norm)
            conv.weight, conv.bias = fused.weight, fused.bias
            folded.set_submodule(names[-1], nn.Identity())
        folded = folded.requires_grad_(False).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            exact = (before - folded(x)).abs().max() <= TOLERANCE * before.abs().max()
    except Exception:  # torch.fx cannot trace every network
        return None
    return folded if exact else None


def _chains(network: nn.Module, layer: str | None) -> list[list[str]]:
    """Names of the modules of each chain convolution, [max-pool,] batch norm that can be folded.

    The output of each goes only to the next. A max-pool commutes with a batch norm of positive
    scale.
    """
    nodes = fx.symbolic_trace(network).graph.nodes
    modules = {n.target: network.get_submodule(n.target) for n in nodes if n.op == "call_module"}
    calls, chains = [node.target for node in nodes], []
    for node in nodes:
        if type(modules.get(node.target)) is not nn.Conv2d:
            continue
        names = [node.target]
        while len(node.users) == 1:
            node = next(iter(node.users))
            names.append(node.target)
            if not isinstance(modules.get(node.target), nn.MaxPool2d | nn.Identity):
                break
        norm = modules.get(names[-1])
        if type(norm) is not nn.BatchNorm2d or norm.running_mean is None:
            continue
        pooled = any(isinstance(modules[name], nn.MaxPool2d) for name in names)
        positive = norm.weight is None or bool((norm.weight > 0).all())
        inside = {f"{name}.".startswith(f"{layer}.") for name in names}
        once = all(calls.count(name) == 1 for name in names)
        if once and len(inside) == 1 and (positive or not pooled):
            chains.append(names)
    return chains
