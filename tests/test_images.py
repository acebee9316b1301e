"""LIME on images, against the `lime` package and ground truth; the ImageNet models."""

from common import data, imagenet, models, results, synthetic
from common.cli import UserError

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, call
from lime import lime_image
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import pairwise_distances
from torch import nn
from torchvision import models as zoo
from torchvision.models._meta import _IMAGENET_CATEGORIES

from q2_lime import core, explain, image_figures, images, samplers, stability

OUT = ROOT / "outputs/q2_lime/images"
GRID_4 = images.ImageSettings(segmentation="grid", n_segments=4)


@pytest.fixture
def image():
    return synthetic.make_shapes(20, seed=5).images[3]


@pytest.fixture(scope="module")
def small():
    """An untrained classifier of 32 x 32 images with ten classes."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 8, 5, stride=2)
    head = nn.Linear(8 * 14 * 14, 10)
    network = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), head).eval()
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    return imagenet.ImageModel(network, "small", "a test", mean, std, 32, tuple("abcdefghij"), "")


@pytest.mark.parametrize("segmentation", images.SEGMENTATIONS)
def test_segments_are_numbered_from_zero_without_gaps(image, segmentation):
    large = data.fit_image(image, 96, "bicubic")
    segments = images.segment(large, images.ImageSettings(segmentation=segmentation, n_segments=8))
    assert segments.shape == (96, 96) and segments.max() >= 3
    assert np.array_equal(np.unique(segments), np.arange(segments.max() + 1))


def test_images_that_cannot_be_segmented_are_refused(image, monkeypatch):
    for segmentation in images.SEGMENTATIONS:
        with pytest.raises(UserError, match="single color"):
            settings = images.ImageSettings(segmentation=segmentation)
            images.segment(np.full((64, 64, 3), 90, np.uint8), settings)
    monkeypatch.setattr(images, "MAX_SEGMENTS", 5)
    large, faint = data.fit_image(image, 96, "bicubic"), np.full((32, 32, 3), 90, np.uint8)
    faint[0, 0] = 91
    for shown, segmentation, n, message in (
        (large, "slic", 1, "single segment: use more with --n-segments"),
        (large, "grid", 1, "single segment: use more with --n-segments"),
        (faint, "quickshift", 20, "single segment: try --segmentation grid"),
        (large, "grid", 3, "9 segments, more than 5: use fewer with --n-segments"),
        (large, "quickshift", 20, "more than 5: try --segmentation slic"),
    ):
        with pytest.raises(UserError, match=message):
            images.segment(shown, images.ImageSettings(segmentation=segmentation, n_segments=n))


def test_fills_by_hand():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2], image[0, 0] = 100, 200
    segments = np.repeat([[0], [0], [1], [1]], 4, axis=1)
    mean = images.filled_image(image, segments, "mean")
    assert (mean[:2] == round((7 * 100 + 200) / 8)).all() and (mean[2:] == 0).all()
    assert (images.filled_image(image, segments, "gray") == 128).all()
    assert (images.filled_image(image, segments, "black") == 0).all()
    blurred = images.filled_image(data.fit_image(image, 64, "nearest"), segments, "blur")
    assert blurred.shape == (64, 64, 3) and 0 < blurred[34, 30].mean() < 100


def test_a_fill_that_hides_nothing_is_noticed(image):
    segments = np.repeat(np.arange(4), 256).reshape(32, 32)
    plain = image.copy()
    plain[:8] = 90  # one of four segments has a single color
    assert images.unchanged_share(plain, segments, "mean") == 0.25
    assert images.unchanged_share(plain, segments, "black") == 0


def test_the_masks_of_the_package_give_the_packages_weights(image, small):
    segments = images.segment(image, GRID_4)
    filled = images.filled_image(image, segments, "mean")
    x = (image / 255 - small.mean) / small.std
    ours = imagenet.to_input(small, image[None])[0].permute(1, 2, 0)
    assert np.allclose(ours, x, atol=1e-5)
    explainer = lime_image.LimeImageExplainer(random_state=0)
    masks, outputs = explainer.data_labels(
        image, filled, segments, lambda x: softmax(images.predict(small, x), axis=1), 150
    )
    distance = pairwise_distances(masks, masks[:1], metric="cosine").ravel()
    intercept, pairs, score, _ = explainer.base.explain_instance_with_data(
        masks, outputs, distance, 3, 16, feature_selection="auto"
    )
    masks = masks.astype(bool)
    logits = images.masked_logits(small, image, segments, "mean")
    values = core.transform(logits(masks), [3, 1], "probability")
    assert np.allclose(values, outputs[:, [3, 1]], atol=1e-6)
    sample_weights = samplers.kernel(masks, 0.25)
    ours = core.fit(masks, values, sample_weights, alpha=1.0)
    assert np.allclose(ours.weights[[k for k, _ in pairs], 0], [w for _, w in pairs], atol=1e-6)
    assert ours.intercept[0] == pytest.approx(intercept, abs=1e-6)
    r2 = core.fidelity(ours, masks, values, sample_weights)[0]
    assert r2 == pytest.approx(score, abs=1e-6)


def test_log_odds_match_the_probabilities():
    logits = np.random.default_rng(0).normal(size=(7, 5)) * 3
    p = softmax(logits, axis=1)
    assert np.allclose(core.transform(logits, [4, 0], "log_odds"), np.log(p / (1 - p))[:, [4, 0]])
    assert np.allclose(core.transform(logits, [2], "probability"), p[:, [2]])
    saturated = np.array([[1000.0, 0, 0]])  # p rounds to 1, the log-odds stay finite
    assert core.transform(saturated, [0], "log_odds")[0, 0] == pytest.approx(1000 - np.log(2))


def test_ground_truth_scores_by_hand():
    segments = np.repeat(np.arange(4), 4).reshape(4, 4)  # four rows
    mask = np.zeros((4, 4), bool)
    mask[0] = True
    scores = images.ground_truth_scores(segments, np.array([3.0, 1.0, -5.0, 0.0]), mask)
    assert list(scores.values()) == [0.75, 0.25, 1.0, 0.25]
    scores = images.ground_truth_scores(segments, np.array([-3.0, 1.0, 0, 0]), mask)
    assert scores["relevance_mass"] == scores["top_segment_hit"] == 0


def test_lime_finds_the_ground_truth_of_the_built_in_images(lime_demo):
    content = results.read_json(lime_demo / "explanations.json")
    assert len(content["samples"]) == 10
    assert all((lime_demo / sample["figure"]).is_file() for sample in content["samples"])
    scores = content["ground_truth"]
    assert scores["relevance_mass"] > 2 * scores["relevance_mass_baseline"]
    assert scores["top_segment_hit"] > 0.7 > 0.4 > scores["top_segment_hit_baseline"]


def test_a_user_image(tmp_path, shapes_model, image):
    """Resized in the same way as by q1_gradcam/explain.py, and never overwritten."""
    file = tmp_path / "user/a$b$.png"  # not a formula
    file.parent.mkdir()
    Image.fromarray(image).resize((90, 60)).save(file)
    before = file.read_bytes()
    options = ("--checkpoint", shapes_model, "--out", tmp_path, "--fast", "--save-maps")
    done = call(explain, "--image", file, *options)
    assert done.returncode == 0 and "stability not measured" in done.stdout, done.stderr
    [path] = file.parent.glob("*.json")
    assert path.with_suffix(".png").is_file() and path.with_suffix(".npz").is_file()
    content, model = results.read_json(path), models.load(shapes_model)
    assert content["request"]["image_sha256"] == results.sha256(file)
    pixels = data.fit_image(data.read_image(file), 32)
    logits = models.logits(model.network, pixels[None]).double() / model.temperature
    expected = torch.softmax(logits, 1).max().item()
    assert content["probability"] == pytest.approx(expected, abs=1e-4)
    assert file.read_bytes() == before


def test_blue_is_for_and_orange_is_against(image):
    segments = np.zeros((32, 32), int)
    segments[16:], segments[:, 16:] = 1, segments[:, 16:] + 2
    white, weights = np.full_like(image, 255), np.array([1.0, -1.0, 0.0, 0.5])
    shown = image_figures.weight_map(white, segments, weights)
    red, blue = shown[..., 0], shown[..., 2]
    assert blue[0, 0] > red[0, 0] + 0.3 and red[-1, 0] > blue[-1, 0] + 0.3
    assert shown[0, -1].min() > 0.99 and blue[-1, -1] > red[-1, -1]


@pytest.mark.slow
def test_a_committed_explanation_is_reproduced(cifar10, imagenet_model):
    content = results.read_json(OUT / "explanations.json")
    if content["provenance"]["weights_sha256"] != imagenet_model.sha256:
        pytest.skip("the committed explanations were made with other weights")
    sample = content["samples"][0]
    pixels = data.fit_image(cifar10.x_test[sample["index"]], 224, images.IMAGE_SETTINGS.resize)
    arrays = results.read_npz(OUT / "explanations.npz")
    top = [imagenet_model.categories.index(row["class"]) for row in sample["top5"][:2]]
    segments, d, values = images.prepare(imagenet_model, pixels, images.IMAGE_SETTINGS, top)
    assert np.array_equal(segments, arrays[f"segments_{sample['index']}"])
    found, row = stability.explain(values, d, images.SETTINGS, "test", sample["index"])
    assert np.allclose(found.weights, arrays[f"weights_{sample['index']}"], rtol=1e-3, atol=1e-3)
    assert row["fidelity"] == pytest.approx(sample["fidelity"], abs=1e-3)
    assert row["model_calls_total"] == sample["model_calls_total"]


def test_tensorflow_padding_by_hand():
    convolution = nn.Conv2d(2, 3, 3, stride=2, padding=1)
    weight, bias, x = convolution.weight, convolution.bias, torch.randn(1, 2, 8, 8)
    before = convolution(x)
    imagenet.pad_as_tensorflow(convolution)
    after = convolution(x)
    padded = torch.zeros(1, 2, 9, 9)
    padded[:, :, :8, :8] = x
    assert after.shape == before.shape and not torch.allclose(after, before)
    assert torch.allclose(after, F.conv2d(padded, weight, bias, stride=2), atol=1e-6)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"padding": "odd"}, "padding 'odd'"),
        ({"arch": "resnet18"}, "resnet18"),
        ({"arch": "no_such"}, "no_such"),
        ({"mean": None}, "does not fit"),
        ({"std": [0.5, 0.5, 0.0]}, "does not fit"),
        (None, "w.pth"),
        (b"nothing", "w.pth"),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused(tmp_path, change, message):
    content = {"arch": "squeezenet1_1", "state_dict": zoo.squeezenet1_1().state_dict()}
    content |= {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": 224, "padding": "torch"}
    content |= {"categories": list(_IMAGENET_CATEGORIES), "source": "x"}
    file = tmp_path / "w.pth"
    if type(change) is bytes:
        file.write_bytes(change)
    else:
        torch.save({"state_dict": {}} if change is None else content | change, file)
    with pytest.raises(UserError, match=message):
        imagenet.load(file=file)


def test_imagenet_classes_of_the_ten_classes():
    expected = {404: "airliner", 817: "sports car", 7: "cock", 24: "great grey owl"}
    expected |= {80: "black grouse", 100: "black swan", 127: "white stork", 146: "albatross"}
    expected |= {281: "tabby", 285: "Egyptian cat", 351: "hartebeest", 353: "gazelle"}
    expected |= {151: "Chihuahua", 268: "Mexican hairless", 30: "bullfrog", 32: "tailed frog"}
    expected |= {339: "sorrel", 403: "aircraft carrier", 914: "yawl", 867: "trailer truck"}
    assert all(_IMAGENET_CATEGORIES[k] == name for k, name in expected.items())
    assert all(imagenet.cifar_class(k) for k in expected)
    assert imagenet.cifar_class(717) is None and imagenet.cifar_class(281) == "cat"
    assert [len(imagenet.CIFAR_TO_IMAGENET[name]) for name in ("bird", "dog")] == [59, 118]
