"""Confidence intervals and comparisons."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import binomtest, false_discovery_control, t, ttest_1samp

LEVEL = 0.05  # of significance; intervals cover 95%


def mean_interval(values: np.ndarray) -> dict[str, float | None]:
    """Mean of values (N,) with a 95% interval: Wilson's for bool values, else Student's t.

    The percentile bootstrap is too narrow for few values and for rare events.

    Returns `mean, low, high, n`, where n counts the finite values. The others are ignored. Without
    any finite value, `mean, low, high` are None.
    """
    values = np.asarray(values)
    if values.dtype == bool and len(values):
        low, high = wilson_interval(int(values.sum()), len(values))
        return {"mean": float(values.mean()), "low": low, "high": high, "n": len(values)}
    values = values.astype(float)
    return _t_interval(values[np.isfinite(values)])


def compare_paired(
    values: np.ndarray, baseline: np.ndarray, larger_is_better: bool
) -> dict[str, Any]:
    """Compares the scores (N,) of a method with those of a baseline on the same images.

    Returns:
        `baseline`: its mean; `difference`: mean of values - baseline with its t interval; `p`:
        two-sided p-value of the paired t test; `verdict`: "ties" if p is LEVEL or more, which
        means that the interval contains zero, otherwise "beats" or "loses". Images for which one
        of the two is not finite are left out.
    """
    values, baseline = np.asarray(values, float), np.asarray(baseline, float)
    pairs = np.isfinite(values) & np.isfinite(baseline)
    gap = (values - baseline)[pairs]
    difference, p = _t_interval(gap), 1.0
    if len(gap) > 1 and gap.any():
        with warnings.catch_warnings(action="ignore"):  # the same difference every time: p is zero
            p = float(ttest_1samp(gap, 0).pvalue)
    better = p < LEVEL and (difference["mean"] > 0) == larger_is_better
    verdict = "ties" if p >= LEVEL else "beats" if better else "loses"
    reference = mean_interval(baseline[pairs])["mean"]
    return {"baseline": reference, "difference": difference, "p": p, "verdict": verdict}


def control_false_discoveries(content: Any) -> None:
    """Controls the false discovery rate over all comparisons in nested results (in place).

    Benjamini and Hochberg (1995): among the comparisons that remain clear, LEVEL are expected to be
    chance. The verdict of the others becomes "ties".
    """
    rows = list(_comparisons(content))
    adjusted = false_discovery_control([row["p"] for row in rows]) if rows else []
    for row, p in zip(rows, adjusted, strict=True):
        if p >= LEVEL:
            row["verdict"] = "ties"


def _comparisons(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, dict):
        if "verdict" in content and "p" in content:
            yield content
        content = list(content.values())
    if isinstance(content, list):
        for value in content:
            yield from _comparisons(value)


def crossed_interval(values: np.ndarray) -> dict[str, float | int | None]:
    """Mean of values (G, N) of G groups, such as draws of noise, on the same N images.

    Missing values are NaN. Returns `mean, low, high, groups`; without any value, the first three
    are None. The 95% interval covers the choice of groups and images: the variance of the mean is
    estimated as the variance over groups plus that over images (slightly too large, since their
    interaction counts twice), with the degrees of freedom of Satterthwaite (1946). A bootstrap is
    too narrow for few groups. With one group the interval covers the images only.
    """
    values = np.asarray(values, float)
    found = np.isfinite(values)
    content = {"mean": None, "low": None, "high": None, "groups": len(values)}
    if not found.any():
        return content
    values = values[np.ix_(found.any(1), found.any(0))]
    variance, squares = 0.0, 0.0
    for means in (np.nanmean(values, 1), np.nanmean(values, 0)):
        if len(means) > 1:
            part = means.var(ddof=1) / len(means)
            variance, squares = variance + part, squares + part**2 / (len(means) - 1)
    half = t.ppf(1 - LEVEL / 2, variance**2 / squares) * np.sqrt(variance) if variance else 0.0
    mean = np.nanmean(values)
    return content | {"mean": float(mean), "low": float(mean - half), "high": float(mean + half)}


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95% interval of a proportion (Wilson, 1927)."""
    low, high = binomtest(int(successes), int(n)).proportion_ci(method="wilson")
    return float(low), float(high)


def _t_interval(values: np.ndarray) -> dict[str, float | None]:
    n = len(values)
    mean = low = high = float(values.mean()) if n else None
    if n > 1:
        half = t.ppf(1 - LEVEL / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)
        low, high = float(mean - half), float(mean + half)
    return {"mean": mean, "low": low, "high": high, "n": n}
