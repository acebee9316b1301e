"""Attacks the scripts with damaged files, odd images and arguments, and kills.

    python evaluation/faults.py                 2,000 attempts, half an hour on two cores
    python evaluation/faults.py --attempts 50   fewer

An attempt is held if the script ends within 60 seconds with a documented status and at most one
line on standard error, and leaves no half-written file. Each runs in a copy of this process, so
libraries are imported once. Needs the results in outputs/. Writes OUT/faults.json: what was tried,
held and failed, by kind.
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
import time
from collections.abc import Callable
from pathlib import Path

from common import ROOT, cli, data, models, results

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

STATUSES = (0, 1, 2, 130)
LIMIT = 60  # seconds
WEIGHTS = {"checkpoint": 4, "text model": 4, "image": 3, "arguments": 4, "kill": 1}
WEIGHTS |= {"results, verified": 2, "results, in the report": 2}
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.glob("[qer]*/*.py")
    if "run(main)" in path.read_text(encoding="utf-8") and path.name != "faults.py"
)
OPTIONS = "--seed --seeds --samples --images --image --out --model --data --device --epochs --only"
OPTIONS = [*OPTIONS.split(), "--n-segments", "--target", "--layer", "--correct", "--held-out"]
VALUES = [
    "",
    "-1",
    "0",
    "1",
    "4294967296",
    "9" * 400,
    "nan",
    "1e9",
    "x" * 300,
    "../..",
    "/dev/full",
]
VALUES += ["/proc/1", "\udce9", "a\nb", "\x1b[2J", "$\\frac{", "--", "-", "true", "cat", "é", "."]


class Attempts:
    """Runs scripts in `folder` and counts what was held."""

    def __init__(self, folder: Path):
        self.folder, self.log = folder, folder / "stderr"
        self.kinds: dict[str, dict] = {}

    def run(
        self,
        kind: str,
        argv: list[str],
        kill_after: float | None = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        """One attempt. `prepare` is called in the copy of the process before the script."""
        child = os.fork()
        if child == 0:
            status = 70
            try:
                for stream, path in ((1, os.devnull), (2, self.log)):
                    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
                os.chdir(self.folder)
                sys.argv = [str(ROOT / argv[0]), *argv[1:]]
                prepare()
                runpy.run_path(sys.argv[0], run_name="__main__")
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        code = self.wait(child, kill_after)
        errors = self.log.read_text(errors="replace").splitlines()
        wrong = self.half_written()
        if code not in STATUSES and not (code < 0 and kill_after):
            wrong.append(f"status {code}")
        if len(errors) > 1:
            wrong.append(f"{len(errors)} lines of errors")
        row = self.kinds.setdefault(kind, {"tried": 0, "held": 0, "failed": []})
        row["tried"] += 1
        row["held"] += not wrong
        if wrong:
            row["failed"].append({"argv": argv, "why": wrong, "last": errors[-1:]})

    def wait(self, child: int, kill_after: float | None) -> int:
        """The exit status of a process, or -9 if it was killed; 124 after LIMIT seconds."""
        end = time.monotonic() + (kill_after or LIMIT)
        while time.monotonic() < end:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return -9 if kill_after else 124

    def half_written(self) -> list[str]:
        """The results files in OUT that cannot be read."""
        unreadable = []
        for path in (self.folder / "out").rglob("*.*"):
            try:
                if path.suffix == ".json":
                    results.read_json(path)
                elif path.suffix == ".npz":
                    results.read_npz(path)
                elif path.suffix == ".pt":
                    models.read_torch(path)
                elif path.suffix == ".png":
                    data.read_image(path)
            except cli.UserError as error:
                unreadable.append(str(error))
        return unreadable


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """A file damaged in one of ten ways: flipped bits, cut off, a block of zeros, removed or
    repeated, bytes appended, or other content instead (four ways)."""
    changed, size = bytearray(content), len(content)
    way = rng.integers(8)
    if way < 2:
        for place in rng.integers(0, size, rng.integers(1, 4)):
            changed[place] ^= 1 << rng.integers(8)
    elif way == 2:
        del changed[rng.integers(size) :]
    elif way == 3:
        start = rng.integers(size)
        changed[start : start + 64] = bytes(len(changed[start : start + 64]))
    elif way < 6:
        start = rng.integers(size)
        block = changed[start : start + 64]
        changed[start : start + 64] = b"" if way == 4 else block + block
    elif way == 6:
        changed += rng.bytes(64)
    else:
        return bytes([b"", b"[]", b"\x80\x04N.", rng.bytes(99)][rng.integers(4)])
    return bytes(changed)


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
    mode = ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "LA"][rng.integers(9)]
    width, height = (int(2 ** rng.uniform(0, 9)) for _ in range(2))
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    try:
        form = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "EPS", "PPM"][rng.integers(8)]
        Image.fromarray(pixels).convert(mode).save(buffer, form)
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


def main() -> None:
    parser = cli.Parser(__doc__)
    text = "in all (default: 2000)"
    parser.add_argument("--attempts", type=cli.positive, default=2000, metavar="N", help=text)
    parser.add_argument("--seed", type=cli.seed, default=0, metavar="N", help="default: 0")
    default = results.OUTPUTS / "evaluation"
    parser.add_argument("--out", type=Path, default=default, metavar="DIR")
    args = parser.parse_args()
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


def attack(folder: Path, n: int, rng: np.random.Generator) -> dict[str, dict]:
    """Makes `n` attempts in `folder`; the counts of each kind."""
    attempts, q1, q2 = Attempts(folder), "q1_gradcam/explain.py", "q2_lime/explain_text.py"
    out = ["--out", str(folder / "out")]
    shapes = data.load_shapes()
    torch.manual_seed(0)
    options = {"widths": (8, 8, 8)}
    network = models.build("compact", 10, (0.5,) * 3, (0.2,) * 3, options)
    identity = ("compact", options, shapes.classes, "shapes")
    checkpoint = models.save(folder / "model.pt", models.Model(network.eval(), *identity))
    good = checkpoint.read_bytes()
    Image.fromarray(shapes.x_test[0]).save(folder / "good.png")
    (folder / "text.txt").write_text("The telescope showed a comet and the lunar eclipse.")
    text_models = sorted((results.OUTPUTS / "q2_lime/text").glob("*.npz"))
    stored = copy_results(folder / "outputs")
    shares = np.array(list(WEIGHTS.values())) / sum(WEIGHTS.values())
    for kind in cli.progress(rng.choice(list(WEIGHTS), n, p=shares), "attempts"):
        if kind == "checkpoint":
            (folder / "bad.pt").write_bytes(damage(good, rng))
            attempts.run(kind, [q1, "--model", "bad.pt", "--image", "good.png", *out])
        elif kind == "image":
            (folder / "bad.png").write_bytes(image_file(rng))
            attempts.run(kind, [q1, "--model", "model.pt", "--image", "bad.png", *out])
        elif kind == "text model":
            (folder / "text").mkdir(exist_ok=True)
            for path in text_models:
                content = path.read_bytes()
                (folder / "text" / path.name).write_bytes(damage(content, rng))
            user = ["--text", "text.txt", "--samples", "100"]
            attempts.run(kind, [q2, "--models", "text", *user, *out])
        elif kind.startswith("results"):
            path = stored[rng.integers(len(stored))]
            content = json.loads(path.read_text(encoding="utf-8"))
            argv = ["report/build.py", "--outputs", "outputs", "--out", "out/report.pdf"]
            if kind.endswith("verified"):
                content |= {"provenance": {"command": "python x.py"}}
                argv = ["report/verify.py", str(path)]
            text = json.dumps(mutate(content, rng)).encode()
            good_text = path.read_bytes()
            path.write_bytes(text if rng.random() < 0.7 else damage(text, rng))
            attempts.run(kind, argv)
            path.write_bytes(good_text)
        elif kind == "arguments":
            chosen = rng.choice(OPTIONS, rng.integers(1, 4))
            argv = [word for option in chosen for word in (option, str(rng.choice(VALUES)))]
            script = SCRIPTS[rng.integers(len(SCRIPTS))]
            attempts.run(kind, [script, *argv], prepare=stop_before_work)
        else:
            what = [["--image", "good.png"], ["--all"]][rng.integers(2)]
            argv = [q1, "--model", "model.pt", *what, *out]
            attempts.run(kind, argv, kill_after=float(rng.uniform(0.01, 3)))
    return attempts.kinds


if __name__ == "__main__":
    cli.run(main)
