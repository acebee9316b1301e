"""Maps that know nothing of what a network decided: what an explanation has to do better than."""

import numpy as np
from skimage.filters import sobel

from common.figures import grey


def random(n: int, grid: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Noise (n, h, w), even in 0 to 1, on a grid as coarse as the maps that it is compared with: finer noise would be an easier opponent."""
    return rng.random((n, *grid))


def centre(n: int, size: tuple[int, int]) -> np.ndarray:
    """A Gaussian (n, H, W) around the middle, its standard deviation a quarter of the side: things are mostly photographed in the middle."""
    y, x = ((np.arange(side) + 0.5) / side - 0.5 for side in size)
    bump = np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * 0.25**2))
    return np.broadcast_to(bump, (n, *size)).copy()


def edges(pictures: np.ndarray) -> np.ndarray:
    """Sobel edges (N, H, W) of the lightness of pictures (N, H, W, 3) uint8: things have outlines, whatever a network thinks of them."""
    return np.stack([sobel(grey(picture)) for picture in pictures])
