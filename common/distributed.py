"""Several processes that share the work, started with torchrun. Without it there is one.

    torchrun --nproc-per-node 2 q1_gradcam/train.py

Processes communicate with gloo on CPUs and NCCL on GPUs.
"""

import atexit
import os
import sys
from collections.abc import Iterable
from contextlib import contextmanager

from common.cli import UserError

import torch
import torch.distributed as dist
from torch import Tensor


def start(device: torch.device) -> torch.device:
    """Joins the group of processes, if torchrun started several. Returns this process's device.

    Only the first process prints and writes files (`common.results.write_whole`).
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
        if dist.get_rank():
            sys.stdout = open(os.devnull, "w")
    return device


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def first_alone():
    """The other processes run the block after the first one has, for example after a download."""
    if rank():
        dist.barrier()
    yield
    if size() > 1 and not rank():
        dist.barrier()


def average(tensors: Iterable[Tensor]) -> None:
    """Replaces floating-point tensors by their means over the processes.

    Raises:
        UserError: another process was lost.
    """
    if size() == 1:
        return
    tensors = [tensor for tensor in tensors if tensor.is_floating_point()]
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    try:
        dist.all_reduce(flat)
    except RuntimeError as error:
        raise UserError("another process was lost: start again with --resume") from error
    for tensor, mean in zip(
        tensors, flat.div_(size()).split([t.numel() for t in tensors]), strict=True
    ):
        tensor.copy_(mean.view_as(tensor))
