"""A user's own inputs: which files they are, what is printed, and where results are written.

Each input has NAME.png, NAME.json and, on request, NAME.npz in a folder `user`.
"""

import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common import data, results
from common.cli import UserError, file_name, printable
from common.figures import save

import numpy as np

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
UNSURE = 0.5  # the model is called unsure if its largest probability is below


def image_files(paths: Iterable[Path]) -> list[Path]:
    """The given files, and the images in the given folders, in alphabetical order.

    Reads the first one, so that a mistake is found early.
    """
    files = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = [p for p in sorted(path.iterdir()) if p.suffix.lower() in SUFFIXES and p.is_file()]
        if not inside:
            raise UserError(f"{results.shown(path)} contains no images")
        files += inside
    for path in files[:1]:
        data.read_image(path)
    return files


def output_base(
    folder: Path, source: Path, request: dict, inputs: Iterable[Path], ending: str = ""
) -> Path:
    """Where the results for a file go, without the suffix: `folder`/NAME, or NAME-2, NAME-3, ...

    NAME is the file's, with the `ending`. The result of the same `request` (settings and hashes of
    input and model, stored in the JSON file under that key) is replaced. No other file is, in
    particular none of the `inputs`.
    """
    name, request = file_name(source.stem) + ending, results.plain(request)
    inputs = {path.resolve() for path in inputs}
    for number in itertools.count(1):
        base = folder / (name if number == 1 else f"{name}-{number}")
        there = [path for path in files_of(base) if os.path.lexists(path)]
        if not there or (_request(base) == request and not inputs & {p.resolve() for p in there}):
            return base


def _request(base: Path) -> Any:
    try:
        return results.read_json(files_of(base)[1]).get("request")
    except UserError:
        return None


def files_of(base: Path) -> list[Path]:
    """The figure, the content and the arrays of a result."""
    return [base.with_name(base.name + suffix) for suffix in (".png", ".json", ".npz")]


def write(
    base: Path,
    figure,
    content: dict[str, Any],
    arrays: dict[str, np.ndarray] | None = None,
    photographs: bool = True,
) -> str:
    """Writes the figure, the content and, if given, the arrays. Returns a line that says so."""
    png, text, npz = files_of(base)
    save(figure, png, photographs)
    results.write_json(text, content)
    names = [results.shown(png), text.name]
    if arrays:
        results.write_npz(npz, **arrays)
        names.append(npz.name)
    return f"wrote {', '.join(names[:-1])} and {names[-1]}"


def prediction(classes: list[str], probabilities: list[float]) -> str:
    """The two most probable classes, and whether the model is unsure; both lists in descending
    order of probability."""
    pairs = zip(classes[:2], probabilities[:2], strict=True)
    unsure = f" (unsure: below {UNSURE:.0%})" if probabilities[0] < UNSURE else ""
    shown = (f"{name} {p:.0%}" if p >= 0.005 else f"{name} <1%" for name, p in pairs)
    return ", ".join(shown) + unsure


def report(rows: list[tuple[str, str]], written: str) -> None:
    """Prints rows of a label and a text in two columns, and the line of `write`."""
    width = max(len(label) for label, _ in rows)
    lines = [printable(f"{label:{width}}  {text}") for label, text in rows] + [written]
    print("\n".join(lines), flush=True)
