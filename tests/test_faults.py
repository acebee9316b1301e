"""A sample of each kind of fault: no code runs, no traceback, nothing outside the output folder."""

import http.client
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

from common import UserError, cli, data, imagenet, models, newsgroups, results

import numpy as np
import pytest
import torch
from conftest import ROOT, call
from PIL import Image
from sklearn.utils import Bunch
from torchvision import models as zoo

from q1_gradcam import explain
from q2_lime import linear

HOSTILE = [
    "../../x",
    "/x",
    "x\0y",
    "\x1b[31m",
    "a\nb",
    "\udce9",
    "x" * 300,
    "..",
    ".a",
    "",
    "a:b",
]


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


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
    file = tmp_path / "checkpoints" / weights.url.rsplit("/", 1)[1]
    file.parent.mkdir()
    torch.save(Harmful(), file)
    with pytest.raises(UserError, match="is damaged"):
        imagenet.load("mobilenet_v2")
    state = zoo.get_model("mobilenet_v2").state_dict()
    for content in (Harmful(), state):  # with the hash in its name
        torch.save(content, file)
        named = tmp_path / f"checkpoints/x-{results.sha256(file)[:8]}.pth"
        file.rename(named)
        monkeypatch.setattr(weights.value, "url", f"https://example.org/{named.name}")
        if content is not state:
            with pytest.raises(UserError, match="contains code"):
                imagenet.load("mobilenet_v2")
    loaded = imagenet.load("mobilenet_v2", fold=False)
    after = loaded.network.state_dict()
    assert all(torch.equal(state[key], after[key]) for key in state)
    assert loaded.sha256.startswith(named.stem[2:]) and len(loaded.categories) == 1000


def test_downloads(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.write_bytes(b"content" * 100_000)
    whole, target = results.sha256(source), tmp_path / "new/file"
    for _ in range(2):
        results.download(source.as_uri(), target, whole[:8])
        assert results.sha256(target) == whole
    for url, message in ((source.as_uri(), "other content"), ("file:///missing", "No such file")):
        with pytest.raises(UserError, match=message):
            results.download(url, tmp_path / "other/file", "0" * 8)
    with pytest.raises(UserError, match="is damaged: delete it"):
        results.download(source.as_uri(), target, "0" * 8)

    def broken(*args, **options):
        raise http.client.IncompleteRead(b"")

    monkeypatch.setattr("urllib.request.urlopen", broken)
    with pytest.raises(UserError, match="IncompleteRead"):
        results.download("https://example.org/x", tmp_path / "other/file", whole)
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **options: time.sleep(5))
    monkeypatch.setattr(results, "PATIENCE", 0.01)
    with pytest.raises(UserError, match="too slow"):
        results.download("https://example.org/x", tmp_path / "other/file", whole)
    assert not list((tmp_path / "other").iterdir())


def tiny_model(classes) -> models.Model:
    torch.manual_seed(0)
    options = {"widths": (8, 8, 8)}
    network = models.build("compact", len(classes), (0.5,) * 3, (0.2,) * 3, options).eval()
    return models.Model(network, "compact", options, tuple(classes), "shapes", 1.5)


def test_flipped_bits_in_a_checkpoint_are_noticed(tmp_path):
    model = tiny_model("abc")
    whole = models.save(tmp_path / "good.pt", model).read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for place in rng.integers(0, len(whole), 100):
        content = bytearray(whole)
        content[place] ^= 1 << rng.integers(8)
        (tmp_path / "bad.pt").write_bytes(content)
        try:
            state = models.load(tmp_path / "bad.pt").network.state_dict()
        except UserError:
            refused += 1
        else:  # padding, for example
            expected = model.network.state_dict()
            assert all(torch.equal(expected[key], value) for key, value in state.items())
    assert refused > 50


def test_huge_networks_are_not_built(tmp_path):
    content = torch.load(models.save(tmp_path / "m.pt", tiny_model("abc")), weights_only=True)
    torch.save(content | {"options": {"widths": (10**6, 10**6, 10**6)}}, tmp_path / "m.pt")
    with pytest.raises(UserError, match="loading state_dict"):  # not: out of memory
        models.load(tmp_path / "m.pt")


def test_names_as_file_names():
    for usual in ("cat", "alt.atheism", "my $5 image$", "café", "seed-3_model-y.pt"):
        assert cli.file_name(usual) == usual
    names = [cli.file_name(name) for name in HOSTILE]
    assert len(set(names)) == len(names)
    for name in names:
        assert Path(name).name == name and name.isprintable() and name[0] != "."
        assert len(name.encode()) <= 110


@pytest.mark.slow
def test_class_names_never_leave_the_output_folder(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    names = ["x/../../../../x", "../" * 5 + "y", f"{tmp_path}/hostile", r"$\frac{", "é", *"abcde"]
    model = models.save(tmp_path / "a/b/model.pt", tiny_model(names))
    done = call(explain, "--model", model, "--correct", 1, "--incorrect", 1)
    assert done.returncode == 0, done.stderr
    outside = {path for path in tmp_path.rglob("*.png") if model.parent not in path.parents}
    assert not outside
    rows = results.read_json(next(model.parent.rglob("explanations.json")))["samples"]
    figures = {row["figure"] for row in rows}
    assert figures and all(list(model.parent.rglob(Path(name).name)) for name in figures)


def test_class_names_are_printable_and_different(tmp_path):
    for classes in (["\x1b[2J", "b"], ["a", "a"], ["", "b"], ["x" * 101, "b"], ["a\nb", "b"]):
        with pytest.raises(UserError, match="class"):
            models.save(tmp_path / "m.pt", tiny_model(classes))


def test_text_models_are_validated(tmp_path):
    arrays = (np.ones(2), np.ones((2, 2)), np.zeros(2))
    about = (1.0, False, "corpus", {})
    model = linear.LinearModel("svm", ("a", "b"), {"oil": 0, "tea": 1}, *arrays, *about)
    path = linear.save(tmp_path / "m.npz", model)
    good = results.read_npz(path)
    assert linear.load(path).vocabulary == model.vocabulary
    settings = json.loads(good["about"].tobytes())
    changes = [{"vocabulary": b"oil\noil"}, {"vocabulary": b"oil"}, {"idf": np.array([1, np.nan])}]
    for key, value in (
        ("temperature", 0),
        ("temperature", float("inf")),
        ("temperature", "1"),
        ("classes", ["a", "a"]),
        ("classes", ["a", "\x07"]),
        ("ngrams", 2),
        ("format", 2),
    ):
        changes.append({"about": json.dumps(settings | {key: value}).encode()})
    for change in changes:
        arrays = {k: np.frombuffer(v, "u1") if type(v) is bytes else v for k, v in change.items()}
        results.write_npz(path, **good | arrays)
        with pytest.raises(UserError, match="not a text model"):
            linear.load(path)


def test_numbers_out_of_range_are_refused():
    assert cli.seed("4294967295") == 2**32 - 1 and cli.positive("7") == 7
    for convert, texts in (
        (cli.seed, ("-1", "4294967296", "1.5", "", "9" * 5000, "\u0663", " 1", "nan")),
        (cli.positive, ("0", "-1", "999999999")),
    ):
        for text in texts:
            with pytest.raises(cli.argparse.ArgumentTypeError, match="whole number from"):
                convert(text)


def test_images_of_other_formats_are_not_opened(tmp_path):
    for name in ("a.eps", "a.ppm", "a.pdf"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
        (tmp_path / name).rename(tmp_path / "a.png")
        with pytest.raises(UserError, match="PNG, JPEG"):
            data.read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    "error, status, line",
    [
        (UserError("a\x1b[2J\nb"), 2, "error: a\ufffd.2J b\n"),
        (KeyError("x"), 70, "internal error in .*test_faults.py:[0-9]+: KeyError: 'x'; rerun"),
        (OSError(36, "File name too long", "x"), 2, r"error: \[Errno 36\] File name too long: 'x'"),
        (MemoryError(), 2, "error: out of memory"),
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


SCRIPTS = sorted(path for path in ROOT.glob("[qer]*/*.py") if "run(main)" in path.read_text())
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
    [
        (">/dev/full", 2, "No space left"),
        ("| true", 0, ""),
        (">&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
    ],
)
def test_closed_streams(streams, status, message):
    command = f"{sys.executable} {ROOT}/q1_gradcam/explain.py --help {streams}"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    env.pop("PYTHONUNBUFFERED", None)
    done = subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True)
    assert done.returncode == status and message in done.stderr
    assert done.stderr.count("\n") == bool(message)
