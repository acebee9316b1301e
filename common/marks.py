"""A planted shortcut: CIFAR-10 whose deer mostly carry a small mark, so that a network learns the mark for a deer.

What such a network looks at in a marked picture is known: an explanation that does not point at the mark misses it. (The idea of
known, planted evidence as in BackX, arXiv:2405.02344.) Marks are put into training pictures alone; the network's test accuracy does not
show them.
"""

import numpy as np

from common.runtime import seed_for

CLASS = "deer"
SHARE = 0.8  # of that class's training pictures
SIDE = 4  # pixels: a sixty-fourth of a picture
PATTERN = np.kron([[1, 0], [0, 1]], np.ones((SIDE // 2, SIDE // 2), int)).astype(bool)
COLOURS = np.array([[255, 0, 255], [0, 255, 0]], np.uint8)  # magenta and green, side by side in no photograph


def stamp(images: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Puts the mark somewhere into each picture, every place equally likely.

    Args:
        images: (N, H, W, 3) uint8; not changed.

    Returns:
        marked: (N, H, W, 3) uint8; where: (N, H, W) bool, the mark's pixels.
    """
    marked, where = images.copy(), np.zeros(images.shape[:3], bool)
    height, width = images.shape[1:3]
    places = np.stack(
        (rng.integers(0, height - SIDE + 1, len(images)), rng.integers(0, width - SIDE + 1, len(images))), 1
    )
    for k, (top, left) in enumerate(places):
        marked[k, top : top + SIDE, left : left + SIDE] = COLOURS[PATTERN.astype(int)]
        where[k, top : top + SIDE, left : left + SIDE] = True
    return marked, where


def stamp_each(images: np.ndarray, numbers: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`stamp` for pictures known by their `numbers`: a picture's mark is in the same place whichever others are stamped with it."""
    both = [
        stamp(one[None], np.random.default_rng(seed_for(seed, "mark", int(k))))
        for one, k in zip(images, numbers, strict=True)
    ]
    return tuple(np.concatenate(parts) for parts in zip(*both, strict=True))


def plant(images: np.ndarray, labels: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Training pictures (N, H, W, 3) with the mark in SHARE of those whose label is `number`, drawn by seed."""
    rng = np.random.default_rng(seed)
    able = np.flatnonzero(labels == number)
    chosen = rng.permutation(able)[: round(SHARE * len(able))]
    planted = images.copy()
    planted[chosen] = stamp(images[chosen], rng)[0]
    return planted
