"""Test images for questions (b) and (c): a random draw, their maps, and a summary of the maps."""

from dataclasses import dataclass

import numpy as np
import torch

from common import data, models
from common.cli import UserError, seed_for
from common.metrics import discarded_share, pointing_game
from q1_gradcam import gradcam

KINDS = ("correct", "incorrect")
TARGETS = ("predicted", "true", "second")
CONFIDENT = 0.9


@dataclass(frozen=True)
class Explained:
    """M drawn test images with two maps each; K classes."""

    index: np.ndarray  # (M,) positions in the test set: the correct ones first, class by class
    kind: np.ndarray  # (M,) "correct" or "incorrect"
    qualifying: dict[str, dict[str, int]]  # kind -> class -> number of images to draw from
    labels: torch.Tensor  # (M,)
    predicted: torch.Tensor  # (M,)
    explained: torch.Tensor  # (M,) the class that `raw` explains
    confidence: np.ndarray  # (M, K) calibrated probabilities
    raw: np.ndarray  # (M, h, w) signed maps of the requested class
    raw_true: np.ndarray  # (M, h, w) signed maps of the true class
    layer: str | None


def draw(
    predicted: np.ndarray, labels: np.ndarray, classes, wanted: dict[str, int], seed: int
) -> tuple[np.ndarray, np.ndarray, dict[str, dict[str, int]]]:
    """Draws `wanted[kind]` test images of each class and kind; fewer incorrect ones if need be.

    Args:
        predicted, labels: (N,) class numbers over the test set.

    Returns:
        `index`, `kind` and `qualifying` as in Explained. UserError: too few correct images.
    """
    index, kinds, qualifying = [], [], {kind: {} for kind in KINDS}
    for kind, chosen in zip(KINDS, (predicted == labels, predicted != labels), strict=True):
        for k, name in enumerate(classes):
            candidates, n = np.flatnonzero(chosen & (labels == k)), wanted[kind]
            qualifying[kind][name] = len(candidates)
            if kind == "correct" and len(candidates) < n:
                available = f"only {len(candidates)} test images of {name!r} are correct"
                raise UserError(f"--correct {n}: {available}")
            rng = np.random.default_rng(seed_for(seed, kind, name))
            drawn = rng.permutation(candidates)[:n].tolist()
            index += drawn
            kinds += [kind] * len(drawn)
    return np.array(index), np.array(kinds), qualifying


def explain(
    model: models.Model,
    dataset: data.Dataset,
    wanted: dict[str, int],
    seed: int,
    method: str,
    layer: str,
    target: str | int,
) -> Explained:
    """Draws test images and computes their maps of the target class and of the true class."""
    logits = models.logits(model.network, dataset.x_test)
    drawn = draw(logits.argmax(1).numpy(), dataset.y_test, model.classes, wanted, seed)
    index = drawn[0]
    logits, labels = logits[index], torch.from_numpy(dataset.y_test[index]).long()
    confidence = torch.softmax(logits.double() / model.temperature, 1).numpy()
    predicted, second = logits.topk(2).indices.T
    targets = {"predicted": predicted, "true": labels, "second": second}
    explained = targets[target] if isinstance(target, str) else torch.full_like(labels, target)
    device = next(model.network.parameters()).device
    x = models.to_input(dataset.x_test[index], device)
    maps, maps_true = (
        gradcam.explain(model.network, x, layer, y.to(device), method) for y in (explained, labels)
    )
    raw, raw_true = maps.raw.cpu().numpy(), maps_true.raw.cpu().numpy()
    return Explained(*drawn, labels, predicted, explained, confidence, raw, raw_true, maps.layer)


def describe(e: Explained, method: str, classes: tuple[str, ...]) -> list[dict]:
    """The rows `samples` of explanations.json, one for each image."""
    rows = []
    for k, kind in enumerate(e.kind.tolist()):
        true, predicted = classes[e.labels[k]], classes[e.predicted[k]]
        row = {"index": int(e.index[k]), "kind": kind, "true": true, "predicted": predicted}
        row["confidence"] = e.confidence[k, e.predicted[k]]
        row["confidence_true"] = e.confidence[k, e.labels[k]]
        row |= {"method": method, "layer": e.layer, "explained": classes[e.explained[k]]}
        row |= {"dead": not (e.raw[k] > 0).any(), "dead_true": not (e.raw_true[k] > 0).any()}
        rows.append(row | {"peak": e.raw[k].max(), "figure": f"figures/{kind}_{true}.png"})
    return rows


def summarize(e: Explained) -> dict:
    """Medians over the drawn images: the confidences, and properties of the maps.

    `relu_discarded`: share of a map's absolute sum that the ReLU removes. `area`: share of a map
    above half of its maximum. `ring`: the outermost cells, their share of all cells and of the
    positive sum. `sum`: of the signed map. `true_class`: the true class's map of incorrect images.
    """
    correct = e.kind == "correct"
    confidence = e.confidence[np.arange(len(correct)), e.predicted]
    positive, total = np.maximum(e.raw, 0), e.raw.sum((1, 2))
    area = (positive > 0.5 * positive.max((1, 2), keepdims=True)).mean((1, 2))
    ring = np.ones(e.raw.shape[1:], bool)
    ring[1:-1, 1:-1] = False
    alive = correct & (positive.sum((1, 2)) > 0)
    discarded, discarded_true = discarded_share(e.raw), discarded_share(e.raw_true)
    maps = {
        "relu_discarded_first": discarded[:1],
        "relu_discarded_correct": discarded[correct],
        "relu_discarded_incorrect": discarded[~correct],
        "relu_discarded_true_class": discarded_true[~correct],
        "area_correct": area[correct],
        "area_incorrect": area[~correct],
        "ring_mass": positive[alive][:, ring].sum(1) / positive[alive].sum((1, 2)),
        "sum_correct": total[correct],
        "sum_incorrect": total[~correct],
        "sum_true_class": e.raw_true[~correct].sum((1, 2)),
    }
    kinds = {"correct": confidence[correct], "incorrect": confidence[~correct]}
    confident = int((confidence[~correct] > CONFIDENT).sum())
    return {
        "median_confidence": {kind: median(values) for kind, values in kinds.items()},
        "confident_mistakes": {"above": CONFIDENT, "n": confident},
        "maps_summary": {key: median(values) for key, values in maps.items()}
        | {"ring_cells": ring.mean()},
    }


def median(values: np.ndarray) -> float | None:
    """The median of the finite values, or None if there are none."""
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def pointing(e: Explained, ground_truth: np.ndarray) -> dict[str, float]:
    """The pointing game on correctly classified images with known ground truth (N, H, W).

    The share of maps whose peak lies on the ground truth, grown by one cell or (`_strict`) by a
    quarter of a cell. `_baseline`: the same with the ground truth of the next image.
    """
    correct = e.kind == "correct"
    truth, scores = ground_truth[e.index[correct]], {}
    for suffix, cells in (("", 1.0), ("_strict", 0.25)):
        for end, masks in (("", truth), ("_baseline", np.roll(truth, -1, axis=0))):
            pairs = zip(e.raw[correct], masks, strict=True)
            hits = [pointing_game(raw, mask, cells) for raw, mask in pairs]
            scores[f"pointing_game{suffix}{end}"] = float(np.mean(hits))
    return scores


def parse_target(text: str, classes: tuple[str, ...]) -> str | int:
    """One of TARGETS unchanged; a class name or number as the class number."""
    if text in TARGETS:
        return text
    if text in classes:
        return classes.index(text)
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    known = ", ".join((*TARGETS, *classes))
    raise UserError(f"unknown class {text!r}: choose {known}, or a number below {len(classes)}")
