"""Figures of Question 1: test accuracy, training, recipe choices, sheets of explanations."""

from common.figures import (
    ACCENT,
    FAINT,
    INK,
    WIDTH,
    axes_at,
    color_bar,
    plt,
    show_image,
    show_map,
    text_at,
)

import numpy as np


def per_class(evaluation: dict):
    """Accuracy of each class with its 95% Wilson interval; dashed: accuracy over all classes."""
    figure, ax = plt.subplots(figsize=(3, 3.3), layout="constrained")
    names = evaluation["classes_by_accuracy"]
    accuracy = 100 * np.array([evaluation["per_class_accuracy"][name] for name in names])
    bounds = 100 * np.array([evaluation["per_class_interval"][name] for name in names])
    errors = np.abs(bounds.T - accuracy)
    ax.errorbar(accuracy, names, xerr=errors, fmt="o", color=ACCENT, ms=4, ecolor=INK)
    ax.axvline(100 * evaluation["accuracy"], color=FAINT, linewidth=0.8, linestyle="--")
    ax.tick_params(labelsize=7)
    ax.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.5)
    ax.set(xlabel="accuracy, %")
    return figure


def reliability(evaluation: dict):
    """Accuracy against confidence before and after the temperature; bins of at least 20 images."""
    figure, ax = plt.subplots(figsize=(4, 2.8), layout="constrained")
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=":")
    after = f"after (T = {evaluation['temperature']:.2f})"
    for key, color, style, label in (
        ("reliability_as_trained", INK, "s--", "before (T = 1)"),
        ("reliability", ACCENT, "o-", after),
    ):
        diagram = evaluation[key]
        drawn = np.array(diagram["count"]) >= 20
        x, y = (np.array(diagram[axis], float)[drawn] for axis in ("confidence", "accuracy"))
        ax.plot(x, y, style, color=color, markersize=4, linewidth=1.2, label=label)
    ax.legend(loc="lower right", title="temperature scaling")
    ax.set(xlabel="confidence in the predicted class", ylabel="accuracy")
    ax.set(xlim=(0, 1), ylim=(0, 1.02))
    return figure


def training_curve(history: list[dict]):
    """Held-out accuracy after each epoch; dashed vertical lines where the image size changes."""
    figure, ax = plt.subplots(figsize=(5.4, 2.5), layout="constrained")
    epochs, sides = [row["epoch"] for row in history], [row["side"] for row in history]
    for key, color, style, label in (
        ("held_out_accuracy", ACCENT, "o-", "single view"),
        ("held_out_accuracy_mirror", INK, "s--", "averaged with the mirror image"),
    ):
        values = [100 * row[key] for row in history]
        ax.plot(epochs, values, style, color=color, markersize=3, linewidth=1.2, label=label)
    starts = [k for k, side in enumerate(sides) if k == 0 or side != sides[k - 1]]
    for start, end in zip(starts, [*starts[1:], len(sides)], strict=True):
        if start:
            ax.axvline(epochs[start] - 0.5, color=FAINT, linewidth=0.8, linestyle="--")
        middle, text = (epochs[start] + epochs[end - 1]) / 2, f"{sides[start]} px"
        ax.text(middle, 1, text, color=FAINT, ha="center", transform=ax.get_xaxis_transform())
    ax.legend(loc="lower right", fontsize=7)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="epoch", ylabel="held-out accuracy, %")
    return figure


def ladder(rows: list[dict]):
    """Held-out accuracy of each recipe against the FLOPs of its training; bars: range of seeds."""
    figure, ax = plt.subplots(figsize=(5.4, 2.8), layout="constrained")
    cost = [row["train_flops"] / 1e15 for row in rows]
    for key, color, style, label in (
        ("accuracy_mirror", INK, "s", "averaged with the mirror image"),
        ("accuracy", ACCENT, "o", "single view"),
    ):
        mean, low, high = (
            np.array([100 * row[key][kind] for row in rows])
            for kind in ("mean", "lowest", "highest")
        )
        bars = [mean - low, high - mean]
        ax.errorbar(cost, mean, yerr=bars, fmt=style, color=color, ms=4, linewidth=0.8, label=label)
    ax.legend(loc="lower right", fontsize=7)
    ax.set(xlabel="cost of training, PFLOP", ylabel="held-out accuracy, %", xlim=(0, None))
    return figure


def sheet(rows: list[list], columns: int, note: str, names: list[str] | None = None):
    """Rows of images, each next to its maps; below, a note and the color bar.

    A row consists of lists of tiles: an image (H, W, 3) uint8 and its signed maps (h, w), each with
    the two lines of its title, of which the second names the class. `names` appear to the left of
    the rows. Titles then leave out the true class.
    """
    named, tiles = names is not None, len(rows[0][0])
    left, right, gap, bottom = 0.72 if named else 0.0, 0.08, 0.1, 0.5
    titles = 0.15 if named and tiles == 2 else 0.26
    tile = (WIDTH - left - right - gap * (columns - 1)) / (columns * tiles)
    height = len(rows) * (tile + titles) + bottom
    figure = plt.figure(figsize=(WIDTH, height))
    for r, (name, row) in enumerate(zip(names or [""] * len(rows), rows, strict=True)):
        y = titles + r * (tile + titles)
        text_at(figure, left - 0.06, y + tile / 2, name, ha="right", va="center")
        for column, panel in enumerate(row):
            for k, (values, first, second) in enumerate(panel):
                x, side = left + column * (tiles * tile + gap) + k * tile + 0.01, tile - 0.02
                ax = axes_at(figure, x, y + 0.02, side, side)
                title = f"{first}\n{second}"
                if named and (k == 0 or tiles == 2):
                    title = second if k else first
                if k == 0:
                    show_image(ax, values, title)
                else:
                    show_map(ax, panel[0][0], values, title)
                ax.title.set_fontsize(6)
    text_at(figure, 0, height - 0.05, note, va="baseline", fontsize=6.5, color=FAINT)
    color_bar(axes_at(figure, WIDTH - 1.8, height - 0.44, 1.65, 0.08))
    return figure


def worked_example(image: np.ndarray, activations: np.ndarray, gradients: np.ndarray):
    """The arithmetic of Grad-CAM for one image (H, W, 3), with (C, h, w) activations and gradients.

    Shows the channels with the largest sum of |weight x activation|.
    """
    channels = 5
    alpha = gradients.mean((1, 2))
    parts = alpha[:, None, None] * activations
    chosen = np.argsort(-np.abs(parts).sum((1, 2)), kind="stable")[:channels]
    rest, raw = np.delete(parts, chosen, axis=0).sum(0), parts.sum(0)
    limit = max(np.abs(rest).max(), np.abs(raw).max(), 1e-12)
    channel_limit = max(np.abs(parts[chosen]).max(), 1e-12)
    figure = plt.figure(figsize=(WIDTH, 3.95))
    place = {"left": 0, "right": 1, "bottom": 0, "top": 0.95, "wspace": 0.06, "hspace": 0.2}
    grid = figure.add_gridspec(3, channels + 1, **place)

    def show(row, column, values, title, **options):
        ax = figure.add_subplot(grid[row, column])
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, fontsize=7, pad=3, parse_math=True)
        ax.spines[:].set_visible(False)
        return ax.imshow(values, **options)

    low, high = min(0, activations[chosen].min()), activations[chosen].max()
    gray = {"cmap": "gray", "vmin": low, "vmax": high}
    signed = {"cmap": "PuOr_r", "vmin": -limit, "vmax": limit}
    signed_channel = {"cmap": "PuOr_r", "vmin": -channel_limit, "vmax": channel_limit}
    for k, c in enumerate(chosen):
        show(0, k, activations[c], f"activation $A_{{{c}}}$", **gray)
        title = f"$\\alpha_{{{c}}} A_{{{c}}}$, $\\alpha$ = {alpha[c]:+.4f}"
        show(1, k, parts[c], title, **signed_channel)
    show(0, channels, image, "image", interpolation="nearest")
    show(1, channels, rest, f"sum of the other {len(alpha) - channels}", **signed)
    scale = show(2, 0, raw, r"sum of all: $\sum_c \alpha_c A_c$", **signed)
    show(2, 1, np.maximum(raw, 0), "ReLU of the sum", **signed)
    title = f"upsampled {image.shape[0] // raw.shape[0]} times"
    show_map(figure.add_subplot(grid[2, 2]), image, raw, title)

    discarded = np.maximum(-raw, 0).sum() / max(np.abs(raw).sum(), 1e-12)
    note = (
        "Color bar: contribution to the logit, for the sums.\n"
        f"Single channels: colors {limit / channel_limit:.0f} times as strong.\n"
        f"Sum of the map over its {raw.size} cells: {raw.sum():+.2f}\n"
        f"Share that the ReLU discards: {discarded:.1%}"
    )
    figure.text(0.53, 0.24, note, fontsize=7, va="top", linespacing=1.5)
    bar = figure.add_axes((0.53, 0.05, 0.36, 0.025))
    figure.colorbar(scale, cax=bar, orientation="horizontal")
    bar.tick_params(labelsize=7, length=2)
    return figure
