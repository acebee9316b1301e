"""Grad-CAM of correct and wrong predictions, and of two networks."""

from dataclasses import replace
from typing import Any

from common import cli, metrics, results
from common.statistics import compare_paired, crossed_interval, mean_interval

import numpy as np

from evaluation import scoring
from evaluation.experiments import Setup
from evaluation.explainers import EXPLAINERS, Batch, enlarge
from evaluation.scoring import FILL

# Measures that might separate wrong predictions from correct ones: 1 if larger means wrong.
SEPARATING = {
    "confidence": -1,
    "faithfulness": 1,
    "gini": 1,
    "discarded_share": 1,
    "rank_correlation_runner_up": 1,
}


def mistakes(setup: Setup, n: int) -> dict[str, Any]:
    """Grad-CAM of correct and wrong predictions, and how well measures separate the two.

    The areas grow with the confidence, so faithfulness is given as a share of it.
    """
    dataset, predict, groups = setup.dataset, setup.predict, {}
    probabilities = predict(dataset.x_test)
    ranking = np.argsort(-probabilities, axis=1)
    correct = probabilities.argmax(1) == dataset.y_test
    for name, mask in (("correct", correct), ("incorrect", ~correct)):
        able = np.flatnonzero(mask)
        if len(able) < 2:
            raise cli.UserError(f"mistakes needs two {name} test predictions, not {len(able)}")
        index = able[scoring.draw(len(able), n, setup.seed, name)]
        batch = Batch(dataset.x_test[index], probabilities[index].argmax(1), index.tolist())
        maps, confidence = gradcam(setup, batch), probabilities[index, batch.targets]
        scores = scoring.areas(predict, FILL, setup.seed, enlarge(maps), batch)
        runner_up = gradcam(setup, replace(batch, targets=ranking[index, 1]))
        area = scores["insertion_auc"] - scores["deletion_auc"]
        groups[name] = {
            "confidence": confidence,
            "faithfulness": area / confidence,
            "gini": metrics.gini(np.maximum(maps, 0)),
            "discarded_share": metrics.discarded_share(maps),
            "rank_correlation_runner_up": metrics.rank_correlation(maps, runner_up),
        }
    true_class = similarity(maps, gradcam(setup, replace(batch, targets=dataset.y_test[index])))
    return {
        "n": {name: len(group["gini"]) for name, group in groups.items()},
        "true_class": true_class,
        "separation": {
            key: auroc(sign * groups["incorrect"][key], sign * groups["correct"][key])
            for key, sign in SEPARATING.items()
        },
    }


def auroc(positives: np.ndarray, negatives: np.ndarray) -> dict[str, Any]:
    """Area under the ROC curve, as the share of pairs in which the positive's value is larger; ties
    count one half. Its variance over both is that of DeLong et al. (Biometrics, 1988)."""
    return crossed_interval(np.heaviside(positives[:, None] - negatives, 0.5))


def networks(setup: Setup, n: int) -> dict[str, Any]:
    """Grad-CAM of this network and of ResNet-18, enlarged, for the same class, on images that both
    classify correctly."""
    dataset = setup.dataset
    other, hashes = setup.load("resnet18", results.OUTPUTS / "q1_gradcam")
    if other.model.arch == setup.model.arch:
        raise cli.UserError("networks compares another network with ResNet-18: choose its --model")
    predicted = [s.predict(dataset.x_test).argmax(1) for s in (setup, other)]
    both = np.flatnonzero((np.array(predicted) == dataset.y_test).all(0))
    index = both[scoring.draw(len(both), n, setup.seed, "networks")]
    batch = Batch(dataset.x_test[index], predicted[0][index], index.tolist())
    maps = [enlarge(gradcam(s, batch)) for s in (setup, other)]
    return {"n": len(index), "maps": similarity(*maps), "hashes": hashes}


def gradcam(setup: Setup, batch: Batch) -> np.ndarray:
    return EXPLAINERS["gradcam"].maps(setup.model, batch, setup.model.layer, setup.seed)


def similarity(maps: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """Rank correlation of two maps (N, h, w) of each image, and as a baseline that of the first map
    with the second one of another image."""
    same = metrics.rank_correlation(maps, others)
    other = metrics.rank_correlation(maps, np.roll(others, 1, axis=0))
    return {
        "n": len(maps),
        "same_image": {"rank_correlation": mean_interval(same)},
        "other_image": {"rank_correlation": mean_interval(other)},
        "same_against_other": {"rank_correlation": compare_paired(same, other, True)},
    }
