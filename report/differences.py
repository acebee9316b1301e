"""How far two results are apart."""

from collections.abc import Iterator
from typing import Any

import numpy as np

# A number smaller than this is not asked to agree to more places than one of this size; nor a count.
FLOOR, COUNT = 0.1, 1000
MEASURED = ("seconds",)  # how long something took is never the same twice


def differences(found: Any, stored: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """What differs between two values as results files have them: where and what, and how much.

    How much is, for numbers, the difference as a share of the larger one, or of FLOOR (COUNT, if both are whole) if both are smaller;
    for everything else infinite.
    """
    if isinstance(found, dict) and isinstance(stored, dict):
        for key in {**stored, **found}:
            if key not in MEASURED:
                yield from differences(found.get(key), stored.get(key), f"{where} {key}".strip())
    elif isinstance(found, list) and isinstance(stored, list) and len(found) == len(stored):
        for k, (a, b) in enumerate(zip(found, stored, strict=True)):
            yield from differences(a, b, f"{where} {k + 1}")
    elif found != stored or isinstance(found, bool) != isinstance(stored, bool):
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (found, stored))
        least = COUNT if isinstance(found, int) and isinstance(stored, int) else FLOOR
        size = abs(found - stored) / max(abs(found), abs(stored), least) if numbers else float("inf")
        yield f"{where} {stored!r}, now {found!r}", size


def of_arrays(found: np.ndarray, stored: np.ndarray | None, name: str) -> Iterator[tuple[str, float]]:
    """The same for an array: the largest difference as a share of the largest stored value; infinite for other shapes, and for
    whole numbers, which are labels."""
    if stored is None or found.shape != stored.shape:
        yield f"{name} is missing or of another shape", float("inf")
    elif not np.array_equal(found, stored):
        if not (np.issubdtype(found.dtype, np.floating) and np.issubdtype(stored.dtype, np.floating)):
            yield f"{name} differs in {np.mean(found != stored):.1%} of its places", float("inf")
            return
        size = float(np.abs(found - stored).max() / max(np.abs(stored).max(), np.finfo(np.float32).tiny))
        yield f"another {name}", size if np.isfinite(size) else float("inf")


def in_words(differ: list[tuple[str, float]], most: int = 3) -> str:
    """The first differences, each with its size where that is a number, and how many more there are."""
    said = [f"{text} (off by {size:.0e})" if np.isfinite(size) else text for text, size in differ[:most]]
    return "; ".join(said + ([f"and {len(differ) - most} more"] if len(differ) > most else []))
