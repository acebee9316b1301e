"""How sure a mean is, and whether one method does better than another on the same pictures."""

from typing import Any

import numpy as np
from scipy.stats import binomtest, bootstrap, wilcoxon

RESAMPLES = 2000
LEVEL = 0.95


def mean_interval(values: np.ndarray) -> dict[str, float]:
    """Mean of values (N,) with its 95% bootstrap interval over pictures (percentiles; Efron, 1979), NaN left out: `mean, low, high, n`."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if len(values) < 2 or not np.ptp(values):
        alone = float(values.mean()) if len(values) else None
        return {"mean": alone, "low": alone, "high": alone, "n": len(values)}
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return {
        "mean": float(values.mean()),
        "low": float(found.low),
        "high": float(found.high),
        "n": len(values),
    }


def compare_paired(
    values: np.ndarray, control: np.ndarray, larger_is_better: bool
) -> dict[str, Any]:
    """A method against a control on the same pictures.

    Args:
        values, control: (N,) scores, picture by picture.

    Returns:
        `difference`: `mean` of (values - control); `p`: of Wilcoxon's signed-rank test (1945), two-sided; `verdict`: "beats", "ties" (the
        interval holds zero) or "loses".
    """
    gap = np.asarray(values, float) - np.asarray(control, float)
    gap = gap[np.isfinite(gap)]
    difference = mean_interval(gap)
    p = float(wilcoxon(gap).pvalue) if np.any(gap) else 1.0
    if len(gap) < 2 or difference["low"] <= 0 <= difference["high"]:
        verdict = "ties"
    else:
        verdict = "beats" if (difference["low"] > 0) == larger_is_better else "loses"
    return {"difference": difference, "p": p, "verdict": verdict}


def compare_independent(first: np.ndarray, second: np.ndarray) -> dict[str, float | None]:
    """The difference of two independent groups' means, first - second, with its 95% bootstrap interval: `mean, low, high`; None each where a
    group has fewer than two finite values."""
    groups = [
        values[np.isfinite(values)]
        for values in (np.asarray(first, float), np.asarray(second, float))
    ]
    if min(map(len, groups)) < 2:
        return dict.fromkeys(("mean", "low", "high"))
    found = bootstrap(
        groups,
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return {
        "mean": float(groups[0].mean() - groups[1].mean()),
        "low": float(found.low),
        "high": float(found.high),
    }


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95% interval of a proportion (Wilson, 1927): how far an accuracy may be off for being measured on n things."""
    low, high = binomtest(int(successes), int(n)).proportion_ci(method="wilson")
    return float(low), float(high)
