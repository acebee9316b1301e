"""A user's own inputs: which files they are, what is printed, and where results are written.

Each input has NAME.png, NAME.json and, on request, NAME.npz in a folder `user`.
"""

import itertools
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import data, figures, results
from common.cli import UserError, file_name, printable

import numpy as np

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
UNSURE = 0.5  # the model is called unsure if its largest probability is below


def image_files(paths: Iterable[Path]) -> list[Path]:
    """The given files, and the images in the given folders, in alphabetical order.

    If there is only one, it is read at once, so that a mistake is found early.
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
    if len(files) == 1:
        data.read_image(files[0])
    return files


def explain_each(paths: list[Path], explain: Callable[[Path], None]) -> None:
    """Calls `explain` for each file. If some of several files fail, the others are still explained.

    Prints a line for each file that failed, and raises a UserError with their number at the end.
    """
    failed = 0
    for path in paths:
        try:
            explain(path)
        except UserError as error:
            # An error that does not name the file is about something else, such as an option.
            if len(paths) == 1 or printable(path.name) not in printable(str(error)):
                raise
            failed += 1
            print(printable(f"error: {error}"), file=sys.stderr, flush=True)
    if failed:
        raise UserError(f"{failed} of {len(paths)} images were not explained")


def save(
    folder: Path,
    source: Path,
    inputs: Iterable[Path],
    figure,
    content: dict[str, Any],
    rows: list[tuple[str, str]],
    arrays: dict[str, np.ndarray] | None = None,
    ending: str = "",
    photographs: bool = True,
) -> None:
    """Writes the result for the file `source`: figure, content and, if given, arrays.

    Prints `rows` of a label and a text in two columns, and what was written. The files are
    `folder`/NAME.*, or NAME-2.*, NAME-3.*, ..., where NAME is that of `source` with the `ending`.
    A result with the same content["request"] (settings, hashes of input and model) is replaced. No
    other file is replaced, in particular none of the `inputs`.
    """
    name, request = file_name(source.stem) + ending, results.plain(content["request"])
    inputs = {path.resolve() for path in inputs}
    for number in itertools.count(1):
        stem = name if number == 1 else f"{name}-{number}"
        png, text, npz = (folder / f"{stem}{suffix}" for suffix in (".png", ".json", ".npz"))
        there = {path.resolve() for path in (png, text, npz) if os.path.lexists(path)}
        earlier = None
        with suppress(UserError):  # raised for a missing or damaged file
            earlier = results.read_json(text).get("request")
        if not there or (earlier == request and not inputs & there):
            break
    figures.save(figure, png, photographs)
    results.write_json(text, content)
    written = [results.shown(png), text.name]
    if arrays:
        results.write_npz(npz, **arrays)
        written.append(npz.name)
    width = max(len(label) for label, _ in rows)
    lines = [printable(f"{label:{width}}  {line}") for label, line in rows]
    lines.append(f"wrote {', '.join(written[:-1])} and {written[-1]}")
    print("\n".join(lines), flush=True)


def prediction(classes: list[str], probabilities: list[float]) -> str:
    """The two most probable classes, and whether the model is unsure; both lists in descending
    order of probability."""
    pairs = zip(classes[:2], probabilities[:2], strict=True)
    unsure = f" (unsure: below {UNSURE:.0%})" if probabilities[0] < UNSURE else ""
    return ", ".join(f"{name} {percent(p)}" for name, p in pairs) + unsure


def percent(share: float) -> str:
    """A share from 0 to 1 as a whole percentage; small ones are "<1%" instead of "0%"."""
    return f"{share:.0%}" if share >= 0.005 else "<1%"
