"""Results files and checkpoints are whole and readable; damaged and harmful ones are refused."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from common import figures, models, results
from common.cli import UserError

import numpy as np
import pytest
import torch
from conftest import Harmful, small_model


def test_a_failing_write_leaves_the_old_file(tmp_path):
    path = results.write_json(tmp_path / "a.json", {"n": 1})

    def fail(file):
        file.write(b"half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        results.write_whole(path, fail)
    with pytest.raises(ValueError):
        results.write_json(path, {"n": float("nan")})
    assert json.loads(path.read_text()) == {"n": 1} and list(tmp_path.iterdir()) == [path]


def test_json_round_trips(tmp_path):
    text = [{"f": "ä\udce9", "g": None}] * 9
    content = {"a": np.float32(0.1), "b": [np.int64(3)] * 100, "c": {"d": torch.ones(2)}, "e": text}
    expected = {"a": 0.1, "b": [3] * 100, "c": {"d": [1.0, 1.0]}, "e": text}
    path = results.write_json(tmp_path / "a.json", content)
    assert json.loads(path.read_text()) == expected


@pytest.mark.parametrize("text", ["[]", '{"a": ', "[" * 10_000, "\xff", ""])
def test_damaged_json_is_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="latin1")
    with pytest.raises(UserError, match="a.json"):
        results.read_json(path)


def test_damaged_arrays_and_unexpected_content_are_refused(tmp_path):
    path = results.write_npz(tmp_path / "a.npz", x=np.arange(1000))
    path.write_bytes(path.read_bytes()[:200])
    np.savez(tmp_path / "pickle.npz", x=np.array([Harmful()], object))
    for name in ("a.npz", "pickle.npz"):
        with pytest.raises(UserError, match=f"can't read .*{name}"):
            results.read_npz(tmp_path / name)
    for content in ({}, {"rows": 1}, {"rows": []}, {"rows": [7]}):
        with pytest.raises(UserError, match="a.json"), results.reading("a.json"):
            content["rows"][0]["x"]


def test_files_of_killed_runs_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = [f"a.json.{ended.pid}.part", f"a.json.{os.getppid()}.part", "a.json.film.part"]
    for name in names:
        (tmp_path / name).touch()
    results.write_json(tmp_path / "a.json", {})
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", *names[1:]}


def test_a_full_disk_gives_one_line_and_leaves_nothing(tmp_path):
    """The limit on the size of a file fails in the same way as a full disk."""
    code = f"""
import resource, signal, torch
from common import cli, results
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
content = {{str(k): torch.zeros(9_000) for k in range(9)}}
write = lambda file: results.write_torch(content, file)
cli.run(lambda: results.write_whole({str(tmp_path / "out/a.pt")!r}, write))"""
    env = os.environ | {"PYTHONPATH": str(results.ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 2 and "can't write in" in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and not list((tmp_path / "out").iterdir())


def test_git_state(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True)

    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/a.py").write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    state = results.git_state(tmp_path)
    assert len(state["git_revision"]) == 40 and state["git_dirty"] is False
    (tmp_path / "inner/a.py").write_text("2")
    assert results.git_state(tmp_path) == state | {"git_dirty": True}
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # as in a git hook
    unknown = {"git_revision": None, "git_dirty": None}
    assert results.git_state(tmp_path / "inner") == unknown, "another repository's state"


def test_svg_files_are_the_same_in_every_run(tmp_path):
    def draw(name):
        figure, ax = figures.plt.subplots()
        figures.show_map(ax, np.zeros((8, 8, 3), np.uint8), np.eye(4), "title")
        return figures.save(figure, tmp_path / name).read_bytes()

    assert draw("a.svg") == draw("b.svg")


def test_an_unusable_matplotlib_backend_is_ignored(script, tmp_path):
    """Colab sets the backend; matplotlib may be imported before the project."""
    program = tmp_path / "draw.py"
    program.write_text("import matplotlib; from common.figures import plt; plt.figure()")
    env = {"MPLBACKEND": "module://not_installed", "PYTHONPATH": str(results.ROOT)}
    assert script(program, env=env).returncode == 0


@pytest.fixture
def model():
    return replace(small_model("abc"), temperature=1.5, training={"seed": 7})


@pytest.mark.parametrize("half", [False, True])
def test_a_checkpoint_round_trips(model, tmp_path, half):
    back = models.load(models.save(tmp_path / "m.pt", model, half))
    assert vars(back) | {"network": 0} == vars(model) | {"network": 0}
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    before, after = models.logits(model.network, images), models.logits(back.network, images)
    assert torch.allclose(before, after, atol=2e-2 if half else 0)


def test_what_cannot_be_loaded_is_not_saved(model, tmp_path):
    with pytest.raises(UserError):
        models.save(tmp_path / "m.pt", replace(model, training={"accuracy": np.float64(0.9)}))
    torch.nn.init.constant_(model.network.body.head.weight, torch.inf)
    with pytest.raises(UserError, match="not finite"):
        models.save(tmp_path / "m.pt", model)
    assert not list(tmp_path.iterdir())


def test_bad_checkpoints(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = models.save("good.pt", model).read_bytes()
    flipped = bytearray(whole)  # torch does not notice a flipped bit in a weight
    flipped[whole.index(model.network.body.whiten.weight.detach().numpy().tobytes())] ^= 1
    for content in (whole[: len(whole) // 2], flipped, b"", b"hello" * 99):
        Path("bad.pt").write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            models.load("bad.pt")
    good = torch.load("good.pt", weights_only=True)
    nan = {key: value * torch.nan for key, value in good["state_dict"].items()}
    for change, message in (
        ({"x": Harmful()}, "contains code"),
        ({"state_dict": nan}, "not finite"),
        ({"temperature": torch.inf}, "temperature is not a positive number"),
        ({"temperature": torch.nan}, "temperature is not a positive number"),
        ({"temperature": 0.0}, "temperature is not a positive number"),
        ({"format": None}, "not a checkpoint of this project"),
        ({"arch": "resnet18", "options": {}}, "does not fit"),
        ({"options": {"widths": (10**6,) * 3}}, "does not fit"),  # not: out of memory
        ({"classes": ["a", "b"]}, "does not fit"),
        ({"classes": ["a"]}, "fewer than two classes"),
        ({"classes": ["a", "a", "b"]}, "two classes have the same name"),
        ({"classes": ["\x1b[2J", "a", "b"]}, "not a printable text"),
        ({"classes": ["x" * 101, "a", "b"]}, "not a printable text"),
        ({"arch": "x"}, "unknown architecture"),
    ):
        torch.save(good | change, "bad.pt")
        with pytest.raises(UserError, match=message):
            models.load("bad.pt")
    assert not Path("harmed").exists()
