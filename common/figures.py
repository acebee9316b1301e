"""One visual style for every figure: pictures, maps over pictures, colour bars, saving.

Maps are shown in colour over the picture in grey, so that colour means one thing only: how much. Where a map is low the picture
shows through. The colours run evenly from dark violet to light yellow (matplotlib's `inferno`), which colour-blind readers and
grey printers keep in order; a thin white line runs where the map reaches half of its peak.
"""

import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

from common.cli import UserError
from common.results import read_json, write_whole

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend has to be chosen first)

WIDTH = 7.2  # inches: the width of a page's text
DPI = 200
NEARLY_WHITE = 247
INK, FAINT, ACCENT, SECOND = "#1b1b1e", "#8a8a93", "#1f5fa8", "#c2571a"
plt.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "axes.edgecolor": FAINT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "legend.frameon": False,
        "figure.dpi": DPI,
    }
)
COLOURS = matplotlib.colormaps["inferno"]
LOWEST_COLOUR = 0.25  # `inferno` below this is black, which would look like shadow


def save(figure, path: Path, photographs: bool = False) -> Path:
    """Writes a figure as PNG with the 256 colours that fit it best (a quarter of the size), whole or not at all; closes it.

    With `photographs` the colours are dithered, which keeps smooth enlarged pictures from falling into bands (half of the size)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    plt.close(figure)
    full = Image.open(buffer).convert("RGB")
    image = full.quantize(256, kmeans=2)
    if photographs:
        image = full.quantize(palette=image, dither=Image.Dither.FLOYDSTEINBERG)
    colours = np.array(image.getpalette(), dtype=np.uint8).reshape(-1, 3)
    colours[(colours >= NEARLY_WHITE).all(1)] = (
        255  # the paper is not among the colours that fit best
    )
    image.putpalette(colours.ravel().tolist())
    return write_whole(path, lambda file: image.save(file, format="PNG", optimize=True))


def remove_stale(out: Path, written: list[Path]) -> None:
    """Removes the figures that OUT/explanations.json of an earlier run names and that were not made again; nothing else, for in a user's own
    folder lie other pictures. To be called before that file is replaced."""
    try:
        earlier = read_json(out / "explanations.json").get("samples", [])
    except UserError:
        return
    kept = {path.resolve() for path in written}
    for name in {sample["figure"] for sample in earlier if "figure" in sample}:
        path = (out / name).resolve()
        if (
            path not in kept
            and path.is_relative_to((out / "figures").resolve())
            and path.suffix == ".png"
        ):
            path.unlink(missing_ok=True)


def grey(image: np.ndarray) -> np.ndarray:
    """Lightness (H, W) in 0 to 1 of a picture (H, W, 3) uint8 (Rec. 709 weights)."""
    return image.astype(float) @ [0.2126, 0.7152, 0.0722] / 255


def blend(lightness: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) for a map `level` (H, W) in 0 to 1 over a grey picture; the higher the level, the less shows through."""
    colour = COLOURS(LOWEST_COLOUR + (1 - LOWEST_COLOUR) * level)[..., :3]
    opacity = (0.10 + 0.70 * np.sqrt(level))[..., None]
    return (1 - opacity) * (0.15 + 0.7 * lightness[..., None]) + opacity * colour


def show_picture(ax, image: np.ndarray, title: str = "") -> None:
    """A picture (H, W, 3) uint8, enlarged without smoothing, so that its pixels can be seen."""
    ax.imshow(image, interpolation="nearest")
    _bare(ax, title)


def show_map(ax, image: np.ndarray, level: np.ndarray, title: str = "", dead: bool = False) -> None:
    """A map `level` (h, w) in 0 to 1 over its picture (H, W, 3). A dead map is said to be one, not drawn."""
    if dead:
        ax.imshow(0.5 + 0.4 * grey(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.text(
            0.5,
            0.5,
            "zero after\nReLU: no\nevidence",
            transform=ax.transAxes,
            ha="center",
            va="center",
            fontsize=7,
        )
        _bare(ax, title)
        return
    fine = np.kron(grey(image), np.ones((8, 8)))
    smooth = enlarge(level, fine.shape)
    ax.imshow(blend(fine, smooth), extent=(-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5))
    steps = [
        np.linspace(-0.5, n - 0.5, m)
        for n, m in ((image.shape[1], fine.shape[1]), (image.shape[0], fine.shape[0]))
    ]
    ax.contour(*steps, smooth, levels=[0.5 * smooth.max()], colors="white", linewidths=0.7)
    _bare(ax, title)


def enlarge(level: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear enlargement (H, W) of a map (h, w), cell centres staying in place."""
    source = Image.fromarray(level.astype(np.float32))
    return np.asarray(source.resize(size[::-1], Image.Resampling.BILINEAR))


def colour_bar(
    figure, box: tuple[float, float, float, float], label: str = "share of the map's peak"
) -> None:
    """The meaning of the colours, drawn over the middle grey, in `box` (left, bottom, width, height) of the figure."""
    ax = figure.add_axes(box)
    ramp = np.linspace(0, 1, 256)[None]
    ax.imshow(blend(np.full_like(ramp, 0.5), ramp), aspect="auto", extent=(0, 1, 0, 1))
    ax.set(xticks=[0, 0.5, 1], yticks=[], xlabel=label)
    ax.axvline(0.5, color="white", linewidth=0.8)
    ax.tick_params(length=2, labelsize=7)
    ax.xaxis.label.set_size(7)


def _bare(ax, title: str) -> None:
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=7, pad=2.5)
    for spine in ax.spines.values():
        spine.set_visible(False)
