"""Figures of evaluation/run.py, drawn from the content of its results files."""

from common.figures import FAINT, WIDTH, plt

MARKERS = "osD^vPX*"
SMALL = 6.5  # points: legends and labels inside panels
GRID = {"axis": "x", "color": FAINT, "alpha": 0.25, "linewidth": 0.6}


def interval(ax, row: dict, place: float, color: str, marker: str, **options) -> None:
    """A mean with its interval on a horizontal line."""
    ax.plot([row["low"], row["high"]], [place] * 2, color=color, linewidth=1.5)
    ax.plot(row["mean"], place, marker, color=color, markersize=4, **options)


def layers(content: dict):
    """Both areas and the similarity under random weights, by stage."""
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.6), layout="constrained", sharey=True)
    panels = {
        "deletion_auc": "deletion AUC\n(lower is better)",
        "insertion_auc": "insertion AUC\n(higher is better)",
        "rank_correlation_with_random_weights": "correlation, maps of\nrandom weights (0: best)",
    }
    stages, colors = content["layers"], plt.get_cmap("viridis")
    keys = list(next(iter(stages.values())))
    for ax, (metric, label) in zip(axes, panels.items(), strict=True):
        for k, key in enumerate(keys):
            offset = 0.15 * (k - (len(keys) - 1) / 2)
            for place, rows in enumerate(stages.values()):
                name = {} if place else {"label": rows[key]["name"]}
                color = colors(k / len(keys))
                interval(ax, rows[key][metric], place + offset, color, MARKERS[k % 8], **name)
        ax.set_xlabel(label)
        ax.grid(**GRID)
    sizes = ["({} x {})".format(*rows[keys[0]]["grid"]) for rows in stages.values()]
    names = [f"{name.removeprefix('body.')}\n{s}" for name, s in zip(stages, sizes, strict=True)]
    axes[0].set_yticks(range(len(stages)), names)
    axes[0].invert_yaxis()
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=len(keys), fontsize=SMALL)
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


PLOTS = {"shortcut": shortcut, "layers": layers}
