"""Some of the methods on the same six images, drawn side by side."""

from typing import Any

from common import data, models, synthetic
from common.figures import WIDTH, axes_at, overlay, plt, save, show_image, show_map, text_at

import numpy as np

from evaluation import scoring
from evaluation.experiments import Setup
from evaluation.explainers import EXPLAINERS, Batch, enlarge

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
    "two incorrectly, one of another class that is classified as the marked class when the mark is "
    "added, and one shape classified correctly"
)

# Title, network, batch of one image and its predicted class, ground truth (H, W) if it is known.
Sample = tuple[str, models.Model, Batch, np.ndarray | None]


def samples(setup: Setup) -> tuple[list[Sample], dict[str, str]]:
    """The images of RULE, six if all can be found, and the hashes of the other networks."""
    dataset, number = setup.dataset, setup.dataset.classes.index(synthetic.MARKED_CLASS)
    order = scoring.draw(len(dataset.y_test), 200, setup.seed, "overview")
    images, labels = dataset.x_test[order], dataset.y_test[order]
    right = setup.predict(images).argmax(1) == labels
    chosen = [
        sample(kind, setup, images[k], order[k], dataset.classes[labels[k]])
        for kind, able in (("correct", right), ("incorrect", ~right))
        for k in np.flatnonzero(able)[:2]
    ]
    marked, hashes = setup.load("marked")
    others = order[labels != number]
    stamped, where = synthetic.stamp_each(dataset.x_test[others], others, setup.seed)
    for k in np.flatnonzero(marked.predict(stamped).argmax(1) == number)[:1]:
        true = dataset.classes[dataset.y_test[others[k]]]
        chosen.append(sample("marked", marked, stamped[k], others[k], true, where[k]))
    (shapes, more), known = setup.load("shapes"), data.load("shapes")
    order = scoring.draw(len(known.y_test), 20, setup.seed, "overview of shapes")
    for k in order[shapes.predict(known.x_test[order]).argmax(1) == known.y_test[order]][:1]:
        true, truth = known.classes[known.y_test[k]], known.ground_truth_test[k]
        chosen.append(sample("shape", shapes, known.x_test[k], k, true, truth))
    return chosen, hashes | more | {"shapes_sha256": known.sha256}


def sample(kind: str, setup: Setup, image, index, true: str, ground_truth=None) -> Sample:
    probabilities = setup.predict(image[None])
    batch = Batch(image[None], probabilities.argmax(1), [int(index)])
    predicted = setup.model.classes[batch.targets[0]]
    name = predicted if predicted == true else f"{true} as {predicted}"
    title = f"{kind} {index}\n{name} {probabilities.max():.0%}"
    return title, setup.model, batch, ground_truth


def overview(setup: Setup, n: int) -> dict[str, Any]:
    """Draws OUT/methods.png, with images in columns and methods in rows. White outlines: half of
    the maximum; cyan: ground truth. Returns the rule by which the images were chosen."""
    chosen, hashes = samples(setup)
    methods = {label: entry for label, entry in METHODS.items() if entry[0] in EXPLAINERS}
    left, top, gap = 0.75, 0.34, 0.04
    side = (WIDTH - left) / len(chosen) - gap
    figure = plt.figure(figsize=(WIDTH, top + (len(methods) + 1) * (side + gap)))
    for row, label in enumerate(methods, 1):
        y = top + row * (side + gap) + side / 2
        text_at(figure, 0, y, label, va="center", fontsize=7)
    for column, (title, model, batch, ground_truth) in enumerate(chosen):
        image, stages = batch.images[0], models.STAGES[model.arch]
        x = left + column * (side + gap)
        tops = [top + row * (side + gap) for row in range(len(methods) + 1)]
        axes = [axes_at(figure, x, y, side, side) for y in tops]
        show_image(axes[0], image, title)
        for ax, (key, stage) in zip(axes[1:], methods.values(), strict=True):
            explainer = EXPLAINERS[key]
            found = explainer.maps(model, batch, stages[stage], setup.seed)
            (raw,) = enlarge(found, image.shape[:2])
            if explainer.kind == "pixels" and raw.max() > 0:
                show_image(ax, overlay(image, raw))
            else:
                show_map(ax, image, raw)
        if ground_truth is not None:
            for ax in axes:
                ax.contour(ground_truth, levels=[0.5], colors="cyan", linewidths=0.9)
    save(figure, setup.out / "methods.png", photographs=True)
    return {"rule": RULE, "hashes": hashes}
