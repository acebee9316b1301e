"""Makes the explanations of a receipt again, with the functions that the explaining scripts use."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import corpus, data, imagenet, models
from common.runtime import UserError
from q1_gradcam import drawn_pictures
from q2_lime import core, images, linear
from q2_lime import explain as lime_pictures
from q2_lime import explain_text as lime_posts


@dataclass(frozen=True)
class Work:
    """The explanations of one receipt.

    Attributes:
        made_from: hashes of what they are made from now, under the receipt's names.
        n: how many there are, drawn again by seed.
        sample: of 0 to n - 1, what results say of that explanation and its arrays, by their names in explanations.npz, or (name, row) where
            one array there holds them all.
    """

    made_from: dict[str, str]
    n: int
    sample: Callable[[int], tuple[dict[str, Any], dict[Any, np.ndarray]]]


def gradcam(args: Namespace, device: torch.device) -> Work:
    model = models.load(args.model, device)
    dataset = data.load(model.dataset, args.data)
    target = drawn_pictures.parse_target(args.target, model.classes)
    done = drawn_pictures.compute(args, model, dataset, args.layer or model.layer, target)
    samples = drawn_pictures.describe(done, args, model.classes)
    maps = [raw.numpy() for raw in done.raw]

    def sample(k: int):
        return samples[k], {("map", k): maps[0][k], ("map_true", k): maps[1][k]}

    return Work({"data_sha256": dataset.sha256}, len(samples), sample)


def pictures(args: Namespace, device: torch.device) -> Work:
    if args.checkpoint:
        model, name = imagenet.from_checkpoint(args.checkpoint, device)
        dataset = data.load(name, args.data)
    else:
        dataset = data.load_cifar10(args.data)
        model = imagenet.load(args.model, args.weights or imagenet.local_weights(args.data, args.model), device=device)
    args.choices, args.settings = settings(images.Choices, args.choices), settings(core.Settings, args.settings)
    made_from = {"data_sha256": dataset.sha256, "weights_sha256": model.sha256}
    drawn = lime_pictures.draw(args, dataset, model)

    def sample(k: int):
        index = drawn[k]
        true = dataset.classes[dataset.y_test[index]]
        said, panel = lime_pictures.explain(
            args, model, dataset.x_test[index], f"test picture {index}", true, "test", index
        )
        arrays = {f"labels_{index}": panel.labels.astype(np.uint16), f"weights_{index}": panel.weights}
        return {"index": index, **said, "figure": f"figures/{true}_{index}.png"}, arrays

    return Work(made_from, len(drawn), sample)


def posts(args: Namespace, device: torch.device) -> Work:
    classifiers = {kind: linear.load(args.models / f"{kind}.npz") for kind in args.kinds}
    first = classifiers[args.kinds[0]]
    dataset = corpus.posts(first.dataset, args.data)
    args.settings = settings(core.Settings, args.settings)
    chosen, _ = lime_posts.draw(dataset, first, args.seed)
    drawn = [(kind, index) for kind in args.kinds for index in chosen]

    def sample(k: int):
        kind, index = drawn[k]
        name, true = f"post {index}", dataset.classes[dataset.y_test[index]]
        one = lime_posts.explain(args, classifiers[kind], dataset.test[index], name, true, index)
        files = {"figure": f"figures/{kind}_{true}.png", "html": f"html/{kind}_{true}.html"}
        return {"index": index, "model": kind, **one.sample, **files}, {}

    return Work({"data_sha256": dataset.sha256}, len(drawn), sample)


@dataclass(frozen=True)
class Script:
    """How to make a script's explanations again, and which of its arguments that takes."""

    make: Callable[[Namespace, torch.device], Work]
    arguments: tuple[str, ...]


SCRIPTS = {
    "q1_gradcam/explain.py": Script(gradcam, ("model", "method", "layer", "target", "correct", "incorrect", "seed")),
    "q2_lime/explain.py": Script(
        pictures,
        (
            "model",
            "weights",
            "checkpoint",
            "choices",
            "settings",
            "engine",
            "enlarge",
            "per_class",
            "prefer_recognised",
            "seed",
        ),
    ),
    "q2_lime/explain_text.py": Script(posts, ("models", "kinds", "settings", "engine", "value", "seed")),
}


def script(name: str, args: Namespace) -> Script:
    """One of SCRIPTS. Raises UserError if there is none of that name, or the arguments are not its."""
    if name not in SCRIPTS or not set(SCRIPTS[name].arguments) <= set(vars(args)):
        raise UserError(f"a receipt's script or arguments are unknown ({name}): run the script that explains again")
    return SCRIPTS[name]


def checkpoints(name: str, args: Namespace) -> dict[str, Path]:
    """The files with the weights that a script explains, under the receipt's names for their hashes; without those that torchvision
    keeps."""
    if name == "q1_gradcam/explain.py":
        return {"checkpoint_sha256": args.model}
    if name == "q2_lime/explain_text.py":
        return {f"{kind}_sha256": args.models / f"{kind}.npz" for kind in args.kinds}
    file = args.checkpoint or args.weights or imagenet.local_weights(args.data, args.model)
    return {"weights_sha256": file} if file else {}


def settings(kind: type, values: Any):
    """Settings from a receipt."""
    try:
        return kind(**values)
    except TypeError as error:
        raise UserError(
            f"a receipt's settings don't fit this code ({error}): run the script that explains again"
        ) from None
