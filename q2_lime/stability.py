"""Whether an explanation can be trusted: "reliable", "undecided" or "not reliable".

The verdict is about the explanation, not about whether the model is right: a faithful and stable
explanation of a wrong prediction is reliable. It follows from these checks:

- fidelity: R^2 of the surrogate on masks that it was not fitted to;
- stability: `core.similarity` of the weights between seeds;
- whole input: the surrogate's error at the unmasked input, in standard deviations of the model's
  values over the masks;
- leading parts removed, and all others removed: whether the model changes as predicted;
- unchanged area (images): the share of an image that the fill hardly changes.

Each seed draws its masks independently, as many as the shown explanation was fitted to. The shown
explanation is scored on the masks of the other seeds, so each of their model calls is used twice:
to fit another surrogate, and to test the shown one, which never saw it.

What cannot be detected: an effect that shows only on masks that were hardly ever drawn and that no
check tries, for example of parts that matter only if several others are hidden as well.
"""

import time
from dataclasses import replace
from typing import Any

from common.cli import seed_for

import numpy as np

from q2_lime import core

N_SEEDS = 5  # explanations of each input that are compared, including the one that is shown
AT_LEAST = ("fidelity", "stability")  # should be at least their threshold, the others at most
# In standard deviations for the whole input, relative to the tolerance for the removals, see
# `misses`; "unchanged" is a share of the area.
THRESHOLDS = {
    "fidelity": 0.7,
    "stability": 0.75,
    "whole_input": 1.0,
    "leading_removed": 1.0,
    "rest_removed": 1.0,
    "unchanged": 0.05,
}
NAMES = {
    "fidelity": "fidelity",
    "stability": "stability between seeds",
    "whole_input": "error at the whole input (in standard deviations)",
    "leading_removed": "error with the leading parts hidden (1 = tolerance)",
    "rest_removed": "error with the other parts hidden (1 = tolerance)",
    "unchanged": "share of the image that the fill hardly changes",
}
# Tolerance after a removal: standard deviations, or this share of the predicted change. Such
# masks are far from those the surrogate was fitted to, and log-odds level off.
REMOVAL_DEVIATIONS, REMOVAL_SHARE = 3.0, 2 / 3
LEVEL = 0.99  # of the interval of fidelity; over 90% of them cover R^2 on 2,000 other masks
REPEATS = 1000  # of the bootstrap
VERDICTS = ("reliable", "undecided", "not reliable")


def explain(
    values: core.ValueFunction,
    d: int,
    settings: core.Settings,
    *item: object,
    n_seeds: int = N_SEEDS,
    unchanged: float = 0.0,
) -> tuple[core.Explanation, dict[str, Any]]:
    """Explains one input and judges the explanation.

    Returns the explanation with the seed in `settings`, and its entry for the results file. With
    `n_seeds` 1, stability is not measured, and fidelity is measured by leaving out one mask at a
    time. `unchanged` is the share of an image that the fill hardly changes.
    """
    started = time.perf_counter()
    first = core.explain(values, d, settings, *item)
    # Masks of other seeds, each with a surrogate; further masks if they are too few for a test.
    n, surrogates, others = len(first.masks), [first], []
    for k in range(n_seeds - 1):
        seeded = replace(settings, seed=seed_for(settings.seed, "again", k))
        others.append(core.draw(values, seeded, n, d, core.stream(seeded, "masks", *item)))
        surrogates.append(core.fit(*others[-1], settings.alpha))
    missing = settings.held_out - n * len(others)
    if others and missing > 0:
        rng = core.stream(settings, "held out", *item)
        others.append(core.draw(values, settings, missing, d, rng))
    tested_on = others or [(first.masks, first.values, first.sample_weights)]
    masks, outputs, sample_weights = map(np.concatenate, zip(*tested_on, strict=True))
    errors = outputs - first(masks) if others else first.errors
    fidelity = core.r_squared(errors, outputs, sample_weights)[0]
    rng = core.stream(settings, "bootstrap", *item)
    limits = interval(errors[:, 0], outputs[:, 0], sample_weights, rng)
    checks = {"fidelity": (fidelity, *limits)}
    agreed = agreement([s.weights[:, 0] for s in surrogates], settings.top_k) if others else None
    if agreed:
        checks["stability"] = agreed["similarity"], *agreed["similarity_range"]
    spread = float(np.sqrt(np.cov(outputs[:, 0], aweights=sample_weights, ddof=0)))
    leading = core.top_features(first.weights[:, 0], max(1, min(settings.top_k, d // 2)))
    removals, removal_checks = remove(values, first, surrogates, leading, spread)
    checks |= removal_checks | {"unchanged": (unchanged,) * 3}
    verdict, reasons = judge(checks)
    # The baseline: a surrogate of the number of visible parts, scored in the same way.
    fitted_to = first.masks.sum(1)[:, None], first.values, first.sample_weights, 1e-9
    count = core.fit(*fitted_to)
    shown = masks.sum(1)[:, None]
    misfit = outputs - count(shown) if others else core.leave_one_out(*fitted_to, count)
    baseline = core.r_squared(misfit, outputs, sample_weights)[0]
    return first, {
        "fidelity": fidelity,
        "fidelity_interval": limits,
        "fidelity_baseline": baseline,
        "fidelity_masks": len(masks),
        "model_calls": first.model_calls,
        "model_calls_total": first.model_calls + (len(masks) if others else 0) + 2,
        "settled": first.settled,
        "leading": leading,
        "removals": removals,
        "n_seeds": n_seeds,
        "stability": agreed,
        "verdict": verdict,
        "reasons": reasons,
        "seconds_total": time.perf_counter() - started,
    }


def remove(
    values: core.ValueFunction,
    first: core.Explanation,
    surrogates: list[core.Surrogate],
    leading: np.ndarray,
    spread: float,
) -> tuple[dict[str, dict], dict[str, tuple]]:
    """Compares model and surrogates without the `leading` parts and without all others.

    Returns, for the whole input and both removals, the values of model and shown surrogate and the
    error relative to the tolerance, see `misses`; and the checks for `judge`.
    """
    is_leading = np.isin(np.arange(len(first.weights)), leading)
    masks = np.stack([np.ones_like(is_leading), ~is_leading, is_leading])
    model = np.append(first.original[:1], core.evaluate(values, masks[1:])[:, 0])
    predicted = np.stack([surrogate(masks)[:, 0] for surrogate in surrogates])
    rows, checks = {}, {}
    names = ("whole_input", "leading_removed", "rest_removed")
    for k, (name, miss) in enumerate(zip(names, misses(model, predicted, spread).T, strict=True)):
        rows[name] = {"model": model[k], "surrogate": predicted[0, k], "miss": miss[0]}
        checks[name] = miss[0], miss.min(), miss.max()
    return rows, checks


def max_calls(settings: core.Settings, n_seeds: int = N_SEEDS) -> int:
    """The largest number of model calls that `explain` can make."""
    n = settings.samples or settings.max_samples
    return n + (max(n * (n_seeds - 1), settings.held_out) if n_seeds > 1 else 0) + 3


def interval(
    errors: np.ndarray, values: np.ndarray, sample_weights: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron, 1979) of `core.r_squared`, resampling masks (n,)."""
    n, centered = len(values), values - values.mean()
    columns = [np.ones(n), centered, centered**2, errors**2]
    moments = sample_weights[:, None] * np.stack(columns, axis=1)
    resampled = [rng.multinomial(n, np.full(n, 1 / n), 50) @ moments for _ in range(REPEATS // 50)]
    total, first, second, residual = np.concatenate(resampled).T
    spread = second / total - (first / total) ** 2
    scores = 1 - residual / total / np.maximum(spread, 1e-300)
    low, high = np.quantile(scores, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def misses(model: np.ndarray, predicted: np.ndarray, spread: float) -> np.ndarray:
    """Errors of surrogates, relative to the tolerance, (S, 3).

    Takes the model's values (3,) for the whole input, without the leading parts, and without all
    others; those of S surrogates, (S, 3); and the standard deviation of the model's values. The
    tolerance is one standard deviation for the whole input, and wider after a removal. Removing the
    others must not cost more than predicted; costing less does not speak against the leading parts.
    """
    errors = model - predicted
    errors[:, 2] = np.minimum(errors[:, 2], 0)
    change = np.abs(predicted - predicted[:, :1])
    tolerance = np.maximum(REMOVAL_DEVIATIONS * spread, REMOVAL_SHARE * change)
    tolerance[:, 0] = spread
    return np.abs(errors) / np.maximum(tolerance, 1e-300)


def judge(checks: dict[str, tuple[float, float, float]]) -> tuple[str, list[str]]:
    """The verdict, the worst of all outcomes, and the reasons if it is not "reliable".

    A check is a value and the lowest and highest it can be; it is undecided if the threshold lies
    between them.
    """
    if np.isnan(checks["fidelity"][0]):
        return "not reliable", ["the model's output is the same for all masks"]
    worst, reasons = 0, []
    for name, (value, low, high) in checks.items():
        threshold, least = THRESHOLDS[name], name in AT_LEAST
        failed = [end < threshold if least else end > threshold for end in (low, high)]
        worst = max(worst, sum(failed))
        text = f"{NAMES[name]} {value:.2f}"
        limit = f"{'below' if least else 'above'} {threshold:.2f}"
        if all(failed):
            reasons.append(f"{text} is {limit}")
        elif any(failed):
            reasons.append(f"{text} ({low:.2f} to {high:.2f}) may be {limit}")
    return VERDICTS[worst], reasons


def jaccard(a: np.ndarray, b: np.ndarray, top_k: int) -> float:
    """Jaccard index of the `top_k` features of two weight vectors (d,): 0 to 1, 1 is best."""
    first, second = (set(core.top_features(weights, top_k).tolist()) for weights in (a, b))
    return len(first & second) / len(first | second)


def agreement(weights: list[np.ndarray], top_k: int) -> dict[str, Any]:
    """Agreement of the weights (d,) of several seeds, as means over all pairs.

    Returns `similarity` (`core.similarity`) and its range if one seed is left out; `jaccard` of the
    top features, 0 to 1; and `sign_agreement`, the share of one's top features with the same sign
    in the other, 0 to 1.
    """
    n = len(weights)
    i, j = np.triu_indices(n, 1)
    a, b = np.stack(weights)[i], np.stack(weights)[j]  # of all pairs
    similar = core.similarity(a, b)
    mean = similar.mean()
    without = [similar[(i != k) & (j != k)].mean() for k in range(n) if n > 2]
    same_sign = np.take_along_axis(np.sign(a) == np.sign(b), core.top_features(a, top_k), axis=1)
    return {
        "similarity": mean,
        "similarity_range": [min(without, default=mean), max(without, default=mean)],
        "jaccard": np.mean([jaccard(*pair, top_k) for pair in zip(a, b, strict=True)]),
        "sign_agreement": same_sign.mean(),
    }
