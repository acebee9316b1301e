"""Results files are whole and readable, provenance is right, damaged checkpoints are refused."""

import argparse
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from common import cli, figures, models, results
from common.cli import UserError, seed_for


def test_a_failing_write_leaves_the_old_file(tmp_path):
    path = results.write_json(tmp_path / "a.json", {"n": 1})

    def fail(file):
        file.write(b"half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        results.write_whole(path, fail)
    assert json.loads(path.read_text()) == {"n": 1} and list(tmp_path.iterdir()) == [path]


def test_json_round_trips(tmp_path):
    content = {
        "a": np.float32(0.1),
        "b": [np.int64(3)] * 100,
        "c": {"d": torch.tensor([1.0, 2.0])},
        "e": [{"f": "ä", "g": None}] * 9,
    }
    expected = {"a": 0.1, "b": [3] * 100, "c": {"d": [1.0, 2.0]}, "e": [{"f": "ä", "g": None}] * 9}
    assert json.loads(results.write_json(tmp_path / "a.json", content).read_text()) == expected
    with pytest.raises(ValueError):
        results.write_json(tmp_path / "b.json", {"a": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_damaged_results_are_refused(tmp_path):
    path = results.write_npz(tmp_path / "a.npz", x=np.arange(1000))
    path.write_bytes(path.read_bytes()[:200])
    np.savez(tmp_path / "pickle.npz", x=np.array([{}], object))
    (tmp_path / "a.json").write_text('{"a": ')
    for read, name in (
        (results.read_npz, "a.npz"),
        (results.read_npz, "pickle.npz"),
        (results.read_json, "a.json"),
    ):
        with pytest.raises(UserError, match=f"can't read .*{name}"):
            read(tmp_path / name)


def test_git_state(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True)

    none = {"git_revision": None, "git_dirty": None}
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/a.py").write_text("1")
    git("init", "-q")
    assert results.git_state(tmp_path) == none  # no commit yet
    git("add", ".")
    git("commit", "-qm", "first")
    state = results.git_state(tmp_path)
    assert len(state["git_revision"]) == 40 and state["git_dirty"] is False
    assert results.git_state(tmp_path / "inner") == none  # inside another repository
    (tmp_path / "notes.txt").write_text("not code")
    assert results.git_state(tmp_path)["git_dirty"] is False
    (tmp_path / "inner/a.py").write_text("2")
    assert results.git_state(tmp_path)["git_dirty"] is True


def test_an_output_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't write in"):
        results.output_folder(tmp_path / "file" / "below")


def test_other_options_get_another_folder():
    defaults = {"seed": 0, "kinds": ["a", "b"], "weights": None}
    for options, folder in (
        ({"seed": 0, "kinds": None, "weights": None}, "out"),
        ({"seed": 3, "kinds": ["b"], "weights": Path("x/y.pt")}, "seed-3_kinds-b_weights-y.pt"),
    ):
        out = cli.out_folder(Path("out"), argparse.Namespace(**options), defaults)
        assert out == (Path("out") if folder == "out" else Path("out/other") / folder)


def test_svg_files_are_the_same_in_every_run(tmp_path):
    def draw(name):
        figure, ax = figures.plt.subplots()
        figures.show_map(ax, np.zeros((8, 8, 3), np.uint8), np.eye(4), "title")
        ax.fill_between([0, 1], [0, 1])
        return figures.save(figure, tmp_path / name).read_bytes()

    assert draw("a.svg") == draw("b.svg") and b"<svg" in draw("a.svg")


def test_any_matplotlib_backend(script, tmp_path):
    (tmp_path / "draw.py").write_text("import common.figures as f; f.plt.figure()")
    for backend in ("nonsense", "module://not_installed"):
        env = {"MPLBACKEND": backend, "PYTHONPATH": str(results.ROOT)}
        run = script(tmp_path / "draw.py", env=env)
        assert run.returncode == 0, run.stderr


def test_seeds_depend_on_seed_and_purpose():
    seeds = {seed_for(0, "a"), seed_for(1, "a"), seed_for(0, "b"), seed_for(0, "a", 1)}
    assert len(seeds) == 4 and seed_for(0, "a") in seeds and all(0 <= s < 2**63 for s in seeds)


@pytest.fixture
def model():
    torch.manual_seed(0)
    options = {"widths": (8, 8, 8)}
    network = models.build("compact", 3, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), options).eval()
    return models.Model(network, "compact", options, ("a", "b", "c"), "shapes", 1.5, {"seed": 7})


@pytest.mark.parametrize("half", [False, True])
def test_a_checkpoint_round_trips(model, tmp_path, half):
    back = models.load(models.save(tmp_path / "m.pt", model, half))
    assert {**vars(back), "network": 0} == {**vars(model), "network": 0}
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    before, after = models.logits(model.network, images), models.logits(back.network, images)
    assert torch.allclose(before, after, atol=2e-2 if half else 0) and not back.network.training


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_bad_checkpoints(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = models.save(tmp_path / "m.pt", model)

    def refused(message, **change):
        torch.save(torch.load(path, weights_only=True) | change, "bad.pt")
        with pytest.raises(UserError, match=message):
            models.load("bad.pt")

    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"hello" * 99):
        Path("damaged.pt").write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            models.load("damaged.pt")
    with pytest.raises(UserError, match="there is no checkpoint"):
        models.load("nowhere.pt")
    refused("contains code", x=Harmful())
    assert not Path("harmed").exists()
    refused("not a checkpoint of this project", format=None)
    refused("does not fit", arch="resnet18", options={})
    refused("does not fit", options={"widths": (8, 8, 9)})
    refused("does not fit", classes=["a"])
    refused("unknown architecture", arch="x")
