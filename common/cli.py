"""Command lines, user errors, seeds, devices and progress bars."""

import argparse
import ctypes
import hashlib
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from common import ROOT, UserError, end, printable
from common import first_line as first_line

import torch
from tqdm import tqdm


class Parser(argparse.ArgumentParser):
    """An argument parser that prints `description` unchanged and reports errors in one line."""

    def __init__(self, description: str):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter, allow_abbrev=False)
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def data_option(self, what: str = "CIFAR-10") -> None:
        text = f"folder with {what}, or where to download it (default: data)"
        self.add_argument("--data", type=Path, default=ROOT / "data", metavar="DIR", help=text)

    def device_option(self) -> None:
        text = "auto, cpu, cuda or mps (default: auto)"
        self.add_argument("--device", default="auto", metavar="NAME", help=text)

    def error(self, message: str):
        self.exit(2, printable(f"error: {message} (see --help)") + "\n")


def run(main: Callable[[], None]) -> None:
    """Calls `main`. An error ends the process with one line and a status, see `common.end`."""
    try:
        try:
            main()
        finally:
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(end(error))


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to `high`."""

    def convert(text: str) -> int:
        if re.fullmatch("[0-9]{1,18}", text) and low <= int(text) <= high:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")

    return convert


positive = whole(1, 100_000)
seed = whole(0, 2**32 - 1)


def class_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names from a model file. Raises ValueError if they cannot be told apart or printed."""
    names = tuple(names)
    if not all(isinstance(n, str) and n.isprintable() and 0 < len(n) <= 100 for n in names):
        raise ValueError("a class name is not a printable text of 1 to 100 characters")
    if len(set(names)) < len(names):
        raise ValueError("two classes have the same name")
    return names


def file_name(text: str) -> str:
    """`text` as a file name without ending: not a path, printable, at most 110 bytes.

    A text that has to be changed gets a hash, so different texts have different file names.
    """
    clean = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in text)
    clean = clean.lstrip(".").encode()[:100].decode(errors="ignore")
    if clean == text != "":
        return text
    return f"{clean}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def out_folder(base: Path, args: argparse.Namespace, defaults: dict[str, object]) -> Path:
    """`base` if all options have their `defaults` or are None, else base/other/NAME-VALUE_..."""
    changed = []
    for name, default in defaults.items():
        value = getattr(args, name)
        if value not in (None, default):
            values = value if isinstance(value, list) else [value]
            values = [v.resolve() if isinstance(v, Path) else v for v in values]
            values = [str(v).removeprefix(f"{ROOT}{os.sep}").replace(os.sep, "-") for v in values]
            changed.append("-".join([name, *values]))
    return base / "other" / file_name("_".join(changed)) if changed else base


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


def peak_memory_bytes(device: torch.device) -> int | None:
    """The peak GPU memory, or the peak resident size of this process (None on Windows)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
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
