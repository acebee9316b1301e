"""Whether an explanation can be trusted: agreement between random seeds, thresholds, summary.

The verdict is about the explanation, not about whether the model is right: a faithful and stable
explanation of a wrong prediction is trustworthy.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import spearmanr

from common.cli import seed_for
from q2_lime import core

N_SEEDS = 5  # explanations of one input that are compared, including the one that is shown
FIDELITY_THRESHOLD, STABILITY_THRESHOLD = 0.7, 0.8  # an explanation below either is not trustworthy


def repeated_settings(settings: core.Settings) -> list[core.Settings]:
    """The settings of the N_SEEDS - 1 further explanations, which differ in their seed."""
    return [replace(settings, seed=seed_for(settings.seed, "again", k)) for k in range(N_SEEDS - 1)]


def jaccard(a: np.ndarray, b: np.ndarray, top_k: int) -> float:
    """Jaccard index of the `top_k` features of two weight vectors (d,): 0 to 1, 1 is best."""
    first, second = (set(core.top_features(weights, top_k).tolist()) for weights in (a, b))
    return len(first & second) / len(first | second)


def agreement(weights: list[np.ndarray], top_k: int) -> dict[str, float]:
    """Agreement of the weights (d,) of several seeds, as means over all pairs.

    Returns:
        jaccard: of the top features, 0 to 1; rank_correlation: Spearman, -1 to 1; sign_agreement:
        share of the first one's top features that have the same sign in the other, 0 to 1.
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


@dataclass(frozen=True)
class Verdict:
    """Whether an explanation is trustworthy, and if not, why."""

    trustworthy: bool
    reasons: list[str]

    def __str__(self) -> str:
        return "trustworthy" if self.trustworthy else f"not trustworthy: {'; '.join(self.reasons)}"


def verdict(fidelity: float, overlap: float) -> Verdict:
    """The verdict for a held-out fidelity and a top-k Jaccard index over seeds."""
    if np.isnan(fidelity):
        return Verdict(False, ["the model's output is the same for all masks"])
    reasons = []
    if fidelity < FIDELITY_THRESHOLD:
        reasons.append(f"fidelity {fidelity:.2f} is below {FIDELITY_THRESHOLD:.2f}")
    if overlap < STABILITY_THRESHOLD:
        reasons.append(f"overlap between seeds {overlap:.2f} is below {STABILITY_THRESHOLD:.2f}")
    return Verdict(not reasons, reasons)


def card(
    explanation: core.Explanation, stability: dict[str, float], top_k: int, unit: str
) -> list[str]:
    """Four lines on how far to trust an explanation. `unit` names the explained value."""
    fidelity, jaccard = explanation.fidelity[0], stability["jaccard"]
    state = "settled" if explanation.settled else "not settled within the mask limit"
    return [
        f"Held-out fidelity {fidelity:.2f}; top-{top_k} overlap between seeds {jaccard:.2f};"
        f" {explanation.model_calls:,} model calls.",
        f"Top features {state}: expected overlap {explanation.expected_overlap:.2f};"
        f" {explanation.effective_samples:.0f} effective masks. Between seeds: rank correlation"
        f" {stability['rank_correlation']:.2f}, sign agreement {stability['sign_agreement']:.0%}.",
        f"{unit} without masking: model {explanation.original[0]:.2f},"
        f" surrogate {explanation.surrogate_original[0]:.2f}.",
        f"{str(verdict(fidelity, jaccard)).capitalize()}.",
    ]


def row_and_card(
    runs: list[core.Explanation], agreement: dict[str, float], top_k: int, unit: str
) -> tuple[dict, list[str]]:
    """The results and the `card` of the first of several runs that differ in their seed."""
    keys = ("model_calls", "settled", "expected_overlap", "effective_samples")
    keys += ("original", "surrogate_original")
    fidelity = runs[0].fidelity[0]
    row = {"fidelity": fidelity} | {key: getattr(runs[0], key) for key in keys}
    row |= vars(verdict(fidelity, agreement["jaccard"]))
    row["model_calls_total"] = sum(run.model_calls for run in runs)
    return row, card(runs[0], agreement, top_k, unit)


def medians(samples: list[dict], *keys: str) -> dict[str, float | None]:
    """Medians of `keys` and of the measures of agreement over samples of a results file.

    Missing values are left out; the median of no values is None.
    """
    rows = {key: [sample[key] for sample in samples] for key in keys}
    for key in ("jaccard", "rank_correlation", "sign_agreement"):
        rows[key] = [sample["stability"][key] for sample in samples]
    known = {key: [value for value in row if value is not None] for key, row in rows.items()}
    return {key: float(np.median(row)) if row else None for key, row in known.items()}
