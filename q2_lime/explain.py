"""Explains predictions of an image classifier with LIME, and measures how reliable they are.

    python q2_lime/explain.py                        one CIFAR-10 test image of each class
    python q2_lime/explain.py --image cat.jpg        your images, of any size, or folders of them
    python q2_lime/explain.py --fast                 one seed: a fifth of the time, no stability
    python q2_lime/explain.py --samples 1000         a fixed number of masks
    python q2_lime/explain.py --model resnet50       another torchvision classifier
    python q2_lime/explain.py --checkpoint outputs/q1_gradcam/model.pt    the network of Question 1

Ten images take about three minutes on two CPU cores: at most 1,923 model calls for each. The
weights are read from --weights FILE or DATA/weights/MODEL_imagenet*.pth, or downloaded by
torchvision. Writes OUT/explanations.json, OUT/explanations.npz (segments and weights) and
OUT/figures/*.png; for --image, OUT/user/NAME.{png,json}. OUT is outputs/q2_lime/images, or
OUT/other/OPTIONS if options differ from their defaults. With --checkpoint it is q2_lime/classifier
beside the folder of the network, or q2_lime/classifier-FOLDER-FILE if the network is not
q1_gradcam/model.pt.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from common import cli, data, figures, imagenet, models, results, user_files

import numpy as np
from scipy.special import softmax

from q2_lime import image_figures, images, stability, summary
from q2_lime.samplers import glime_probability

MEASURES = ("fidelity", "fidelity_baseline", "model_calls", "model_calls_total", "seconds_total")
MEASURES += ("n_segments", "similarity", "jaccard", "surrogate_error", "whole_input_miss")


def arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", default=imagenet.DEFAULT, metavar="NAME", help="of torchvision")
    model.add_argument("--weights", type=Path, metavar="FILE", help="ImageNet checkpoint")
    model.add_argument("--checkpoint", type=Path, metavar="FILE", help="network of Question 1")
    parser.data_option("CIFAR-10 and weights")
    add = parser.add_argument
    add("--image", type=Path, nargs="+", action="extend", metavar="PATH", help="images or folders")
    add("--save-maps", action="store_true", help="with --image: write NAME.npz too")
    add("--per-class", type=cli.positive, default=1, metavar="N", help="test images (default: 1)")
    add("--segmentation", choices=images.SEGMENTATIONS, help="default: slic; grid for 32 x 32")
    add("--n-segments", type=cli.whole(1, 1000), metavar="N", help="for a grid: per side")
    add("--samples", type=cli.positive, metavar="N", help="masks (default: until settled)")
    add("--fast", action="store_true", help="one seed: stability is not measured")
    add("--seed", type=cli.seed, default=0, metavar="N", help="of images and masks (default: 0)")
    add("--out", type=Path, metavar="DIR", help="see above")
    parser.device_option()
    args = parser.parse_args()

    if args.save_maps and not args.image:
        parser.error("--save-maps needs --image")
    if args.image and args.per_class != 1:
        parser.error("--per-class is for test images: not with --image")
    if args.segmentation == "quickshift" and args.n_segments:
        parser.error("--segmentation quickshift chooses the number itself: omit --n-segments")
    usual, settings, cells = images.IMAGE_SETTINGS, images.SETTINGS, 4
    if args.checkpoint:
        usual, settings, cells = images.SMALL_IMAGE_SETTINGS, images.SMALL_SETTINGS, 8
    segmentation = args.segmentation or usual.segmentation
    n_segments = {"grid": cells, "slic": 20}.get(segmentation, usual.n_segments)
    if args.out is None:
        args.out = results.OUTPUTS / "q2_lime/images"
        if args.checkpoint:
            path = args.checkpoint.resolve()
            known = path.parts[-2:] == ("q1_gradcam", "model.pt")
            name = "" if known else f"-{cli.file_name(path.parent.name)}-{cli.file_name(path.stem)}"
            args.out = path.parent.parent / f"q2_lime/classifier{name}"
        if not args.image:
            defaults = {"segmentation": usual.segmentation, "n_segments": n_segments}
            defaults |= {"model": imagenet.DEFAULT, "weights": None, "per_class": 1}
            defaults |= {"fast": False, "samples": None, "seed": 0}
            args.out = cli.out_folder(args.out, args, defaults)
    n_segments = args.n_segments or n_segments
    args.image_settings = replace(usual, segmentation=segmentation, n_segments=n_segments)
    args.settings = replace(settings, samples=args.samples, seed=args.seed)
    args.n_seeds = 1 if args.fast else stability.N_SEEDS
    args.max_calls = stability.max_calls(args.settings, args.n_seeds)
    return args


def main() -> None:
    args = arguments()
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    paths = user_files.image_files(args.image or [])
    source = "cifar10", args.data
    if args.checkpoint:
        path = args.checkpoint
        trained = models.load(path, device)
        model = imagenet.from_model(trained, results.shown(path), results.sha256(path))
        source = trained.dataset, args.data, len(trained.classes)
    else:
        model = imagenet.load(args.model, args.data, args.weights, device=device)
    if paths:
        args.out = results.output_folder(args.out / "user")
        explain_user_images(args, model, paths, device)
    else:
        dataset = data.load(*source)
        args.out = results.output_folder(args.out)
        explain_test_images(args, model, dataset, device)


def explain_test_images(args, model: imagenet.ImageModel, dataset: data.Dataset, device) -> None:
    """Explains random test images of each class."""
    out, panels, arrays, scores = args.out, [], {}, []
    chosen = data.draw(dataset.y_test, dataset.classes, args.per_class, args.seed, "picture")
    print(f"{len(chosen)} images, at most {args.max_calls:,} model calls for each", flush=True)
    for index in chosen:
        true, image = dataset.classes[dataset.y_test[index]], dataset.x_test[index]
        figure = f"figures/{cli.file_name(true)}_{index}.png"
        about = {"index": index, "true": true, "figure": figure}
        panel = explain_image(args, model, image, f"test image {index}", about, "test", index)
        panels.append(panel)
        arrays[f"segments_{index}"] = panel.segments.astype(np.uint16)
        arrays[f"weights_{index}"] = panel.weights
        if dataset.ground_truth_test is not None:
            mask = dataset.ground_truth_test[index]
            scores.append(images.ground_truth_scores(panel.segments, panel.weights[:, 0], mask))
        said = f"predicted {panel.sample['predicted']}; {summary.one_line(panel.sample)}"
        print(f"{true} {index}: {said}", flush=True)

    # Figures are written at the end, so that they belong to the results.
    written = [figures.save(image_figures.overview(panels), out / "figures/overview.png", True)]
    for panel in panels:
        written.append(figures.save(image_figures.page(panel), out / panel.sample["figure"], True))
    results.write_npz(out / "explanations.npz", **arrays)
    samples = [panel.sample for panel in panels]
    counts = {
        "n": len(samples),
        "n_recognized": sum(sample["mapped_class"] == sample["true"] for sample in samples),
        **summary.verdicts(samples),
        "n_settled": sum(sample["settled"] for sample in samples),
    }
    content = description(args, model)
    content["summary"] = counts | {"median": summary.medians(samples, *MEASURES)}
    if scores:
        content["ground_truth"] = {k: np.mean([row[k] for row in scores]) for k in scores[0]}
    origins = {"data_sha256": dataset.sha256, "weights_sha256": model.sha256}
    content["provenance"] = results.provenance(args.seed, device, **origins)
    figures.remove_stale(out, written)
    results.write_json(out / "explanations.json", content | {"samples": samples})
    print(
        "{n_recognized} of {n} images recognized; explanations: {n_trustworthy} reliable,"
        " {n_undecided} undecided, {n_not_trustworthy} not reliable".format(**counts)
    )
    print(f"wrote {results.shown(out / 'explanations.json')} and {len(written)} figures")


def explain_image(
    args, model: imagenet.ImageModel, image: np.ndarray, name: str, about: dict, *item: object
) -> image_figures.Panel:
    """Explains the two most probable classes of an image (h, w, 3) uint8.

    `about` holds the first keys of its entry in the results file; its `true` is "" if the class is
    unknown. `item` separates the random draws of different images.
    """
    settings = args.image_settings
    model_input = data.fit_image(image, model.side, settings.resize)
    logits = images.predict(model, model_input[None])[0]
    probabilities, top5 = softmax(logits), np.argsort(-logits, kind="stable")[:5].tolist()
    segments, d, values = images.prepare(model, model_input, settings, top5[:2], name)
    unchanged = images.unchanged_share(model_input, segments, settings.fill)
    with cli.progress(None, name, total=args.max_calls, unit="call") as bar:

        def counted(masks: np.ndarray) -> np.ndarray:
            bar.update(len(masks))
            return values(masks)

        options = {"n_seeds": args.n_seeds, "unchanged": unchanged}
        found, row = stability.explain(counted, d, args.settings, *item, **options)
    named = [{"class": model.categories[k], "probability": probabilities[k]} for k in top5]
    predicted = named[0]["class"]
    sample = {
        **about,
        "predicted": predicted,
        "probability": probabilities[top5[0]],
        "mapped_class": predicted if args.checkpoint else imagenet.cifar_class(top5[0]),
        "n_segments": d,
        **row,
        "top5": named,
    }
    # Rounded here, so that a summary agrees with the numbers in the file.
    sample = results.plain(results.without_nan(sample))
    return image_figures.Panel(name, image, model_input, segments, found.weights, sample)


def description(args, model: imagenet.ImageModel) -> dict:
    """The part of the results that does not depend on the explanations."""
    shown = glime_probability(args.settings.kernel_width)
    return {
        "model": model.name,
        "weights": model.source,
        "image_settings": vars(args.image_settings),
        "settings": vars(args.settings) | {"share_shown": shown},
        "n_seeds": args.n_seeds,
        "thresholds": stability.THRESHOLDS,
        "interval_level": stability.LEVEL,
        "relatives_only": [] if args.checkpoint else imagenet.RELATIVES_ONLY,
    }


def explain_user_images(args, model: imagenet.ImageModel, paths: list[Path], device) -> None:
    """Explains any images, and writes NAME.png, NAME.json and, if asked, NAME.npz for each."""

    def explain_one(path: Path) -> None:
        image = data.read_image(path)
        if args.checkpoint:
            image = data.fit_image(image, model.side)  # the same pixels as q1_gradcam/explain.py
        name, digest = cli.printable(path.name), results.sha256(path)
        print(f"explaining {name}: at most {args.max_calls:,} model calls", flush=True)
        panel = explain_image(args, model, image, name, {"image": name, "true": ""}, "own", digest)
        sample, about = panel.sample, description(args, model)
        request = {"image_sha256": digest, "weights_sha256": model.sha256}
        request |= {key: about[key] for key in ("image_settings", "settings", "n_seeds")}
        content = sample | about | {"request": request}
        content["provenance"] = results.provenance(args.seed, device, weights_sha256=model.sha256)
        arrays = {"segments": panel.segments, "weights": panel.weights} if args.save_maps else None
        classes, probabilities = zip(*(row.values() for row in sample["top5"]), strict=True)
        lime = f"{sample['n_segments']} segments, {summary.one_line(sample)}"
        rows = [(name, user_files.prediction(classes, probabilities)), ("LIME", lime)]
        figure = image_figures.page(panel)
        user_files.save(args.out, path, paths, figure, content, rows, arrays)

    user_files.explain_each(paths, explain_one)


if __name__ == "__main__":
    cli.run(main)
