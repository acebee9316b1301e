"""Verifies results: runs the command behind each file again and compares the numbers.

    python report/verify.py outputs/q1_gradcam/evaluation.json      one or more results files
    python report/verify.py --all                                   all of them (hours: it trains)

A results file records the command that wrote it. That command runs again, with --out in a temporary
folder. Numbers in JSON and arrays in .npz files have to be the same: exactly on the same processor,
device and versions, and within 1e-3 elsewhere (absolute for values below 1), because sums of 32-bit
floats depend on their order. Times, memory and provenance are not compared. Prints a line for each
file. Exit status: 0 if all are the same, 1 if one differs, 2 if one could not be run.
"""

import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from common import results
from common.cli import ROOT, Parser, UserError, run

import numpy as np

# Nothing else is ever run, whatever a results file says.
FOLDERS = ("q1_gradcam", "q2_lime", "evaluation")
SCRIPTS = [p.relative_to(ROOT).as_posix() for f in FOLDERS for p in (ROOT / f).glob("*.py")]
RECORDED = re.compile(
    r"(?s)(python|torchrun (?P<processes>--nproc-per-node=\d{1,2})) (?P<script>\S+)(?P<options>.*)"
)
TOLERANCE = 1e-3
IGNORED = re.compile(
    "provenance|hardware|seconds|^minutes$|^steps$|ratio$|forward_passes|memory|added_bytes"
    "|time_share"
)


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--all", action="store_true", help="all results but minutes_*.json")
    args = parser.parse_args()
    every = (path for path in results.OUTPUTS.rglob("*.json") if not path.match("minutes_*"))
    files = sorted(every) if args.all else args.files
    if not files:
        parser.error("name results files, or --all")
    differ, failed = False, False
    with tempfile.TemporaryDirectory() as folder:
        once = cache(partial(run_again, Path(folder)))  # a command may have written several files
        for path in files:
            try:
                differ |= report_on(path, *once(command_of(path)))
            except UserError as error:
                failed = True
                print(f"{path}: not verified: {error}", flush=True)
    sys.exit(1 if differ else 2 if failed else 0)


def command_of(path: Path) -> tuple[str, ...]:
    """The recorded command, without "python". Raises UserError if it runs none of SCRIPTS."""
    with results.reading(path):  # also if a quote is not closed
        recorded = str(results.read_json(path)["provenance"]["command"])
        found = RECORDED.fullmatch(recorded)
        options = shlex.split(found["options"]) if found else []
    if not found or found["script"] not in SCRIPTS:
        raise UserError(f"{recorded!r} does not run a script of this project")
    if found["script"] == "evaluation/run.py":  # its experiments do not depend on each other
        options += ["--only", path.stem]
    launch = ["-m", "torch.distributed.run", found["processes"]] if found["processes"] else []
    return *launch, found["script"], *(option for option in options if option != "--resume")


def run_again(temporary: Path, command: tuple[str, ...]) -> tuple[Path, str]:
    """Runs a command. Returns the new folder for its results, and why it failed or ""."""
    folder = Path(tempfile.mkdtemp(dir=temporary))
    print(f"running {shlex.join(['python', *command])}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, *command, "--out", str(folder)],  # the last --out counts
        cwd=ROOT,
        env=os.environ | {"CI": "true", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return folder, ""
    lines = done.stderr.strip().splitlines() or ["no message"]
    last = ([line for line in lines if line.startswith("error:")] or lines)[-1]
    return folder, f"{shlex.join(command)} stopped with status {done.returncode}: {last}"


def report_on(path: Path, folder: Path, failure: str) -> bool:
    """Compares a file, and the .npz of the same name, with those in `folder`; prints a line."""
    candidates = sorted(folder.rglob(path.name))
    if failure or not candidates:
        raise UserError(failure or f"the command wrote no {path.name}")
    here = path.resolve().parts[::-1]
    again = max(candidates, key=lambda p: len(os.path.commonprefix([p.parts[::-1], here])))
    old, new = results.read_json(path), results.read_json(again)
    origins, keys = (old["provenance"], new["provenance"]), ("hardware", "device", "versions")
    machine, other = ([origin.get(key) for key in keys] for origin in origins)
    tolerance = 0.0 if machine == other else TOLERANCE
    how = f"within {TOLERANCE:g}" if tolerance else "exactly; same processor and versions"
    found = list(differences(old, new, tolerance))
    if path.with_suffix(".npz").is_file():
        arrays = [results.read_npz(p.with_suffix(".npz")) for p in (path, again)]
        found += differences(*arrays, tolerance)
    outcome = f"{len(found)} differences, the first: {found[0]}" if found else "the same"
    print(f"{path}: {outcome} ({how})", flush=True)
    return bool(found)


def differences(old: Any, new: Any, tolerance: float, place: str = "") -> Iterator[str]:
    """Yields a line for each value that is not the same."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(key for key in {*old, *new} if not IGNORED.search(key)):
            yield from differences(old.get(key), new.get(key), tolerance, f"{place}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, tolerance, f"{place}[{index}]")
    elif isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
        floats = old.dtype.kind == "f" and old.shape == new.shape
        close = floats and np.allclose(new, old, tolerance, tolerance, equal_nan=True)
        if not (close or np.array_equal(old, new)):
            yield f"array {place[1:]}"
    elif isinstance(old, float) and isinstance(new, float | int):
        if not math.isclose(old, new, rel_tol=tolerance, abs_tol=tolerance):
            yield f"{place[1:]} was {old}, is now {new}"
    elif old != new:
        yield f"{place[1:]} was {old!r:.60}, is now {new!r:.60}"


if __name__ == "__main__":
    run(main)
