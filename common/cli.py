"""Command lines, user errors, seeds, devices and progress bars."""

import argparse
import ctypes
import hashlib
import os
import platform
import re
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent


class UserError(Exception):
    """A mistake that the user can fix. Its message is one line: what is wrong and what to do."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class Parser(argparse.ArgumentParser):
    """An argument parser that prints `description` unchanged and reports errors in one line."""

    def __init__(self, description: str):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter, allow_abbrev=False)

    def data_option(self, what: str = "CIFAR-10") -> None:
        text = f"folder with {what}, or where to download it (default: data)"
        self.add_argument("--data", type=Path, default=ROOT / "data", metavar="DIR", help=text)

    def device_option(self) -> None:
        text = "auto, cpu, cuda or mps (default: auto)"
        self.add_argument("--device", default="auto", metavar="NAME", help=text)

    def error(self, message: str):
        self.exit(2, f"error: {message} (see --help)\n")


def run(main: Callable[[], None]) -> None:
    """Calls `main`. Exits with status 2 and a one-line message after a UserError."""
    socket.setdefaulttimeout(8)  # seconds without data before a download fails
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # for example with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def positive(text: str) -> int:
    """An argparse type: an integer above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def out_folder(base: Path, args: argparse.Namespace, defaults: dict[str, object]) -> Path:
    """`base` if all options have their `defaults` or are None, else base/other/NAME-VALUE_..."""
    changed = []
    for name, default in defaults.items():
        value = getattr(args, name)
        if value not in (None, default):
            values = value if isinstance(value, list) else [value]
            changed.append("-".join([name, *(Path(str(v)).name for v in values)]))
    return base / "other" / "_".join(changed) if changed else base


def seed_for(seed: int, *key: object) -> int:
    """A 63-bit seed derived from `seed` and `key`, so that each random choice can be repeated."""
    digest = hashlib.sha256(repr((int(seed), *key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *key: object) -> torch.Generator:
    """A torch CPU generator seeded with `seed_for(seed, *key)`."""
    return torch.Generator().manual_seed(seed_for(seed, *key))


def pick_device(name: str) -> torch.device:
    """The device called `name`; `auto` selects CUDA, else an Apple GPU, else the CPU."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    usable = ["cuda"] * cuda + ["mps"] * mps + ["cpu"]
    if name not in ("auto", *usable):
        raise UserError(f"unknown device {name!r}, choose one of auto, {', '.join(usable)}")
    return torch.device(usable[0] if name == "auto" else name)


def hardware(device: torch.device) -> str:
    """The name of the GPU, or the name, vector unit and number of threads of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")  # Linux only
    names = re.findall("(?m)^model name\\s*: (.+)", info.read_text()) if info.is_file() else []
    name = names[0] if names else platform.processor() or platform.machine()
    cpu = f"{name} ({torch.backends.cpu.get_cpu_capability()}), {torch.get_num_threads()} threads"
    return cpu + " + Apple GPU" * (device.type == "mps")


def peak_memory_bytes() -> int | None:
    """The peak resident size of this process, or None on Windows, which does not report it."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def progress(iterable: Iterable, description: str = "", **options) -> tqdm:
    """A tqdm progress bar over `iterable`, shown only in a terminal and not in CI."""
    hidden = not sys.stderr.isatty() or bool(os.environ.get("CI"))
    return tqdm(iterable, desc=description, leave=False, disable=hidden, **options)


def keep_freed_memory() -> None:
    """Makes glibc's allocator reuse freed memory; has no effect with other C libraries.

    By default, each large array gets new pages from the system, which have to be cleared. This
    slows down a network on the CPU. The process keeps its peak size until it ends.
    """
    M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from malloc.h
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
