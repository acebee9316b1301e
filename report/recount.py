"""Makes summaries again: from the checkpoint and the test set, or from scores that were stored picture by picture."""

from argparse import Namespace
from typing import Any

import numpy as np
import torch

from common import corpus, data, models, results, trials, trust
from q1_gradcam import ablate, evaluate
from q1_gradcam import trust as gradcam_trust
from q2_lime import leak, linear, train_text
from report import compare
from report.work import Work

TIPPED = 2e-3  # elsewhere: a picture between two classes may tip, one in a thousand of its class


def evaluation(args: Namespace, device: torch.device) -> Work:
    """The evaluation of Question 1."""
    model = models.load(args.model, device)
    dataset = data.load(model.dataset, args.data)
    files = {"evaluation.json": lambda stored: evaluate.measure(model, dataset)}
    return Work({"data_sha256": dataset.sha256}, files, loose=TIPPED)


def text_evaluation(args: Namespace, device: torch.device) -> Work:
    """What the stored text classifiers say of the test posts."""
    posts = corpus.posts(args.dataset, args.data)
    found = {
        (kind, variant): linear.load(args.folder / f"{kind}{'_stripped' * stripped}.npz")
        for kind in args.kinds
        for variant, stripped in train_text.VARIANTS.items()
    }

    def made(stored: dict) -> dict:
        return train_text.tested(args, posts, found)[1] | {"search": stored["search"]}

    rest = "the cross-validation (search)"
    return Work({"data_sha256": posts.sha256}, {"evaluation.json": made}, loose=TIPPED, rest=rest)


def leaks(args: Namespace, posts, classifiers: dict[str, linear.LinearModel]) -> dict:
    """The content of leak.json."""
    stripped = {f"{kind}_stripped": linear.load(args.models / f"{kind}_stripped.npz") for kind in args.kinds}
    evaluated = results.read_json(args.models / "evaluation.json")
    return leak.meter(posts, classifiers | stripped, evaluated, args.seed, say=lambda *_, **__: None)


def gradcam_scores(args: Namespace, device: torch.device) -> Work:
    """Grad-CAM and its relatives: means, intervals and verdicts from faithfulness.npz."""

    def made(stored: dict) -> dict:
        arrays = results.read_npz(args.folder / "faithfulness.npz")
        found = faithfulness(arrays)
        fills = {trials.FILL: scores(arrays, trials.FILL)} | {
            fill: scores(arrays, fill) for fill in found["other_fills"]
        }
        found["pixels_against_gradcam"] = {
            fill: gradcam_trust.duel(rows["input_gradient"], rows["gradcam"])
            for fill, rows in fills.items()
            if {"input_gradient", "gradcam"} <= rows.keys()
        }
        return replaced(stored, found)

    return Work({}, {"faithfulness.json": made}, rest="the scores picture by picture, and what is not made from them")


def lime_scores(args: Namespace, device: torch.device) -> Work:
    """LIME: means, intervals and verdicts from lime.npz."""

    def made(stored: dict) -> dict:
        found = faithfulness(results.read_npz(args.folder / "lime.npz"), {"lime"})
        return stored | {"faithfulness": replaced(stored["faithfulness"], found)}

    files = {"lime.json": made} if "faithfulness" in args.only else {}
    return Work({}, files, rest="the scores picture by picture, and what is not made from them")


def recipe_choices(args: Namespace, device: torch.device) -> Work:
    """The recipe's alternatives, from which held-out pictures each training got right."""

    def made(stored: dict) -> dict:
        right = results.read_npz(args.folder / "ablation.npz")["right"]
        rows = [
            row | {"accuracy": single.mean(), "accuracy_mirror": mirrored.mean()}
            for row, (single, mirrored) in zip(stored["trainings"], right, strict=True)
        ]
        return stored | {"trainings": rows, "alternatives": ablate.compared(rows, right)}

    return Work({}, {"ablation.json": made}, rest="the trainings")


def side_by_side(args: Namespace, device: torch.device) -> Work:
    """The methods against LIME, from the scores of both."""

    def made(stored: dict) -> dict:
        names = ("faithfulness", "lime")
        return compare.against_lime(*(results.read_npz(args.outputs / f"trust/{name}.npz") for name in names))

    return Work({}, {"methods.json": made}, rest="agreement.json")


def faithfulness(arrays: dict[str, np.ndarray], names: set[str] | None = None) -> dict[str, Any]:
    """Tables of the methods named, or of all with stored scores, for every fill that was tried."""
    tables = {}
    for fill in trust.FILLS:
        scored = scores(arrays, fill)
        shown = {name: row for name, row in scored.items() if not name.startswith("untrained ")}
        opponents = gradcam_trust.held_against(scored, [name for name in shown if f"untrained {name}" in scored])
        measures = trials.FAITHFULNESS if fill == trials.FILL else trials.CURVES
        rows = {name: row for name, row in shown.items() if names is None or name in names}
        tables[fill] = trials.table(rows, measures, opponents)
    usual = tables.pop(trials.FILL)
    return {"methods": usual, "other_fills": {fill: {"methods": table} for fill, table in tables.items()}}


def scores(arrays: dict[str, np.ndarray], fill: str) -> dict[str, trials.Scores]:
    """Of arrays named METHOD/MEASURE, or FILL: METHOD/MEASURE where the fill is not the usual one, those of a fill by method."""
    found: dict[str, trials.Scores] = {}
    for key, values in arrays.items():
        before, _, name = key.rpartition(": ")
        method, _, measure = name.rpartition("/")
        if method and before == ("" if fill == trials.FILL else fill):
            found.setdefault(method, {})[measure] = values
    return found


def replaced(stored: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What is stored, with the tables that were found in place of its own, row for row: one that is missing or too many is seen as well."""
    fills = {fill: stored["other_fills"].get(fill, {}) | tables for fill, tables in found["other_fills"].items()}
    return stored | found | {"other_fills": fills}
