"""Two processes, as torchrun starts them: the results of one, and an end if one is lost."""

import os
import subprocess
import sys
from dataclasses import replace

from common import cli, data, models, results

import numpy as np
import pytest
from conftest import small_model

from q1_gradcam import gradcam

pytestmark = pytest.mark.slow
PROGRAM = """
import functools
import sys
import numpy as np
import pytest
import torch
from common import cli, data, distributed, models, results
from evaluation import run
from evaluation.explainers import EXPLAINERS, Batch
from q1_gradcam import explain, loader, train

checkpoint, out = sys.argv[1:]
distributed.start(torch.device("cpu"))
distributed.start = lambda device: device  # once, for all scripts below
data.load_shapes = functools.cache(data.load_shapes)
rank, size = distributed.rank(), distributed.size()

number = torch.tensor([rank])
distributed.average([values := torch.full((2, 3), float(rank)), number])
assert (values == (size - 1) / 2).all() and number == rank, "whole numbers are left alone"
results.write_json(f"{out}/written.json", {"rank": rank})
print("printed by", rank)

cpu, numbers = torch.device("cpu"), np.arange(40)
images = np.random.default_rng(0).integers(0, 255, (40, 32, 32, 3), np.uint8)
augmented = images, numbers, 20, 2, True, 0, cpu
labels = [y for _, y in loader.Batches(*augmented, process=(rank, size)).epoch(0, 32)]
whole = [y for _, y in loader.Batches(*augmented).epoch(0, 32)]
model, images = models.load(checkpoint), data.load_shapes().x_test[:70]  # three batches
batch = Batch(images, np.arange(70) % 10, list(range(70)))
gradcam = EXPLAINERS["gradcam"].maps(model, batch, "body.stage3", 0)
lime = EXPLAINERS["lime"].maps(model, batch.first(3), "", 0)
np.savez(f"{out}/{rank}.npz", labels=labels, whole=whole, gradcam=gradcam, lime=lime)

def script(module, *options):
    sys.argv = [module.__name__, *options, "--device", "cpu", "--out", out]
    module.main()

script(explain, "--all", "--model", checkpoint)
skipped = "lime refinecam guided_backprop guided_gradcam hirescam layercam".split()
options = ("--only", "faithfulness", "idsds", "--images", "2", "--skip", *skipped)
script(run, "--model", checkpoint, *options)
kept, train_epoch = [], train.train_epoch
train.train_epoch = lambda network, *rest: (kept.append(network), train_epoch(network, *rest))[1]
script(train, "--dataset", "shapes", "--epochs", "1", "--train-size", "500")
weights = [p.double().sum().item() for p in kept[-1].parameters()]
assert distributed.share(lambda _: weights, range(size)) == [weights] * size, "gradients averaged"
if size == 2:
    with pytest.raises(cli.UserError, match="a batch of 31 can't be shared by 2 processes"):
        script(train, "--dataset", "shapes", "--epochs", "1", "--train-size", "31")
"""
LOST = """
import os
import torch
from common import cli, distributed

distributed.start(torch.device("cpu"))
cli.run(lambda: distributed.share(lambda _: distributed.rank() and os._exit(9), range(4)))
"""


def python(*command):
    """One thread for each process: bits are the same only with as many."""
    env = os.environ | {"CI": "true", "PYTHONPATH": str(cli.ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, command)]
    return subprocess.run(command, cwd=cli.ROOT, env=env, capture_output=True, text=True)


def torchrun(*arguments):
    launcher = "-m torch.distributed.run --standalone --nproc-per-node 2"
    return python(*launcher.split(), *arguments)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    model = small_model(data.load_shapes().classes)
    model = replace(model, training={"held_out": 500})  # for IDSDS
    return models.save(tmp_path_factory.mktemp("demo") / "model.pt", model)


@pytest.fixture(scope="module")
def folders(checkpoint, tmp_path_factory):
    """What PROGRAM writes in one process and in two."""
    out = tmp_path_factory.mktemp("processes")
    (out / "program.py").write_text(PROGRAM)
    for start, name in ((python, "one"), (torchrun, "two")):
        (out / name).mkdir()
        done = start(out / "program.py", checkpoint, out / name)
        assert done.returncode == 0, done.stderr
        assert "printed by 0" in done.stdout and "printed by 1" not in done.stdout
    return out / "one", out / "two"


def test_batches_and_maps_are_shared(folders):
    one, two = folders
    alone, *parts = map(np.load, (one / "0.npz", two / "0.npz", two / "1.npz"))
    shared = np.stack([part["labels"] for part in parts], -1).reshape(2, 20)
    assert (shared == alone["labels"]).all()
    for part in parts:
        for key in ("gradcam", "lime", "whole"):
            assert (part[key] == alone[key]).all()
    assert results.read_json(two / "written.json")["rank"] == 0


def test_scripts_write_the_same_results(folders, checkpoint):
    one, two = folders
    for name in ("all.npz", "faithfulness.npz"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    for name in ("faithfulness", "idsds"):
        a, b = (results.read_json(folder / f"{name}.json") for folder in folders)
        assert a.pop("provenance") != b.pop("provenance") and a == b
    model, dataset = models.load(checkpoint), data.load_shapes()
    found, last = results.read_npz(two / "all.npz"), slice(-32, None)
    maps = gradcam.explain(model.network, models.to_input(dataset.x_test[last]), "body.stage3")
    np.testing.assert_allclose(found["map"][last], maps.raw, atol=1e-6)
    assert (found["predicted"][last] == maps.target.numpy()).all()
    assert (found["label"] == dataset.y_test).all()


def test_two_processes_train_as_well_as_one(folders):
    """Only the statistics of batch norm differ: each process takes those of its own images."""
    one, two = (results.read_json(folder / "training.json") for folder in folders)
    assert (one["seeds"][0]["processes"], two["seeds"][0]["processes"]) == (1, 2)
    assert two["history"][0]["loss"] == pytest.approx(one["history"][0]["loss"], rel=0.05)
    assert two["mean"]["accuracy"] == pytest.approx(one["mean"]["accuracy"], abs=0.1)


def test_a_lost_process_ends_the_others_with_one_line(tmp_path):
    program = tmp_path / "lost.py"
    program.write_text(LOST)
    found = torchrun(program)
    assert found.returncode != 0
    assert found.stderr.count("error: another process was lost: start again") == 1
    assert "Traceback (most recent call last)" not in found.stderr.split("torch")[0]
