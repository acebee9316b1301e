"""How far Grad-CAM and its relatives can be trusted, on committed networks; beside controls, against known answers.

    python evaluation/gradcam_trust.py                        everything, a quarter of an hour on two cores
    python evaluation/gradcam_trust.py --only sanity shapes   some parts of it
    python evaluation/gradcam_trust.py --pictures 100         fewer pictures: quicker, wider intervals

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

import numpy as np

from common import cli, data, metrics, models, results, statistics
from evaluation import explainers, figures, known_answers, mistakes, randomization, scoring
from q1_gradcam import gradcam

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


def main() -> None:
    args = scoring.arguments(__doc__, PARTS, in_one_file=False)
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    out = results.output_folder(args.out)
    model = models.load(args.model, device)
    work = {
        "faithfulness": faithfulness,
        "layers": layers,
        "sanity": forgetting,
        "stability": stability,
        "mistakes": mistakes.mistakes,
        "shapes": known_answers.shapes,
        "shortcut": known_answers.shortcut,
    }
    if "shortcut" in args.only and model.dataset == "shapes":
        raise cli.UserError(
            "the part shortcut is about networks of CIFAR-10: name the other parts with --only"
        )
    dataset = data.load(model.dataset, args.data)
    for part in args.only:
        n = min(args.pictures or PICTURES[part], PICTURES[part])
        content = work[part](model, dataset, n, args.seed, out, device)
        origins = {"data_sha256": dataset.sha256, "checkpoint_sha256": results.sha256(args.model)}
        origins |= content.pop("origins", {})
        provenance = results.provenance(args.seed, device, data_source=dataset.source, **origins)
        written = [results.write_json(out / f"{part}.json", content | {"provenance": provenance})]
        written.append(figures.draw(part, content, out / f"{part}.png"))
        written += [out / "faithfulness.npz"] if part == "faithfulness" else []
        print(f"wrote {results.shown(out / part)}.json and .png", flush=True)


def faithfulness(model, dataset, n, seed, out, device):
    """Deletion, insertion, average drop and increase of every method, against the controls and itself on an untrained network."""
    index = scoring.drawn(len(dataset.y_test), n, seed, "test pictures")
    images, predict = dataset.x_test[index], metrics.predictor(model.network, model.temperature)
    target, fresh = predict(images).argmax(1), models.untrained(model, images, seed)
    raw = {
        name: explainers.raw_maps(model.network, images, name, model.layer, target)
        for name in explainers.methods_of(model)
    }
    maps = {name: explainers.enlarge(found) for name, found in raw.items()}
    few = slice(min(UNTRAINED, n))
    untrained = {
        f"untrained {name}": explainers.enlarge(
            explainers.raw_maps(fresh, images[few], name, model.layer, target[few])
        )
        for name in raw
    }
    control = scoring.control_maps(images, raw["gradcam"].shape[1:], explainers.enlarge, seed)
    scored, curves = {}, {}
    for name, found in scoring.bar((maps | control | untrained).items(), "faithfulness"):
        these = slice(len(found))
        scored[name], curves[name] = scoring.faithfulness(
            predict, images[these], target[these], found, scoring.FILL, seed
        )
    opponents = held_against(scored, raw)
    content = {
        "n": len(index),
        "n_untrained": few.stop,
        "fill": scoring.FILL,
        "layer": model.layer,
        "target": "predicted class",
        "better": scoring.FAITHFULNESS,
        "accuracy_of_these": (target == dataset.y_test[index]).mean(),
        "methods": scoring.table(
            {name: scored[name] for name in (*raw, *control)}, scoring.FAITHFULNESS, opponents
        ),
        "curves": {"fractions": metrics.FRACTIONS} | curves,
        "map": {name: looks(found) for name, found in raw.items()},
        "pixels_against_gradcam": {scoring.FILL: duel(scored["input_gradient"], scored["gradcam"])},
        "other_fills": {},
    }
    arrays = {
        f"{name}/{measure}": values
        for name, row in scored.items()
        for measure, values in row.items()
    }
    for fill, most in SECOND_LOOK.items():
        chosen, again = slice(min(most, n)), {}
        for name, found in scoring.bar(
            (maps | control | untrained).items(), f"faithfulness, {fill}"
        ):
            again[name], _ = scoring.faithfulness(
                predict, images[chosen], target[chosen], found[chosen], fill, seed
            )
        rows = held_against(again, raw)
        table = scoring.table(
            {name: again[name] for name in (*raw, *control)}, scoring.CURVES, rows
        )
        content["other_fills"][fill] = {"n": len(images[chosen]), "methods": table}
        content["pixels_against_gradcam"][fill] = duel(again["input_gradient"], again["gradcam"])
        arrays |= {
            f"{fill}: {name}/{measure}": again[name][measure]
            for name in again
            for measure in scoring.CURVES
        }
    results.write_npz(
        out / "faithfulness.npz",
        index=index,
        target=target,
        weights=scoring.fingerprint(model.network),
        **arrays,
    )
    return content


def held_against(
    scored: dict[str, scoring.Scores], methods
) -> dict[str, dict[str, scoring.Scores]]:
    """For each method its opponents: the controls, and its own maps on an untrained network."""
    return {
        name: scoring.opponents(scored, name in gradcam.PIXEL_METHODS)
        | {"untrained": scored[f"untrained {name}"]}
        for name in methods
    }


def duel(one: scoring.Scores, other: scoring.Scores) -> dict:
    """One method against another by the areas under both curves."""
    return {
        key: statistics.compare_paired(one[key], other[key], larger)
        for key, larger in scoring.CURVES.items()
    }


def looks(raw: np.ndarray) -> dict:
    """What can be said of maps (N, h, w) without the network: their grid, dead ones, what the ReLU throws away, sparseness of what is left."""
    shown = np.maximum(raw, 0)
    row = {"grid": list(raw.shape[1:]), "dead": int((shown.max((1, 2)) == 0).sum())}
    return row | {
        "discarded": statistics.mean_interval(metrics.discarded_share(raw)),
        "gini": statistics.mean_interval(metrics.gini(shown)),
    }


def layers(model, dataset, n, seed, out, device):
    """Grad-CAM and the methods that keep places apart, at each stage, on pictures held out from training: what the layer is chosen by; and how the maps of
    all methods look there."""
    kept = model.training.get("held_out")
    if not isinstance(kept, int) or not 0 < kept < len(dataset.y_train):
        raise cli.UserError(
            "the checkpoint does not say how many pictures were held out: name other parts than layers"
        )
    held_out = data.held_out_split(dataset.y_train, kept)[1]
    index = held_out[scoring.drawn(len(held_out), n, seed, "held-out pictures")]
    images, predict = dataset.x_train[index], metrics.predictor(model.network, model.temperature)
    target = predict(images).argmax(1)
    fresh, rows, seen = models.untrained(model, images, seed), {}, {}
    layerless = ("input_gradient", "guided_backprop")
    for layer in models.ARCHITECTURES[model.arch].stages:
        raw = {
            name: explainers.raw_maps(model.network, images, name, layer, target)
            for name in AT_LAYERS
        }
        maps = {name: explainers.enlarge(found) for name, found in raw.items()}
        control = scoring.control_maps(images, raw["gradcam"].shape[1:], explainers.enlarge, seed)
        del control[scoring.FINE]
        untrained = explainers.enlarge(explainers.raw_maps(fresh, images, "gradcam", layer, target))
        scored = {
            name: scoring.faithfulness(predict, images, target, found, scoring.FILL, seed)[0]
            for name, found in scoring.bar(
                (maps | control | {"untrained": untrained}).items(), f"layers, {layer}"
            )
        }
        opponents = {name: scoring.opponents(scored, False) for name in AT_LAYERS}
        opponents["gradcam"]["untrained"] = scored["untrained"]
        table = scoring.table({name: scored[name] for name in AT_LAYERS}, scoring.CURVES, opponents)
        few = slice(min(50, len(images)))
        every = randomization.weighted_layers(model.network)
        noise = randomization.randomized(model.network, every, images[few], seed)
        for name in AT_LAYERS:
            random_weights = explainers.raw_maps(noise, images[few], name, layer, target[few])
            alike = statistics.mean_interval(
                metrics.rank_correlation(raw[name][few], random_weights)
            )
            table[name] |= looks(raw[name]) | {"rank_correlation_with_random_weights": alike}
        rows[layer] = table
        seen[layer] = {
            name: looks(explainers.raw_maps(model.network, images, name, layer, target))
            for name in explainers.methods_of(model)
            if name not in layerless
        }
    seen["pixels"] = {
        name: looks(explainers.raw_maps(model.network, images, name, model.layer, target))
        for name in explainers.methods_of(model)
        if name in layerless
    }
    best = max(
        rows,
        key=lambda layer: (
            rows[layer]["gradcam"]["insertion"]["mean"] - rows[layer]["gradcam"]["deletion"]["mean"]
        ),
    )
    rule = "largest insertion minus deletion of gradcam on held-out training pictures"
    return {
        "n": len(index),
        "fill": scoring.FILL,
        "layers": rows,
        "rule": rule,
        "chosen_by_rule": best,
        "used": model.layer,
        "looks": seen,
    }


def forgetting(model, dataset, n, seed, out, device):
    """Adebayo's sanity check, for all methods; what of the likeness is left, beside that of different pictures' maps."""
    index = scoring.drawn(len(dataset.y_test), n, seed, "test pictures")
    images = dataset.x_test[index]
    target = metrics.predictor(model.network)(images).argmax(1)
    methods = explainers.methods_of(model)

    def maps_of(network):
        return {
            name: explainers.raw_maps(network, images, name, model.layer, target)
            for name in methods
        }

    found = randomization.likeness(
        model.network,
        maps_of,
        explainers.enlarge,
        images,
        seed,
        progress=lambda things: scoring.bar(things, "sanity"),
    )
    summary = randomization.summary(found, randomization.weighted_layers(model.network))
    return {"n": len(index), "layer": model.layer} | summary


def stability(model, dataset, n, seed, out, device):
    """Maps under changes that should hardly matter."""
    index = scoring.drawn(len(dataset.y_test), n, seed, "test pictures")
    images = dataset.x_test[index]
    target = metrics.predictor(model.network)(images).argmax(1)
    rows = {}
    for method in scoring.bar(explainers.methods_of(model), "stability"):
        found = explainers.steadiness(model.network, images, target, method, model.layer, seed)
        rows[method] = {key: statistics.mean_interval(values) for key, values in found.items()}
    return {"n": len(index), "layer": model.layer, "methods": rows}


if __name__ == "__main__":
    cli.run(main)
