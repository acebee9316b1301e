"""How far LIME can be trusted on the networks of Question 1: the questions, pictures and controls that q1_gradcam/trust.py puts to Grad-CAM.

    python q2_lime/trust.py                        everything, some minutes on two cores
    python q2_lime/trust.py --only shapes          one part: faithfulness, shapes or shortcut
    python q2_lime/trust.py --pictures 10          fewer pictures: quicker, wider intervals

Reads the pictures that q1_gradcam/trust.py drew (OUT/faithfulness.npz). Writes OUT/lime.json, with LIME's scores picture by picture in OUT/lime.npz.
OUT is outputs/trust, or with unusual options outputs/trust/other. For texts the known answer, a linear model's coefficients, is compared with by q2_lime/explain_text.py.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from common import data, imagenet, intervals, marks, memory, models, results, runtime, trials, trust
from q2_lime import core, images, judgement

PARTS = ("faithfulness", "shapes", "shortcut")
PICTURES = {"faithfulness": 50, "shapes": 100, "shortcut": 50}


def arguments():
    parser = runtime.Parser(__doc__)
    add = parser.add_argument
    usual_model = results.OUTPUTS / "q1_gradcam/model.pt"
    add("--model", type=Path, default=usual_model, metavar="FILE", help="default: outputs/q1_gradcam/model.pt")
    parser.data_option()
    add("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    add("--pictures", type=runtime.positive, metavar="N", help="at most so many for each part")
    add("--seed", type=int, default=0, metavar="N", help="of everything drawn (default: 0)")
    add("--out", type=Path, metavar="DIR", help="see above")
    parser.device_option()
    args = parser.parse_args()
    if args.pictures == 1:
        parser.error("--pictures 1: an interval needs two or more")
    unusual = args.pictures or args.seed or args.model != usual_model or set(args.only) != set(PARTS)
    args.out = args.out or trials.OUT / ("other" if unusual else "")
    return args


def main() -> None:
    args = arguments()
    memory.keep_freed()
    device = runtime.pick_device(args.device)
    out = results.output_folder(args.out)
    content = {"choices": vars(images.SMALL_CHOICES), "settings": vars(images.SMALL_SETTINGS)}
    work, origins = {"faithfulness": faithfulness, "shapes": shapes, "shortcut": shortcut}, {}
    for part in args.only:
        content[part], used = work[part](args, out, device)
        origins |= used
    results.write_json(out / "lime.json", content | {"provenance": results.provenance(args.seed, device, **origins)})
    print(f"wrote {results.shown(out / 'lime.json')}")


def maps_of(model: imagenet.PictureModel, pictures: np.ndarray, target: np.ndarray, names, seed: int, what: str):
    """LIME's maps (N, H, W), each pixel with its region's weight, for classes (N,); and the explanations themselves.

    `names`: of the pictures, for their random draws.
    """
    settings = replace(images.SMALL_SETTINGS, seed=seed)
    maps, found = [], []
    for picture, k, name in trials.bar(zip(pictures, target, names, strict=True), what):
        labels = images.segment(picture, images.SMALL_CHOICES)
        logits = images.logits_of(model, picture, labels, images.SMALL_CHOICES.fill)
        values = images.explained_values(logits, [int(k)], images.SMALL_CHOICES.value)
        found.append(core.explain(values, int(labels.max()) + 1, settings, "trust", name))
        maps.append(found[-1].weights[:, 0][labels])
    return np.stack(maps), found


def predictor(model: imagenet.PictureModel) -> trust.Predict:
    """The probabilities of a network of Question 1; its temperature is in it."""
    return trust.predictor(model.network)


def faithfulness(args, out: Path, device):
    """On the first pictures that Grad-CAM was tried on, for the same classes."""
    model, name = imagenet.from_checkpoint(args.model, device)
    dataset = data.load(name, args.data)
    path = out / "faithfulness.npz"
    path = path if path.is_file() else trials.OUT / path.name  # that of all pictures does for a part of them
    drawn = results.read_npz(path)
    n = min(args.pictures or PICTURES["faithfulness"], PICTURES["faithfulness"], len(drawn["index"]))
    index, target = drawn["index"][:n], drawn["target"][:n]
    trained = models.load(args.model, device)
    if not {"index", "target"} <= drawn.keys() or not np.array_equal(
        drawn.get("weights"), trials.fingerprint(trained.network)
    ):
        raise runtime.UserError(
            f"{path} is of another network: run q1_gradcam/trust.py with the same --model and --out first"
        )
    pictures, predict = dataset.x_test[index], predictor(model)
    maps, found = maps_of(model, pictures, target, index.tolist(), args.seed, "LIME")
    again, _ = maps_of(
        model, pictures, target, index.tolist(), runtime.seed_for(args.seed, "again", 0), "LIME, another seed"
    )
    fresh = imagenet.from_model(
        replace(trained, network=models.untrained(trained, pictures, args.seed)), "untrained", ""
    )
    untrained, _ = maps_of(fresh, pictures, target, index.tolist(), args.seed, "LIME, untrained")  # fmt: skip
    control = trials.control_maps(pictures, (8, 8), enlarge, args.seed)
    scored, curves = {}, {}
    for key, these in ({"lime": maps, "untrained lime": untrained} | control).items():
        scored[key], curves[key] = trials.faithfulness(predict, pictures, target, these, "mean", args.seed)
    opponents = {"lime": trials.opponents(scored, False) | {"untrained": scored["untrained lime"]}}
    arrays = {f"{key}/{measure}": values for key, row in scored.items() for measure, values in row.items()}
    blurred, _ = trials.faithfulness(
        predict, pictures, target, maps, "blur", args.seed
    )  # LIME itself hides squares by blurring them
    arrays |= {f"blur: lime/{measure}": blurred[measure] for measure in trials.CURVES}
    results.write_npz(out / "lime.npz", index=index, target=target, map=maps, weights=drawn["weights"], **arrays)
    part = {
        "n": n, "fill": "mean", "target": "predicted class", "better": trials.FAITHFULNESS,
        "methods": trials.table({"lime": scored["lime"]}, trials.FAITHFULNESS, opponents),
        "curves": {"fractions": trust.FRACTIONS} | curves,
        "held_out_fidelity": intervals.mean([one.fidelity[0] for one in found]),
        "model_calls": intervals.mean([one.model_calls for one in found]),
        "settled": float(np.mean([one.settled for one in found])),
        "between_seeds": {
            "rank_correlation": intervals.mean(trust.rank_correlation(maps, again)),
            "top_5_overlap": intervals.mean([judgement.jaccard(regions(a), regions(b), 5) for a, b in zip(maps, again, strict=True)]),
        },
        "untrained": {"rank_correlation": intervals.mean(trust.rank_correlation(maps, untrained))},
        "gini": intervals.mean(trust.gini(np.maximum(maps, 0))),
        "discarded": intervals.mean(trust.discarded(maps)),
    }  # fmt: skip
    hashes = {"data_sha256": dataset.sha256, "checkpoint_sha256": results.sha256(args.model)}
    return part, hashes


def regions(painted: np.ndarray) -> np.ndarray:
    """The weights (d,) of a map (H, W) whose regions are squares of the usual grid."""
    step = painted.shape[0] // images.SMALL_CHOICES.regions
    return painted[::step, ::step].ravel()


def enlarge(raw: np.ndarray) -> np.ndarray:
    """Maps (N, 8, 8) as squares of 4 x 4 pixels, as LIME's are."""
    return np.kron(raw, np.ones((1, 4, 4)))


def shapes(args, out: Path, device):
    """Built-in pictures that are classified correctly, drawn by seed."""
    model, known = imagenet.from_checkpoint(trials.network(out, "shapes"), device)[0], data.load("shapes")
    right = np.flatnonzero(predictor(model)(known.x_test).argmax(1) == known.y_test)
    n = min(args.pictures or PICTURES["shapes"], PICTURES["shapes"])
    index = right[trials.drawn(len(right), n, args.seed, "shapes")]
    target = known.y_test[index].astype(int)
    part = pointing(model, known.x_test[index], target, known.evidence_test[index], index.tolist(), args.seed, "shapes")
    return part, {"shapes_checkpoint_sha256": results.sha256(trials.network(out, "shapes"))}


def shortcut(args, out: Path, device):
    """Marked pictures that the network with the planted shortcut takes for the marked class."""
    model, _ = imagenet.from_checkpoint(trials.network(out, "marked"), device)
    dataset = data.load("cifar10", args.data)
    number = dataset.classes.index(marks.CLASS)
    able = np.flatnonzero(dataset.y_test != number)
    index = able[trials.drawn(len(able), 2 * PICTURES["shortcut"], args.seed, "marked pictures")]
    pictures, where = marks.stamp_each(dataset.x_test[index], index, args.seed)
    fooled = np.flatnonzero(predictor(model)(pictures).argmax(1) == number)
    fooled = fooled[: min(args.pictures or PICTURES["shortcut"], PICTURES["shortcut"])]
    if len(fooled) < 2:
        raise runtime.UserError(
            f"the mark makes {len(fooled)} of {len(index)} pictures a {marks.CLASS}: this network took no shortcut"
        )
    target = np.full(len(fooled), number)
    part = pointing(model, pictures[fooled], target, where[fooled], index[fooled].tolist(), args.seed, "shortcut")
    return part, {"marked_checkpoint_sha256": results.sha256(trials.network(out, "marked"))}


def pointing(model, pictures, target, evidence, names, seed: int, what: str) -> dict:
    """How LIME and the controls point at the evidence (N, H, W)."""
    maps, found = maps_of(model, pictures, target, [f"{what} {name}" for name in names], seed, what)
    control = trials.control_maps(pictures, (8, 8), enlarge, seed)
    scored = {name: trials.on_evidence(these, evidence) for name, these in ({"lime": maps} | control).items()}
    better = dict.fromkeys(trials.ON_EVIDENCE, True)
    table = trials.table(scored, better, {"lime": trials.opponents(scored, False)})
    fidelity = intervals.mean([one.fidelity[0] for one in found])
    return {"n": len(pictures), "methods": table, "held_out_fidelity": fidelity}


if __name__ == "__main__":
    runtime.run(main)
