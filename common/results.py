"""Results files: JSON for numbers, NPZ for arrays; written atomically, with provenance."""

import glob
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import queue
import shlex
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from common import ROOT, STARTED, UserError, distributed, first_line, printable
from common.cli import hardware, peak_memory_bytes, progress

import numpy as np
import torch

OUTPUTS = ROOT / "outputs"
PATIENCE = 30  # seconds that a download may take, besides its size / 20 kB/s
# What code raises if it reads entries of a file with another structure. While the file itself is
# read, the type of the error depends on which byte is damaged.
CONTENT_ERRORS = (LookupError, AttributeError, TypeError, ValueError)
LIBRARIES = "torch torchvision numpy scipy scikit-learn scikit-image matplotlib lime".split()


def write_whole(path: str | Path, write: Callable[[IO[bytes]], Any]) -> Path:
    """Writes a file atomically: `write(file)` fills a temporary file that then replaces `path`.

    Of several processes, only the first writes.
    """
    path = Path(path)
    if distributed.rank():
        return path
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        try:
            with open(part, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"can't write in {path.parent}: {reason}; choose another folder") from error
    return path


def _remove_leftovers(path: Path) -> None:
    """Deletes temporary files of `write_whole` for `path` whose process was killed."""
    pattern = f"{glob.escape(path.name)}.*.part"
    for part in path.parent.glob(pattern) if os.name == "posix" else ():
        pid = part.name.split(".")[-2]
        if pid.isdecimal():
            try:
                os.kill(int(pid), 0)  # sends nothing
            except (ProcessLookupError, OverflowError):
                part.unlink(missing_ok=True)
            except PermissionError:  # it belongs to another user
                pass


def write_torch(content: Any, file: IO[bytes]) -> None:
    """`torch.save`, with errors of the disk as OSError."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    file.write(buffer.getbuffer())


def output_folder(folder: str | Path) -> Path:
    """Creates `folder` and checks that it is writable, so that a script fails early if not."""
    probe = write_whole(Path(folder) / f".probe.{os.getpid()}", lambda file: None)
    probe.unlink(missing_ok=True)
    return probe.parent


def write_json(path: str | Path, content: dict[str, Any]) -> Path:
    """Writes `content` as JSON: floats with 6 significant digits, short lists on one line."""
    # File names that are not UTF-8 contain surrogates, which JSON can only hold as escapes.
    text = (_layout(plain(content)) + "\n").encode(errors="backslashreplace")
    return write_whole(path, lambda file: file.write(text))


def _layout(value: Any, indent: str = "") -> str:
    """`value` as JSON, on one line if it fits, otherwise with one line per item."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    if len(text) + len(indent) <= 118 or not isinstance(value, dict | list) or not value:
        return text
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(k)}: {_layout(v, inner)}" for k, v in value.items()]
    else:
        parts = [_layout(v, inner) for v in value]
    body = ",\n".join(inner + part for part in parts)
    return f"{text[0]}\n{body}\n{indent}{text[-1]}"


def _json_type(value: Any) -> Any:
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, np.ndarray | torch.Tensor | np.generic):
        return value.tolist()
    raise TypeError(f"results can't hold a {type(value).__name__}")


def plain(value: Any) -> Any:
    """Converts NumPy, torch and Path objects to JSON types; floats get 6 significant digits."""
    text = json.dumps(value, default=_json_type)
    return json.loads(text, parse_float=lambda number: float(f"{float(number):.6g}"))


def without_nan(value: Any) -> Any:
    """Converts like `plain`, but keeps all digits. Numbers that are not finite, which JSON does not
    support, become None."""
    return json.loads(json.dumps(value, default=_json_type), parse_constant=lambda _: None)


def read_json(path: str | Path) -> dict[str, Any]:
    """Reads a results file. Raises UserError if it is missing, damaged or not an object.

    Its entries should be read inside `with reading(path)`.
    """
    with reading(path, Exception):
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object")
    return content


def write_npz(path: str | Path, **arrays: np.ndarray) -> Path:
    """Writes arrays as a compressed NPZ file."""
    return write_whole(path, lambda file: np.savez_compressed(file, **arrays))


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of an NPZ file. Raises UserError if it is missing or damaged."""
    with reading(path, Exception), np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


@contextmanager
def reading(path: str | Path, errors: Any = CONTENT_ERRORS) -> Iterator[None]:
    """Turns errors in this block, which reads the file `path` or its content, into UserErrors."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"there is no {path}: run the script that writes it first") from None
    except errors as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else first_line(error)
        advice = "run the script that writes it again"
        raise UserError(f"can't read {path} ({reason}): {advice}") from error


def shown(path: str | Path) -> str:
    """A path for messages, relative to the working directory if it is inside it."""
    path, here = Path(path).resolve(), Path.cwd()
    return printable(str(path.relative_to(here) if path.is_relative_to(here) else path))


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, path: Path, digest: str) -> None:
    """Downloads a file to `path` if it is missing. `digest` is the beginning of its SHA-256.

    Raises UserError if the file has another hash, or if the download fails or is below 20 kB/s.
    """
    if path.is_file():
        if sha256(path).startswith(digest):
            return
        raise UserError(f"{shown(path)} is damaged: delete it to download it again")
    chunks: queue.SimpleQueue = queue.SimpleQueue()

    def receive() -> None:
        try:
            with urllib.request.urlopen(url, timeout=8) as response:
                while chunk := response.read1(2**16):
                    chunks.put(chunk)
            chunks.put(b"")
        except Exception as error:
            chunks.put(error)

    def fetch(file: IO[bytes]) -> None:
        deadline, received = time.monotonic() + PATIENCE, hashlib.sha256()
        # In a thread, because a slow server can delay every step: the connection, headers, data.
        threading.Thread(target=receive, daemon=True).start()
        try:
            with progress(None, path.name, unit="B", unit_scale=True) as bar:
                while chunk := chunks.get(timeout=max(deadline - time.monotonic(), 0)):
                    if isinstance(chunk, Exception):
                        raise chunk
                    file.write(chunk)
                    received.update(chunk)
                    bar.update(len(chunk))
                    deadline += len(chunk) / 20_000
            if not received.hexdigest().startswith(digest):
                raise ValueError("it was incomplete or has other content")
        except Exception as error:
            reason = "too slow" if isinstance(error, queue.Empty) else first_line(error)
            problem = f"{url} could not be downloaded ({reason})"
            raise UserError(f"{problem}: put the file at {shown(path)}") from None

    write_whole(path, fetch)


def git_state(root: Path = ROOT) -> dict[str, Any]:
    """`git_revision`, and `git_dirty`: whether the Python files differ from it.

    Both are None unless `root` is the top folder of a git repository.
    """
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env["GIT_CEILING_DIRECTORIES"] = str(root.resolve().parent)  # not a repository around `root`
    options = {"capture_output": True, "text": True, "timeout": 10, "check": True, "env": env}

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
        return subprocess.run(command, **options).stdout.strip()

    try:
        dirty = bool(git("status", "--porcelain", "--", "*.py"))
        return {"git_revision": git("rev-parse", "HEAD"), "git_dirty": dirty}
    except (OSError, ValueError, subprocess.SubprocessError):
        return {"git_revision": None, "git_dirty": None}


GIT_STATE = git_state()  # on import, since files may be edited while a script runs


_last_time = STARTED


def provenance(seed: int, device: torch.device, **origins: str) -> dict[str, Any]:
    """How a result was made; `origins` are sources and hashes of the data and weights.

    `seconds` counts from the script's previous result, or from its start. The memory is the sum
    of the peaks of all processes, so each of them has to call this function.
    """
    global _last_time
    peaks = distributed.share(lambda _: peak_memory_bytes(device) or 0, range(distributed.size()))
    seconds, _last_time = time.monotonic() - _last_time, time.monotonic()
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(ROOT).as_posix() if script.is_relative_to(ROOT) else script.name
    start = ["torchrun", f"--nproc-per-node={distributed.size()}"]
    start = start if distributed.size() > 1 else ["python"]
    versions = {library: importlib.metadata.version(library) for library in LIBRARIES}
    return {
        "command": shlex.join([*start, name, *sys.argv[1:]]),
        **GIT_STATE,
        "seed": seed,
        "versions": {"python": platform.python_version()} | versions,
        "device": device.type,
        "hardware": hardware(device),
        "seconds": seconds,
        "peak_memory_bytes": sum(peaks) or None,
        **origins,
    }
