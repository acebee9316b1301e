"""Explains what an ImageNet classifier sees in pictures: LIME on superpixels, and how far to trust each explanation.

    python q2_lime/explain.py                             one CIFAR-10 test picture of each class
    python q2_lime/explain.py --prefer-recognised         drawn among those the model takes for a kind of their class
    python q2_lime/explain.py --image cat.jpg             your own picture, of any size
    python q2_lime/explain.py --samples 1000              a fixed number of masks instead of going on until settled
    python q2_lime/explain.py --engine lime               the `lime` package draws and weighs the masks
    python q2_lime/explain.py --model resnet50            another classifier of torchvision
    python q2_lime/explain.py --checkpoint outputs/q1_gradcam/model.pt      a network of Question 1, on its own test pictures

The weights come from --weights FILE; else from DATA/weights/MODEL*.pth where that exists; else torchvision downloads its own. Test pictures
are drawn at random, by seed. Writes OUT/explanations.json, OUT/explanations.npz (regions and weights), OUT/figures/*.png and, for
report/verify.py, OUT/receipts.json; for --image, OUT/own/NAME.{png,json}. OUT is outputs/q2_lime/images (with --checkpoint,
q2_lime/classifier beside the checkpoint's folder), or with unusual options a folder named after them in OUT/other.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from common import cli, data, figures, imagenet, results
from common.figures import save as save_figure
from evaluation import lime_evidence
from q2_lime import core, image_figures, images, one_picture, stability

CANDIDATES = 300  # pictures of a class that are tried with --prefer-recognised
USUAL = {
    "model": imagenet.DEFAULT,
    "weights": None,
    "per_class": 1,
    "segmentation": images.CHOICES.segmentation,
    "regions": images.CHOICES.regions,
    "fill": images.CHOICES.fill,
    "enlarge": images.CHOICES.enlarge,
    "value": images.CHOICES.value,
    "samples": "auto",
    "sampler": images.SETTINGS.sampler,
    "engine": "own",
    "prefer_recognised": False,
    "seed": 0,
}


def arguments():
    parser = cli.Parser(__doc__)
    add, usual = parser.add_argument, images.CHOICES
    add(
        "--model", metavar="NAME", help=f"a classifier of torchvision (default: {imagenet.DEFAULT})"
    )
    add("--weights", type=Path, metavar="FILE", help="a checkpoint instead; see above")
    add("--checkpoint", type=Path, metavar="FILE", help="a network of Question 1 instead")
    parser.data_option("CIFAR-10")
    add(
        "--per-class",
        type=cli.positive,
        metavar="N",
        help="test pictures of each class (default: 1)",
    )
    add("--image", type=Path, metavar="FILE", help="explain this picture instead of test pictures")
    add("--prefer-recognised", action="store_true", default=None, help="see above")
    add("--segmentation", choices=images.SEGMENTATIONS, help=f"default: {usual.segmentation}")
    add(
        "--regions",
        type=cli.positive,
        metavar="N",
        help=f"about how many; of a grid, cells a side (default: {usual.regions})",
    )
    add(
        "--fill",
        choices=images.FILLS,
        help=f"what stands for a hidden region (default: {usual.fill})",
    )
    add(
        "--enlarge",
        choices=tuple(images.RESAMPLING),
        help=f"how a picture gets the model's size (default: {usual.enlarge})",
    )
    add("--value", choices=images.VALUES, help=f"what is explained (default: {usual.value})")
    add(
        "--samples",
        metavar="N",
        help="masks to fit to, or auto: until the leading regions are settled (default)",
    )
    add("--sampler", choices=tuple(core.SAMPLERS), help=f"default: {images.SETTINGS.sampler}")
    add(
        "--engine",
        choices=("own", "lime"),
        help="this project's arithmetic or the package's (default: own)",
    )
    add("--seed", type=int, metavar="N", help="of the draw of pictures and of masks (default: 0)")
    add("--out", type=Path, metavar="DIR", help="see above")
    parser.device_option()
    args = parser.parse_args()
    given = {name for name in USUAL if getattr(args, name) is not None}
    defaults = USUAL | (vars(images.SMALL_CHOICES) if args.checkpoint else {})
    if args.segmentation == "slic":
        defaults["regions"] = images.CHOICES.regions
    elif args.segmentation == "grid":
        defaults["regions"] = images.SMALL_CHOICES.regions if args.checkpoint else 4
    if args.engine == "lime":
        defaults["fill"] = "mean"
    unusual = {name: value for name in given if (value := getattr(args, name)) != defaults[name]}
    for name in USUAL.keys() - given:
        setattr(args, name, defaults[name])
    if args.samples != "auto" and not (
        args.samples.isdecimal() and int(args.samples) >= core.FEWEST
    ):
        parser.error(
            f"--samples {args.samples}: give auto, or a whole number of {core.FEWEST} or more"
        )
    if args.image and given & {"prefer_recognised", "per_class"}:
        parser.error("--prefer-recognised and --per-class are for test pictures, not for --image")
    if ("model" in given) + bool(args.weights) + bool(args.checkpoint) > 1:
        parser.error("give one of --model, --weights, --checkpoint")
    if args.checkpoint and "prefer_recognised" in given:
        parser.error("--prefer-recognised is for ImageNet models")
    if args.engine == "lime" and (args.fill == "blur" or given & {"sampler", "value"}):
        parser.error(
            "--engine lime has its own masks and explains probabilities: no --sampler, --value, --fill blur"
        )
    if args.segmentation == "quickshift" and "regions" in given:
        parser.error("quickshift finds its own number of regions: leave out --regions")
    named = "_".join(f"{name}-{Path(str(value)).name}" for name, value in sorted(unusual.items()))
    beside = (
        args.checkpoint.resolve().parent.parent / "q2_lime/classifier" if args.checkpoint else None
    )
    base = beside or results.OUTPUTS / "q2_lime/images"
    args.out = args.out or base / (Path("other", named) if named and not args.image else "")
    args.choices = images.Choices(
        args.enlarge, args.segmentation, args.regions, args.fill, args.value
    )
    usual = images.SMALL_SETTINGS if args.checkpoint else images.SETTINGS
    width = usual.width if args.sampler == "glime" else 0.25
    samples = None if args.samples == "auto" else int(args.samples)
    args.settings = replace(
        usual, sampler=args.sampler, width=width, samples=samples, seed=args.seed
    )
    return args


def main() -> None:
    args = arguments()
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    own = data.read_image(args.image) if args.image else None
    if args.checkpoint:
        model, name = imagenet.from_checkpoint(args.checkpoint, device)
        dataset = None if args.image else data.load(name, args.data)
    else:
        dataset = None if args.image else data.load_cifar10(args.data)
        model = imagenet.load(
            args.model, args.weights or imagenet.local_weights(args.data, args.model), device=device
        )
    if own is not None:
        explain_own(args, model, own)
        return

    chosen = draw(args, dataset, model)
    samples, panels, arrays = [], [], {}
    for index in chosen:
        true = dataset.classes[dataset.y_test[index]]
        sample, panel = explain(
            args, model, dataset.x_test[index], f"test picture {index}", true, "test", index
        )
        stem = f"{true}_{index}"
        samples.append({"index": index, **sample, "figure": f"figures/{stem}.png"})
        panels.append(panel)
        arrays |= {
            f"labels_{index}": panel.labels.astype(np.uint16),
            f"weights_{index}": panel.weights,
        }
        print(
            f"{true} {index}: {panel.top5[0][0]} {panel.top5[0][1]:.0%}; {panel.card[0]}",
            flush=True,
        )

    out = results.output_folder(args.out)
    written = [
        save_figure(image_figures.page(p), out / s["figure"], photographs=True)
        for p, s in zip(panels, samples, strict=True)
    ]
    caption = f"Test pictures of {dataset.name}, {rule(args)}, brought to"
    caption += f" {model.side} x {model.side} pixels for {model.name}. Middle: the five leading regions, rim blue for and orange against what the model says. Right: every region's"
    caption += " signed weight. Orange heading: the model takes it for something else. Small print:"
    caption += f" held-out fidelity, top-{args.settings.top} overlap between seeds, model calls."
    title = (
        "LIME on a network trained on these pictures"
        if args.checkpoint
        else "LIME on an ImageNet model's view of CIFAR-10"
    )
    written.append(
        save_figure(
            image_figures.overview(panels, title, caption),
            out / "figures/overview.png",
            photographs=True,
        )
    )
    results.write_npz(out / "explanations.npz", **arrays)
    samples = results.plain(samples)  # what is said of all is said of them as they are written
    content = summarise(args, model, dataset, samples, arrays)
    if "weight_on_evidence" in content:
        print(
            f"known evidence: {content['weight_on_evidence']:.0%} of the weight for the class falls on it (by chance"
            f" {content['weight_on_evidence_control']:.0%}); the leading region lies on it in {content['leading_on_evidence']:.0%}"
            f" (a region drawn at random: {content['leading_on_evidence_control']:.0%})"
        )
    origin = results.provenance(
        args.seed, device, data_sha256=dataset.sha256, weights_sha256=model.sha256
    )
    figures.remove_stale(out, written)
    results.write_json(
        out / "explanations.json", content | {"provenance": origin, "samples": samples}
    )
    row = content["median"]
    print(
        f"{content['recognised']} of {len(samples)} taken for their class or a kind of it; median fidelity {row['fidelity']:.2f}, top-5 overlap between seeds"
        f" {row['jaccard']:.2f}, {row['model_calls']:.0f} model calls"
    )
    print(
        f"wrote {results.shown(out / 'explanations.json')}, regions and weights beside it, and {len(written)} figures"
    )


def draw(args, dataset: data.Dataset, model: imagenet.ImageModel) -> list[int]:
    """Test pictures of each class, at random by seed; with --prefer-recognised the first in that order that the model takes for a kind of
    their class. Raises UserError where there are too few."""
    chosen = []
    for k, name in enumerate(dataset.classes):
        rng = np.random.default_rng(cli.seed_for(args.seed, "picture", name))
        order = rng.permutation(np.flatnonzero(dataset.y_test == k))
        wanted = min(args.per_class, len(order))
        if args.prefer_recognised:
            found: list[int] = []
            for part in np.array_split(order[:CANDIDATES], CANDIDATES // images.BATCH + 1):
                seen = np.stack(
                    [images.enlarged(dataset.x_test[i], model.side, args.enlarge) for i in part]
                )
                says = images.predict(model, seen).argmax(1)
                found += [
                    int(i)
                    for i, s in zip(part, says, strict=True)
                    if imagenet.cifar_class(int(s)) == name
                ]
                if len(found) >= wanted:
                    break
            if len(found) < wanted:
                raise cli.UserError(
                    f"of {CANDIDATES} {name} pictures {len(found) or 'none'} are taken for a kind of {name}: leave out --prefer-recognised"
                )
            chosen += found[:wanted]
        else:
            chosen += [int(i) for i in order[:wanted]]
    return chosen


def explain(
    args, model: imagenet.ImageModel, image: np.ndarray, name: str, true: str, *item: object
):
    """One explanation as the command line asks for it: what the results say of it, what the figure shows."""
    return one_picture.explain(
        model,
        image,
        args.choices,
        args.settings,
        args.engine,
        not args.checkpoint,
        name,
        true,
        *item,
    )


def rule(args) -> str:
    """How the pictures were drawn, in words."""
    drawn = f"{args.per_class} of each class, drawn at random (seed {args.seed})"
    return (
        drawn
        + " from those that the model takes for a kind of their class" * args.prefer_recognised
    )


def summarise(
    args, model: imagenet.ImageModel, dataset: data.Dataset, samples: list[dict], arrays: dict
) -> dict:
    """What the results say of all pictures together, from what explanations.json says of each and the arrays of explanations.npz."""
    content = {
        "model": model.name,
        "weights": model.source,
        "folded": model.folded,
        "engine": args.engine,
    }
    content |= {
        "choices": vars(args.choices),
        "settings": vars(args.settings),
        "prefer_recognised": args.prefer_recognised,
    }
    content |= {
        "rule": rule(args),
        "recognised": sum(sample["meaning"] == sample["true"] for sample in samples),
        "median": stability.medians(samples, "fidelity", "model_calls", "seconds", "n_superpixels")
        | {"not_to_be_trusted": sum(s["verdict"] != stability.TRUSTED for s in samples)},
    }
    if args.checkpoint is None:
        content["relatives_only"] = imagenet.RELATIVES_ONLY
    if dataset.ground_truth_test is not None:
        content |= lime_evidence.summary(
            [
                lime_evidence.of(
                    arrays[f"labels_{k}"],
                    arrays[f"weights_{k}"][:, 0],
                    dataset.ground_truth_test[k],
                )
                for k in (sample["index"] for sample in samples)
            ]
        )
    return content


def explain_own(args, model: imagenet.ImageModel, image: np.ndarray) -> None:
    if args.checkpoint and args.choices.enlarge == images.SMALL_CHOICES.enlarge:
        image = data.fit_image(
            image, model.side
        )  # as q1_gradcam/explain.py does, so that both explain the same pixels
    sample, panel = explain(
        args, model, image, args.image.name, "", "own", results.sha256(args.image)
    )
    out = results.output_folder(args.out / "own")
    save_figure(image_figures.page(panel), out / f"{args.image.stem}.png", photographs=True)
    origin = results.provenance(
        args.seed, cli.pick_device(args.device), weights_sha256=model.sha256
    )
    settings = {"choices": vars(args.choices), "settings": vars(args.settings)}
    results.write_json(out / f"{args.image.stem}.json", sample | settings | {"provenance": origin})
    print(
        f"{panel.top5[0][0]} {panel.top5[0][1]:.0%}, then {panel.top5[1][0]} {panel.top5[1][1]:.0%}"
    )
    print("\n".join(panel.card))
    print(f"wrote {results.shown(out / args.image.stem)}.png and .json")


if __name__ == "__main__":
    cli.run(main)
