"""Command lines, user errors, seeds, devices, progress bars."""

import argparse
import ctypes
import hashlib
import os
import platform
import re
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
DOWNLOAD_TIMEOUT = 8  # seconds without a byte before a download is given up


class UserError(Exception):
    """A mistake the user can fix. The message is one line: what is wrong and what to do."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class Parser(argparse.ArgumentParser):
    """Prints a script's docstring as help, and reports errors in one line."""

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
    """Calls `main`. A UserError is printed in one line with exit status 2; Ctrl-C gives 130."""
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
    except BrokenPipeError:  # the reader of our output has closed it, for example `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def positive(text: str) -> int:
    """An argparse type: an integer above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def out_folder(base: Path, args: argparse.Namespace, defaults: dict[str, object]) -> Path:
    """`base` if all options are at their `defaults` or None, otherwise base/other/NAME-VALUE_..."""
    changed = []
    for name, default in defaults.items():
        value = getattr(args, name)
        if value not in (None, default):
            values = value if isinstance(value, list) else [value]
            changed.append("-".join([name, *(Path(str(v)).name for v in values)]))
    return base / "other" / "_".join(changed) if changed else base


def seed_for(seed: int, *key: object) -> int:
    """A 63-bit seed for one purpose, so that each random choice can be repeated alone."""
    digest = hashlib.sha256(repr((int(seed), *key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *key: object) -> torch.Generator:
    """A torch CPU generator seeded with `seed_for(seed, *key)`."""
    return torch.Generator().manual_seed(seed_for(seed, *key))


def pick_device(name: str) -> torch.device:
    """The device called `name`; `auto` takes CUDA, else an Apple GPU, else the CPU."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    available = {"cuda": cuda, "mps": mps, "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, usable in available.items() if usable))
    if name not in available:
        raise UserError(f"unknown device {name!r}: choose auto, {', '.join(available)}")
    if not available[name]:
        raise UserError(f"this machine has no usable {name!r} device: try --device auto")
    return torch.device(name)


def hardware(device: torch.device) -> str:
    """The name of the GPU, or of the processor with its vector unit and number of threads."""
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


def interactive() -> bool:
    """Whether a person is watching stderr."""
    return sys.stderr.isatty() and not os.environ.get("CI")


def progress(iterable: Iterable | None = None, description: str = "", **options) -> tqdm:
    """A tqdm progress bar over `iterable`, shown only if a person is watching."""
    return tqdm(iterable, desc=description, leave=False, disable=not interactive(), **options)


@contextmanager
def download_timeout() -> Iterator[None]:
    """Inside this block, network connections time out after DOWNLOAD_TIMEOUT seconds."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h


def keep_freed_memory() -> bool:
    """Makes glibc's allocator reuse freed memory; returns False where that is not possible.

    By default each large array gets new pages from the system, which have to be cleared; this slows
    down a network on the CPU. The process keeps its peak size until it ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
