"""Memory that is used again instead of being fetched afresh."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed() -> bool:
    """Tells glibc's allocator to keep freed memory for the next use; whether it could be told (on Linux with glibc alone).

    Large arrays otherwise come from the system one by one, which clears every page first: for a network's activations, freed and asked for
    again in every batch, that costs much of the time (measured by benchmarks/lime.py). The process keeps its peak size until it ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
