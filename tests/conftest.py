"""Shared fixtures: scripts run as a user runs them, a trained network, real data."""

import functools
import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from common import cli, data, imagenet, models
from common.newsgroups import load_20newsgroups

import pytest
import torch

import q1_gradcam.evaluate
import q1_gradcam.explain
import q2_lime.explain
import q2_lime.explain_text
import q2_lime.train_text
from q2_lime import images

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
# Drawing the shapes takes seconds, and many tests and the scripts that they call use them.
data.load_shapes = functools.cache(data.load_shapes)
# A training, real data, new processes.
SLOW = {"shapes_model", "text_demo", "cifar10", "newsgroups", "script"}


def pytest_collection_modifyitems(items):
    for item in items:
        if SLOW & set(item.fixturenames):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def script():
    """Runs a script in a new process: script("q1_gradcam/train.py", "--seed", 1)."""

    def run(name: str, *arguments, cwd=ROOT, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / name), *map(str, arguments)]
        env = os.environ | {"CI": "true"} | options.pop("env", {})
        options |= {"cwd": cwd, "env": env, "timeout": 600}
        return subprocess.run(command, capture_output=True, text=True, **options)

    return run


def call(module, *arguments) -> subprocess.CompletedProcess:
    """Runs the `main` of a script in this process: call(train, "--seeds", 1)."""
    argv, out, err = [module.__file__, *map(str, arguments)], io.StringIO(), io.StringIO()
    status = 0
    with patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
        try:
            cli.run(module.main)
        except SystemExit as end:
            status = end.code
    return subprocess.CompletedProcess(argv, status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def x() -> torch.Tensor:
    """Five random images."""
    torch.manual_seed(1)
    return torch.rand(5, 3, 32, 32)


@pytest.fixture
def offline(monkeypatch):
    """No name of a computer on the network is found."""

    def refuse(*arguments, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", refuse)


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """The folder of results like those of `make demo`, which the fixtures below write."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="session")
def shapes_model(demo, script) -> Path:
    """The checkpoint of a network trained on the built-in shapes."""
    out = demo / "q1_gradcam"
    run = script("q1_gradcam/train.py", "--dataset", "shapes", "--out", out, "--device", "cpu")
    assert run.returncode == 0, run.stderr
    return out / "model.pt"


@pytest.fixture(scope="session")
def gradcam_demo(shapes_model) -> Path:
    """The folder with the results of Question 1."""
    for module in (q1_gradcam.evaluate, q1_gradcam.explain):
        done = call(module, "--model", shapes_model, "--device", "cpu")
        assert done.returncode == 0, done.stderr
    return shapes_model.parent


@pytest.fixture(scope="session")
def lime_demo(demo, shapes_model) -> Path:
    """The folder with LIME's explanations of shapes, with fewer masks than usual."""
    out = demo / "q2_lime/classifier"
    with pytest.MonkeyPatch.context() as change:
        change.setattr(images, "SMALL_SETTINGS", replace(images.SMALL_SETTINGS, max_samples=256))
        done = call(q2_lime.explain, "--checkpoint", shapes_model, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def text_demo(demo) -> Path:
    """The folder with the text models of the built-in posts and their explanations."""
    out = demo / "q2_lime/text"
    train = call(q2_lime.train_text, "--dataset", "corpus", "--out", out)
    for done in (train, call(q2_lime.explain_text, "--models", out)):
        assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    return out


def small_model(classes, seed: int = 0, widths=(8, 8, 8)) -> models.Model:
    """An untrained network with few channels."""
    torch.manual_seed(seed)
    options = {"widths": widths}
    network = models.build("compact", len(classes), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), options)
    return models.Model(network.eval(), "compact", options, tuple(classes), "shapes")


def needed(there: bool, what: str, how: str = "") -> None:
    """Skips a test if its data are missing; fails it in CI."""
    if not there:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {what}{how}")


@pytest.fixture(scope="session")
def cifar10():
    names = ("cifar10.npz", "cifar-10-batches-py", "cifar-10-python.tar.gz")
    there = any((DATA / name).exists() for name in names)
    needed(there, "CIFAR-10 in data/", ": `make q1` downloads it")
    return data.load_cifar10(DATA)


@pytest.fixture(scope="session")
def newsgroups():
    names = ("20newsgroups.json.gz", "scikit_learn_data/20news-bydate_py3.pkz")
    there = any((DATA / name).is_file() for name in names)
    needed(there, "20newsgroups in data/", ": `make q2` downloads it")
    return load_20newsgroups(DATA)


@pytest.fixture(scope="session")
def imagenet_model():
    needed(any(DATA.glob("weights/mobilenet_v2_imagenet*.pth")), "checkpoint in data/weights")
    return imagenet.load(folder=DATA)


class Harmful:
    """What a stranger may hide in a file: unpickling it runs a command."""

    def __reduce__(self):
        return os.system, ("touch harmed",)
