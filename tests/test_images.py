"""Question 2, pictures: superpixels, perturbed pictures, ImageNet models; LIME's front end against the package and known evidence."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from lime import lime_image
from scipy.special import softmax
from sklearn.metrics import pairwise_distances
from torch import nn
from torchvision import models as zoo
from torchvision.models._meta import _IMAGENET_CATEGORIES

from common import data, imagenet, models, results, synthetic
from common.cli import UserError
from evaluation import lime_evidence
from q2_lime import core, image_figures, images, lime_package

OUT = ROOT / "outputs/q2_lime/images"


@pytest.fixture
def picture():
    return synthetic.make_shapes(20, seed=5).images[3]


@pytest.fixture(scope="module")
def small():
    """An untrained classifier of 32 x 32 pictures, ten classes."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 10)
    ).eval()
    plain = ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    return imagenet.ImageModel(
        network, "small", "made here", *plain, 32, tuple("abcdefghij"), "", False
    )


# --- Regions and what stands for them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("segmentation", images.SEGMENTATIONS)
def test_regions_count_from_zero_without_gaps(picture, segmentation):
    big = images.enlarged(picture, 96, "bicubic")
    labels = images.segment(big, images.Choices(segmentation=segmentation, regions=8))
    assert (
        labels.shape == (96, 96)
        and np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
        and labels.max() >= 3
    )
    assert np.array_equal(
        labels, images.segment(big, images.Choices(segmentation=segmentation, regions=8))
    )


def test_a_grid_lies_along_the_original_pixels(picture):
    labels = images.segment(
        images.enlarged(picture, 224, "nearest"), images.Choices(segmentation="grid", regions=8)
    )
    assert labels.max() == 63 and all(
        (labels[i : i + 28, j : j + 28] == labels[i, j]).all()
        for i in range(0, 224, 28)
        for j in range(0, 224, 28)
    )


def test_pictures_that_fall_into_one_region_or_thousands_are_refused(picture):
    for segmentation in images.SEGMENTATIONS:
        with pytest.raises(UserError, match="all of one colour"):
            images.segment(
                np.full((64, 64, 3), 90, np.uint8), images.Choices(segmentation=segmentation)
            )
    with pytest.raises(UserError, match="all one region"):
        images.segment(picture, images.Choices(segmentation="grid", regions=1))
    with pytest.raises(UserError, match="more than 400"):
        images.segment(
            images.enlarged(picture, 224, "nearest"),
            images.Choices(segmentation="grid", regions=56),
        )


def test_enlarging_keeps_the_shape_of_things():
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = 200  # the central square
    assert (images.enlarged(wide, 20, "bicubic")[:, 1:-1] > 190).all()
    small = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert np.array_equal(images.enlarged(small, 6, "nearest"), small.repeat(3, 0).repeat(3, 1))


def test_fills_by_hand():
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2], picture[0, 0] = 100, 200
    labels = np.repeat([[0], [0], [1], [1]], 4, axis=1)
    mean = images.filling(picture, labels, "mean")
    assert (mean[:2] == round((7 * 100 + 200) / 8)).all() and (mean[2:] == 0).all()
    assert (images.filling(picture, labels, "grey") == 128).all() and (
        images.filling(picture, labels, "black") == 0
    ).all()
    blurred = images.filling(images.enlarged(picture, 64, "nearest"), labels, "blur")
    assert blurred.shape == (64, 64, 3) and 0 < blurred[34, 30].mean() < 100


def test_the_gather_makes_the_packages_pictures(picture, small):
    """Pixel for pixel what the package's loop over samples and regions makes."""
    labels = images.segment(picture, images.Choices(segmentation="grid", regions=4))
    filled = images.filling(picture, labels, "mean")
    masks = np.random.default_rng(0).random((9, 16)) < 0.5
    found = images.Perturbed(picture, filled, labels, small.mean, small.std).batch(masks)
    for mask, x in zip(masks, found, strict=True):
        copied = picture.copy()
        for part in np.flatnonzero(~mask):
            copied[labels == part] = filled[labels == part]
        expected = (copied / 255 - np.array(small.mean)) / np.array(small.std)
        assert np.allclose(x.permute(1, 2, 0), expected, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_the_packages_masks_and_answers_give_its_weights(picture, small):
    labels = images.segment(picture, images.Choices(segmentation="grid", regions=4))
    explainer = lime_image.LimeImageExplainer(random_state=0)
    mean_fill = images.filling(picture, labels, "mean")
    masks, answers = explainer.data_labels(
        picture,
        mean_fill,
        labels,
        lambda x: softmax(images.predict(small, x), axis=1),
        150,
        batch_size=10,
    )
    distance = pairwise_distances(masks, masks[:1], metric="cosine").ravel()
    _, pairs, score, _ = explainer.base.explain_instance_with_data(
        masks, answers, distance, 3, 16, feature_selection="auto"
    )
    logits = images.logits_of(small, picture, labels, "mean")
    values = images.explained_values(logits, [3, 1], "probability")(masks.astype(bool))
    assert np.allclose(values, answers[:, [3, 1]], atol=1e-6)
    counts = core.kernel(masks.astype(bool), 0.25)
    found = core.fit(masks.astype(bool), values, counts, alpha=1.0)
    assert np.allclose(found.weights[[k for k, _ in pairs], 0], [w for _, w in pairs], atol=1e-6)
    assert core.fidelity(found, masks.astype(bool), values, counts)[0] == pytest.approx(
        score, abs=1e-6
    )


def test_the_packages_engine_and_ours_agree_on_many_masks(picture, small):
    labels = images.segment(picture, images.Choices(segmentation="grid", regions=4))
    theirs = lime_package.explain_image(picture, labels, "mean", small, [3, 1], 1500, seed=0)
    logits = images.logits_of(small, picture, labels, "mean")
    values = images.explained_values(logits, [3, 1], "probability")
    ours = core.explain(values, 16, core.Settings(sampler="lime", width=0.25, samples=1500))
    for k in range(2):
        assert np.corrcoef(theirs.weights[:, k], ours.weights[:, k])[0, 1] > 0.98


def test_the_packages_fidelity_is_held_out():
    weights = np.random.default_rng(1).normal(size=(16, 2))
    found = lime_package.PackageExplanation(weights, 0.25, 0.9, None)
    values = {
        "linear": lambda masks: masks @ weights + 0.25,
        "noise": lambda masks: np.random.default_rng(2).normal(size=(len(masks), 2)),
    }
    fidelity = {
        key: lime_package.image_fidelity(found, f, 500, np.random.default_rng(0))
        for key, f in values.items()
    }
    assert fidelity["linear"] == pytest.approx(1) and fidelity["noise"] < 0


def test_the_packages_object_holds_our_weights(picture, small):
    labels = images.segment(picture, images.Choices(segmentation="grid", regions=4))
    weights = np.random.default_rng(0).normal(size=(16, 2))
    own = lime_package.image_object(picture, labels, weights, np.zeros(2), [3, 1])
    best = np.argsort(-weights[:, 1])[:2]
    _, mask = own.get_image_and_mask(1, positive_only=True, num_features=2)
    assert np.array_equal(mask.astype(bool), np.isin(labels, best))


def test_log_odds_are_those_of_the_probabilities():
    logits = np.random.default_rng(0).normal(size=(7, 5)) * 3
    p = softmax(logits, axis=1)
    assert np.allclose(images.transform(logits, [4, 0], "log_odds"), np.log(p / (1 - p))[:, [4, 0]])
    assert np.allclose(images.transform(logits, [2], "probability"), p[:, [2]])
    sure = np.array(
        [[1000.0, 0, 0]]
    )  # where a probability is 1 to the last digit, the log-odds still are numbers
    assert images.transform(sure, [0], "log_odds")[0, 0] == pytest.approx(1000 - np.log(2))


# --- Models -----------------------------------------------------------------------------------------------------------------


def unlike(network):
    """Batch norms as after a training, so that folding them means something."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_folding_batch_norm_is_exact(name):
    network = unlike(zoo.get_model(name, weights=None))
    folded = imagenet.folding(network, 64)
    assert folded is not None and not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    x = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(folded(x), network(x), atol=1e-5 * network(x).abs().max())


def test_tensorflows_padding_by_hand():
    convolution = nn.Conv2d(2, 3, 3, stride=2, padding=1)
    x = torch.randn(1, 2, 8, 8)
    before = convolution(x)
    after = imagenet.SamePadding(convolution)(x)
    assert after.shape == before.shape and not torch.allclose(after, before)
    by_hand = torch.zeros(1, 2, 9, 9)
    by_hand[:, :, :8, :8] = x
    assert torch.allclose(
        after, F.conv2d(by_hand, convolution.weight, convolution.bias, stride=2), atol=1e-6
    )


@pytest.fixture
def checkpoint(tmp_path):
    content = {
        "arch": "mobilenet_v2",
        "state_dict": zoo.mobilenet_v2(weights=None).state_dict(),
        "mean": [0.5] * 3,
    }
    content |= {
        "std": [0.5] * 3,
        "input_size": 224,
        "padding": "torch",
        "categories": list(_IMAGENET_CATEGORIES),
        "source": "x",
    }

    def write(**change):
        torch.save(content | change, tmp_path / "w.pth")
        return tmp_path / "w.pth"

    return write


def test_padding_in_a_checkpoint_is_honoured(checkpoint):
    state = zoo.mobilenet_v2(weights=None).state_dict()
    x = torch.randn(2, 3, 224, 224)
    same, other = (
        imagenet.load(file=checkpoint(state_dict=state, padding=p), fold=False).network
        for p in ("torch", "tf_same")
    )
    halving = [m for m in same.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    assert sum(isinstance(m, imagenet.SamePadding) for m in other.modules()) == len(halving) == 5
    with torch.inference_mode():
        before, after = same.features[0][0](x), other.features[0][0](x)
        assert (
            before.shape == after.shape and (before - after).abs().max() > 0.1 * before.abs().max()
        )
        folded = imagenet.load(file=checkpoint(state_dict=state, padding="tf_same")).network
        assert torch.allclose(folded(x), other(x), atol=1e-5 * other(x).abs().max())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"padding": "odd"}, "asks for padding 'odd'"),
        ({"arch": "resnet18"}, "does not fit torchvision's resnet18"),
        ({"arch": "no_such"}, "torchvision does not know"),
        ({"state_dict": {}}, "does not fit"),
        ({"categories": ["a"]}, "does not fit"),
        ({"mean": None}, "does not fit"),
        ({"std": [0.5, 0.5, 0.0]}, "does not fit"),
        ({"categories": None}, "does not fit"),
        ({"input_size": []}, "does not fit"),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused(checkpoint, change, message):
    with pytest.raises(UserError, match=message):
        imagenet.load(file=checkpoint(**change))


def test_files_that_are_no_checkpoints_are_refused(tmp_path, checkpoint):
    torch.save({"state_dict": {}}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(b"nothing")
    for name, message in (
        ("a.pth", "lacks arch, mean"),
        ("b.pth", "damaged"),
        ("c.pth", "there is no checkpoint"),
    ):
        with pytest.raises(UserError, match=message):
            imagenet.load(file=tmp_path / name)
    with pytest.raises(UserError, match="no classifier 'no_such_net'"):
        imagenet.load("no_such_net")


def test_kinds_of_the_ten_classes():
    names = {k: _IMAGENET_CATEGORIES[k] for k in imagenet.CIFAR_CLASS}
    expected = {
        404: "airliner",
        407: "ambulance",
        817: "sports car",
        7: "cock",
        24: "great grey owl",
        80: "black grouse",
        100: "black swan",
        127: "white stork",
        146: "albatross",
        281: "tabby",
        285: "Egyptian cat",
        351: "hartebeest",
        353: "gazelle",
        151: "Chihuahua",
        268: "Mexican hairless",
        30: "bullfrog",
        32: "tailed frog",
        339: "sorrel",
        403: "aircraft carrier",
        914: "yawl",
        555: "fire engine",
        867: "trailer truck",
    }
    assert all(names[k] == name for k, name in expected.items())
    assert imagenet.cifar_class(717) is None and imagenet.cifar_class(281) == "cat"
    assert (
        len(imagenet.CIFAR_TO_IMAGENET["bird"]) == 59
        and len(imagenet.CIFAR_TO_IMAGENET["dog"]) == 118
    )


# --- Known evidence ---------------------------------------------------------------------------------------------------------


def test_evidence_by_hand():
    labels = np.repeat(np.arange(4), 4).reshape(4, 4)  # four rows
    mask = np.zeros((4, 4), bool)
    mask[0] = True
    found = lime_evidence.of(labels, np.array([3.0, 1.0, -5.0, 0.0]), mask)
    assert found == {
        "weight": 0.75,
        "weight_control": 0.25,
        "leading": 1.0,
        "leading_control": 0.25,
    }
    assert lime_evidence.of(labels, np.array([-3.0, 1.0, 0, 0]), mask)["leading"] == 0
    assert lime_evidence.summary([found, found])["weight_on_evidence"] == 0.75


@pytest.fixture(scope="module")
def demo(tmp_path_factory, script, shapes_model):
    out = tmp_path_factory.mktemp("images")
    done = script(
        "q2_lime/explain.py", "--checkpoint", shapes_model, "--per-class", 2, "--out", out
    )
    assert done.returncode == 0, done.stderr
    return out


def test_lime_finds_the_evidence_of_the_built_in_pictures(demo):
    found = json.loads((demo / "explanations.json").read_text())
    assert len(found["samples"]) == 20 and all(
        (demo / s["figure"]).is_file() for s in found["samples"]
    )
    assert found["weight_on_evidence"] > 2 * found["weight_on_evidence_control"]
    assert found["leading_on_evidence"] > 0.7 > 0.4 > found["leading_on_evidence_control"]


def test_an_explanation_is_the_same_alone(demo, shapes_model):
    stored = json.loads((demo / "explanations.json").read_text())["samples"][-1]
    model, _ = imagenet.from_checkpoint(shapes_model)
    picture = data.load("shapes", "").x_test[stored["index"]]
    labels = images.segment(picture, images.SMALL_CHOICES)
    logits = images.logits_of(model, picture, labels, images.SMALL_CHOICES.fill)
    top = [model.categories.index(row["class"]) for row in stored["top5"][:2]]
    found = core.explain(
        images.explained_values(logits, top, "log_odds"),
        int(labels.max()) + 1,
        images.SMALL_SETTINGS,
        "test",
        stored["index"],
    )
    with np.load(demo / "explanations.npz") as arrays:
        assert np.allclose(
            found.weights, arrays[f"weights_{stored['index']}"], rtol=1e-4, atol=1e-4
        )
        assert np.array_equal(labels, arrays[f"labels_{stored['index']}"])
    assert (
        found.fidelity[0] == pytest.approx(stored["fidelity"], abs=1e-3)
        and found.model_calls == stored["model_calls"]
    )


def test_a_users_own_picture(script, tmp_path, shapes_model, picture):
    from PIL import Image

    Image.fromarray(picture).resize((90, 60)).save(tmp_path / "a$b$.png")
    own = ["--image", tmp_path / "a$b$.png", "--checkpoint", shapes_model, "--out", tmp_path]
    for options in ([], ["--engine", "lime", "--samples", "100"]):
        done = script("q2_lime/explain.py", *own, *options)
        assert done.returncode == 0 and "Verdict" in done.stdout, done.stderr
    assert (tmp_path / "own/a$b$.png").is_file()
    assert {"fidelity", "in_sample"} <= results.read_json(tmp_path / "own/a$b$.json").keys()
    # It was shrunk as q1_gradcam/explain.py shrinks it: both scripts explain the same pixels.
    seen = data.fit_image(data.read_image(tmp_path / "a$b$.png"), 32)
    model = models.load(shapes_model)
    says = (
        torch.softmax(models.logits(model.network, seen[None]).double() / model.temperature, 1)
        .max()
        .item()
    )
    assert results.read_json(tmp_path / "own/a$b$.json")["probability"] == pytest.approx(
        says, abs=1e-4
    )


def test_blue_is_for_and_orange_against(picture):
    labels = np.zeros((32, 32), int)
    labels[16:], labels[:, 16:] = 1, labels[:, 16:] + 2
    shown = image_figures.signed_map(
        np.full_like(picture, 255), labels, np.array([1.0, -1.0, 0.0, 0.5])
    )
    red, blue = shown[..., 0], shown[..., 2]
    assert blue[0, 0] > red[0, 0] + 0.3 and red[-1, 0] > blue[-1, 0] + 0.3
    assert shown[0, -1].min() > 0.99 and blue[-1, -1] > red[-1, -1]
    leading = image_figures.leading_map(picture, labels, np.array([3.0, -2.0, 0.0, 0.1]), count=2)
    assert leading[0, 0].argmax() == 2 and leading[-1, 0].argmax() == 0
    seen = image_figures.leading_map(
        np.full_like(picture, 255), labels, np.array([3.0, -2.0, 0.0, 0.1]), count=2
    )
    assert (
        seen[: len(seen) // 2, : len(seen) // 2].min(2) == 1
    ).mean() > 0.9  # the rim is thin, on a picture of 32 pixels too


# --- Bad input --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        (["--samples", "3"], "--samples 3"),
        (["--samples", "many"], "--samples many"),
        (["--engine", "lime", "--fill", "blur"], "no --sampler"),
        (["--segmentation", "quickshift", "--regions", "9"], "leave out --regions"),
        (["--prefer-recognised", "--image", "x.png"], "are for test pictures"),
        (["--weights", "missing.pth"], "there is no checkpoint"),
        (["--model", "no_such"], "no classifier 'no_such'"),
        (["--image", "missing.png"], "there is no image"),
        (["--image", "one_colour.png"], "all of one colour"),
        (["--checkpoint", "x.pt", "--model", "resnet50"], "give one of"),
        (["--segmentation", "quickshift", "--regions", "20"], "leave out --regions"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(script, tmp_path, shapes_model, options, message):
    from PIL import Image

    Image.new("RGB", (50, 40), "teal").save(tmp_path / "one_colour.png")
    if "one_colour.png" in options:
        options = [*options, "--checkpoint", shapes_model, "--segmentation", "slic"]
    done = script("q2_lime/explain.py", *options, "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, (
        done.stderr
    )
    assert not (tmp_path / "out").exists()


def test_weights_that_cannot_be_downloaded_get_one_line(script, tmp_path, picture):
    from PIL import Image

    Image.fromarray(picture).save(tmp_path / "own.png")
    nowhere = {"TORCH_HOME": str(tmp_path / "torch"), "https_proxy": "http://127.0.0.1:9"}
    done = script(
        "q2_lime/explain.py",
        "--image",
        tmp_path / "own.png",
        "--data",
        tmp_path,
        "--out",
        tmp_path,
        env=nowhere,
    )
    assert (
        done.returncode == 2
        and "could not be downloaded" in done.stderr
        and done.stderr.count("\n") == 1
    )
    assert (
        done.stdout.startswith("downloading the weights of mobilenet_v2")
        and done.stdout.count("\n") == 1
    )


# --- The real model ---------------------------------------------------------------------------------------------------------


def test_the_padding_makes_the_model_right_more_often(cifar10, imagenet_model):
    """Over real test pictures: the share of probability on kinds of the right class, with the checkpoint's own padding and without."""
    plain = zoo.mobilenet_v2(weights=None)
    state = torch.load(
        ROOT / "data/weights" / imagenet.local_weights(ROOT / "data", "mobilenet_v2").name,
        weights_only=True,
    )
    plain.load_state_dict(state["state_dict"])
    other = replace(imagenet_model, network=plain.eval())
    chosen = np.random.default_rng(0).choice(10000, 100, replace=False)
    seen = np.stack([images.enlarged(cifar10.x_test[i], 224, "bicubic") for i in chosen])
    kinds = [imagenet.CIFAR_TO_IMAGENET[cifar10.classes[cifar10.y_test[i]]] for i in chosen]
    shares = []
    for model in (imagenet_model, other):
        p = softmax(images.predict(model, seen), axis=1)
        shares.append(np.mean([row[list(k)].sum() for row, k in zip(p, kinds, strict=True)]))
    assert shares[0] > shares[1] + 0.03


def test_a_model_that_knows_nothing_has_no_recognised_pictures(
    cifar10, checkpoint, script, tmp_path
):
    done = script(
        "q2_lime/explain.py",
        "--weights",
        checkpoint(),
        "--prefer-recognised",
        "--out",
        tmp_path / "out",
    )
    assert (
        done.returncode == 2
        and "leave out --prefer-recognised" in done.stderr
        and done.stderr.count("\n") == 1
    )
    assert not (tmp_path / "out").exists()


def test_a_committed_explanation_comes_out_again(cifar10, imagenet_model):
    stored = json.loads((OUT / "explanations.json").read_text())
    if stored["provenance"]["weights_sha256"] != imagenet_model.sha256:
        pytest.skip("the committed explanations are of other weights than those in data/weights")
    sample = stored["samples"][0]
    picture = images.enlarged(cifar10.x_test[sample["index"]], 224, images.CHOICES.enlarge)
    labels = images.segment(picture, images.CHOICES)
    logits = images.logits_of(imagenet_model, picture, labels, images.CHOICES.fill)
    top = [imagenet_model.categories.index(row["class"]) for row in sample["top5"][:2]]
    found = core.explain(
        images.explained_values(logits, top, "log_odds"),
        int(labels.max()) + 1,
        images.SETTINGS,
        "test",
        sample["index"],
    )
    with np.load(OUT / "explanations.npz") as arrays:
        assert np.allclose(
            found.weights, arrays[f"weights_{sample['index']}"], rtol=1e-3, atol=1e-3
        )
    assert found.model_calls == sample["model_calls"] and found.fidelity[0] == pytest.approx(
        sample["fidelity"], abs=1e-3
    )


def test_every_benchmark_says_what_it_does(script):
    for name in ("gradcam", "lime"):
        done = script(f"benchmarks/{name}.py", "--help")
        assert done.returncode == 0 and f"python benchmarks/{name}.py" in done.stdout, done.stderr


def test_every_class_has_its_picture(cifar10):
    samples = json.loads((OUT / "explanations.json").read_text())["samples"]
    assert [s["true"] for s in samples] == list(cifar10.classes)
    assert all(cifar10.classes[cifar10.y_test[s["index"]]] == s["true"] for s in samples)
