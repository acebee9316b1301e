"""Compares Grad-CAM with LIME on the same images, networks and classes.

    python evaluation/compare.py                    two minutes, after q2_lime/explain.py
    python evaluation/compare.py --image cat.jpg    both methods side by side, for your images

Without --image: on the images of q2_lime/explain.py, for the ImageNet model (Grad-CAM at its last
feature map, the stored LIME weights) and for the network of Question 1 (LIME on a grid); and on 50
random test images for the network of Question 1. Writes OUT/agreement.json, OUT/imagenet.png and
OUT/classifier.png. OUT is outputs/evaluation.

With --image: for one class and the model of --model or --weights, as in q1_gradcam/explain.py.
Writes OUT/user/NAME.png, NAME.json and, with --save-maps, NAME.npz.
"""

from pathlib import Path
from typing import Any

from common import cli, data, imagenet, models, results, statistics
from common.figures import WIDTH, plt, save, show_image, show_map

import numpy as np
import torch
from scipy.special import softmax

from evaluation import scoring, side_by_side
from evaluation.explainers import EXPLAINERS, LIME_IMAGES, Batch, enlarge
from q1_gradcam import gradcam, layers
from q2_lime import images

N_LEAST_SIMILAR = 3
MARGIN = 0.05  # of the confidence: a smaller difference in AUC does not count
ACROSS, SMALL = 5, 64  # images in a row of a sheet, and their largest side in pixels


def main() -> None:
    parser = cli.Parser(__doc__)
    add, text = parser.add_argument, "where results are read (default: outputs)"
    add("--outputs", type=Path, default=results.OUTPUTS, metavar="DIR", help=text)
    parser.data_option("CIFAR-10 and weights")
    add("--out", type=Path, metavar="DIR", help="default: OUTPUTS/evaluation")
    add("--image", type=Path, nargs="+", action="extend", metavar="PATH", help="images or folders")
    model, text = parser.add_mutually_exclusive_group(), f"default: {imagenet.DEFAULT}"
    model.add_argument("--model", default=imagenet.DEFAULT, metavar="FILE or NAME", help=text)
    model.add_argument("--weights", type=Path, metavar="FILE", help="ImageNet checkpoint")
    add("--target", default="predicted", metavar="CLASS", help="predicted, second or a class name")
    add("--save-maps", action="store_true", help="with --image: write NAME.npz too")
    parser.device_option()
    args = parser.parse_args()
    for option in ("model", "weights", "target", "save_maps"):
        if not args.image and getattr(args, option) != parser.get_default(option):
            parser.error(f"--{option.replace('_', '-')} needs --image")
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    if args.image:
        side_by_side.explain(args, device)
        return
    out = results.output_folder(args.out or args.outputs / "evaluation")
    explained_path = args.outputs / "q2_lime/images/explanations.json"
    explained, dataset = results.read_json(explained_path), data.load_cifar10(args.data)
    checkpoint = args.outputs / "q1_gradcam/model.pt"
    model = models.load(checkpoint, device)
    with results.reading(explained_path):
        seed = explained["provenance"]["seed"]
        index = [sample["index"] for sample in explained["samples"]]
        stored = results.read_npz(explained_path.with_suffix(".npz"))
        lime = np.stack([stored[f"weights_{k}"][:, 0][stored[f"segments_{k}"]] for k in index])
        name, how = explained["model"], explained["image_settings"]["resize"]
        hashes = [explained["provenance"][key] for key in ("weights_sha256", "data_sha256")]
        large = imagenet.load(name, args.data, fold=False, device=device)
        if hashes != [large.sha256, dataset.sha256]:
            raise cli.UserError("the weights or images have changed: run q2_lime/explain.py again")
        resized = np.stack([data.fit_image(dataset.x_test[k], large.side, how) for k in index])
    found = {
        "imagenet": on_imagenet(large, resized, index, lime),
        "classifier": on_classifier(model, dataset, index, seed),
    }
    content: dict[str, Any] = {}
    for name, (classes, predict, batch, maps) in found.items():
        content[name] = compare(classes, predict, batch, maps, dataset, seed)
    many = scoring.draw(len(dataset.y_test), LIME_IMAGES["faithfulness"], seed, "test pictures")
    *_, maps = on_classifier(model, dataset, many.tolist(), seed)
    content["many"] = {"n": len(many)} | agreement(maps, seed)[1]
    hashes = {"data_sha256": dataset.sha256, "checkpoint_sha256": results.sha256(checkpoint)}
    hashes["explanations_sha256"] = results.sha256(explained_path.with_suffix(".npz"))
    hashes["imagenet_weights_sha256"] = large.sha256
    origin = results.provenance(seed, device, data_source=dataset.source, **hashes)
    statistics.control_false_discoveries(content)
    for name, (*_, batch, maps) in found.items():  # at the end, so that they belong to the results
        drawn = sheet(batch.images, maps, content[name]["images"])
        save(drawn, out / f"{name}.png", photographs=True)
    content = results.without_nan(content) | {"provenance": origin}  # NaN: constant maps
    results.write_json(out / "agreement.json", content)
    print(f"wrote {results.shown(out / 'agreement.json')}, imagenet.png and classifier.png")


def on_imagenet(model: imagenet.ImageModel, resized: np.ndarray, index: list[int], lime):
    """Maps of images (N, H, W, 3) for the ImageNet model and its predicted classes: Grad-CAM, and
    the given ones of LIME.

    Returns the names of the classes, a function from images to probabilities, the images, and the
    maps (N, H, W) of each method.
    """

    def predict(x: np.ndarray) -> np.ndarray:
        return softmax(images.predict(model, x), axis=1)

    batch = Batch(resized, predict(resized).argmax(1), index)
    x, target = imagenet.to_input(model, resized), torch.from_numpy(batch.targets)
    layer = layers.last_stage(model.network, layers.feature_maps(model.network, x[:1]))
    raw = gradcam.explain(model.network, x, layer, target).raw.cpu().numpy()
    maps = {"gradcam": enlarge(raw, resized.shape[1:3]), "lime": lime}
    return model.categories, predict, batch, maps


def on_classifier(model: models.Model, dataset: data.Dataset, index: list[int], seed: int):
    """Maps for the network of Question 1 and its predicted classes; returns as `on_imagenet`."""
    predict, chosen = model.probabilities, dataset.x_test[index]
    batch = Batch(chosen, predict(chosen).argmax(1), index)
    maps = {
        key: enlarge(EXPLAINERS[key].maps(model, batch, model.layer, seed))
        for key in ("gradcam", "lime")
    }
    return model.classes, predict, batch, maps


def compare(classes, predict, batch: Batch, maps, dataset, seed: int) -> dict[str, Any]:
    """Agreement of the two maps of each image, and which one deletion and insertion prefer."""
    measured, summary = agreement(maps, seed)
    for key, these in maps.items():
        scores = scoring.areas(predict, scoring.FILL, seed, these, batch)
        measured |= {f"{key}_{area}": scores[area] for area in scoring.AREAS}
    confidence = predict(batch.images)[np.arange(len(batch)), batch.targets]
    samples = []
    for i, k in enumerate(batch.keys):
        sample = {
            "index": k,
            "true": dataset.classes[dataset.y_test[k]],
            "explained": classes[batch.targets[i]],
            "confidence": confidence[i],
            **{key: values[i] for key, values in measured.items()},
        }
        samples.append(sample | {"preferred": preferred(sample)})
    return {"margin": MARGIN, "images": samples, "summary": summary}


def preferred(sample: dict[str, Any]) -> str:
    """The method that is better by deletion and by insertion, by MARGIN each, or "neither"."""
    gains = (
        sample["gradcam_deletion_auc"] - sample["lime_deletion_auc"],
        sample["lime_insertion_auc"] - sample["gradcam_insertion_auc"],
    )
    least = MARGIN * sample["confidence"]
    return "lime" if min(gains) >= least else "gradcam" if max(gains) <= -least else "neither"


def agreement(maps: dict[str, np.ndarray], seed: int) -> tuple[dict[str, np.ndarray], dict]:
    """The `similarity` of Grad-CAM and LIME, maps (N, H, W) of the same images.

    Also returns means with intervals, and the comparison with a baseline: LIME's map of the next
    image.
    """
    rng = np.random.default_rng(cli.seed_for(seed, "agreement"))
    similar = side_by_side.similarity(maps["gradcam"], maps["lime"], rng)
    other = side_by_side.similarity(maps["gradcam"], np.roll(maps["lime"], 1, axis=0), rng)
    summary, against = {}, {}
    for key, values in similar.items():
        summary[key] = statistics.mean_interval(values)
        summary[f"{key}_baseline"] = statistics.mean_interval(other[key])
        against[key] = statistics.compare_paired(values, other[key], larger_is_better=True)
    return similar, summary | {"against_baseline": against}


def sheet(originals: np.ndarray, maps: dict[str, np.ndarray], samples: list[dict]):
    """Image, Grad-CAM and LIME below each other, five images across; the least similar in bold."""
    blocks = -(-len(samples) // ACROSS)
    size = (WIDTH, 4.6 * blocks)
    figure, axes = plt.subplots(3 * blocks, ACROSS, figsize=size, layout="constrained")
    for ax in axes.flat:
        ax.axis("off")
    bound = sorted(sample["rank_correlation"] for sample in samples)[:N_LEAST_SIMILAR][-1]
    for k, (image, sample) in enumerate(zip(originals, samples, strict=True)):
        column = axes[3 * (k // ACROSS) : 3 * (k // ACROSS) + 3, k % ACROSS]
        image = image if len(image) <= SMALL else data.fit_image(image, SMALL)
        title = f"{sample['true']}, predicted\n{sample['explained']} {sample['confidence']:.0%}"
        show_image(column[0], image, title)
        for ax, (key, these) in zip(column[1:], maps.items(), strict=True):
            show_map(ax, image, these[k], EXPLAINERS[key].name)
        text = f"rank corr. {sample['rank_correlation']:.2f}, top {sample['top_overlap']:.2f}"
        if sample["preferred"] != "neither":
            text += f"\npreferred: {EXPLAINERS[sample['preferred']].name}"
        weight = "bold" if sample["rank_correlation"] <= bound else "normal"
        style = {"ha": "center", "va": "top", "fontsize": 7, "fontweight": weight}
        column[2].text(0.5, -0.04, text, transform=column[2].transAxes, **style)
    return figure


if __name__ == "__main__":
    cli.run(main)
