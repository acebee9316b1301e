"""Experiments of evaluation/ where the outcome is known, IDSDS and RefineCAM."""

import shutil
from dataclasses import replace

from common import data, metrics, models, results, synthetic
from common.statistics import compare_paired

import numpy as np
import pytest
import torch
from conftest import call
from pytorch_grad_cam import RefineCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy.stats import spearmanr
from test_metrics import half_white, lightness, rng

from evaluation import (
    compare,
    experiments,
    explainers,
    ground_truth,
    idsds,
    mistakes,
    overview,
    randomization,
    run,
    scoring,
)
from evaluation.explainers import EXPLAINERS, Batch, Explainer
from q1_gradcam import gradcam
from q2_lime import images


@pytest.fixture(scope="module")
def setup(shapes_model, tmp_path_factory):
    """Experiments on the network of the shapes, with LIME on two images and at most 256 masks."""
    out = tmp_path_factory.mktemp("evaluation")
    (out / "shapes").mkdir()
    (out / "shapes/model.pt").write_bytes(shapes_model.read_bytes())
    model = models.load(shapes_model)
    with pytest.MonkeyPatch.context() as patch:
        for experiment in explainers.LIME_IMAGES:
            patch.setitem(explainers.LIME_IMAGES, experiment, 2)
        fewer = replace(images.SMALL_SETTINGS, max_samples=256)
        patch.setattr(images, "SMALL_SETTINGS", fewer)
        yield experiments.Setup(model, data.load_shapes(), 0, out, torch.device("cpu"))


def network_free(explain) -> Explainer:
    """A method whose maps depend on the images only."""
    return Explainer("Dummy", "pixels", lambda model, batch, layer, seed: explain(batch.images))


def test_a_good_map_beats_a_bad_one_by_every_metric():
    """A network that measures lightness; maps of the white half and of the black half."""
    upper = np.repeat([2.0, -1.0], 5)[None, :, None] * np.ones((5, 1, 10))
    batch = Batch(half_white(5), np.zeros(5, int), list(range(5)))
    good, bad = (scoring.faithfulness(lightness, "mean", 0, m, batch) for m in (upper, -upper))
    larger = {key: value for key, value in scoring.FAITHFULNESS.items() if "increase" not in key}
    verdicts = {compare_paired(good[m], bad[m], larger[m])["verdict"] for m in larger}
    assert verdicts == {"beats"}


def test_a_new_explainer_appears_in_every_table(setup, monkeypatch):
    """A run of the script with one method more, and without some others."""
    monkeypatch.setitem(EXPLAINERS, "dummy", network_free(metrics.edge_map))
    skipped = "gradcam++ hirescam layercam refinecam guided_backprop guided_gradcam".split()
    for name in skipped:
        monkeypatch.delitem(EXPLAINERS, name)
    names = ("faithfulness", "randomization", "stability", "shapes")
    options = ("--model", setup.out / "shapes/model.pt", "--images", 3, "--out", setup.out)
    for only in (names[:1], names[1:]):
        done = call(run, *options, "--only", *only)
        assert done.returncode == 0, done.stderr
        monkeypatch.delitem(EXPLAINERS, "lime", raising=False)  # slow; one table is enough
    contents = {name: results.read_json(setup.out / f"{name}.json") for name in names}
    faithful = contents["faithfulness"]
    tables = [content["methods"] for content in contents.values()]
    tables += [faithful["against_lime"]["road"]["methods"]]
    assert all(table["dummy"]["name"] == "Dummy" for table in tables)
    row = faithful["methods"]["dummy"]["deletion_auc"]
    assert set(row["against"]) == {"random", "center", "edges", "untrained"}
    assert row["against"]["edges"]["verdict"] == row["against"]["untrained"]["verdict"] == "ties"
    scores = results.read_npz(setup.out / "faithfulness.npz")["mean/gradcam/deletion_auc"]
    mean = faithful["methods"]["gradcam"]["deletion_auc"]["mean"]
    assert scores.mean() == pytest.approx(mean, rel=1e-5)


def test_the_overview_leaves_out_missing_methods(setup, monkeypatch):
    made, shown = data.load_shapes(), []
    image = overview.sample("shape", setup, made.x_test[0], 0, "x", made.ground_truth_test[0])
    monkeypatch.setattr(overview, "samples", lambda _: ([image], {}))
    monkeypatch.setattr(overview, "text_at", lambda *a, **_: shown.append(a[3]))
    monkeypatch.delitem(EXPLAINERS, "lime")
    overview.overview(setup, 1)
    assert "Grad-CAM" in shown and "LIME" not in shown


def test_methods_find_the_shapes(setup):
    methods = ground_truth.shapes(setup, 40)["methods"]
    for key in ("gradcam", "gradcam++", "hirescam", "layercam", "guided_gradcam"):
        assert methods[key]["pointing_game"]["mean"] >= 0.9, key
        # A leak of the trained network into the untrained one would give a tie.
        against = methods[key]["average_precision"]["against"]
        assert {against[k]["verdict"] for k in ("random", "center", "untrained")} == {"beats"}, key
    assert methods["random"]["pointing_game"]["mean"] < 0.5
    assert methods["lime"]["pointing_game"].items() >= {"n": 2, "mean": 1}.items()


def test_an_explainer_with_a_limit_gets_the_first_images(setup):
    """Its noise baseline is independent of the noise of other methods, and its untrained network
    has the batch norm statistics of all images."""
    trial = setup.trial(setup.test_batch(20), "shapes")
    batch = trial.batch
    few = EXPLAINERS["lime"].select(batch, "shapes")
    assert few.keys == batch.keys[:2] == setup.test_batch(2).keys
    for key in ("random", "random_fine", "random_squares"):
        maps = EXPLAINERS[key].maps(setup.model, batch, "body.stage3", 0)
        assert (EXPLAINERS[key].maps(setup.model, few, "body.stage3", 0) == maps[:2]).all()
    coarse, squares = trial.maps("random")[:2], trial.maps("random_squares")[:, ::4, ::4]
    assert coarse.shape == squares.shape and not np.isclose(coarse, squares).any()
    trial.maps("lime", untrained=True)
    expected = models.untrained(setup.model, batch.images, trial.seed).state_dict()
    state = trial.untrained.state_dict()
    assert all(torch.equal(state[key], value) for key, value in expected.items())


def test_randomization_fails_methods_that_ignore_the_network(setup, monkeypatch):
    """Guided backpropagation is the failure known from the paper."""
    monkeypatch.setattr(randomization, "REPEATS", 2)
    made = synthetic.make_shapes(40, seed=6)
    batch = Batch(made.images, made.labels.astype(int), list(range(40)))
    noise = rng()
    tried = {key: EXPLAINERS[key] for key in ("guided_backprop", "gradcam")}
    tried |= {"edges": network_free(metrics.edge_map)}
    tried |= {"noise": network_free(lambda x: noise.random(x.shape[:3]))}
    rows = randomization.evaluate(setup.model, tried, batch, "body.stage3", 0)
    failed = {key for key, row in rows.items() if row["verdict"] == "fails"}
    assert failed == {"guided_backprop", "edges"}
    # Half of the way from 0.2 to 1 is 0.6.
    for mean, passes in ((0.59, True), (0.61, False)):
        chance, head = {"ssim": {"mean": 0.2}}, {"ssim": {"mean": mean}}
        row = {"other_image": chance, "cascading": {"head": head}}
        assert randomization.passes(row, "head") == passes


def test_the_pointing_game_by_tolerance_and_place(setup, monkeypatch):
    """Maps that point three pixels below the mark hit from a tolerance of four pixels."""
    masks = np.zeros((2, 32, 32), bool)
    masks[0, 12:16, 12:16] = masks[1, 2:6, 12:16] = True
    shifted = np.zeros((2, 32, 32))
    shifted[0, 18, 13] = shifted[1, 8, 13] = 1
    batch = Batch(np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, int), [0, 1])
    monkeypatch.setitem(EXPLAINERS, "shifted", network_free(lambda x: shifted))
    monkeypatch.setitem(EXPLAINERS, "first", network_free(lambda x: masks[[0, 0]].astype(float)))
    trial = scoring.Trial(setup.model, batch, "body.stage3", 0, "shortcut")
    rows = ground_truth.tolerance_curves(trial, ("shifted", "first"), masks)["methods"]
    assert rows["shifted"]["network"] == rows["shifted"]["twin"] == [0, 0, 1, 1, 1]
    assert rows["first"]["network"] == [0.5, 0.5, 0.5, 0.5, 1]
    places = ground_truth.by_place(trial, ("first",), masks)
    assert places["n"] == {"border": 1, "inside": 1}
    assert places["methods"]["first"]["inside"]["mean"] == 1
    assert places["methods"]["first"]["border"]["mean"] == 0


def test_which_weights_are_random(setup):
    """In a randomized network, those of the named layers; in an untrained one, all but those of the
    whitening, which are not learned."""
    model, images = setup.model, setup.dataset.x_test[:30]
    order = randomization.weighted_layers(model.network)
    assert order[0] == "body.head" and order[-1] == "body.stage1.widen" and len(order) == 7
    fresh = models.untrained(model, images, 0)
    other = randomization.randomized(model, order[:2], images, 0).network.state_dict()
    for key, value in model.network.state_dict().items():
        if key.endswith("weight") and "norm" not in key:
            randomized = key.removesuffix(".weight") in order[:2]
            assert torch.equal(other[key], value) != randomized
            assert torch.allclose(fresh.state_dict()[key], value) == ("whiten" in key)
    predicted = models.logits(fresh, images).argmax(1).numpy()
    assert (predicted == setup.dataset.y_test[:30]).mean() < 0.4 and not fresh.training


def test_stability_undoes_shift_and_mirror(setup, monkeypatch):
    """A map that is the image itself moves with it; a map of fixed places does not."""
    images = rng().integers(0, 255, (3, 32, 32, 3), np.uint8)
    batch = Batch(images, np.zeros(3, int), [0, 1, 2])
    place = np.arange(1024.0).reshape(1, 32, 32).repeat(3, 0)
    monkeypatch.setitem(EXPLAINERS, "image", network_free(lambda x: x.mean(-1)))
    monkeypatch.setitem(EXPLAINERS, "place", network_free(lambda x: place))
    trial = scoring.Trial(setup.model, batch, "body.stage3", 0, "stability")
    moving, fixed = (scoring.stability(trial, key) for key in ("image", "place"))
    assert moving["mirror"] == pytest.approx(1) and moving["shift"] == pytest.approx(1)
    assert (moving["noise"] > 0.9).all() and (fixed["mirror"] < 1).all()
    assert fixed["noise"] == pytest.approx(1)


def test_equal_batches_are_predicted_once():
    calls, images = [], half_white(3)

    def predict(x):
        calls.append(x)
        return lightness(x)

    remembered = scoring.remembering(predict)
    for x in (images, images.copy(), images[:2], 255 - images, images):
        assert (remembered(x) == lightness(x)).all()
    assert len(calls) == 3


def test_mistakes_of_an_untrained_network(setup):
    network = models.untrained(setup.model, setup.dataset.x_test[:30], 0)
    found = mistakes.mistakes(replace(setup, model=replace(setup.model, network=network)), 20)
    assert found["n"]["incorrect"] == found["true_class"]["n"] == 20
    assert found["separation"].keys() == mistakes.SEPARATING.keys()


def test_a_low_confidence_warns_of_mistakes(setup):
    """Noise makes the network err; without it there are hardly any mistakes."""
    noisy = setup.dataset.x_test + rng().normal(0, 20, setup.dataset.x_test.shape)
    noisy = noisy.clip(0, 255).astype(np.uint8)
    found = mistakes.mistakes(replace(setup, dataset=replace(setup.dataset, x_test=noisy)), 40)
    assert found["separation"]["confidence"]["mean"] > 0.6


def test_marks_are_stamped_where_the_mask_says():
    images, numbers = rng().integers(0, 200, (6, 32, 32, 3), np.uint8), np.array([5, 9, 2, 7, 3, 1])
    marked, where = synthetic.stamp_each(images, numbers, seed=0)
    assert (marked[~where] == images[~where]).all() and (where.sum((1, 2)) == 16).all()
    some, mask = synthetic.stamp_each(images[[3, 0]], numbers[[3, 0]], seed=0)
    assert (some == marked[[3, 0]]).all() and (mask == where[[3, 0]]).all()
    made = replace(data.load_shapes(), classes=data.CIFAR10_CLASSES)
    planted, number = data.with_shortcut(made), made.classes.index(synthetic.MARKED_CLASS)
    changed = (planted.x_train != made.x_train).any((1, 2, 3))
    assert changed.sum() == 320 and (made.y_train[changed] == number).all()
    assert planted.x_test is made.x_test and planted.sha256 != made.sha256


def test_layers_are_chosen_on_held_out_images(setup):
    found = experiments.layers(setup, 20)
    rows = [(row["gradcam"], layer) for layer, row in found["layers"].items()]
    areas = [(r["insertion_auc"]["mean"] - r["deletion_auc"]["mean"], k) for r, k in rows]
    assert found["chosen_by_rule"] == max(areas)[1]
    assert found["layers"]["body.stage1"]["gradcam"]["grid"] == [16, 16]
    assert "guided_gradcam" not in found["layers"]["body.stage1"]
    unknown = replace(setup, model=replace(setup.model, training={}))
    with pytest.raises(experiments.cli.UserError, match="held-out"):
        experiments.layers(unknown, 20)


def test_the_preferred_map_wins_by_both_areas():
    sample = {"confidence": 1.0, "gradcam_deletion_auc": 0.3, "gradcam_insertion_auc": 0.5}
    cases = [(0.2, 0.6, "lime"), (0.4, 0.4, "gradcam"), (0.2, 0.4, "neither")]
    for deletion, insertion, expected in (*cases, (0.28, 0.6, "neither")):
        lime = {"lime_deletion_auc": deletion, "lime_insertion_auc": insertion}
        assert compare.preferred(sample | lime) == expected


@pytest.mark.slow
@pytest.mark.usefixtures("cifar10", "imagenet_model")
@pytest.mark.parametrize("damage", [{"model": 5}, {"image_settings": {"resize": "foo"}}])
def test_damaged_explanations_are_named(tmp_path, damage):
    shutil.copytree(results.OUTPUTS / "q2_lime/images", tmp_path / "q2_lime/images")
    shutil.copytree(results.OUTPUTS / "q1_gradcam", tmp_path / "q1_gradcam")
    path = tmp_path / "q2_lime/images/explanations.json"
    results.write_json(path, results.read_json(path) | damage)
    done = call(compare, "--outputs", tmp_path)
    assert done.returncode == 2 and f"can't read {path}" in done.stderr, done.stderr


def test_drops_and_their_correlation(setup):
    """A network whose logit 0 is the sum of the red channel: a patch's drop is its red sum."""
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 32, bias=False), torch.nn.Flatten())
    body[0].weight.data.zero_()[0, 0] = 1
    network = models.Classifier(body, (0.4, 0.5, 0.6), (1.0,) * 3)
    red = replace(setup, model=replace(setup.model, network=network))
    images = rng().integers(0, 255, (3, 32, 32, 3), np.uint8)
    drops = idsds.logit_drops(red, Batch(images, np.zeros(3, int), [0, 1, 2]))
    expected = images[..., 0].astype(float) - 0.4 * 255  # the mean color replaces a patch
    assert drops[1, 6] == pytest.approx(expected[1, 8:16, 16:24].sum() / 255, abs=0.01)
    assert idsds.patch_correlation(expected, drops) == pytest.approx(1)
    assert idsds.patch_correlation(-expected, drops) == pytest.approx(-1)
    assert np.isnan(idsds.patch_correlation(np.ones((3, 32, 32)), drops)).all()


def test_every_explainer_is_scored(setup):
    found = idsds.idsds(setup, 20)
    rows = found["methods"]
    assert set(rows) == set(EXPLAINERS)
    assert rows["gradcam"]["idsds"]["mean"] > rows["random"]["idsds"]["mean"] + 0.3
    assert found["accuracy"]["fine_tuned"]["one_patch_deleted"] > 0.9


def test_refinecam_agrees_with_pytorch_grad_cam(setup):
    """The library also subtracts the minimum of each map, so maps agree nearly, and in rank."""
    model, batch = setup.model, setup.test_batch(6)
    ours = EXPLAINERS["refinecam"].maps(model, batch, model.layer, 0)
    layers = [gradcam.find_layer(model.network, name) for name in models.STAGES["compact"]]
    method, targets = RefineCAM(model.network, layers), map(ClassifierOutputTarget, batch.targets)
    theirs = method(models.to_input(batch.images), list(targets))
    for a, b in zip(ours, theirs, strict=True):
        assert spearmanr(a.ravel(), b.ravel()).statistic > 0.9


def test_patches_of_training_images():
    shown = idsds.random_patches(400, torch.Generator().manual_seed(0))
    assert shown.shape == (400, 1, 32, 32)
    counts = (~shown).sum((1, 2, 3)) / 64
    assert set(counts.tolist()) == set(range(idsds.MOST_DELETED + 1))
    blocks = shown.view(400, 4, 8, 4, 8).float().mean((2, 4))
    assert ((blocks == 0) | (blocks == 1)).all()
