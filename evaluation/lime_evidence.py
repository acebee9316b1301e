"""Pictures whose evidence is known: does the weight of an explanation fall on it?"""

import numpy as np

ON = 0.25  # of the smaller of region and evidence: from here on they are said to lie on each other


def of(labels: np.ndarray, weights: np.ndarray, evidence: np.ndarray) -> dict[str, float]:
    """One explanation against the mask of the evidence.

    Args:
        labels: (H, W) regions; weights: (d,) for the class; evidence: (H, W) bool.

    Returns:
        weight: share of the positive weight that falls on the evidence, a region's weight spread evenly over its pixels; weight_control: the
        evidence's share of the area, what even weights would reach. leading: 1 where the leading positive region lies on the evidence;
        leading_control: the share of all regions that do.
    """
    sizes = np.bincount(labels.ravel(), minlength=len(weights))
    inside = np.bincount(
        labels.ravel(), weights=evidence.ravel().astype(float), minlength=len(weights)
    )
    positive = np.maximum(weights, 0)
    on = inside >= ON * np.minimum(sizes, evidence.sum())
    return {
        "weight": float(positive @ (inside / sizes) / max(positive.sum(), 1e-300)),
        "weight_control": float(evidence.mean()),
        "leading": float(on[weights.argmax()]),
        "leading_control": float(on.mean()),
    }


def summary(found: list[dict[str, float]]) -> dict[str, float]:
    """Means over pictures, under the names of the results file."""
    names = {"weight": "weight_on_evidence", "leading": "leading_on_evidence"}
    return {
        f"{long}{control}": float(np.mean([row[f"{short}{control}"] for row in found]))
        for short, long in names.items()
        for control in ("", "_control")
    }
