"""Seeds, devices, errors meant for people, command lines."""

import argparse
import ctypes
import hashlib
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent


class UserError(Exception):
    """Something the user can put right. The message is one line: what was wrong, with which file or value, what to do."""


def first_line(error: BaseException) -> str:
    """What an error says, on one line; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class Parser(argparse.ArgumentParser):
    """An argument parser that shows the script's own docstring and answers a mistake with one line and status 2."""

    def __init__(self, description: str):
        super().__init__(
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def data_option(self, what: str = "CIFAR-10 is or goes") -> None:
        self.add_argument(
            "--data",
            type=Path,
            default=ROOT / "data",
            metavar="DIR",
            help=f"where {what} (default: data)",
        )

    def device_option(self) -> None:
        self.add_argument(
            "--device",
            default="auto",
            metavar="NAME",
            help="auto, cpu, cuda or mps (default: auto)",
        )

    def error(self, message: str):
        self.exit(2, f"error: {message} (see --help)\n")


def run(main: Callable[[], None]) -> None:
    """Runs a script's `main`: a UserError becomes one line on stderr and exit status 2, Ctrl-C a line and status 130."""
    try:
        main()
    except UserError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)


def positive(text: str) -> int:
    """An argparse type: a whole number above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def seed_for(seed: int, *key: object) -> int:
    """A 63-bit seed that depends on `seed` and on what it is for, and on nothing else.

    Every random choice draws from a generator made from such a seed, so that any one of them can be repeated alone.
    """
    digest = hashlib.sha256(repr((int(seed), *key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *key: object) -> torch.Generator:
    """A torch generator (CPU) for one purpose; see `seed_for`."""
    return torch.Generator().manual_seed(seed_for(seed, *key))


def pick_device(name: str) -> torch.device:
    """`auto` takes CUDA, then an Apple GPU, then the CPU; any other name is taken as given or refused."""
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    if name not in available:
        raise UserError(f"unknown device {name!r}: choose auto, {', '.join(available)}")
    if not available[name]:
        raise UserError(f"this machine has no usable {name!r} device: try --device auto")
    return torch.device(name)


def hardware(device: torch.device) -> str:
    """What the work ran on, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_name()}, {torch.get_num_threads()} threads" + (
        " + Apple GPU" if device.type == "mps" else ""
    )


def cpu_name() -> str:
    """The processor's name and its widest vector unit, as far as the system tells."""
    try:
        with open("/proc/cpuinfo") as file:
            name = next(
                (line.split(":")[1].strip() for line in file if line.startswith("model name")), ""
            )
    except OSError:
        name = ""
    return f"{name or platform.processor() or platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"


def peak_memory_bytes() -> int | None:
    """The largest resident size of this process so far; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def interactive() -> bool:
    """Whether somebody is watching: progress bars are drawn only then."""
    return sys.stderr.isatty() and not os.environ.get("CI")


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Tells glibc's allocator to keep freed memory for the next use; whether it could be told (on Linux with glibc alone).

    Large arrays otherwise come from the system one by one, which clears every page first: for a network's activations, freed and asked for
    again in every batch, that costs much of the time (measured by benchmarks/lime.py). The process keeps its peak size until it ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
