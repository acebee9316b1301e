"""What can be made again of one receipt."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Work:
    """What can be made again of one receipt, to be compared with what is stored.

    Attributes:
        made_from: hashes of what it is made from now, under the receipt's names.
        files: by results file, what it should say besides `samples` and `provenance`, given what it says.
        n: how many explanations there are in explanations.json, drawn again by seed.
        sample: of 0 to n - 1, what results say of that explanation and its arrays, by their names in explanations.npz, or (name, row) where
            one array there holds them all.
        slow: those of `files` that are left out where a sample is asked for.
        loose: how far numbers in `files` may be off elsewhere.
        rest: what is not made again, in words.
    """

    made_from: dict[str, str]
    files: dict[str, Callable[[dict[str, Any]], dict[str, Any]]]
    n: int = 0
    sample: Callable[[int], tuple[dict[str, Any], dict[Any, np.ndarray]]] | None = None
    slow: tuple[str, ...] = field(default=())
    loose: float = TOLERANCE
    rest: str = ""
