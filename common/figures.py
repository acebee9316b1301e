"""A common style for all figures: images, maps over images, the color bar, saving.

A map is drawn in color over its image in gray; low values are nearly transparent. The lightness of
the colormap `inferno` increases monotonically, which suits color-blind readers and gray prints. A
white contour marks half of the map's maximum.
"""

import io
from contextlib import suppress
from pathlib import Path

from common.cli import UserError
from common.results import read_json, reading, write_whole

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

WIDTH = 7.2  # inches, the width of the text on a page
DPI = 200
NEARLY_WHITE = 247
INK, FAINT, ACCENT, SECOND = "#1b1b1e", "#8a8a93", "#1f5fa8", "#c2571a"
COLORS = plt.get_cmap("inferno")
DEAD = "zero after\nReLU: no\nevidence"  # drawn instead of a map
LOWEST_COLOR = 0.25  # below this, `inferno` is almost black and would look like a shadow
plt.switch_backend("Agg")  # matplotlib may have been imported before common/__init__.py
plt.rc("font", family="DejaVu Sans", size=8)
plt.rc("axes", titlesize=8, labelsize=8, edgecolor=FAINT, labelcolor=INK)
plt.rc("axes.spines", top=False, right=False)
plt.rc("text", color=INK, parse_math=False)  # names may contain dollar signs
plt.rc("legend", frameon=False)
plt.rc("figure", dpi=DPI)
plt.rc("svg", fonttype="path", hashsalt="common.figures")  # without a salt, ids are random


def save(figure, path: Path, photographs: bool = False) -> Path:
    """Writes a figure and closes it: SVG if `path` ends in .svg, otherwise PNG.

    An SVG is the same in every run. A PNG is reduced to 256 colors, which makes it about four times
    smaller; `photographs` adds dithering, which avoids bands in smooth images.
    """
    buffer, svg = io.BytesIO(), Path(path).suffix == ".svg"
    options = {"format": "svg", "metadata": {"Date": None, "Creator": None}} if svg else {}
    figure.savefig(buffer, dpi=DPI, **options)
    plt.close(figure)
    if svg:
        return write_whole(path, lambda file: file.write(buffer.getvalue()))
    full = Image.open(buffer).convert("RGB")
    image = full.quantize(256, kmeans=2)
    if photographs:
        image = full.quantize(palette=image, dither=Image.Dither.FLOYDSTEINBERG)
    palette = np.array(image.getpalette(), dtype=np.uint8).reshape(-1, 3)
    palette[(palette >= NEARLY_WHITE).all(1)] = 255  # quantization turns white grayish
    image.putpalette(palette.ravel().tolist())
    return write_whole(path, lambda file: image.save(file, format="PNG", optimize=True))


def remove_stale(out: Path, written: list[Path]) -> None:
    """Deletes the figures listed in `out`/explanations.json that are not in `written`.

    Must be called before explanations.json is replaced. Does not touch other files.
    """
    path, listed = out / "explanations.json", set()
    with suppress(UserError), reading(path):
        listed = {(out / row["figure"]).resolve() for row in read_json(path)["samples"]}
    for old in listed - {path.resolve() for path in written}:
        if old.is_relative_to((out / "figures").resolve()) and old.suffix in (".png", ".svg"):
            old.unlink(missing_ok=True)


def confusion(matrix: np.ndarray, names: tuple[str, ...], size: tuple[float, float]):
    """Confusion matrix (counts), true classes in rows; `size` in inches.

    Mistakes are colored by the square root of their number; the diagonal is white.
    """
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    mistakes = np.where(np.eye(len(names), dtype=bool), np.nan, np.sqrt(matrix))
    top = max(np.nanmax(mistakes), 1)
    ax.imshow(mistakes, cmap="Blues", vmin=0, vmax=1.15 * top)
    for t, p in zip(*matrix.nonzero(), strict=True):
        color = "white" if t != p and mistakes[t, p] > 0.7 * top else INK
        style = {"fontsize": 6, "fontweight": "bold" if t == p else "normal"}
        ax.text(p, t, matrix[t, p], color=color, ha="center", va="center", **style)
    ax.set_xticks(range(len(names)), names, rotation=50, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(length=0, labelsize=7)
    ax.spines[:].set_visible(False)
    ax.set(xlabel="predicted class", ylabel="true class")
    return figure


def axes_at(figure, left: float, top: float, width: float, height: float):
    """Axes at a place given in inches from the top left corner of a figure."""
    full_width, full_height = figure.get_size_inches()
    bottom = 1 + (-top - height) / full_height
    return figure.add_axes((left / full_width, bottom, width / full_width, height / full_height))


def text_at(figure, left: float, top: float, text: str, **style) -> None:
    """Text at a place given in inches from the top left corner of a figure."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, **{"va": "top"} | style)


def shorten(text: str, length: int) -> str:
    """The text, cut to `length` characters with an ellipsis if it is longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


def to_gray(image: np.ndarray) -> np.ndarray:
    """Lightness (H, W) in 0 to 1 of an image (H, W, 3) uint8 (Rec. 709 weights)."""
    return image.astype(float) @ [0.2126, 0.7152, 0.0722] / 255


def blend(lightness: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Colors (H, W, 3) of a map `level` (H, W) over `lightness` (H, W), all in 0 to 1."""
    color = COLORS(LOWEST_COLOR + (1 - LOWEST_COLOR) * level)[..., :3]
    opacity = (0.10 + 0.70 * np.sqrt(level))[..., None]
    return (1 - opacity) * (0.15 + 0.7 * lightness[..., None]) + opacity * color


def overlay(image: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) uint8 with the positive part of a signed map (h, w) over it, uint8."""
    level = enlarge(_level(raw), image.shape[:2])
    return (255 * blend(to_gray(image), level)).round().astype(np.uint8)


def _level(raw: np.ndarray) -> np.ndarray:
    """The positive part of a signed map, relative to its maximum."""
    return np.maximum(raw, 0) / max(raw.max(), 1e-30)


def show_image(ax, image: np.ndarray, title: str = "", **options) -> None:
    """Draws an image (H, W, 3) uint8, without interpolation unless `options` of `imshow` say so."""
    ax.imshow(image, **{"interpolation": "nearest"} | options)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=7, pad=2.5)
    ax.spines[:].set_visible(False)


def show_map(
    ax, image: np.ndarray, raw: np.ndarray, title: str = "", strength: float = 1, note: str = ""
) -> None:
    """Draws the positive part of a signed map (h, w) over an image (H, W, 3) uint8.

    `strength`, 0 to 1, weakens the colors. A `note` is drawn instead of the map, and DEAD instead
    of a map without positive values.
    """
    gray, note = to_gray(image), note or ("" if raw.max() > 0 else DEAD)
    if note:
        show_image(ax, 0.5 + 0.4 * gray, title, cmap="gray", vmin=0, vmax=1)
        ax.text(0.5, 0.5, note, fontsize=7, ha="center", va="center", transform=ax.transAxes)
    else:
        height, width = gray.shape
        finer = 8 if max(height, width) <= 64 else 2  # smooth colors on small images
        fine = np.kron(gray, np.ones((finer, finer)))
        smooth = enlarge(strength * _level(raw), fine.shape)
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        show_image(ax, blend(fine, smooth), title, extent=extent, interpolation=None)
        x, y = (np.linspace(-0.5, n - 0.5, finer * n) for n in (width, height))
        ax.contour(x, y, smooth, levels=[0.5 * smooth.max()], colors="white", linewidths=0.7)


def enlarge(level: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map (h, w), resized to `size` (H, W) by bilinear interpolation."""
    source = Image.fromarray(level.astype(np.float32))
    return np.asarray(source.resize(size[::-1], Image.Resampling.BILINEAR))


def color_bar(ax, strength: float = 1) -> None:
    """Draws the map colors over medium gray; `strength`, 0 to 1, is the level at the maximum."""
    ramp = np.linspace(0, 1, 256)[None]
    ax.imshow(blend(np.full_like(ramp, 0.5), strength * ramp), aspect="auto", extent=(0, 1, 0, 1))
    ax.set(xticks=[0, 0.5, 1], yticks=[])
    ax.set_xlabel("share of the map's maximum", size=7)
    ax.axvline(0.5, color="white", linewidth=0.8)
    ax.tick_params(length=2, labelsize=7)
