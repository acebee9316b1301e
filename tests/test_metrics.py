"""Metrics of saliency maps, their statistics and receptive fields, against hand-worked examples,
closed forms and other libraries."""

from common import metrics, statistics

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr, ttest_1samp, ttest_rel
from sklearn.metrics import roc_auc_score
from torch import nn

from evaluation import mistakes, receptive_field


def rng():
    return np.random.default_rng(7)


def half_white(n=1) -> np.ndarray:
    """Images (n, 10, 10, 3), white above, black below; the mean color 127.5 rounds to 128."""
    images = np.zeros((n, 10, 10, 3), np.uint8)
    images[:, :5] = 255
    return images


def lightness(images: np.ndarray) -> np.ndarray:
    """A "network" of two classes: light and dark."""
    light = images.mean((1, 2, 3)) / 255
    return np.stack((light, 1 - light), 1)


UPPER = np.repeat([2.0, 1.0], 5)[:, None] * np.ones((1, 10))
LIGHT, DARK = np.zeros(1, int), np.ones(1, int)


def curves(maps, target=LIGHT):
    order = metrics.pixel_order(maps[None], rng())
    return metrics.deletion_insertion_curves(lightness, half_white(), target, order, "mean", rng())


def test_deletion_and_insertion_by_hand():
    """At a fraction f, white pixels were replaced by 128 first, then black ones."""
    deletion, insertion = curves(UPPER)
    f, gray = metrics.FRACTIONS, 128 / 255
    assert deletion[0] == pytest.approx(np.maximum(0.5 - f, 0) + f * gray)
    assert insertion[0] == pytest.approx(np.minimum(f, 0.5) + (1 - f) * gray)
    assert curves(UPPER, DARK)[0] == pytest.approx(1 - deletion)  # the target is what is measured
    # The area below the curve is 1/8 where white pixels are replaced, plus that of f * gray.
    assert metrics.auc(deletion) == pytest.approx(1 / 8 + gray / 2)
    assert metrics.auc(insertion) == pytest.approx(3 / 8 + gray / 2)


def test_equal_pixels_are_ordered_at_random():
    first = metrics.pixel_order(np.zeros((200, 4, 4)), rng())[:, 0]
    assert np.abs(np.bincount(first, minlength=16) - 12.5).max() < 5 * 12.5**0.5


def test_segments_are_deleted_as_a_whole_and_peak_inside():
    squares = np.kron(np.array([[1.0, 2.0], [0.0, 3.0]]), np.ones((8, 8)))
    rows, columns = np.divmod(metrics.pixel_order(squares[None], rng())[0], 16)
    assert (rows[:64] >= 8).all() and (columns[:128] >= 8).all() and (rows[64:128] < 8).all()
    inner, corner = np.zeros((2, 16, 16), bool)
    inner[9:, 9:] = corner[8, 8] = True  # argmax alone would give the corner
    assert metrics.pointing_game(squares, inner, cells=0)
    assert not metrics.pointing_game(squares, corner, cells=0)


def test_imputation_agrees_with_pytorch_grad_cam():
    """ROAD without noise, against the copy of its authors' code in pytorch-grad-cam."""
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    image, missing = rng().random((16, 16, 3)).astype(np.float32), rng().random((16, 16)) < 0.6
    expected = NoisyLinearImputer(noise=0)(
        torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(~missing).float()
    )
    expected = expected.permute(1, 2, 0).numpy()[missing]
    assert metrics.solve_neighbors(image, missing) == pytest.approx(expected, abs=1e-5)
    whole = (image * 255).astype(np.uint8)[None]
    imputed = metrics.impute(whole, missing[None], rng())[0]
    assert (imputed[~missing] == whole[0][~missing]).all()
    assert imputed[missing] / 255 == pytest.approx(expected, abs=0.06)  # noise of 0.01


def test_average_drop_and_increase_by_hand():
    level = np.full((1, 10, 10), 0.6)
    drop, increase = metrics.drop_and_increase(lightness, half_white(), LIGHT, level)
    assert drop == pytest.approx(0.4) and not increase[0]
    level[0, 5:] = 0  # black pixels stay black
    assert metrics.drop_and_increase(lightness, half_white(), LIGHT, level)[0] == pytest.approx(0.4)
    drop, increase = metrics.drop_and_increase(lightness, half_white(), DARK, level)
    assert drop == pytest.approx(0) and increase[0]


def test_ground_truth_metrics_by_hand():
    mask = np.zeros((1, 8, 8), bool)
    mask[0, 2:4, 2:4] = True
    inside, outside = np.zeros((2, 1, 8, 8))
    inside[0, 2:4, 2:4] = outside[0, 6, 6] = 1
    assert metrics.relevance_mass(inside, mask) == 1
    assert metrics.relevance_mass(outside, mask) == 0
    assert metrics.relevance_mass(inside + 4 * outside, mask) == pytest.approx(0.5)
    assert metrics.relevance_mass(inside - 4 * outside, mask) == 1  # the negative part is ignored
    assert metrics.average_precision(inside, mask) == pytest.approx(1)
    assert metrics.average_precision(np.zeros((1, 8, 8)), mask) == pytest.approx(4 / 64)
    found = metrics.average_precision(inside + 2 * outside, mask)
    assert found == pytest.approx(4 / 5)  # thresholds: 1 pixel outside, then all 5
    # (6, 6) is three pixels from the corner (3, 3) of the mask.
    assert metrics.pointing_game(inside[0], mask[0], 0)
    assert not metrics.pointing_game(outside[0], mask[0], 2)
    assert metrics.pointing_game(outside[0], mask[0], 3)


def test_similarity_against_scipy_and_closed_forms():
    a, b = rng().random((2, 5, 6, 6))
    expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
    assert metrics.rank_correlation(a, b) == pytest.approx(expected)
    assert np.isnan(metrics.rank_correlation(a, np.ones_like(a))).all()
    maps = rng().random((2, 32, 32))
    assert metrics.top_overlap(maps, maps, 0.2, rng()) == pytest.approx(1)
    assert metrics.top_overlap(maps, -maps, 0.2, rng()) == pytest.approx(0)
    assert metrics.ssim(maps, maps) == pytest.approx(1) and (metrics.ssim(maps, 1 - maps) < 0).all()
    # Constant images: only the luminance term (2xy + c) / (x^2 + y^2 + c), c = 0.01^2, is left.
    x, y, c = 0.2, 0.6, 0.01**2
    flat = np.ones((1, 9, 9))
    expected = (2 * x * y + c) / (x**2 + y**2 + c)
    assert metrics.ssim(x * flat, y * flat) == pytest.approx(expected)


def test_gini_and_discarded_share_by_hand():
    one_hot = np.zeros((1, 5, 5))
    one_hot[0, 2, 2] = -3
    assert metrics.gini(np.ones((1, 5, 5))) == pytest.approx(0)
    assert metrics.gini(one_hot) == pytest.approx(1 - 1 / 25)
    assert metrics.gini(np.array([[[1.0, 3.0]]])) == pytest.approx(0.25)  # 2 * 0.5 - 1 * 1.5 / 2
    assert metrics.discarded_share(np.array([[[3.0, -1.0]]])) == pytest.approx(0.25)


def test_baseline_maps():
    center = metrics.center_map(np.zeros((2, 32, 32, 3)))
    assert (center[0] == center[1]).all() and center[0].argmax() in (495, 496, 527, 528)
    step = np.zeros((1, 32, 32, 3), np.uint8)
    step[:, :, 16:] = 255
    edges = metrics.edge_map(step)[0]
    assert edges[:, 15:17] == pytest.approx(0.5**0.5)  # scikit-image's scale of the Sobel filter
    edges[:, 15:17] = 0
    assert edges == pytest.approx(0)


def test_intervals_and_verdicts_agree_with_scipy():
    values, others = rng().normal(1, 1, (2, 30))
    low, high = ttest_1samp(values, 0).confidence_interval()
    found = statistics.mean_interval(np.append(values, np.nan))
    assert list(found.values()) == pytest.approx([values.mean(), low, high, 30])
    found = statistics.compare_paired(values, others, True)
    assert found["p"] == pytest.approx(ttest_rel(values, others).pvalue)
    for baseline, larger, verdict in (
        (values - 1, True, "beats"),
        (values - 1, False, "loses"),
        (rng().permutation(values), True, "ties"),
    ):
        assert statistics.compare_paired(values, baseline, larger)["verdict"] == verdict
    partly = statistics.compare_paired([1, 2, 3, np.nan], [0, 1, np.nan, 10], True)
    assert (partly["baseline"], partly["difference"]["mean"]) == (0.5, 1), "of the same images"


def test_the_kind_of_a_metric_and_not_its_values_selects_the_interval():
    """n successes of n: Wilson's lower bound is n / (n + z^2). Equal shares have no spread."""
    found = statistics.mean_interval(np.ones(50, bool))
    assert found["low"] == pytest.approx(50 / (50 + 1.959964**2)) and found["high"] == 1
    for share in (0.0, 0.5, 1.0):
        found = statistics.mean_interval(np.full(50, share))
        assert (found["low"], found["high"]) == (share, share)


def test_a_crossed_interval_covers_the_spread_between_groups_and_images():
    draws = rng()
    group = draws.normal(0, 0.1, 100)
    alone = statistics.crossed_interval([group])
    low, high = ttest_1samp(group, 0).confidence_interval()
    assert (alone["low"], alone["high"]) == pytest.approx((low, high))
    equal = statistics.crossed_interval([group] * 5)  # five groups tell no more than one
    assert equal["high"] - equal["low"] == pytest.approx(high - low, rel=0.1)
    missing = statistics.crossed_interval([[1, np.nan, np.nan] * 9, [np.nan, 1, np.nan] * 9])
    assert missing["mean"] == missing["low"] == 1
    inside = 0  # the mean over all groups and images is zero
    for _ in range(400):
        group, image = draws.normal(size=(5, 1)), draws.normal(size=(1, 20))
        tried = statistics.crossed_interval(group + image + draws.normal(size=(5, 20)))
        inside += tried["low"] < 0 < tried["high"]
    assert 0.92 < inside / 400 < 0.99, "covers 95%; the bootstrap 88%"


def test_the_interval_of_the_area_under_the_roc_curve():
    """DeLong et al. (1988), equation 2, from midranks, as in Sun and Xu (2014)."""
    wrong, right = rng().normal(0.5, 1, (2, 600)).round(1)
    found, n = mistakes.auroc(wrong, right), len(wrong)
    area = roc_auc_score([1] * n + [0] * n, np.concatenate([wrong, right]))
    assert found["mean"] == pytest.approx(area)
    together = rankdata(np.concatenate([wrong, right]))
    over_wrong = (together[:n] - rankdata(wrong)) / n
    over_right = 1 - (together[n:] - rankdata(right)) / n
    error = np.sqrt((over_wrong.var(ddof=1) + over_right.var(ddof=1)) / n)
    assert found["high"] - area == pytest.approx(1.96 * error, rel=0.01)


def test_false_discoveries_are_controlled():
    """The example of Benjamini and Hochberg (1995), section 3.2: four of nine clear remain."""
    p = "1 4 19 95 201 278 298 344 459 3240 4262 5719 6528 7590 10000"
    rows = {f"{k}": {"p": int(x) / 1e4, "verdict": "beats"} for k, x in enumerate(p.split())}
    statistics.control_false_discoveries({"methods": list(rows.values())})
    assert [row["verdict"] for row in rows.values()] == ["beats"] * 4 + ["ties"] * 11


def test_the_theoretical_width_follows_the_recursion():
    """Equation 1 of the report: 3 x 3, pooling by 2, 3 x 3: 1 + 2 + 1 + 2 * 2 = 8 pixels."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 2, 3, padding=1),
    ).eval()
    found = receptive_field.measure(network, "4", np.zeros((2, 16, 16, 3), np.uint8), 0)
    assert found["width"] == 8 and found["cells"] == 64
    # The corner cell sees 5 of 16 rows: its 8 rows begin at -3.
    assert found["share_of_image"]["lowest"] == pytest.approx((5 / 16) ** 2)


def test_the_energy_of_three_convolutions_is_that_of_a_matrix_power():
    """Equal filters act on rows and columns alike: as the third power of a tridiagonal matrix."""
    sizes = (3, 1, 1)
    network = nn.Sequential(*[nn.Conv2d(n, 1, 3, padding=1, bias=False) for n in sizes])
    for layer in network:
        nn.init.ones_(layer.weight)
    found = receptive_field.measure(network, "2", np.zeros((1, 12, 12, 3), np.uint8), 0)
    rows = np.linalg.matrix_power(np.eye(12) + np.eye(12, k=1) + np.eye(12, k=-1), 3) ** 2
    near = abs(np.subtract.outer(np.arange(12), np.arange(12))) <= 2
    share = (rows * near).sum(1) / rows.sum(1)
    assert found["energy_within"][0] == pytest.approx(share.mean() ** 2, rel=1e-5)
    assert found["energy_within"][1] == pytest.approx(1)  # within 4 pixels
    assert found["half_energy_radius"] == pytest.approx(1 / share.mean() ** 2, rel=1e-5)


def test_signs_leave_the_expected_energy_unchanged():
    """The mean over signs is the sum of the squared gradients of the channels."""
    network = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1))
    x = torch.rand(1, 3, 5, 5).repeat(4000, 1, 1, 1)
    signs = torch.Generator().manual_seed(0)
    (found,) = receptive_field.gradients(network, "0", x, signs, only_middle=True)
    expected = network[0].weight.detach().pow(2).sum((0, 1))
    np.testing.assert_allclose(found.mean(0)[1:4, 1:4], expected, rtol=0.1)
