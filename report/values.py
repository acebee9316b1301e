"""The values that the report's claims name, taken from the results files."""

import statistics
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from common import results


class Missing(Exception):
    """A results file that is not there."""


class Results(dict):
    """The results files by name; asking for one that is not there raises Missing."""

    def __missing__(self, name: str):
        raise Missing(name)


def measure_maps(path: Path, samples: list[dict]) -> dict[str, float]:
    """What the stored maps (N, h, w) say as a whole: medians over the right and the wrong pictures."""
    with np.load(path) as file:
        says, true = file["map"], file["map_true"]
    right = np.array([sample["kind"] == "correct" for sample in samples])
    positive = np.maximum(says, 0)
    ring = np.ones(says.shape[1:], bool)
    ring[1:-1, 1:-1] = False
    discarded = [np.median(np.maximum(-m, 0).sum((1, 2)) / np.abs(m).sum((1, 2))) for m in (says[right], true[~right])]
    area = (positive > 0.5 * positive.max((1, 2), keepdims=True)).mean((1, 2))
    alike = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(says[~right], true[~right], strict=True)]
    peaks = [np.array([np.unravel_index(m.argmax(), m.shape) for m in maps[~right]]) for maps in (says, true)]
    apart = np.abs(peaks[0] - peaks[1]).max(1)
    measured = {
        "discarded": discarded[0],
        "discarded_true": discarded[1],
        "area_right": np.median(area[right]),
        "area_wrong": np.median(area[~right]),
        "ring_cells": ring.mean(),
        "ring_mass": np.median(positive[right][:, ring].sum(1) / positive[right].sum((1, 2))),
        "alike": np.median(alike),
        "alike_low": np.quantile(alike, 0.25),
        "alike_high": np.quantile(alike, 0.75),
        "apart": np.median(apart),
        "sum_right": np.median(says[right].sum((1, 2))),
        "sum_wrong": np.median(says[~right].sum((1, 2))),
        "sum_wrong_true": np.median(true[~right].sum((1, 2))),
    }
    return results.plain(measured)  # to six digits: the last ones differ from one processor to the next


# --- Question 1 --------------------------------------------------------------------------------------------------------------


def accuracy(r):
    e, t = r["q1_gradcam/evaluation"], r["q1_gradcam/training"]
    low, high = e["accuracy_interval"]
    return {"one": e["accuracy"], "low": low, "high": high, "two": e["accuracy_mirror"], "n": e["n"],
            "minutes": t["mean"]["seconds"] / 60, "million": t["parameters"] / 1e6, "held": t["mean"]["held_out_accuracy"],
            "held_n": t["held_out"], "hardware": t["hardware"], "luck": luck(t)}  # fmt: skip


def training(r):
    return {"luck": luck(r["q1_gradcam/training"])}


def luck(training) -> str:
    rows = [row["accuracy"] for row in training["seeds"]]
    if len(rows) == 1:
        return "It is one training with one seed: the interval covers the draw of test pictures, not the luck of the start."
    return (
        f"Over {len(rows)} seeds the mean is {statistics.mean(rows):.2%} (from {min(rows):.2%} to {max(rows):.2%}); the committed"
        " network is that of the first seed, whichever did best."
    )


def steps(r):
    """Held-out accuracy before and after the pictures grow to their full size."""
    rows = r["q1_gradcam/training"]["history"]
    last = max(k for k, row in enumerate(rows) if row["side"] < rows[-1]["side"])
    return {"small": rows[last]["held_out_accuracy"], "full": rows[last + 1]["held_out_accuracy"], "epoch": last + 2,
            "gain": 100 * (rows[last + 1]["held_out_accuracy"] - rows[last]["held_out_accuracy"])}  # fmt: skip


def classes(r):
    e = r["q1_gradcam/evaluation"]
    order = sorted(e["per_class_accuracy"], key=e["per_class_accuracy"].get)
    first, back = e["most_confused"][:2]
    wrong = round(e["n"] * (1 - e["accuracy"]))
    both = first["count"] + back["count"]
    return {"worst": order[0], "second": order[1], "best": order[-1], "worst_share": e["per_class_accuracy"][order[0]],
            "second_share": e["per_class_accuracy"][order[1]], "best_share": e["per_class_accuracy"][order[-1]], "both": both,
            "wrong": wrong, "share": both / wrong, "pair": {first["true"], first["predicted"]},
            "mirrored": (first["true"], first["predicted"]) == (back["predicted"], back["true"])}  # fmt: skip


def kinds(r):
    """Mistakes that stay among animals or among vehicles."""
    e = r["q1_gradcam/evaluation"]
    vehicle = [name in ("airplane", "automobile", "ship", "truck") for name in e["per_class_accuracy"]]
    matrix = np.array(e["confusion_matrix"])
    across = int(matrix[np.not_equal.outer(vehicle, vehicle)].sum())
    wrong = int(matrix.sum() - np.trace(matrix))
    chance = 48 / 90  # ordered pairs of different classes, one of the 6 animals and one of the 4 vehicles
    return {"within": 1 - across / wrong, "across": across, "wrong": wrong, "by_chance": 1 - chance}


def calibration(r):
    e, t = r["q1_gradcam/evaluation"], r["q1_gradcam/training"]
    return {"before": e["expected_calibration_error_as_trained"], "after": e["expected_calibration_error"], "t": e["temperature"],
            "held": t["held_out"], "mean": e["mean_confidence"], "accuracy": e["accuracy"]}  # fmt: skip


def unsure(r):
    """What is left of the miscalibration with the temperature, where the network is neither lost nor sure."""
    low, high = 0.45, 0.95
    d = r["q1_gradcam/evaluation"]["reliability"]
    bins = [k for k, c in enumerate(d["confidence"]) if c is not None and low < c < high]
    n = sum(d["count"][k] for k in bins)
    share = {key: sum(d[key][k] * d["count"][k] for k in bins) / n for key in ("confidence", "accuracy")}
    return {"n": n, "low": low, "high": high, "said": share["confidence"], "right": share["accuracy"]}


def wrong(r):
    e = r["q1_gradcam/explanations"]
    said = {kind: [s["confidence"] for s in e["samples"] if s["kind"] == kind] for kind in ("correct", "incorrect")}
    limit = 0.9
    return {"maps": len(e["samples"]), "dead": sum(e["dead"].values()), "n": len(said["incorrect"]), "limit": limit,
            "sure": sum(c > limit for c in said["incorrect"]), "median": statistics.median(said["incorrect"]),
            "median_right": statistics.median(said["correct"])}  # fmt: skip


def network(r) -> str:
    """The start of the hash of the network that was explained."""
    return r["q1_gradcam/explanations"]["provenance"]["checkpoint_sha256"][:16]


def drawn(r, name: str):
    """How many right pictures of a class were drawn, and the first and the last of them."""
    rows = [s["index"] for s in r["q1_gradcam/explanations"]["samples"] if s["kind"] == "correct" and s["true"] == name]
    return {"n": len(rows), "first": rows[0], "last": rows[-1], "network": network(r)}


def story(r, true: str, said: str, index: int | None = None):
    """One of the wrong pictures that were drawn, of one class and taken for another: that of this index, or else the most confident."""
    rows = [s for s in r["q1_gradcam/explanations"]["samples"] if s["true"] == true and s["predicted"] == said]
    rows = [s for s in rows if index in (None, s["index"])]
    sample = max(rows, key=lambda s: s["confidence"], default={"index": None, "confidence": 0.0})
    return {"index": sample["index"], "confidence": sample["confidence"], "network": network(r)}


def maps(r):
    return r["q1_gradcam/maps"]


def cost(r):
    row = r["benchmarks/gradcam"]["networks"][0]["variants"]
    passes = {name: row[key]["forward_passes"] for name, key in
              (("ours", "this project"), ("captum", "captum"), ("package", "pytorch-grad-cam"))}  # fmt: skip
    off = max(network["largest_relative_difference_to_captum"] for network in r["benchmarks/gradcam"]["networks"])
    return passes | {"off": off, "pictures": r["benchmarks/gradcam"]["pictures"]}


# --- Question 2 --------------------------------------------------------------------------------------------------------------


def pictures(r):
    e, a = r["q2_lime/images/explanations"], r["q2_lime/images/ablation"]
    rows = e["samples"]
    fidelity = [s["fidelity"] for s in rows]
    bad = [s["true"] for s in rows if not s["verdict"].startswith("faithful")]
    miss = [abs(s["original"][0] - s["surrogate_original"][0]) for s in rows]
    return {"n": len(rows), "right": e["recognised"], "known": a["recognised"]["bicubic"], "known_of": a["recognised_of"],
            "fidelity": e["median"]["fidelity"], "low": min(fidelity), "high": max(fidelity), "overlap": e["median"]["jaccard"],
            "calls": e["median"]["model_calls"], "regions": e["median"]["n_superpixels"], "bad": len(bad), "names": ", ".join(bad),
            "settled": sum(s["settled"] for s in rows), "bound": e["settings"]["bound"], "miss": statistics.median(miss)}  # fmt: skip


def seen(r):
    rows = {s["true"]: s for s in r["q2_lime/images/explanations"]["samples"]}
    said = {name: rows[name]["predicted"] for name in ("horse", "airplane", "frog")}
    return said | {
        "indices": {rows[name]["index"] for name in said},
        "bad_frog": not rows["frog"]["verdict"].startswith("faithful"),
    }


def beside(r):
    m = r["benchmarks/lime"]["images"]["median"]
    return {"n": len(r["benchmarks/lime"]["images"]["rows"]), "theirs": m["package_fidelity"], "theirs_calls": m["package_calls"],
            "theirs_overlap": m["package_jaccard"], "theirs_chance": m["package_jaccard_by_chance"], "ours": m["ours_fidelity"],
            "ours_calls": m["ours_calls"], "ours_overlap": m["ours_jaccard"], "ours_chance": m["ours_jaccard_by_chance"],
            "faster": m["package_seconds"] / m["ours_seconds"]}  # fmt: skip


def ablation(r):
    a = r["q2_lime/images/ablation"]
    row = {(x["factor"], x["value"]): x for x in a["rows"]}
    f = {key: x["fidelity"] for key, x in row.items()}
    return {
        "few": f["regions", "SLIC 10"], "usual": f["regions", "SLIC 20"], "many": f["regions", "SLIC 80"],
        "few_n": row["regions", "SLIC 10"]["regions"], "usual_n": row["regions", "SLIC 20"]["regions"],
        "many_n": row["regions", "SLIC 80"]["regions"], "grid": f["regions", "grid 4"], "quickshift": f["regions", "quickshift"],
        "nearest": f["enlarging", "nearest"], "bicubic": f["enlarging", "bicubic"], "nearest_known": a["recognised"]["nearest"],
        "bicubic_known": a["recognised"]["bicubic"], "lime": f["sampler", "LIME"], "glime": f["sampler", "GLIME"],
        "stratified": f["sampler", "stratified"], "probability": f["explained value", "probability"],
        "log_odds": f["explained value", "log-odds"], "black": f["fill", "black"], "mean": f["fill", "mean"],
        "narrow_at": 0.1, "width_at": 0.25, "wide_at": 1.0, "narrow": f["kernel width (LIME)", "0.1"], "width": f["kernel width (LIME)", "0.25"], "wide": f["kernel width (LIME)", "1.0"],
        "p95": f["share shown (GLIME)", "0.95"], "p70": f["share shown (GLIME)", "0.7"],
        "p95_overlap": row["share shown (GLIME)", "0.95"]["jaccard"], "p85_overlap": row["share shown (GLIME)", "0.85"]["jaccard"],
    }  # fmt: skip


def texts(r):
    m = r["q2_lime/text/evaluation"]["models"]
    svm, logistic = m["svm"], m["logistic_regression"]
    (low, high), (low_s, high_s) = svm["accuracy_interval"], svm["accuracy_stripped_interval"]
    return {"svm": svm["accuracy"], "low": low, "high": high, "lr": logistic["accuracy"], "svm_s": svm["accuracy_stripped"],
            "low_s": low_s, "high_s": high_s, "drop": 100 * (svm["accuracy"] - svm["accuracy_stripped"]),
            "full_on_s": svm["accuracy_full_on_stripped"], "s_on_full": svm["accuracy_stripped_on_full"],
            "lr_s": logistic["accuracy_stripped"],
            "gap": 100 * (svm["accuracy_stripped"] - svm["accuracy_full_on_stripped"])}  # fmt: skip


def search(r):
    rows = r["q2_lime/text/evaluation"]["search"]
    whole, bare, lr = rows["svm_full"], rows["svm_stripped"], rows["logistic_regression_stripped"]  # best first
    return {"whole": 100 * (whole[0]["accuracy"] - whole[3]["accuracy"]), "whole_spread": 100 * whole[0]["spread"],
            "bare": 100 * (bare[0]["accuracy"] - bare[3]["accuracy"]), "bare_spread": 100 * bare[0]["spread"],
            "svm_C": bare[0]["C"], "svm_least": min(x["C"] for x in bare), "lr_C": lr[0]["C"], "lr_least": min(x["C"] for x in lr)}  # fmt: skip


def posts(r):
    e = r["q2_lime/text/explanations"]
    svm = e["median"]["svm"]
    rows = [s for s in e["samples"] if s["model"] == "svm"]
    wrong_ones = {s["predicted"] for s in rows if s["predicted"] != s["true"]}
    return {"n": len(rows), "fidelity": svm["fidelity"], "overlap": svm["jaccard"], "truth": svm["truth_correlation"],
            "calls": svm["model_calls"], "ms": 1000 * svm["seconds"], "right": svm["right"], "all": len(e["samples"]),
            "bad": sum(not s["verdict"].startswith("faithful") for s in e["samples"]), "wrong_as": ", ".join(sorted(wrong_ones)),
            "kinds": len(wrong_ones), "truth_low": min(s["truth_correlation"] for s in rows)}  # fmt: skip


def leak(r):
    e = r["q2_lime/text/leak"]
    full, stripped = e["models"]["svm"], e["models"]["svm_stripped"]
    pairs = [zones["body"] < stripped["per_class"][name]["body"] for name, zones in full["per_class"].items()]
    feet = {name: zones["footer"] for name, zones in full["per_class"].items()}
    return {"posts": e["posts"], "top": e["top_words"], "out": full["outside_body"], "low": full["outside_body_interval"][0],
            "high": full["outside_body_interval"][1], "words": full["outside_body_words"], "out_s": stripped["outside_body"],
            "low_s": stripped["outside_body_interval"][0], "high_s": stripped["outside_body_interval"][1],
            "words_s": stripped["outside_body_words"], "points": 100 * (full["outside_body"] - stripped["outside_body"]),
            "more": sum(pairs), "groups": len(pairs), "p": binomtest(sum(pairs), len(pairs)).pvalue, "foot": max(feet, key=feet.get), "foot_share": max(feet.values()),
            "foot_median": statistics.median(feet.values())}  # fmt: skip


def text_ablation(r):
    f = {(x["factor"], x["value"]): x for x in r["q2_lime/text/ablation"]["rows"]}
    m = r["benchmarks/lime"]["text"]["median"]
    return {"margin": f["explained value", "margin"]["fidelity"], "probability": f["explained value", "probability"]["fidelity"],
            "truth_margin": f["explained value", "margin"]["truth_correlation"], "same": m["same_weights"],
            "truth_probability": f["explained value", "probability"]["truth_correlation"], "few": f["masks", "300"]["fidelity"],
            "ratio": m["ratio"], "usual": m["default_ratio"]}  # fmt: skip
