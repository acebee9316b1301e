"""A choice of methods on the same six images, to look at."""

from dataclasses import dataclass
from typing import Any

from common import data, models, synthetic
from common.figures import WIDTH, axes_at, overlay, plt, save, show_image, show_map, text_at

import numpy as np

from evaluation import scoring
from evaluation.experiments import Setup
from evaluation.explainers import EXPLAINERS, Batch, enlarge, positive

METHODS = {  # label -> explainer, stage (-1: the last)
    "Grad-CAM": ("gradcam", -1),
    "Grad-CAM++": ("gradcam++", -1),
    "LayerCAM,\nstage 1": ("layercam", 0),
    "RefineCAM": ("refinecam", -1),
    "Input\ngradient": ("input_gradient", -1),
    "Guided\nbackprop": ("guided_backprop", -1),
    "Guided\nGrad-CAM": ("guided_gradcam", -1),
    "LIME": ("lime", -1),
    "Center\n(baseline)": ("center", -1),
}
RULE = (
    "the first of a random order that qualify: two test images classified correctly, "
    "two incorrectly, one of another class that is taken for the marked class with the mark, and "
    "one shape classified correctly"
)


@dataclass(frozen=True)
class Sample:
    """An image of a network's test set and its ground truth (H, W), if it is known."""

    kind: str
    model: models.Model
    batch: Batch  # of one image, explained for the predicted class
    confidence: float
    true: str
    ground_truth: np.ndarray | None = None

    @property
    def predicted(self) -> str:
        return self.model.classes[self.batch.targets[0]]


def overview(setup: Setup, n: int) -> dict[str, Any]:
    """Draws OUT/methods.png. Returns the rule by which the images were chosen."""
    chosen, hashes = samples(setup)
    methods = {label: entry for label, entry in METHODS.items() if entry[0] in EXPLAINERS}
    draw(chosen, methods, setup)
    return {"rule": RULE, "hashes": hashes}


def explain(sample: Sample, key: str, stage: int, seed: int) -> np.ndarray:
    """The signed map (H, W) of one explainer, enlarged."""
    layer = models.STAGES[sample.model.arch][stage]
    found = EXPLAINERS[key].maps(sample.model, sample.batch, layer, seed)
    return enlarge(found, sample.batch.images.shape[1:3])[0]


def samples(setup: Setup) -> tuple[list[Sample], dict[str, str]]:
    """The six images of RULE, and the hashes of the other networks."""
    dataset, number = setup.dataset, setup.dataset.classes.index(synthetic.MARKED_CLASS)
    order = scoring.draw(len(dataset.y_test), 200, setup.seed, "overview")
    images, labels = dataset.x_test[order], dataset.y_test[order]
    right = setup.predict(images).argmax(1) == labels
    first = [*np.flatnonzero(right)[:2], *np.flatnonzero(~right)[:2]]
    kinds = ["correct"] * 2 + ["incorrect"] * 2
    chosen = [
        sample(kind, setup, images[k], order[k], dataset.classes[labels[k]])
        for kind, k in zip(kinds, first, strict=True)
    ]
    marked, hashes = setup.load("marked")
    others = order[labels != number]
    stamped, where = synthetic.stamp_each(dataset.x_test[others], others, setup.seed)
    k = np.flatnonzero(marked.predict(stamped).argmax(1) == number)[0]
    true = dataset.classes[dataset.y_test[others[k]]]
    chosen.append(sample("marked", marked, stamped[k], others[k], true, where[k]))
    (shapes, more), known = setup.load("shapes"), data.load("shapes")
    order = scoring.draw(len(known.y_test), 20, setup.seed, "overview of shapes")
    k = order[shapes.predict(known.x_test[order]).argmax(1) == known.y_test[order]][0]
    true, truth = known.classes[known.y_test[k]], known.ground_truth_test[k]
    chosen.append(sample("shape", shapes, known.x_test[k], k, true, truth))
    return chosen, hashes | more | {"shapes_sha256": known.sha256}


def sample(kind: str, setup: Setup, image, index, true: str, ground_truth=None) -> Sample:
    probabilities = setup.predict(image[None])[0]
    batch = Batch(image[None], probabilities[None].argmax(1), [int(index)])
    return Sample(kind, setup.model, batch, float(probabilities.max()), true, ground_truth)


def draw(chosen: list[Sample], methods: dict[str, tuple[str, int]], setup: Setup) -> None:
    """Images in columns, methods in rows. Outlines: half a peak in white, ground truth in cyan."""
    left, top, gap = 0.75, 0.34, 0.04
    side = (WIDTH - left) / len(chosen) - gap
    figure = plt.figure(figsize=(WIDTH, top + (len(methods) + 1) * (side + gap)))
    for column, sample in enumerate(chosen):
        x, image = left + column * (side + gap), sample.batch.images[0]
        ax = axes_at(figure, x, top, side, side)
        same = sample.predicted == sample.true
        name = sample.predicted if same else f"{sample.true} as {sample.predicted}"
        show_image(
            ax, image, f"{sample.kind} {sample.batch.keys[0]}\n{name} {sample.confidence:.0%}"
        )
        outline(ax, sample)
        for row, (label, (key, stage)) in enumerate(methods.items()):
            m = explain(sample, key, stage, setup.seed)
            y = top + (row + 1) * (side + gap)
            ax = axes_at(figure, x, y, side, side)
            level = positive(m[None])[0]
            if EXPLAINERS[key].kind == "pixels" and level.any():
                show_image(ax, overlay(image, m))
            else:
                show_map(ax, image, m)
            outline(ax, sample)
            if column == 0:
                text_at(figure, 0, y + side / 2, label, va="center", fontsize=7)
    save(figure, setup.out / "methods.png", photographs=True)


def outline(ax, sample: Sample) -> None:
    if sample.ground_truth is not None:
        ax.contour(sample.ground_truth, levels=[0.5], colors="cyan", linewidths=0.9)
