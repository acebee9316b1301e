"""LIME's arithmetic against the `lime` package, scikit-learn, closed forms and known answers."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from lime import lime_base
from scipy.stats import binom, chisquare
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise_distances, r2_score

from common.cli import UserError
from q2_lime import core, stability


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_kernel_agrees_with_the_packages_formula(rng):
    masks = rng.random((50, 12)) < rng.random((50, 1))
    masks[0] = False
    distance = pairwise_distances(masks.astype(float), np.ones((1, 12)), metric="cosine").ravel()
    for width, scale in ((0.25, 1), (25, 100)):  # pictures, texts
        packages = np.sqrt(np.exp(-((distance * scale) ** 2) / width**2))
        assert np.allclose(core.kernel(masks, width / scale), packages, atol=1e-12)


@pytest.mark.parametrize("top", [12, 7])
def test_the_fit_is_the_packages(rng, top):
    """The same masks, values and kernel give the package's coefficients, intercept and in-sample R^2 to 1e-6."""
    masks, counts = core.draw_lime(200, 12, 0.25, rng)
    masks[0] = True
    counts = core.kernel(masks, 0.25)
    values = np.stack([np.sin(masks @ rng.normal(size=12)), rng.normal(size=200)], 1)
    base = lime_base.LimeBase(
        partial(
            lambda d, kernel_width: np.sqrt(np.exp(-(d**2) / kernel_width**2)), kernel_width=0.25
        )
    )
    distance = pairwise_distances(
        masks.astype(float), masks[:1].astype(float), metric="cosine"
    ).ravel()
    for label in (0, 1):
        intercept, pairs, score, local = base.explain_instance_with_data(
            masks.astype(float), values, distance, label, top, feature_selection="highest_weights"
        )
        used = [k for k, _ in pairs]
        ours = core.fit(masks[:, used], values, counts, alpha=1.0)
        assert np.allclose(ours.weights[:, label], [w for _, w in pairs], atol=1e-6)
        assert ours.intercept[label] == pytest.approx(intercept, abs=1e-6)
        assert core.fidelity(ours, masks[:, used], values, counts)[label] == pytest.approx(
            score, abs=1e-6
        )
        assert ours(masks[:1, used])[0, label] == pytest.approx(local[0], abs=1e-6)


def test_the_fit_and_its_fidelity_are_scikit_learns(rng):
    masks, counts, values = rng.random((80, 6)) < 0.5, rng.random(80), rng.normal(size=(80, 3))
    theirs = Ridge(alpha=0.3).fit(masks, values, sample_weight=counts)
    ours = core.fit(masks, values, counts, alpha=0.3)
    assert np.allclose(ours.weights, theirs.coef_.T) and np.allclose(
        ours.intercept, theirs.intercept_
    )
    expected = r2_score(
        values, theirs.predict(masks), sample_weight=counts, multioutput="raw_values"
    )
    assert np.allclose(core.fidelity(ours, masks, values, counts), expected)


def sizes(masks):
    return np.bincount(masks.sum(1), minlength=masks.shape[1] + 1)


def test_lime_draws_fair_coins(rng):
    masks, counts = core.draw_lime(20000, 8, 0.25, rng)
    assert chisquare(sizes(masks), 20000 * binom.pmf(range(9), 8, 0.5)).pvalue > 1e-3
    assert np.allclose(masks.mean(0), 0.5, atol=0.02) and np.array_equal(
        counts, core.kernel(masks, 0.25)
    )


def test_lime_for_texts_removes_a_uniform_number_of_words(rng):
    masks, _ = core.draw_lime_text(20000, 8, 0.25, rng)
    assert sizes(masks)[8] == 0 and chisquare(sizes(masks)[:8]).pvalue > 1e-3
    assert np.allclose(masks.mean(0), 3.5 / 8, atol=0.02)


def test_glime_is_limes_weighted_distribution(rng):
    """Unweighted coins with GLIME's p are fair coins weighted by exp(-(hidden parts) / s^2), s^2 = 2 width^2."""
    d, width = 7, 0.6
    masks, counts = core.draw_glime(20000, d, width, rng)
    hidden = d - np.arange(d + 1)
    weighted = binom.pmf(range(d + 1), d, 0.5) * np.exp(-hidden / (2 * width**2))
    assert (counts == 1).all() and chisquare(
        sizes(masks), 20000 * weighted / weighted.sum()
    ).pvalue > 1e-3
    assert core.draw_glime(20000, 8, 0.54, rng)[0].mean() == pytest.approx(0.85, abs=0.01)


def test_stratified_draws_sizes_uniformly_and_weighs_back_to_coins(rng):
    masks, counts = core.draw_stratified(
        60000, 8, 1e6, rng
    )  # a kernel so wide that only the strata's weights are left
    assert chisquare(sizes(masks)).pvalue > 1e-3
    assert counts.mean() == pytest.approx(1, abs=0.02)
    values = (masks @ np.arange(8.0)) ** 2  # its mean over fair coins: variance + mean^2 of the sum
    expected = (np.arange(8.0) ** 2).sum() / 4 + 14.0**2
    assert (counts * values).mean() == pytest.approx(expected, rel=0.03)


def test_effective_samples_by_hand():
    assert core.effective_samples(np.ones(10)) == pytest.approx(10)
    assert core.effective_samples(np.array([1.0, 0, 0])) == pytest.approx(1)
    assert core.effective_samples(np.array([3.0, 1.0])) == pytest.approx(1.6)


def test_agreement_by_hand():
    a, b = np.array([5.0, -4, 3, 0.1, 0]), np.array([5.0, 4, 0, 0.2, 3])
    assert core.leading(a, 3).tolist() == [0, 1, 2] and stability.jaccard(a, b, 3) == pytest.approx(
        2 / 4
    )
    found = stability.stability([a, b], top=2)
    assert found["jaccard"] == 1 and found["sign_agreement"] == 0.5
    assert stability.stability([a, a, a], 3) == pytest.approx(
        {"jaccard": 1, "rank_correlation": 1, "sign_agreement": 1}
    )


TRUE = np.array([3.0, -2.0, 1.5, 1.0, -0.8, 0, 0, 0, 0, 0])


def linear(masks):
    """A model that is linear in its parts, so that LIME's right answer is known."""
    return np.stack([masks @ TRUE - 1, masks @ -TRUE], 1)


def noisy(masks, size=3.0):
    """The same with an answer that jumps from mask to mask in a way that no linear model follows."""
    codes = masks @ (2.0 ** np.arange(masks.shape[1]))
    return linear(masks) + size * np.sin(codes * 12.9898)[:, None]


@pytest.mark.parametrize("sampler", core.SAMPLERS)
def test_a_linear_model_is_found_and_settles_at_once(sampler):
    width = 0.54 if sampler == "glime" else 0.25
    found = core.explain(linear, 10, core.Settings(sampler=sampler, width=width, alpha=1e-6))
    assert np.allclose(found.weights[:, 0], TRUE, atol=1e-3) and found.intercept[
        0
    ] == pytest.approx(-1, abs=1e-2)
    assert found.settled and found.model_calls == core.BATCH + 64 + 1 and found.fidelity[0] > 0.9999
    assert (
        found.original[0]
        == pytest.approx(TRUE.sum() - 1)
        == pytest.approx(found.surrogate_original[0], abs=1e-2)
    )


def test_a_part_that_is_hardly_ever_hidden_is_not_taken_for_settled():
    """With masks that show nearly everything some parts are not hidden once in the first 64; a zero weight there means nothing."""
    for seed in range(30):
        found = core.explain(
            linear, 10, core.Settings(width=0.36, alpha=1e-3, bound=2000, seed=seed)
        )  # shows 98%
        assert found.settled and np.allclose(found.weights[:, 0], TRUE, atol=0.05)


def test_what_is_noise_does_not_settle():
    found = core.explain(partial(noisy, size=30.0), 10, core.Settings(bound=256))
    assert not found.settled and found.model_calls == 256 + 64 + 1 and found.fidelity[0] < 0.3


def test_the_expected_overlap_is_borne_out():
    """With few masks, with many, and when it stops by itself: a fresh run overlaps, signs included, as much as was expected."""
    for change in ({"samples": 64}, {"samples": 256}, {"samples": None, "overlap": 0.85}):
        measured, expected = [], []
        for seed in range(60):
            settings = replace(core.Settings(bound=2000), seed=seed, **change)
            a = core.explain(noisy, 10, settings)
            b = core.explain(
                noisy, 10, replace(settings, seed=1000 + seed, samples=a.model_calls - 65)
            )
            first, second = (
                {(k, np.sign(w[k])) for k in core.leading(w, 5)}
                for w in (a.weights[:, 0], b.weights[:, 0])
            )
            measured.append(len(first & second) / len(first | second))
            expected.append(a.expected_overlap)
        assert np.mean(expected) == pytest.approx(np.mean(measured), abs=0.1), change
    assert min(expected) >= 0.85


def test_an_explanation_depends_on_its_seed_and_item_alone():
    settings = core.Settings(samples=64)
    first = core.explain(noisy, 10, settings, "picture", 3)
    core.explain(noisy, 10, settings, "picture", 4)
    np.random.seed(0)  # noqa: NPY002  (global state must not matter)
    again = core.explain(noisy, 10, settings, "picture", 3)
    assert np.array_equal(first.weights, again.weights)
    assert not np.array_equal(
        first.weights, core.explain(noisy, 10, settings, "picture", 4).weights
    )
    assert not np.array_equal(
        first.weights, core.explain(noisy, 10, replace(settings, seed=1), "picture", 3).weights
    )


def test_a_constant_model_is_said_to_be_one():
    found = core.explain(lambda masks: np.full((len(masks), 1), 0.3), 10, core.Settings(samples=64))
    assert np.isnan(found.fidelity[0]) and "nothing to explain" in stability.verdict(
        found.fidelity[0], 1.0
    )


def test_verdicts():
    assert stability.verdict(0.9, 0.9) == "faithful and stable"
    assert "30%" in stability.verdict(0.3, 0.9) and "overlap 0.50" in stability.verdict(0.9, 0.5)


@pytest.mark.parametrize(
    "d, change, message",
    [
        (1, {}, "one part only"),
        (9, {"sampler": "x"}, "unknown sampler 'x'"),
        (9, {"samples": 3}, "3 samples are too few"),
    ],
)
def test_wrong_settings_are_named(d, change, message):
    with pytest.raises(UserError, match=message):
        core.explain(linear, d, core.Settings(**change))
