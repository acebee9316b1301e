"""Do maps point at the ground truth, where it is known? Built-in shapes and a planted mark."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from common import cli, data, synthetic
from evaluation import figures, scoring
from evaluation.experiments import Setup
from evaluation.explainers import EXPLAINERS, Batch, methods
from evaluation.scoring import GROUND_TRUTH, Trial


def pointing(trial: Trial, ground_truth: np.ndarray, classes, path: Path) -> dict[str, Any]:
    """How well every explainer finds the ground truth (N, H, W); draws the first images."""
    score = partial(scoring.on_ground_truth, ground_truth)
    rows, _ = scoring.table(trial, EXPLAINERS, score, GROUND_TRUTH)
    figures.examples(trial, ground_truth, classes, path)
    content = {"n": len(trial.batch), "layer": trial.layer, "larger_is_better": GROUND_TRUTH}
    return content | {"methods": rows}


def extreme(rows: dict[str, Any], best: Callable, *kinds: str) -> dict[str, Any]:
    """The method of the given kinds with the smallest or largest pointing game score."""
    scores = {key: rows[key]["pointing_game"]["mean"] for key in methods(*kinds)}
    key = best(scores, key=scores.get)
    return {"method": key, "name": rows[key]["name"], "mean": scores[key]}


def shapes(setup: Setup, n: int) -> dict[str, Any]:
    """Built-in images that are classified correctly: the pixels of the shape are known."""
    (setup, hashes), known = setup.load("shapes"), data.load("shapes")
    correct = np.flatnonzero(setup.predict(known.x_test).argmax(1) == known.y_test)
    index = correct[scoring.draw(len(correct), n, setup.seed, "shapes")]
    keys = [f"shapes {k}" for k in index]
    batch = Batch(known.x_test[index], known.y_test[index].astype(int), keys)
    truth = known.ground_truth_test[index]
    content = pointing(setup.trial(batch, "shapes"), truth, known.classes, setup.out / "shapes.png")
    return content | {
        "accuracy": len(correct) / len(known.y_test),
        "ground_truth_share_of_area": truth.mean(),
        "summary": {"lowest_pointing_game": extreme(content["methods"], min, "layer", "pixels")},
        "hashes": hashes | {"shapes_sha256": known.sha256},
    }


def shortcut(setup: Setup, n: int) -> dict[str, Any]:
    """A network that relies on a planted mark, beside its twin trained without marks."""
    dataset, rows = setup.dataset, {}
    (marked, hashes), (twin, twin_hashes) = setup.load("marked"), setup.load("unmarked")
    number = dataset.classes.index(synthetic.MARKED_CLASS)
    able = np.flatnonzero(dataset.y_test != number)
    index = able[scoring.draw(len(able), n, setup.seed, "marked pictures")]
    images, where = synthetic.stamp_each(dataset.x_test[index], index, setup.seed)
    for name, predict in (("unmarked", twin.predict), ("marked", marked.predict)):
        clean, fooled = predict(dataset.x_test).argmax(1), predict(images).argmax(1) == number
        correct = clean == dataset.y_test
        rows[name] = {
            "accuracy": correct.mean(),
            "accuracy_of_class": correct[dataset.y_test == number].mean(),
            "predicts_class_unmarked": (clean[index] == number).mean(),
            "predicts_class_marked": fooled.mean(),
        }
    if fooled.sum() < 2:
        raise cli.UserError("the marked network did not learn the mark: train it as in README")
    keys = [f"shortcut {k}" for k in index[fooled]]
    batch = Batch(images[fooled], np.full(fooled.sum(), number), keys)
    trial = marked.trial(batch, "shortcut", untrained=lambda _: twin.model.network)
    content = pointing(trial, where[fooled], dataset.classes, setup.out / "shortcut.png")
    found = content["methods"]["gradcam"]["pointing_game"]
    return content | {
        "class": synthetic.MARKED_CLASS,
        "share_of_class_marked": synthetic.MARKED_SHARE,
        "mark_share_of_area": where.mean(),
        "networks": rows,
        "n_marked": len(index),
        "untrained_means": "the twin trained without marks, for the same class",
        "summary": {
            "highest_pointing_game": extreme(content["methods"], max),
            "gradcam_misses": 1 - found["mean"],
            "gradcam_of_twin": found["mean"] - found["against"]["untrained"]["difference"]["mean"],
        },
        "hashes": hashes | twin_hashes,
    }
