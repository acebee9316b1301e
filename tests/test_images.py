"""LIME on images: segments, masks, results; against the `lime` package and ground truth."""

from dataclasses import replace

from common import data, imagenet, models, results, synthetic
from common.cli import UserError

import numpy as np
import pytest
import torch
from conftest import ROOT, call
from lime import lime_image
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import pairwise_distances
from torch import nn

from q2_lime import core, explain, image_figures, images, samplers, stability

OUT = ROOT / "outputs/q2_lime/images"
FEWER = replace(images.SMALL_SETTINGS, max_samples=256)
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


def test_images_that_cannot_be_segmented_are_refused(image):
    for segmentation in images.SEGMENTATIONS:
        with pytest.raises(UserError, match="single color"):
            settings = images.ImageSettings(segmentation=segmentation)
            images.segment(np.full((64, 64, 3), 90, np.uint8), settings)
    with pytest.raises(UserError, match="single segment"):
        images.segment(image, replace(GRID_4, n_segments=1))
    with pytest.raises(UserError, match="more than 400"):
        images.segment(data.fit_image(image, 224, "nearest"), replace(GRID_4, n_segments=56))


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


def test_masked_images_match_a_loop_over_segments(image, small):
    segments = images.segment(image, GRID_4)
    filled = images.filled_image(image, segments, "mean")
    masks = np.random.default_rng(0).random((70, 16)) < 0.5  # more than one batch
    logits = images.masked_logits(small, image, segments, "mean")(masks)
    for mask, output in zip(masks, logits, strict=True):
        copied = image.copy()
        for segment in np.flatnonzero(~mask):
            copied[segments == segment] = filled[segments == segment]
        x = (copied / 255 - np.array(small.mean)) / np.array(small.std)
        expected = small.network(torch.tensor(x, dtype=torch.float32).permute(2, 0, 1)[None])
        assert np.allclose(output, expected[0].detach(), atol=1e-5)


def test_the_masks_of_the_package_give_the_packages_weights(image, small):
    segments = images.segment(image, GRID_4)
    filled = images.filled_image(image, segments, "mean")
    explainer = lime_image.LimeImageExplainer(random_state=0)
    masks, outputs = explainer.data_labels(
        image, filled, segments, lambda x: softmax(images.predict(small, x), axis=1), 150
    )
    distance = pairwise_distances(masks, masks[:1], metric="cosine").ravel()
    _, pairs, score, _ = explainer.base.explain_instance_with_data(
        masks, outputs, distance, 3, 16, feature_selection="auto"
    )
    masks = masks.astype(bool)
    logits = images.masked_logits(small, image, segments, "mean")
    values = core.transform(logits(masks), [3, 1], "probability")
    assert np.allclose(values, outputs[:, [3, 1]], atol=1e-6)
    sample_weights = samplers.kernel(masks, 0.25)
    ours = core.fit(masks, values, sample_weights, alpha=1.0)
    assert np.allclose(ours.weights[[k for k, _ in pairs], 0], [w for _, w in pairs], atol=1e-6)
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


@pytest.fixture(scope="module")
def explained(tmp_path_factory, shapes_model):
    """The folder with explanations of ten built-in images, with fewer masks than usual."""
    out = tmp_path_factory.mktemp("images")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "SMALL_SETTINGS", FEWER)
        done = call(explain, "--checkpoint", shapes_model, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def test_lime_finds_the_ground_truth_of_the_built_in_images(explained):
    content = results.read_json(explained / "explanations.json")
    assert len(content["samples"]) == 10
    assert all((explained / sample["figure"]).is_file() for sample in content["samples"])
    scores = content["ground_truth"]
    assert scores["relevance_mass"] > 2 * scores["relevance_mass_baseline"]
    assert scores["top_segment_hit"] > 0.7 > 0.4 > scores["top_segment_hit_baseline"]


def explained_again(model, pixels, image_settings, settings, sample, arrays):
    """Explains one image alone and compares with the stored result of a run over many images."""
    index = sample["index"]
    top = [model.categories.index(row["class"]) for row in sample["top5"][:2]]
    segments, d, values = images.prepare(model, pixels, image_settings, top)
    assert np.array_equal(segments, arrays[f"segments_{index}"])
    found, row = stability.explain(values, d, settings, "test", index)
    assert np.allclose(found.weights, arrays[f"weights_{index}"], rtol=1e-3, atol=1e-3)
    assert row["fidelity"] == pytest.approx(sample["fidelity"], abs=1e-3)
    assert row["model_calls_total"] == sample["model_calls_total"]


def test_an_explanation_is_the_same_alone(explained, shapes_model):
    sample = results.read_json(explained / "explanations.json")["samples"][-1]
    model = imagenet.from_model(models.load(shapes_model), "", "")
    pixels = data.load("shapes", "").x_test[sample["index"]]
    arrays = results.read_npz(explained / "explanations.npz")
    settings = (images.SMALL_IMAGE_SETTINGS, FEWER)
    explained_again(model, pixels, *settings, sample, arrays)


def test_user_images(tmp_path, shapes_model, image):
    """Two images of one name have separate results, and neither is overwritten."""
    out = tmp_path / "user"
    out.mkdir()
    files = [tmp_path / "a$b$.png", out / "a$b$.png"]  # not a formula
    for file, size in zip(files, ((90, 60), (60, 80)), strict=True):
        Image.fromarray(image).resize(size).save(file)
    before = [file.read_bytes() for file in files]
    options = ("--checkpoint", shapes_model, "--out", tmp_path, "--fast", "--save-maps")
    done = call(explain, "--image", *files, *options)
    assert done.returncode == 0 and "stability not measured" in done.stdout, done.stderr
    contents = {path: results.read_json(path) for path in out.glob("*.json")}
    written = {content["request"]["image_sha256"]: path for path, content in contents.items()}
    model = models.load(shapes_model)
    for file in files:
        path = written[results.sha256(file)]
        assert path.with_suffix(".png").is_file() and path.with_suffix(".npz").is_file()
        # Resized in the same way as by q1_gradcam/explain.py.
        pixels = data.fit_image(data.read_image(file), 32)
        logits = models.logits(model.network, pixels[None]).double() / model.temperature
        expected = torch.softmax(logits, 1).max().item()
        assert contents[path]["probability"] == pytest.approx(expected, abs=1e-4)
    assert [file.read_bytes() for file in files] == before


def test_blue_is_for_and_orange_is_against(image):
    segments = np.zeros((32, 32), int)
    segments[16:], segments[:, 16:] = 1, segments[:, 16:] + 2
    white, weights = np.full_like(image, 255), np.array([1.0, -1.0, 0.0, 0.5])
    shown = image_figures.weight_map(white, segments, weights)
    red, blue = shown[..., 0], shown[..., 2]
    assert blue[0, 0] > red[0, 0] + 0.3 and red[-1, 0] > blue[-1, 0] + 0.3
    assert shown[0, -1].min() > 0.99 and blue[-1, -1] > red[-1, -1]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--segmentation", "quickshift", "--n-segments", "9"], "omit --n-segments"),
        (["--weights", "missing.pth"], "missing.pth"),
        (["--checkpoint", "x.pt", "--model", "resnet50"], "not allowed with"),
    ],
)
def test_user_errors_give_one_line_and_status_2(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    done = call(explain, *options, "--out", tmp_path / "out")
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_committed_explanation_is_reproduced(cifar10, imagenet_model):
    content = results.read_json(OUT / "explanations.json")
    if content["provenance"]["weights_sha256"] != imagenet_model.sha256:
        pytest.skip("the committed explanations were made with other weights")
    sample = content["samples"][0]
    pixels = data.fit_image(cifar10.x_test[sample["index"]], 224, images.IMAGE_SETTINGS.resize)
    arrays = results.read_npz(OUT / "explanations.npz")
    settings = (images.IMAGE_SETTINGS, images.SETTINGS)
    explained_again(imagenet_model, pixels, *settings, sample, arrays)
