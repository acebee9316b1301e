"""Work that two processes share, as torchrun starts them."""

import os
import subprocess
import sys

from common import cli, data, distributed, models, results

import numpy as np
import pytest
import torch

from evaluation.explainers import EXPLAINERS, Batch
from q1_gradcam import gradcam, loader

SHARE = """
import sys
import torch
from pathlib import Path
from common import distributed, results
from q1_gradcam import loader
import numpy as np

distributed.start(torch.device("cpu"))
rank, out = distributed.rank(), Path(sys.argv[1])
values, counts = torch.full((2, 3), float(rank)), torch.tensor([rank])
distributed.average([values, counts])
images = np.random.default_rng(0).integers(0, 255, (40, 32, 32, 3), np.uint8)
batches = loader.Batches(images, np.arange(40), 20, 2, True, 0, torch.device("cpu"))
labels = [y for _, y in batches.epoch(0, 32)]
torch.save((values, counts, labels), out / f"{rank}.pt")
results.write_json(out / "written.json", {"rank": rank})
print("printed by", rank)
"""

MAPS = """
import sys
import numpy as np
import torch
from common import data, distributed, models
from evaluation.explainers import EXPLAINERS, Batch

distributed.start(torch.device("cpu"))
model, images = models.load(sys.argv[1]), data.load_shapes().x_test[:70]
batch = Batch(images, np.arange(70) % 10, list(range(70)))
maps = EXPLAINERS["gradcam"].maps(model, batch, "body.stage3", 0)
lime = EXPLAINERS["lime"].maps(model, batch.first(3), "", 0)
np.savez(f"{sys.argv[2]}/{distributed.rank()}.npz", gradcam=maps, lime=lime)
"""

LOST = """
import os
import torch
from common import cli, distributed

def work(item):
    if distributed.rank():
        os._exit(9)

def main():
    distributed.start(torch.device("cpu"))
    distributed.share(work, range(4))

cli.run(main)
"""


def python(*command):
    """One thread for each process: bits are the same only with as many."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cli.ROOT,
        env=os.environ | {"CI": "true", "PYTHONPATH": str(cli.ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def torchrun(*arguments):
    launcher = "-m torch.distributed.run --standalone --nproc-per-node 2"
    return python(*launcher.split(), *arguments)


def test_two_processes_share_batches_and_average(tmp_path):
    script = tmp_path / "share.py"
    script.write_text(SHARE)
    found = torchrun(script, tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "printed by 0"
    assert results.read_json(tmp_path / "written.json")["rank"] == 0
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for rank, (values, counts, _) in enumerate(parts):
        assert (values == 0.5).all() and counts == rank  # whole numbers are left alone
    images = np.random.default_rng(0).integers(0, 255, (40, 32, 32, 3), np.uint8)
    alone = loader.Batches(images, np.arange(40), 20, 2, True, 0, torch.device("cpu"))
    for (_, y), first, second in zip(alone.epoch(0, 32), parts[0][2], parts[1][2], strict=True):
        assert torch.stack((first, second), 1).flatten().tolist() == y.tolist()


@pytest.mark.slow
def test_two_processes_train_as_well_as_one(tmp_path):
    """Only the statistics of batch norm differ: each process takes those of its own images."""
    options = "q1_gradcam/train.py --dataset shapes --epochs 2 --train-size 2000 --out".split()
    alone, shared = python(*options, tmp_path / "one"), torchrun(*options, tmp_path / "two")
    assert alone.returncode == shared.returncode == 0, alone.stderr + shared.stderr
    one, two = (results.read_json(tmp_path / f"{name}/training.json") for name in ("one", "two"))
    assert (one["seeds"][0]["processes"], two["seeds"][0]["processes"]) == (1, 2)
    assert two["history"][0]["loss"] == pytest.approx(one["history"][0]["loss"], rel=0.05)
    assert two["mean"]["accuracy"] == pytest.approx(one["mean"]["accuracy"], abs=0.05)
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == ["model.pt", "training.json"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A small untrained network for the built-in shapes, and the options that select it."""
    torch.manual_seed(0)
    options = {"widths": (8, 8, 8)}
    network = models.build("compact", 10, (0.5,) * 3, (0.2,) * 3, options).eval()
    classes = data.load_shapes().classes
    file = tmp_path_factory.mktemp("demo") / "model.pt"
    models.save(file, models.Model(network, "compact", options, classes, "shapes"))
    return ["--model", file, "--device", "cpu"]


def test_share_keeps_the_order_of_the_items():
    assert distributed.share(lambda item: item**2, range(5)) == [0, 1, 4, 9, 16]


def test_all_test_images_in_two_processes(demo, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    alone = python("q1_gradcam/explain.py", "--all", *demo, "--out", one)
    shared = torchrun("q1_gradcam/explain.py", "--all", *demo, "--out", two)
    assert alone.returncode == shared.returncode == 0, alone.stderr + shared.stderr
    assert {path.name for path in two.iterdir()} == {"all.npz", "all.json"}
    assert (one / "all.npz").read_bytes() == (two / "all.npz").read_bytes()
    model, dataset = models.load(demo[1]), data.load_shapes()
    found, last = results.read_npz(two / "all.npz"), slice(-32, None)
    x = models.to_input(dataset.x_test[last])
    maps = gradcam.explain(model.network, x, "body.stage3")
    np.testing.assert_allclose(found["map"][last], maps.raw, atol=1e-6)
    assert (found["predicted"][last] == maps.target.numpy()).all()
    assert (found["label"] == dataset.y_test).all()
    content = results.read_json(two / "all.json")
    assert content["n"] == len(dataset.y_test) == len(found["confidence"])
    assert content["correct"] == (found["predicted"] == dataset.y_test).sum()


def test_maps_in_two_processes(demo, tmp_path):
    """Three batches of Grad-CAM, the last one smaller, and LIME on three images."""
    program = tmp_path / "maps.py"
    program.write_text(MAPS)
    found = torchrun(program, demo[1], tmp_path)
    assert found.returncode == 0, found.stderr
    model, batch = models.load(demo[1]), first_images(70)
    x, y = models.to_input(batch.images), torch.from_numpy(batch.targets)
    alone = gradcam.explain(model.network, x, "body.stage3", y).raw.numpy()
    lime = EXPLAINERS["lime"].maps(model, batch.first(3), "", 0)
    for rank in (0, 1):
        shared = np.load(tmp_path / f"{rank}.npz")
        assert (shared["gradcam"] == alone).all()
        np.testing.assert_allclose(shared["lime"], lime, rtol=1e-4, atol=1e-6)


def first_images(n):
    images = data.load_shapes().x_test[:n]
    return Batch(images, np.arange(n) % 10, list(range(n)))


def test_evaluation_in_two_processes(demo, tmp_path):
    skipped = "lime refinecam guided_backprop guided_gradcam hirescam layercam".split()
    options = ["--only", "faithfulness", "--images", 2, *demo, "--skip", *skipped, "--out"]
    alone = python("evaluation/run.py", *options, tmp_path / "one")
    shared = torchrun("evaluation/run.py", *options, tmp_path / "two")
    assert alone.returncode == shared.returncode == 0, alone.stderr + shared.stderr
    one, two = (tmp_path / name / "faithfulness.npz" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    one, two = (results.read_json(path.with_suffix(".json")) for path in (one, two))
    assert one.pop("provenance") != two.pop("provenance") and one == two


def test_a_lost_process_ends_the_others_with_one_line(tmp_path):
    program = tmp_path / "lost.py"
    program.write_text(LOST)
    found = torchrun(program)
    assert found.returncode != 0
    assert found.stderr.count("error: another process was lost: start again") == 1
    assert "Traceback (most recent call last)" not in found.stderr.split("torch")[0]
