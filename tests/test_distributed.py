"""Training with two processes, as torchrun starts them."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from common import cli, results
from q1_gradcam import loader

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


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*command, "--nproc-per-node", "2", *map(str, arguments)],
        cwd=cli.ROOT,
        env=os.environ | {"CI": "true", "PYTHONPATH": str(cli.ROOT)},
        capture_output=True,
        text=True,
    )


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
def test_two_processes_train_as_well_as_one(script, tmp_path):
    """Only the statistics of batch norm differ: each process takes those of its own images."""
    options = "q1_gradcam/train.py --dataset shapes --epochs 2 --train-size 2000 --out".split()
    alone, shared = script(*options, tmp_path / "one"), torchrun(*options, tmp_path / "two")
    assert alone.returncode == shared.returncode == 0, alone.stderr + shared.stderr
    one, two = (results.read_json(tmp_path / f"{name}/training.json") for name in ("one", "two"))
    assert (one["seeds"][0]["processes"], two["seeds"][0]["processes"]) == (1, 2)
    assert two["history"][0]["loss"] == pytest.approx(one["history"][0]["loss"], rel=0.05)
    assert two["mean"]["accuracy"] == pytest.approx(one["mean"]["accuracy"], abs=0.05)
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == ["model.pt", "training.json"]
