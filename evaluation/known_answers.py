"""Where the answer is known: the built-in pictures, and a network that was made to rely on a mark."""

import numpy as np

from common import cli, data, metrics, models, results, synthetic
from evaluation import explainers, scoring
from q1_gradcam import gradcam


def shapes(model, dataset, n, seed, out, device):
    """The built-in pictures: the evidence is known."""
    own, known = models.load(scoring.network(out, "shapes"), device), data.load("shapes")
    predict = metrics.predictor(own.network, own.temperature)
    right = np.flatnonzero(predict(known.x_test).argmax(1) == known.y_test)
    index = right[scoring.drawn(len(right), n, seed, "shapes")]
    images, target, evidence = (
        known.x_test[index],
        known.y_test[index].astype(int),
        known.ground_truth_test[index],
    )
    content = pointing(own, images, target, evidence, models.untrained(own, images, seed), seed)
    content |= {
        "accuracy": len(right) / len(known.y_test),
        "evidence_share_of_area": evidence.mean(),
    }
    return content | {
        "origins": {
            "shapes_sha256": known.sha256,
            "shapes_checkpoint_sha256": results.sha256(scoring.network(out, "shapes")),
        }
    }


def pointing(model, images, target, evidence, other, seed) -> dict:
    """How every method and control points at the evidence (N, H, W); `other` is a network that can't know it."""
    methods = explainers.methods_of(model)
    raw = {
        name: explainers.raw_maps(model.network, images, name, model.layer, target)
        for name in methods
    }
    raw |= {
        f"untrained {name}": explainers.raw_maps(other, images, name, model.layer, target)
        for name in methods
    }
    maps = {name: explainers.enlarge(found) for name, found in raw.items()}
    control = scoring.control_maps(images, raw["gradcam"].shape[1:], explainers.enlarge, seed)
    scored = {
        name: scoring.on_evidence(maps[name], evidence)
        for name in scoring.bar(maps, "known evidence")
    }
    scored |= {name: scoring.on_evidence(found, evidence) for name, found in control.items()}
    opponents = {
        name: scoring.opponents(scored, name in gradcam.PIXEL_METHODS)
        | {"untrained": scored[f"untrained {name}"]}
        for name in methods
    }
    better = dict.fromkeys(scoring.ON_EVIDENCE, True)
    table = scoring.table({name: scored[name] for name in (*methods, *control)}, better, opponents)
    return {"n": len(images), "layer": model.layer, "better": better, "methods": table}


def shortcut(model, dataset, n, seed, out, device):
    """A network that learned a planted mark, beside its twin that never saw one."""
    marked, twin = (
        models.load(scoring.network(out, name), device) for name in ("marked", "unmarked")
    )
    number = dataset.classes.index(synthetic.MARKED_CLASS)
    able = np.flatnonzero(dataset.y_test != number)
    index = able[scoring.drawn(len(able), n, seed, "marked pictures")]
    images, where = synthetic.stamp_each(dataset.x_test[index], index, seed)
    rows = {}
    for name, one in (("marked", marked), ("unmarked", twin)):
        predict = metrics.predictor(one.network, one.temperature)
        clean = predict(dataset.x_test).argmax(1)
        right = clean == dataset.y_test
        rows[name] = {
            "accuracy": right.mean(),
            "accuracy_of_class": right[dataset.y_test == number].mean(),
            "says_class_unmarked": (clean[index] == number).mean(),
            "says_class_marked": (predict(images).argmax(1) == number).mean(),
        }
    fooled = metrics.predictor(marked.network)(images).argmax(1) == number
    if not fooled.any():
        raise cli.UserError(
            f"{out / 'marked/model.pt'} did not learn the mark: train it as the README says"
        )
    target = np.full(fooled.sum(), number)
    content = pointing(marked, images[fooled], target, where[fooled], twin.network, seed)
    hashes = {
        f"{name}_checkpoint_sha256": results.sha256(scoring.network(out, name))
        for name in ("marked", "unmarked")
    }
    return content | {
        "class": synthetic.MARKED_CLASS,
        "share_of_class_marked": synthetic.MARKED_SHARE,
        "networks": rows,
        "tried": len(index),
        "untrained_means": "the twin trained without marks, asked for the same class",
        "origins": hashes,
    }
