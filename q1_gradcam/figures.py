"""The figures of Question 1: measures of the classifier, sheets of explanations, one example worked out."""

from dataclasses import dataclass

import numpy as np

from common.figures import ACCENT, FAINT, SECOND, WIDTH, color_bar, plt, show_image, show_map
from common.statistics import wilson_interval

CAPTION = 120  # characters that fit on a line of a caption, above the colour bar


@dataclass(frozen=True)
class PanelMap:
    """A map ready to be drawn: `level` (h, w) in 0 to 1; whether it is `dead`; the class it explains and its confidence."""

    level: np.ndarray
    dead: bool
    explains: str
    confidence: float


@dataclass(frozen=True)
class Panel:
    """One explained picture: `image` (H, W, 3) uint8, its `name`, its true class, what the network says, and its maps."""

    image: np.ndarray
    name: str
    true: str
    predicted: str
    maps: tuple[PanelMap, ...]

    def titles(self) -> list[str]:
        """What stands above the picture and above each map."""
        return [f"{self.name}  {self.true}", *map(self._title, self.maps)]

    def _title(self, shown: PanelMap) -> str:
        if shown.explains == self.predicted == self.true:
            role = ""
        elif shown.explains == self.predicted:
            role = "says "
        else:
            role = "true: " if shown.explains == self.true else "for "
        return f"{role}{shown.explains} {shown.confidence:.0%}"


def confusion(matrix: np.ndarray, names: tuple[str, ...]):
    """Confusion matrix, counts; the diagonal is left uncoloured so that the mistakes can be told apart."""
    figure, ax = plt.subplots(figsize=(WIDTH * 0.8, WIDTH * 0.72), layout="constrained")
    mistakes = np.where(np.eye(len(names), dtype=bool), np.nan, matrix)
    shown = ax.imshow(mistakes, cmap="Blues", vmin=0)
    for t, p in np.ndindex(matrix.shape):
        if matrix[t, p]:
            light = t != p and matrix[t, p] > 0.6 * np.nanmax(mistakes)
            ax.text(
                p,
                t,
                matrix[t, p],
                ha="center",
                va="center",
                fontsize=7,
                color="white" if light else "black",
                fontweight="bold" if t == p else "normal",
            )
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="predicted class", ylabel="true class")
    figure.colorbar(shown, ax=ax, shrink=0.7, label="mistakes (test pictures)")
    return figure


def per_class(matrix: np.ndarray, names: tuple[str, ...]):
    """Accuracy of each class, worst first, with 95% intervals (Wilson)."""
    total, right = matrix.sum(1), matrix.diagonal()
    share = right / total
    order = np.argsort(share)
    bounds = np.array([wilson_interval(r, n) for r, n in zip(right, total, strict=True)]).T
    error = np.abs(bounds - share)
    figure, ax = plt.subplots(figsize=(WIDTH * 0.7, 2.7), layout="constrained")
    places = np.arange(len(names))
    ax.barh(
        places,
        100 * share[order],
        xerr=100 * error[:, order],
        color=ACCENT,
        ecolor="black",
        capsize=2,
        height=0.65,
    )
    low = 100 * bounds.min()
    start = max(0, 5 * np.floor(low / 5) - 5)
    for place, k in zip(places, order, strict=True):
        ax.text(start + 0.3, place, f"{share[k]:.1%}", va="center", color="white", fontsize=7)
    ax.set_yticks(places, [names[k] for k in order])
    overall = 100 * right.sum() / total.sum()
    ax.axvline(overall, color=SECOND, linewidth=1)
    ax.text(
        overall,
        len(names) - 0.35,
        f"all {overall:.1f}%",
        color=SECOND,
        fontsize=7,
        ha="center",
        va="bottom",
    )
    ax.set(
        xlim=(start, 100),
        xlabel=f"accuracy on the test pictures of the class, %   (axis starts at {start:.0f})",
    )
    return figure


def reliability(diagrams: dict[str, dict], errors: dict[str, float], temperature: float):
    """Accuracy against confidence, as trained and after dividing the logits by the temperature; below, how many pictures."""
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(WIDTH * 0.7, 4.6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    labels = {"as_trained": "as trained", "calibrated": f"divided by T = {temperature:.2f}"}
    top.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle="--")
    top.text(0.10, 0.03, "as sure as it is right", color=FAINT, fontsize=7)
    for (kind, diagram), colour, marker in zip(
        diagrams.items(), (SECOND, ACCENT), "so", strict=True
    ):
        filled = [
            (c, a)
            for c, a, n in zip(
                *(diagram[k] for k in ("confidence", "accuracy", "count")), strict=True
            )
            if n >= 20
        ]
        label = f"{labels[kind]}: calibration error {errors[kind]:.1%}"
        top.plot(
            *zip(*filled, strict=True),
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=1.2,
            label=label,
        )
        middles = np.array(diagram["low"]) + 0.5 / len(diagram["low"])
        bottom.step(middles, diagram["count"], where="mid", color=colour, linewidth=1.2)
    top.legend(loc="lower right", fontsize=7)
    top.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    bottom.set(xlabel="confidence in the predicted class", ylabel="pictures")
    bottom.set_yscale("symlog", linthresh=10)
    bottom.set_ylim(bottom=0)
    bottom.set_yticks([0, 10, 100, 1000], ["0", "10", "100", "1000"])
    top.set_title(
        "bins with fewer than 20 pictures are left out above", fontsize=7, color=FAINT, loc="left"
    )
    return figure


def sheet(panels: list[Panel], title: str, caption: str, columns: int = 5):
    """Pictures of one class: rows of five, each picture above its map, or its two maps."""
    per = 1 + len(panels[0].maps)
    blocks = -(-len(panels) // columns)
    cell, top, bottom, gap = WIDTH / columns, 0.42, 0.95, 0.19
    height = blocks * per * cell + top + bottom
    figure = plt.figure(figsize=(WIDTH, height))
    for k, panel in enumerate(panels):
        block, column = divmod(k, columns)
        for row, text in enumerate(panel.titles()):
            y = height - top - (block * per + row + 1) * cell
            ax = figure.add_axes(
                _share((column * cell + 0.04, y + 0.03, cell - 0.08, cell - gap), WIDTH, height)
            )
            if row == 0:
                show_image(ax, panel.image, text)
            else:
                show_map(ax, panel.image, panel.maps[row - 1].level, text, panel.maps[row - 1].dead)
    _frame(figure, title, caption, height)
    return figure


def overview(rows: dict[str, list[Panel]], title: str, caption: str):
    """All classes on one page, a row each: every picture beside its map, or its two maps."""
    most = max(len(panels) for panels in rows.values())
    per = 1 + max(len(panel.maps) for panels in rows.values() for panel in panels)
    left, top, bottom = 0.75, 0.42, 0.95
    cell = (WIDTH - left) / (most * per + 0.25 * (most - 1))
    line = cell + (0.16 if per == 2 else 0.27)
    height = len(rows) * line + top + bottom
    figure = plt.figure(figsize=(WIDTH, height))
    for r, (name, panels) in enumerate(rows.items()):
        y = height - top - (r + 1) * line
        figure.text(
            (left - 0.08) / WIDTH,
            (y + cell / 2) / height,
            name,
            ha="right",
            va="center",
            fontsize=8,
        )
        for k, panel in enumerate(panels):
            for j in range(per):
                x = left + (k * (per + 0.25) + j) * cell
                ax = figure.add_axes(_share((x + 0.01, y, cell - 0.02, cell - 0.02), WIDTH, height))
                if j == 0:
                    show_image(ax, panel.image)
                    continue
                m = panel.maps[j - 1]
                same = (
                    m.explains == panel.true == panel.predicted
                )  # then the row's name has said it
                show_map(
                    ax,
                    panel.image,
                    m.level,
                    f"{m.confidence:.0%}" if same else f"{m.explains}\n{m.confidence:.0%}",
                    m.dead,
                )
                ax.title.set_fontsize(6)
    _frame(figure, title, caption, height)
    return figure


def single(panel: Panel, title: str, caption: str):
    """The user's own picture beside its map."""
    height = 4.2
    figure = plt.figure(figsize=(WIDTH, height))
    for k in range(1 + len(panel.maps)):
        ax = figure.add_axes(_share((0.3 + 3.4 * k, 0.95, 3.1, 2.75), WIDTH, height))
        if k == 0:
            show_image(ax, panel.image, panel.name)
        else:
            m = panel.maps[k - 1]
            show_map(ax, panel.image, m.level, f"{m.explains} {m.confidence:.0%}", m.dead)
    _frame(figure, title, caption, height)
    return figure


def _frame(figure, title: str, caption: str, height: float) -> None:
    figure.text(
        0.01, 1 - 0.08 / height, title, fontsize=9.5, fontweight="bold", va="top", parse_math=False
    )
    figure.text(
        0.01, 0.86 / height, caption, fontsize=7, va="top", linespacing=1.35, parse_math=False
    )
    color_bar(figure, _share((WIDTH - 1.75, 0.46, 1.65, 0.13), WIDTH, height))


def _share(box: tuple[float, float, float, float], width: float, height: float):
    """A box in inches as shares of the figure."""
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def worked_example(image, activations, gradients, title: str, channels: int = 5):
    """Grad-CAM's arithmetic on one picture.

    Args:
        image: (H, W, 3) uint8.
        activations, gradients: (C, h, w) of the explained layer.
        channels: how many channels to show, those whose |weight x activation| is largest in sum.
    """
    alpha = gradients.mean((1, 2))
    parts = alpha[:, None, None] * activations
    chosen = np.argsort(-np.abs(parts).sum((1, 2)), kind="stable")[:channels]
    rest = np.delete(parts, chosen, axis=0).sum(0)
    raw = parts.sum(0)
    limit = max(np.abs(rest).max(), np.abs(raw).max(), 1e-12)
    limit_channel = max(np.abs(parts[chosen]).max(), 1e-12)

    height = 5.15
    figure = plt.figure(figsize=(WIDTH, height))
    columns = channels + 1
    cell = WIDTH / columns

    def axes(column, row, caption):
        ax = figure.add_axes(
            _share(
                (column * cell + 0.07, height - 1.72 - row * 1.55, cell - 0.14, cell - 0.14),
                WIDTH,
                height,
            )
        )
        ax.set(xticks=[], yticks=[])
        ax.set_title(caption, fontsize=7, pad=3)
        ax.spines[:].set_visible(False)
        return ax

    for k, c in enumerate(chosen):
        axes(k, 0, f"activation $A_{{{c}}}$").imshow(
            activations[c],
            cmap="gray",
            vmin=min(0, activations[chosen].min()),
            vmax=activations[chosen].max(),
        )
        label = f"$\\alpha_{{{c}}} A_{{{c}}}$,  $\\alpha$ = {alpha[c]:+.4f}"
        axes(k, 1, label).imshow(parts[c], cmap="PuOr_r", vmin=-limit_channel, vmax=limit_channel)
    ax = axes(channels, 0, "the picture")
    ax.imshow(image, interpolation="nearest")
    ax = axes(channels, 1, f"sum of the other {len(alpha) - channels}")
    ax.imshow(rest, cmap="PuOr_r", vmin=-limit, vmax=limit)
    signed = axes(0, 2, r"sum of all: $\sum_c \alpha_c A_c$").imshow(
        raw, cmap="PuOr_r", vmin=-limit, vmax=limit
    )
    positive = np.maximum(raw, 0)
    axes(1, 2, "ReLU of the sum").imshow(positive, cmap="PuOr_r", vmin=-limit, vmax=limit)
    level = positive / positive.max() if positive.max() > 0 else positive
    show_map(
        axes(2, 2, ""),
        image,
        level,
        f"enlarged {image.shape[0] // raw.shape[0]} times",
        dead=positive.max() == 0,
    )

    bar = figure.add_axes(_share((3 * cell + 0.12, 0.42, 2.2, 0.11), WIDTH, height))
    figure.colorbar(signed, cax=bar, orientation="horizontal")
    bar.tick_params(labelsize=7, length=2)
    bar.set_title("against  ←  contribution  →  for", fontsize=7, pad=3)
    lost = np.maximum(-raw, 0).sum() / max(np.abs(raw).sum(), 1e-12)
    note = (
        f"Each channel's activation, times its weight (the mean gradient).\nThe {channels} shown contribute most; to be seen, their colours are\n"
        f"{limit / limit_channel:.0f} times as strong as the bar's, which holds for the sums.\n"
        f"All {len(alpha)} together add up to {raw.sum():+.2f} over the {raw.size} cells.\n"
        f"ReLU discards {lost:.0%} of the sum's absolute mass."
    )
    figure.text(
        (3 * cell + 0.1) / WIDTH, 1.72 / height, note, fontsize=7, va="top", linespacing=1.4
    )
    figure.text(0.01, 1 - 0.08 / height, title, fontsize=9.5, fontweight="bold", va="top")
    return figure
