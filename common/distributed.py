"""Several processes that share the work, started with torchrun. Without it there is one.

    torchrun --nproc-per-node 2 q1_gradcam/train.py
    torchrun --nproc-per-node 2 q1_gradcam/explain.py --all
    torchrun --nproc-per-node 2 evaluation/run.py

Processes communicate with NCCL if each has a GPU, else with gloo.
"""

import atexit
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from common.cli import UserError, progress

import torch
import torch.distributed as dist
from torch import Tensor


def start(device: torch.device) -> torch.device:
    """Joins the group of processes, if torchrun started several. Returns this process's device.

    Only the first process prints and writes files (`common.results.write_whole`).
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if device.type == "cuda":
            device = torch.device("cuda", local % gpus)
            torch.cuda.set_device(device)
        # NCCL needs a GPU for each process.
        shared = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > gpus
        backend = "nccl" if device.type == "cuda" and not shared else "gloo"
        dist.init_process_group(backend, timeout=timedelta(hours=12))  # the longest wait
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
        share(int, [])  # waits for the first
    yield
    if not rank():
        share(int, [])


@contextmanager
def _others(advice: str):
    """Turns the error of a communication with a process that has ended into a UserError."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(f"another process was lost: {advice}") from error


def share(work: Callable[[Any], Any], items: Iterable, description: str | None = None) -> list:
    """`[work(item) for item in items]`, on every process.

    Of N processes, process r computes the items r, r + N, ... The result does not depend on N if
    `work` gives the same on every process. `work` must not communicate. With a `description`, a
    progress bar is shown. Raises UserError if another process was lost.
    """
    items = list(items)
    chosen = items[rank() :: size()]
    mine = [work(item) for item in (progress(chosen, description) if description else chosen)]
    if size() == 1:
        return mine
    parts: list = [None] * size()
    with _others("start again"):
        dist.all_gather_object(parts, mine)  # pickled, but only by the processes of this run
    return [parts[k % size()][k // size()] for k in range(len(items))]


def average(tensors: Iterable[Tensor]) -> None:
    """Replaces floating-point tensors by their means over the processes.

    Raises UserError if another process was lost.
    """
    with _others("start again with --resume"):
        for tensor in tensors if size() > 1 else ():
            if tensor.is_floating_point():
                dist.all_reduce(tensor)
                tensor.div_(size())
