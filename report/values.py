"""The values that the report's claims name, taken from the results files."""

import statistics
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from common import results
from common.results import reading
from q2_lime.stability import STABLE


class Missing(Exception):
    """A results file that is not there."""


class Results(dict):
    """The results files by name; asking for one that is not there raises Missing."""

    def __missing__(self, name: str):
        raise Missing(name)


def measure_maps(path: Path, samples: list[dict]) -> dict[str, float]:
    """What the stored maps (N, h, w) say as a whole: medians over the right and the wrong pictures, of which there has to be one each.

    Raises:
        UserError: the file is damaged, incomplete, or of another number of pictures.
    """
    arrays = results.read_npz(path)
    right = np.array([sample["kind"] == "correct" for sample in samples])
    with reading(path):
        return _measured(arrays["map"], arrays["map_true"], right)


def _measured(says: np.ndarray, true: np.ndarray, right: np.ndarray) -> dict[str, float]:
    positive = np.maximum(says, 0)
    ring = np.ones(says.shape[1:], bool)
    ring[1:-1, 1:-1] = False
    discarded = [
        np.median(np.maximum(-m, 0).sum((1, 2)) / np.abs(m).sum((1, 2)))
        for m in (says[right], true[~right])
    ]
    area = (positive > 0.5 * positive.max((1, 2), keepdims=True)).mean((1, 2))
    alike = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1]
        for a, b in zip(says[~right], true[~right], strict=True)
    ]
    peaks = [
        np.array([np.unravel_index(m.argmax(), m.shape) for m in maps[~right]])
        for maps in (says, true)
    ]
    apart = np.abs(peaks[0] - peaks[1]).max(1)
    measured = {
        "discarded": discarded[0],
        "discarded_first": np.maximum(-says[0], 0).sum() / np.abs(says[0]).sum(),
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
    return results.plain(
        measured
    )  # to six digits: the last ones differ from one processor to the next


# --- Question 1 --------------------------------------------------------------------------------------------------------------


def accuracy(r):
    e, t = r["q1_gradcam/evaluation"], r["q1_gradcam/training"]
    low, high = e["accuracy_interval"]
    return {
        "one": e["accuracy"],
        "low": low,
        "high": high,
        "two": e["accuracy_mirror"],
        "n": e["n"],
        "minutes": t["mean"]["seconds"] / 60,
        "million": t["parameters"] / 1e6,
        "held": t["mean"]["held_out_accuracy"],
        "held_n": t["held_out"],
        "hardware": t["hardware"],
        "luck": luck(t),
    }


def training(r):
    t = r["q1_gradcam/training"]
    return {
        "luck": luck(t),
        "first": t["seeds"][0]["accuracy"],
        "committed": r["q1_gradcam/evaluation"]["accuracy"],
    }


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
    least = min(row["side"] for row in rows)
    seconds = {
        side: statistics.mean(row["seconds"] for row in rows if row["side"] == side)
        for side in (least, rows[-1]["side"])
    }
    return {
        "small": rows[last]["held_out_accuracy"],
        "full": rows[last + 1]["held_out_accuracy"],
        "epoch": last + 2,
        "least": least,
        "share": seconds[least] / seconds[rows[-1]["side"]],
        "gain": 100 * (rows[last + 1]["held_out_accuracy"] - rows[last]["held_out_accuracy"]),
    }


def tried(r):
    """The trainings with one choice changed, against the usual recipe."""
    usual, *rows = r["q1_gradcam/tried/ablation"]["alternatives"]
    points = {
        (row["choice"], row["value"]): 100 * row["against_usual"]["difference"]["mean"]
        for row in rows
    }
    verdicts = {(row["choice"], row["value"]): row["against_usual"]["verdict"] for row in rows}
    others = [key for key in points if key[0] != "widths"]
    better = [
        f"{choice} {value} ({points[choice, value]:+.1f})"
        for choice, value in others
        if verdicts[choice, value] == "beats"
    ]
    nesterov = [key for key in points if key[0] == "optimiser of filters"]
    times = {row["value"]: row["times"] for row in rows if row["choice"] == "widths"}
    wide = max(times, key=times.get)
    return {
        "mean": usual["accuracy"],
        "low": usual["lowest"],
        "high": usual["highest"],
        "seeds": usual["seeds"],
        "range": 100 * (usual["highest"] - usual["lowest"]),
        "winners": {choice for choice, value in others if verdicts[choice, value] == "beats"},
        "wide_is_committed": wide
        == ", ".join(map(str, r["q1_gradcam/training"]["recipe"]["options"]["widths"])),
        "worst_other": -min(points[key] for key in others if key not in nesterov),
        "larger_is_better": max(nesterov, key=points.get) == nesterov[-1],
        "rates": len(nesterov),
        "least": -max(points[key] for key in nesterov),
        "nesterov": {verdicts[key] for key in nesterov},
        "muon": {verdicts[key] for key in points if key[0] == "rate of Muon"},
        "wide": points["widths", wide],
        "wide_times": times[wide],
        "wide_verdict": verdicts["widths", wide],
        "float32": verdicts["arithmetic of the layers", "float32"],
        "float32_points": points["arithmetic of the layers", "float32"],
        "most": max(points[key] for key in others),
        "better": ", ".join(better) or "none",
        "n_better": len(better),
        "n": len(others),
    }


def classes(r):
    e = r["q1_gradcam/evaluation"]
    order = sorted(e["per_class_accuracy"], key=e["per_class_accuracy"].get)
    first, back = e["most_confused"][:2]
    wrong = round(e["n"] * (1 - e["accuracy"]))
    both = first["count"] + back["count"]
    return {
        "worst": order[0],
        "second": order[1],
        "best": order[-1],
        "worst_share": e["per_class_accuracy"][order[0]],
        "second_share": e["per_class_accuracy"][order[1]],
        "best_share": e["per_class_accuracy"][order[-1]],
        "both": both,
        "wrong": wrong,
        "share": both / wrong,
        "pair": {first["true"], first["predicted"]},
        "mirrored": (first["true"], first["predicted"]) == (back["predicted"], back["true"]),
    }


def kinds(r):
    """Mistakes that stay among animals or among vehicles, and the most frequent one that doesn't."""
    e = r["q1_gradcam/evaluation"]
    names = list(e["per_class_accuracy"])
    vehicle = [name in ("airplane", "automobile", "ship", "truck") for name in names]
    matrix, border = np.array(e["confusion_matrix"]), np.not_equal.outer(vehicle, vehicle)
    across = int(matrix[border].sum())
    true, said = np.unravel_index((matrix * border).argmax(), matrix.shape)
    wrong = int(matrix.sum() - np.trace(matrix))
    chance = (
        48 / 90
    )  # ordered pairs of different classes, one of the 6 animals and one of the 4 vehicles
    return {
        "within": 1 - across / wrong,
        "across": across,
        "wrong": wrong,
        "by_chance": 1 - chance,
        "true": names[true],
        "said": names[said],
        "share": matrix[true, said] / matrix[true].sum(),
        "most": e["most_confused"][0]["share"],
    }


def calibration(r):
    e, t = r["q1_gradcam/evaluation"], r["q1_gradcam/training"]
    return {
        "before": e["expected_calibration_error_as_trained"],
        "after": e["expected_calibration_error"],
        "t": e["temperature"],
        "held": t["held_out"],
        "mean": e["mean_confidence"],
        "accuracy": e["accuracy"],
    }


def unsure(r):
    """What is left of the miscalibration with the temperature, where the network is neither lost nor sure."""
    low, high = 0.45, 0.95
    e = r["q1_gradcam/evaluation"]
    d = e["reliability"]
    shown = {
        key: [
            a - c
            for c, a, n in zip(
                e[key]["confidence"], e[key]["accuracy"], e[key]["count"], strict=True
            )
            if n >= 20
        ]
        for key in ("reliability", "reliability_as_trained")
    }
    bins = [k for k, c in enumerate(d["confidence"]) if c is not None and low < c < high]
    n = sum(d["count"][k] for k in bins)
    share = {
        key: sum(d[key][k] * d["count"][k] for k in bins) / n for key in ("confidence", "accuracy")
    }
    return {
        "n": n,
        "low": low,
        "high": high,
        "said": share["confidence"],
        "right": share["accuracy"],
        "of": e["n"],
        "far": max(map(abs, shown["reliability"])),
        "modest": min(shown["reliability_as_trained"]),
    }


def wrong(r):
    e = r["q1_gradcam/explanations"]
    said = {
        kind: [s["confidence"] for s in e["samples"] if s["kind"] == kind]
        for kind in ("correct", "incorrect")
    }
    limit = 0.9
    return {
        "maps": len(e["samples"]),
        "dead": sum(e["dead"].values()),
        "n": len(said["incorrect"]),
        "limit": limit,
        "sure": sum(c > limit for c in said["incorrect"]),
        "median": statistics.median(said["incorrect"]),
        "median_right": statistics.median(said["correct"]),
    }


def network(r) -> str:
    """The start of the hash of the network that was explained."""
    return r["q1_gradcam/explanations"]["provenance"]["checkpoint_sha256"][:16]


def drawn(r, name: str):
    """How many right pictures of a class were drawn, and the first and the last of them."""
    rows = [
        s["index"]
        for s in r["q1_gradcam/explanations"]["samples"]
        if s["kind"] == "correct" and s["true"] == name
    ]
    return {"n": len(rows), "first": rows[0], "last": rows[-1], "network": network(r)}


def draw(r):
    """How many right pictures were drawn in all, the first and the last of them, and what is measured on their maps."""
    rows = [s["index"] for s in r["q1_gradcam/explanations"]["samples"] if s["kind"] == "correct"]
    return maps(r) | {"n": len(rows), "first": rows[0], "last": rows[-1], "network": network(r)}


def story(r, true: str, said: str, index: int | None = None):
    """One of the wrong pictures that were drawn, of one class and taken for another: that of this index, or else the most confident."""
    rows = [
        s
        for s in r["q1_gradcam/explanations"]["samples"]
        if s["true"] == true and s["predicted"] == said
    ]
    rows = [s for s in rows if index in (None, s["index"])]
    sample = max(rows, key=lambda s: s["confidence"], default={"index": None, "confidence": 0.0})
    return {"index": sample["index"], "confidence": sample["confidence"], "network": network(r)}


def maps(r):
    return r["q1_gradcam/maps"]


def cost(r):
    row = r["benchmarks/gradcam"]["networks"][0]["variants"]
    passes = {
        name: row[key]["forward_passes"]
        for name, key in (
            ("ours", "this project"),
            ("captum", "captum"),
            ("package", "pytorch-grad-cam"),
        )
    }
    off = max(
        network["largest_relative_difference_to_captum"]
        for network in r["benchmarks/gradcam"]["networks"]
    )
    return passes | {"off": off, "pictures": r["benchmarks/gradcam"]["pictures"]}


# --- Question 2 --------------------------------------------------------------------------------------------------------------


def pictures(r):
    e, a = r["q2_lime/images/explanations"], r["q2_lime/images/ablation"]
    rows = e["samples"]
    fidelity = [s["fidelity"] for s in rows]
    bad = [s["true"] for s in rows if not s["verdict"].startswith("faithful")]
    miss = [abs(s["original"][0] - s["surrogate_original"][0]) for s in rows]
    return {
        "n": len(rows),
        "right": e["recognised"],
        "known": a["recognised"]["bicubic"],
        "known_of": a["recognised_of"],
        "fidelity": e["median"]["fidelity"],
        "low": min(fidelity),
        "high": max(fidelity),
        "overlap": e["median"]["jaccard"],
        "calls": e["median"]["model_calls"],
        "regions": e["median"]["n_superpixels"],
        "bad": len(bad),
        "names": ", ".join(bad),
        "settled": sum(s["settled"] for s in rows),
        "stable": STABLE,
        "steady": sum(s["stability"]["jaccard"] >= STABLE for s in rows),
        "bound": e["settings"]["bound"],
        "miss": statistics.median(miss),
    }


def seen(r):
    rows = {s["true"]: s for s in r["q2_lime/images/explanations"]["samples"]}
    said = {name: rows[name]["predicted"] for name in ("horse", "airplane", "frog")}
    return said | {
        "indices": {rows[name]["index"] for name in said},
        "bad_frog": not rows["frog"]["verdict"].startswith("faithful"),
    }


def one_picture(r, true: str):
    """One of the explained pictures: what the model says of it, what next, and how sure it is."""
    s = next(s for s in r["q2_lime/images/explanations"]["samples"] if s["true"] == true)
    return {
        "index": s["index"],
        "said": s["predicted"],
        "probability": s["probability"],
        "next": s["top5"][1]["class"],
        "good": s["verdict"].startswith("faithful"),
    }


def beside(r):
    m = r["benchmarks/lime"]["images"]["median"]
    return {
        "n": len(r["benchmarks/lime"]["images"]["rows"]),
        "theirs": m["package_fidelity"],
        "theirs_calls": m["package_calls"],
        "theirs_overlap": m["package_jaccard"],
        "theirs_chance": m["package_jaccard_by_chance"],
        "ours": m["ours_fidelity"],
        "ours_calls": m["ours_calls"],
        "ours_overlap": m["ours_jaccard"],
        "ours_chance": m["ours_jaccard_by_chance"],
        "faster": m["package_seconds"] / m["ours_seconds"],
        "same_regions": m["package_on_our_regions_fidelity"],
        "same_regions_gain": m["package_on_our_regions_jaccard"]
        - m["package_on_our_regions_jaccard_by_chance"],
    }


def ablation(r):
    a = r["q2_lime/images/ablation"]
    row = {(x["factor"], x["value"]): x for x in a["rows"]}
    f = {key: x["fidelity"] for key, x in row.items()}
    return {
        "few": f["regions", "SLIC 10"],
        "usual": f["regions", "SLIC 20"],
        "many": f["regions", "SLIC 80"],
        "few_n": row["regions", "SLIC 10"]["regions"],
        "usual_n": row["regions", "SLIC 20"]["regions"],
        "many_n": row["regions", "SLIC 80"]["regions"],
        "grid": f["regions", "grid 4"],
        "quickshift": f["regions", "quickshift"],
        "nearest": f["enlarging", "nearest"],
        "bicubic": f["enlarging", "bicubic"],
        "nearest_known": a["recognised"]["nearest"],
        "bicubic_known": a["recognised"]["bicubic"],
        "lime": f["sampler", "LIME"],
        "glime": f["sampler", "GLIME"],
        "stratified": f["sampler", "stratified"],
        "probability": f["explained value", "probability"],
        "log_odds": f["explained value", "log-odds"],
        "black": f["fill", "black"],
        "mean": f["fill", "mean"],
        "narrow_at": 0.1,
        "width_at": 0.25,
        "wide_at": 1.0,
        "narrow": f["kernel width (LIME)", "0.1"],
        "width": f["kernel width (LIME)", "0.25"],
        "wide": f["kernel width (LIME)", "1.0"],
        "p95": f["share shown (GLIME)", "0.95"],
        "p70": f["share shown (GLIME)", "0.7"],
        "fills": {value: f[factor, value] for factor, value in f if factor == "fill"},
        "samplers": {value: f[factor, value] for factor, value in f if factor == "sampler"},
        "known": a["recognised"],
        "strong_at": "10",
        "strong": f["ridge penalty", "10"],
        "penalty": f["ridge penalty", "1"],
        "top": a["settings"]["top"],
        "p95_overlap": row["share shown (GLIME)", "0.95"]["jaccard"],
        "p85_overlap": row["share shown (GLIME)", "0.85"]["jaccard"],
    }


def texts(r):
    m = r["q2_lime/text/evaluation"]["models"]
    svm, logistic = m["svm"], m["logistic_regression"]
    (low, high), (low_s, high_s) = svm["accuracy_interval"], svm["accuracy_stripped_interval"]
    return {
        "svm": svm["accuracy"],
        "low": low,
        "high": high,
        "lr": logistic["accuracy"],
        "svm_s": svm["accuracy_stripped"],
        "low_s": low_s,
        "high_s": high_s,
        "drop": 100 * (svm["accuracy"] - svm["accuracy_stripped"]),
        "full_on_s": svm["accuracy_full_on_stripped"],
        "s_on_full": svm["accuracy_stripped_on_full"],
        "lr_s": logistic["accuracy_stripped"],
        "gap": 100 * (svm["accuracy_stripped"] - svm["accuracy_full_on_stripped"]),
    }


def search(r):
    rows = r["q2_lime/text/evaluation"]["search"]
    whole, bare, lr = (
        rows["svm_full"],
        rows["svm_stripped"],
        rows["logistic_regression_stripped"],
    )  # best first
    return {
        "whole": 100 * (whole[0]["accuracy"] - whole[3]["accuracy"]),
        "whole_spread": 100 * whole[0]["spread"],
        "bare": 100 * (bare[0]["accuracy"] - bare[3]["accuracy"]),
        "bare_spread": 100 * bare[0]["spread"],
        "svm_C": bare[0]["C"],
        "svm_least": min(x["C"] for x in bare),
        "lr_C": lr[0]["C"],
        "lr_least": min(x["C"] for x in lr),
    }


def posts(r):
    e = r["q2_lime/text/explanations"]
    svm = e["median"]["svm"]
    rows = [s for s in e["samples"] if s["model"] == "svm"]
    wrong_ones = {s["predicted"] for s in rows if s["predicted"] != s["true"]}
    misled = [
        w["word"]
        for s in rows
        if s["predicted"] != s["true"]
        for w in s["words"]
        if w["weight"] > 0
    ]
    return {
        "n": len(rows),
        "fidelity": svm["fidelity"],
        "overlap": svm["jaccard"],
        "truth": svm["truth_correlation"],
        "calls": svm["model_calls"],
        "ms": 1000 * svm["seconds"],
        "right": svm["right"],
        "all": len(e["samples"]),
        "bad": sum(not s["verdict"].startswith("faithful") for s in e["samples"]),
        "wrong_as": ", ".join(sorted(wrong_ones)),
        "kinds": len(wrong_ones),
        "misled": set(misled),
        "makers": {
            w["word"]
            for s in rows
            if s["predicted"] == s["true"]
            for w in s["words"]
            if w["zone"] in ("header", "footer")
        },
        "outside": sum(
            s["predicted"] == s["true"] and sum(s["zone_weight"][:3]) > 0.5 for s in rows
        ),
        "truth_low": min(s["truth_correlation"] for s in rows),
    }


def leak(r):
    e = r["q2_lime/text/leak"]
    full, stripped = e["models"]["svm"], e["models"]["svm_stripped"]
    pairs = [
        zones["body"] < stripped["per_class"][name]["body"]
        for name, zones in full["per_class"].items()
    ]
    feet = {name: zones["footer"] for name, zones in full["per_class"].items()}
    return {
        "posts": e["posts"],
        "top": e["top_words"],
        "out": full["outside_body"],
        "low": full["outside_body_interval"][0],
        "high": full["outside_body_interval"][1],
        "words": full["outside_body_words"],
        "out_s": stripped["outside_body"],
        "low_s": stripped["outside_body_interval"][0],
        "high_s": stripped["outside_body_interval"][1],
        "words_s": stripped["outside_body_words"],
        "points": 100 * (full["outside_body"] - stripped["outside_body"]),
        "more": sum(pairs),
        "groups": len(pairs),
        "p": binomtest(sum(pairs), len(pairs)).pvalue,
        "foot": max(feet, key=feet.get),
        "foot_share": max(feet.values()),
        "foot_median": statistics.median(feet.values()),
    }


def signatures(r):
    """The leak by group, and the leading words in the footer of the explained post of the group that stands out."""
    found = leak(r)
    rows = [s for s in r["q2_lime/text/explanations"]["samples"] if s["true"] == found["foot"]]
    return found | {
        "signed": {
            w["word"] for s in rows for w in s["words"] if w["zone"] == "footer" and w["weight"] > 0
        }
    }


def text_ablation(r):
    f = {(x["factor"], x["value"]): x for x in r["q2_lime/text/ablation"]["rows"]}
    rest = [x for (factor, _), x in f.items() if factor != "explained value"]

    def scores(factor: str, key: str) -> list[float]:
        """Of all values of a factor, the usual one first."""
        rows = [x for x in f.values() if x["factor"] == factor]
        return [x[key] for x in sorted(rows, key=lambda x: not x["usual"])]

    m = r["benchmarks/lime"]["text"]["median"]
    return {
        "margin": f["explained value", "margin"]["fidelity"],
        "probability": f["explained value", "probability"]["fidelity"],
        "truth_margin": f["explained value", "margin"]["truth_correlation"],
        "same": m["same_weights"],
        "truth_probability": f["explained value", "probability"]["truth_correlation"],
        "few": f["masks", "300"]["fidelity"],
        "ratio": m["ratio"],
        "usual": m["default_ratio"],
        "rest": min(x["fidelity"] for x in rest),
        "rest_truth": min(x["truth_correlation"] for x in rest),
        "samplers": scores("sampler", "fidelity"),
        "samplers_truth": scores("sampler", "truth_correlation"),
        "shares": scores("share shown (GLIME)", "fidelity"),
        "shares_truth": scores("share shown (GLIME)", "truth_correlation"),
    }
