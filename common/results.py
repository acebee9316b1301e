"""Results files: whole or not at all, with their provenance inside.

A results file is the only thing that passes from a script to the report. Numbers are JSON, arrays are `.npz`, pictures
are PNG; nothing is pickled.
"""

import hashlib
import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from common.cli import ROOT, UserError, first_line, hardware

OUTPUTS = ROOT / "outputs"
LIBRARIES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "matplotlib",
    "lime",
)


def write_whole(path: str | Path, write: Callable[[IO[bytes]], None]) -> Path:
    """Calls `write(file)` on a file beside `path` and renames it into place, so that `path` is never half-written.

    Raises:
        UserError: the folder or the file can't be written.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise UserError(
            f"can't write {path}: {error.strerror or error}; choose another folder with --out"
        ) from error
    finally:
        if part.is_file():
            part.unlink()
    return path


def output_folder(folder: str | Path) -> Path:
    """Makes `folder` and tries to write in it, before any work is spent. Raises UserError where that fails."""
    folder = Path(folder)
    probe = folder / f".probe.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"can't write in {folder}: {error.strerror or error}; choose another with --out"
        ) from error
    return folder


def write_json(path: str | Path, content: dict[str, Any]) -> Path:
    """Writes `content` as JSON: one line per key at the top, short lists on one line, numbers rounded to 6 digits."""
    lines = ",\n".join(
        f"  {json.dumps(key)}: {_layout(plain(value), '  ')}" for key, value in content.items()
    )
    return write_whole(path, lambda file: file.write(f"{{\n{lines}\n}}\n".encode()))


def _layout(value: Any, indent: str) -> str:
    """JSON text that a person can read and a diff can follow: what fits on a line stays on one."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    if len(text) + len(indent) <= 118 or not isinstance(value, dict | list) or not value:
        return text
    inner = indent + "  "
    if isinstance(value, dict):
        parts, (start, end) = (
            [f"{json.dumps(k)}: {_layout(v, inner)}" for k, v in value.items()],
            "{}",
        )
    else:
        parts, (start, end) = [_layout(v, inner) for v in value], "[]"
    return start + "\n" + ",\n".join(inner + part for part in parts) + "\n" + indent + end


def plain(value: Any) -> Any:
    """NumPy and torch scalars and arrays as plain Python; floats to 6 significant digits."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | torch.Tensor):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value


def without_nan(value: Any) -> Any:
    """The same numbers, lists and dictionaries with None where a number is not finite, which JSON can't say."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, np.ndarray):
        return without_nan(value.tolist())
    if isinstance(value, float | np.floating) and not np.isfinite(value):
        return None
    return value


def read_json(path: str | Path) -> dict[str, Any]:
    """Reads a results file. Raises UserError where it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no {path}: run the script that writes it first") from None
    except (OSError, ValueError) as error:
        raise UserError(f"can't read {path}: {error}") from error


def write_npz(path: str | Path, **arrays: np.ndarray) -> Path:
    """Writes arrays as a compressed `.npz`."""
    return write_whole(path, lambda file: np.savez_compressed(file, **arrays))


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of an `.npz`. Raises UserError where it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise UserError(f"there is no {path}: run the script that writes it first") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"can't read {path}: {error}") from error


def shown(path: str | Path) -> str:
    """A path as a person would type it from where they are."""
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_rooms() -> dict[str, str]:
    """The project's Python files, each with the start of its SHA-256."""
    rooms = ("common", "q1_gradcam", "q2_lime", "evaluation", "report")
    paths = sorted(path for room in rooms for path in (ROOT / room).glob("*.py"))
    return {path.relative_to(ROOT).as_posix(): sha256(path)[:16] for path in paths}


CODE_AT_START = sha256_of_rooms()  # a file may be edited while a long script is running


def provenance(seed: int, device: torch.device, **origins: str) -> dict[str, Any]:
    """Where a result comes from: command, code, seed, versions, device, and what it was made from (`origins`: the
    data's source, hashes)."""
    return {
        "command": command(),
        "git_revision": git("rev-parse", "HEAD"),
        "code": code_hashes(),
        "seed": seed,
        "versions": {"python": ".".join(map(str, sys.version_info[:3]))}
        | {name: importlib.metadata.version(name) for name in LIBRARIES if _installed(name)},
        "device": device.type,
        "hardware": hardware(device),
        **origins,
    }


def command() -> str:
    """The command line that is running, with the script's path as seen from the project's root."""
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(ROOT).as_posix() if script.is_relative_to(ROOT) else script.name
    return shlex.join(["python", name, *sys.argv[1:]])


def code_hashes() -> dict[str, str]:
    """Those of the project's files that are loaded, the running script among them, with their hashes at the start.

    Results made by other code than the one beside them can so be told apart, file by file.
    """
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())} | {
        sys.argv[0]
    }
    loaded = {Path(file).resolve() for file in files if file}
    return {name: digest for name, digest in CODE_AT_START.items() if ROOT / name in loaded}


def git(*arguments: str) -> str | None:
    """The answer of a git command in the project's root, or None outside a git checkout."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Around lines that read from the content of `path`: what it lacks, or has of another kind, is a UserError that names the file."""
    try:
        yield
    except KeyError as error:
        raise UserError(f"{path} lacks {error}: run the script that writes it again") from error
    except (IndexError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not as its script writes it ({first_line(error)}): run that script again"
        ) from error
