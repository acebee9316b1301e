"""How far an explanation can be trusted: measures, each with its source, its range and which way is better. No drawing here.

A saliency map (N, H, W) says how much each pixel counts for a class. Here maps of whatever origin are put to the same questions, in the
same units: does the class's probability fall when the pixels that it names go (faithfulness)? Does it point where the answer is known
to lie? Does it depend on what the network learned? Does it stay when nothing that matters changes?

A score says little alone; `common/controls.py` has maps that know nothing, `common/intervals.py` the comparison with them.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from scipy.ndimage import gaussian_filter
from scipy.sparse.linalg import spsolve
from scipy.stats import rankdata
from skimage.filters import sobel
from skimage.metrics import structural_similarity
from sklearn.metrics import average_precision_score

from common.figures import grey
from common.models import to_input

Predict = Callable[[np.ndarray], np.ndarray]  # pictures (n, H, W, 3) uint8 -> probabilities (n, K)
FRACTIONS = np.linspace(0, 1, 11)  # of the pixels taken away or given
FILLS = ("mean", "blur", "road")
BATCH = 500


def predictor(network: torch.nn.Module, temperature: float = 1.0) -> Predict:
    """The class probabilities (n, K) that a classifier (common/models.py) gives to pictures (n, H, W, 3) uint8, batch by batch."""
    device = next(network.parameters()).device

    @torch.inference_mode()
    def predict(pictures: np.ndarray) -> np.ndarray:
        parts = [
            network(to_input(pictures[i : i + BATCH], device))
            for i in range(0, len(pictures), BATCH)
        ]
        return torch.softmax(torch.cat(parts).double() / temperature, 1).cpu().numpy()

    return predict


# --- Faithfulness -----------------------------------------------------------------------------------------------------------


def pixel_order(maps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The pixels (N, H*W) of maps (N, H, W), the one that counts most first.

    Of equal ones, such as the pixels of a superpixel, those with more around them come first, so that regions go as wholes and from the
    side of their important neighbours, not as scattered dots, which harm a picture more. A flat map is a random one.
    """
    around = np.stack(
        [gaussian_filter(one.astype(float), one.shape[0] / 32) for one in maps]
    ).round(9)
    flat, near = maps.reshape(len(maps), -1), around.reshape(len(maps), -1)
    return np.lexsort((rng.random(flat.shape), -near, -flat), axis=1)


def deletion_insertion_curves(
    predict: Predict,
    pictures: np.ndarray,
    target: np.ndarray,
    ordered: np.ndarray,
    fill: str,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Deletion and insertion curves (Petsiuk et al., RISE, arXiv:1806.07421, section 4.1; Samek et al., arXiv:1509.06321).

    The pixels go in the order given, and the probability of the class is watched; insertion gives them back to an empty picture.

    Args:
        pictures: (N, H, W, 3) uint8; target: (N,) classes; ordered: (N, H*W) as from `order`.
        fill: of FILLS: what stands where a pixel is gone. `mean`: the picture's mean colour; `blur`: the picture blurred beyond recognition;
            `road`: what its neighbours suggest (`impute`).

    Returns:
        deletion, insertion: (N, len(FRACTIONS)) probabilities, 0 to 1.
    """
    n, pixels = ordered.shape
    rank = np.empty_like(ordered)
    np.put_along_axis(rank, ordered, np.arange(pixels)[None].repeat(n, 0), axis=1)
    rank = rank.reshape(pictures.shape[:3])
    blank = None if fill == "road" else fill_image(pictures, fill)
    rows = np.arange(n)
    whole, empty = (
        predict(pictures)[rows, target],
        predict(np.full_like(pictures, 128) if blank is None else blank)[rows, target],
    )
    deletion, insertion = [whole], [empty]
    for fraction in FRACTIONS[1:-1]:
        named = rank < round(fraction * pixels)
        for curve, gone in ((deletion, named), (insertion, ~named)):
            shown = (
                impute(pictures, gone, rng)
                if blank is None
                else np.where(gone[..., None], blank, pictures)
            )
            curve.append(predict(shown)[rows, target])
    return np.stack([*deletion, empty], 1), np.stack([*insertion, whole], 1)


def auc(curve: np.ndarray) -> np.ndarray:
    """Area (N,) under curves (N, len(FRACTIONS)) by the trapezoid rule, 0 to 1. Deletion: small is better; insertion: large is better."""
    return np.trapezoid(curve, FRACTIONS, axis=1)


def fill_image(pictures: np.ndarray, fill: str) -> np.ndarray:
    """Pictures (N, H, W, 3) uint8 of which nothing is left: their mean colour, or blurred with a standard deviation of an eighth of the side."""
    if fill == "mean":
        return np.broadcast_to(
            pictures.mean((1, 2), keepdims=True).round().astype(np.uint8), pictures.shape
        )
    sigma = pictures.shape[1] / 8
    return gaussian_filter(pictures.astype(float), (0, sigma, sigma, 0)).round().astype(np.uint8)


NOISE = 0.01  # of the range 0 to 1, as in the reference code of ROAD
BESIDE, ACROSS = 1 / 6, 1 / 12  # weights of the four direct and the four diagonal neighbours


def impute(pictures: np.ndarray, gone: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noisy linear imputation (Rong et al., ROAD, arXiv:2202.00449, section 4.2): each missing pixel is the weighted mean of its eight neighbours,
    the missing ones among them included, so all are found together from one linear system; then a little noise.

    The shape of the hole can then hardly be read off the picture, which a constant fill would leave to a network to see.

    Args:
        pictures: (N, H, W, 3) uint8; gone: (N, H, W) bool. Where a whole picture is gone it becomes middle grey.
    """
    filled = pictures.copy()
    for k in range(len(pictures)):
        if gone[k].all():
            filled[k] = 128
        elif gone[k].any():
            values = solve_neighbours(pictures[k] / 255, gone[k]) + NOISE * rng.standard_normal(
                (gone[k].sum(), 3)
            )
            filled[k][gone[k]] = (np.clip(values, 0, 1) * 255).round()
    return filled


def solve_neighbours(picture: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """Values (M, 3) of the M missing pixels of a picture (H, W, 3) in 0 to 1, each the weighted mean of its neighbours within the picture."""
    height, width = gone.shape
    number = np.full(gone.shape, -1)
    number[gone] = np.arange(gone.sum())
    y, x = gone.nonzero()
    total, known = np.zeros(len(y)), np.zeros((len(y), 3))
    rows, columns, weights = [np.arange(len(y))], [np.arange(len(y))], []
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy == dx == 0:
                continue
            w = BESIDE if dy == 0 or dx == 0 else ACROSS
            ny, nx = y + dy, x + dx
            there = (ny >= 0) & (ny < height) & (nx >= 0) & (nx < width)
            total[there] += w
            ny, nx, me = ny[there], nx[there], there.nonzero()[0]
            missing = number[ny, nx] >= 0
            rows.append(me[missing])
            columns.append(number[ny, nx][missing])
            weights.append(np.full(missing.sum(), -w))
            np.add.at(known, me[~missing], w * picture[ny[~missing], nx[~missing]])
    system = sparse.csc_matrix(
        (np.concatenate([total, *weights]), (np.concatenate(rows), np.concatenate(columns)))
    )
    return spsolve(system, known).reshape(-1, 3)


def drop_and_increase(
    predict: Predict, pictures: np.ndarray, target: np.ndarray, level: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What is left of the confidence when a picture is multiplied by its map (Chattopadhay et al., Grad-CAM++, arXiv:1710.11063, section 4.1).

    Args:
        level: (N, H, W) maps in 0 to 1.

    Returns:
        drop: (N,) max(0, Y - O) / Y, 0 to 1, small is better; increase: (N,) bool, O > Y. A map of ones has no drop, so both favour large maps.
    """
    rows = np.arange(len(pictures))
    before = predict(pictures)[rows, target]
    after = predict((pictures * level[..., None]).round().astype(np.uint8))[rows, target]
    return np.maximum(0, before - after) / before, after > before


# --- Known answers ----------------------------------------------------------------------------------------------------------


def pointing_game(raw: np.ndarray, evidence: np.ndarray, cells: float = 1.0) -> bool:
    """Whether the centre of a map's highest cell (of several, the one with most around it) lies in the evidence, grown by so many `cells` of the map each way (the
    pointing game of Zhang et al., arXiv:1608.00507, its tolerance given in cells). Large is better.

    Args:
        raw: (h, w) signed map; evidence: (H, W) bool.
    """
    (h, w), (height, width) = raw.shape, evidence.shape
    raw = np.asarray(raw, float)
    around = gaussian_filter(raw, h / 32)
    row, column = np.unravel_index(np.where(raw == raw.max(), around, -np.inf).argmax(), raw.shape)
    y, x = (row + 0.5) * height / h, (column + 0.5) * width / w
    rows, columns = evidence.nonzero()
    near = (abs(rows + 0.5 - y) <= cells * height / h + 0.5) & (
        abs(columns + 0.5 - x) <= cells * width / w + 0.5
    )
    return bool(near.any())


def relevance_mass(maps: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Share (N,) of the positive part of maps (N, H, W) that lies in the evidence (N, H, W) (Arras et al., CLEVR-XAI, arXiv:2003.07258, section
    3.3: relevance mass accuracy). 0 to 1, large is better; a map without a positive part has 0."""
    positive = np.maximum(maps, 0)
    total = positive.sum((1, 2))
    return (positive * evidence).sum((1, 2)) / np.where(total > 0, total, 1)


def average_precision(maps: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Area (N,) under the precision-recall curve of finding the evidence's pixels by thresholding the map. 0 to 1, large is better; a map
    that knows nothing gets the evidence's share of the picture."""
    return np.array(
        [average_precision_score(e.ravel(), m.ravel()) for m, e in zip(maps, evidence, strict=True)]
    )


# --- What the map depends on, and how it looks --------------------------------------------------------------------------------


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation (N,) of maps (N, ...) with maps of the same shape (1904): 1 the same order, 0 none in common, -1 the opposite; NaN where
    one is flat. Which way is better depends on what was changed: large where a picture hardly was (stability), small where the weights were (sanity)."""
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (a, b)]
    x, y = (r - r.mean(1, keepdims=True) for r in ranks)
    below = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.where(below > 0, (x * y).sum(1) / np.where(below > 0, below, 1), np.nan)


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity (N,) of maps (N, H, W) in 0 to 1 (Wang et al., 2004), windows of 7 pixels: 1 the same, 0 nothing in common, negative where one is
    dark and the other bright. As with `rank_correlation`, which way is better depends on what was changed."""
    return np.array(
        [structural_similarity(x, y, data_range=1.0) for x, y in zip(a, b, strict=True)]
    )


def relative_change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """||after - before|| / ||before|| (N,) of maps (N, H, W); its maximum over small changes of the input is max-sensitivity (Yeh et al.,
    arXiv:1901.09392, definition 2, here relative). Small is better; NaN where a map is zero."""
    distance, size = (
        np.sqrt((x.reshape(len(x), -1) ** 2).sum(1)) for x in (after - before, before)
    )
    return np.where(size > 0, distance / np.where(size > 0, size, 1), np.nan)


def gini(maps: np.ndarray) -> np.ndarray:
    """Gini index (N,) of |map| (Hurley & Rickard, 2009; for explanations Chalasani et al., arXiv:1810.06583): 0 where all pixels count the same,
    towards 1 where a single one does; NaN for a map of zeros. A sparse map is easier to read; neither way is more faithful."""
    size = np.sort(np.abs(maps.reshape(len(maps), -1)), axis=1)
    n, total = size.shape[1], size.sum(1)
    below = np.where(total > 0, total, 1)
    share = (size * (n - np.arange(1, n + 1) + 0.5)).sum(1) / below
    return np.where(total > 0, 1 - 2 * share / n, np.nan)


def discarded_share(raw: np.ndarray) -> np.ndarray:
    """Share (N,) of a signed map's total size that the ReLU of Grad-CAM (arXiv:1610.02391, equation 2) throws away. 0 to 1; NaN for a map of zeros.
    Small is better: what is thrown away spoke against the class, and nobody sees it."""
    negative, total = np.maximum(-raw, 0).sum((1, 2)), np.abs(raw).sum((1, 2))
    return np.where(total > 0, negative / np.where(total > 0, total, 1), np.nan)


def top_overlap(a: np.ndarray, b: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Jaccard overlap (N,) of the pixels that lead in maps a and b (N, H, W), the given share of the area each. 0 to 1; two maps
    that know nothing of each other reach share / (2 - share). Large is better where the two should name the same (seeds, methods)."""
    count = round(share * a[0].size)
    tops = [pixel_order(maps, rng)[:, :count] for maps in (a, b)]
    shared = np.array([len(np.intersect1d(x, y)) for x, y in zip(*tops, strict=True)])
    return shared / (2 * count - shared)


def random_map(n: int, grid: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Noise (n, h, w), even in 0 to 1, on a grid as coarse as the maps that it is compared with: finer noise would be an easier opponent."""
    return rng.random((n, *grid))


def center_map(n: int, size: tuple[int, int]) -> np.ndarray:
    """A Gaussian (n, H, W) around the middle, its standard deviation a quarter of the side: things are mostly photographed in the middle."""
    y, x = ((np.arange(side) + 0.5) / side - 0.5 for side in size)
    bump = np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * 0.25**2))
    return np.broadcast_to(bump, (n, *size)).copy()


def edge_map(pictures: np.ndarray) -> np.ndarray:
    """Sobel edges (N, H, W) of the lightness of pictures (N, H, W, 3) uint8: things have outlines, whatever a network thinks of them."""
    return np.stack([sobel(grey(picture)) for picture in pictures])
