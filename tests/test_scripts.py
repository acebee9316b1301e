"""The scripts as a user types them: what they write on good input, and one line on bad input."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix

from common import data, models, results, statistics
from q1_gradcam import gradcam
from q1_gradcam.evidence import peak_on_evidence
from report import glance


@pytest.fixture(scope="module")
def explained(shapes_model, script):
    """The folder of `make demo`'s three scripts."""
    for name in ("evaluate", "explain"):
        done = script(f"q1_gradcam/{name}.py", "--model", shapes_model, "--device", "cpu")
        assert done.returncode == 0, done.stderr
    return shapes_model.parent


def test_the_demo_network_is_right_on_98_percent(explained):
    training = results.read_json(explained / "training.json")
    assert training["seeds"][0]["accuracy"] > 0.98
    assert not list(explained.glob("*.part")) and not list(explained.glob("*.state.pt"))


def test_evaluation_agrees_with_scikit_learn(explained, shapes_model):
    found, dataset, model = (
        results.read_json(explained / "evaluation.json"),
        data.load_shapes(),
        models.load(shapes_model),
    )
    predicted = models.logits(model.network, dataset.x_test).argmax(1).numpy()
    assert found["n"] == len(dataset.y_test)
    assert found["accuracy"] == pytest.approx(accuracy_score(dataset.y_test, predicted))
    assert (
        found["confusion_matrix"]
        == confusion_matrix(dataset.y_test, predicted, labels=range(10)).tolist()
    )
    assert found["provenance"]["checkpoint_sha256"] == results.sha256(shapes_model)
    assert (explained / "confusion.png").stat().st_size > 5000


def test_the_interval_of_the_accuracy():
    """Wilson's interval is where the share is 1.96 standard errors away, by the formula of his paper."""
    low, high = statistics.wilson_interval(8, 10)
    for p in (low, high):
        assert abs(0.8 - p) == pytest.approx(1.95996 * (p * (1 - p) / 10) ** 0.5, rel=1e-4)
    assert low < 0.8 < high


def test_the_map_finds_the_evidence(shapes_model):
    """Of all test pictures that are classified correctly, at least 90% have the map's peak on the shape, grown by one cell. A map
    of another picture does so far less often."""
    model, dataset = models.load(shapes_model), data.load_shapes()
    maps = gradcam.explain(model.network, models.to_input(dataset.x_test), model.layer)
    right = (maps.logits.argmax(1).numpy() == dataset.y_test).nonzero()[0]
    own, other = dataset.ground_truth_test, np.roll(dataset.ground_truth_test, -1, axis=0)

    def share(evidence, cells):
        return np.mean([peak_on_evidence(maps.raw[k], evidence[k], cells) for k in right])

    assert share(own, cells=1) >= 0.9 and share(other, cells=1) < 0.6
    # In the peak's own cell the hollow middle of a ring or frame counts as a miss.
    assert share(own, cells=0.25) > 2 * share(other, cells=0.25)


def test_peak_on_evidence_by_hand():
    evidence = np.zeros((32, 32), bool)
    evidence[4:8, 4:8] = True  # cell (1, 1) of 8 x 8
    for cell, near, on in (
        ((1, 1), True, True),
        ((2, 2), True, False),
        ((0, 0), True, False),
        ((3, 1), False, False),
        ((7, 7), False, False),
    ):
        raw = torch.zeros(8, 8)
        raw[cell] = 1
        assert peak_on_evidence(raw, evidence) == near
        assert peak_on_evidence(raw, evidence, cells=0.25) == on


def test_explanations_say_what_was_drawn(explained, shapes_model):
    found, dataset, model = (
        results.read_json(explained / "explanations.json"),
        data.load_shapes(),
        models.load(shapes_model),
    )
    arrays = np.load(explained / "explanations.npz", allow_pickle=False)
    confidence = torch.softmax(
        models.logits(model.network, dataset.x_test).double() / model.temperature, 1
    )
    correct = [sample for sample in found["samples"] if sample["kind"] == "correct"]
    for name in model.classes:
        chosen = [sample["index"] for sample in correct if sample["true"] == name]
        assert len(set(chosen)) == 10
    for k, sample in enumerate(found["samples"]):
        index, true = sample["index"], model.classes.index(sample["true"])
        assert arrays["index"][k] == index and dataset.y_test[index] == true
        assert (sample["predicted"] == sample["true"]) == (sample["kind"] == "correct")
        assert sample["confidence_true"] == pytest.approx(
            confidence[index, true].item(), rel=1e-3, abs=1e-6
        )
        assert (explained / sample["figure"]).is_file()
        x = models.to_input(dataset.x_test[index : index + 1])
        for key, target in (("map", model.classes.index(sample["predicted"])), ("map_true", true)):
            alone = gradcam.explain(model.network, x, sample["layer"], target).raw[0].numpy()
            assert np.abs(alone - arrays[key][k]).max() <= 1e-4 * np.abs(alone).max()


def test_the_draw_is_the_seeds(explained, shapes_model, script, tmp_path):
    def drawn(seed):
        done = script(
            "q1_gradcam/explain.py",
            "--model",
            shapes_model,
            "--out",
            tmp_path,
            "--correct",
            2,
            "--incorrect",
            1,
            "--seed",
            seed,
            "--device",
            "cpu",
            "--method",
            "hirescam",
            "--layer",
            "body.stage2",
        )
        assert done.returncode == 0, done.stderr
        return results.read_json(tmp_path / "explanations.json")

    same, other = drawn(0), drawn(1)
    first = [
        s["index"]
        for s in results.read_json(explained / "explanations.json")["samples"]
        if s["kind"] == "correct"
    ]
    assert [s["index"] for s in same["samples"] if s["kind"] == "correct"] == [
        k for i, k in enumerate(first) if i % 10 < 2
    ]
    assert [s["index"] for s in same["samples"]] != [s["index"] for s in other["samples"]]
    assert (same["method"], same["layer"], same["map_size"]) == ("hirescam", "body.stage2", [8, 8])


def test_unusual_options_leave_the_usual_results_alone(explained, shapes_model, script):
    before = results.sha256(explained / "explanations.json")
    (explained / "other/target-second_correct-1" / "figures").mkdir(parents=True)
    for name in ("old.png", "a_users_own.png"):
        (explained / "other/target-second_correct-1" / "figures" / name).write_text("")
    earlier = {"samples": [{"figure": "figures/old.png"}, {"figure": "../../model.pt"}]}
    results.write_json(explained / "other/target-second_correct-1/explanations.json", earlier)
    done = script(
        "q1_gradcam/explain.py", "--model", shapes_model, "--correct", 1, "--target", "second"
    )
    assert done.returncode == 0, done.stderr
    assert results.sha256(explained / "explanations.json") == before
    found = results.read_json(explained / "other/target-second_correct-1/explanations.json")
    assert (
        all(s["explained"] != s["predicted"] for s in found["samples"])
        and found["target"] == "second"
    )
    figures = {
        path.name for path in (explained / "other/target-second_correct-1/figures").iterdir()
    }
    assert "old.png" not in figures and {"worked_example.png", "a_users_own.png"} <= figures
    assert (explained / "model.pt").exists() == shapes_model.is_relative_to(explained)


def save_modes(folder, image):
    """One picture, stored in the ways that people store pictures."""
    image.save(folder / "plain.png")
    image.convert("L").save(folder / "grey.png")
    image.convert("RGBA").save(folder / "alpha.png")
    image.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.gif")
    image.convert("CMYK").save(folder / "print.jpg")
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 200).save(
        folder / "sixteen.png"
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    image.rotate(90, expand=True).save(folder / "turned.png", exif=exif)
    image.resize((1, 1)).save(folder / "tiny.png")
    return sorted(path.name for path in folder.iterdir())


def test_pictures_of_every_mode_and_size(tmp_path):
    image = Image.fromarray(data.load_shapes().x_test[0]).resize((90, 60))
    for name in save_modes(tmp_path, image):
        assert data.read_image(tmp_path / name).shape == (
            (1, 1, 3) if name == "tiny.png" else (60, 90, 3)
        )
        assert data.fit_image(data.read_image(tmp_path / name), 32).shape == (32, 32, 3)
    plain = data.read_image(tmp_path / "plain.png").astype(int)
    for name in ("alpha.png", "turned.png"):
        assert np.array_equal(data.read_image(tmp_path / name), plain)
    transparent = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    transparent.save(tmp_path / "clear.png")
    assert (data.read_image(tmp_path / "clear.png") == 255).all(), "nothing is shown as white paper"


def test_explains_the_users_own_picture(shapes_model, script, tmp_path):
    name = "my $5 picture$"  # no mathematics
    Image.fromarray(data.load_shapes().x_test[0]).resize((200, 120)).save(tmp_path / f"{name}.jpg")
    done = script(
        "q1_gradcam/explain.py",
        "--model",
        shapes_model,
        "--image",
        tmp_path / f"{name}.jpg",
        "--out",
        tmp_path,
    )
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    assert f"wrote {tmp_path / 'own' / name}.png" in done.stdout and "looks like" in done.stdout
    assert Image.open(tmp_path / "own" / f"{name}.png").width > 1000


def refused(done, *words) -> None:
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1, (
        done.stderr
    )
    assert done.stderr.startswith("error: ")
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            ("--layer", "body.stage9"),
            (
                "unknown layer 'body.stage9'",
                "choose body.whiten, body.stage1, body.stage2, body.stage3, or",
                "body.stage1.widen",
            ),
        ),
        (("--layer", "body.head"), ("no feature map",)),
        (("--target", "unicorn"), ("unknown class 'unicorn'", "disk", "predicted")),
        (("--target", "10"), ("unknown class '10'",)),
        (("--device", "tpu"), ("unknown device 'tpu'", "cpu")),
        (("--method", "magic"), ("magic", "gradcam")),
        (("--correct", "2000"), ("--correct 2000", "only")),
        (("--correct", "0"), ("--correct",)),
        (("--correct", "many"), ("--correct",)),
        (("--image", "nowhere.png"), ("no image nowhere.png",)),
        (("--image", "x.png", "--seed", "3"), ("--image explains one picture",)),
        (("--image", "x.png", "--target", "true"), ("--image explains one picture",)),
        (("--sed", "3"), ("--sed",)),
        (("--method", "input_gradient", "--layer", "body.stage3"), ("looks at no layer",)),
    ],
)
def test_bad_arguments(shapes_model, script, tmp_path, arguments, words):
    refused(
        script(
            "q1_gradcam/explain.py", "--model", shapes_model, "--out", tmp_path / "out", *arguments
        ),
        *words,
    )
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_bad_pictures(shapes_model, script, tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)).save(
        tmp_path / "half.png"
    )
    whole = (tmp_path / "half.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    for name, word in (
        ("text.png", "not a picture"),
        ("empty.png", "not a picture"),
        ("half.png", "damaged"),
    ):
        done = script(
            "q1_gradcam/explain.py",
            "--model",
            shapes_model,
            "--image",
            tmp_path / name,
            "--out",
            tmp_path,
        )
        refused(done, name, word)
    assert not (tmp_path / "own").exists() or not list((tmp_path / "own").iterdir())


def test_bad_places(shapes_model, script, tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("train", "evaluate", "explain"):
        model = () if name == "train" else ("--model", shapes_model)
        dataset = ("--dataset", "shapes") if name == "train" else ()
        refused(
            script(f"q1_gradcam/{name}.py", *model, *dataset, "--out", tmp_path / "file" / "out"),
            "can't write in",
        )
    for name in ("evaluate", "explain"):
        refused(
            script(f"q1_gradcam/{name}.py", "--model", tmp_path / "none.pt", "--out", tmp_path),
            "no checkpoint",
        )


def test_no_data_and_no_network(script, tmp_path):
    """The proxy that is set here refuses every connection, at once."""
    offline = {
        key: "http://127.0.0.1:9"
        for key in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    }
    done = script("q1_gradcam/train.py", "--data", tmp_path, "--out", tmp_path / "out", env=offline)
    refused(done, "cifar10.npz", "cifar-10-python.tar.gz", "make demo")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_help_is_worth_reading(script):
    for name in ("train", "evaluate", "explain"):
        done = script(f"q1_gradcam/{name}.py", "--help")
        assert (
            done.returncode == 0
            and f"python q1_gradcam/{name}.py" in done.stdout
            and "Writes OUT/" in done.stdout
        )


def test_committed_results_are_complete():
    """What other scripts and the report read from the committed files, under the names they use."""
    folder = results.ROOT / "outputs/q1_gradcam"
    wanted = {
        "training.json": "arch parameters epochs seconds hardware flops_per_image train_flops seed history seeds provenance",
        "evaluation.json": "accuracy accuracy_mirror n per_class_accuracy confusion_matrix expected_calibration_error provenance",
        "explanations.json": "samples provenance",
    }
    for name, keys in wanted.items():
        assert set(keys.split()) <= set(json.loads((folder / name).read_text()))
    samples = json.loads((folder / "explanations.json").read_text())["samples"]
    keys = "index kind true predicted confidence confidence_true method layer dead figure".split()
    assert all(set(keys) <= set(sample) for sample in samples)
    assert all((folder / sample["figure"]).is_file() for sample in samples)
    assert (folder / "model.pt").stat().st_size <= 16_000_000


def test_the_readme_says_what_the_results_say():
    text = glance.README.read_text(encoding="utf-8")
    assert glance.rewritten(text, results.OUTPUTS) == text, "run python report/glance.py"


def test_committed_results_come_out_again(cifar10):
    """Accuracy over the whole real test set, and a sample of the maps, recomputed from the committed checkpoint."""
    folder = results.ROOT / "outputs/q1_gradcam"
    model = models.load(folder / "model.pt")
    evaluation = results.read_json(folder / "evaluation.json")
    assert evaluation["provenance"]["checkpoint_sha256"] == results.sha256(folder / "model.pt")
    predicted = models.logits(model.network, cifar10.x_test).argmax(1).numpy()
    same_data = evaluation["provenance"]["data_sha256"] == cifar10.sha256
    accuracy = (predicted == cifar10.y_test).mean()
    # Elsewhere CIFAR-10 may be the official release, which differs from another copy in a few pictures.
    assert accuracy == pytest.approx(evaluation["accuracy"], abs=3e-4 if same_data else 3e-3)
    samples = results.read_json(folder / "explanations.json")["samples"]
    arrays = np.load(folder / "explanations.npz", allow_pickle=False)
    kinds = [sample["kind"] for sample in samples]
    assert kinds.count("correct") == 100 and kinds.count("incorrect") == 50
    for k in range(0, len(samples), 10):
        sample = samples[k]
        x = models.to_input(cifar10.x_test[sample["index"] : sample["index"] + 1])
        maps = gradcam.explain(
            model.network, x, sample["layer"], model.classes.index(sample["predicted"])
        )
        if not same_data:
            continue
        assert model.classes[maps.logits.argmax()] == sample["predicted"]
        assert (
            np.abs(maps.raw[0].numpy() - arrays["map"][k]).max()
            <= 1e-3 * np.abs(arrays["map"][k]).max()
        )
