"""Confidence intervals and comparisons."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import binomtest, bootstrap, wilcoxon


def mean_interval(values: np.ndarray) -> dict[str, float | None]:
    """Mean of values (N,) with a 95% percentile bootstrap interval (Efron, 1979).

    Returns `mean, low, high, n`, where n counts the finite values. The others are ignored. Without
    any finite value, `mean, low, high` are None.
    """
    values = _finite(values)
    if len(values) < 2 or not np.ptp(values):
        mean = low = high = float(values.mean()) if len(values) else None
    else:
        mean, (low, high) = float(values.mean()), _bootstrap([values], np.mean)
    return {"mean": mean, "low": low, "high": high, "n": len(values)}


def compare_paired(
    values: np.ndarray, baseline: np.ndarray, larger_is_better: bool
) -> dict[str, Any]:
    """Compares the scores (N,) of a method with those of a baseline on the same images.

    Returns:
        `difference`: `mean_interval` of values - baseline; `p`: two-sided p-value of Wilcoxon's
        signed-rank test (1945); `verdict`: "ties" if the interval contains zero, otherwise "beats"
        or "loses".
    """
    gap = _finite(np.asarray(values, float) - np.asarray(baseline, float))
    difference = mean_interval(gap)
    p = float(wilcoxon(gap).pvalue) if np.any(gap) else 1.0
    if len(gap) < 2 or difference["low"] <= 0 <= difference["high"]:
        verdict = "ties"
    else:
        verdict = "beats" if (difference["low"] > 0) == larger_is_better else "loses"
    return {"difference": difference, "p": p, "verdict": verdict}


def compare_independent(first: np.ndarray, second: np.ndarray) -> dict[str, float | None]:
    """Difference of the means of two independent groups, first - second, with a 95% interval.

    Returns `mean, low, high`; all are None if a group has fewer than two finite values.
    """
    groups = [_finite(first), _finite(second)]
    if min(map(len, groups)) < 2:
        return dict.fromkeys(("mean", "low", "high"))
    low, high = _bootstrap(groups, lambda a, b, axis: a.mean(axis) - b.mean(axis))
    return {"mean": float(groups[0].mean() - groups[1].mean()), "low": low, "high": high}


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95% interval of a proportion (Wilson, 1927)."""
    low, high = binomtest(int(successes), int(n)).proportion_ci(method="wilson")
    return float(low), float(high)


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    return values[np.isfinite(values)]


def _bootstrap(groups: list[np.ndarray], statistic: Callable) -> tuple[float, float]:
    options = {"n_resamples": 2000, "method": "percentile", "rng": np.random.default_rng(0)}
    interval = bootstrap(groups, statistic, confidence_level=0.95, **options).confidence_interval
    return float(interval.low), float(interval.high)
