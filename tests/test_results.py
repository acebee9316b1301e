"""Results files are whole and readable; provenance is right; damaged files are refused."""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from common import cli, figures, models, results
from common.cli import UserError

import numpy as np
import pytest
import torch


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


def test_damaged_results_are_refused(tmp_path):
    path = results.write_npz(tmp_path / "a.npz", x=np.arange(1000))
    path.write_bytes(path.read_bytes()[:200])
    np.savez(tmp_path / "pickle.npz", x=np.array([{}], object))
    (tmp_path / "a.json").write_text('{"a": ')
    for name in ("a.npz", "pickle.npz", "a.json"):
        read = results.read_json if name == "a.json" else results.read_npz
        with pytest.raises(UserError, match=f"can't read .*{name}"):
            read(tmp_path / name)
    with pytest.raises(UserError, match="can't write in"):
        results.output_folder(path / "below")
    assert not list(results.output_folder(tmp_path / "new").iterdir())
    assert results.shown(os.fsdecode(b"caf\xe9.png")).encode() == "caf\ufffd.png".encode()


@pytest.mark.parametrize("text", ["[]", "null", '"x"', "[" * 10_000, "\xff", "", "{1: 2}", None])
def test_other_json_is_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.mkdir() if text is None else path.write_text(text, encoding="latin1")
    with pytest.raises(UserError, match="a.json"):
        results.read_json(path)


@pytest.mark.parametrize("content", [{}, {"rows": 1}, {"rows": []}, {"rows": [7]}])
def test_unexpected_content_is_a_user_error(content):
    with pytest.raises(UserError, match="a.json .*run the script that writes it again"):
        with results.reading("a.json"):
            content["rows"][0]["x"]


def test_files_of_killed_runs_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = [f"a.json.{ended.pid}.part", f"b.json.{os.getppid()}.part", "film.part", "x.y.part"]
    for name in names:
        (tmp_path / name).touch()
    for name in ("a.json", "b.json"):
        results.write_json(tmp_path / name, {})
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted(["a.json", "b.json", *names[1:]])


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
    (tmp_path / "notes.txt").write_text("not code")
    state = results.git_state(tmp_path)
    assert len(state["git_revision"]) == 40 and state["git_dirty"] is False
    (tmp_path / "inner/a.py").write_text("2")
    assert results.git_state(tmp_path) == state | {"git_dirty": True}
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # as in a git hook
    inside_another = results.git_state(tmp_path / "inner")
    assert inside_another == {"git_revision": None, "git_dirty": None}


def test_results_of_other_options_go_to_another_folder():
    defaults = {"seed": 0, "kinds": ["a", "b"], "weights": None}

    def folder(**options):
        return cli.out_folder(Path("out"), argparse.Namespace(**options), defaults).as_posix()

    assert folder(seed=0, kinds=None, weights=None) == "out"
    other = folder(seed=3, kinds=["b", "c"], weights=Path("x/y.pt"))
    assert other == "out/other/seed-3_kinds-b-c_weights-x-y.pt"


def test_svg_files_are_the_same_in_every_run(tmp_path):
    def draw(name):
        figure, ax = figures.plt.subplots()
        figures.show_map(ax, np.zeros((8, 8, 3), np.uint8), np.eye(4), "title")
        ax.fill_between([0, 1], [0, 1])
        return figures.save(figure, tmp_path / name).read_bytes()

    assert draw("a.svg") == draw("b.svg") and b"<svg" in draw("a.svg")


def test_an_unusable_matplotlib_backend_is_ignored(script, tmp_path):
    draw = "from common.figures import plt; plt.figure()"
    (tmp_path / "draw.py").write_text(draw)
    (tmp_path / "later.py").write_text(f"import matplotlib; {draw}")
    for name, backend in (("draw", "nonsense"), ("later", "module://not_installed")):
        env = {"MPLBACKEND": backend, "PYTHONPATH": str(results.ROOT)}
        assert script(tmp_path / f"{name}.py", env=env).returncode == 0


@pytest.fixture
def model():
    torch.manual_seed(0)
    options = {"widths": (8, 8, 8)}
    network = models.build("compact", 3, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), options).eval()
    return models.Model(network, "compact", options, ("a", "b", "c"), "shapes", 1.5, {"seed": 7})


@pytest.mark.parametrize("half", [False, True])
def test_a_checkpoint_round_trips(model, tmp_path, half):
    back = models.load(models.save(tmp_path / "m.pt", model, half))
    assert vars(back) | {"network": 0} == vars(model) | {"network": 0}
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    before, after = models.logits(model.network, images), models.logits(back.network, images)
    assert torch.allclose(before, after, atol=2e-2 if half else 0)


def test_what_cannot_be_loaded_is_not_saved(model, tmp_path):
    infinite = torch.nn.Linear(8, 3, bias=False)
    torch.nn.init.constant_(infinite.weight, torch.inf)
    for name, value in (
        ("training", {"accuracy": np.float64(0.9)}),
        ("temperature", float("nan")),
        ("temperature", 0.0),
        ("classes", ("a", "b")),
    ):
        with pytest.raises(UserError):
            models.save(tmp_path / "m.pt", replace(model, **{name: value}))
    model.network.body.head = infinite
    with pytest.raises(UserError, match="not finite"):
        models.save(tmp_path / "m.pt", model)
    assert not list(tmp_path.iterdir())


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_bad_checkpoints(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = models.save("good.pt", model).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"hello" * 99):
        Path("bad.pt").write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            models.load("bad.pt")
    good = torch.load("good.pt", weights_only=True)
    nan = {key: value * torch.nan for key, value in good["state_dict"].items()}
    for change, message in (
        ({"x": Harmful()}, "contains code"),
        ({"state_dict": nan}, "not finite"),
        ({"temperature": torch.inf}, "temperature is not a positive number"),
        ({"format": None}, "not a checkpoint of this project"),
        ({"arch": "resnet18", "options": {}}, "does not fit"),
        ({"options": {"widths": (8, 8, 9)}}, "does not fit"),
        ({"classes": ["a"]}, "does not fit"),
        ({"arch": "x"}, "unknown architecture"),
    ):
        torch.save(good | change, "bad.pt")
        with pytest.raises(UserError, match=message):
            models.load("bad.pt")
    assert not Path("harmed").exists()
