"""Figures of LIME on images: a page per explained image, overview, ablation, kernel."""

import textwrap
from dataclasses import dataclass

from common.figures import ACCENT as FOR
from common.figures import FAINT, INK, WIDTH, axes_at, plt, shorten, show_image, text_at, to_gray
from common.figures import SECOND as AGAINST
from common.user_files import percent

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from scipy.ndimage import binary_erosion
from scipy.stats import binom
from skimage.segmentation import mark_boundaries

from q2_lime import core, summary

SIGNED = LinearSegmentedColormap.from_list("signed", [AGAINST, "#ffffff", FOR])
TOP_K = 5  # segments that are marked
MIN_SIDE = 256  # pixels per side at which borders are drawn, so that they stay thin


@dataclass(frozen=True)
class Panel:
    """An explained image."""

    name: str  # for the heading
    original: np.ndarray  # (h, w, 3) uint8 as given
    image: np.ndarray  # (H, W, 3) uint8, the model's input
    segments: np.ndarray  # (H, W) int
    weights: np.ndarray  # (d, 2) for the predicted class and the runner-up
    # Its entry in explanations.json. `true` is "" if the class is unknown; `mapped_class` is the
    # dataset's class that the predicted class belongs to, or None.
    sample: dict


def _finer(image: np.ndarray, segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A small image (H, W, 3) and its segments (H, W) with pixels repeated to about MIN_SIDE."""
    n = max(1, round(MIN_SIDE / image.shape[0]))
    return image.repeat(n, 0).repeat(n, 1), segments.repeat(n, 0).repeat(n, 1)


def weight_map(image: np.ndarray, segments: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Colors (H, W, 3): each segment's weight (d,), relative to the largest |weight|."""
    level = weights[segments] / max(np.abs(weights).max(), 1e-300)
    return SIGNED(0.5 + 0.5 * level)[..., :3] * (0.45 + 0.55 * to_gray(image)[..., None])


def top_segments_map(image: np.ndarray, segments: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The image, see `_finer`, with the top segments outlined and the others pale.

    The outline is blue for a positive weight and orange for a negative one.
    """
    image, segments = _finer(image, segments)
    shown = 0.75 + 0.25 * to_gray(image)[..., None].repeat(3, axis=2)
    for k in core.top_features(weights, TOP_K):
        inside = segments == k
        shown[inside] = image[inside] / 255
        border = inside & ~binary_erosion(inside, iterations=2)
        shown[border] = to_rgb(FOR if weights[k] > 0 else AGAINST)
    return shown


def _show(ax, image: np.ndarray, title: str = "") -> None:
    """Draws an image with a thin frame, because the edges of a pale one would not be visible."""
    show_image(ax, image, title)
    ax.set_anchor("N")
    ax.title.set_size(6.5)
    ax.spines[:].set(visible=True, color=FAINT, linewidth=0.4)


def _color_key(ax) -> None:
    ax.imshow(np.linspace(-1, 1, 256)[None], cmap=SIGNED, aspect="auto", extent=(-1, 1, 0, 1))
    ax.set(xticks=[-1, 0, 1], yticks=[])
    ax.set_xticklabels(["against", "0", "for"], fontsize=6.5)
    ax.set_title("weight / largest", fontsize=6.5, pad=3)
    ax.tick_params(length=2)


def page(panel: Panel):
    """One image: original, segments, top segments, weights for the two most probable classes, the
    five most probable classes, and how reliable the explanation is."""
    sample, figure = panel.sample, plt.figure(figsize=(WIDTH, 3.5))
    true, predicted, mapped = (sample[key] for key in ("true", "predicted", "mapped_class"))
    heading = f"{panel.name}{f' ({true})' if true else ''}: predicted {predicted}"
    heading += f", {sample['probability']:.0%}"
    if true and mapped == predicted:  # the model has the dataset's classes
        heading += ", correct" if predicted == true else ", incorrect"
    elif true:
        heading += f", a kind of {mapped}" if mapped else ", none of the ten classes"
    figure.text(0.008, 0.98, heading, va="top", fontsize=8.5, fontweight="bold")
    names, values = zip(*(row.values() for row in sample["top5"]), strict=True)
    first, second = (shorten(name, 16) for name in names[:2])
    height, width = panel.original.shape[:2]
    image, segments, weights = panel.image, panel.segments, panel.weights.T
    finer, parts = _finer(image, segments)
    borders = mark_boundaries(finer / 255, parts, color=(1, 1, 1), mode="inner")
    d = sample["n_segments"]
    images = (
        (panel.original, f"image, {width} x {height} pixels"),
        (borders, f"model input, {d} segments"),
        (top_segments_map(image, segments, weights[0]), f"top {min(TOP_K, d)} for {first}"),
        (weight_map(image, segments, weights[0]), f"weights for {first}"),
        (weight_map(image, segments, weights[1]), f"weights for {second}"),
    )
    for k, (shown, title) in enumerate(images):
        _show(figure.add_axes((0.008 + 0.199 * k, 0.46, 0.188, 0.407)), shown, title)
    bars = figure.add_axes((0.175, 0.13, 0.18, 0.283))
    bars.barh(range(len(values)), values, color=[FOR, *(["#b9b9c2"] * 4)], height=0.7)
    bars.set_yticks(range(len(values)), [shorten(name, 24) for name in names], fontsize=6.5)
    bars.invert_yaxis()
    bars.set(xlim=(0, 1), xticks=[])
    bars.spines["bottom"].set_visible(False)
    bars.tick_params(axis="y", length=0)
    for k, value in enumerate(values):
        bars.text(value + 0.02, k, percent(value), va="center", fontsize=6.5)
    notes = summary.describe(sample, "Log-odds")
    lines = [line for note in notes for line in textwrap.wrap(note, 78)]
    frame = {"fc": "none", "ec": FAINT, "linewidth": 0.6, "boxstyle": "round,pad=0.5"}
    style = {"fontsize": 6.1, "va": "top", "linespacing": 1.25, "bbox": frame}
    figure.text(0.385, 0.425, "\n".join(lines), **style)
    _color_key(figure.add_axes((0.878, 0.31, 0.105, 0.03)))
    return figure


def overview(panels: list[Panel]):
    """All images on one sheet: model input, top segments, weights for the predicted class.

    A heading begins with a check mark if the prediction is correct, otherwise with a cross.
    """
    columns = 2 if len(panels) <= 12 else 3
    step = (WIDTH / columns - 0.09) / 3  # inches from one image to the next
    side, row_height = step - 0.04, step + 0.34
    height = row_height * -(-len(panels) // columns) + 0.45
    size = 6.6 - 0.3 * columns
    figure = plt.figure(figsize=(WIDTH, height))
    for k, panel in enumerate(panels):
        row, column = divmod(k, columns)
        left, top = 0.05 + WIDTH / columns * column, row_height * row + 0.3
        shown = panel.image, panel.segments, panel.weights[:, 0]
        for n, image in enumerate((panel.image, top_segments_map(*shown), weight_map(*shown))):
            _show(axes_at(figure, left + step * n, top, side, side), image)
        sample = panel.sample
        true, predicted, mapped = (sample[key] for key in ("true", "predicted", "mapped_class"))
        heading = f"{'✓' if mapped == true else '✗'} {true}: {predicted}"
        heading += f" {sample['probability']:.0%}"
        if mapped not in (None, true, predicted):
            heading += f" (a kind of {mapped})"
        stable = sample["stability"]["similarity"] if sample["stability"] else np.nan
        measured = f"fidelity {sample['fidelity'] or np.nan:.2f}, stability {stable:.2f},"
        measured += f" {sample['model_calls_total']:,} calls, {sample['verdict']}"
        style = {"fontsize": size + 1, "fontweight": "bold", "va": "center"}
        text_at(figure, left, top - 0.16, heading, **style)
        text_at(figure, left, top - 0.055, measured, fontsize=size, va="center")
    _color_key(axes_at(figure, 0.4 * WIDTH, height - 0.29, 0.2 * WIDTH, 0.09))
    return figure


def kernel(d: int, widths: tuple[float, ...], shown: float):
    """The kernel of several widths against the number of shown segments, of `d`; and the
    probability of that number if each segment is shown with probability 1/2 (LIME) or `shown`
    (GLIME)."""
    figure, ax = plt.subplots(figsize=(5.6, 1.97), layout="constrained")
    k = np.arange(d + 1)
    ax.bar(k - 0.17, binom.pmf(k, d, 0.5), 0.3, color=FAINT, label="LIME package, ρ = 0.5")
    ax.bar(k + 0.17, binom.pmf(k, d, shown), 0.3, color=FOR, label=f"GLIME, ρ = {shown:.2f}")
    fine = np.linspace(0, d, 8 * d + 1)
    for width, style in zip(widths, (":", "-", "--"), strict=True):
        weights = np.exp(-((1 - np.sqrt(fine / d)) ** 2) / (2 * width**2))
        ax.plot(fine, weights, style, color=INK, linewidth=1, label=f"kernel, σ = {width:g}")
    ax.set(xlabel=f"segments shown, of {d}", ylabel="weight, probability")
    ax.set(xlim=(-0.5, d + 0.5), ylim=(0, 1.02), xticks=range(0, d + 1, 2), yticks=[0, 0.5, 1])
    figure.legend(loc="outside right upper", fontsize=6.5)
    return figure
