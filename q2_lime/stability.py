"""How far an explanation can be trusted: agreement between seeds, the verdict, the card that says it in words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from common.cli import seed_for

if TYPE_CHECKING:  # core.py needs `leading` from here
    from q2_lime import core

SEEDS = 5  # explanations of the same thing that are compared, the one that is shown among them
FAITHFUL, STABLE = 0.7, 0.8  # below these an explanation says that it is not to be trusted
TRUSTED = "faithful and stable"


def again(settings: core.Settings) -> list[core.Settings]:
    """The settings of the SEEDS - 1 further explanations that one with `settings` is compared with."""
    return [replace(settings, seed=seed_for(settings.seed, "again", k)) for k in range(SEEDS - 1)]


def leading(weights: np.ndarray, top: int) -> np.ndarray:
    """The `top` parts of largest |weight|, largest first. Takes (d,) or (m, d)."""
    return np.argsort(-np.abs(weights), axis=-1, kind="stable")[..., :top]


def jaccard(a: np.ndarray, b: np.ndarray, top: int) -> float:
    """Overlap of the `top` leading parts of two weight vectors (d,): shared over all named. 0 to 1, 1 is best."""
    first, second = set(leading(a, top).tolist()), set(leading(b, top).tolist())
    return len(first & second) / len(first | second)


def stability(weights: list[np.ndarray], top: int) -> dict[str, float]:
    """How alike the weights (d,) of several seeds are, as means over all pairs: top-k Jaccard (0 to 1), Spearman's rank
    correlation (-1 to 1), and the share of the first one's leading parts whose sign is the same (0 to 1)."""
    pairs = [(a, b) for i, a in enumerate(weights) for b in weights[i + 1 :]]
    ranks = [
        spearmanr(a, b).statistic if np.ptp(a) and np.ptp(b) else float(np.allclose(a, b))
        for a, b in pairs
    ]
    signs = [np.mean(np.sign(a[leading(a, top)]) == np.sign(b[leading(a, top)])) for a, b in pairs]
    return {
        "jaccard": float(np.mean([jaccard(a, b, top) for a, b in pairs])),
        "rank_correlation": float(np.mean(ranks)),
        "sign_agreement": float(np.mean(signs)),
    }


def verdict(fidelity: float, overlap: float) -> str:
    """One plain sentence on whether to trust an explanation, from its held-out fidelity and its top-k Jaccard over seeds."""
    if np.isnan(fidelity):
        return "nothing to explain: the model's answer does not depend on the parts"
    faults = []
    if fidelity < FAITHFUL:
        faults.append(
            f"a linear model of the parts explains {max(0.0, fidelity):.0%} of what the model does"
        )
    if overlap < STABLE:
        faults.append(f"other random masks name other leading parts (overlap {overlap:.2f})")
    return "not to be trusted: " + "; ".join(faults) if faults else TRUSTED


def card(found: core.Explanation, stable: dict[str, float], top: int, unit: str) -> list[str]:
    """How far to trust an explanation, in short lines: what `core.explain` and `stability` measured, the verdict last."""
    settled = (
        "Leaders settled: overlap with another run expected at"
        if found.settled
        else "Stopped at the bound, expected overlap"
    )
    return [
        f"Held-out fidelity {found.fidelity[0]:.2f}; top-{top} overlap between seeds {stable['jaccard']:.2f}; {found.model_calls:,} calls.",
        f"{settled} {found.expected_overlap:.2f}. Between seeds, ranks correlate"
        f" {stable['rank_correlation']:.2f}, signs agree {stable['sign_agreement']:.0%}; {found.effective_samples:.0f} effective masks.",
        f"{unit} of the whole: {found.original[0]:.2f} by the model, {found.surrogate_original[0]:.2f} by the linear one.",
        f"Verdict: {verdict(found.fidelity[0], stable['jaccard'])}.",
    ]


def medians(samples: list[dict], *keys: str) -> dict[str, float | None]:
    """Over explained things as results files have them: the medians of `keys` and of the three measures of stability. What is missing is left
    out; None where nothing is there."""
    rows = {key: [s[key] for s in samples] for key in keys}
    rows |= {
        key: [s["stability"][key] for s in samples]
        for key in ("jaccard", "rank_correlation", "sign_agreement")
    }
    there = {key: [value for value in row if value is not None] for key, row in rows.items()}
    return {key: float(np.median(row)) if row else None for key, row in there.items()}
