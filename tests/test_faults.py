"""A sample of each kind of fault: no code runs, no traceback, nothing outside the output folder."""

import http.client
import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

from common import UserError, cli, imagenet, models, newsgroups, results

import numpy as np
import pytest
import torch
from conftest import ROOT, Harmful, call, small_model
from PIL import Image
from sklearn.utils import Bunch
from torchvision import models as zoo

from evaluation import compare, run
from q1_gradcam import evaluate, explain
from q2_lime import explain as lime
from q2_lime import explain_text
from report import build


@pytest.fixture(autouse=True)
def unharmed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "harmed").exists()


def test_the_cache_of_scikit_learn_runs_no_code(tmp_path):
    empty = Bunch(data=["a"], target=np.array([0]))
    (tmp_path / "scikit_learn_data").mkdir()
    for content, message in (
        ({"train": Harmful()}, "contains .*system"),
        ({"train": getattr}, "contains .*getattr"),
        ({"train": empty, "test": empty}, "posts differ from the official ones"),
        ([Bunch()], "list"),
        ({}, "'train'"),
    ):
        pickled = zlib.compress(pickle.dumps(content))
        (tmp_path / "scikit_learn_data/20news-bydate_py3.pkz").write_bytes(pickled)
        with pytest.raises(UserError, match=f"not 20newsgroups .*{message}"):
            newsgroups.load_20newsgroups(tmp_path)


def test_weights_in_the_cache_of_torch_run_no_code(tmp_path, monkeypatch):
    weights = zoo.get_model_weights("mobilenet_v2").DEFAULT
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()

    def put(content, digest: str | None = None) -> None:
        """Saves weights with the beginning of their hash in the name, as torchvision does."""
        torch.save(content, tmp_path / "w.pth")
        digest = digest or results.sha256(tmp_path / "w.pth")[:8]
        (tmp_path / "w.pth").rename(tmp_path / f"checkpoints/x-{digest}.pth")
        monkeypatch.setattr(weights.value, "url", f"https://example.org/x-{digest}.pth")

    for digest, message in (("00000000", "is damaged"), (None, "contains code")):
        put(Harmful(), digest)
        with pytest.raises(UserError, match=message):
            imagenet.load("mobilenet_v2")
    state = zoo.get_model("mobilenet_v2").state_dict()
    put(state)
    after = imagenet.load("mobilenet_v2", fold=False).network.state_dict()
    assert all(torch.equal(state[key], after[key]) for key in state)


def test_downloads(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.write_bytes(b"content" * 100_000)
    whole, target = results.sha256(source), tmp_path / "new/file"
    for _ in range(2):
        results.download(source.as_uri(), target, whole[:8])
        assert results.sha256(target) == whole
    with pytest.raises(UserError, match="is damaged: delete it"):
        results.download(source.as_uri(), target, "0" * 8)

    def refused(message: str, url: str = "https://example.org/x") -> None:
        with pytest.raises(UserError, match=message):
            results.download(url, tmp_path / "other/file", "0" * 8)
        assert not list((tmp_path / "other").iterdir())

    refused("other content", source.as_uri())
    refused("No such file", "file:///missing")
    with pytest.raises(UserError, match="can't write in .*; choose another folder"):
        results.download(source.as_uri(), source / "file", "0" * 8)

    def broken(*args, **options):
        raise http.client.IncompleteRead(b"")

    monkeypatch.setattr("urllib.request.urlopen", broken)
    refused("IncompleteRead")
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **options: time.sleep(5))
    monkeypatch.setattr(results, "PATIENCE", 0.01)
    refused("too slow")


def test_names_as_file_names():
    for usual in ("cat", "alt.atheism", "my $5 image$", "café", "seed-3_model-y.pt"):
        assert cli.file_name(usual) == usual
    hostile = ["../../x", "/x", "..", ".a", "", "a:b", "a\nb", "x\0y", "\x1b[31m", "\udce9"]
    hostile.append("x" * 300)
    names = [cli.file_name(name) for name in hostile]
    assert len(set(names)) == len(names)
    for name in names:
        assert Path(name).name == name and name.isprintable() and name[0] != "."
        assert len(name.encode()) <= 110
    assert results.shown(os.fsdecode(b"caf\xe9.png")).encode() == "caf\ufffd.png".encode()


@pytest.mark.slow
def test_class_names_never_leave_the_output_folder(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    names = ["x/../../../../x", "../" * 5 + "y", f"{tmp_path}/hostile", r"$\frac{", "é", *"abcde"]
    model = models.save(tmp_path / "a/b/model.pt", small_model(names))
    done = call(explain, "--model", model, "--correct", 1, "--incorrect", 1)
    assert done.returncode == 0, done.stderr
    outside = {path for path in tmp_path.rglob("*.png") if model.parent not in path.parents}
    assert not outside
    rows = results.read_json(next(model.parent.rglob("explanations.json")))["samples"]
    figures = {row["figure"] for row in rows}
    assert figures and all(list(model.parent.rglob(Path(name).name)) for name in figures)


USER_ERRORS = [  # script, arguments, words of the error
    (explain, "--layer body.stage9", "unknown layer 'body.stage9': choose body.whiten,"),
    (explain, "--target unicorn", "unknown class 'unicorn'"),
    (explain, "--device tpu", "unknown device 'tpu'"),
    (explain, "--correct 0", "--correct"),
    (explain, "--image nowhere.png", "nowhere.png"),
    (explain, "--image empty", "empty contains no images"),
    (explain, "--image text.png good.png --layer x", "unknown layer 'x'"),
    (explain, "--image text.png", "not an image"),
    (explain, "--image half.png", "damaged"),
    (explain, "--image good.png --target true", "true class of --image"),
    (explain, "--method input_gradient --layer body.stage3", "uses no layer"),
    (explain, "--out text.png/out", "can't write in"),
    (explain, "--list-layers", "--list-layers can't be combined with --out"),
    (explain, "--model none.pt", "no checkpoint"),
    (explain, "--model two.pt", "network has 2 classes and its data set shapes has 10"),
    (evaluate, "--model two.pt", "network has 2 classes"),
    (run, "--model two.pt --only stability", "network has 2 classes"),
    (lime, "--checkpoint two.pt", "network has 2 classes"),
    (lime, "--segmentation quickshift --n-segments 9", "omit --n-segments"),
    (lime, "--weights missing.pth", "missing.pth"),
    (lime, "--checkpoint x.pt --model resnet50", "not allowed with"),
    (lime, "--image good.png --data empty", "could not be downloaded"),
    (explain_text, "--text ''", "the text is empty"),
    (explain_text, "--text empty.txt", "is empty"),
    (explain_text, "--text half.png", "not a text in UTF-8"),
    (explain_text, "--text few.txt --samples 3", "3 samples are too few"),
    (explain_text, "--text none.txt", "can't read the text"),
    (run, "--images 1", "at least two"),
    (run, f"--model '{ROOT}/outputs/evaluation/shapes/model.pt'", "only for CIFAR-10 networks"),
    (run, "--model none.pt", "no checkpoint"),
    (compare, "--outputs empty", "explanations.json"),
    (build, "--outputs empty --draft", "no chapter has all"),
]


@pytest.mark.parametrize("module, arguments, words", USER_ERRORS)
def test_user_errors_give_one_line_and_leave_no_file(
    tmp_path, monkeypatch, offline, module, arguments, words
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    noise = np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)
    Image.fromarray(noise).save("good.png")
    Path("half.png").write_bytes(Path("good.png").read_bytes()[:9000])
    for name, text in (("text.png", "not an image"), ("empty.txt", ""), ("few.txt", "comet orbit")):
        Path(name).write_text(text)
    Path("empty").mkdir()
    models.save("two.pt", small_model("ab"))
    done = call(module, "--out", "out", *shlex.split(arguments))
    assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1 and words in done.stderr, done.stderr
    assert not [path for path in Path("out").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "module, options, n_failed",
    [
        (explain, "--model", 1),
        (lime, "--fast --samples 80 --checkpoint", 2),
        (compare, "--model", 2),
    ],
)
def test_one_bad_image_does_not_end_the_run(tmp_path, module, options, n_failed):
    """LIME refuses an image of a single color, too."""
    model = models.save(tmp_path / "model.pt", small_model("ab", widths=(2, 2, 2)))
    Path("images").mkdir()
    Path("images/bad.png").write_text("not an image")
    Image.new("RGB", (32, 32)).save("images/flat.png")
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    Image.fromarray(noise).save("images/good.png")
    done = call(module, *options.split(), model, "--image", "images", "--out", "out")
    *lines, last = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == n_failed, done.stderr
    assert "bad.png is not an image" in lines[0] and "images were not explained" in last
    assert Path("out/user/good.json").is_file() and not Path("out/user/bad.json").exists()
    done = call(module, *options.split(), model, "--image", "images", "--out", "model.pt")
    assert "can't write in" in done.stderr.splitlines()[-1], "not about one of the images"


@pytest.mark.parametrize("text", ["-1", "4294967296", "1.5", "", "9" * 5000, "\u0663", "nan"])
def test_numbers_out_of_range_are_refused(text):
    assert cli.seed("4294967295") == 2**32 - 1
    with pytest.raises(cli.argparse.ArgumentTypeError, match="whole number from"):
        cli.seed(text)


@pytest.mark.parametrize(
    "error, status, line",
    [
        (UserError("a\x1b[2J\nb"), 2, "error: a\ufffd.2J b\n"),
        (KeyError("x"), 70, "internal error in .*test_faults.py:[0-9]+: KeyError: 'x'; rerun"),
        (OSError(36, "File name too long", "x"), 2, r"error: \[Errno 36\] File name too long: 'x'"),
        (MemoryError(), 2, "error: out of memory"),
        (UserError("no file 'out of memory.png'"), 2, "error: no file 'out of memory.png'"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "error: out of memory"),
        (ModuleNotFoundError("No module named 'x'"), 2, "error: No module named 'x': run pip"),
        (KeyboardInterrupt(), 130, "stopped"),
        (BrokenPipeError(), 1, "$"),
    ],
)
def test_any_error_gives_one_line(capsys, monkeypatch, error, status, line):
    def fail():
        raise error

    with pytest.raises(SystemExit) as end:
        cli.run(fail)
    written = capsys.readouterr().err
    assert end.value.code == status and re.match(line, written), written
    assert written.count("\n") == (status != 1)
    monkeypatch.setattr(sys, "argv", ["x", "--debug"])
    with pytest.raises(SystemExit):
        cli.run(fail)
    assert ("Traceback" in capsys.readouterr().err) == (status != 1)


SCRIPTS = sorted(path for path in ROOT.glob("[qer]*/**/*.py") if "run(main)" in path.read_text())
FAILURES = [
    ("raise KeyboardInterrupt", 130, "stopped"),  # SIGINT is ignored in background processes
    (f"os.kill(os.getpid(), {int(signal.SIGTERM)})", 130, "stopped"),
    ("raise ImportError('failed to map segment')", 2, "error: out of memory"),
    ("1 / 0", 70, "internal error in "),
]
CASES = [(path, *FAILURES[0]) for path in SCRIPTS] + [(SCRIPTS[0], *row) for row in FAILURES[1:]]


@pytest.mark.parametrize("path, code, status, message", CASES)
def test_errors_during_imports(tmp_path, path, code, status, message):
    """The first slow library is replaced by one that fails."""
    for name in ("numpy", "torch", "typst"):
        (tmp_path / f"{name}.py").write_text(f"import os, time\n{code}\ntime.sleep(60)")
    env = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run([sys.executable, path], env=env, capture_output=True, text=True)
    assert done.returncode == status and done.stderr.startswith(message), done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "streams, status, message",
    [(">/dev/full", 2, "No space left"), ("| true", 0, ""), ("<&- >&- 2>&-", 0, "")],
)
def test_closed_streams(streams, status, message):
    command = f"{sys.executable} {ROOT}/report/verify.py --help {streams}"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    env.pop("PYTHONUNBUFFERED", None)
    done = subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True)
    assert done.returncode == status and message in done.stderr
    assert done.stderr.count("\n") == bool(message)
