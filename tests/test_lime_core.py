"""LIME's core against scikit-learn, closed forms and known answers."""

from dataclasses import replace
from functools import partial

from common.cli import UserError

import numpy as np
import pytest
from scipy.stats import binom, chisquare
from sklearn.linear_model import Ridge

from q2_lime import core, samplers, stability, verdicts


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def sizes(masks):
    return np.bincount(masks.sum(1), minlength=masks.shape[1] + 1)


HALF = binom.pmf(range(9), 8, 0.5)
GLIME = HALF * np.exp(-(8 - np.arange(9)) / (2 * 0.6**2))


@pytest.mark.parametrize(
    "sampler, expected", [("lime", HALF), ("lime_text", np.arange(9) < 8), ("glime", GLIME)]
)
def test_numbers_of_shown_features(rng, sampler, expected):
    """LIME shows each with probability 1/2; for texts, it hides a uniform number of words; GLIME
    draws from LIME's distribution times exp(-(hidden features) / s^2), s^2 = 2 width^2."""
    masks, weights = samplers.SAMPLERS[sampler](20000, 8, 0.6, rng)
    expected = expected / expected.sum()
    found, possible = sizes(masks), expected > 0
    assert found[possible].sum() == 20000
    assert chisquare(found[possible], 20000 * expected[possible]).pvalue > 1e-3
    assert np.allclose(masks.mean(0), expected @ np.arange(9) / 8, atol=0.02)
    weighted = 1 if sampler == "glime" else samplers.kernel(masks, 0.6)
    assert (weights == weighted).all()
    assert samplers.glime_probability(0.54) == pytest.approx(0.85, abs=0.01)


def test_stratified_masks_have_uniform_sizes_and_unbiased_weights(rng):
    # A kernel so wide that only the weights of the strata are left.
    masks, weights = samplers.draw_stratified(60000, 8, 1e6, rng)
    assert chisquare(sizes(masks)).pvalue > 1e-3
    assert weights.mean() == pytest.approx(1, abs=0.02)
    values = (masks @ np.arange(8.0)) ** 2  # mean under draw_lime: variance + mean^2 of the sum
    expected = (np.arange(8.0) ** 2).sum() / 4 + 14.0**2
    assert (weights * values).mean() == pytest.approx(expected, rel=0.03)


def test_leaving_out_one_mask_matches_as_many_fits(rng):
    masks, weights, values = rng.random((40, 6)) < 0.6, rng.random(40), rng.normal(size=(40, 2))
    found = core.leave_one_out(masks, values, weights, 0.3, core.fit(masks, values, weights, 0.3))
    for k in range(40):
        rest = np.arange(40) != k
        ridge = Ridge(alpha=0.3).fit(masks[rest], values[rest], sample_weight=weights[rest])
        assert np.allclose(found[k], values[k] - ridge.predict(masks[k : k + 1])[0])


def test_similarity_and_agreement_by_hand():
    """Squared weights 25, 16, 9, 0.01, 0 and 25, 16, 0, 0.04, 9; the second has another sign."""
    a, b = np.array([5.0, -4, 3, 0.1, 0]), np.array([5.0, 4, 0, 0.2, 3])
    expected = (25 + 0.01) / (25 + (16 + 16) + 9 + 0.04 + 9)
    assert core.similarity(a, b) == pytest.approx(expected)
    assert core.similarity(a, a) == 1 and core.similarity(a, -a) == 0
    assert core.top_features(a, 3).tolist() == [0, 1, 2]
    assert stability.jaccard(a, b, 3) == pytest.approx(2 / 4)
    found = stability.agreement([a, b], top_k=2)
    assert found["jaccard"] == 1 and found["sign_agreement"] == 0.5
    found = stability.agreement([a, a, b], 2)
    assert found["similarity"] == pytest.approx((1 + 2 * expected) / 3)
    assert found["similarity_range"] == pytest.approx([expected, 1])


TRUE = np.array([3.0, -2.0, 1.5, 1.0, -0.8, 0, 0, 0, 0, 0])


def linear(masks):
    """A model that is linear in its features, so that the right explanation is known."""
    return np.stack([masks @ TRUE - 1, masks @ -TRUE], 1)


def noisy(masks, size=3.0):
    """`linear` plus a term that varies erratically with the mask."""
    codes = masks @ (2.0 ** np.arange(masks.shape[1]))
    return linear(masks) + size * np.sin(codes * 12.9898)[:, None]


@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_a_linear_model_is_recovered_and_settles_at_once(sampler):
    width = 0.54 if sampler == "glime" else 0.25
    settings = core.Settings(sampler=sampler, kernel_width=width, alpha=1e-6)
    found = core.explain(linear, 10, settings)
    assert np.allclose(found.weights[:, 0], TRUE, atol=1e-3)
    assert found.intercept[0] == pytest.approx(-1, abs=1e-2)
    assert found.settled and found.model_calls == core.BATCH + 1 and found.fidelity[0] > 0.9999
    assert found.original[0] == pytest.approx(TRUE.sum() - 1)
    assert found(np.ones((1, 10)))[0, 0] == pytest.approx(TRUE.sum() - 1, abs=1e-2)


def test_a_feature_that_is_rarely_hidden_does_not_count_as_settled():
    """Width 0.36 shows 98%, so some features are never hidden in the first 64 masks."""
    for seed in range(10):
        settings = core.Settings(kernel_width=0.36, alpha=1e-3, max_samples=2000, seed=seed)
        found = core.explain(linear, 10, settings)
        assert found.settled and np.allclose(found.weights[:, 0], TRUE, atol=0.05)


def test_noise_does_not_settle():
    found = core.explain(partial(noisy, size=30.0), 10, core.Settings(max_samples=256))
    assert not found.settled and found.model_calls == 256 + 1 and found.fidelity[0] < 0.3


CASES = {case.name: case for case in verdicts.cases()}


@pytest.mark.parametrize("name", ["fading weights, R^2 0.75", "saturating", "interactions"])
def test_settled_runs_are_as_stable_as_expected(name):
    """A run that stopped early is compared with another of the same length."""
    case, measured, expected = CASES[name], [], []
    for seed in range(12):
        settings = core.Settings(max_samples=4000, min_stability=0.85, seed=seed)
        a = core.explain(case.values, case.d, settings)
        other = replace(settings, seed=1000 + seed, samples=len(a.masks))
        b = core.explain(case.values, case.d, other)
        assert a.settled and a.expected_stability >= 0.85
        measured.append(core.similarity(a.weights[:, 0], b.weights[:, 0]))
        expected.append(a.expected_stability)
    assert np.mean(measured) > np.mean(expected) - 0.02


def test_an_explanation_depends_only_on_its_seed_and_item():
    settings = core.Settings(samples=64)

    def weights(item, **change):
        return core.explain(noisy, 10, replace(settings, **change), "image", item).weights

    first = weights(3)
    other = weights(4)
    np.random.seed(0)  # noqa: NPY002  (the global state must not matter)
    assert np.array_equal(first, weights(3))
    assert not np.array_equal(first, other) and not np.array_equal(first, weights(3, seed=1))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.right])
def test_verdicts_on_constructed_models(name):
    case = CASES[name]
    for seed in range(3):
        settings = replace(case.settings, seed=seed)
        _, row = stability.explain(case.values, case.d, settings, unchanged=case.unchanged)
        assert row["verdict"] == case.right, row["reasons"]
        assert (case.right == "reliable") == (not row["reasons"])
        assert case.right != "reliable" or row["model_calls_total"] < 700 or case.d == 64


def test_the_interval_of_fidelity_covers_fresh_masks():
    """At the threshold, where it matters; a repeated run never reverses the verdict."""
    row = verdicts.repeat(CASES["fading weights, R^2 0.75"], 30, seed=1)
    assert row["coverage"] >= 0.9 and row["reversed"] == 0


@pytest.mark.parametrize("n_seeds", [1, 5])
def test_the_stated_model_calls_are_those_made(n_seeds):
    calls = []

    def counted(masks):
        calls.append(len(masks))
        return noisy(masks)

    settings = core.Settings(max_samples=200)
    found, row = stability.explain(counted, 10, settings, n_seeds=n_seeds)
    assert row["model_calls_total"] == sum(calls) <= stability.max_calls(settings, n_seeds)
    assert np.array_equal(found.weights, core.explain(noisy, 10, settings).weights)
    # The shown explanation is tested on the masks of the other seeds, or by leaving out one.
    assert row["fidelity_masks"] == (200 if n_seeds == 1 else 4 * 200)
    assert (row["stability"] is None) == (n_seeds == 1)
    fresh, _ = samplers.draw_glime(20000, 10, 0.54, np.random.default_rng(9))
    expected = core.fidelity(found, fresh, noisy(fresh), np.ones(20000))[0]
    low, high = row["fidelity_interval"]
    assert low < expected < high and low < row["fidelity"] < high
    counts = core.fit(fresh.sum(1)[:, None], noisy(fresh), np.ones(20000), 0.0)
    baseline = core.fidelity(counts, fresh.sum(1)[:, None], noisy(fresh), np.ones(20000))[0]
    assert row["fidelity_baseline"] == pytest.approx(baseline, abs=0.05)


def test_checks_of_the_whole_input_and_of_removals_by_hand():
    """Spread 2: the tolerances are 2, max(6, 2/3 of the predicted change) and the same again."""
    model, predicted = np.array([10.0, 4.0, 1.0]), np.array([[11.0, -7.0, 10.0], [10, 4, -5]])
    expected = [[1 / 2, 11 / 12, 9 / 6], [0, 0, 0]]  # more than predicted is left: no objection
    assert np.allclose(stability.misses(model, predicted, 2.0), expected)


def test_undecided_means_that_the_threshold_lies_in_the_range():
    for name, *ranges in (
        ("fidelity", (0.71, 0.9), (0.69, 0.9), (0.5, 0.69)),
        ("whole_input", (0.4, 0.9), (0.4, 1.1), (1.2, 1.6)),
    ):
        found = [stability.judge({"fidelity": (1, 1, 1), name: (0.8, *r)}) for r in ranges]
        assert [verdict for verdict, _ in found] == [*stability.VERDICTS]
        assert [len(reasons) for _, reasons in found] == [0, 1, 1]
    found = stability.judge({"fidelity": (0.6, 0.5, 0.69)})
    assert found == ("not reliable", ["fidelity 0.60 is below 0.70"])


@pytest.mark.parametrize(
    "function, width, message",
    [
        (lambda masks: np.where(masks[:, :1], 1.0, np.inf), 0.54, "not finite"),
        (lambda masks: np.full((len(masks), 1), np.nan), 0.54, "not finite"),
        (lambda masks: np.ones(len(masks)), 0.54, "shape"),
        (linear, 0.05, "no mask hides"),
    ],
)
def test_what_cannot_be_explained_is_refused(function, width, message):
    with pytest.raises(UserError, match=message):
        stability.explain(function, 10, core.Settings(kernel_width=width))
