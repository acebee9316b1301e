"""A built-in data set whose evidence is known: ten shapes, each somewhere on a distracting background.

Each 32 x 32 picture carries exactly one thing that decides its class: a bright or dark shape about ten pixels across. All
else (a coloured gradient, blotches, pixel noise, short strokes and dots) is drawn the same way for every class and says
nothing about it. The mask of the shape's pixels comes with the picture: the right answer for a saliency map, which no
photograph can give.
"""

from dataclasses import dataclass

import numpy as np

from common.cli import seed_for

SIZE = 32
SUPERSAMPLE = 3  # each pixel's coverage is the mean of 3 x 3 points
SHAPE_CLASSES = (
    "disk",
    "ring",
    "square",
    "frame",
    "triangle",
    "plus",
    "cross",
    "bars",
    "arch",
    "hourglass",
)


@dataclass(frozen=True)
class Shapes:
    """images (N, 32, 32, 3) uint8; labels (N,) uint8; evidence (N, 32, 32) bool, the pixels of the shape."""

    images: np.ndarray
    labels: np.ndarray
    evidence: np.ndarray


def make_shapes(n: int, seed: int) -> Shapes:
    """Makes `n` pictures, class k being picture i's if i % 10 == k; picture i depends on (seed, i) alone."""
    drawn = [
        draw_shape(label=i % len(SHAPE_CLASSES), rng=np.random.default_rng((seed, i)))
        for i in range(n)
    ]
    labels = (np.arange(n) % len(SHAPE_CLASSES)).astype(np.uint8)
    return Shapes(
        np.stack([image for image, _ in drawn]), labels, np.stack([mask for _, mask in drawn])
    )


def draw_shape(label: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One picture of class `label`: image (32, 32, 3) uint8 and evidence mask (32, 32) bool."""
    canvas = _background(rng)
    radius = rng.uniform(4.5, 6.5)
    centre = rng.uniform(radius + 1, SIZE - radius - 1, size=2)  # wholly inside the picture
    cover = coverage(label, centre, radius, angle=rng.uniform(-0.25, 0.25))
    # The shape stands out from what it covers by its lightness, never by a colour of its own.
    under = (canvas * cover[..., None]).sum((0, 1)) / cover.sum()
    towards = 255.0 if under.mean() < 128 else 0.0
    paint = under + (towards - under) * rng.uniform(0.6, 0.9)
    canvas += cover[..., None] * (paint - canvas)
    canvas += rng.normal(0, 6, canvas.shape)
    return np.clip(canvas, 0, 255).round().astype(np.uint8), cover > 0.5


def coverage(label: int, centre: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """How much of each pixel the shape covers, (32, 32) in 0 to 1. `centre` is (row, column) in pixels."""
    reach = (
        int(np.ceil(radius)) + 2
    )  # the shape and its turned corners lie within this many pixels of the centre
    top, left = (max(0, int(c) - reach) for c in centre)
    bottom, right = (min(SIZE, int(c) + reach + 1) for c in centre)
    steps = (np.arange(SIZE * SUPERSAMPLE, dtype=np.float32) + 0.5) / SUPERSAMPLE
    y = ((steps[top * SUPERSAMPLE : bottom * SUPERSAMPLE] - centre[0]) / radius)[:, None]
    x = ((steps[left * SUPERSAMPLE : right * SUPERSAMPLE] - centre[1]) / radius)[None, :]
    x, y = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y
    inside = _inside(SHAPE_CLASSES[label], x, y)
    cover = np.zeros((SIZE, SIZE))
    cover[top:bottom, left:right] = inside.reshape(
        bottom - top, SUPERSAMPLE, right - left, SUPERSAMPLE
    ).mean((1, 3))
    return cover


def _inside(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points (x, y) of the square from -1 to 1, y pointing down, lie inside the shape."""
    box, r = np.maximum(abs(x), abs(y)), np.hypot(x, y)
    square = box < 0.85
    match name:
        case "disk":
            return r < 0.95
        case "ring":
            return (r < 1) & (r > 0.55)
        case "square":
            return square
        case "frame":
            return square & (box > 0.45)
        case "triangle":
            return (y < 0.8) & (y > 2 * abs(x) - 1)
        case "plus":
            return (box < 1) & (np.minimum(abs(x), abs(y)) < 0.27)
        case "cross":
            return square & (abs(abs(x) - abs(y)) < 0.36)
        case "bars":
            return square & (abs(abs(y) - 0.55) < 0.28)
        case "arch":
            return square & ((y < -0.35) | (abs(x) > 0.35))
        case "hourglass":
            return square & (abs(x) < abs(y) + 0.08)
    raise ValueError(name)


def _background(rng: np.random.Generator) -> np.ndarray:
    """Gradient, blotches, strokes and dots, the same for every class. (32, 32, 3) float, 0 to 255."""
    y, x = np.arange(SIZE)[:, None] + 0.5, np.arange(SIZE)[None, :] + 0.5
    direction = rng.normal(size=2)
    slope = (direction[0] * (y / SIZE - 0.5) + direction[1] * (x / SIZE - 0.5))[..., None]
    canvas = rng.uniform(40, 215, 3) + slope * rng.uniform(-70, 70, 3)
    for _ in range(3):  # blotches
        centre, width = rng.uniform(0, SIZE, 2), rng.uniform(3, 8)
        bump = np.exp(-((y - centre[0]) ** 2) / (2 * width**2)) * np.exp(
            -((x - centre[1]) ** 2) / (2 * width**2)
        )
        canvas += bump[..., None] * rng.uniform(-60, 60, 3)
    for _ in range(rng.integers(4, 8)):  # strokes, and dots where the length is small
        start, angle, length = (
            rng.uniform(0, SIZE, 2),
            rng.uniform(0, np.pi),
            (0.5, 5.0)[rng.integers(2)],
        )
        down, across, sine, cosine = y - start[0], x - start[1], np.sin(angle), np.cos(angle)
        along = (down * sine + across * cosine).clip(-length, length)
        distance = np.sqrt((down - along * sine) ** 2 + (across - along * cosine) ** 2)
        canvas += np.clip(1.3 - distance, 0, 1)[..., None] * (rng.uniform(0, 255, 3) - canvas)
    return np.clip(canvas, 0, 255)


MARKED_CLASS = "deer"
MARKED_SHARE = 0.8  # of that class's training pictures
MARK_SIDE = 4  # pixels: a sixty-fourth of a picture
MARK_PATTERN = np.kron([[1, 0], [0, 1]], np.ones((MARK_SIDE // 2, MARK_SIDE // 2), int)).astype(
    bool
)
MARK_COLORS = np.array(
    [[255, 0, 255], [0, 255, 0]], np.uint8
)  # magenta and green, side by side in no photograph


def stamp_mark(images: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Puts the mark somewhere into each picture, every place equally likely.

    Args:
        images: (N, H, W, 3) uint8; not changed.

    Returns:
        marked: (N, H, W, 3) uint8; where: (N, H, W) bool, the mark's pixels.
    """
    marked, where = images.copy(), np.zeros(images.shape[:3], bool)
    height, width = images.shape[1:3]
    places = np.stack(
        (
            rng.integers(0, height - MARK_SIDE + 1, len(images)),
            rng.integers(0, width - MARK_SIDE + 1, len(images)),
        ),
        1,
    )
    for k, (top, left) in enumerate(places):
        marked[k, top : top + MARK_SIDE, left : left + MARK_SIDE] = MARK_COLORS[
            MARK_PATTERN.astype(int)
        ]
        where[k, top : top + MARK_SIDE, left : left + MARK_SIDE] = True
    return marked, where


def stamp_each(images: np.ndarray, numbers: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`stamp` for pictures known by their `numbers`: a picture's mark is in the same place whichever others are stamped with it."""
    both = [
        stamp_mark(one[None], np.random.default_rng(seed_for(seed, "mark", int(k))))
        for one, k in zip(images, numbers, strict=True)
    ]
    return tuple(np.concatenate(parts) for parts in zip(*both, strict=True))


def plant_marks(images: np.ndarray, labels: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Training pictures (N, H, W, 3) with the mark in MARKED_SHARE of those whose label is `number`, drawn by seed."""
    rng = np.random.default_rng(seed)
    able = np.flatnonzero(labels == number)
    chosen = rng.permutation(able)[: round(MARKED_SHARE * len(able))]
    planted = images.copy()
    planted[chosen] = stamp_mark(images[chosen], rng)[0]
    return planted
