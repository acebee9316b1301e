"""Explanations in words, for figures and terminals, and summaries of many explanations."""

from typing import Any

from common.user_files import UNSURE

import numpy as np

from q2_lime import stability


def verdict(sample: dict) -> str:
    """The verdict on an explanation and its reasons."""
    reasons = "; ".join(sample["reasons"])
    return f"{sample['verdict'].upper()}{': ' + reasons if reasons else ''}"


def one_line(sample: dict) -> str:
    """Fidelity, stability, cost and verdict of an explanation."""
    stable = sample["stability"]
    stable = f"stability {stable['similarity']:.2f}" if stable else "stability not measured"
    cost = f"{sample['model_calls_total']:,} model calls, {sample['seconds_total']:.0f} s"
    fidelity = "undefined" if sample["fidelity"] is None else f"{sample['fidelity']:.2f}"
    return f"fidelity {fidelity}, {stable}, {cost}: {verdict(sample)}"


def describe(sample: dict) -> list[str]:
    """How reliable an explanation is, in five or six lines, from its entry in explanations.json."""
    stable, removals = sample["stability"], sample["removals"]
    lines = [f"Verdict on the explanation: {verdict(sample)}."]
    if sample["fidelity"] is None:
        lines.append("Fidelity is undefined.")
    else:
        low, high = sample["fidelity_interval"]
        lines.append(
            f"Fidelity R² {sample['fidelity']:.2f} ({low:.2f} to {high:.2f}) on"
            f" {sample['fidelity_masks']:,} masks not fitted to; counting the shown parts reaches"
            f" {sample['fidelity_baseline']:.2f}."
        )
    if stable is None:
        lines.append("Stability was not measured: one seed only.")
    else:
        lines.append(
            f"Stability over {sample['n_seeds']} seeds {stable['similarity']:.2f}; top-5 overlap"
            f" {stable['jaccard']:.2f}, sign agreement {stable['sign_agreement']:.0%}."
        )
    whole, leading, rest = removals.values()
    lines.append(
        f"Model (surrogate): whole input {whole['model']:.2f} ({whole['surrogate']:.2f}), leading"
        f" {len(sample['leading'])} removed {leading['model']:.2f} ({leading['surrogate']:.2f}),"
        f" others removed {rest['model']:.2f} ({rest['surrogate']:.2f})."
    )
    seeds = "all seeds" if stable else "one seed"
    state = "weights settled" if sample["settled"] else "stopped before the weights settled"
    lines.append(
        f"{sample['model_calls_total']:,} model calls and {sample['seconds_total']:.1f} s for"
        f" {seeds}; {state}."
    )
    return lines + model_note(sample)


def model_note(sample: dict) -> list[str]:
    """A line if the model itself is wrong or unsure, which the verdict does not mean."""
    predicted = sample.get("mapped_class") or sample["predicted"]
    wrong = sample["true"] and predicted != sample["true"]
    unsure = bool(sample["probability"] < UNSURE)
    if not wrong and not unsure:
        return []
    state = " and ".join(["wrong"] * bool(wrong) + ["unsure"] * unsure)
    share = f" ({sample['probability']:.0%} for its first class)" if unsure else ""
    return [f"The model itself is {state}{share}; the verdict is about the explanation."]


def medians(samples: list[dict], *keys: str) -> dict[str, float | None]:
    """Medians of `keys` and of the measures of agreement over samples of a results file.

    Missing values are left out; the median of no values is None.
    """
    rows = {key: [sample[key] for sample in samples] for key in keys}
    for key in stability.AGREEMENT:
        rows[key] = [sample["stability"][key] for sample in samples if sample["stability"]]
    known = {key: [value for value in row if value is not None] for key, row in rows.items()}
    return {key: float(np.median(row)) if row else None for key, row in known.items()}


def verdicts(samples: list[dict], name: str = "true") -> dict[str, Any]:
    """Numbers of explanations by verdict, and the `name` of those that are not reliable."""
    named = {
        verdict: [sample[name] for sample in samples if sample["verdict"] == verdict]
        for verdict in stability.VERDICTS
    }
    return {
        "n_trustworthy": len(named["reliable"]),
        "n_undecided": len(named["undecided"]),
        "n_not_trustworthy": len(named["not reliable"]),
        "undecided": named["undecided"],
        "not_trustworthy": named["not reliable"],
    }


def summarize(samples: list[dict]) -> dict[str, Any]:
    """Counts, the range of fidelity and medians over the images of a results file."""
    fidelity = [sample["fidelity"] for sample in samples if sample["fidelity"] is not None]
    keys = ("fidelity", "fidelity_baseline", "model_calls", "model_calls_total")
    keys += ("seconds", "seconds_total", "n_segments")
    errors = [abs(s["original"][0] - s["surrogate_original"][0]) for s in samples]
    misses = [s["removals"]["whole_input"]["miss"] for s in samples]
    return verdicts(samples) | {
        "n_settled": sum(sample["settled"] for sample in samples),
        "fidelity_range": [min(fidelity), max(fidelity)] if fidelity else None,
        "median": medians(samples, *keys)
        | {"surrogate_error": float(np.median(errors)), "whole_input_miss": np.median(misses)},
    }
