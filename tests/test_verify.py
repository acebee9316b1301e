"""Receipts: results come out again, and whatever was changed, is missing or has none is noticed and named."""

import copy
import json
import shutil
from argparse import Namespace

import numpy as np
import pytest
import torch
from conftest import DATA, needed

from common import receipts, results, runtime, trials
from report import differences, folders, recount, verify

OUT = results.OUTPUTS
EVALUATE, EXPLAIN = "q1_gradcam/evaluate.py", "q1_gradcam/explain.py"


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
    """Question 1 on the built-in pictures: the evaluation, and few explanations."""
    out = tmp_path_factory.mktemp("receipts")
    for name in ("model.pt", "training.json"):
        shutil.copy(shapes_model.with_name(name), out / name)
    usual = ("--model", out / "model.pt", "--device", "cpu", "--out", out)
    for done in (script(EVALUATE, *usual), script(EXPLAIN, *usual, "--correct", 1, "--incorrect", 1)):
        assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def folder(explained, tmp_path):
    """A copy to change: it has its own checkpoint, which the receipt finds."""
    return shutil.copytree(explained, tmp_path / "q1_gradcam")


def rewrite(folder, change, key=EXPLAIN):
    """Changes one of a folder's receipts."""
    content = results.read_json(folder / receipts.NAME)
    change(content[key])
    results.write_json(folder / receipts.NAME, content)


def restamp(folder):
    """Makes a folder's receipts agree with its results as they are now."""
    content = results.read_json(folder / receipts.NAME)
    for receipt in content.values():
        receipt["files"] = {name: results.sha256(folder / name) for name in receipt["files"]}
    results.write_json(folder / receipts.NAME, content)


def edit(path, change):
    """Changes what a results file says."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_was_not_changed_is_the_same_bit_for_bit(folder, checked):
    n = len(results.read_json(folder / "explanations.json")["samples"])
    status, out, _ = checked(folder.parent)
    assert status == 0 and f"{n} of {n} explanations the same, bit for bit" in out, out
    for name in ("evaluation.json", "explanations.json"):
        assert f"{name} the same, to the last digit written" in out, out
    assert out.count("has to be the same bit for bit: code, versions and processor are those") == 2, out
    status, out, _ = checked(folder, "--sample", 3, "--verbose")
    assert status == 0 and "3 of 3 explanations the same" in out and out.count(": the same\n") == 3, out


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
    return "figures/overview_correct.png was changed", "explanations the same, bit for bit"


def remove_figure(folder):
    (folder / "figures/overview_correct.png").unlink()
    return "figures/overview_correct.png is missing", "explanations the same, bit for bit"


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
    return "explanations.json was changed", "explanations.npz was changed", "no explanation made again"


def break_maps(folder):
    (folder / "explanations.npz").write_bytes(b"PK")
    return "explanations.npz was changed", "map is missing", "0 of "


def remove_line_and_file(folder):
    name = results.read_json(folder / "explanations.json")["samples"][0]["figure"]
    rewrite(folder, lambda receipt: receipt["files"].pop(name))
    rewrite(folder, lambda receipt: receipt["files"].pop("evaluation.json"), EVALUATE)
    for gone in (name, "evaluation.json"):
        (folder / gone).unlink()
    return f"{name} is not in its receipt", "evaluation.json is not in its receipt"


def change_evaluation(folder):
    edit(folder / "evaluation.json", lambda found: found.update(accuracy=0.5))
    return "evaluation.json was changed", "evaluation.json: accuracy 0.5, now 0.9", "evaluation.json 0.5"


CHANGES = (change_number, change_draw, change_map, change_figure, remove_figure, change_checkpoint, break_checkpoint,
           remove_checkpoint, break_results, break_maps, remove_line_and_file, change_evaluation)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed_and_named(folder, checked, change):
    words = change(folder)
    status, out, _ = checked(folder)
    assert status == 1 and all(word in out for word in words), out


def remove_line(folder):
    rewrite(folder, lambda receipt: receipt["files"].pop("figures/overview_correct.png"))
    return ("q1_gradcam/figures/overview_correct.png has no receipt",)


def remove_receipt(folder):
    content = results.read_json(folder / receipts.NAME)
    del content[EVALUATE]
    results.write_json(folder / receipts.NAME, content)
    return tuple(
        f"q1_gradcam/{name} has no receipt"
        for name in ("confusion.png", "evaluation.json", "per_class.png", "reliability.png")
    )


def add_files(folder):
    for name in ("more/better.json", "below/results.json", "own/cat.png", "seed0.state.pt", ".hidden"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    shutil.copy(folder / receipts.NAME, folder / "below")
    return "q1_gradcam/below/results.json has no receipt", "q1_gradcam/more/better.json has no receipt"


def change_training(folder):
    edit(folder / "training.json", lambda found: found["seeds"][0].update(accuracy=1.5))
    return ("q1_gradcam: training.json says accuracy 1.5, evaluation.json ",)


def other_training(folder):
    edit(folder / "training.json", lambda found: found["provenance"].update(checkpoint_sha256="0" * 64))
    return ("q1_gradcam: model.pt is not the one that training.json is about (model.pt was changed)",)


def remove_training(folder):
    (folder / "training.json").unlink()
    return ("q1_gradcam: model.pt has no training.json beside it",)


def break_training(folder):
    (folder / "training.json").write_text('{"provenance": {}, "seeds": []}')
    return ("q1_gradcam: training.json or evaluation.json can't be read as its script writes it",)


LOOSE_ENDS = (remove_line, remove_receipt, add_files, change_training, other_training, remove_training, break_training)


@pytest.mark.parametrize("change", LOOSE_ENDS)
def test_what_nobody_answers_for_is_named(folder, change):
    assert folders.faults(folder, folders.below(folder)) == []
    words = change(folder)
    found = folders.faults(folder, folders.below(folder))
    assert len(found) == len(words) and all(word in line for word, line in zip(words, found, strict=True)), found


def test_a_folder_without_its_receipts_is_noticed_from_above(folder, checked):
    (folder.parent / "comparison").mkdir()
    (folder.parent / "comparison/methods.json").write_text("{}")
    status, out, _ = checked(folder.parent)
    assert status == 1 and "comparison/methods.json has no receipt" in out, out
    assert "explanations the same, bit for bit" in out, out


FORGERIES = (
    ("explanations.json", lambda found: found["samples"][2].update(confidence=0.5), "confidence"),
    ("explanations.json", lambda found: found["dead"].update(correct=3), "dead correct 3, now 0"),
    ("explanations.json", lambda found: found.update(peak_on_evidence=0.0), "peak_on_evidence 0.0, now"),
    ("explanations.json", lambda found: found.update(better="yes"), "better 'yes', now None"),
    ("evaluation.json", lambda found: found["per_class_accuracy"].popitem(), "per_class_accuracy"),
    ("evaluation.json", lambda found: found["confusion_matrix"][0].reverse(), "confusion_matrix 1 1"),
)


def test_a_receipt_that_agrees_with_a_forgery_does_not_help(folder, checked):
    """Numbers and hashes changed together: they still do not come out again."""
    for file, change, _ in FORGERIES:
        edit(folder / file, change)
    restamp(folder)
    status, out, _ = checked(folder)
    assert status == 1 and "was changed" not in out and all(words in out for *_, words in FORGERIES), out


def test_trust_tables_come_out_again_from_the_scores(tmp_path):
    """Of made-up scores: a mean that was changed is found, so is a verdict, a row that is missing, and one that is too many; other keys stay."""
    rng, names = np.random.default_rng(0), ("gradcam", "input_gradient", "random", "centre", "edges", "random_fine")
    names += ("untrained gradcam", "untrained input_gradient")
    arrays = {f"{name}/{measure}": rng.random(20) for name in names for measure in trials.FAITHFULNESS}
    arrays |= {
        f"{fill}: {name}/{m}": rng.random(9) for fill in ("blur", "road") for name in names for m in trials.CURVES
    }
    results.write_npz(tmp_path / "faithfulness.npz", index=np.arange(20), **arrays)
    scored = {name: {m: arrays[f"{name}/{m}"] for m in trials.FAITHFULNESS} for name in names}
    opponents = {"gradcam": trials.opponents(scored, False) | {"untrained": scored["untrained gradcam"]}}
    work = recount.gradcam_scores(Namespace(folder=tmp_path), torch.device("cpu"))
    right = work.files["faithfulness.json"]({"n": 20, "other_fills": {"blur": {"n": 9}, "road": {"n": 9}}})
    by_hand = trials.table({"gradcam": scored["gradcam"]}, trials.FAITHFULNESS, opponents)
    assert (
        right["n"] == 20
        and right["other_fills"]["road"]["n"] == 9
        and right["methods"]["gradcam"] == by_hand["gradcam"]
    )
    assert {*right["methods"]} == {name for name in names if not name.startswith("untrained")}
    missing, added = copy.deepcopy(right), copy.deepcopy(right)
    del missing["methods"]["centre"], missing["methods"]["gradcam"]["deletion"]["against"]["edges"]
    added["other_fills"]["road"]["methods"]["magic"] = right["methods"]["gradcam"]
    assert work.files["faithfulness.json"](missing) == work.files["faithfulness.json"](added) == right
    for change in (
        lambda row: row.update(mean=0.1),
        lambda row: row["against"]["random"].update(verdict="perhaps"),
        lambda row: row["against"]["untrained"].update(p=0.5),
    ):
        wrong = copy.deepcopy(right)
        change(wrong["methods"]["gradcam"]["deletion"])
        assert work.files["faithfulness.json"](wrong) == right
    blurred = arrays["blur: gradcam/deletion"]
    found = recount.faithfulness(arrays)["other_fills"]["blur"]["methods"]["gradcam"]["deletion"]
    assert found["mean"] == pytest.approx(blurred.mean()) and found["n"] == 9


def test_other_data_are_named(folder, checked):
    rewrite(folder, lambda receipt: receipt["made_from"].update(data_sha256="0" * 64))
    status, out, _ = checked(folder)
    assert status == 1 and "the data are not those" in out and "explanations the same, bit for bit" in out, out


def test_elsewhere_a_tolerance_applies_and_is_said(folder, checked):
    """Made with another version of torch, a map may be off by rounding, and by no more."""

    def say_torch(version):
        edit(folder / "explanations.json", lambda found: found["provenance"]["versions"].update(torch=version))

    now = results.provenance(0, torch.device("cpu"))["versions"]["torch"]
    with np.load(folder / "explanations.npz") as stored:
        arrays = dict(stored)
    arrays["map"] *= 1 + 1e-5
    results.write_npz(folder / "explanations.npz", **arrays)
    say_torch("1.0")
    restamp(folder)
    status, out, _ = checked(folder)
    assert status == 1 and "another map (off by 1e-05)" in out, "the results file alone does not choose the tolerance"
    assert "explanations.json says something else of made with than the receipt" in out, out
    rewrite(folder, lambda receipt: receipt["made_with"]["versions"].update(torch="1.0"))
    status, out, _ = checked(folder)
    assert status == 0 and f"may be off by 1e-04, since it is not as it was then: torch 1.0, now {now}" in out, out
    assert "the others within 1e-04" in out and "evaluate.py: has to be the same bit for bit" in out, out


def spoilt_arguments():
    for name, value in (("layer", 3), ("method", "no_such"), ("correct", "10"), ("correct", True), ("seed", None),
                        ("model", "model.pt"), ("target", ["cat"])):  # fmt: skip
        words = f"can't have been asked for {name} "
        yield lambda content, n=name, v=value: content[EXPLAIN]["arguments"].update({n: v}), words


def test_bad_input_gets_one_line_and_status_2(folder, checked, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "old").mkdir()
    results.write_json(tmp_path / "old" / receipts.NAME, {"script": EXPLAIN, "arguments": {}, "files": {}})
    cases = [(tmp_path / "nowhere", "no folder"), (tmp_path / "empty", "there is no receipts.json in")]
    cases.append((tmp_path / "old", "does not hold receipts"))
    spoil = [
        (lambda content: content[EXPLAIN].pop("files"), "does not hold receipts"),
        (lambda content: content[EXPLAIN]["files"].update(a=1), "does not hold receipts"),
        (lambda content: content[EXPLAIN]["made_with"].pop("versions"), "does not hold receipts"),
        (lambda content: content.update({"q1_gradcam/train.py": content[EXPLAIN]}), "q1_gradcam/train.py is no script"),
        (lambda content: content[EXPLAIN]["arguments"].pop("layer"), "lacks the argument 'layer'"),
        *spoilt_arguments(),
    ]
    for k, (change, words) in enumerate(spoil):
        place = tmp_path / f"spoilt{k}"
        place.mkdir()
        content = results.read_json(folder / receipts.NAME)
        change(content)
        results.write_json(place / receipts.NAME, content)
        cases.append((place, words))
    for place, words in cases:
        status, _, errors = checked(place)
        assert status == 2 and words in errors and errors.startswith("error: ") and errors.count("\n") == 1, errors


def test_receipts_of_one_folder_stay_together(monkeypatch, tmp_path):
    """A script replaces its own receipt, takes over files that it has overwritten, and leaves the others alone."""
    origin = results.provenance(0, torch.device("cpu"), data_sha256="1")

    def write(name, files, part=""):
        monkeypatch.setattr("sys.argv", [str(runtime.ROOT / name)])
        for file in files:
            (tmp_path / file).write_text(f"{name} {part}")
        receipts.write(tmp_path, Namespace(out=tmp_path, seed=0), [tmp_path / file for file in files], origin, part)
        return {key: sorted(receipt.files) for key, receipt in receipts.read(tmp_path).items()}

    assert write("a.py", ["x", "y"]) == {"a.py": ["x", "y"]}
    assert write("b.py", ["z"], "one") == {"a.py": ["x", "y"], "b.py one": ["z"]}
    assert write("b.py", ["y"], "two") == {"a.py": ["x"], "b.py one": ["z"], "b.py two": ["y"]}
    assert write("b.py", ["w", "z"], "one") == {"a.py": ["x"], "b.py one": ["w", "z"], "b.py two": ["y"]}
    assert write("b.py", ["x"], "two") == {"b.py one": ["w", "z"], "b.py two": ["x"]}
    found = receipts.read(tmp_path)["b.py two"]
    assert vars(found.arguments) == {"seed": 0} and found.script == "b.py" and found.made_from == {"data_sha256": "1"}
    (tmp_path / receipts.NAME).write_text("[]")
    assert write("a.py", ["x"]) == {"a.py": ["x"]}, "a file that is no receipt is replaced"


def test_lime_on_pictures_and_posts_comes_out_again(shapes_model, script, checked, tmp_path):
    out = tmp_path / "q2_lime"
    done = script("q2_lime/explain.py", "--checkpoint", shapes_model, "--samples", 64, "--out", out / "images")
    assert done.returncode == 0, done.stderr
    done = script("q2_lime/train_text.py", "--dataset", "corpus", "--kinds", "svm", "--out", out / "text")
    assert done.returncode == 0, done.stderr
    done = script("q2_lime/explain_text.py", "--models", out / "text", "--kinds", "svm", "--out", out / "text")
    assert done.returncode == 0, done.stderr
    status, said, _ = checked(out, "--sample", 3)
    assert status == 0 and "3 of 3 explanations the same, bit for bit" in said, said
    assert "3 of 3 explanations the same, to the last digit written" in said, said
    assert "evaluation.json the same" in said and "leak.json: left out with --sample" in said, said

    def forge(found):
        found["samples"][0]["words"][0]["weight"] *= 1.001
        found["median"]["svm"]["fidelity"] = 0.5

    edit(out / "text/explanations.json", forge)
    edit(out / "text/leak.json", lambda found: found["models"]["svm"].update(outside_body=0.1))
    edit(out / "text/evaluation.json", lambda found: found["models"]["svm"].update(accuracy=0.5))
    edit(out / "images/explanations.json", lambda found: found.update(recognised=7))
    with np.load(out / "images/explanations.npz") as stored:
        arrays = dict(stored)
    name = next(name for name in arrays if name.startswith("weights_"))
    arrays[name][0] += 1e-3
    results.write_npz(out / "images/explanations.npz", **arrays)
    for place in ("images", "text"):
        restamp(out / place)
    status, said, _ = checked(out)
    words = (
        f"another {name}",
        "words 1 weight",
        "median svm fidelity 0.5",
        "outside_body 0.1",
        "accuracy 0.5",
        "recognised 7",
    )
    assert status == 1 and "was changed" not in said and all(word in said for word in words), said


def test_differences_by_hand():
    def of(found, stored):
        return list(differences.differences(found, stored))

    assert of({"a": [1, 2.0], "seconds": 3}, {"a": [1, 2.0], "seconds": 4}) == []
    assert of({"a": {"b": [1, 2.0]}}, {"a": {"b": [1, 4.0]}}) == [("a b 2 4.0, now 2.0", 0.5)]
    assert of({"n": 2}, {"n": 4})[0][1] == pytest.approx(2e-3), "counts: as a share of 1000"
    assert of({"p": 0.0001}, {"p": 0.0002})[0][1] == pytest.approx(1e-3), "small numbers: as a share of 0.1"
    for found, stored in ((True, 1), ("cat", "dog"), (None, 0.5), ([1], [1, 2]), ({"a": 1}, {})):
        assert [size for _, size in of(found, stored)] == [float("inf")]
    assert list(differences.of_arrays(np.array([1.0, -3.9]), np.array([1.0, -4.0]), "map"))[0][1] == pytest.approx(
        0.025
    )
    assert list(differences.of_arrays(np.array([1, 2]), np.array([1, 3]), "labels"))[0][1] == float("inf")
    assert list(differences.of_arrays(np.array([1.0, np.nan]), np.array([1.0, 2.0]), "map"))[0][1] == float("inf")


@pytest.mark.parametrize(
    "name, script, sample, fixtures",
    [
        ("q1_gradcam", "q1_gradcam/explain.py", 5, "cifar10"),
        ("q2_lime/images", "q2_lime/explain.py", 1, "cifar10 imagenet_model"),
        ("q2_lime/text", "q2_lime/explain_text.py", 2, "newsgroups"),
    ],
)
def test_committed_explanations_come_out_again(name, script, sample, fixtures, request, checked):
    made_from = receipts.read(OUT / name)[script].made_from
    for fixture in fixtures.split():
        key = "weights_sha256" if fixture == "imagenet_model" else "data_sha256"
        same = request.getfixturevalue(fixture).sha256 == made_from[key]
        needed(same, f"{fixture} that the committed explanations were made from")
    status, out, _ = checked(OUT / name, "--sample", sample, "--data", DATA)
    assert status == 0 and f"{sample} of {sample} explanations the same" in out, out


@pytest.mark.parametrize("name", ("trust", "comparison", "benchmarks", "q1_gradcam/tried"))
def test_other_committed_results_are_as_written(name, checked):
    """Means and verdicts that are made from stored scores come out again; no file is changed, missing or without receipt."""
    status, out, _ = checked(OUT / name)
    assert status == 0, out
