"""Whether a map points at evidence that is known, as in the built-in pictures."""

import numpy as np
from torch import Tensor


def peak_on_evidence(raw: Tensor, evidence: np.ndarray, cells: float = 1.0) -> bool:
    """Whether the centre of a map's highest cell lies in the evidence, grown by so many `cells` of the map each way (the
    pointing game of Zhang et al., arXiv:1608.00507, its tolerance given in cells).

    Args:
        raw: (h, w) signed map; evidence: (H, W) bool.
    """
    (h, w), (height, width) = raw.shape, evidence.shape
    row, column = divmod(int(raw.argmax()), w)
    y, x = (row + 0.5) * height / h, (column + 0.5) * width / w
    rows, columns = evidence.nonzero()
    near = (abs(rows + 0.5 - y) <= cells * height / h + 0.5) & (abs(columns + 0.5 - x) <= cells * width / w + 0.5)
    return bool(near.any())


def share_found(raw: Tensor, evidence: np.ndarray) -> dict[str, float]:
    """Share of maps (N, h, w) whose peak lies on the evidence (N, H, W), grown by a cell (`peak_on_evidence`) and as it is
    (`peak_in_evidence_cell`), each beside its control: the same maps judged by the evidence of the next picture."""
    found = {}
    for key, cells in (("peak_on_evidence", 1.0), ("peak_in_evidence_cell", 0.25)):
        for suffix, judges in (("", evidence), ("_control", np.roll(evidence, -1, axis=0))):
            hits = [peak_on_evidence(one, judge, cells) for one, judge in zip(raw, judges, strict=True)]
            found[key + suffix] = float(np.mean(hits))
    return found
