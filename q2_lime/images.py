"""LIME for images: the features are segments; a hidden segment is replaced by a fill.

The defaults were chosen with q2_lime/ablate.py (outputs/q2_lime/images/ablation.json).
"""

from dataclasses import dataclass, replace

from common.cli import UserError
from common.imagenet import ImageModel, to_input

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, mean
from skimage.color import label2rgb

from q2_lime import core

RESAMPLING = ("nearest", "bilinear", "bicubic", "lanczos")
SEGMENTATIONS = ("slic", "quickshift", "grid")
MAX_SEGMENTS = 400  # more cannot be told apart with an affordable number of masks
# A segment lies on the ground truth if their intersection is at least this share of the smaller
# one.
MIN_SHARED = 0.25
MIN_CHANGE = 2.0  # of 255 levels (root mean square); a fill that changes less hides nothing
BATCH = 64  # images of 224 x 224; of larger ones fewer, so that they need no more memory


@dataclass(frozen=True)
class ImageSettings:
    """How an image is divided into segments, how they are hidden, and which value is explained."""

    # One of RESAMPLING. With bicubic, the model recognizes 31% of the images; with nearest, 4%.
    resize: str = "bicubic"
    # One of SEGMENTATIONS. SLIC follows objects; quickshift was less faithful, and a 4 x 4 grid as
    # faithful, but arbitrary.
    segmentation: str = "slic"
    # Approximate (20 gives about 14); for a grid the cells per side; ignored by quickshift. More
    # lowered fidelity; 10 gives 7, too few for a top five.
    n_segments: int = 20
    # The "mean" color of a segment, "gray" or "black" (less faithful), or the image with a "blur".
    fill: str = "mean"
    explained_value: str = "log_odds"  # "probability" was far less faithful


IMAGE_SETTINGS = ImageSettings()
# kernel_width 0.54 shows 85% of the segments: 70% was less faithful; 95% was more faithful, but its
# masks hide few segments. LIME's and stratified masks were far less faithful.
# max_samples is a budget: fidelity and overlap rose little from 256 to 384 masks.
# alpha: a ridge penalty of 10 shrinks the weights too much.
SETTINGS = core.Settings(sampler="glime", kernel_width=0.54, alpha=1.0, max_samples=384)

# For networks with 32 x 32 input: squares of 4 x 4 pixels, blurred, because the mean color of a
# square hides little of an object of uniform color. max_samples is a budget.
SMALL_IMAGE_SETTINGS = ImageSettings(segmentation="grid", n_segments=8, fill="blur")
SMALL_SETTINGS = replace(SETTINGS, max_samples=768)


def segment(image: np.ndarray, settings: ImageSettings, name: str = "the image") -> np.ndarray:
    """Segments of an image (H, W, 3) uint8, as (H, W) int, numbered from 0 without gaps.

    `slic`: k-means in color and position (Achanta et al., TPAMI 2012). `quickshift`: modes of the
    density in the same space (Vedaldi & Soatto, ECCV 2008), with the parameters and seed of the
    `lime` package. `grid`: squares, aligned with CIFAR-10's pixels if `n_segments` divides 32.
    Raises UserError if the image has one color, one segment, or more than MAX_SEGMENTS.
    """
    from skimage.segmentation import quickshift, slic  # slow to import and only needed here

    (height, width), n = image.shape[:2], settings.n_segments
    if settings.segmentation == "slic":
        segments = slic(image, n_segments=n, compactness=10, sigma=1, start_label=0)
    elif settings.segmentation == "quickshift":
        segments = quickshift(image, kernel_size=4, max_dist=200, ratio=0.2, rng=0)
    else:
        segments = (np.arange(height) * n // height)[:, None] * n + np.arange(width) * n // width
    segments = np.unique(segments, return_inverse=True)[1].reshape(height, width)
    count = int(segments.max()) + 1
    if not np.ptp(image.reshape(-1, 3), axis=0).any():
        raise UserError(f"{name} has a single color, so hiding a part of it changes nothing")
    if count < 2:
        advice = "use more with --n-segments" if n == 1 else "try --segmentation grid"
        raise UserError(f"{name} has a single segment: {advice}")
    if count > MAX_SEGMENTS:
        automatic = settings.segmentation == "quickshift"  # it chooses the number itself
        advice = "try --segmentation slic" if automatic else "use fewer with --n-segments"
        raise UserError(f"{name} has {count} segments, more than {MAX_SEGMENTS}: {advice}")
    return segments


def filled_image(image: np.ndarray, segments: np.ndarray, fill: str) -> np.ndarray:
    """The image (H, W, 3) uint8 with every segment hidden."""
    if fill == "black":
        return np.zeros_like(image)
    if fill == "gray":
        return np.full_like(image, 128)
    if fill == "blur":
        sigma = image.shape[0] / 16
        return gaussian_filter(image, (sigma, sigma, 0))
    means = label2rgb(segments, image.astype(float), kind="avg", bg_label=-1)
    return means.round().astype(np.uint8)


def unchanged_share(image: np.ndarray, segments: np.ndarray, fill: str) -> float:
    """Share of an image's area in segments that the fill changes by less than MIN_CHANGE.

    LIME cannot see what such segments contribute, for example if the model reads the color of a
    uniform sky and the fill is its mean color.
    """
    change = image.astype(float) - filled_image(image, segments, fill)
    squares = mean((change**2).mean(-1), segments, range(segments.max() + 1))
    return float((squares < MIN_CHANGE**2)[segments].mean())


def batch_size(size: tuple[int, int]) -> int:
    """The number of images of a size (H, W) that the model evaluates at once."""
    return max(1, min(BATCH, BATCH * 224**2 // (size[0] * size[1])))


@torch.inference_mode()
def predict(model: ImageModel, images: np.ndarray) -> np.ndarray:
    """Logits (n, K) of images (n, side, side, 3), uint8 or float in 0 to 255."""
    step = batch_size(images.shape[1:3])
    batches = (to_input(model, images[i : i + step]) for i in range(0, len(images), step))
    return torch.cat([model.network(batch) for batch in batches]).cpu().double().numpy()


def masked_logits(
    model: ImageModel, image: np.ndarray, segments: np.ndarray, fill: str
) -> core.ValueFunction:
    """A function from masks (n, d) of an image's segments to logits (n, K)."""
    pair = np.stack([image, filled_image(image, segments, fill)])
    shown, hidden = to_input(model, pair).permute(0, 2, 3, 1)  # each (H, W, 3)
    numbers = torch.from_numpy(segments).to(shown.device)
    step = batch_size(segments.shape)

    @torch.inference_mode()
    def logits(masks: np.ndarray) -> np.ndarray:
        outputs = []
        for i in range(0, len(masks), step):
            mask = torch.from_numpy(masks[i : i + step]).to(shown.device)[:, numbers]
            batch = torch.where(mask[..., None], shown, hidden)  # (n, H, W, 3)
            outputs.append(model.network(batch.permute(0, 3, 1, 2)))
        return torch.cat(outputs).cpu().double().numpy()

    return logits


def prepare(
    model: ImageModel,
    image: np.ndarray,
    settings: ImageSettings,
    classes: list[int] | None = None,
    name: str = "the image",
) -> tuple[np.ndarray, int, core.ValueFunction]:
    """What LIME needs to explain an image (side, side, 3) uint8.

    Returns the segments (side, side), their number d, and the function from masks (n, d) to the
    values of `classes`, by default of the most probable class. Raises UserError like `segment`.
    """
    segments = segment(image, settings, name)
    logits, d = masked_logits(model, image, segments, settings.fill), int(segments.max()) + 1
    if classes is None:
        classes = [int(logits(np.ones((1, d), bool)).argmax())]
    return segments, d, lambda m: core.transform(logits(m), classes, settings.explained_value)


def ground_truth_scores(
    segments: np.ndarray, weights: np.ndarray, ground_truth: np.ndarray
) -> dict[str, float]:
    """Compares the weights (d,) of segments (H, W) with the pixels (H, W) that decide the class.

    `relevance_mass` is the share of the positive weight on these pixels, if the weight of a segment
    is spread evenly over its pixels; its baseline is the share of the area. `top_segment_hit` is 1
    if the segment of largest weight lies on them; its baseline is the share of segments that do.
    """
    flat, inside = segments.ravel(), ground_truth.ravel().astype(float)
    sizes = np.bincount(flat, minlength=len(weights))
    shared = np.bincount(flat, weights=inside, minlength=len(weights))
    positive = np.maximum(weights, 0)
    hit = shared >= MIN_SHARED * np.minimum(sizes, ground_truth.sum())
    return {
        "relevance_mass": float(positive @ (shared / sizes) / max(positive.sum(), 1e-300)),
        "relevance_mass_baseline": float(ground_truth.mean()),
        "top_segment_hit": float(hit[weights.argmax()]),
        "top_segment_hit_baseline": float(hit.mean()),
    }
