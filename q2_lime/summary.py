"""Explanations in words, for figures and terminals, and summaries of many explanations."""

from common.user_files import UNSURE

import numpy as np

from q2_lime import stability


def verdict(sample: dict) -> str:
    """The verdict on an explanation and its reasons."""
    reasons = "; ".join(sample["reasons"])
    return sample["verdict"] + (f", because {reasons}" if reasons else "")


def one_line(sample: dict) -> str:
    """Fidelity, stability, cost and verdict of an explanation."""
    stable = sample["stability"]
    stable = f"stability {stable['similarity']:.2f}" if stable else "stability not measured"
    seconds = sample["seconds_total"]
    seconds = f"{seconds:.0f} s" if seconds >= 1 else "less than 1 s"
    cost = f"{sample['model_calls_total']:,} model calls, {seconds}"
    fidelity = "undefined" if sample["fidelity"] is None else f"{sample['fidelity']:.2f}"
    return f"fidelity {fidelity}, {stable}, {cost}: {verdict(sample)}"


def describe(sample: dict, value: str) -> list[str]:
    """How reliable an explanation is, in five or six lines, from its entry in explanations.json.

    `value` is what was explained, for example "Log-odds".
    """
    stable, removals = sample["stability"], sample["removals"]
    lines = [f"Verdict on the explanation: {verdict(sample)}."]
    if sample["fidelity"] is None:
        lines.append("Fidelity is undefined.")
    else:
        low, high = sample["fidelity_interval"]
        masks = f"{sample['fidelity_masks']:,} {'other' if stable else 'left-out'} masks"
        lines.append(
            f"Fidelity (R² on {masks}): {sample['fidelity']:.2f} ({low:.2f} to {high:.2f}); of a"
            f" surrogate that only counts the visible parts: {sample['fidelity_baseline']:z.2f}."
        )
    if stable is None:
        lines.append("Stability was not measured: one seed only.")
    else:
        lines.append(
            f"Stability (similarity of {sample['n_seeds']} seeds): {stable['similarity']:.2f};"
            f" top-5 overlap {stable['jaccard']:.2f}, equal signs {stable['sign_agreement']:.0%}."
        )
    whole, leading, rest = removals.values()
    lines.append(
        f"{value} of the model (of the surrogate): whole input {whole['model']:.2f}"
        f" ({whole['surrogate']:.2f}), {len(sample['leading'])} leading parts hidden"
        f" {leading['model']:.2f} ({leading['surrogate']:.2f}), others hidden"
        f" {rest['model']:.2f} ({rest['surrogate']:.2f})."
    )
    seeds = "all seeds" if stable else "one seed"
    state = f"the weights {'settled' if sample['settled'] else 'did not settle'}"
    lines.append(
        f"{sample['model_calls_total']:,} model calls and {sample['seconds_total']:.1f} s for"
        f" {seeds}; {state}."
    )
    predicted = sample.get("mapped_class") or sample["predicted"]
    unsure = sample["probability"] < UNSURE
    states = ["wrong"] if sample["true"] and predicted != sample["true"] else []
    states += ["unsure"] if unsure else []
    if states:  # which the verdict does not mean
        share = f" ({sample['probability']:.0%} for its first class)" if unsure else ""
        state = f"The model itself is {' and '.join(states)}{share}"
        lines.append(f"{state}; the verdict is about the explanation.")
    return lines


def medians(samples: list[dict], *keys: str) -> dict[str, float | None]:
    """Medians over samples of a results file: of their values, of the agreement between seeds, and
    of `surrogate_error` and `whole_input_miss`, the error at the unmasked input.

    Missing values are left out; the median of no values is None.
    """
    rows = []
    for sample in samples:
        whole = sample["removals"]["whole_input"]
        error = abs(whole["model"] - whole["surrogate"])
        errors = {"surrogate_error": error, "whole_input_miss": whole["miss"]}
        rows.append(sample | (sample["stability"] or {}) | errors)
    known = {key: [row[key] for row in rows if row.get(key) is not None] for key in keys}
    return {key: float(np.median(values)) if values else None for key, values in known.items()}


def verdicts(samples: list[dict]) -> dict[str, int]:
    """Numbers of explanations by verdict."""
    found = [sample["verdict"] for sample in samples]
    names = ("n_trustworthy", "n_undecided", "n_not_trustworthy")
    return {name: found.count(v) for name, v in zip(names, stability.VERDICTS, strict=True)}
