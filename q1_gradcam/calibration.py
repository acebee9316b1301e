"""Calibration of confidences: temperature, reliability diagram, expected calibration error."""

from common.results import without_nan

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import binned_statistic


def fit_temperature(logits: torch.Tensor, labels: np.ndarray) -> float:
    """The T in 1/4 to 4 that minimizes the cross-entropy of softmax(logits / T).

    Temperature scaling (Guo et al., arXiv:1706.04599, section 4.2). The bounds matter if the
    network makes no mistakes on the held-out images, for example.
    """
    logits, labels = logits.double(), torch.from_numpy(labels).long()
    candidates = torch.logspace(-0.6, 0.6, 241, dtype=torch.float64)
    losses = torch.stack([F.cross_entropy(logits / t, labels) for t in candidates])
    return candidates[losses.argmin()].item()


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> dict[str, list]:
    """The reliability diagram (Guo et al., section 2): accuracy in equal-width bins of confidence.

    `confidence` (N,) is the probability of the predicted class, `correct` is (N,) bool. Returns
    lists of length `bins`: `count`, and the means `confidence` and `accuracy` (None in empty bins).
    """
    count = np.histogram(confidence, bins, (0, 1))[0]
    means = binned_statistic(confidence, [confidence, correct], "mean", bins, (0, 1)).statistic
    diagram = dict(zip(("count", "confidence", "accuracy"), (count, *means), strict=True))
    return without_nan(diagram)


def expected_calibration_error(diagram: dict[str, list]) -> float:
    """Mean |accuracy - confidence| over the bins of a reliability diagram, weighted by count.

    Range 0 to 1, lower is better (Guo et al., equation 3).
    """
    rows = zip(diagram["count"], diagram["confidence"], diagram["accuracy"], strict=True)
    return sum(n * abs(a - c) for n, c, a in rows if n) / sum(diagram["count"])
