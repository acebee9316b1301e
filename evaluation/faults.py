"""Attacks the scripts with damaged files, odd images and arguments, and kills.

    python evaluation/faults.py                 2,200 attempts, a quarter of an hour
    python evaluation/faults.py --attempts 50   fewer

An attempt counts as held if the script ends within 60 seconds with a documented status and at most
one line on standard error, and leaves no half-written file. Each attempt runs in a copy of this
process, so libraries are imported once. Needs the results in outputs/. Writes OUT/faults.json: the
number of attempts tried and held, and the failed ones, by kind.
"""

import importlib
import io
import json
import os
import runpy
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import ROOT, cli, data, models, results

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

STATUSES = (0, 1, 2, 130)
LIMIT = 60  # seconds
KINDS = ("checkpoint", "text model", "results", "report", "image", "arguments", "kill")
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.glob("[qer]*/**/*.py")
    if "run(main)" in path.read_text(encoding="utf-8") and path.name != "faults.py"
)
OPTIONS = "--seed --seeds --samples --images --image --out --model --data --device --epochs --only"
OPTIONS = [*OPTIONS.split(), "--n-segments", "--target", "--layer", "--correct", "--held-out"]
VALUES = "-1 0 1 4294967296 nan 1e9 ../.. /dev/full /proc/1 -- - true cat é . $\\frac{".split()
VALUES += ["", "9" * 400, "x" * 300, "\udce9", "a\nb", "\x1b[2J"]
READERS = {".json": results.read_json, ".npz": results.read_npz}
READERS |= {".pt": models.read_torch, ".png": data.read_image}


def attempt(
    folder: Path, argv: list[str], kill_after: float | None, prepare: Callable[[], None]
) -> list[str]:
    """Runs a script in `folder`, in a copy of this process. Returns what is wrong with its end.

    `prepare` is called in the copy before the script, which is killed after the given seconds.
    """
    log = folder / "stderr"
    shutil.rmtree(folder / "out", ignore_errors=True)
    child = os.fork()
    if child == 0:
        status = 70
        try:
            for stream, path in ((1, os.devnull), (2, log)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
            os.chdir(folder)
            sys.argv = [str(ROOT / argv[0]), *argv[1:]]
            signal.setitimer(signal.ITIMER_REAL, kill_after or LIMIT)
            prepare()
            runpy.run_path(sys.argv[0], run_name="__main__")
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            sys.stderr.flush()
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    errors, wrong = log.read_text(errors="replace").splitlines(), []
    for path in (folder / "out").rglob("*.*"):
        if path.suffix == ".part" and not kill_after:  # after a kill, the next run removes it
            wrong.append(f"{path.name} is left")
        try:
            READERS.get(path.suffix, str)(path)
        except cli.UserError as error:
            wrong.append(str(error))
    if code not in STATUSES and not (kill_after and code == -signal.SIGALRM):
        wrong.append(f"status {code}: {errors[-1:]}")
    if len(errors) > 1:
        wrong.append(f"{len(errors)} lines of errors, the last: {errors[-1]}")
    return wrong


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """A file damaged in one of ten ways: a flipped bit, cut off, a block of zeros, removed or
    repeated, bytes appended, or other content instead (four ways)."""
    start = rng.integers(len(content))
    before, block, after = content[:start], content[start : start + 64], content[start + 64 :]
    flipped = bytes([block[0] ^ 1 << rng.integers(8)])
    return [
        before + flipped + content[start + 1 :],
        before,
        before + bytes(len(block)) + after,
        before + after,
        before + 2 * block + after,
        content + rng.bytes(64),
        *(b"", b"[]", b"\x80\x04N.", rng.bytes(99)),
    ][rng.integers(10)]


def mutate(value, rng: np.random.Generator):
    """JSON content with one value replaced, at a random depth."""
    if isinstance(value, dict | list) and value and rng.random() < 0.8:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key, copy = keys[rng.integers(len(keys))], value.copy()
        copy[key] = mutate(value[key], rng)
        return copy
    return [None, [], {}, "x", "../../x", -1, 1e300, True, [[]], {"x": {}}][rng.integers(10)]


def image_file(rng: np.random.Generator) -> bytes:
    """An image of a random format, mode and size, in half of the cases damaged."""
    mode = rng.choice(["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "LA"])
    width, height = (int(2 ** rng.uniform(0, 9)) for _ in range(2))
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    try:
        form = rng.choice(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "EPS", "PPM"])
        Image.fromarray(pixels).convert(str(mode)).save(buffer, str(form))
    except (OSError, ValueError, KeyError):  # not every format has every mode
        Image.fromarray(pixels).save(buffer, "PNG")
    return damage(buffer.getvalue(), rng) if rng.random() < 0.5 else buffer.getvalue()


def copy_results(folder: Path) -> list[Path]:
    """Copies the results files to `folder`, with a tiny figure in place of each figure."""
    copies = []
    for path in sorted(results.OUTPUTS.rglob("*.*")):
        target = folder / path.relative_to(results.OUTPUTS)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            copies.append(Path(shutil.copy(path, target)))
        elif path.suffix == ".svg":
            target.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
        elif path.suffix == ".png":
            Image.new("RGB", (9, 9)).save(target)
    return copies


def stop_before_work() -> None:
    """Ends a script before its first output, after all arguments were checked."""
    results.output_folder = results.write_whole = lambda *_: sys.exit(0)


def attack(folder: Path, n: int, rng: np.random.Generator) -> dict[str, dict]:
    """Makes `n` attempts in `folder`; the counts of each kind."""
    q1, q2, out = "q1_gradcam/explain.py", "q2_lime/explain_text.py", ["--out", "out"]
    shapes = data.load_shapes()
    torch.manual_seed(0)
    options = {"widths": (8, 8, 8)}
    network = models.build("compact", 10, (0.5,) * 3, (0.2,) * 3, options)
    identity = ("compact", options, shapes.classes, "shapes")
    checkpoint = models.save(folder / "model.pt", models.Model(network.eval(), *identity))
    Image.fromarray(shapes.x_test[0]).save(folder / "good.png")
    (folder / "text.txt").write_text("The telescope showed a comet and the lunar eclipse.")
    (folder / "text").mkdir()
    stored = copy_results(folder / "outputs")
    kinds = {kind: {"tried": 0, "held": 0, "failed": []} for kind in KINDS}
    # Arguments are tried twice as often as each other kind.
    for kind in cli.progress(rng.choice([*KINDS, "arguments"], n), "attempts"):
        kill_after, prepare, damaged = None, lambda: None, None
        if kind == "checkpoint":
            (folder / "bad.pt").write_bytes(damage(checkpoint.read_bytes(), rng))
            argv = [q1, "--model", "bad.pt", "--image", "good.png", *out]
        elif kind == "image":
            (folder / "bad.png").write_bytes(image_file(rng))
            argv = [q1, "--model", "model.pt", "--image", "bad.png", *out]
        elif kind == "text model":
            for path in (results.OUTPUTS / "q2_lime/text").glob("*.npz"):
                (folder / "text" / path.name).write_bytes(damage(path.read_bytes(), rng))
            argv = [q2, "--models", "text", "--text", "text.txt", "--samples", "100", *out]
        elif kind in ("results", "report"):
            damaged = stored[rng.integers(len(stored))]
            good = damaged.read_bytes()
            content = json.loads(good)
            if kind == "results":
                content |= {"provenance": {"command": "python x.py"}}
            text = json.dumps(mutate(content, rng)).encode()
            damaged.write_bytes(text if rng.random() < 0.7 else damage(text, rng))
            argv = ["report/verify.py", str(damaged.relative_to(folder))]
            if kind == "report":
                argv = ["report/build.py", "--outputs", "outputs", "--out", "out/report.pdf"]
        elif kind == "arguments":
            chosen = rng.choice(OPTIONS, rng.integers(1, 4))
            words = [word for option in chosen for word in (option, str(rng.choice(VALUES)))]
            argv, prepare = [SCRIPTS[rng.integers(len(SCRIPTS))], *words], stop_before_work
        else:
            what = [["--image", "good.png"], ["--all"]][rng.integers(2)]
            argv = [q1, "--model", "model.pt", *what, *out]
            kill_after = float(rng.uniform(0.01, 3))
        wrong, row = attempt(folder, argv, kill_after, prepare), kinds[kind]
        if damaged:
            damaged.write_bytes(good)
        row["tried"] += 1
        row["held"] += not wrong
        row["failed"] += [{"argv": argv, "why": wrong}] if wrong else []
    return kinds


def main() -> None:
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--attempts", type=cli.positive, default=2200, metavar="N", help="default: 2200")
    add("--seed", type=cli.seed, default=0, metavar="N", help="random seed (default: 0)")
    default = results.OUTPUTS / "evaluation"
    add("--out", type=Path, default=default, metavar="DIR", help="default: outputs/evaluation")
    args = parser.parse_args()
    if not hasattr(os, "fork"):
        raise cli.UserError("this script needs Linux or macOS: it copies its process")
    out = results.output_folder(args.out)
    torch.set_num_threads(1)  # a copy of the process has no other threads
    tqdm.monitor_interval = 0
    for script in SCRIPTS:
        importlib.import_module(script.removesuffix(".py").replace("/", "."))
    with tempfile.TemporaryDirectory() as name:
        kinds = attack(Path(name), args.attempts, np.random.default_rng(args.seed))
    total = {key: sum(row[key] for row in kinds.values()) for key in ("tried", "held")}
    origin = results.provenance(args.seed, torch.device("cpu"))
    results.write_json(out / "faults.json", {"kinds": kinds, **total, "provenance": origin})
    print(f"{total['held']} of {total['tried']} attempts held")
    print(f"wrote {results.shown(out / 'faults.json')}")


if __name__ == "__main__":
    cli.run(main)
