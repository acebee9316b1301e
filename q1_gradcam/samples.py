"""Test images for questions (b) and (c): a random draw, their maps, and a summary of the maps."""

from dataclasses import dataclass

from common import data, models
from common.cli import file_name
from common.metrics import discarded_share, pointing_game

import numpy as np
import torch

from q1_gradcam import gradcam

KINDS = ("correct", "incorrect")
TARGETS = ("predicted", "second", "true")
CONFIDENT = 0.9


@dataclass(frozen=True)
class ExplainedSamples:
    """M test images with two maps each; K classes."""

    index: np.ndarray  # (M,) positions in the test set: correct images first, class by class
    labels: np.ndarray  # (M,)
    predicted: np.ndarray  # (M,)
    target: np.ndarray  # (M,) the class that `raw` explains
    confidence: np.ndarray  # (M, K) calibrated probabilities
    raw: np.ndarray  # (M, h, w) signed maps of the target
    raw_true: np.ndarray  # (M, h, w) signed maps of the true class
    layer: str | None

    @property
    def correct(self) -> np.ndarray:
        """(M,) bool: whether the prediction is correct."""
        return self.predicted == self.labels


def draw(
    predicted: np.ndarray, labels: np.ndarray, classes, wanted: dict[str, int], seed: int
) -> tuple[np.ndarray, dict[str, dict[str, int]]]:
    """Draws `wanted[kind]` images of each kind and class, or all if fewer qualify.

    Returns the positions of the images in `predicted` and `labels` (N,), and the number that
    qualify: kind -> class -> number.
    """
    index, qualifying = [], {}
    for kind, chosen in zip(KINDS, (predicted == labels, predicted != labels), strict=True):
        kept = np.where(chosen, labels, len(classes))
        qualifying[kind] = {name: int((kept == k).sum()) for k, name in enumerate(classes)}
        index += data.draw(kept, classes, wanted[kind], seed, kind)
    return np.array(index), qualifying


def target_class(logits: torch.Tensor, labels, target: str, classes) -> torch.Tensor:
    """The class to explain (M,), from logits (M, K): `target` is one of TARGETS or of `classes`."""
    predicted, second = logits.topk(2).indices.T
    if target in classes:
        return torch.full_like(predicted, classes.index(target))
    return {"predicted": predicted, "second": second, "true": labels}[target]


def explain(
    model: models.Model, dataset: data.Dataset, index, logits, method: str, layer, target: str
) -> ExplainedSamples:
    """Explains the test images at `index` (M,), which have these `logits` (M, K)."""
    labels = torch.from_numpy(dataset.y_test[index]).long()
    explained = target_class(logits, labels, target, model.classes)
    confidence = torch.softmax(logits.double() / model.temperature, 1).numpy()
    x = models.to_input(dataset.x_test[index], next(model.network.parameters()).device)
    network = gradcam.prepare(model.network, x, layer)
    maps, maps_true = (gradcam.explain(network, x, layer, y, method) for y in (explained, labels))
    classes = (labels.numpy(), logits.argmax(1).numpy(), explained.numpy())
    raw, raw_true = maps.raw.cpu().numpy(), maps_true.raw.cpu().numpy()
    return ExplainedSamples(index, *classes, confidence, raw, raw_true, maps.layer)


def describe(e: ExplainedSamples, classes: tuple[str, ...]) -> list[dict]:
    """The rows `samples` of explanations.json, one for each image."""
    rows = []
    for k, index in enumerate(e.index):
        kind, true = KINDS[0 if e.correct[k] else 1], classes[e.labels[k]]
        row = {"index": index, "kind": kind, "true": true, "predicted": classes[e.predicted[k]]}
        row["confidence"] = e.confidence[k, e.predicted[k]]
        row["confidence_true"] = e.confidence[k, e.labels[k]]
        row |= {"layer": e.layer, "explained": classes[e.target[k]]}
        row |= {"dead": not (e.raw[k] > 0).any(), "dead_true": not (e.raw_true[k] > 0).any()}
        rows.append(row | {"figure": f"figures/{kind}_{file_name(true)}.png"})
    return rows


def summarize(e: ExplainedSamples) -> dict:
    """Medians over the images: confidence, and properties of the maps.

    `relu_discarded`: share of a map's absolute sum that the ReLU removes. `area`: share of the
    cells above half of the maximum. `ring`: the outermost cells, as a share of all cells and of the
    positive sum. `sum`: of the signed map. `true_class`: the maps of the true class, for incorrect
    images.
    """
    correct = e.correct
    confidence = e.confidence[np.arange(len(correct)), e.predicted]
    positive, total = np.maximum(e.raw, 0), e.raw.sum((1, 2))
    area = (positive > 0.5 * positive.max((1, 2), keepdims=True)).mean((1, 2))
    ring = np.ones(e.raw.shape[1:], bool)
    ring[1:-1, 1:-1] = False
    alive = correct & (positive.sum((1, 2)) > 0)
    discarded, discarded_true = discarded_share(e.raw), discarded_share(e.raw_true)
    maps = {
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
    medians = {key: median(values) for key, values in maps.items()}
    return {
        "median_confidence": {kind: median(values) for kind, values in kinds.items()},
        "confident_mistakes": {"above": CONFIDENT, "n": (kinds["incorrect"] > CONFIDENT).sum()},
        "maps_summary": medians | {"ring_cells": ring.mean()},
    }


def median(values: np.ndarray) -> float | None:
    """The median of the finite values, or None if there are none."""
    values = values[np.isfinite(values)]
    return np.median(values) if len(values) else None


def pointing(e: ExplainedSamples, ground_truth: np.ndarray) -> dict[str, float]:
    """The pointing game on correctly classified images with known ground truth (N, H, W).

    This is the share of maps whose peak lies on the ground truth, dilated by one cell or, in
    `_strict`, by a quarter of a cell. `_baseline` uses the ground truth of the next image.
    """
    maps, truth = e.raw[e.correct], ground_truth[e.index[e.correct]]
    scores = {}
    for key, cells in (("pointing_game", 1.0), ("pointing_game_strict", 0.25)):
        for suffix, masks in (("", truth), ("_baseline", np.roll(truth, -1, axis=0))):
            hits = [pointing_game(*pair, cells) for pair in zip(maps, masks, strict=True)]
            scores[key + suffix] = np.mean(hits)
    return scores
