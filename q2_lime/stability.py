"""Whether an explanation can be trusted: its fidelity, and its agreement between random seeds.

This is not about whether the model is right: a faithful and stable explanation of a wrong
prediction is trustworthy.
"""

import time
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from common.cli import seed_for
from q2_lime import core

N_SEEDS = 5  # explanations of each input that are compared, including the one that is shown
THRESHOLDS = {"fidelity": 0.7, "stability": 0.8}  # explanations below are not trustworthy
MEASURES = ("model_calls", "settled", "expected_overlap", "effective_samples")
MEASURES += ("original", "surrogate_original")


def explain(
    values: core.ValueFunction, d: int, settings: core.Settings, *item: object
) -> tuple[list[core.Explanation], dict[str, Any], list[float]]:
    """Explains one input with N_SEEDS seeds.

    Returns the explanations, the first with the seed in `settings`; the measures of the first for
    the results file; and the seconds that each took.
    """
    seeds = [settings.seed, *(seed_for(settings.seed, "again", k) for k in range(N_SEEDS - 1))]
    runs, seconds = [], []
    for seed in seeds:
        started = time.perf_counter()
        runs.append(core.explain(values, d, replace(settings, seed=seed), *item))
        seconds.append(time.perf_counter() - started)
    first, fidelity = runs[0], runs[0].fidelity[0]
    stability = agreement([run.weights[:, 0] for run in runs], settings.top_k)
    reasons = weaknesses(fidelity, stability["jaccard"])
    row = {"fidelity": fidelity} | {key: getattr(first, key) for key in MEASURES}
    row |= {"stability": stability, "trustworthy": not reasons, "reasons": reasons}
    return runs, row, seconds


def jaccard(a: np.ndarray, b: np.ndarray, top_k: int) -> float:
    """Jaccard index of the `top_k` features of two weight vectors (d,): 0 to 1, 1 is best."""
    first, second = (set(core.top_features(weights, top_k).tolist()) for weights in (a, b))
    return len(first & second) / len(first | second)


def agreement(weights: list[np.ndarray], top_k: int) -> dict[str, float]:
    """Agreement of the weights (d,) of several seeds, as means over all pairs.

    Returns `jaccard` of the top features, 0 to 1; `rank_correlation` (Spearman), -1 to 1; and
    `sign_agreement`, the share of one's top features with the same sign in the other, 0 to 1.
    """
    pairs = [(a, b) for i, a in enumerate(weights) for b in weights[i + 1 :]]
    ranks, signs = [], []
    for a, b in pairs:
        varied = np.ptp(a) and np.ptp(b)
        ranks.append(spearmanr(a, b).statistic if varied else float(np.allclose(a, b)))
        top = core.top_features(a, top_k)
        signs.append(np.mean(np.sign(a[top]) == np.sign(b[top])))
    return {
        "jaccard": float(np.mean([jaccard(a, b, top_k) for a, b in pairs])),
        "rank_correlation": float(np.mean(ranks)),
        "sign_agreement": float(np.mean(signs)),
    }


def weaknesses(fidelity: float, overlap: float) -> list[str]:
    """Why an explanation is not trustworthy; empty if it is.

    Takes the held-out fidelity, NaN if the output is constant, and the overlap between seeds.
    """
    if np.isnan(fidelity):
        return ["the model's output is the same for all masks"]
    scores = (
        ("fidelity", fidelity, THRESHOLDS["fidelity"]),
        ("overlap between seeds", overlap, THRESHOLDS["stability"]),
    )
    return [f"{name} {x:.2f} is below {least:.2f}" for name, x, least in scores if x < least]


def medians(samples: list[dict], *keys: str) -> dict[str, float | None]:
    """Medians of `keys` and of the measures of agreement over samples of a results file.

    Missing values are left out; the median of no values is None.
    """
    rows = {key: [sample[key] for sample in samples] for key in keys}
    for key in ("jaccard", "rank_correlation", "sign_agreement"):
        rows[key] = [sample["stability"][key] for sample in samples]
    known = {key: [value for value in row if value is not None] for key, row in rows.items()}
    return {key: float(np.median(row)) if row else None for key, row in known.items()}


def summarize(samples: list[dict], settings: core.Settings) -> dict:
    """Counts, the range of fidelity and medians over the images of a results file."""
    fidelity = [sample["fidelity"] for sample in samples if sample["fidelity"] is not None]
    untrusted = [sample["true"] for sample in samples if not sample["trustworthy"]]
    stable = [sample["stability"]["jaccard"] >= THRESHOLDS["stability"] for sample in samples]
    settled = [sample["model_calls"] for sample in samples if sample["settled"]]
    most = settings.max_samples + settings.held_out + 1
    keys = ("fidelity", "model_calls", "model_calls_total", "seconds", "seconds_total")
    errors = [abs(s["original"][0] - s["surrogate_original"][0]) for s in samples]
    median = medians(samples, *keys, "n_segments") | {"surrogate_error": float(np.median(errors))}
    return {
        "n_trustworthy": len(samples) - len(untrusted),
        "n_not_trustworthy": len(untrusted),
        "not_trustworthy": untrusted,
        "n_stable": sum(stable),
        "n_settled": len(settled),
        "n_settled_early": sum(calls < most for calls in settled),
        "n_settled_at_max": sum(calls == most for calls in settled),
        "fidelity_range": [min(fidelity), max(fidelity)] if fidelity else None,
        "median": median,
    }
