"""How far the confidences can be believed: temperature, reliability, expected calibration error."""

import numpy as np
import torch
import torch.nn.functional as F


def fit_temperature(logits: torch.Tensor, labels: np.ndarray) -> float:
    """The T between 1/4 and 4 for which softmax(logits / T) has the least cross-entropy (Guo et al., arXiv:1706.04599, section
    4.2). The bounds matter only where the network makes no mistake on the held-out pictures."""
    logits, labels = logits.double(), torch.from_numpy(labels).long()
    candidates = torch.logspace(-0.6, 0.6, 241, dtype=torch.float64)
    losses = torch.stack([F.cross_entropy(logits / t, labels) for t in candidates])
    return candidates[losses.argmin()].item()


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> dict[str, list]:
    """The reliability diagram (Guo et al., arXiv:1706.04599, section 2): pictures sorted into equal bins of confidence.

    Args:
        confidence: (N,) in 0 to 1, of the predicted class.
        correct: (N,) bool.

    Returns:
        lists of length `bins`: lower edges `low`, `count`, mean `confidence` and `accuracy` (None where a bin is empty).
    """
    edges = np.linspace(0, 1, bins + 1)
    which = np.clip(np.digitize(confidence, edges) - 1, 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    mean = [
        np.bincount(which, weights=w, minlength=bins) / np.maximum(count, 1)
        for w in (confidence, correct)
    ]
    mean = [[float(m) if n else None for m, n in zip(part, count, strict=True)] for part in mean]
    return {
        "low": edges[:-1].tolist(),
        "count": count.tolist(),
        "confidence": mean[0],
        "accuracy": mean[1],
    }


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = 15
) -> float:
    """Mean over pictures of |accuracy - confidence| of their bin (arXiv:1706.04599, eq. 3); 0 is best, 1 the worst."""
    diagram = reliability(confidence, correct, bins)
    rows = zip(diagram["count"], diagram["confidence"], diagram["accuracy"], strict=True)
    return sum(n * abs(a - c) for n, c, a in rows if n) / len(confidence)
