"""Do maps point at the ground truth, where it is known? Built-in shapes and a planted mark."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from common import cli, data, metrics, models, synthetic
from common.statistics import mean_interval

import numpy as np

from evaluation import scoring
from evaluation.experiments import OUT, Setup
from evaluation.explainers import EXPLAINERS, Batch, enlarge, lime_explanations, methods
from evaluation.scoring import Trial
from q2_lime.images import SMALL_IMAGE_SETTINGS

TOLERANCE = 4  # pixels: one cell of the compact network's last map
TOLERANCES = [0, 2, 4, 6, 8]


def pointing(trial: Trial, ground_truth: np.ndarray) -> dict[str, Any]:
    """How well every explainer finds the ground truth (N, H, W)."""

    def score(maps: np.ndarray, batch: Batch) -> scoring.Scores:
        masks = ground_truth[: len(batch)]
        return {
            "pointing_game": hit(maps, masks, TOLERANCE),
            "relevance_mass": metrics.relevance_mass(maps, masks),
            "average_precision": metrics.average_precision(maps, masks),
        }

    larger_is_better = dict.fromkeys(("pointing_game", "relevance_mass", "average_precision"), True)
    rows, _ = scoring.table(trial, EXPLAINERS, score, larger_is_better)
    return {"n": len(trial.batch), "layer": trial.layer, "methods": rows}


def hit(maps: np.ndarray, masks: np.ndarray, tolerance: float) -> np.ndarray:
    """Pointing game (N,) of maps (N, h, w), enlarged, with a tolerance in pixels."""
    pairs = zip(enlarge(maps), masks[: len(maps)], strict=True)
    return np.array([metrics.pointing_game(*pair, tolerance) for pair in pairs])


def shapes(setup: Setup, n: int) -> dict[str, Any]:
    """Built-in images that are classified correctly: the pixels of the shape are known."""
    (setup, hashes), known = setup.load("shapes"), data.load("shapes")
    correct = np.flatnonzero(setup.predict(known.x_test).argmax(1) == known.y_test)
    index = correct[scoring.draw(len(correct), n, setup.seed, "shapes")]
    keys = [f"shapes {k}" for k in index]
    batch = Batch(known.x_test[index], known.y_test[index].astype(int), keys)
    return pointing(setup.trial(batch, "shapes"), known.ground_truth_test[index]) | {
        "accuracy": len(correct) / len(known.y_test),
        "hashes": hashes | {"shapes_sha256": known.sha256},
    }


def shortcut(setup: Setup, n: int) -> dict[str, Any]:
    """Networks that rely on a planted mark, beside a twin trained without marks.

    Scores every method at the last stage, CAM methods at every stage, also for further trainings
    (folders marked-1, marked-2, ...), and LIME on other segments.
    """
    dataset, (twin, hashes) = setup.dataset, setup.load("unmarked")
    number = dataset.classes.index(synthetic.MARKED_CLASS)
    able = np.flatnonzero(dataset.y_test != number)
    index = able[scoring.draw(len(able), n, setup.seed, "marked pictures")]
    images, where = synthetic.stamp_each(dataset.x_test[index], index, setup.seed)

    def accuracies(setup: Setup) -> dict[str, float]:
        return {
            "accuracy": (setup.predict(dataset.x_test).argmax(1) == dataset.y_test).mean(),
            "predicts_class_marked": (setup.predict(images).argmax(1) == number).mean(),
        }

    content: dict[str, Any] = {"networks": {"unmarked": accuracies(twin)}}
    means: dict[str, dict[str, list]] = {layer: {} for layer in models.STAGES[twin.model.arch]}
    more = {
        path.parent.name for out in (setup.out, OUT) for path in out.glob("marked-[0-9]/model.pt")
    }
    for name in ("marked", *sorted(more)):
        marked, new = setup.load(name)
        fooled = marked.predict(images).argmax(1) == number
        if fooled.sum() < 2:
            advice = "use more images, or train it as docs/evaluation.md says"
            raise cli.UserError(f"the network {name} rarely predicts the mark's class: {advice}")
        hashes |= new
        content["networks"][name] = accuracies(marked)
        keys = [f"shortcut {k}" for k in index[fooled]]
        batch, masks = Batch(images[fooled], np.full(fooled.sum(), number), keys), where[fooled]
        stages = {
            layer: Trial(marked.model, batch, layer, setup.seed, "shortcut", twin.model.network)
            for layer in means
        }
        if name == "marked":
            last = stages[marked.model.layer]
            content |= pointing(last, masks)
            content["stages"] = {
                layer: tolerance_curves(trial, methods("layer"), masks)
                for layer, trial in stages.items()
            }
            content["tolerance"] = tolerance_curves(last, EXPLAINERS, masks)
            content["places"] = by_place(last, EXPLAINERS, masks)
            if "lime" in EXPLAINERS:
                content["lime_segments"] = lime_on_other_segments(last, masks)
        for layer, trial in stages.items():
            for key in methods("layer"):
                found = hit(trial.maps(key), masks, TOLERANCE).mean()
                means[layer].setdefault(key, []).append(found)
    return content | {
        "trainings": {
            layer: {key: EXPLAINERS[key].labels | {"means": row} for key, row in rows.items()}
            for layer, rows in means.items()
        },
        "class": synthetic.MARKED_CLASS,
        "share_of_class_marked": synthetic.MARKED_SHARE,
        "mark_share_of_area": where.mean(),
        "hashes": hashes,
    }


def tolerance_curves(trial: Trial, keys: Iterable[str], masks: np.ndarray) -> dict[str, Any]:
    """The pointing game at every tolerance of TOLERANCES, of the network and of its twin."""
    rows = {}
    for key in keys:
        maps = {"network": trial.maps(key)}
        if EXPLAINERS[key].kind != "baseline":
            maps["twin"] = trial.maps(key, untrained=True)
        curves = {which: curve(found, masks) for which, found in maps.items()}
        rows[key] = EXPLAINERS[key].labels | curves
    return {"pixels": TOLERANCES, "grid": list(trial.maps("gradcam").shape[1:]), "methods": rows}


def curve(maps: np.ndarray, masks: np.ndarray) -> list[float]:
    """The pointing game at every tolerance of TOLERANCES."""
    return [hit(maps, masks, tolerance).mean() for tolerance in TOLERANCES]


def by_place(trial: Trial, keys: Iterable[str], masks: np.ndarray) -> dict[str, Any]:
    """The pointing game for marks at the border (less than TOLERANCE from an edge), and inside."""
    edge, rows = TOLERANCE, {}
    inside = masks[:, edge:-edge, edge:-edge].sum((1, 2)) == masks.sum((1, 2))
    for key in keys:
        scores = hit(trial.maps(key), masks, TOLERANCE)
        chosen = inside[: len(scores)]
        groups = {"border": scores[~chosen], "inside": scores[chosen]}
        rows[key] = {place: mean_interval(group) for place, group in groups.items()}
    return {"n": {"border": (~inside).sum(), "inside": inside.sum()}, "methods": rows}


def lime_on_other_segments(trial: Trial, masks: np.ndarray) -> dict[str, Any]:
    """LIME with its default segments, which have the size of the mark, and with others."""
    few = EXPLAINERS["lime"].select(trial.batch, "shortcut")
    n = SMALL_IMAGE_SETTINGS.n_segments  # on each side of a grid
    rows = {f"{n} x {n}": {"pointing_game": curve(trial.maps("lime"), masks)}}
    for name, segmentation, n in (("5 x 5", "grid", 5), ("SLIC", "slic", 40)):
        chosen = replace(SMALL_IMAGE_SETTINGS, segmentation=segmentation, n_segments=n)
        maps, _ = lime_explanations(trial.model, few, trial.seed, chosen)
        rows[name] = {"pointing_game": curve(maps, masks)}
    return {"n": len(few), "pixels": TOLERANCES, "segments": rows}
