"""Explains predictions of an image classifier with LIME, and how far to trust each explanation.

    python q2_lime/explain.py                        one CIFAR-10 test image of each class
    python q2_lime/explain.py --prefer-recognized    only images whose class the model recognizes
    python q2_lime/explain.py --image cat.jpg        your image, of any size
    python q2_lime/explain.py --samples 1000         a fixed number of masks
    python q2_lime/explain.py --engine lime          masks and fit by the `lime` package
    python q2_lime/explain.py --model resnet50       another torchvision classifier
    python q2_lime/explain.py --checkpoint outputs/q1_gradcam/model.pt    the network of Question 1

Ten images take about two minutes on two CPU cores; 7 of the 10 explanations are trustworthy. The
weights come from --weights FILE, else from DATA/weights/MODEL*.pth, else torchvision downloads
them. Writes OUT/explanations.json, OUT/explanations.npz (segments and weights), OUT/figures/*.png;
with --image OUT/user/NAME_HASH.{png,json}. OUT is outputs/q2_lime/images (with --checkpoint
q2_lime/classifier beside its folder), or for other options a folder in OUT/other.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.special import softmax

from common import cli, data, figures, imagenet, results
from q2_lime import core, image_figures, images, lime_package, stability

CANDIDATES = 300  # images of a class that are tried with --prefer-recognized


def sample_count(text: str) -> int | None:
    """An argparse type: a number of masks, or None for `auto`."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < core.MIN_SAMPLES:
        raise argparse.ArgumentTypeError(f"{text!r} is not auto or at least {core.MIN_SAMPLES}")
    return int(text)


def arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "--model", metavar="NAME", help=f"torchvision classifier (default: {imagenet.DEFAULT})"
    )
    model.add_argument("--weights", type=Path, metavar="FILE", help="ImageNet checkpoint")
    model.add_argument("--checkpoint", type=Path, metavar="FILE", help="network of Question 1")
    parser.data_option("CIFAR-10 and weights")
    add = parser.add_argument
    add("--image", type=Path, metavar="FILE", help="explain this image instead of test images")
    add("--per-class", type=cli.positive, metavar="N", help="test images per class (default: 1)")
    add("--prefer-recognized", "--prefer-recognised", action="store_true", default=None)
    add("--segmentation", choices=images.SEGMENTATIONS, help="default: slic; grid for 32 x 32")
    add("--n-segments", "--regions", type=cli.positive, metavar="N", help="grid: cells per side")
    add("--fill", choices=images.FILLS, help="replaces hidden segments (default: mean)")
    add("--resize", "--enlarge", choices=images.RESAMPLING, help="default: bicubic")
    add("--value", dest="explained_value", choices=images.VALUES, help="default: log_odds")
    add("--samples", type=sample_count, metavar="N", help="masks to fit to (default: auto)")
    add("--sampler", choices=core.SAMPLERS, help="default: glime")
    add("--engine", choices=("builtin", "lime"), help="default: builtin")
    add("--seed", type=int, metavar="N", help="of images and masks (default: 0)")
    add("--out", type=Path, metavar="DIR", help="see above")
    parser.device_option()
    args = parser.parse_args()

    if args.image and (args.prefer_recognized or args.per_class):
        parser.error("--prefer-recognized and --per-class are for test images, not for --image")
    if args.checkpoint and args.prefer_recognized:
        parser.error("--prefer-recognized is for ImageNet models")
    package = args.engine == "lime"
    if package and (args.fill == "blur" or args.sampler or args.explained_value):
        parser.error(
            "--engine lime has fixed masks and explains probabilities: no --sampler, --value, or"
            " --fill blur"
        )
    if args.segmentation == "quickshift" and args.n_segments:
        parser.error("--segmentation quickshift chooses the number itself: omit --n-segments")
    complete(args)
    return args


def complete(args: argparse.Namespace) -> None:
    """Fills in the defaults, which depend on the model, and adds `settings`, `image_settings`."""
    small = args.checkpoint is not None
    image_settings = images.SMALL_IMAGE_SETTINGS if small else images.IMAGE_SETTINGS
    settings = images.SMALL_SETTINGS if small else images.SETTINGS
    defaults = vars(image_settings) | {"sampler": settings.sampler, "engine": "builtin"}
    defaults |= {"model": imagenet.DEFAULT, "weights": None, "per_class": 1, "samples": None}
    defaults |= {"prefer_recognized": False, "seed": 0}
    if args.segmentation in ("slic", "grid"):
        defaults["n_segments"] = {"slic": 20, "grid": 8 if small else 4}[args.segmentation]
    if args.engine == "lime":
        defaults["fill"] = "mean"
    base = results.OUTPUTS / "q2_lime/images"
    if small:
        base = args.checkpoint.resolve().parent.parent / "q2_lime/classifier"
    args.out = args.out or (base if args.image else cli.out_folder(base, args, defaults))
    for name, default in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
    args.image_settings = images.ImageSettings(
        **{k: getattr(args, k) for k in vars(image_settings)}
    )
    args.settings = replace(
        settings,
        sampler=args.sampler,
        kernel_width=settings.kernel_width if args.sampler == "glime" else 0.25,
        samples=args.samples,
        seed=args.seed,
    )


def main() -> None:
    args = arguments()
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    image = data.read_image(args.image) if args.image else None
    if args.checkpoint:
        model, name = imagenet.from_checkpoint(args.checkpoint, device)
    else:
        file = args.weights or imagenet.local_weights(args.data, args.model)
        model, name = imagenet.load(args.model, file, device=device), "cifar10"
    if image is not None:
        explain_user_image(args, model, image, device)
        return

    dataset = data.load(name, args.data)
    samples, panels, arrays, scores = [], [], {}, []
    for index in draw(args, dataset, model):
        true = dataset.classes[dataset.y_test[index]]
        sample, panel = explain_image(
            args, model, dataset.x_test[index], f"test image {index}", true, "test", index
        )
        samples.append({"index": index, **sample, "figure": f"figures/{true}_{index}.png"})
        panels.append(panel)
        arrays[f"segments_{index}"] = panel.segments.astype(np.uint16)
        arrays[f"weights_{index}"] = panel.weights
        if dataset.ground_truth_test is not None:
            mask = dataset.ground_truth_test[index]
            scores.append(images.ground_truth_scores(panel.segments, panel.weights[:, 0], mask))
        print(f"{true} {index}: predicted {sample['predicted']}; {panel.card[0]}", flush=True)

    out = results.output_folder(args.out)
    written = [
        figures.save(image_figures.page(panel), out / sample["figure"], photographs=True)
        for panel, sample in zip(panels, samples, strict=True)
    ]
    sheet = image_figures.overview(panels)
    written.append(figures.save(sheet, out / "figures/overview.png", photographs=True))
    results.write_npz(out / "explanations.npz", **arrays)
    samples = results.plain(samples)  # so that the summary agrees with the rounded numbers
    content = description(args, model) | {"summary": summarize(samples, args.settings)}
    if scores:
        content["ground_truth"] = {k: np.mean([row[k] for row in scores]) for k in scores[0]}
    origins = {"data_sha256": dataset.sha256, "weights_sha256": model.sha256}
    content["provenance"] = results.provenance(args.seed, device, **origins)
    figures.remove_stale(out, written)
    results.write_json(out / "explanations.json", content | {"samples": samples})
    summary = content["summary"]
    print(
        f"{summary['n_recognized']} of {len(samples)} images recognized; median fidelity"
        f" {summary['median']['fidelity']:.2f}; {summary['n_trustworthy']} trustworthy"
    )
    print(f"wrote {results.shown(out / 'explanations.json')} and {len(written)} figures")


def draw(args, dataset: data.Dataset, model: imagenet.ImageModel) -> list[int]:
    """Indices of random test images, `per_class` of each class.

    With --prefer-recognized, the first of them whose predicted ImageNet class belongs to the true
    class. Raises UserError if there are too few.
    """
    chosen = []
    for k, name in enumerate(dataset.classes):
        rng = np.random.default_rng(cli.seed_for(args.seed, "picture", name))
        order = rng.permutation(np.flatnonzero(dataset.y_test == k))
        n = min(args.per_class, len(order))
        if args.prefer_recognized:
            order, candidates = [], order[:CANDIDATES]
            for start in range(0, len(candidates), images.BATCH):
                part = candidates[start : start + images.BATCH]
                inputs = [images.resize(dataset.x_test[i], model.side, args.resize) for i in part]
                predicted = images.predict(model, np.stack(inputs)).argmax(1)
                mapped = [imagenet.cifar_class(int(p)) for p in predicted]
                order += [i for i, c in zip(part, mapped, strict=True) if c == name]
                if len(order) >= n:
                    break
            if len(order) < n:
                raise cli.UserError(
                    f"the model recognizes {len(order)} of {CANDIDATES} {name} images: omit"
                    " --prefer-recognized"
                )
        chosen += [int(i) for i in order[:n]]
    return chosen


def explain_image(
    args, model: imagenet.ImageModel, image: np.ndarray, name: str, true: str, *item: object
) -> tuple[dict, image_figures.Panel]:
    """LIME for an image (h, w, 3) uint8 and its two most probable classes: results and figure data.

    `true` is "" if the class is unknown; `item` separates the random draws of different images.
    """
    settings, fill = args.settings, args.fill
    model_input = images.resize(image, model.side, args.resize)
    segments = images.segment(model_input, args.image_settings, name)
    d = int(segments.max()) + 1
    logits = images.masked_logits(model, model_input, segments, fill)
    full = logits(np.ones((1, d), bool))
    probabilities = softmax(full[0])
    top5 = np.argsort(-full[0], kind="stable")[:5].tolist()
    builtin, first_two = args.engine == "builtin", top5[:2]
    n_masks = args.samples or lime_package.IMAGE_SAMPLES  # of the package
    value = args.explained_value if builtin else "probability"
    values = images.explained_values(logits, first_two, value)
    original = images.transform(full, first_two, value)[0]
    runs, seconds = [], []
    for each in (settings, *stability.repeated_settings(settings)):
        started = time.perf_counter()
        if builtin:
            runs.append(core.explain(values, d, each, *item, original=original))
        else:
            seed = cli.seed_for(each.seed, *item) % 2**32
            package = lime_package.explain_image
            runs.append(package(model_input, segments, fill, model, first_two, n_masks, seed))
        seconds.append(time.perf_counter() - started)
    agreement = stability.agreement([run.weights[:, 0] for run in runs], settings.top_k)
    if builtin:
        unit = value.replace("_", "-").capitalize()
        row, card = stability.row_and_card(runs, agreement, settings.top_k, unit)
        row["fidelity_second"] = runs[0].fidelity[1]
    else:
        rng = np.random.default_rng(cli.seed_for(settings.seed, "held out", *item))
        fidelity = lime_package.image_fidelity(runs[0], values, settings.held_out, rng)
        row, card = lime_package.row_and_card(
            fidelity, runs[0].score, agreement, n_masks + settings.held_out, settings.top_k
        )
        row["model_calls_total"] = n_masks * len(runs) + settings.held_out
    named = [{"class": model.categories[k], "probability": probabilities[k]} for k in top5]
    predicted = named[0]["class"]
    mapped = predicted if args.checkpoint else imagenet.cifar_class(top5[0])
    sample = {"true": true, "predicted": predicted, "probability": probabilities[top5[0]]}
    sample |= {"mapped_class": mapped, "n_segments": d, **row, "stability": agreement}
    sample |= {"top5": named, "seconds": seconds[0], "seconds_total": sum(seconds)}
    sample = results.without_nan(sample)
    weights = runs[0].weights
    return sample, image_figures.Panel(name, image, model_input, segments, weights, sample, card)


def description(args, model: imagenet.ImageModel) -> dict:
    """The part of the results that does not depend on the explanations."""
    selection = f"{args.per_class} of each class, drawn at random (seed {args.seed})"
    settings = vars(args.settings)
    if args.sampler == "glime":
        settings = settings | {"share_shown": core.glime_probability(args.settings.kernel_width)}
    thresholds = (stability.FIDELITY_THRESHOLD, stability.STABILITY_THRESHOLD)
    return {
        "model": model.name,
        "weights": model.source,
        "folded": model.folded,
        "engine": args.engine,
        "image_settings": vars(args.image_settings),
        "settings": settings,
        "n_seeds": stability.N_SEEDS,
        "thresholds": dict(zip(("fidelity", "stability"), thresholds, strict=True)),
        "prefer_recognized": args.prefer_recognized,
        "selection": selection + ", among recognized images" * args.prefer_recognized,
        "relatives_only": [] if args.checkpoint else imagenet.RELATIVES_ONLY,
    }


def summarize(samples: list[dict], settings: core.Settings) -> dict:
    """Counts, ranges and medians over the samples of explanations.json."""
    fidelity = [s["fidelity"] for s in samples if s["fidelity"] is not None]
    most = settings.max_samples + settings.held_out + 1
    settled = [s["model_calls"] for s in samples if s["settled"]]
    keys = ("fidelity", "model_calls", "model_calls_total", "seconds", "seconds_total")
    median = stability.medians(samples, *keys, "n_segments")
    if "original" in samples[0]:  # the package does not store it
        errors = [abs(s["original"][0] - s["surrogate_original"][0]) for s in samples]
        median["surrogate_error"] = np.median(errors)
    return {
        "n": len(samples),
        "n_recognized": sum(s["mapped_class"] == s["true"] for s in samples),
        "n_trustworthy": sum(s["trustworthy"] for s in samples),
        "n_not_trustworthy": sum(not s["trustworthy"] for s in samples),
        "not_trustworthy": [s["true"] for s in samples if not s["trustworthy"]],
        "n_stable": sum(
            s["stability"]["jaccard"] >= stability.STABILITY_THRESHOLD for s in samples
        ),
        "n_settled": len(settled),
        "n_settled_early": sum(calls < most for calls in settled),
        "n_settled_at_max": sum(calls == most for calls in settled),
        "fidelity_range": [min(fidelity), max(fidelity)] if fidelity else None,
        "median": median,
    }


def explain_user_image(args, model: imagenet.ImageModel, image: np.ndarray, device) -> None:
    """Explains a user's image. The output name holds the file's hash, so nothing is overwritten."""
    if args.checkpoint and args.resize == images.SMALL_IMAGE_SETTINGS.resize:
        image = data.fit_image(image, model.side)  # the same pixels as q1_gradcam/explain.py
    digest = results.sha256(args.image)
    sample, panel = explain_image(args, model, image, args.image.name, "", "own", digest)
    path = results.output_folder(args.out / "user") / f"{args.image.stem}_{digest[:8]}"
    figures.save(image_figures.page(panel), path.with_name(path.name + ".png"), photographs=True)
    content = sample | description(args, model)
    content["provenance"] = results.provenance(args.seed, device, weights_sha256=model.sha256)
    results.write_json(path.with_name(path.name + ".json"), content)
    for name, probability in panel.top5[:2]:
        print(f"{name} {probability:.0%}")
    print("\n".join(panel.card))
    print(f"wrote {results.shown(path)}.png and .json")


if __name__ == "__main__":
    cli.run(main)
