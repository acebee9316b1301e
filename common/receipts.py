"""Receipts: what a script was asked for, what it was made from and with, and the SHA-256 of every file that it wrote.

Every script that writes results adds its receipt to `receipts.json` beside them; report/verify.py reads it and makes again what it can.
"""

import os
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from common.results import command, plain, read_json, sha256, write_json
from common.runtime import UserError

NAME = "receipts.json"
ELSEWHERE = ("out", "data", "device")  # arguments that say where the work is done; whoever checks it has their own
# Of a provenance: what decides the last bits.
MADE_WITH = {"versions": dict, "code": dict, "device": str, "hardware": str}


@dataclass(frozen=True)
class Receipt:
    """What a script, or a part of it, answers for.

    Attributes:
        key: the script's path and, after a blank, the part.
        command: how it was called.
        arguments: as the script used them; settings are plain dictionaries.
        made_from: hashes of data and weights, by their names in the provenance.
        made_with: MADE_WITH of the provenance.
        files: path from the folder: SHA-256.
    """

    key: str
    command: str
    arguments: Namespace
    made_from: dict[str, str]
    made_with: dict[str, Any]
    files: dict[str, str]

    @property
    def script(self) -> str:
        return self.key.split(" ")[0]


def write(folder: Path, args: Namespace, written: Iterable[Path], origin: dict[str, Any], part: str = "") -> Path:
    """Adds a script's receipt to FOLDER/receipts.json, or replaces it there; to be called when all else is there.

    Args:
        args: the script's arguments, as it used them.
        written: the files in `folder` to answer for; other receipts no longer do.
        origin: the results' provenance.
        part: of the script, where its parts can be run alone.
    """
    files = {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(written)}
    key = f"{command().split()[1]} {part}".strip()
    content = _earlier(folder / NAME)
    for other in content.values():
        other["files"] = {name: digest for name, digest in other["files"].items() if name not in files}
    content[key] = {
        "command": origin["command"],
        "arguments": {key: _stored(value, folder) for key, value in vars(args).items() if key not in ELSEWHERE},
        **made(origin),
        "files": files,
    }
    return write_json(folder / NAME, {key: content[key] for key in sorted(content) if content[key]["files"]})


def made(origin: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a provenance says of `made_from` and `made_with`."""
    made_from = {key: value for key, value in origin.items() if key.endswith("_sha256")}
    return {"made_from": made_from, "made_with": {key: plain(origin[key]) for key in MADE_WITH}}


def read(folder: Path) -> dict[str, Receipt]:
    """The receipts in `folder`, by their keys.

    Raises:
        UserError: none there, or the file is something else.
    """
    path = folder / NAME
    if not path.is_file():
        raise UserError(f"there is no {path}: run the script that writes results there again")
    content = read_json(path)
    if not isinstance(content, dict) or not content or not all(map(_is_receipt, content.values())):
        raise UserError(f"{path} does not hold receipts: run the scripts that write results there again")
    found = {}
    for key, entry in content.items():
        arguments = {name: _restored(value, folder) for name, value in entry["arguments"].items()}
        found[key] = Receipt(key, **entry | {"arguments": Namespace(**arguments)})
    return found


def changed(folder: Path, files: dict[str, str]) -> list[str]:
    """A line for each of `files` (path from `folder`: SHA-256) that is missing or not what it was."""
    lines = []
    for name, digest in files.items():
        if not (folder / name).is_file():
            lines.append(f"{name} is missing")
        elif sha256(folder / name) != digest:
            lines.append(f"{name} was changed")
    return lines


def _earlier(path: Path) -> dict[str, dict[str, Any]]:
    """The receipts that stay beside a new one: those of a file that is none are given up."""
    try:
        content = read_json(path)
    except UserError:
        return {}
    return content if isinstance(content, dict) and all(map(_is_receipt, content.values())) else {}


def _is_receipt(entry: Any) -> bool:
    parts = {"command": str, "arguments": dict, "made_from": dict, "made_with": dict, "files": dict}
    if not _has(entry, parts) or not _has(entry["made_with"], MADE_WITH):
        return False
    return all(
        isinstance(text, str)
        for words in (entry["made_from"], entry["files"], entry["made_with"]["versions"], entry["made_with"]["code"])
        for text in words.values()
    )


def _has(value: Any, parts: dict[str, type]) -> bool:
    """Whether a value is a dictionary with these keys and no others, each of its type."""
    return isinstance(value, dict) and {key: type(part) for key, part in value.items()} == parts


def _stored(value: Any, folder: Path) -> Any:
    """Paths as seen from `folder`, so that a copy of the whole tree still finds its own checkpoint."""
    if isinstance(value, Path):
        try:
            return {"path": Path(os.path.relpath(value, folder)).as_posix()}
        except ValueError:  # on another drive, on Windows
            return {"path": value.resolve().as_posix()}
    return asdict(value) if is_dataclass(value) else value


def _restored(value: Any, folder: Path) -> Any:
    path = value.get("path") if isinstance(value, dict) and set(value) == {"path"} else None
    return folder / path if isinstance(path, str) else value
