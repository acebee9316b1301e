"""Makes the work of a receipt again, with the functions that the script itself uses."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from common import corpus, data, imagenet, models, results, trials
from q1_gradcam import drawn_pictures
from q2_lime import core, images, linear
from q2_lime import explain as lime_pictures
from q2_lime import explain_text as lime_posts
from report import recount
from report.work import Work


def gradcam(args: Namespace, device: torch.device) -> Work:
    model = models.load(args.model, device)
    dataset = data.load(model.dataset, args.data)
    target = drawn_pictures.parse_target(args.target, model.classes)
    done = drawn_pictures.compute(args, model, dataset, args.layer or model.layer, target)
    samples = drawn_pictures.describe(done, args, model.classes)
    maps = [raw.numpy() for raw in done.raw]

    def sample(k: int):
        return samples[k], {("map", k): maps[0][k], ("map_true", k): maps[1][k]}

    def summary(stored: dict) -> dict:
        return drawn_pictures.summarise(done, args, model, dataset, samples)

    return Work({"data_sha256": dataset.sha256}, {"explanations.json": summary}, len(samples), sample)


def pictures(args: Namespace, device: torch.device) -> Work:
    if args.checkpoint:
        model, name = imagenet.from_checkpoint(args.checkpoint, device)
        dataset = data.load(name, args.data)
    else:
        dataset = data.load_cifar10(args.data)
        model = imagenet.load(args.model, args.weights or imagenet.local_weights(args.data, args.model), device=device)
    args.choices, args.settings = images.Choices(**args.choices), core.Settings(**args.settings)
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

    def summary(stored: dict) -> dict:
        arrays = results.read_npz(args.folder / "explanations.npz")
        found = lime_pictures.summarise(args, model, dataset, stored["samples"], arrays)
        return found | {
            "weights": stored["weights"]
        }  # a path there may be another here; the hash tells whether they are the same

    return Work(made_from, {"explanations.json": summary}, len(drawn), sample)


def posts(args: Namespace, device: torch.device) -> Work:
    classifiers = {kind: linear.load(args.models / f"{kind}.npz") for kind in args.kinds}
    first = classifiers[args.kinds[0]]
    dataset = corpus.posts(first.dataset, args.data)
    args.settings = core.Settings(**args.settings)
    chosen, left_out = lime_posts.draw(dataset, first, args.seed)
    drawn = [(kind, index) for kind in args.kinds for index in chosen]

    def sample(k: int):
        kind, index = drawn[k]
        name, true = f"post {index}", dataset.classes[dataset.y_test[index]]
        one = lime_posts.explain(args, classifiers[kind], dataset.test[index], name, true, index)
        files = {"figure": f"figures/{kind}_{true}.png", "html": f"html/{kind}_{true}.html"}
        return {"index": index, "model": kind, **one.sample, **files}, {}

    files = {"explanations.json": lambda stored: lime_posts.summarise(args, first.dataset, left_out, stored["samples"])}
    if args.engine == "own" and first.ngrams == 1:
        files["leak.json"] = lambda stored: recount.leaks(args, dataset, classifiers)
    return Work({"data_sha256": dataset.sha256}, files, len(drawn), sample, slow=("leak.json",))


# By script, or script and part. Of all others the files are compared with their hashes, and no more.
MAKERS: dict[str, Callable[[Namespace, torch.device], Work]] = {
    "q1_gradcam/evaluate.py": recount.evaluation,
    "q1_gradcam/explain.py": gradcam,
    "q1_gradcam/trust.py faithfulness": recount.gradcam_scores,
    "q2_lime/explain.py": pictures,
    "q2_lime/train_text.py": recount.text_evaluation,
    "q2_lime/explain_text.py": posts,
    "q2_lime/trust.py": recount.lime_scores,
    "report/compare.py": recount.side_by_side,
    "q1_gradcam/ablate.py": recount.recipe_choices,
}


def sources(key: str, args: Namespace) -> dict[str, Path]:
    """The files that a script worked from, under the receipt's names for their hashes; without data, and weights that torchvision keeps."""

    def known(*names: str) -> dict[str, Path]:
        return {f"{name}_checkpoint_sha256": trials.network(args.folder, name) for name in names}

    name, _, part = key.partition(" ")
    if name in ("q1_gradcam/evaluate.py", "q1_gradcam/explain.py"):
        return {"checkpoint_sha256": args.model}
    if name == "q1_gradcam/trust.py":
        others = {"shapes": ("shapes",), "shortcut": ("marked", "unmarked")}
        return {"checkpoint_sha256": args.model} | known(*others.get(part, ()))
    if name == "q2_lime/trust.py":
        own = {"checkpoint_sha256": args.model} if {"faithfulness", "sanity"} & set(args.only) else {}
        return own | known(*(n for part, n in (("shapes", "shapes"), ("shortcut", "marked")) if part in args.only))
    if name == "q2_lime/explain.py":
        file = args.checkpoint or args.weights or imagenet.local_weights(args.data, args.model)
        return {"weights_sha256": file} if file else {}
    if name == "q2_lime/explain_text.py":
        return {f"{kind}_sha256": args.models / f"{kind}.npz" for kind in args.kinds}
    if name == "report/compare.py":
        found = {f"{part}_scores_sha256": args.outputs / f"trust/{part}.npz" for part in ("faithfulness", "lime")}
        found["explanations_sha256"] = args.outputs / "q2_lime/images/explanations.npz"
        return found | {"checkpoint_sha256": args.outputs / "q1_gradcam/model.pt"}
    return {}
