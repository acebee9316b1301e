"""What several tests share: a place for data, a network trained on the shapes, and the command line as a user types it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"


@pytest.fixture(scope="session")
def script():
    """Runs a script of the project in a process of its own: script("q1_gradcam/train.py", "--seed", 1)."""

    def run(name: str, *arguments, cwd=ROOT, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / name), *map(str, arguments)]
        environment = os.environ | {"CI": "true"} | options.pop("env", {})
        return subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            env=environment,
            timeout=600,
            **options,
        )

    return run


@pytest.fixture(scope="session")
def shapes_model(tmp_path_factory, script) -> Path:
    """The checkpoint of a network trained on the built-in shapes, as `make demo` trains it."""
    out = tmp_path_factory.mktemp("shapes")
    done = script("q1_gradcam/train.py", "--dataset", "shapes", "--out", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return out / "model.pt"


def needed(there: bool, what: str, how: str = "") -> None:
    """Skips a test whose data are not there, except in CI, where that is a failure."""
    if not there:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {what}{how}")


@pytest.fixture(scope="session")
def cifar10():
    """Real CIFAR-10."""
    from common import data

    names = ("cifar10.npz", "cifar-10-batches-py", "cifar-10-python.tar.gz")
    needed(
        any((DATA / name).exists() for name in names),
        "CIFAR-10 in data/",
        ": `make q1` downloads it",
    )
    return data.load_cifar10(DATA)


@pytest.fixture(scope="session")
def newsgroups():
    """Real 20newsgroups."""
    from common.newsgroups import load_20newsgroups

    there = (DATA / "scikit_learn_data/20news-bydate_py3.pkz").is_file()
    needed(there, "20newsgroups in data/", ": `make q2` downloads it")
    return load_20newsgroups(DATA)


@pytest.fixture(scope="session")
def imagenet_model():
    """The ImageNet checkpoint in data/weights."""
    from common import imagenet

    file = imagenet.local_weights(DATA, imagenet.DEFAULT)
    needed(file is not None, "checkpoint in data/weights")
    return imagenet.load(file=file)
