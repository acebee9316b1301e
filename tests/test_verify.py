"""verify.py: finds what is different, and runs nothing but scripts of the project."""

import json

from common.cli import UserError

import numpy as np
import pytest
from conftest import call

from q1_gradcam import evaluate
from report import verify
from report.verify import command_of, differences


def test_numbers_are_compared_exactly_or_within_a_tolerance():
    old = {"a": 0.5, "rows": [{"n": 3, "x": 100.0}], "seconds": 1.0, "provenance": {"seed": 1}}
    new = {"a": 0.5004, "rows": [{"n": 3, "x": 100.05}], "seconds": 2.0, "provenance": {}}
    assert list(differences(old, new, 1e-3)) == []
    assert list(differences(old, new, 0.0)) == [
        "a was 0.5, is now 0.5004",
        "rows[0].x was 100.0, is now 100.05",
    ]


def test_counts_missing_values_and_arrays_are_compared():
    old = {"a": 3, "b": [1.0], "maps": np.ones((2, 2), np.float32), "words": np.array(["a", "b"])}
    for change in ({}, {"maps": old["maps"] + 1e-4}):
        assert list(differences(old, old | change, 1e-3)) == []
    for change in (
        {"a": 4},
        {"b": [1.0, 2.0]},
        {"b": [None]},
        {"maps": old["maps"] + 1e-2},
        {"maps": np.ones(4)},
        {"words": np.array(["a", "c"])},
    ):
        assert len(list(differences(old, old | change, 1e-3))) == 1


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf outputs",
        "python -c 'print(1)'",
        "python ../q1_gradcam/evaluate.py",
        "python /elsewhere/q1_gradcam/evaluate.py",
        "python q1_gradcam/evaluate.py; true",  # the script's name would end in a semicolon
        "python report/build.py",
        "python 'q1_gradcam/evaluate.py",
        "python",
        None,
    ],
)
def test_other_commands_are_refused(tmp_path, command):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"provenance": {"command": command}}))
    with pytest.raises(UserError):
        command_of(path)


@pytest.mark.slow
def test_a_falsified_number_is_found(shapes_model, tmp_path):
    done = call(evaluate, "--model", shapes_model, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    good, bad = tmp_path / "evaluation.json", tmp_path / "bad/evaluation.json"
    content = json.loads(good.read_text())
    bad.parent.mkdir()
    bad.write_text(json.dumps(content | {"accuracy": content["accuracy"] - 0.01}))
    unwritten = tmp_path / "unwritten.json"
    unwritten.write_text(good.read_text())
    done = call(verify, good, bad, unwritten)
    assert done.returncode == 1, done.stderr
    same, different, missing = done.stdout.splitlines()
    assert "evaluation.json: the same" in same
    assert "1 differences, the first: accuracy was" in different
    assert "wrote no unwritten.json" in missing
    (tmp_path / "c.json").write_text("{")
    done = call(verify, tmp_path / "c.json", tmp_path / "missing.json")
    assert done.returncode == 2 and done.stdout.count("not verified") == 2 and not done.stderr
