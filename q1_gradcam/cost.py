"""The cost of training: floating-point operations, speed of the hardware, memory."""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from common import cli


def count_flops(network: torch.nn.Module, sides: list[int]) -> tuple[int, dict[int, float]]:
    """FLOPs per image, where a multiply-add counts as two.

    Returns those of a forward pass at 32 x 32, and those of a training step for each image side.
    """
    device = next(network.parameters()).device
    training = {}
    for side in sorted({*sides, 32}):  # ends with 32, the largest
        x = torch.rand(2, 3, side, side, device=device)
        with torch.no_grad(), FlopCounterMode(display=False) as forward:
            network(x)
        with FlopCounterMode(display=False) as both:
            network(x).sum().backward()
        network.zero_grad(set_to_none=True)
        training[side] = both.get_total_flops() / 2
    return forward.get_total_flops() // 2, training


def matrix_product_speed(device: torch.device, precision: torch.dtype) -> float:
    """FLOP/s of a 4096 x 4096 matrix product, as a reference for the speed of training."""
    a = torch.rand(4096, 4096, device=device).to(precision)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        (a @ a)[0, 0].item()
        times.append(time.perf_counter() - start)
    return 2 * 4096**3 / min(times)


def peak_memory(device: torch.device) -> int | None:
    """The peak GPU memory, or the peak resident size of the process, in bytes."""
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else cli.peak_memory_bytes()
