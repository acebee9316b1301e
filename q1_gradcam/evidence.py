"""Whether maps point at evidence that is known, as in the built-in pictures."""

import numpy as np
from torch import Tensor

from common.metrics import pointing_game


def share_found(raw: Tensor, evidence: np.ndarray) -> dict[str, float]:
    """Share of maps (N, h, w) whose peak lies on the evidence (N, H, W), grown by a cell (`peak_on_evidence`) and as it is
    (`peak_in_evidence_cell`), each beside its control: the same maps judged by the evidence of the next picture."""
    found = {}
    for key, cells in (("peak_on_evidence", 1.0), ("peak_in_evidence_cell", 0.25)):
        for suffix, judges in (("", evidence), ("_control", np.roll(evidence, -1, axis=0))):
            hits = [
                pointing_game(one, judge, cells)
                for one, judge in zip(raw.numpy(), judges, strict=True)
            ]
            found[key + suffix] = float(np.mean(hits))
    return found
