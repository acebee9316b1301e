"""What a training costs: floating-point operations, the machine's speed, memory."""

import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from common import cli


def count_flops(network, chosen: dict[str, Any]) -> tuple[int, dict[int, float]]:
    """Floating-point operations (a multiply-add is two), counted by torch: of one picture's forward pass at 32 x 32, and of
    one picture's training step at each size used."""
    device = next(network.parameters()).device
    training = {}
    for side in sorted({*chosen["sides"], 32}):
        x = torch.rand(2, 3, side, side, device=device)
        with torch.no_grad(), FlopCounterMode(display=False) as forward:
            network(x)
        with FlopCounterMode(display=False) as both:
            network(x).sum().backward()
        network.zero_grad(set_to_none=True)
        training[side] = both.get_total_flops() / 2
    return forward.get_total_flops() // 2, training  # the last side is 32, the largest


def matrix_product_speed(device: torch.device, precision: torch.dtype) -> float:
    """FLOP/s of a 4096 x 4096 product: what the training's speed, in the same precision, is to be compared with."""
    a = torch.rand(4096, 4096, device=device).to(precision)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        (a @ a)[0, 0].item()
        times.append(time.perf_counter() - start)
    return 2 * 4096**3 / min(times)


def peak_memory(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else cli.peak_memory_bytes()
