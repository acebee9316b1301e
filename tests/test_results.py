"""Results files: whole or not at all, readable, with their provenance."""

import json

import numpy as np
import pytest
import torch

from common import models, results
from common.cli import UserError, seed_for


def test_a_failing_write_leaves_the_old_file(tmp_path):
    path = results.write_json(tmp_path / "a.json", {"n": 1})

    def fail(file):
        file.write(b"half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        results.write_whole(path, fail)
    assert json.loads(path.read_text()) == {"n": 1} and list(tmp_path.iterdir()) == [path]


def test_json_is_plain_and_round_trips(tmp_path):
    content = {
        "a": np.float32(0.1),
        "b": [np.int64(3)] * 100,
        "c": {"d": torch.tensor([1.0, 2.0])},
        "e": None,
        "f": [{"g": "ä"}] * 9,
    }
    back = results.read_json(results.write_json(tmp_path / "a.json", content))
    assert back == {
        "a": 0.1,
        "b": [3] * 100,
        "c": {"d": [1.0, 2.0]},
        "e": None,
        "f": [{"g": "ä"}] * 9,
    }
    with pytest.raises(ValueError):
        results.write_json(tmp_path / "b.json", {"a": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_provenance_names_what_the_result_came_from():
    made = results.provenance(3, torch.device("cpu"), data_sha256="abc")
    assert (
        made["seed"] == 3
        and made["data_sha256"] == "abc"
        and made["versions"]["numpy"] == np.__version__
    )
    assert (
        made["code"]["common/results.py"] == results.sha256(results.ROOT / "common/results.py")[:16]
    )


def test_an_output_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't write in"):
        results.output_folder(tmp_path / "file" / "below")


def test_seeds_depend_on_all_that_they_are_for():
    seeds = {seed_for(0, "a"), seed_for(1, "a"), seed_for(0, "b"), seed_for(0, "a", 1)}
    assert (
        len(seeds) == 4
        and seed_for(0, "a") == seed_for(0, "a")
        and all(0 <= s < 2**63 for s in seeds)
    )


@pytest.fixture
def model():
    torch.manual_seed(0)
    options = {"widths": (8, 8, 8)}
    network = models.build("compact", 3, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), options).eval()
    return models.Model(network, "compact", options, ("a", "b", "c"), "shapes", 1.5, {"seed": 7})


@pytest.mark.parametrize("half", [False, True])
def test_a_checkpoint_round_trips(model, tmp_path, half):
    back = models.load(models.save(tmp_path / "m.pt", model, half), arch="compact")
    assert (back.classes, back.temperature, back.training, back.options) == (
        ("a", "b", "c"),
        1.5,
        {"seed": 7},
        model.options,
    )
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    ours, theirs = models.logits(model.network, images), models.logits(back.network, images)
    assert torch.allclose(ours, theirs, atol=2e-2 if half else 0) and not back.network.training


class Harmful:
    def __reduce__(self):
        import os

        return os.system, ("touch harmed",)


def test_bad_checkpoints(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = models.save(tmp_path / "m.pt", model)
    whole = path.read_bytes()
    cases = {
        "truncated": (whole[: len(whole) // 2], "damaged"),
        "empty": (b"", "damaged"),
        "text": (b"hello" * 99, "damaged"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            models.load(tmp_path / name)
    with pytest.raises(UserError, match="there is no checkpoint"):
        models.load(tmp_path / "nowhere.pt")
    with pytest.raises(UserError, match="holds a 'compact' network, not 'resnet18'"):
        models.load(path, arch="resnet18")
    torch.save({"format": 1, "x": Harmful()}, tmp_path / "harmful.pt")
    with pytest.raises(UserError, match="more than weights"):
        models.load(tmp_path / "harmful.pt")
    assert not (tmp_path / "harmed").exists()
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="not a checkpoint of this project"):
        models.load(tmp_path / "other.pt")
    content = torch.load(path, weights_only=True)
    for change in (
        {"arch": "resnet18", "options": {}},
        {"options": {"widths": (8, 8, 9)}},
        {"classes": ["a"]},
        {"arch": "x"},
    ):
        torch.save(content | change, tmp_path / "wrong.pt")
        with pytest.raises(UserError):
            models.load(tmp_path / "wrong.pt")
