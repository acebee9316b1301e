"""Images with known ground truth: a built-in data set of shapes, and marks planted in photographs.

Each 32 x 32 image shows one shape, about ten pixels wide, that is brighter or darker than its
background. Only the shape determines the class: all classes have the same distribution of
backgrounds. The pixels of the shape are the ground truth for a saliency map.
"""

from dataclasses import dataclass

from common.cli import seed_for

import numpy as np

SIZE = 32
SUPERSAMPLE = 3  # the coverage of a pixel is the mean over 3 x 3 points
# Whether points (x, y) in -1 to 1, with y pointing down, lie inside a shape.
# b is max(|x|, |y|) and s is min(|x|, |y|).
SHAPES = {
    "disk": lambda x, y, b, s: np.hypot(x, y) < 0.95,
    "ring": lambda x, y, b, s: (np.hypot(x, y) < 1) & (np.hypot(x, y) > 0.55),
    "square": lambda x, y, b, s: b < 0.85,
    "frame": lambda x, y, b, s: (b < 0.85) & (b > 0.45),
    "triangle": lambda x, y, b, s: (y < 0.8) & (y > 2 * abs(x) - 1),
    "plus": lambda x, y, b, s: (b < 1) & (s < 0.27),
    "cross": lambda x, y, b, s: (b < 0.85) & (b - s < 0.36),
    "bars": lambda x, y, b, s: (b < 0.85) & (abs(abs(y) - 0.55) < 0.28),
    "arch": lambda x, y, b, s: (b < 0.85) & ((y < -0.35) | (abs(x) > 0.35)),
    "hourglass": lambda x, y, b, s: (b < 0.85) & (abs(x) < abs(y) + 0.08),
}
SHAPE_CLASSES = tuple(SHAPES)


@dataclass(frozen=True)
class Shapes:
    """images (N, 32, 32, 3) uint8; labels (N,) uint8; ground_truth (N, 32, 32) bool, the shapes."""

    images: np.ndarray
    labels: np.ndarray
    ground_truth: np.ndarray


def make_shapes(n: int, seed: int) -> Shapes:
    """Draws `n` images; image i has class i % 10 and depends only on (seed, i)."""
    labels = np.arange(n) % len(SHAPES)
    rngs = (np.random.default_rng((seed, i)) for i in range(n))
    images, masks = zip(*map(draw_shape, labels, rngs), strict=True)
    return Shapes(np.stack(images), labels.astype(np.uint8), np.stack(masks))


def draw_shape(label: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image (32, 32, 3) uint8 of class `label` and the mask of its shape (32, 32) bool."""
    canvas = _background(rng)
    radius = rng.uniform(4.5, 6.5)
    center = rng.uniform(radius + 1, SIZE - radius - 1, size=2)
    cover = coverage(label, center, radius, angle=rng.uniform(-0.25, 0.25))
    # A lighter or darker version of the covered background, so the color carries no information.
    under = (canvas * cover[..., None]).sum((0, 1)) / cover.sum()
    target = 255.0 if under.mean() < 128 else 0.0
    paint = under + (target - under) * rng.uniform(0.6, 0.9)
    canvas += cover[..., None] * (paint - canvas)
    canvas += rng.normal(0, 6, canvas.shape)
    return np.clip(canvas, 0, 255).round().astype(np.uint8), cover > 0.5


def coverage(label: int, center: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """Share of each pixel (32, 32) that the shape covers. `center` is (row, column) in pixels."""
    steps = (np.arange(SIZE * SUPERSAMPLE, dtype=np.float32) + 0.5) / SUPERSAMPLE
    y = ((steps - center[0]) / radius)[:, None]
    x = ((steps - center[1]) / radius)[None, :]
    x, y = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y
    b, s = np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
    inside = SHAPES[SHAPE_CLASSES[label]](x, y, b, s)
    return inside.reshape(SIZE, SUPERSAMPLE, SIZE, SUPERSAMPLE).mean((1, 3))


def _background(rng: np.random.Generator) -> np.ndarray:
    """A gradient with blotches, strokes and dots: (32, 32, 3) float in 0 to 255."""
    y, x = np.arange(SIZE)[:, None] + 0.5, np.arange(SIZE)[None, :] + 0.5
    direction = rng.normal(size=2)
    slope = (direction[0] * (y / SIZE - 0.5) + direction[1] * (x / SIZE - 0.5))[..., None]
    canvas = rng.uniform(40, 215, 3) + slope * rng.uniform(-70, 70, 3)
    for _ in range(3):  # blotches
        center, width = rng.uniform(0, SIZE, 2), rng.uniform(3, 8)
        column, row = (
            np.exp(-((v - c) ** 2) / (2 * width**2)) for v, c in zip((y, x), center, strict=True)
        )
        canvas += (column * row)[..., None] * rng.uniform(-60, 60, 3)
    for _ in range(rng.integers(4, 8)):  # strokes, or dots if the length is 0.5
        start, angle = rng.uniform(0, SIZE, 2), rng.uniform(0, np.pi)
        length = (0.5, 5.0)[rng.integers(2)]
        down, across, sine, cosine = y - start[0], x - start[1], np.sin(angle), np.cos(angle)
        along = (down * sine + across * cosine).clip(-length, length)
        distance = np.sqrt((down - along * sine) ** 2 + (across - along * cosine) ** 2)
        canvas += np.clip(1.3 - distance, 0, 1)[..., None] * (rng.uniform(0, 255, 3) - canvas)
    return np.clip(canvas, 0, 255)


MARKED_CLASS = "deer"
MARKED_SHARE = 0.8  # of the training images of that class
MARK_SIDE = 4  # pixels; the mark covers 1/64 of a 32 x 32 image
MAGENTA, GREEN = (255, 0, 255), (0, 255, 0)  # next to each other only in the mark
MARK = np.array([[GREEN, MAGENTA], [MAGENTA, GREEN]], np.uint8).repeat(2, 0).repeat(2, 1)


def stamp_mark(images: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W, 3) uint8 with the mark at a random position, and its mask (N, H, W) bool."""
    marked, where = images.copy(), np.zeros(images.shape[:3], bool)
    tops, lefts = (rng.integers(0, n - MARK_SIDE + 1, len(images)) for n in images.shape[1:3])
    for k, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        place = k, slice(top, top + MARK_SIDE), slice(left, left + MARK_SIDE)
        marked[place], where[place] = MARK, True
    return marked, where


def stamp_each(images: np.ndarray, numbers: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Like `stamp_mark`, but a position depends only on `seed` and the number of the image."""
    rngs = (np.random.default_rng(seed_for(seed, "mark", int(number))) for number in numbers)
    pairs = [stamp_mark(image[None], rng) for image, rng in zip(images, rngs, strict=True)]
    marked, where = zip(*pairs, strict=True)
    return np.concatenate(marked), np.concatenate(where)


def plant_marks(images: np.ndarray, labels: np.ndarray, label: int, seed: int) -> np.ndarray:
    """Training images (N, H, W, 3) with the mark in MARKED_SHARE of the images of class `label`."""
    rng = np.random.default_rng(seed)
    candidates = np.flatnonzero(labels == label)
    chosen = rng.permutation(candidates)[: round(MARKED_SHARE * len(candidates))]
    planted = images.copy()
    planted[chosen] = stamp_mark(images[chosen], rng)[0]
    return planted
