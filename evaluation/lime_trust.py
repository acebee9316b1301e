"""How far LIME can be trusted on the networks of Question 1: the questions, pictures and controls that evaluation/gradcam_trust.py puts to Grad-CAM.

    python evaluation/lime_trust.py                        everything, some minutes on two cores
    python evaluation/lime_trust.py --only shapes          one part: faithfulness, sanity, shapes or shortcut
    python evaluation/lime_trust.py --pictures 10          fewer pictures: quicker, wider intervals

Reads the pictures that evaluation/gradcam_trust.py drew (OUT/faithfulness.npz). Writes OUT/lime.json, with LIME's scores picture by picture in OUT/lime.npz.
OUT is outputs/trust, or with unusual options outputs/trust/other. For texts the known answer, a linear model's coefficients, is compared with by q2_lime/explain_text.py.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from common import cli, data, imagenet, metrics, models, results, statistics, synthetic
from evaluation import randomization, scoring
from q2_lime import core, images, stability

PARTS = ("faithfulness", "sanity", "shapes", "shortcut")
PICTURES = {"faithfulness": 50, "sanity": 12, "shapes": 100, "shortcut": 50}


def main() -> None:
    args = scoring.arguments(__doc__, PARTS, in_one_file=True)
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    out = results.output_folder(args.out)
    content = {"choices": vars(images.SMALL_IMAGE_SETTINGS), "settings": vars(images.SMALL_SETTINGS)}
    work, origins = (
        {
            "faithfulness": faithfulness,
            "sanity": forgetting,
            "shapes": shapes,
            "shortcut": shortcut,
        },
        {},
    )
    for part in args.only:
        content[part], used = work[part](args, out, device)
        origins |= used
    provenance = results.provenance(args.seed, device, **origins)
    [results.write_json(out / "lime.json", content | {"provenance": provenance})]
    print(f"wrote {results.shown(out / 'lime.json')}")


def maps_of(
    model: imagenet.ImageModel,
    pictures: np.ndarray,
    target: np.ndarray,
    names,
    seed: int,
    what: str,
):
    """LIME's maps (N, H, W), each pixel with its region's weight, for classes (N,); and the explanations themselves.

    `names`: of the pictures, for their random draws.
    """
    settings = replace(images.SMALL_SETTINGS, seed=seed)
    maps, found = [], []
    for picture, k, name in scoring.bar(zip(pictures, target, names, strict=True), what):
        labels = images.segment(picture, images.SMALL_IMAGE_SETTINGS)
        logits = images.masked_logits(model, picture, labels, images.SMALL_IMAGE_SETTINGS.fill)
        values = images.explained_values(logits, [int(k)], images.SMALL_IMAGE_SETTINGS.explained_value)
        found.append(core.explain(values, int(labels.max()) + 1, settings, "trust", name))
        maps.append(found[-1].weights[:, 0][labels])
    return np.stack(maps), found


def predictor(model: imagenet.ImageModel) -> metrics.Predict:
    """The probabilities of a network of Question 1; its temperature is in it."""
    return metrics.predictor(model.network)


def first_drawn(args, out: Path, part: str, trained: models.Model) -> tuple[np.ndarray, np.ndarray]:
    """The first pictures that Grad-CAM was tried on (their places in the test set), and the classes explained there."""
    path = out / "faithfulness.npz"
    path = (
        path if path.is_file() else scoring.OUT / path.name
    )  # that of all pictures does for a part of them
    drawn = results.read_npz(path)
    if not {"index", "target"} <= drawn.keys() or not np.array_equal(
        drawn.get("weights"), scoring.fingerprint(trained.network)
    ):
        raise cli.UserError(
            f"{path} is of another network: run evaluation/gradcam_trust.py with the same --model and --out first"
        )
    n = min(args.pictures or PICTURES[part], PICTURES[part])
    return drawn["index"][:n], drawn["target"][:n]


def faithfulness(args, out: Path, device):
    """On the first pictures that Grad-CAM was tried on, for the same classes."""
    model, name = imagenet.from_checkpoint(args.model, device)
    dataset, trained = data.load(name, args.data), models.load(args.model, device)
    index, target = first_drawn(args, out, "faithfulness", trained)
    n = len(index)
    pictures, predict = dataset.x_test[index], predictor(model)
    maps, found = maps_of(model, pictures, target, index.tolist(), args.seed, "LIME")
    again, _ = maps_of(
        model,
        pictures,
        target,
        index.tolist(),
        cli.seed_for(args.seed, "again", 0),
        "LIME, another seed",
    )
    fresh = imagenet.from_model(
        replace(trained, network=models.untrained(trained, pictures, args.seed)), "untrained", ""
    )
    untrained, _ = maps_of(fresh, pictures, target, index.tolist(), args.seed, "LIME, untrained")
    control = scoring.control_maps(pictures, (8, 8), enlarge, args.seed)
    arrays, tables, curves = {}, {}, {}
    for fill in metrics.FILLS:  # LIME itself hides squares by blurring them
        usual, scored = fill == scoring.FILL, {}
        for key, these in scoring.bar(
            ({"lime": maps, "untrained lime": untrained} | control).items(), f"LIME, {fill}"
        ):
            scored[key], found_curves = scoring.faithfulness(
                predict, pictures, target, these, fill, args.seed
            )
            curves |= {key: found_curves} if usual else {}
        measures = scoring.FAITHFULNESS if usual else scoring.CURVES
        opponents = {
            "lime": scoring.opponents(scored, False) | {"untrained": scored["untrained lime"]}
        }
        tables[fill] = scoring.table({"lime": scored["lime"]}, measures, opponents)
        mark = "" if usual else f"{fill}: "
        arrays |= {
            f"{mark}{key}/{measure}": row[measure]
            for key, row in scored.items()
            for measure in measures
        }
    results.write_npz(
        out / "lime.npz",
        index=index,
        target=target,
        map=maps,
        weights=scoring.fingerprint(trained.network),
        **arrays,
    )
    part = {
        "n": n,
        "fill": scoring.FILL,
        "target": "predicted class",
        "better": scoring.FAITHFULNESS,
        "methods": tables.pop(scoring.FILL),
        "other_fills": {fill: {"n": n, "methods": table} for fill, table in tables.items()},
        "curves": {"fractions": metrics.FRACTIONS} | curves,
        "held_out_fidelity": statistics.mean_interval([one.fidelity[0] for one in found]),
        "model_calls": statistics.mean_interval([one.model_calls for one in found]),
        "settled": float(np.mean([one.settled for one in found])),
        "between_seeds": {
            "rank_correlation": statistics.mean_interval(metrics.rank_correlation(maps, again)),
            "top_5_overlap": statistics.mean_interval(
                [
                    stability.jaccard(regions(a), regions(b), 5)
                    for a, b in zip(maps, again, strict=True)
                ]
            ),
        },
        "untrained": {
            "rank_correlation": statistics.mean_interval(metrics.rank_correlation(maps, untrained))
        },
        "gini": statistics.mean_interval(metrics.gini(np.maximum(maps, 0))),
        "discarded": statistics.mean_interval(metrics.discarded_share(maps)),
        "dead": int((maps.max((1, 2)) <= 0).sum()),
    }
    hashes = {"data_sha256": dataset.sha256, "checkpoint_sha256": results.sha256(args.model)}
    return part, hashes


def forgetting(args, out: Path, device):
    """Adebayo's sanity check on the first of the same pictures: LIME again on networks whose layers are noise, with the same masks."""
    name, trained = imagenet.from_checkpoint(args.model, device)[1], models.load(args.model, device)
    dataset = data.load(name, args.data)
    index, target = first_drawn(args, out, "sanity", trained)
    pictures = dataset.x_test[index]

    def of(network):
        model = imagenet.from_model(replace(trained, network=network), "randomised", "")
        return {"lime": maps_of(model, pictures, target, index.tolist(), args.seed, "LIME")[0]}

    found = randomization.likeness(
        trained.network,
        of,
        lambda maps: maps,
        pictures,
        args.seed,
        progress=lambda things: scoring.bar(things, "sanity"),
    )
    summary = randomization.summary(found, randomization.weighted_layers(trained.network))
    return {"n": len(index)} | summary, {
        "data_sha256": dataset.sha256,
        "checkpoint_sha256": results.sha256(args.model),
    }


def regions(painted: np.ndarray) -> np.ndarray:
    """The weights (d,) of a map (H, W) whose regions are squares of the usual grid."""
    step = painted.shape[0] // images.SMALL_IMAGE_SETTINGS.n_segments
    return painted[::step, ::step].ravel()


def enlarge(raw: np.ndarray) -> np.ndarray:
    """Maps (N, 8, 8) as squares of 4 x 4 pixels, as LIME's are."""
    return np.kron(raw, np.ones((1, 4, 4)))


def shapes(args, out: Path, device):
    """Built-in pictures that are classified correctly, drawn by seed."""
    model, known = (
        imagenet.from_checkpoint(scoring.network(out, "shapes"), device)[0],
        data.load("shapes"),
    )
    right = np.flatnonzero(predictor(model)(known.x_test).argmax(1) == known.y_test)
    n = min(args.pictures or PICTURES["shapes"], PICTURES["shapes"])
    index = right[scoring.drawn(len(right), n, args.seed, "shapes")]
    target = known.y_test[index].astype(int)
    part = pointing(
        model,
        known.x_test[index],
        target,
        known.ground_truth_test[index],
        index.tolist(),
        args.seed,
        "shapes",
    )
    return part, {"shapes_checkpoint_sha256": results.sha256(scoring.network(out, "shapes"))}


def shortcut(args, out: Path, device):
    """Marked pictures that the network with the planted shortcut takes for the marked class."""
    model, _ = imagenet.from_checkpoint(scoring.network(out, "marked"), device)
    dataset = data.load("cifar10", args.data)
    number = dataset.classes.index(synthetic.MARKED_CLASS)
    able = np.flatnonzero(dataset.y_test != number)
    index = able[scoring.drawn(len(able), 2 * PICTURES["shortcut"], args.seed, "marked pictures")]
    pictures, where = synthetic.stamp_each(dataset.x_test[index], index, args.seed)
    fooled = np.flatnonzero(predictor(model)(pictures).argmax(1) == number)
    fooled = fooled[: min(args.pictures or PICTURES["shortcut"], PICTURES["shortcut"])]
    if len(fooled) < 2:
        raise cli.UserError(
            f"the mark makes {len(fooled)} of {len(index)} pictures a {synthetic.MARKED_CLASS}: this network took no shortcut"
        )
    target = np.full(len(fooled), number)
    part = pointing(
        model,
        pictures[fooled],
        target,
        where[fooled],
        index[fooled].tolist(),
        args.seed,
        "shortcut",
    )
    return part, {"marked_checkpoint_sha256": results.sha256(scoring.network(out, "marked"))}


def pointing(model, pictures, target, evidence, names, seed: int, what: str) -> dict:
    """How LIME and the controls point at the evidence (N, H, W)."""
    maps, found = maps_of(model, pictures, target, [f"{what} {name}" for name in names], seed, what)
    control = scoring.control_maps(pictures, (8, 8), enlarge, seed)
    scored = {
        name: scoring.on_evidence(these, evidence)
        for name, these in ({"lime": maps} | control).items()
    }
    better = dict.fromkeys(scoring.ON_EVIDENCE, True)
    table = scoring.table(scored, better, {"lime": scoring.opponents(scored, False)})
    fidelity = statistics.mean_interval([one.fidelity[0] for one in found])
    return {"n": len(pictures), "methods": table, "held_out_fidelity": fidelity}


if __name__ == "__main__":
    cli.run(main)
