"""How far Grad-CAM and its relatives can be trusted, on committed networks; beside controls, against known answers.

    python q1_gradcam/trust.py                        everything, a quarter of an hour on two cores
    python q1_gradcam/trust.py --only sanity shapes   some parts of it
    python q1_gradcam/trust.py --pictures 100         fewer pictures: quicker, wider intervals

    faithfulness   does the class's probability follow the map? all methods, random test pictures
    layers         the same for each stage of the network, on held-out training pictures, for the choice of the layer
    sanity         do the maps change when the weights are randomised?
    stability      do they stay under noise, shifts and the mirror?
    mistakes       do maps of wrong predictions differ?
    shapes         do they point at the evidence of the built-in pictures?
    shortcut       do they point at a mark that a network was made to rely on?

Writes OUT/PART.json with intervals and provenance, OUT/PART.png, and scores picture by picture in OUT/faithfulness.npz. OUT is outputs/trust, or
with another number of pictures, seed or network outputs/trust/other. The networks of `shapes` and `shortcut` lie in OUT or in outputs/trust;
README says how they were trained.
"""

from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from common import data, intervals, memory, models, results, runtime, trials, trust
from q1_gradcam import gradcam, known_answers, sanity, trust_figures

AT_LAYERS = ("gradcam", "hirescam", "layercam")
PARTS = ("faithfulness", "layers", "sanity", "stability", "mistakes", "shapes", "shortcut")
PICTURES = {
    "faithfulness": 500,
    "layers": 200,
    "sanity": 100,
    "stability": 100,
    "mistakes": 300,
    "shapes": 300,
    "shortcut": 300,
}
SECOND_LOOK = {"blur": 100, "road": 100}  # pictures for the fills that are not the usual one
UNTRAINED = 200  # pictures for the methods on an untrained network
FILL = "mean"


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
    unusual = args.pictures or args.seed or args.model != usual_model
    args.out = args.out or trials.OUT / ("other" if unusual else "")
    return args


def main() -> None:
    args = arguments()
    memory.keep_freed()
    device = runtime.pick_device(args.device)
    out = results.output_folder(args.out)
    model = models.load(args.model, device)
    work = {
        "faithfulness": faithfulness, "layers": layers, "sanity": randomisation, "stability": stability, "mistakes": mistakes,
        "shapes": known_answers.shapes, "shortcut": known_answers.shortcut,
    }  # fmt: skip
    if "shortcut" in args.only and model.dataset == "shapes":
        raise runtime.UserError("the part shortcut is about networks of CIFAR-10: name the other parts with --only")
    dataset = data.load(model.dataset, args.data)
    for part in args.only:
        n = min(args.pictures or PICTURES[part], PICTURES[part])
        content = work[part](model, dataset, n, args.seed, out, device)
        origins = {"data_sha256": dataset.sha256, "checkpoint_sha256": results.sha256(args.model)}
        origins |= content.pop("origins", {})
        provenance = results.provenance(args.seed, device, data_source=dataset.source, **origins)
        results.write_json(out / f"{part}.json", content | {"provenance": provenance})
        trust_figures.draw(part, content, out / f"{part}.png")
        print(f"wrote {results.shown(out / part)}.json and .png", flush=True)


def faithfulness(model, dataset, n, seed, out, device):
    """Deletion, insertion, average drop and increase of every method, against the controls and itself on an untrained network."""
    index = trials.drawn(len(dataset.y_test), n, seed, "test pictures")
    images, predict = dataset.x_test[index], trust.predictor(model.network, model.temperature)
    target, fresh = predict(images).argmax(1), models.untrained(model, images, seed)
    raw = {name: sanity.raw_maps(model.network, images, name, model.layer, target) for name in sanity.methods_of(model)}
    maps = {name: sanity.enlarge(found) for name, found in raw.items()}
    few = slice(min(UNTRAINED, n))
    untrained = {
        f"untrained {name}": sanity.enlarge(sanity.raw_maps(fresh, images[few], name, model.layer, target[few]))
        for name in raw
    }
    control = trials.control_maps(images, raw["gradcam"].shape[1:], sanity.enlarge, seed)
    scored, curves = {}, {}
    for name, found in trials.bar((maps | control | untrained).items(), "faithfulness"):
        these = slice(len(found))
        scored[name], curves[name] = trials.faithfulness(predict, images[these], target[these], found, FILL, seed)
    opponents = {name: {} for name in control} | {
        name: trials.opponents(scored, name in gradcam.PIXEL_METHODS) | {"untrained": scored[f"untrained {name}"]}
        for name in raw
    }
    content = {
        "n": len(index), "n_untrained": few.stop, "fill": FILL, "layer": model.layer, "target": "predicted class", "better": trials.FAITHFULNESS,
        "accuracy_of_these": (target == dataset.y_test[index]).mean(),
        "methods": trials.table({name: scored[name] for name in (*raw, *control)}, trials.FAITHFULNESS, opponents),
        "curves": {"fractions": trust.FRACTIONS} | curves,
        "map": {name: looks(found) for name, found in raw.items()},
        "pixels_against_gradcam": {FILL: duel(scored["input_gradient"], scored["gradcam"])},
        "other_fills": {},
    }  # fmt: skip
    arrays = {f"{name}/{measure}": values for name, row in scored.items() for measure, values in row.items()}
    again_for = ("gradcam", "input_gradient", *control, "untrained gradcam")
    for fill, most in SECOND_LOOK.items():
        chosen, again = slice(min(most, n)), {}
        for name in trials.bar(again_for, f"faithfulness, {fill}"):
            found = (maps | control | untrained)[name][chosen]
            again[name], _ = trials.faithfulness(predict, images[chosen], target[chosen], found, fill, seed)
        rows = {"gradcam": trials.opponents(again, False) | {"untrained": again["untrained gradcam"]}}
        content["other_fills"][fill] = {"n": len(images[chosen]), "methods": trials.table(again, trials.CURVES, rows)}
        content["pixels_against_gradcam"][fill] = duel(again["input_gradient"], again["gradcam"])
        arrays |= {f"{fill}: {name}/{measure}": again[name][measure] for name in again for measure in trials.CURVES}
    results.write_npz(
        out / "faithfulness.npz", index=index, target=target, weights=trials.fingerprint(model.network), **arrays
    )
    return content


def duel(one: trials.Scores, other: trials.Scores) -> dict:
    """One method against another by the areas under both curves."""
    return {key: intervals.against(one[key], other[key], larger) for key, larger in trials.CURVES.items()}


def looks(raw: np.ndarray) -> dict:
    """What can be said of maps (N, h, w) without the network: their grid, dead ones, what the ReLU throws away, sparseness of what is left."""
    shown = np.maximum(raw, 0)
    row = {"grid": list(raw.shape[1:]), "dead": int((shown.max((1, 2)) == 0).sum())}
    return row | {"discarded": intervals.mean(trust.discarded(raw)), "gini": intervals.mean(trust.gini(shown))}


def layers(model, dataset, n, seed, out, device):
    """Grad-CAM and the methods that keep places apart, at each stage, on pictures held out from training: what the layer is chosen by."""
    held_out = data.held_out_split(dataset.y_train, model.training["held_out"])[1]
    index = held_out[trials.drawn(len(held_out), n, seed, "held-out pictures")]
    images, predict = dataset.x_train[index], trust.predictor(model.network, model.temperature)
    target = predict(images).argmax(1)
    fresh, rows = models.untrained(model, images, seed), {}
    for layer in models.ARCHITECTURES[model.arch].stages:
        raw = {name: sanity.raw_maps(model.network, images, name, layer, target) for name in AT_LAYERS}
        maps = {name: sanity.enlarge(found) for name, found in raw.items()}
        control = trials.control_maps(images, raw["gradcam"].shape[1:], sanity.enlarge, seed)
        del control[trials.FINE]
        untrained = sanity.enlarge(sanity.raw_maps(fresh, images, "gradcam", layer, target))
        scored = {
            name: trials.faithfulness(predict, images, target, found, FILL, seed)[0]
            for name, found in trials.bar((maps | control | {"untrained": untrained}).items(), f"layers, {layer}")
        }
        opponents = {name: trials.opponents(scored, False) for name in AT_LAYERS}
        opponents["gradcam"]["untrained"] = scored["untrained"]
        table = trials.table({name: scored[name] for name in AT_LAYERS}, trials.CURVES, opponents)
        few = slice(min(50, len(images)))
        noise = sanity.randomised(model.network, sanity.weighted_layers(model.network), images[few], seed)
        for name in AT_LAYERS:
            random_weights = sanity.raw_maps(noise, images[few], name, layer, target[few])
            alike = intervals.mean(trust.rank_correlation(raw[name][few], random_weights))
            table[name] |= looks(raw[name]) | {"rank_correlation_with_random_weights": alike}
        rows[layer] = table
    best = max(
        rows, key=lambda layer: rows[layer]["gradcam"]["insertion"]["mean"] - rows[layer]["gradcam"]["deletion"]["mean"]
    )
    rule = "largest insertion minus deletion of gradcam on held-out training pictures"
    return {"n": len(index), "fill": FILL, "layers": rows, "rule": rule, "chosen_by_rule": best, "used": model.layer}


def randomisation(model, dataset, n, seed, out, device):
    """Adebayo's sanity check, for all methods; what of the likeness is left, beside that of different pictures' maps."""
    index = trials.drawn(len(dataset.y_test), n, seed, "test pictures")
    images = dataset.x_test[index]
    target = trust.predictor(model.network)(images).argmax(1)
    methods = sanity.methods_of(model)
    found = sanity.randomisation(
        model, images, target, methods, model.layer, seed, progress=lambda things: trials.bar(things, "sanity")
    )
    rows = {
        method: {
            way: {name: {key: intervals.mean(values) for key, values in row.items()} for name, row in part.items()}
            for way, part in ways.items()
        }
        for method, ways in found.items()
    }
    names = sanity.weighted_layers(model.network)
    verdicts = {method: sanity_verdict(row, names) for method, row in rows.items()}
    return {
        "n": len(index),
        "layer": model.layer,
        "order": names,
        "methods": rows,
        "verdicts": verdicts,
        "rule": SANITY_RULE,
    }


FAILS_ABOVE = 0.5  # of the way from chance to identical
SANITY_RULE = (
    "A method fails when, with the upper half of the layers randomised, the SSIM of its maps to the original ones lies, interval and all, more than "
    "half of the way from that of different pictures' maps to 1."
)


def sanity_verdict(row: dict, names: list[str]) -> str:
    """ "passes" or "fails", by SANITY_RULE; `names`: of the layers, from the head down."""
    left = row["cascading"][names[max(0, len(names) // 2 - 1)]]["ssim"]
    chance = row["chance"]["other picture"]["ssim"]["mean"]
    return "fails" if left["low"] > chance + FAILS_ABOVE * (1 - chance) else "passes"


def stability(model, dataset, n, seed, out, device):
    """Maps under changes that should hardly matter."""
    index = trials.drawn(len(dataset.y_test), n, seed, "test pictures")
    images = dataset.x_test[index]
    target = trust.predictor(model.network)(images).argmax(1)
    rows = {}
    for method in trials.bar(sanity.methods_of(model), "stability"):
        found = sanity.steadiness(model.network, images, target, method, model.layer, seed)
        rows[method] = {key: intervals.mean(values) for key, values in found.items()}
    return {"n": len(index), "layer": model.layer, "methods": rows}


def mistakes(model, dataset, n, seed, out, device):
    """Grad-CAM of right against wrong predictions, and how well each number tells the two apart; confidence against faithfulness.

    A curve's area cannot exceed the confidence, so the faithfulness is given as a share of it."""
    predict = trust.predictor(model.network, model.temperature)
    probabilities = predict(dataset.x_test)
    right = probabilities.argmax(1) == dataset.y_test
    groups, second = {}, np.argsort(-probabilities, axis=1)[:, 1]
    for name, able in (("correct", np.flatnonzero(right)), ("incorrect", np.flatnonzero(~right))):
        index = able[trials.drawn(len(able), n, seed, name)]
        images, target = dataset.x_test[index], probabilities[index].argmax(1)
        raw = sanity.raw_maps(model.network, images, "gradcam", model.layer, target)
        scores, _ = trials.faithfulness(predict, images, target, sanity.enlarge(raw), FILL, seed)
        groups[name] = scores | {
            "confidence": probabilities[index, target],
            "faithfulness": (scores["insertion"] - scores["deletion"]) / probabilities[index, target],
            "gini": trust.gini(np.maximum(raw, 0)),
            "discarded": trust.discarded(raw),
            "likeness_to_runner_up": trust.rank_correlation(
                raw, sanity.raw_maps(model.network, images, "gradcam", model.layer, second[index])
            ),
        }
    keys = groups["correct"].keys()
    content = {"n": {name: len(group["gini"]) for name, group in groups.items()}, "fill": FILL, "layer": model.layer}
    content |= {name: {key: intervals.mean(values) for key, values in group.items()} for name, group in groups.items()}
    content["difference"] = {key: intervals.between(groups["incorrect"][key], groups["correct"][key]) for key in keys}
    wrong = np.repeat((0, 1), [len(groups[name]["gini"]) for name in ("correct", "incorrect")])
    content["tells_mistakes"] = {  # 0.5: not at all; 0 or 1: perfectly
        key: roc_auc_score(
            wrong, np.nan_to_num(np.concatenate([groups[name][key] for name in ("correct", "incorrect")]))
        )
        for key in keys
    }
    content["confidence_against_faithfulness"] = {
        name: spearmanr(group["confidence"], group["faithfulness"]).statistic for name, group in groups.items()
    }
    points = {name: [group["confidence"], group["faithfulness"]] for name, group in groups.items()}
    return content | {"points": points}


if __name__ == "__main__":
    runtime.run(main)
