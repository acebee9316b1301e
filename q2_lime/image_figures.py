"""The figures of Question 2's image half: one page for each explained picture, an overview, the ablation."""

import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from skimage.segmentation import find_boundaries

from common.figures import ACCENT, FAINT, INK, SECOND, WIDTH, plt, show_image, to_gray

FOR, AGAINST = ACCENT, SECOND
SIGNED = LinearSegmentedColormap.from_list(
    "signed", [AGAINST, "#ffffff", FOR]
)  # orange against, white nothing, blue for
LEADING = 5  # superpixels that are marked
FINE = 256  # pixels a side, about, on which borders and rims are drawn, so that they are thin on small pictures too


@dataclass(frozen=True)
class Explained:
    """An explained picture ready to be drawn.

    Attributes:
        name: for the title; true: its class, empty where nobody knows.
        original: (h, w, 3) uint8 as it came; picture: (H, W, 3) uint8 as the model saw it; labels: (H, W) its regions.
        weights: (d, 2) for the class the model says and for the runner-up.
        top5: (name, probability), most probable first; meaning: the CIFAR-10 class that the first is a kind of, or None.
        card: lines on how far to trust it; brief: the same in half a line; trusted: whether the verdict is good.
    """

    name: str
    true: str
    original: np.ndarray
    picture: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    top5: list[tuple[str, float]]
    meaning: str | None
    card: list[str]
    brief: str
    trusted: bool


def signed_map(picture: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3): each region in the colour of its weight (d,), scaled to the largest |weight|, darkened where the picture is dark."""
    level = weights[labels] / max(np.abs(weights).max(), 1e-300)
    return SIGNED(0.5 + 0.5 * level)[..., :3] * (0.45 + 0.55 * to_gray(picture)[..., None])


def leading_map(
    picture: np.ndarray, labels: np.ndarray, weights: np.ndarray, count: int = LEADING
) -> np.ndarray:
    """Colours (n H, n W, 3), n as in `_fine`: the `count` leading regions in the picture's own colours with a rim, blue for and orange
    against; all else pale."""
    picture, labels = _fine(picture, labels)
    image, shown = picture / 255.0, 0.75 + 0.25 * to_gray(picture)[..., None].repeat(3, axis=2)
    for k in np.argsort(-np.abs(weights), kind="stable")[:count]:
        region = labels == k
        shown[region] = image[region]
        rim = find_boundaries(np.pad(region, 1), mode="inner")[1:-1, 1:-1]
        rim |= find_boundaries(region, mode="inner")
        wide = rim.copy()
        for axis in (0, 1):
            wide |= np.roll(rim, 1, axis) & region
            wide |= np.roll(rim, -1, axis) & region
        shown[wide] = to_rgb(FOR if weights[k] > 0 else AGAINST)
    return shown


def _fine(picture: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A small picture (H, W, 3) and its regions (H, W), every pixel as n x n, to have about FINE a side."""
    n = max(1, round(FINE / picture.shape[0]))
    return picture.repeat(n, 0).repeat(n, 1), labels.repeat(n, 0).repeat(n, 1)


def outlines(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The picture, as in `_fine`, with the borders of its regions in white."""
    picture, labels = _fine(picture, labels)
    shown = picture / 255.0
    shown[find_boundaries(labels, mode="inner")] = 1.0
    return shown


def page(shown: Explained):
    """One picture: as it is, as the model saw it with its regions, the leading regions, signed weights for the class and the runner-up,
    the five most probable classes, the card."""
    figure = plt.figure(figsize=(WIDTH, 3.3))
    title = f"{shown.name}{': ' + shown.true if shown.true else ''}"
    figure.text(
        0.01,
        0.975,
        f"{title}; {says(shown)}",
        fontsize=9,
        fontweight="bold",
        va="top",
        parse_math=False,
    )
    first, second = (short(name) for name, _ in shown.top5[:2])
    small = f"{shown.original.shape[1]} x {shown.original.shape[0]} pixels"
    panels = (
        (shown.original, f"the picture, {small}"),
        (
            outlines(shown.picture, shown.labels),
            f"what the model saw, {shown.labels.max() + 1} regions",
        ),
        (
            leading_map(shown.picture, shown.labels, shown.weights[:, 0]),
            f"{LEADING} leading for {first}",
        ),
        (signed_map(shown.picture, shown.labels, shown.weights[:, 0]), f"weights for {first}"),
        (signed_map(shown.picture, shown.labels, shown.weights[:, 1]), f"weights for {second}"),
    )
    for k, (image, text) in enumerate(panels):
        ax = figure.add_axes((0.008 + 0.199 * k, 0.455, 0.188, 0.41))
        show_image(ax, image, text)
        ax.set_anchor("N")  # a picture that is no square stays below its title
        _edge(ax)
        ax.title.set_size(6.2)
    bars = figure.add_axes((0.175, 0.12, 0.20, 0.28))
    names, values = zip(*shown.top5, strict=True)
    bars.barh(range(5), values, color=[FOR, AGAINST, *(["#b9b9c2"] * 3)], height=0.7)
    bars.set_yticks(range(5), [short(name, 24) for name in names], fontsize=6.5)
    bars.invert_yaxis()
    bars.set(xlim=(0, 1), xticks=[])
    bars.spines["bottom"].set_visible(False)
    bars.tick_params(axis="y", length=0)
    for k, value in enumerate(values):
        bars.text(value + 0.02, k, f"{value:.0%}", va="center", fontsize=6.5)
    lines = [
        line for text in shown.card for line in textwrap.wrap(text, 60, subsequent_indent="  ")
    ]
    colour = INK if shown.trusted else AGAINST
    figure.text(
        0.425,
        0.40,
        "\n".join(lines),
        fontsize=6.3,
        va="top",
        linespacing=1.3,
        color=colour,
        bbox={
            "facecolor": "none",
            "edgecolor": FAINT if shown.trusted else AGAINST,
            "linewidth": 0.6,
            "boxstyle": "round,pad=0.6",
        },
    )
    _signed_bar(figure, (0.84, 0.27, 0.14, 0.032))
    return figure


def _edge(ax) -> None:
    """A thin line around a picture, whose pale parts would run into the paper."""
    for spine in ax.spines.values():
        spine.set(visible=True, color=FAINT, linewidth=0.4)


def _signed_bar(figure, box) -> None:
    ax = figure.add_axes(box)
    ax.imshow(np.linspace(-1, 1, 256)[None], cmap=SIGNED, aspect="auto", extent=(-1, 1, 0, 1))
    ax.set(xticks=[-1, 0, 1], yticks=[])
    ax.set_xticklabels(["against", "0", "for"], fontsize=6.5)
    ax.set_xlabel("weight of a region,\nshare of the largest", fontsize=6.2, labelpad=1)
    ax.tick_params(length=2)


def says(shown: Explained) -> str:
    """What the model says, and whether that is a kind of the true class."""
    name, probability = shown.top5[0]
    if name == shown.meaning:  # a model of these very classes
        judged = (
            ""
            if not shown.true
            else ", which is right"
            if name == shown.true
            else ", which is wrong"
        )
    elif shown.meaning and shown.meaning == shown.true:
        judged = f", a kind of {shown.true}"
    elif shown.meaning and shown.true:
        judged = f", a kind of {shown.meaning}"
    else:
        judged = ", none of the ten classes" if shown.true else ""
    return f"the model says {name} ({probability:.0%}){judged}"


def short(name: str, most: int = 20) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def overview(explained: list[Explained], title: str, caption: str):
    """All pictures on one sheet, in two columns or, where there are many, in three: the picture as the model saw it, the leading regions and
    the signed weights for what it says."""
    columns = 2 if len(explained) <= 12 else 3
    rows = -(-len(explained) // columns)
    step = (WIDTH / columns - 0.09) / 3  # inches from one panel to the next
    side, high = step - 0.04, step + 0.34
    height = high * rows + 1.2
    size = 6.4 - 0.3 * columns
    figure = plt.figure(figsize=(WIDTH, height))
    figure.text(
        0.5, 1 - 0.08 / height, title, fontsize=10, fontweight="bold", ha="center", va="top"
    )
    for k, shown in enumerate(explained):
        row, column = divmod(k, columns)
        left, bottom = 0.09 + WIDTH / columns * column, height - 0.34 - high * row - 0.29 - side
        for n, image in enumerate(
            (
                shown.picture,
                leading_map(shown.picture, shown.labels, shown.weights[:, 0]),
                signed_map(shown.picture, shown.labels, shown.weights[:, 0]),
            )
        ):
            ax = figure.add_axes(
                ((left + step * n) / WIDTH, bottom / height, side / WIDTH, side / height)
            )
            show_image(ax, image)
            _edge(ax)
        known = (
            ""
            if shown.meaning in (shown.true, shown.top5[0][0])
            else " (a kind of " + shown.meaning + ")"
            if shown.meaning
            else ""
        )
        above = (bottom + side) / height
        figure.text(
            left / WIDTH,
            above + 0.16 / height,
            f"{shown.true}: {shown.top5[0][0]} {shown.top5[0][1]:.0%}{known}",
            fontsize=size + 1.2,
            fontweight="bold",
            va="center",
            color=INK if shown.meaning == shown.true else AGAINST,
        )
        figure.text(
            left / WIDTH,
            above + 0.055 / height,
            shown.brief,
            fontsize=size,
            va="center",
            color=INK if shown.trusted else AGAINST,
        )
    figure.text(
        0.02,
        0.66 / height,
        "\n".join(textwrap.wrap(caption, 104)),
        fontsize=6.8,
        va="top",
        linespacing=1.3,
    )
    _signed_bar(figure, (0.80, 0.44 / height, 0.18, 0.09 / height))
    return figure


def ablation(rows: list[dict], title: str, known: dict[str, float] | None = None):
    """One panel a factor: fidelity and stability of each of its values, medians with quartiles over the pictures; `known`, by way of enlarging,
    in a panel of its own."""
    factors = list(dict.fromkeys(row["factor"] for row in rows))
    columns = 4
    lines = -(-len(factors) // columns)
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(WIDTH, 2.0 * lines + 0.6),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for ax in axes.ravel()[len(factors) :]:
        ax.axis("off")
    for ax, factor in zip(axes.ravel(), factors, strict=False):
        chosen = [row for row in rows if row["factor"] == factor]
        x = np.arange(len(chosen))
        for key, colour, marker, shift in (
            ("fidelity", FOR, "o", -0.1),
            ("jaccard", AGAINST, "s", 0.1),
        ):
            quartiles = np.array([row[f"{key}_quartiles"] for row in chosen])
            middle = np.array([row[key] for row in chosen])
            ax.vlines(x + shift, *np.clip(quartiles, -0.1, 1).T, color=colour, linewidth=1)
            ax.plot(x + shift, np.clip(middle, -0.1, 1), marker, color=colour, markersize=4)
        names = [f"{row['value']}, {row['seconds']:.2g} s" for row in chosen]
        ax.set_xticks(x, names, rotation=55, ha="right", rotation_mode="anchor", fontsize=6)
        for tick, row in zip(ax.get_xticklabels(), chosen, strict=True):
            tick.set_fontweight("bold" if row["usual"] else "normal")
        ax.set_title(factor, fontsize=7.5)
        ax.grid(axis="y", color="#e4e4e8")
        ax.set_axisbelow(True)
        ax.set_ylim(-0.12, 1.04)
    if known:  # how often the model is right, by way of enlarging
        ax = axes.ravel()[len(factors)]
        ax.axis("on")
        ax.bar(range(len(known)), known.values(), color="#b9b9c2", width=0.6)
        for k, share in enumerate(known.values()):
            ax.text(k, share + 0.03, f"{share:.0%}", ha="center", fontsize=6.5)
        ax.set_xticks(
            range(len(known)), known, rotation=55, ha="right", rotation_mode="anchor", fontsize=6
        )
        ax.set_title("pictures the model knows", fontsize=7.5)
    handles = [
        plt.Line2D([], [], color=FOR, marker="o", markersize=4),
        plt.Line2D([], [], color=AGAINST, marker="s", markersize=4),
    ]
    figure.legend(
        handles,
        ["held-out fidelity (R²)", "top-5 overlap between seeds (Jaccard)"],
        loc="outside lower center",
        ncols=2,
    )
    figure.suptitle(title, fontsize=8.5)
    return figure
