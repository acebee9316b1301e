"""Receipts: an explanation comes out again, and whatever was changed is noticed and named."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import DATA, needed

from common import receipts, results, runtime
from report import differences, verify

OUT = results.OUTPUTS


@pytest.fixture
def checked(monkeypatch, capsys):
    """Runs report/verify.py in this process: exit status, output, errors."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", [str(runtime.ROOT / "report/verify.py"), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runtime.run(verify.main)
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def explained(tmp_path_factory, script, shapes_model):
    """Explanations of the built-in pictures by Question 1, few of them."""
    out = tmp_path_factory.mktemp("receipts")
    shutil.copy(shapes_model, out / "model.pt")
    few = ("--correct", 1, "--incorrect", 1, "--device", "cpu", "--out", out)
    done = script("q1_gradcam/explain.py", "--model", out / "model.pt", *few)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def folder(explained, tmp_path):
    """A copy to change: it has its own checkpoint, which the receipt finds."""
    return shutil.copytree(explained, tmp_path / "q1_gradcam")


def rewrite(folder, change):
    """Changes a folder's receipt."""
    receipt = results.read_json(folder / receipts.NAME)
    change(receipt)
    results.write_json(folder / receipts.NAME, receipt)


def restamp(folder):
    """Makes a folder's receipt agree with its results as they are now."""
    names = ("explanations.json", "explanations.npz")
    rewrite(folder, lambda receipt: receipt["files"].update({name: results.sha256(folder / name) for name in names}))


def test_what_was_not_changed_is_the_same_bit_for_bit(folder, checked):
    n = len(results.read_json(folder / "explanations.json")["samples"])
    status, out, _ = checked(folder.parent)
    assert status == 0 and f"{n} of {n} the same, bit for bit" in out and out.count("\n") == 1, out
    status, out, _ = checked(folder, "--sample", 3, "--verbose")
    assert status == 0 and "3 of 3 the same" in out and out.count(": the same\n") == 3, out


def change_number(folder):
    found = json.loads((folder / "explanations.json").read_text())
    found["samples"][2]["confidence"] *= 0.999
    (folder / "explanations.json").write_text(json.dumps(found))
    return "explanations.json was changed", f"{found['samples'][2]['index']}: confidence 0.", "now "


def change_draw(folder):
    found = json.loads((folder / "explanations.json").read_text())
    found["samples"].pop()
    (folder / "explanations.json").write_text(json.dumps(found))
    return "explanations.json was changed", f"has {len(found['samples'])} explanations, but"


def change_map(folder):
    with np.load(folder / "explanations.npz") as stored:
        arrays = dict(stored)
    arrays["map"][1, 0, 0] += 0.01 * np.abs(arrays["map"][1]).max()
    results.write_npz(folder / "explanations.npz", **arrays)
    return "explanations.npz was changed", f"{arrays['index'][1]}: another map (off by 1e-02)"


def change_figure(folder):
    path = folder / "figures/overview_correct.png"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return "figures/overview_correct.png was changed", "the same, bit for bit"


def remove_figure(folder):
    (folder / "figures/overview_correct.png").unlink()
    return "figures/overview_correct.png is missing", "the same, bit for bit"


def change_checkpoint(folder):
    content = torch.load(folder / "model.pt", weights_only=True)
    content["temperature"] = content["temperature"] * 1.01
    torch.save(content, folder / "model.pt")
    return "model.pt was changed", "nothing made again"


def break_checkpoint(folder):
    (folder / "model.pt").write_bytes(b"")
    return "model.pt was changed", "nothing made again"


def remove_checkpoint(folder):
    (folder / "model.pt").unlink()
    return "model.pt is missing", "nothing made again"


def break_results(folder):
    (folder / "explanations.json").write_text("{")
    (folder / "explanations.npz").write_bytes(b"PK")
    return "explanations.json was changed", "explanations.npz was changed", "nothing made again"


def break_maps(folder):
    (folder / "explanations.npz").write_bytes(b"PK")
    return "explanations.npz was changed", "map is missing", "0 of "


CHANGES = (change_number, change_draw, change_map, change_figure, remove_figure, change_checkpoint, break_checkpoint,
           remove_checkpoint, break_results, break_maps)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed_and_named(folder, checked, change):
    words = change(folder)
    status, out, _ = checked(folder)
    assert status == 1 and all(word in out for word in words), out


def test_a_receipt_that_agrees_with_a_forgery_does_not_help(folder, checked):
    """Numbers and hashes changed together: the explanation still does not come out again."""
    change_number(folder)
    restamp(folder)
    status, out, _ = checked(folder)
    assert status == 1 and "was changed" not in out and "confidence" in out, out


def test_other_data_are_named(folder, checked):
    rewrite(folder, lambda receipt: receipt["made_from"].update(data_sha256="0" * 64))
    status, out, _ = checked(folder)
    assert status == 1 and "the data are not those" in out and "the same, bit for bit" in out, out


def test_elsewhere_a_tolerance_applies(folder, checked):
    """Made with another version of torch, a map may be off by rounding, and by no more."""
    found = json.loads((folder / "explanations.json").read_text())
    found["provenance"]["versions"]["torch"] = "1.0"
    (folder / "explanations.json").write_text(json.dumps(found))
    with np.load(folder / "explanations.npz") as stored:
        arrays = dict(stored)
    arrays["map"] *= 1 + 1e-5
    results.write_npz(folder / "explanations.npz", **arrays)
    restamp(folder)
    status, out, _ = checked(folder)
    assert status == 0 and "torch 1.0, now" in out and "the others within 1e-04" in out, out
    found["provenance"]["versions"] = results.provenance(0, torch.device("cpu"))["versions"]
    (folder / "explanations.json").write_text(json.dumps(found))
    status, out, _ = checked(folder)
    assert status == 1 and "another map (off by 1e-05)" in out, out


def test_bad_input_gets_one_line_and_status_2(folder, checked, tmp_path):
    (tmp_path / "empty").mkdir()
    cases = [(tmp_path / "nowhere", "no folder"), (tmp_path / "empty", "no explanations in")]
    for k, (change, words) in enumerate(
        (
            (lambda receipt: receipt.pop("files"), "is not a receipt"),
            (lambda receipt: receipt.update(script="q1_gradcam/train.py"), "q1_gradcam/train.py"),
            (lambda receipt: receipt["arguments"].pop("layer"), "arguments are unknown"),
        )
    ):
        rewrite(shutil.copytree(folder, tmp_path / f"spoilt{k}"), change)
        cases.append((tmp_path / f"spoilt{k}", words))
    (shutil.copytree(folder, tmp_path / "without") / receipts.NAME).unlink()
    cases.append((tmp_path / "without", "there is no"))
    for place, words in cases:
        status, _, errors = checked(place)
        assert status == 2 and words in errors and errors.startswith("error: ") and errors.count("\n") == 1, errors


def test_lime_on_pictures_and_posts_comes_out_again(shapes_model, script, checked, tmp_path):
    out = tmp_path / "q2_lime"
    done = script("q2_lime/explain.py", "--checkpoint", shapes_model, "--samples", 64, "--out", out / "images")
    assert done.returncode == 0, done.stderr
    done = script("q2_lime/train_text.py", "--dataset", "corpus", "--kinds", "svm", "--out", out / "text")
    assert done.returncode == 0, done.stderr
    done = script("q2_lime/explain_text.py", "--models", out / "text", "--kinds", "svm", "--out", out / "text")
    assert done.returncode == 0, done.stderr
    status, said, _ = checked(out, "--sample", 3)
    assert status == 0 and "3 of 3 the same, bit for bit" in said, said
    assert "3 of 3 the same, to the last digit written" in said, said

    found = json.loads((out / "text/explanations.json").read_text())
    found["samples"][0]["words"][0]["weight"] *= 1.001
    (out / "text/explanations.json").write_text(json.dumps(found))
    with np.load(out / "images/explanations.npz") as stored:
        arrays = dict(stored)
    name = next(name for name in arrays if name.startswith("weights_"))
    arrays[name][0] += 1e-3
    results.write_npz(out / "images/explanations.npz", **arrays)
    status, said, _ = checked(out)
    assert status == 1 and f"another {name}" in said and "words 1 weight" in said and "leak.json" not in said, said


def test_differences_by_hand():
    def of(found, stored):
        return list(differences.differences(found, stored))

    assert of({"a": [1, 2.0], "seconds": 3}, {"a": [1, 2.0], "seconds": 4}) == []
    assert of({"a": {"b": [1, 2]}}, {"a": {"b": [1, 4]}}) == [("a b 2 4, now 2", 0.5)]
    assert of({"p": 0.0001}, {"p": 0.0002})[0][1] == pytest.approx(1e-3), "small numbers: as a share of 0.1"
    for found, stored in ((True, 1), ("cat", "dog"), (None, 0.5), ([1], [1, 2]), ({"a": 1}, {})):
        assert [size for _, size in of(found, stored)] == [float("inf")]
    assert list(differences.of_arrays(np.array([1.0, -3.9]), np.array([1.0, -4.0]), "map"))[0][1] == pytest.approx(
        0.025
    )
    assert list(differences.of_arrays(np.array([1, 2]), np.array([1, 3]), "labels"))[0][1] == float("inf")
    assert list(differences.of_arrays(np.array([1.0, np.nan]), np.array([1.0, 2.0]), "map"))[0][1] == float("inf")


@pytest.mark.parametrize(
    "name, sample, fixtures",
    [("q1_gradcam", 5, "cifar10"), ("q2_lime/images", 1, "cifar10 imagenet_model"), ("q2_lime/text", 2, "newsgroups")],
)
def test_committed_explanations_come_out_again(name, sample, fixtures, request, checked):
    made_from = results.read_json(OUT / name / receipts.NAME)["made_from"]
    for fixture in fixtures.split():
        key = "weights_sha256" if fixture == "imagenet_model" else "data_sha256"
        same = request.getfixturevalue(fixture).sha256 == made_from[key]
        needed(same, f"{fixture} that the committed explanations were made from")
    status, out, _ = checked(OUT / name, "--sample", sample, "--data", DATA)
    assert status == 0 and f"{sample} of {sample} the same" in out, out
