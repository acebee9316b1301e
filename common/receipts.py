"""Receipts: what a script was asked for, what it was made from, and the SHA-256 of every file that it wrote.

A script that explains leaves `receipts.json` beside its results; report/verify.py reads it and makes everything again.
"""

import os
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from common.results import command, read_json, sha256, write_json
from common.runtime import UserError

NAME = "receipts.json"
ELSEWHERE = ("out", "data", "device")  # arguments that say where the work is done; whoever checks it has their own


def write(folder: Path, args: Namespace, written: Iterable[Path], origin: dict[str, Any]) -> Path:
    """Writes FOLDER/receipts.json, to be called when all else is there.

    Args:
        args: the script's arguments, as it used them.
        written: the files in `folder` to answer for.
        origin: the results' provenance; its hashes say what they were made from.
    """
    content = {
        "script": command().split()[1],
        "arguments": {key: _stored(value, folder) for key, value in vars(args).items() if key not in ELSEWHERE},
        "made_from": {key: value for key, value in origin.items() if key.endswith("_sha256")},
        "files": {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(written)},
    }
    return write_json(folder / NAME, content)


def read(folder: Path) -> tuple[dict[str, Any], Namespace]:
    """The receipt in `folder`, and the arguments in it; settings come back as plain dictionaries.

    Raises:
        UserError: none there, or it is not one.
    """
    if not (folder / NAME).is_file():
        raise UserError(f"there is no {folder / NAME}: run the script that explains again")
    receipt = read_json(folder / NAME)
    try:
        arguments = {key: _restored(value, folder) for key, value in receipt["arguments"].items()}
        receipt["script"], receipt["made_from"].items(), receipt["files"].items()
    except (AttributeError, LookupError, TypeError):
        raise UserError(f"{folder / NAME} is not a receipt: run the script that explains again") from None
    return receipt, Namespace(**arguments)


def changed(folder: Path, files: dict[str, str]) -> list[str]:
    """A line for each of `files` (path from `folder`: SHA-256) that is missing or not what it was."""
    lines = []
    for name, digest in files.items():
        if not (folder / name).is_file():
            lines.append(f"{name} is missing")
        elif sha256(folder / name) != digest:
            lines.append(f"{name} was changed")
    return lines


def _stored(value: Any, folder: Path) -> Any:
    """Paths as seen from `folder`, so that a copy of the whole tree still finds its own checkpoint."""
    if isinstance(value, Path):
        try:
            return {"path": Path(os.path.relpath(value, folder)).as_posix()}
        except ValueError:  # on another drive, on Windows
            return {"path": value.resolve().as_posix()}
    return asdict(value) if is_dataclass(value) else value


def _restored(value: Any, folder: Path) -> Any:
    return folder / value["path"] if isinstance(value, dict) and set(value) == {"path"} else value
