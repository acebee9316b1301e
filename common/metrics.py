"""Metrics of saliency maps, and baseline maps that do not depend on the model.

A saliency map gives the importance of each pixel for a class; larger is more important. Each
docstring states the metric's source, range and which direction is better. A score is only
meaningful in comparison with that of a baseline map (see common/statistics.py).
"""

from collections.abc import Callable
from functools import lru_cache

from common.figures import to_gray

import numpy as np
from scipy import sparse
from scipy.ndimage import gaussian_filter
from scipy.sparse.linalg import spsolve
from scipy.stats import rankdata
from skimage.filters import sobel
from skimage.metrics import structural_similarity
from sklearn.metrics import average_precision_score

Predict = Callable[[np.ndarray], np.ndarray]  # images (n, H, W, 3) uint8 -> probabilities (n, K)
FRACTIONS = np.linspace(0, 1, 11)  # of the pixels that are deleted or inserted


# --- Faithfulness ---


def pixel_order(maps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The pixels (N, H*W) of maps (N, H, W), most important first.

    Ties (such as the pixels of one segment) are ordered by the smoothed map (sigma = height / 32),
    then at random. Thus segments are deleted as connected areas rather than as scattered pixels,
    which would change the image more.
    """
    smooth = [gaussian_filter(one.astype(float), one.shape[0] / 32).round(9) for one in maps]
    first, second = (np.reshape(values, (len(maps), -1)) for values in (maps, smooth))
    return np.lexsort((rng.random(first.shape), -second, -first), axis=1)


def deletion_insertion_curves(
    predict: Predict,
    images: np.ndarray,
    target: np.ndarray,
    ordered: np.ndarray,
    fill: str,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities while pixels are deleted from an image or inserted into an empty one.

    Petsiuk et al., RISE, arXiv:1806.07421, section 4.1, who start the insertion from a blurred
    image; Samek et al., arXiv:1509.06321.

    Takes images (N, H, W, 3) uint8, `target` classes (N,), and pixels `ordered` (N, H*W) by
    `pixel_order`. `fill` replaces deleted pixels: "mean" by the image's mean color, "road" by
    values interpolated from the neighbors (see `impute`). Returns the probabilities for deletion
    and for insertion, each (N, len(FRACTIONS)).
    """
    n, pixels = ordered.shape
    rank = ordered.argsort(1).reshape(images.shape[:3])
    blank = np.full_like(images, 128) if fill == "road" else mean_color(images)

    def probability(shown: np.ndarray) -> np.ndarray:
        return predict(shown)[np.arange(n), target]

    def without(deleted: np.ndarray) -> np.ndarray:
        if fill == "road":
            return impute(images, deleted, rng)
        return np.where(deleted[..., None], blank, images)

    full, empty = probability(images), probability(blank)
    deletion, insertion = [full], [empty]
    for fraction in FRACTIONS[1:-1]:
        top = rank < round(fraction * pixels)
        deletion.append(probability(without(top)))
        insertion.append(probability(without(~top)))
    return np.stack([*deletion, empty], 1), np.stack([*insertion, full], 1)


def auc(curve: np.ndarray) -> np.ndarray:
    """Area (N,) under curves (N, len(FRACTIONS)), 0 to 1. Better: low deletion, high insertion."""
    return np.trapezoid(curve, FRACTIONS, axis=1)


def mean_color(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W, 3) uint8 with the mean color of each image (N, H, W, 3) everywhere."""
    mean = images.mean((1, 2), keepdims=True).round().astype(np.uint8)
    return np.broadcast_to(mean, images.shape)


NOISE = 0.01  # standard deviation on a scale of 0 to 1, as in the reference code of ROAD
DIRECT, DIAGONAL = 1 / 6, 1 / 12  # weights of the four direct and the four diagonal neighbors


def impute(images: np.ndarray, deleted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noisy linear imputation (Rong et al., ROAD, arXiv:2202.00449, section 4.2).

    Each pixel of images (N, H, W, 3) uint8 that is `deleted` (N, H, W) becomes the weighted mean of
    its eight neighbors, deleted or not, plus noise. Unlike a constant fill, this hardly reveals the
    shape of the deleted area. An image that is deleted entirely becomes medium gray.
    """
    filled = images.copy()
    for image, mask in zip(filled, deleted, strict=True):
        if mask.all():
            image[:] = 128
        elif mask.any():
            values = solve_neighbors(image / 255, mask)
            values += NOISE * rng.standard_normal(values.shape)
            image[mask] = (np.clip(values, 0, 1) * 255).round()
    return filled


def solve_neighbors(image: np.ndarray, deleted: np.ndarray) -> np.ndarray:
    """The weighted means (M, 3) for the M `deleted` pixels of an image (H, W, 3)."""
    mask = deleted.ravel()
    weights = _neighbor_weights(*deleted.shape)[mask]
    system = sparse.diags_array(weights.sum(1)) - weights[:, mask]
    return spsolve(system.tocsc(), weights[:, ~mask] @ image.reshape(-1, 3)[~mask]).reshape(-1, 3)


@lru_cache(maxsize=4)
def _neighbor_weights(height: int, width: int) -> sparse.csr_array:
    """The weights (H*W, H*W) of all pixels as neighbors of each other."""
    sides = (height, width)
    rows, columns = (sparse.diags_array([1.0, 1.0], offsets=[-1, 1], shape=(n, n)) for n in sides)
    same_row, same_column = (sparse.eye_array(n) for n in sides)
    direct = sparse.kron(same_row, columns) + sparse.kron(rows, same_column)
    return (DIRECT * direct + DIAGONAL * sparse.kron(rows, columns)).tocsr()


def drop_and_increase(
    predict: Predict, images: np.ndarray, target: np.ndarray, level: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Average drop and increase in confidence (Chattopadhay et al., arXiv:1710.11063, section 4.1).

    Y is the probability of the target for an image, O that for the image multiplied by its map
    `level` (N, H, W) in 0 to 1. Returns the drop max(0, Y - O) / Y (N,), 0 to 1, lower is better,
    and the increase O > Y (N,), higher is better. Both favor large maps: a map of ones has no drop.
    """
    rows = np.arange(len(images))
    before = predict(images)[rows, target]
    after = predict((images * level[..., None]).round().astype(np.uint8))[rows, target]
    return np.maximum(0, before - after) / before, after > before


# --- Agreement with the ground truth ---


def pointing_game(raw: np.ndarray, ground_truth: np.ndarray, cells: float = 1.0) -> bool:
    """Whether the maximum of a map (h, w) lies within `cells` map cells of the ground truth (H, W).

    Zhang et al., arXiv:1608.00507, with the tolerance in cells. Higher is better. Of several
    maxima, the one with the highest smoothed value counts.
    """
    raw = np.asarray(raw, float)
    (h, w), (height, width) = raw.shape, ground_truth.shape
    smooth = gaussian_filter(raw, h / 32)
    best = np.where(raw == raw.max(), smooth, -np.inf).argmax()
    row, column = np.unravel_index(best, raw.shape)
    rows, columns = ground_truth.nonzero()
    dy = abs(rows + 0.5 - (row + 0.5) * height / h)
    dx = abs(columns + 0.5 - (column + 0.5) * width / w)
    return bool(((dy <= cells * height / h + 0.5) & (dx <= cells * width / w + 0.5)).any())


def relevance_mass(maps: np.ndarray, ground_truth: np.ndarray) -> np.ndarray:
    """Share (N,) of the positive part of maps (N, H, W) inside the ground truth (N, H, W), 0 to 1.

    Arras et al., arXiv:2003.07258, section 3.3. Higher is better; 0 if a map has no positive part.
    """
    positive = np.maximum(maps, 0)
    return np.nan_to_num(_ratio((positive * ground_truth).sum((1, 2)), positive.sum((1, 2))))


def average_precision(maps: np.ndarray, ground_truth: np.ndarray) -> np.ndarray:
    """Average precision (N,) of maps (N, H, W) as scores for the ground truth's pixels, 0 to 1.

    Higher is better; a random map scores about the ground truth's share of the image.
    """
    pairs = zip(ground_truth, maps, strict=True)
    return np.array([average_precision_score(truth.ravel(), m.ravel()) for truth, m in pairs])


# --- Similarity and sparsity of maps ---


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation (N,) of maps a and b (N, ...).

    Range -1 to 1; NaN if a map is constant. Higher is better between an image and a slightly
    changed one (stability), lower is better after randomization of the weights.
    """
    ranks = (rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (a, b))
    x, y = (r - r.mean(1, keepdims=True) for r in ranks)
    return _ratio((x * y).sum(1), np.sqrt((x**2).sum(1) * (y**2).sum(1)))


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity (N,) of maps (N, H, W) in 0 to 1 (Wang et al., 2004), 7 x 7 windows.

    Range -1 to 1. Direction as for `rank_correlation`.
    """
    pairs = zip(a, b, strict=True)
    return np.array([structural_similarity(x, y, data_range=1.0) for x, y in pairs])


def gini(maps: np.ndarray) -> np.ndarray:
    """Gini index (N,) of |map| (Hurley & Rickard, 2009; Chalasani et al., arXiv:1810.06583).

    Range 0 (all pixels equal) to 1 (a single pixel); NaN for a zero map. Sparse maps are easier to
    read, but not necessarily more faithful.
    """
    size = np.sort(np.abs(maps.reshape(len(maps), -1)), axis=1)
    n = size.shape[1]
    share = _ratio((size * (n - np.arange(1, n + 1) + 0.5)).sum(1), size.sum(1))
    return 1 - 2 * share / n


def discarded_share(raw: np.ndarray) -> np.ndarray:
    """Share (N,) of sum |map| that Grad-CAM's ReLU (arXiv:1610.02391, equation 2) discards.

    Range 0 to 1; NaN for a zero map. Lower is better: evidence against the class is not shown.
    """
    return _ratio(np.maximum(-raw, 0).sum((1, 2)), np.abs(raw).sum((1, 2)))


def top_overlap(a: np.ndarray, b: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Jaccard index (N,) of the top `share` of the pixels of maps a and b (N, H, W).

    Range 0 to 1, higher means more agreement; unrelated maps score about share / (2 - share).
    """
    count = round(share * a[0].size)
    tops = [pixel_order(maps, rng)[:, :count] for maps in (a, b)]
    shared = np.array([len(np.intersect1d(x, y)) for x, y in zip(*tops, strict=True)])
    return shared / (2 * count - shared)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient where the denominator is positive, otherwise NaN."""
    positive = denominator > 0
    return np.where(positive, numerator / np.where(positive, denominator, 1), np.nan)


# --- Baselines that do not depend on the model ---


def center_map(images: np.ndarray) -> np.ndarray:
    """A centered Gaussian (N, H, W) for images (N, H, W, 3), with a standard deviation of a quarter
    of each side (not tuned)."""
    size = images.shape[1:3]
    y, x = ((np.arange(side) + 0.5) / side - 0.5 for side in size)
    bump = np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * 0.25**2))
    return np.broadcast_to(bump, images.shape[:3]).copy()


def edge_map(images: np.ndarray) -> np.ndarray:
    """Sobel edges (N, H, W) of the lightness of images (N, H, W, 3) uint8."""
    return np.stack([sobel(to_gray(image)) for image in images])
