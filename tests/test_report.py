"""The report: numbers from the results, no false claim, the same bytes from the same results; and
verify.py, which finds what is different and runs nothing but scripts of the project."""

import json
import re
import shutil

from common import results
from common.cli import UserError

import numpy as np
import pytest
from conftest import call

from evaluation import faults
from q1_gradcam import evaluate, recipes
from q2_lime import images, stability, text
from report import build, update_readme, verify
from report.build import place_of
from report.verify import command_of, differences

REPORT = results.ROOT / "report"
# Names and definitions with a number in them; none is a result.
ALLOWED = ("95%", "SHA-256", "[2.1]", "[2.2]", "20% of pixels", "steps of 10%")
CHAPTERS = sorted([REPORT / "report.typ", *REPORT.glob("chapters/*.typ")])


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the committed outputs that a test may change."""
    monkeypatch.chdir(results.ROOT)
    faults.copy_results(tmp_path / "outputs")
    return tmp_path / "outputs"


def change(path, **values):
    path.write_text(json.dumps(results.read_json(path) | values))


def test_the_report_builds_from_the_committed_results_and_twice_the_same(script, tmp_path):
    done = call(build, "--out", tmp_path / "a.pdf")
    assert done.returncode == 0 and "left out" not in done.stdout, done.stderr
    assert script("report/build.py", "--out", tmp_path / "b.pdf").returncode == 0
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and pdf == (tmp_path / "b.pdf").read_bytes()


def test_false_claims_stop_the_build_and_are_named(tmp_path, copied):
    """A draft is built nevertheless, without the chapters that lack results; strings from results
    are text in it and never markup. Claims about single images need the network that they were
    written about: with it their image has to be there, with another one they are left out."""
    change(copied / "q1_gradcam/evaluation.json", accuracy_interval=[0.5, 0.6])
    path = copied / "q1_gradcam/explanations.json"
    explained = results.read_json(path)
    change(path, samples=[s for s in explained["samples"] if s["index"] != 6759])
    options = ("--outputs", copied, "--out", tmp_path / "a.pdf")
    done = call(build, *options)
    assert done.returncode == 2 and not (tmp_path / "a.pdf").exists()
    assert re.search(r"claim 'confusions' is false: report/chapters/question1.typ:\d+", done.stderr)
    assert "'car-with-tent'" in done.stderr and "'two-maps'" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    change(path, provenance=explained["provenance"] | {"checkpoint_sha256": "0" * 64})
    change(copied / "q1_gradcam/training.json", hardware="#panic(1) @nothing <b> $x *y* [")
    shutil.rmtree(copied / "q2_lime")
    done = call(build, *options, "--draft")
    assert done.returncode == 0 and (tmp_path / "a.pdf").exists()
    assert "warning: claim 'confusions' is false" in done.stdout
    assert "'car-with-tent'" not in done.stdout
    assert "left out: question2: there is no" in done.stdout
    assert "question1: there" not in done.stdout


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-9], "training.json"),  # cut off
        (lambda text: text.replace('"mean"', '"means"'), r'typ:\d+: dictionary .* key "mean"'),
        (lambda text: text.replace('"provenance"', '"origin"'), "training.json has no provenance"),
    ],
)
def test_damaged_results_are_refused_in_one_line(tmp_path, copied, damage, message):
    path = copied / "q1_gradcam/training.json"
    path.write_text(damage(path.read_text()))
    done = call(build, "--outputs", copied, "--out", tmp_path / "a.pdf")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert re.search(message, done.stderr), done.stderr


def test_the_report_of_the_demo(demo, gradcam_demo, lime_demo, text_demo):
    done = call(build, "--demo", "--outputs", demo)
    assert done.returncode == 0 and "left out" not in done.stdout, done.stdout + done.stderr
    assert (demo / "report.pdf").read_bytes().startswith(b"%PDF")


def typed_numbers(text: str) -> list[str]:
    """Decimals, percentages and numbers of three digits or more in the prose of a Typst file."""
    text = re.sub(r'//[^\n]*|"[^"\n]*"|\$[^$]*\$|`[^`]*`|<[\w-]+>|@[\w-]+', "", text)
    text = re.sub(r"#about[\w-]*\([^\[]*", "", text)  # the index of an image
    text = " ".join(text.split())
    for name in ALLOWED:
        text = text.replace(name, "")
    before = None
    while before != text:  # arguments of functions, from the inside; prose in [...] stays
        before, text = text, re.sub(r"#?[\w.-]*\([^()\[\]]*\)", "", text)
    found = re.findall(r"\d+\.\d+\w*|\d+%|\b\d{3,}\w*", text)
    return [number for number in found if not re.search(r"(pt|cm|em|fr)$", number)]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_result_is_typed_in_the_prose(path):
    text = path.read_text(encoding="utf-8")
    prose = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#let"))
    assert typed_numbers(prose) == []


def test_typed_results_are_found():
    text = '#claim(x > 0.5, id: "a")[Right in 93.7% of #count(n) images, and 1234 wrong.]'
    assert typed_numbers(text) == ["93.7", "1234"]
    assert typed_numbers('#figure(image("a 100%", width: 78%), caption: [All $x = 12.5$.])') == []


def test_the_tables_in_the_readme_are_those_of_the_results():
    text = update_readme.README.read_text(encoding="utf-8")
    assert update_readme.updated(text) == text
    commands = re.findall(r"^\| [12c][^|]*\| `([^`]+)`", text, re.MULTILINE)
    scripts = ("q1_gradcam/evaluate", "q1_gradcam/explain", "q2_lime/explain_text")
    scripts = [f"python {script}.py" for script in (*scripts, "q2_lime/explain")]
    assert commands == [*scripts, "make trust"]
    for link in re.findall(r"\]\(([\w/.-]+)\)", text):
        assert (results.ROOT / link).exists(), link


def test_the_places_of_claims():
    ids = [name for path in CHAPTERS for name in re.findall(r'id:\s*"([\w-]+)"', path.read_text())]
    assert len(ids) == len(set(ids)) > 50
    path, line = place_of(ids[0]).rsplit(":", 1)
    assert f'"{ids[0]}"' in (results.ROOT / path).read_text().splitlines()[int(line) - 1]


def read(name: str) -> dict:
    return results.read_json(results.OUTPUTS / f"{name}.json")


def test_the_main_results_have_the_settings_in_the_code():
    """Otherwise they are stale: docs/extending.md says which scripts to run."""
    for arch, name in (("compact", "q1_gradcam"), ("resnet18", "q1_gradcam/resnet18")):
        recipe = results.plain(recipes.recipe(arch, "cifar10"))
        assert read(f"{name}/training")["recipe"] == recipe
    of_images, of_text = read("q2_lime/images/explanations"), read("q2_lime/text/explanations")
    assert of_images["image_settings"] == vars(images.IMAGE_SETTINGS)
    assert of_images["settings"].items() >= vars(images.SETTINGS).items()
    assert of_images["thresholds"] == stability.THRESHOLDS
    assert of_images["interval_level"] == stability.LEVEL
    assert of_images["n_seeds"] == of_text["n_seeds"] == stability.N_SEEDS
    assert of_text["settings"] == vars(text.SETTINGS)


def test_the_measured_numbers_of_docs_scaling():
    page = (results.ROOT / "docs/scaling.md").read_text(encoding="utf-8")
    trainings = [read("q1_gradcam/training"), read("q1_gradcam/resnet18/training")]
    speed = read("evaluation/speed_gradcam")
    ours = read("evaluation/speed_lime")["images"]["median"]["ours"]
    seconds = [row["variants"]["this project"]["seconds"] for row in speed["networks"]]
    for small, large in (
        [f"{training['flops_per_image'] / 1e9:.2f} GFLOP" for training in trainings],
        [f"{training['peak_memory_bytes'] / 1e9:.1f} GB" for training in trainings],
        [f"{1000 * x / speed['images']:.2f} ms" for x in seconds],
    ):
        assert f"| {small} | {large} |" in page
    assert f"{ours['model_calls']:.0f} model calls and {ours['seconds']:.2f} s per" in page
    for row in read("evaluation/memory")["rows"]:
        added = [f"{row['added_bytes'][way] / 1e6:.0f} MB" for way in ("ours", "package")]
        cells = f"{row['masks']:,}", row["segments"], row["side"], *added
        assert f"| {' | '.join(map(str, cells))} |" in page


def test_numbers_are_compared_exactly_or_within_a_tolerance():
    old = {"a": 0.5, "rows": [{"n": 3, "x": 100.0}], "seconds": 1.0, "provenance": {"seed": 1}}
    new = {"a": 0.5004, "rows": [{"n": 3, "x": 100.05}], "seconds": 2.0, "provenance": {}}
    assert list(differences(old, new, 1e-3)) == []
    found = ["a was 0.5, is now 0.5004", "rows[0].x was 100.0, is now 100.05"]
    assert list(differences(old, new, 0.0)) == found


def test_counts_missing_values_and_arrays_are_compared():
    old = {"a": 3, "b": [1.0], "maps": np.ones((2, 2), np.float32), "words": np.array(["a", "b"])}
    assert list(differences(old, old | {"maps": old["maps"] + 1e-4}, 1e-3)) == []
    changes = ({"a": 4}, {"b": [1.0, 2.0]}, {"b": [None]}, {"words": np.array(["a", "c"])})
    for change in (*changes, {"maps": old["maps"] + 1e-2}, {"maps": np.ones(4)}):
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
        "torchrun --nproc-per-node=2 report/build.py",
        "torchrun --nproc-per-node=2",
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


def test_the_command_of_several_processes_runs_in_several(tmp_path):
    command = "torchrun --nproc-per-node=2 evaluation/run.py"
    (tmp_path / "idsds.json").write_text(json.dumps({"provenance": {"command": command}}))
    found = command_of(tmp_path / "idsds.json")
    assert found[:3] == ("-m", "torch.distributed.run", "--nproc-per-node=2")
    assert found[3:] == ("evaluation/run.py", "--only", "idsds")
    resumed = {"provenance": {"command": "python q1_gradcam/ladder.py --resume"}}
    (tmp_path / "ladder.json").write_text(json.dumps(resumed))
    assert command_of(tmp_path / "ladder.json") == ("q1_gradcam/ladder.py",)


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
