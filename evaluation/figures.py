"""Figures of evaluation/run.py, drawn from the content of its results files."""

from pathlib import Path

from common.figures import ACCENT, DEAD, FAINT, INK, WIDTH, plt, save, show_image, show_map

import numpy as np

from evaluation.explainers import enlarge, methods, positive

MARKERS = "osD^vPX*"
SMALL = 6.5  # points: legends and labels inside panels


def means(ax, rows: dict[str, dict], metric: str) -> None:
    """Means with 95% intervals, one line per explainer, baselines gray."""
    for place, row in enumerate(rows.values()):
        baseline = row["kind"] == "baseline"
        color, found = FAINT if baseline else ACCENT, row[metric]
        ax.plot([found["low"], found["high"]], [place] * 2, color=color, linewidth=2)
        ax.plot(found["mean"], place, "s" if baseline else "o", color=color, markersize=4)
    ax.set_yticks(range(len(rows)), [row["name"] for row in rows.values()])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    grid(ax)


def grid(ax) -> None:
    ax.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.6)


def interval(ax, row: dict, place: float, color: str, marker: str, **options) -> None:
    """A mean with its interval on a horizontal line."""
    ax.plot([row["low"], row["high"]], [place] * 2, color=color, linewidth=1.5)
    ax.plot(row["mean"], place, marker, color=color, markersize=4, **options)


def faithfulness(content: dict):
    """Mean curves of some explainers; areas of all."""
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 5.6), layout="constrained")
    styles = {
        "gradcam": (INK, "-", "Grad-CAM"),
        "input_gradient": (ACCENT, "-", "Input gradient"),
        "untrained gradcam": (INK, "--", "Grad-CAM, untrained network"),
        "random": (FAINT, "-", "Noise (coarse)"),
        "random_fine": (FAINT, "-.", "Noise (pixels)"),
        "center": (FAINT, "--", "Center"),
        "edges": (FAINT, ":", "Edges"),
    }
    for column, way, what in ((0, "deletion", "removed"), (1, "insertion", "shown")):
        ax, better = axes[0, column], "lower" if way == "deletion" else "higher"
        for key, (color, line, label) in styles.items():
            curve = content["curves"][key][way]
            ax.plot(content["curves"]["fractions"], curve, line, color=color, label=label)
        ax.set(xlabel=f"share of pixels {what}", xlim=(0, 1), ylim=(0, 1))
        means(axes[1, column], content["methods"], f"{way}_auc")
        axes[1, column].set_xlabel(f"{way} AUC, 95% interval ({better} is better)")
    axes[0, 0].set_ylabel("probability of the class")
    axes[0, 0].legend(fontsize=SMALL)
    axes[1, 1].set_yticklabels([])
    return figure


def layers(content: dict):
    """Both areas and the similarity under random weights, by stage."""
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.6), layout="constrained", sharey=True)
    panels = {
        "deletion_auc": "deletion AUC\n(lower is better)",
        "insertion_auc": "insertion AUC\n(higher is better)",
        "rank_correlation_with_random_weights": "correlation, maps of\nrandom weights (0: best)",
    }
    stages, colors = content["layers"], plt.get_cmap("viridis")
    keys = [key for key, row in next(iter(stages.values())).items() if "deletion_auc" in row]
    for ax, (metric, label) in zip(axes, panels.items(), strict=True):
        for k, key in enumerate(keys):
            offset = 0.15 * (k - (len(keys) - 1) / 2)
            for place, rows in enumerate(stages.values()):
                name = {} if place else {"label": rows[key]["name"]}
                color = colors(k / len(keys))
                interval(ax, rows[key][metric], place + offset, color, MARKERS[k % 8], **name)
        ax.set_xlabel(label)
        grid(ax)
    sizes = ["({} x {})".format(*rows[keys[0]]["grid"]) for rows in stages.values()]
    names = [f"{name.removeprefix('body.')}\n{s}" for name, s in zip(stages, sizes, strict=True)]
    axes[0].set_yticks(range(len(stages)), names)
    axes[0].invert_yaxis()
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=len(keys), fontsize=SMALL)
    return figure


def randomization(content: dict):
    """Similarity to the original maps as layers are randomized, cascading and independent."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.8), layout="constrained", sharey=True)
    order, rows = content["order"], merged(content["methods"])
    for k, (name, row) in enumerate(rows.items()):
        fails, chance = row["verdict"] == "fails", row["other_image"]["ssim"]["mean"]
        style = {
            "color": INK if fails else plt.get_cmap("viridis")(k / len(rows)),
            "marker": MARKERS[k % 8],
            "markersize": 3.5,
            "linewidth": 1.2,
            "label": name + " (fails)" * fails,
        }
        left, right = (
            [(row[way][layer]["ssim"]["mean"] - chance) / (1 - chance) for layer in order]
            for way in ("cascading", "independent")
        )
        axes[0].plot([1.0, *left], linestyle=("-", "--", ":", "-.")[k % 4], **style)
        axes[1].plot(range(1, len(order) + 1), right, linestyle="none", **style)
    depth = order.index(content["verdict_layer"]) + 1
    band = {"color": FAINT, "linewidth": 4, "alpha": 0.5, "label": "range of failure"}
    axes[0].plot([depth] * 2, [0.5, 1], **band)
    for ax, label in zip(axes, ("from the head down to", "alone"), strict=True):
        ax.axhline(0, color=FAINT, linewidth=0.8)
        short = [name.removeprefix("body.") for name in order]
        ax.set_xticks(range(len(order) + 1), ["trained", *short], rotation=60, ha="right")
        ax.set_xlabel(
            f"layer randomized ({label})"
            if label == "alone"
            else "layers randomized from the head down to"
        )
    axes[0].set_ylabel(
        "similarity to the original map\n(1: identical, 0: as similar as maps of\n"
        "different images, below 0: less similar)"
    )
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, fontsize=SMALL)
    return figure


def merged(rows: dict[str, dict]) -> dict[str, dict]:
    """Rows by display name; methods with equal means share one: "Grad-CAM = HiResCAM"."""
    names: dict[tuple, list[str]] = {}
    for row in rows.values():
        found = [*row["cascading"].values(), *row["independent"].values()]
        means = tuple(round(layer["ssim"]["mean"], 3) for layer in found)
        names.setdefault(means, []).append(row["name"])
    by_name = {row["name"]: row for row in rows.values()}
    return {" = ".join(same): by_name[same[0]] for same in names.values()}


def stability(content: dict):
    """Rank correlation with the original map under three small changes."""
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.4), layout="constrained", sharey=True)
    panels = {
        "noise": "noise of 4 gray levels\n(worst of 5 draws)",
        "shift": "shift by 1 pixel\n(worst of 4 directions)",
        "mirror": "mirrored",
    }
    for ax, (metric, label) in zip(axes, panels.items(), strict=True):
        means(ax, content["methods"], metric)
        ax.set(xlabel=label, xlim=(min(0, ax.get_xlim()[0]), 1))
    figure.supxlabel("rank correlation with the original map", fontsize=8)
    return figure


def mistakes(content: dict):
    """Small multiples: confidence against faithfulness of correct and of wrong predictions; the
    mean of each measure for both."""
    measures = {
        "average_drop": "average drop",
        "gini": "sparseness (Gini)",
        "discarded_share": "share discarded by ReLU",
        "rank_correlation_runner_up": "correlation, runner-up",
    }
    groups = {"correct": (ACCENT, "o"), "incorrect": (INK, "^")}
    figure = plt.figure(figsize=(WIDTH, 3.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2.2, 1))
    scatters = above.subplots(1, 2, sharex=True, sharey=True)
    panels = below.subplots(1, len(measures), sharey=True)
    for place, (name, (color, marker)) in enumerate(groups.items()):
        rho = content["confidence_against_faithfulness"][name]
        style = {"color": color, "markersize": 2.5, "alpha": 0.6, "markeredgewidth": 0}
        scatters[place].plot(*content["points"][name], marker, **style)
        scatters[place].set_title(f"{name} predictions (rank correlation {rho:.2f})")
        for ax, key in zip(panels, measures, strict=True):
            interval(ax, content[name][key], place, color, marker)
    scatters[0].set_ylabel("insertion - deletion AUC,\nas a share of the confidence")
    above.supxlabel("confidence in the predicted class", fontsize=8)
    panels[0].set_yticks(range(len(groups)), groups)
    panels[0].set_ylim(1.5, -0.5)
    for ax, label in zip(panels, measures.values(), strict=True):
        ax.set_title(label)
        ax.margins(x=0.15)
        grid(ax)
    below.supxlabel("mean, 95% interval", fontsize=8)
    return figure


def shortcut(content: dict):
    """The pointing game on the planted mark by tolerance, at each stage and for its twin."""
    stages = content["stages"]
    figure, axes = plt.subplots(
        1, len(stages), figsize=(WIDTH, 2.5), layout="constrained", sharey=True
    )
    noise = content["tolerance"]["methods"]["random_fine"]["network"]
    for ax, (layer, found) in zip(axes, stages.items(), strict=True):
        for k, row in enumerate(found["methods"].values()):
            color, marker = plt.get_cmap("viridis")(k / len(found["methods"])), MARKERS[k % 8]
            style = {"color": color, "marker": marker, "markersize": 3.5, "linewidth": 1.2}
            ax.plot(found["pixels"], row["network"], label=row["name"], **style)
            ax.plot(found["pixels"], row["twin"], "--", **style | {"marker": ""})
        ax.plot(found["pixels"], noise, ":", color=FAINT, label="Noise (pixels)")
        ax.set_title("{} ({} x {})".format(layer.removeprefix("body."), *found["grid"]), fontsize=8)
        ax.set(xlabel="tolerance in pixels", ylim=(-0.02, 1.02), xticks=found["pixels"])
    axes[0].set_ylabel("share of images with\nthe peak on the mark")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=5, fontsize=SMALL)
    return figure


PLOTS = {
    "shortcut": shortcut,
    "faithfulness": faithfulness,
    "layers": layers,
    "randomization": randomization,
    "stability": stability,
    "mistakes": mistakes,
}


def examples(trial, masks: np.ndarray, classes: tuple[str, ...], path: Path) -> Path:
    """The first images of a trial, their ground truth outlined, and the maps of every method."""
    keys = methods()
    n = min(4, *(len(trial.maps(key)) for key in keys))
    size = (WIDTH, 0.25 + 1.05 * WIDTH / (len(keys) + 1) * n)
    figure, axes = plt.subplots(n, len(keys) + 1, figsize=size, layout="constrained", squeeze=False)
    for k, row in enumerate(axes):
        image = trial.batch.images[k]
        show_image(row[0], image, classes[trial.batch.targets[k]])
        row[0].contour(masks[k], levels=[0.5], colors="white", linewidths=0.9)
        for ax, key in zip(row[1:], keys, strict=True):
            title = "" if k else keys[key].name.replace(" ", "\n")
            level = positive(enlarge(trial.maps(key)[k : k + 1]))[0]
            show_map(ax, image, level, title, note="" if level.any() else DEAD)
    return save(figure, path, photographs=True)
