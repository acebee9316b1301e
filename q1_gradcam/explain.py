"""Explains a trained classifier with Grad-CAM, on images it classifies correctly and incorrectly.

    python q1_gradcam/explain.py                            10 correct and 5 incorrect per class
    python q1_gradcam/explain.py --image cat.jpg            explains image files or folders of them
    python q1_gradcam/explain.py --image cat.jpg --model mobilenet_v2     a torchvision classifier
    python q1_gradcam/explain.py --model resnet50 --list-layers           names and map sizes
    python q1_gradcam/explain.py --method layercam --layer body.stage2
    python q1_gradcam/explain.py --target second            explains the runner-up class
    python q1_gradcam/explain.py --all                      every test image, maps without figures
    torchrun --nproc-per-node 2 q1_gradcam/explain.py --all        two processes, the same result

Takes a minute on two cores. The test images are drawn at random from all that qualify. The
incorrect ones have two maps, of the predicted and of the true class. Writes OUT/explanations.json,
OUT/explanations.npz and OUT/figures/*.png. With --image, writes OUT/user/NAME.png, NAME.json and,
with --save-maps, NAME.npz; with --all, OUT/all.json and OUT/all.npz. OUT is the checkpoint's folder
(outputs/q1_gradcam for a torchvision classifier). For test images, options other than the default
ones are named by a folder in OUT/other.
"""

import os
from contextlib import suppress
from pathlib import Path

from common import cli, data, distributed, models, results, user_files
from common.figures import remove_stale, save

import numpy as np
import torch

from q1_gradcam import figures, gradcam, samples, user_images
from q1_gradcam.layers import find_layer, last_stage

DEFAULT = results.OUTPUTS / "q1_gradcam/model.pt"
COLUMNS = {"correct": 5, "incorrect": 3}  # images in a row of a sheet
SHARD = 16 * gradcam.BATCH  # images that a process explains at a time with --all
DEFAULTS = {"method": "gradcam", "layer": None, "target": "predicted"}
DEFAULTS |= {"correct": 10, "incorrect": 5, "seed": 0}


def arguments():
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    model = parser.add_mutually_exclusive_group()
    text = "checkpoint (default: outputs/q1_gradcam/model.pt) or torchvision classifier"
    model.add_argument("--model", default=str(DEFAULT), metavar="FILE or NAME", help=text)
    model.add_argument("--weights", type=Path, metavar="FILE", help="ImageNet checkpoint")
    parser.data_option("CIFAR-10 and weights")
    add("--out", type=Path, metavar="DIR", help="see above")
    add("--method", choices=gradcam.METHODS, help="default: gradcam")
    add("--layer", metavar="NAME", help="default: the last stage")
    add("--list-layers", action="store_true", help="print the layers with the sizes of their maps")
    add("--target", metavar="CLASS", help="predicted (default), second, true or a class name")
    add("--correct", type=cli.positive, metavar="N", help="images per class (default: 10)")
    add("--incorrect", type=cli.positive, metavar="N", help="images per class (default: 5)")
    add("--seed", type=cli.seed, metavar="N", help="for the draw of images (default: 0)")
    text = "explain these images, and those in these folders, instead of test images"
    add("--image", type=Path, nargs="+", action="extend", metavar="PATH", help=text)
    add("--all", action="store_true", help="explain the predicted class of every test image")
    add("--save-maps", action="store_true", help="with --image: write NAME.npz too")
    parser.device_option()
    parser.set_defaults(**DEFAULTS)
    args = parser.parse_args()
    if args.save_maps and not args.image:
        parser.error("--save-maps needs --image")
    if args.image and args.target == "true":
        parser.error("--target true: the true class of --image is unknown")
    if args.layer and args.method in gradcam.LAYERLESS_METHODS:
        parser.error(f"--method {args.method} uses no layer: leave out --layer")
    if args.all and (args.image or args.list_layers or args.target != "predicted"):
        parser.error("--all can't be combined with --image, --list-layers or --target")
    given = [key for key in ("out", *DEFAULTS) if getattr(args, key) != parser.get_default(key)]
    if args.list_layers and given and not args.image:
        parser.error(f"--list-layers can't be combined with --{given[0]}")
    draw = [key for key in given if key in ("correct", "incorrect", "seed")]
    if draw and (args.image or args.all):
        parser.error(f"--{draw[0]} is for the draw of test images: not with --image or --all")
    args.checkpoint = Path(args.model)
    args.imagenet = args.weights is not None or user_images.is_name(args.model)
    if args.imagenet and not (args.image or args.list_layers):
        parser.error("a torchvision classifier has no test images here: give an --image")
    folder = DEFAULT.parent if args.imagenet else args.checkpoint.parent
    args.out = args.out or (folder if args.image else cli.out_folder(folder, args, DEFAULTS))
    return args


def main() -> None:
    args = arguments()
    device = distributed.start(cli.pick_device(args.device))
    if args.image or args.list_layers:
        explain_user_images(args, device)
        return
    model = models.load(args.checkpoint, device)
    layer = model.layer if args.layer is None else args.layer
    find_layer(model.network, layer)
    known = (*samples.TARGETS, *model.classes)
    if args.target not in known:
        raise cli.UserError(f"unknown class {args.target!r}: choose {', '.join(known)}")

    out = results.output_folder(args.out)
    with distributed.first_alone():
        dataset = data.load(model.dataset, args.data, len(model.classes))
    if args.all:
        explain_all(args, model, dataset, layer, out, device)
        return
    logits = models.logits(model.network, dataset.x_test)
    wanted = {kind: getattr(args, kind) for kind in samples.KINDS}
    predicted = logits.argmax(1).numpy()
    index, qualifying = samples.draw(predicted, dataset.y_test, model.classes, wanted, args.seed)
    options = args.method, layer, args.target
    explained = samples.explain(model, dataset, index, logits[index], *options)
    rows = samples.describe(explained, model.classes)
    content = {
        "method": args.method,
        "layer": explained.layer,
        "map_size": explained.raw.shape[1:],
        "target": args.target,
        "qualifying": qualifying,
        "maps": "explanations.npz",
        **samples.summarize(explained),
    }
    if dataset.ground_truth_test is not None:
        content |= samples.pointing(explained, dataset.ground_truth_test)

    where = f" at {explained.layer}" if explained.layer else ""
    name = gradcam.NAMES.get(args.method, args.method)
    note = "{}{}, {} x {}".format(name, where, *explained.raw.shape[1:])
    written = write_sheets(explained, rows, dataset.x_test, model.classes, note, out / "figures")
    if args.method == "gradcam":
        written.append(write_worked_example(model, explained, dataset.x_test, out / "figures"))
    else:  # of an earlier run
        (out / "figures/worked_example.png").unlink(missing_ok=True)
    arrays = {"index": explained.index, "map": explained.raw, "map_true": explained.raw_true}
    results.write_npz(out / "explanations.npz", **arrays)
    remove_stale(out, written)
    content |= {"provenance": origins(args, dataset, device), "samples": rows}
    results.write_json(out / "explanations.json", content)

    correct, dead = explained.correct.sum(), sum(row["dead"] for row in rows)
    counts = f"{correct} correct and {len(rows) - correct} incorrect images"
    print(f"explained {counts} with {args.method}; dead maps: {dead}")
    if "pointing_game" in content:
        share, baseline = content["pointing_game"], content["pointing_game_baseline"]
        print(f"maximum on the shape: {share:.0%} (on the shape of another image: {baseline:.0%})")
    path = results.shown(out / "explanations.json")
    print(f"wrote {path}, the maps beside it, and {len(written)} figures")


def origins(args, dataset: data.Dataset, device) -> dict:
    """The provenance of explanations of test images."""
    hashes = {"data_sha256": dataset.sha256, "checkpoint_sha256": results.sha256(args.checkpoint)}
    return results.provenance(args.seed, device, data_source=dataset.source, **hashes)


def explain_all(args, model: models.Model, dataset: data.Dataset, layer, out: Path, device) -> None:
    """Explains the predicted class of every test image; the processes of torchrun share the work.

    Writes all.npz, with `map` (N, h, w), signed, and `index`, `label`, `predicted`, `confidence`
    (calibrated) and `dead`, each (N,); and a summary, all.json. The maps are collected in a file
    beside them that is deleted at the end, so that their number is not limited by the memory. With
    several machines, its folder must be shared.
    """
    images, path = dataset.x_test, out / "all.npz"
    network = gradcam.prepare(model.network, models.to_input(images[:2], device), layer)

    def explain(part: slice) -> gradcam.Maps:
        x = models.to_input(images[part], device)
        return gradcam.explain(network, x, layer, method=args.method)

    pid = distributed.share(lambda _: os.getpid(), [0])[0]  # of the first process
    file = path.with_name(f"{path.name}.maps.{pid}.part")
    with distributed.first_alone():
        shape = (len(images), *explain(slice(1)).raw.shape[1:])
        mode = "r+" if distributed.rank() else "w+"
        maps = np.lib.format.open_memmap(file, mode, np.float32, shape)

    def write(start: int) -> tuple[np.ndarray, ...]:
        part = slice(start, start + SHARD)
        explained = explain(part)
        maps[part] = explained.raw.cpu().numpy()
        maps.flush()
        probabilities = torch.softmax(explained.logits.cpu().double() / model.temperature, 1)
        confidence, predicted = probabilities.max(1)
        return predicted.numpy(), confidence.numpy(), explained.dead.cpu().numpy()

    try:
        parts = distributed.share(write, range(0, len(images), SHARD), "images")
        predicted, confidence, dead = map(np.concatenate, zip(*parts, strict=True))
        arrays = {"map": maps, "index": np.arange(len(images)), "label": dataset.y_test}
        arrays |= {"predicted": predicted, "confidence": confidence, "dead": dead}
        origin = origins(args, dataset, device)  # now, so that no process waits for the compression
        results.write_npz(path, **arrays)
    finally:
        maps._mmap.close()  # Windows cannot delete an open file
        if not distributed.rank():
            file.unlink(missing_ok=True)
    correct = (predicted == dataset.y_test).sum()
    used = None if args.method in gradcam.LAYERLESS_METHODS else layer
    content = {"method": args.method, "layer": used, "map_size": shape[1:], "target": "predicted"}
    content |= {"n": len(images), "correct": correct, "dead": dead.sum(), "maps": path.name}
    content["provenance"] = origin
    results.write_json(out / "all.json", content)
    print(f"explained {len(images)} images with {args.method}; dead maps: {dead.sum()}")
    print(f"wrote {results.shown(path)} and all.json beside it")


def write_sheets(
    explained: samples.ExplainedSamples,
    rows: list[dict],
    images: np.ndarray,
    classes: tuple[str, ...],
    note: str,
    folder: Path,
) -> list[Path]:
    """A sheet for each class and kind, and an overview of each kind. Returns the files.

    `rows` describe the `explained` samples, see samples.py; `images` are those of the test set.
    """
    panels = {kind: {} for kind in samples.KINDS}
    for k, row in enumerate(rows):
        maps = [(explained.raw[k], explained.target[k])]
        if row["kind"] == "incorrect":
            maps.append((explained.raw_true[k], explained.labels[k]))
        roles = {row["true"]: "true", row["predicted"]: "predicted"}
        tiles = [(images[row["index"]], f"#{row['index']}", row["true"])]
        for raw, c in maps:
            role = roles.get(classes[c], "explained")
            tiles.append((raw, role, f"{classes[c]} {explained.confidence[k, c]:.0%}"))
        panels[row["kind"]].setdefault(row["true"], []).append(tiles)

    written = []
    for kind, by_class in panels.items():
        columns = COLUMNS[kind]
        for name, of_class in by_class.items():
            lines = [of_class[k : k + columns] for k in range(0, len(of_class), columns)]
            sheet = figures.sheet(lines, columns, note)
            written.append(save(sheet, folder / f"{kind}_{cli.file_name(name)}.png"))
        if by_class:
            first = [of_class[:columns] for of_class in by_class.values()]
            overview = figures.sheet(first, max(map(len, first)), note, list(by_class))
            written.append(save(overview, folder / f"overview_{kind}.png"))
    return written


def write_worked_example(
    model: models.Model, explained: samples.ExplainedSamples, images: np.ndarray, folder: Path
) -> Path:
    """The arithmetic of Grad-CAM on the first image of the draw."""
    image = images[explained.index[0]]
    device = next(model.network.parameters()).device
    x = models.to_input(image[None], device)
    target = torch.from_numpy(explained.target[:1]).to(device)
    with gradcam.borrowed(model.network):
        at_layer = gradcam.at_layer(model.network, x, explained.layer, target)[:2]
    figure = figures.worked_example(image, *(tensor[0].cpu().numpy() for tensor in at_layer))
    return save(figure, folder / "worked_example.png")


def explain_user_images(args, device) -> None:
    """Explains any images: the central square of each, at the size of the network's input."""
    paths = user_files.image_files(args.image or [])
    needs_layer = bool(args.image) and args.method not in gradcam.LAYERLESS_METHODS
    source = args.model, args.weights, args.layer, args.data
    classifier = user_images.load(*source, device, needs_layer)
    if args.list_layers:
        found, default = user_images.layer_maps(classifier), classifier.layer
        with suppress(cli.UserError):  # a network without a default
            default = default or last_stage(classifier.network, found)
        for layer, maps in found.items():
            _, channels, height, width = maps.shape
            mark = "  (default)" if layer == default else ""
            print(f"{layer:40} {height} x {width}, {channels} channels{mark}")

    def explain_one(path: Path) -> None:
        image = data.read_image(path)
        explained = user_images.explain(classifier, image, args.target, args.method)
        content = explained.content
        request = {"image_sha256": results.sha256(path), "weights_sha256": classifier.model.sha256}
        request |= {key: content[key] for key in ("method", "layer", "explained")}
        out = results.output_folder(args.out / "user")
        origins = results.provenance(args.seed, device)
        content = {"image": path.name, **content, "request": request, "provenance": origins}
        arrays = {"map": explained.raw, "image": explained.pixels} if args.save_maps else None
        figure, rows = user_images.figure(explained), user_images.rows(explained, path.name)
        user_files.save(out, path, paths, figure, content, rows, arrays)

    user_files.explain_each(paths, explain_one)


if __name__ == "__main__":
    cli.run(main)
