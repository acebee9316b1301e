"""Grad-CAM against LIME on the same pictures of the same network: what spans both questions.

    python evaluation/compare.py          a few minutes on two cores; needs what evaluation/gradcam_trust.py, evaluation/lime_trust.py and q2_lime/explain.py wrote

Twice: the ten pictures of q2_lime/explain.py, for the ImageNet model (its last map against LIME's stored weights) and for the network of Question 1
(LIME afresh on its squares); and the pictures of evaluation/lime_trust.py, where every gradient method is held against LIME. Writes
OUT/agreement.json, OUT/methods.json and OUT/*.png.
"""

from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from common import cli, data, imagenet, metrics, models, results, statistics
from common.data import fit_image
from common.figures import INK, WIDTH, plt, save, show_image, show_map
from common.results import reading
from evaluation import explainers, scoring
from evaluation import lime_trust as lime_trust
from q1_gradcam import gradcam
from q2_lime import images

LAST_MAP = {"mobilenet_v2": "features.18"}  # 7 x 7, before the average pooling
TOP = 0.2  # of the area
MOST_UNLIKE = 3
MARGIN = 0.05


def arguments():
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add(
        "--outputs",
        type=Path,
        default=results.OUTPUTS,
        metavar="DIR",
        help="where results are read (default: outputs)",
    )
    parser.data_option()
    add("--out", type=Path, metavar="DIR", help="default: OUTPUTS/comparison")
    parser.device_option()
    args = parser.parse_args()
    args.out = args.out or args.outputs / "comparison"
    return args


def main() -> None:
    args = arguments()
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    explained = results.read_json(args.outputs / "q2_lime/images/explanations.json")
    stored = results.read_npz(args.outputs / "q2_lime/images/explanations.npz")
    scores = [
        results.read_npz(args.outputs / f"trust/{name}.npz") for name in ("faithfulness", "lime")
    ]
    out, dataset = results.output_folder(args.out), data.load_cifar10(args.data)
    index, seed = needed(explained, stored, scores)
    if not np.array_equal(scores[0].get("weights"), scores[1].get("weights")):
        raise cli.UserError(
            "faithfulness.npz and lime.npz are of different networks: run evaluation/gradcam_trust.py, then evaluation/lime_trust.py"
        )

    if not np.array_equal(
        scores[0].get("weights"),
        scoring.fingerprint(models.load(args.outputs / "q1_gradcam/model.pt").network),
    ):
        raise cli.UserError(
            "faithfulness.npz is of another network than q1_gradcam/model.pt: run evaluation/gradcam_trust.py, then evaluation/lime_trust.py"
        )

    with reading("faithfulness.npz or lime.npz of trust"):
        methods = against_lime(*scores)
    found = {
        "imagenet": on_imagenet(args, dataset, index, explained, stored, seed, device),
        "classifier": on_classifier(args, dataset, index, seed, device),
    }
    for name, (pictures, maps, row) in found.items():
        title = f"The same picture, the same network ({row['network']}), the same class: Grad-CAM and LIME"
        save(
            side_by_side(pictures, maps, row["pictures"], title),
            out / f"{name}.png",
            photographs=True,
        )
    origins = {
        "data_sha256": dataset.sha256,
        "checkpoint_sha256": results.sha256(args.outputs / "q1_gradcam/model.pt"),
    }
    origins |= {
        "explanations_sha256": results.sha256(args.outputs / "q2_lime/images/explanations.npz")
    }
    origins |= {"imagenet_weights_sha256": explained["provenance"]["weights_sha256"]}
    origins |= {
        f"{name}_scores_sha256": results.sha256(args.outputs / f"trust/{name}.npz")
        for name in ("faithfulness", "lime")
    }
    where = results.provenance(seed, device, data_source=dataset.source, **origins)
    agreement = {name: row for name, (_, _, row) in found.items()}
    agreement["many"] = on_many(args, dataset, scores[1], seed, device)
    [
        results.write_json(out / "agreement.json", agreement | {"provenance": where}),
        results.write_json(out / "methods.json", methods | {"provenance": where}),
    ]
    print(f"wrote {results.shown(out)}: agreement.json, methods.json and two figures")


def needed(explained, stored, scores) -> tuple[list[int], int]:
    """The numbers of the explained pictures, and the seed; refused where something that the rest relies on is missing."""
    try:
        index, seed = (
            [sample["index"] for sample in explained["samples"]],
            explained["provenance"]["seed"],
        )
        places = [(sample, ["predicted"]) for sample in explained["samples"]]
        places += [(explained, ["model"]), (explained["choices"], ["enlarge"])]
        places += [(explained["provenance"], ["weights_sha256", "data_sha256"])]
        places += [(stored, [f"{what}_{k}" for k in index for what in ("labels", "weights")])]
        places += [(rows, ["index", "target", "weights"]) for rows in scores] + [
            (scores[1], ["map"])
        ]
        for place, keys in places:
            itemgetter(*keys)(place)
    except (LookupError, TypeError):
        raise cli.UserError(
            "explanations or scores lack something: run q2_lime/explain.py and both metrics.py again"
        ) from None
    return index, seed


def on_imagenet(args, dataset, index, explained, stored, seed, device):
    """The ImageNet model on the enlarged pictures, for the class that it names first."""
    name = explained["model"]
    if name not in LAST_MAP:
        raise cli.UserError(
            f"which layer of {name} to explain is not known: enter it in LAST_MAP of evaluation/compare.py"
        )
    # Not folded: the layer's name and place have to be those of torchvision.
    model = imagenet.load(name, imagenet.local_weights(args.data, name), fold=False, device=device)
    stored_hashes = [explained["provenance"][key] for key in ("weights_sha256", "data_sha256")]
    if stored_hashes != [model.sha256, dataset.sha256]:
        raise cli.UserError(
            "q2_lime/explain.py used other weights or pictures than these: run it again"
        )
    how = explained["choices"]["enlarge"]
    pictures = np.stack([images.resize(dataset.x_test[k], model.side, how) for k in index])

    def predict(these: np.ndarray) -> np.ndarray:
        return softmax(images.predict(model, these), axis=1)

    target = predict(pictures).argmax(1)
    if [model.categories[k] for k in target] != [
        sample["predicted"] for sample in explained["samples"]
    ]:
        raise cli.UserError(
            "the ImageNet model names other classes than q2_lime/explain.py stored: run that again with these weights"
        )
    normal = [
        torch.tensor(part, device=device).view(1, 3, 1, 1) for part in (model.mean, model.std)
    ]
    x = (models.to_input(pictures, device) - normal[0]) / normal[1]
    raw = (
        gradcam.explain(model.network, x, LAST_MAP[name], torch.from_numpy(target).to(device))
        .raw.cpu()
        .numpy()
    )
    lime = np.stack([stored[f"weights_{k}"][:, 0][stored[f"labels_{k}"]] for k in index])
    maps = {"gradcam": explainers.enlarge(raw, pictures.shape[1:3]), "lime": lime}
    row = compared(
        predict,
        pictures,
        target,
        maps,
        index,
        [dataset.classes[dataset.y_test[k]] for k in index],
        seed,
    )
    for sample, k in zip(row["pictures"], target, strict=True):
        sample["explained"] = model.categories[k]
    return pictures, maps, {"network": name, "layer": LAST_MAP[name]} | row


def on_classifier(args, dataset, index, seed, device):
    """The network of Question 1 on the same pictures as they are, for its predicted class."""
    path = args.outputs / "q1_gradcam/model.pt"
    own, (model, _) = models.load(path, device), imagenet.from_checkpoint(path, device)
    pictures, predict = dataset.x_test[index], metrics.predictor(own.network, own.temperature)
    target = predict(pictures).argmax(1)
    lime, _ = lime_trust.maps_of(model, pictures, target, index, seed, "LIME")
    maps = {
        "gradcam": explainers.enlarge(
            explainers.raw_maps(own.network, pictures, "gradcam", own.layer, target)
        ),
        "lime": lime,
    }
    row = compared(
        predict,
        pictures,
        target,
        maps,
        index,
        [dataset.classes[dataset.y_test[k]] for k in index],
        seed,
    )
    for sample, k in zip(row["pictures"], target, strict=True):
        sample["explained"] = own.classes[k]
    return pictures, maps, {"network": own.arch, "layer": own.layer} | row


def compared(predict, pictures, target, maps, index, true, seed) -> dict:
    """Agreement of the two maps picture by picture, and which of them deletion and insertion prefer."""
    row = agreement(maps["gradcam"], maps["lime"], seed)
    scored = {
        name: scoring.faithfulness(predict, pictures, target, these, "mean", seed)[0]
        for name, these in maps.items()
    }
    sure = predict(pictures)[np.arange(len(index)), target]
    samples = []
    for i, (number, name) in enumerate(zip(index, true, strict=True)):
        sample = {"index": number, "true": name, "confidence": sure[i]} | {
            key: row[key][i] for key in ("rank_correlation", "top_overlap")
        }
        sample |= {
            f"{method}_{measure}": scored[method][measure][i]
            for method in maps
            for measure in scoring.CURVES
        }
        samples.append(sample | {"prefers": prefers(scored, i, sure[i])})
    unlike = [index[k] for k in np.argsort(row["rank_correlation"])[:MOST_UNLIKE]]
    return {
        "n": len(index),
        "top": TOP,
        "margin": MARGIN,
        "pictures": samples,
        "most_unlike": unlike,
        "summary": summary(row),
        "lime_against_gradcam": {
            key: statistics.compare_paired(scored["lime"][key], scored["gradcam"][key], better)
            for key, better in scoring.CURVES.items()
        },
        "prefers": {
            name: sum(s["prefers"] == name for s in samples)
            for name in ("gradcam", "lime", "neither")
        },
    }


def prefers(scored, i: int, confidence: float) -> str:
    """The method that both deletion and insertion like better on picture i, each by MARGIN of the confidence or more, or "neither"."""
    lime, grad, least = scored["lime"], scored["gradcam"], MARGIN * confidence
    gains = (grad["deletion"][i] - lime["deletion"][i], lime["insertion"][i] - grad["insertion"][i])
    return "lime" if min(gains) >= least else "gradcam" if max(gains) <= -least else "neither"


def agreement(a: np.ndarray, b: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Rank correlation and overlap of the leading area of maps a and b (N, H, W); the same with b's maps passed on to the next picture."""
    rng = np.random.default_rng(cli.seed_for(seed, "agreement"))
    other = np.roll(b, 1, axis=0)
    return {
        "rank_correlation": metrics.rank_correlation(a, b),
        "rank_correlation_control": metrics.rank_correlation(a, other),
        "top_overlap": metrics.top_overlap(a, b, TOP, rng),
        "top_overlap_control": metrics.top_overlap(a, other, TOP, rng),
    }


def on_many(args, dataset, lime, seed, device) -> dict:
    """The agreement of the two on the pictures of evaluation/lime_trust.py."""
    own = models.load(args.outputs / "q1_gradcam/model.pt", device)
    raw = explainers.raw_maps(
        own.network, dataset.x_test[lime["index"]], "gradcam", own.layer, lime["target"]
    )
    found = agreement(explainers.enlarge(raw), lime["map"], seed)
    return {"n": len(raw)} | summary(found)


def summary(found: dict[str, np.ndarray]) -> dict:
    """Means with intervals of what `agreement` found, and each measure against its control."""
    duels = {
        key: statistics.compare_paired(found[key], found[f"{key}_control"], True)
        for key in ("rank_correlation", "top_overlap")
    }
    return {key: statistics.mean_interval(values) for key, values in found.items()} | {
        "against_control": duels
    }


def against_lime(gradients: dict[str, np.ndarray], lime: dict[str, np.ndarray]) -> dict:
    """Every method's scores on the pictures that LIME was tried on, each against LIME's own."""
    n = len(lime["index"])
    if not (
        np.array_equal(gradients["index"][:n], lime["index"])
        and np.array_equal(gradients["target"][:n], lime["target"])
    ):
        raise cli.UserError(
            "faithfulness.npz and lime.npz are of different pictures: run evaluation/gradcam_trust.py, then evaluation/lime_trust.py"
        )
    names = [key.split("/")[0] for key in gradients if key.endswith("/deletion")]
    names = [name for name in names if not name.startswith(("untrained", "blur: ", "road: "))]
    scored = {
        name: {m: gradients[f"{name}/{m}"][:n] for m in scoring.FAITHFULNESS} for name in names
    }
    scored["lime"] = {m: lime[f"lime/{m}"] for m in scoring.FAITHFULNESS}
    opponents = {name: {"lime": scored["lime"]} for name in names}
    found = {
        "n": n,
        "better": scoring.FAITHFULNESS,
        "methods": scoring.table(scored, scoring.FAITHFULNESS, opponents),
    }
    for fill in (other for other in metrics.FILLS if other != scoring.FILL):
        again = {
            name: {m: gradients[f"{fill}: {name}/{m}"][:n] for m in scoring.CURVES}
            for name in names
        }
        again["lime"] = {m: lime[f"{fill}: lime/{m}"] for m in scoring.CURVES}
        found[fill] = scoring.table(
            again, scoring.CURVES, {name: {"lime": again["lime"]} for name in names}
        )
    return found


def side_by_side(pictures, maps, samples, title: str):
    """Picture, Grad-CAM and LIME, five pictures across."""
    across, small = 5, 64
    blocks = -(-len(pictures) // across)
    figure, axes = plt.subplots(
        3 * blocks, across, figsize=(WIDTH, 0.5 + 4.7 * blocks), layout="constrained", squeeze=False
    )
    for ax in axes.flat:
        ax.axis("off")
    unlike = sorted(sample["rank_correlation"] for sample in samples)[:MOST_UNLIKE][-1]
    for k, sample in enumerate(samples):
        column = axes[3 * (k // across) : 3 * (k // across) + 3, k % across]
        picture = pictures[k] if pictures.shape[1] <= small else fit_image(pictures[k], small)
        far = sample["rank_correlation"] <= unlike
        title_of = column[0].set_title
        show_image(column[0], picture)
        title_of(
            f"{sample['true']}, taken for\n{sample['explained']} {sample['confidence']:.0%}",
            fontsize=6.5,
            pad=2.5,
        )
        for ax, (name, these) in zip(column[1:], maps.items(), strict=True):
            level = scoring.positive(these[k][None])[0]
            show_map(ax, picture, level, {"gradcam": "Grad-CAM", "lime": "LIME"}[name])
        column[2].text(
            0.5,
            -0.04,
            f"ranks {sample['rank_correlation']:.2f}, top {sample['top_overlap']:.2f}\nboth tests: {sample['prefers']}",
            transform=column[2].transAxes,
            ha="center",
            va="top",
            fontsize=6.5,
            fontweight="bold" if far else "normal",
            color=INK,
        )
    figure.suptitle(
        f"{title}\nPositive parts, each scaled to its peak; the line runs at half of it. Below: rank correlation of the two maps, overlap of their"
        f"\nleading fifths, and the one that deletion and insertion both prefer. Bold: the {MOST_UNLIKE} that agree least.",
        fontsize=7,
    )
    return figure


if __name__ == "__main__":
    cli.run(main)
