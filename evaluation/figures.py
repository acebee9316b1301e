"""The figures of evaluation/gradcam_trust.py: one for each part, drawn from what its results file holds."""

from pathlib import Path

import numpy as np

from common.figures import ACCENT, FAINT, INK, SECOND, WIDTH, plt, save
from evaluation import scoring

CONTROLS = (*scoring.CONTROLS, scoring.FINE)
VERDICT_COLOURS = {"beats": ACCENT, "ties": FAINT, "loses": SECOND}
LINES = ("-", "--", ":", "-.")


def draw(part: str, content: dict, path: Path) -> Path:
    """Draws the figure of a part of evaluation/gradcam_trust.py."""
    return save(
        {
            "faithfulness": faithfulness,
            "layers": layers,
            "sanity": sanity,
            "stability": stability,
            "mistakes": mistakes,
            "shapes": shapes,
            "shortcut": shortcut,
        }[part](content),
        path,
    )


def means(ax, rows: dict[str, dict], colour=None, marks=None) -> None:
    """Means with intervals, one line each, the first on top. A row: {"mean", "low", "high"}."""
    for place, (name, row) in enumerate(rows.items()):
        if row["mean"] is None:
            ax.text(0, place, " none left", va="center", fontsize=7)
            continue
        shade = FAINT if name in CONTROLS else colour or ACCENT
        ax.plot([row["low"], row["high"]], [place, place], color=shade, linewidth=2)
        ax.plot(row["mean"], place, "o" if name not in CONTROLS else "s", color=shade, markersize=4)
    ax.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.6)


def faithfulness(content: dict):
    """Curves of a few, areas of all."""
    figure, axes = plt.subplots(
        2, 2, figsize=(WIDTH, 5.4), layout="constrained", height_ratios=(1, 1)
    )
    shown = {
        "gradcam": (INK, "-"),
        "input_gradient": (ACCENT, "-"),
        "untrained gradcam": (SECOND, "--"),
        "random": (FAINT, "-"),
        "centre": (FAINT, "--"),
        "edges": (FAINT, ":"),
    }
    for ax, way in zip(axes[0], ("deletion", "insertion"), strict=True):
        for name, (colour, line) in shown.items():
            ax.plot(
                content["curves"]["fractions"],
                content["curves"][name][way],
                line,
                color=colour,
                label=name.replace("_", " "),
                linewidth=1.3,
            )
        what = (
            "taken away, most important first"
            if way == "deletion"
            else "given, most important first"
        )
        ax.set(
            xlabel=f"share of pixels {what}",
            ylabel="probability of the class",
            ylim=(0, 1),
            xlim=(0, 1),
        )
        ax.set_title(f"{way}: {'lower' if way == 'deletion' else 'higher'} is better", loc="left")
    axes[0, 0].legend(fontsize=6.5)
    for ax, way in zip(axes[1], ("deletion", "insertion"), strict=True):
        means(ax, {name: row[way] for name, row in content["methods"].items()})
        ax.set_xlabel(f"area under the {way} curve, 95% interval")
    axes[1, 1].set_yticklabels([])
    figure.suptitle(
        f"Faithfulness on {content['n']} random test pictures (grey: maps that know nothing of the network)",
        fontsize=8,
    )
    return figure


def layers(content: dict):
    """Insertion minus deletion and likeness under random weights, stage by stage."""
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.5), layout="constrained", sharey=True)
    names = list(content["layers"])
    methods = list(next(iter(content["layers"].values())))
    measures = (
        ("deletion", "area under deletion\n(lower is better)"),
        ("insertion", "area under insertion\n(higher is better)"),
        (
            "rank_correlation_with_random_weights",
            "rank correlation with\nrandom weights (0 is best)",
        ),
    )
    for ax, (measure, label) in zip(axes, measures, strict=True):
        for k, method in enumerate(methods):
            rows = [content["layers"][name][method][measure] for name in names]
            places = np.arange(len(names)) + 0.18 * (k - 1)
            colour = (INK, ACCENT, SECOND)[k]
            for place, row in zip(places, rows, strict=True):
                ax.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.5)
            ax.plot(
                [row["mean"] for row in rows],
                places,
                "osD"[k],
                color=colour,
                markersize=4,
                label=method,
            )
        ax.set_xlabel(label)
        ax.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.6)
    grids = ["x".join(map(str, content["layers"][name][methods[0]]["grid"])) for name in names]
    axes[0].set_yticks(
        range(len(names)),
        [f"{name.removeprefix('body.')} ({grid})" for name, grid in zip(names, grids, strict=True)],
    )
    axes[0].invert_yaxis()
    axes[0].legend(fontsize=6.5)
    return figure


def sanity(content: dict):
    """Likeness to the original map as the weights go, from the head down; and layer by layer."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.9), layout="constrained", sharey=True)
    short = [name.removeprefix("body.") for name in content["order"]]
    for ax, way in zip(axes, ("cascading", "independent"), strict=True):
        for k, (method, ways) in enumerate(content["methods"].items()):
            fails = content["verdicts"][method] == "fails"
            chance = ways["chance"]["other picture"]["ssim"]["mean"]
            values = [1.0] + [
                (ways[way][name]["ssim"]["mean"] - chance) / (1 - chance)
                for name in content["order"]
            ]
            if way == "independent":
                values = values[1:]
            places = np.arange(len(values)) + (0 if way == "cascading" else 1)
            colour = SECOND if fails else plt.get_cmap("viridis")(k / len(content["methods"]))
            line = LINES[k % len(LINES)] if way == "cascading" else "none"
            ax.plot(
                places,
                values,
                linestyle=line,
                color=colour,
                marker="osD^vPX"[k % 7],
                markersize=3.5,
                linewidth=1.2,
                label=f"{method.replace('_', ' ')}{' (fails)' if fails else ''}",
            )
        if way == "cascading":
            ax.plot(
                [max(1, len(short) // 2)] * 2,
                [0.5, 1],
                color=SECOND,
                linewidth=4,
                alpha=0.3,
                solid_capstyle="butt",
            )
        ax.axhline(0, color=FAINT, linewidth=0.8)
        ax.set_xticks(range(len(short) + 1), ["trained", *short], rotation=60, ha="right")
        ax.set_title(
            "from the head down to this layer" if way == "cascading" else "this layer alone",
            loc="left",
        )
    axes[0].set_ylabel(
        "likeness to the trained network's map:\n1 the same, 0 as like as maps of\ndifferent pictures (bar: here it fails)"
    )
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=6.5
    )
    figure.suptitle(
        f"Weights replaced by noise, {content['n']} test pictures: a map that stays does not show what was learned",
        fontsize=8,
    )
    return figure


def stability(content: dict):
    """Rank correlation with the original under three small changes."""
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.3), layout="constrained", sharey=True)
    for ax, (key, title) in zip(
        axes,
        (
            ("noise", "noise of 4 grey levels, worst of 5"),
            ("shift", "moved by 1 pixel, worst of 4"),
            ("mirror", "mirrored"),
        ),
        strict=True,
    ):
        means(ax, {method: row[key] for method, row in content["methods"].items()})
        ax.set_title(title, loc="left")
        ax.set(xlabel="rank correlation with the map before", xlim=(min(0, ax.get_xlim()[0]), 1))
        ax.xaxis.label.set_size(7)
    return figure


def mistakes(content: dict):
    """Confidence against faithfulness, right and wrong."""
    figure, axes = plt.subplots(
        1, 2, figsize=(WIDTH, 2.8), layout="constrained", width_ratios=(1.2, 1)
    )
    for (name, (x, y)), colour, mark in zip(
        content["points"].items(), (ACCENT, SECOND), "o^", strict=True
    ):
        rho = content["confidence_against_faithfulness"][name]
        axes[0].plot(
            x,
            y,
            mark,
            color=colour,
            markersize=2.5,
            alpha=0.6,
            label=f"{name}: rank correlation {rho:.2f}",
            markeredgewidth=0,
        )
    axes[0].set(
        xlabel="confidence in the predicted class",
        ylabel="insertion minus deletion,\nas a share of the confidence",
    )
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=2,
        fontsize=7,
        markerscale=2,
    )
    keys = {
        "faithfulness": "insertion minus deletion,\nshare of confidence",
        "gini": "sparseness (Gini)",
        "discarded": "share discarded\nby the ReLU",
        "likeness_to_runner_up": "likeness to map of\nthe runner-up",
        "average_drop": "average drop",
    }
    for place, key in enumerate(keys):
        for name, colour, mark, off in (
            ("correct", ACCENT, "o", -0.12),
            ("incorrect", SECOND, "^", 0.12),
        ):
            row = content[name][key]
            axes[1].plot([row["low"], row["high"]], [place + off] * 2, color=colour, linewidth=1.5)
            axes[1].plot(row["mean"], place + off, mark, color=colour, markersize=4)
    axes[1].set_yticks(range(len(keys)), keys.values())
    axes[1].invert_yaxis()
    axes[1].set_xlabel("mean, 95% interval")
    axes[1].grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.6)
    return figure


def shapes(content: dict):
    """How often the peak lies on the evidence, and how much of the map."""
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.7), layout="constrained", sharey=True)
    labels = {
        "peak": "peak on the evidence\n(share of pictures)",
        "mass": "share of the map\non the evidence",
        "precision": "area under precision\nand recall",
    }
    for ax, (key, label) in zip(axes, labels.items(), strict=True):
        means(ax, {name: row[key] for name, row in content["methods"].items()})
        ax.set(xlabel=label, xlim=(0, 1.02))
    return figure


def shortcut(content: dict):
    """The same for the planted mark."""
    figure = shapes(content)
    marked = content["networks"]["marked"]
    figure.suptitle(
        f"A mark planted in {content['share_of_class_marked']:.0%} of {content['class']} pictures: {marked['says_class_marked']:.0%} of other classes' "
        f"marked pictures become {content['class']}.\nDo the maps for {content['class']} point at the mark? ({content['n']} pictures)",
        fontsize=8,
    )
    return figure
