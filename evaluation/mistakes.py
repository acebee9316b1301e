"""Do maps of wrong predictions differ from those of right ones?"""

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from common import cli, metrics, statistics
from evaluation import explainers, randomization, scoring


def mistakes(model, dataset, n, seed, out, device):
    """Grad-CAM of right against wrong predictions, and how well each number tells the two apart; confidence against faithfulness.

    A curve's area cannot exceed the confidence, so the faithfulness is given as a share of it."""
    predict = metrics.predictor(model.network, model.temperature)
    probabilities = predict(dataset.x_test)
    right = probabilities.argmax(1) == dataset.y_test
    groups, second = {}, np.argsort(-probabilities, axis=1)[:, 1]
    for name, able in (("correct", np.flatnonzero(right)), ("incorrect", np.flatnonzero(~right))):
        if len(able) < 2:
            raise cli.UserError(
                f"this network has {len(able)} {name} test predictions, too few to compare: name other parts than mistakes"
            )
        index = able[scoring.drawn(len(able), n, seed, name)]
        images, target = dataset.x_test[index], probabilities[index].argmax(1)
        raw = explainers.raw_maps(model.network, images, "gradcam", model.layer, target)
        scores, _ = scoring.faithfulness(
            predict, images, target, explainers.enlarge(raw), scoring.FILL, seed
        )
        groups[name] = scores | {
            "confidence": probabilities[index, target],
            "faithfulness": (scores["insertion"] - scores["deletion"])
            / probabilities[index, target],
            "gini": metrics.gini(np.maximum(raw, 0)),
            "discarded": metrics.discarded_share(raw),
            "likeness_to_runner_up": metrics.rank_correlation(
                raw,
                explainers.raw_maps(model.network, images, "gradcam", model.layer, second[index]),
            ),
        }
    against_truth = two_classes(
        model, images, raw, dataset.y_test[index]
    )  # of the wrong predictions, which came last
    keys = groups["correct"].keys()
    content = {
        "n": {name: len(group["gini"]) for name, group in groups.items()},
        "fill": scoring.FILL,
        "layer": model.layer,
    }
    content |= {
        name: {key: statistics.mean_interval(values) for key, values in group.items()}
        for name, group in groups.items()
    }
    content["difference"] = {
        key: statistics.compare_independent(groups["incorrect"][key], groups["correct"][key])
        for key in keys
    }
    wrong = np.repeat((0, 1), [len(groups[name]["gini"]) for name in ("correct", "incorrect")])
    content["tells_mistakes"] = {  # 0.5: not at all; 0 or 1: perfectly
        key: roc_auc_score(
            wrong,
            np.nan_to_num(np.concatenate([groups[name][key] for name in ("correct", "incorrect")])),
        )
        for key in keys
    }
    content["confidence_against_faithfulness"] = {
        name: spearmanr(group["confidence"], group["faithfulness"]).statistic
        for name, group in groups.items()
    }
    points = {name: [group["confidence"], group["faithfulness"]] for name, group in groups.items()}
    return content | {"against_truth": against_truth, "points": points}


def two_classes(model, images, raw, truth) -> dict:
    """How far the maps (N, h, w) of wrong predictions are from those of the true classes (N,): rank correlation, likeness as shown, cells between the
    peaks; each beside the same with the true class's map of the next picture."""
    other = explainers.raw_maps(model.network, images, "gradcam", model.layer, truth)

    found = {}
    for name, theirs in (("same picture", other), ("another picture", np.roll(other, 1, axis=0))):
        alike = randomization.alike(raw, theirs, explainers.enlarge)
        found[name] = {
            "rank_correlation": alike["rank"],
            "likeness": alike["ssim"],
            "cells_apart": cells_apart(raw, theirs),
        }
    larger = {"rank_correlation": True, "likeness": True, "cells_apart": False}
    rows = {
        name: {key: statistics.mean_interval(values) for key, values in row.items()}
        for name, row in found.items()
    }
    return (
        {"n": len(raw)}
        | rows
        | {
            "same_against_another": {
                key: statistics.compare_paired(
                    found["same picture"][key], found["another picture"][key], better
                )
                for key, better in larger.items()
            }
        }
    )


def cells_apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many cells lie between the peaks of maps a and b (N, h, w), in a straight line: (N,), 0 the same cell."""
    peaks = [
        np.stack(np.unravel_index(maps.reshape(len(maps), -1).argmax(1), maps.shape[1:]))
        for maps in (a, b)
    ]
    return np.sqrt(((peaks[0] - peaks[1]) ** 2).sum(0))
