"""The cost of training: floating-point operations and time."""

from typing import Any

import numpy as np
import torch


def count_flops(network: torch.nn.Module, side: int) -> tuple[int, int]:
    """FLOPs per image of `side` x `side` pixels, where a multiply-add counts as two.

    Returns those of a forward pass, and those of a training step with the parameters that require
    gradients now. The network must be in `eval()` mode, so that its statistics stay the same.
    """
    from torch.utils.flop_counter import FlopCounterMode  # importing it takes 90 MB

    x = torch.rand(2, 3, side, side, device=next(network.parameters()).device)
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        network(x)
    with FlopCounterMode(display=False) as step:
        network(x).sum().backward()
    network.zero_grad(set_to_none=True)
    return forward.get_total_flops() // 2, step.get_total_flops() // 2


def gain_of_full_size(history: list[dict[str, Any]]) -> dict[str, Any]:
    """Held-out accuracy before and after the images reach their full size.

    `time_share`: the time of an epoch at the smallest size, relative to one at full size.
    """
    small, full = history[0]["side"], history[-1]["side"]
    k = next(k for k, row in enumerate(history) if row["side"] == full)
    before, after = (row["held_out_accuracy"] for row in history[k - 1 : k + 1])
    small_seconds, full_seconds = (
        np.mean([row["seconds"] for row in history if row["side"] == side])
        for side in (small, full)
    )
    return {
        "accuracy_before": before,
        "accuracy_after": after,
        "gain": after - before,
        "time_share": small_seconds / full_seconds,
    }
