"""The scripts of Question 1 as a user types them, and the examples."""

import json
import runpy

from common import data, imagenet, models, results

import numpy as np
import pytest
import torch
from conftest import ROOT, call, small_model
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix
from torchvision import models as zoo

from evaluation import compare
from q1_gradcam import evaluate, explain, gradcam, user_images


def test_evaluation_agrees_with_scikit_learn(gradcam_demo, shapes_model):
    content = results.read_json(gradcam_demo / "evaluation.json")
    dataset, model = data.load_shapes(), models.load(shapes_model)
    predicted = models.logits(model.network, dataset.x_test).argmax(1).numpy()
    matrix = confusion_matrix(dataset.y_test, predicted, labels=range(10))
    assert content["n"] == len(dataset.y_test) and content["accuracy"] > 0.98
    assert content["accuracy"] == pytest.approx(accuracy_score(dataset.y_test, predicted))
    assert content["confusion_matrix"] == matrix.tolist()
    for name in ("confusion", "per_class", "reliability", "training_curve"):
        assert (gradcam_demo / f"{name}.svg").is_file()


def test_mistakes_by_hand():
    """Cats as dogs (4) and back (2), birds as airplanes (2): six of eight stay among animals."""
    names = data.CIFAR10_CLASSES
    matrix = np.diag([10] * 10)
    for true, predicted, n in (("cat", "dog", 4), ("dog", "cat", 2), ("bird", "airplane", 2)):
        matrix[names.index(true), names.index(predicted)] = n
    content = evaluate.mistakes(matrix, names)
    assert content["most_confused_pair"] == {"classes": ["cat", "dog"], "count": 6, "share": 0.75}
    assert content["within_kind"] == 0.75
    assert content["within_kind_by_chance"] == pytest.approx((6 * 5 + 4 * 3) / 90)
    across = content["most_across"]
    assert (across["true"], across["predicted"], across["count"]) == ("bird", "airplane", 2)
    assert across["share"] == pytest.approx(2 / 12)


def test_explanations_match_the_network(gradcam_demo, shapes_model):
    content = results.read_json(gradcam_demo / "explanations.json")
    dataset, model = data.load_shapes(), models.load(shapes_model)
    arrays = results.read_npz(gradcam_demo / "explanations.npz")
    logits = models.logits(model.network, dataset.x_test).double()
    confidence = torch.softmax(logits / model.temperature, 1)
    for name in model.classes:
        rows = [s for s in content["samples"] if s["kind"] == "correct" and s["true"] == name]
        assert len({s["index"] for s in rows}) == 10
    for k, sample in enumerate(content["samples"]):
        index, true = sample["index"], model.classes.index(sample["true"])
        assert arrays["index"][k] == index and dataset.y_test[index] == true
        assert (sample["predicted"] == sample["true"]) == (sample["kind"] == "correct")
        expected = confidence[index, true].item()
        assert sample["confidence_true"] == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert (gradcam_demo / sample["figure"]).is_file()
        x = models.to_input(dataset.x_test[index : index + 1])
        for key, target in (("map", model.classes.index(sample["predicted"])), ("map_true", true)):
            alone = gradcam.explain(model.network, x, sample["layer"], target).raw[0].numpy()
            assert np.abs(alone - arrays[key][k]).max() <= 1e-4 * np.abs(alone).max()
    median = np.median(arrays["map"][:100].sum((1, 2)))
    assert content["maps_summary"]["sum_correct"] == pytest.approx(median, rel=1e-4)
    assert content["pointing_game"] >= 0.9 and content["pointing_game_baseline"] < 0.6
    assert content["pointing_game_strict"] > 2 * content["pointing_game_strict_baseline"]


def test_other_options_do_not_replace_the_results(gradcam_demo, shapes_model):
    """The draw depends on the seed, whatever the method; stale figures are removed, others stay."""
    before = results.read_json(gradcam_demo / "explanations.json")
    out = gradcam_demo / "other/method-hirescam_layer-body.stage2_target-second_correct-2"
    (out / "figures").mkdir(parents=True)
    for name in ("old.png", "mine.png", "worked_example.png"):
        (out / "figures" / name).write_text("")
    earlier = {"samples": [{"figure": "figures/old.png"}, {"figure": "../../model.pt"}]}
    results.write_json(out / "explanations.json", earlier)
    options = ("--target", "second", "--method", "hirescam", "--layer", "body.stage2")
    done = call(explain, "--model", shapes_model, "--correct", 2, *options)
    assert done.returncode == 0, done.stderr
    assert results.read_json(gradcam_demo / "explanations.json") == before
    content = results.read_json(out / "explanations.json")
    assert all(s["explained"] != s["predicted"] for s in content["samples"])
    index, fewer = (
        [s["index"] for s in c["samples"] if s["kind"] == "correct"] for c in (before, content)
    )
    assert fewer == [k for i, k in enumerate(index) if i % 10 < 2]
    names = {path.name for path in (out / "figures").iterdir()}
    assert not {"old.png", "worked_example.png"} & names
    assert {"mine.png", "overview_correct.png"} <= names
    assert shapes_model.exists()


def test_user_images_are_explained_and_never_overwritten(shapes_model, tmp_path):
    """Two images of one name, other options, and a figure as input all have results of their own;
    only a repeated run replaces its results."""
    name, model = "my $5 image$.png", models.load(shapes_model)  # not a formula
    shapes, folder = data.load_shapes().x_test, tmp_path / "other"
    folder.mkdir()
    Image.fromarray(shapes[0]).resize((64, 128)).save(tmp_path / name)
    Image.fromarray(shapes[1]).resize((60, 60)).save(folder / name)
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(folder / "gray.png")
    user, options = tmp_path / "user", ("--model", shapes_model, "--out", tmp_path, "--image")
    done = call(explain, *options, tmp_path / name, folder, "--save-maps")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 3 and "no contrast" in done.stdout
    assert len(list(user.iterdir())) == 9
    content = results.read_json(user / "my $5 image$.json")
    x = models.to_input(data.fit_image(data.read_image(tmp_path / name), 32)[None])
    alone = gradcam.explain(model.network, x, "body.stage3")
    raw = results.read_npz(user / "my $5 image$.npz")["map"]
    assert np.abs(raw - alone.raw[0].numpy()).max() <= 1e-5 * np.abs(raw).max()
    assert content["explained"] == model.classes[alone.target[0]] == content["top5"][0]["class"]
    assert content["map_share_of_logit"] == pytest.approx(1, abs=1e-4)
    row, column = np.unravel_index(raw.argmax(), raw.shape)
    # The central square of 64 x 128 starts at row 32; its cells are 8 pixels wide.
    assert content["peak_xy"] == [8 * column + 4, 32 + 8 * row + 4]
    before = {path: path.read_bytes() for path in user.iterdir() if path.suffix == ".npz"}
    for more in ((tmp_path / name,), (tmp_path / name, "--target", "second"), (user / name,)):
        assert call(explain, *options, *more).returncode == 0
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(user.iterdir())) == 9 + 0 + 2 + 2


def test_a_shipped_image_is_explained_by_the_committed_network(tmp_path):
    image = ROOT / "examples/airplane.png"
    done = call(explain, "--image", image, "--out", tmp_path)
    assert "airplane.png  airplane 9" in done.stdout and "Grad-CAM" in done.stdout, done.stderr
    done = call(explain, "--list-layers")
    assert "body.stage3 " in done.stdout and "8 x 8, 256 channels  (default)" in done.stdout


def test_layers_are_listed_without_a_default(monkeypatch):
    """A vision transformer has no last convolutional stage."""
    network = zoo.VisionTransformer(32, 8, 1, 2, 16, 16, num_classes=10).eval()
    about = "vit", "a test", (0.5,) * 3, (0.2,) * 3, 32, tuple("abcdefghij"), ""
    model = imagenet.ImageModel(network, *about)
    monkeypatch.setattr(imagenet, "load", lambda *arguments, **options: model)
    done = call(explain, "--model", "vit_b_16", "--list-layers")
    assert "conv_proj" in done.stdout and "default" not in done.stdout, done.stderr


def test_all_images_with_a_method_that_uses_no_layer(tmp_path):
    checkpoint = models.save(tmp_path / "model.pt", small_model(data.load_shapes().classes))
    done = call(explain, "--all", "--method", "input_gradient", "--model", checkpoint)
    assert done.returncode == 0, done.stderr
    content = results.read_json(tmp_path / "other/method-input_gradient/all.json")
    assert content["layer"] is None and content["map_size"] == [32, 32] and content["n"] == 1000


def test_an_imagenet_model_is_explained_at_full_size(imagenet_model, tmp_path):
    """The map of a layer inside a folded chain is that of the network without folding."""
    options = ("--image", ROOT / "examples/airplane.png", "--out", tmp_path, "--save-maps")
    done = call(explain, *options, "--model", "mobilenet_v2")
    assert "airliner 8" in done.stdout and "features.18 (7x7), peak at" in done.stdout, done.stderr
    arrays = results.read_npz(tmp_path / "user/airplane.npz")
    assert arrays["image"].shape == (224, 224, 3) and arrays["map"].shape == (7, 7)
    expected = data.fit_image(data.read_image(options[1]), 224, "bicubic")
    assert np.array_equal(arrays["image"], expected), "the same pixels as for LIME"
    [file] = (ROOT / "data").glob("weights/mobilenet_v2_imagenet*.pth")
    done = call(explain, *options, "--weights", file, "--layer", "features.17.conv.2")
    assert done.returncode == 0, done.stderr
    plain = imagenet.load(file=file, fold=False)
    x = imagenet.to_input(plain, expected[None])
    raw = gradcam.explain(plain.network, x, "features.17.conv.2").raw[0].numpy()
    [second] = (tmp_path / "user").glob("airplane-*.npz")
    assert np.abs(results.read_npz(second)["map"] - raw).max() <= 1e-5 * np.abs(raw).max()


def test_an_improbable_class_is_not_drawn_as_bright(shapes_model):
    """The map of a clear image's runner-up is faint."""
    c = user_images.load(str(shapes_model), None, None, ROOT / "data", torch.device("cpu"))
    clear = data.load_shapes().x_test[0]
    first, second = (user_images.explain(c, clear, target) for target in ("predicted", "second"))
    assert first.strength == 1 and second.strength < 0.5


def test_the_peak_lies_in_the_image(tmp_path):
    models.save(tmp_path / "m.pt", small_model("ab"))
    c = user_images.load(str(tmp_path / "m.pt"), None, None, tmp_path, torch.device("cpu"))
    rng = np.random.default_rng(0)
    for _ in range(10):
        image = rng.integers(0, 256, (2, 2, 3), np.uint8)
        x, y = user_images.explain(c, image, "a").content["peak_xy"]
        assert x < 2 and y < 2


@pytest.mark.slow
def test_committed_results_can_be_recomputed(cifar10):
    """Accuracy on the real test set, and some of the maps, from the committed checkpoint."""
    folder = results.OUTPUTS / "q1_gradcam"
    model = models.load(folder / "model.pt")
    evaluation = results.read_json(folder / "evaluation.json")
    assert evaluation["provenance"]["checkpoint_sha256"] == results.sha256(folder / "model.pt")
    accuracy = (
        models.logits(model.network, cifar10.x_test).argmax(1).numpy() == cifar10.y_test
    ).mean()
    same_data = evaluation["provenance"]["data_sha256"] == cifar10.sha256
    # Another copy of CIFAR-10 may differ from the official one in a few images.
    assert accuracy == pytest.approx(evaluation["accuracy"], abs=3e-4 if same_data else 3e-3)
    samples = results.read_json(folder / "explanations.json")["samples"]
    arrays = results.read_npz(folder / "explanations.npz")
    kinds = [sample["kind"] for sample in samples]
    assert kinds.count("correct") == 100 and kinds.count("incorrect") == 50
    for k in range(0, len(samples) if same_data else 0, 10):
        x = models.to_input(cifar10.x_test[samples[k]["index"]][None])
        target = model.classes.index(samples[k]["predicted"])
        raw = gradcam.explain(model.network, x, samples[k]["layer"], target).raw[0].numpy()
        assert np.abs(raw - arrays["map"][k]).max() <= 1e-3 * np.abs(arrays["map"][k]).max()


def test_uncertain_bins_by_hand():
    """Of three bins, those at 0.5 (two images) and 0.9 (six images) count."""
    diagram = {"confidence": [None, 0.5, 0.9, 0.99], "accuracy": [None, 0.0, 1.0, 1.0]}
    content = evaluate.uncertain(diagram | {"count": [0, 2, 6, 100]})
    assert (content["n"], content["accuracy"]) == (8, 0.75)
    assert content["confidence"] == pytest.approx(0.8)


EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize(
    "name, words",
    [
        ("gradcam_any_model.py", ["class 0, logit"]),
        ("lime_any_function.py", ["engine", "wheels", "seats", "radio"]),
        ("lime_any_text_model.py", ["astronomy; fidelity 1.00", "eclipse"]),
    ],
)
def test_examples(tmp_path, monkeypatch, capsys, name, words):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    printed = capsys.readouterr().out
    assert all(word in printed for word in words)
    assert (tmp_path / "gradcam_example.png").exists() == ("gradcam" in name)


def test_both_methods_side_by_side(shapes_model, tmp_path):
    image = tmp_path / "\x1bboat.png"
    image.write_bytes((EXAMPLES / "boat.png").read_bytes())
    options = ("--image", image, "--model", shapes_model, "--out", tmp_path, "--save-maps")
    done = call(compare, *options)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    for word in ("Grad-CAM", "LIME", "agreement"):
        assert f"\n{word} " in f"\n{done.stdout}"
    (written,) = (tmp_path / "user").glob("*boat*.json")
    content = results.read_json(written)
    assert content["lime"]["n_segments"] == 64 and "gradcam" in content
    arrays = results.read_npz(written.with_suffix(".npz"))
    lime = arrays["lime_weights"][arrays["segments"]]
    assert lime.shape == (32, 32) and Image.open(written.with_suffix(".png")).width > 1000


@pytest.mark.slow
def test_the_notebook_runs(imagenet_model, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    cells = json.loads((EXAMPLES / "colab.ipynb").read_text())["cells"]
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells)
    names = {}
    for cell in cells:
        if "setup" not in cell["metadata"].get("tags", []):
            source = "".join(cell["source"]).replace("outputs/colab", tmp_path.as_posix())
            exec(source, names)
    assert len(list((tmp_path / "user").glob("*.png"))) == 3
