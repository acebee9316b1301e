"""Explains a trained classifier with Grad-CAM, on images it classifies correctly and incorrectly.

    python q1_gradcam/explain.py                            10 correct and 5 incorrect per class
    python q1_gradcam/explain.py --image cat.jpg            an image of yours
    python q1_gradcam/explain.py --method layercam --layer body.stage2
    python q1_gradcam/explain.py --target second            explains the runner-up class
    python q1_gradcam/explain.py --model outputs/demo/q1_gradcam/model.pt

Takes half a minute on two cores. The test images are drawn at random from all that qualify. The
incorrect ones have two maps, of the predicted and of the true class. Writes OUT/explanations.json,
OUT/explanations.npz and OUT/figures/*.png; with --image, OUT/user/NAME.png. OUT is the checkpoint's
folder; with other than the default options it is a folder in OUT/other that names them.
"""

from pathlib import Path

import torch

from common import cli, data, models, results
from common.figures import remove_stale, save
from q1_gradcam import figures, gradcam, samples

COLUMNS = {"correct": 5, "incorrect": 3}  # images in a row of a sheet
NUMBER_OF_MAPS = {"correct": 1, "incorrect": 2}
RULE = "drawn at random from all test images of each class that qualify"
DEFAULTS = {"method": "gradcam", "layer": None, "target": "predicted"}
DEFAULTS |= {"correct": 10, "incorrect": 5, "seed": 0}


def arguments():
    parser = cli.Parser(__doc__)
    default = results.OUTPUTS / "q1_gradcam/model.pt"
    add = parser.add_argument
    model = "default: outputs/q1_gradcam/model.pt"
    add("--model", type=Path, default=default, metavar="FILE", help=model)
    parser.data_option()
    add("--out", type=Path, metavar="DIR", help="see above")
    add("--method", choices=gradcam.METHODS, help="default: gradcam")
    add("--layer", metavar="NAME", help="default: the last stage with a sufficiently fine map")
    target = "predicted (default), true, second, a class name or number"
    add("--target", metavar="CLASS", help=target)
    add("--correct", type=cli.positive, metavar="N", help="per class (default: 10)")
    add("--incorrect", type=cli.positive, metavar="N", help="per class, if available (default: 5)")
    add("--seed", type=int, metavar="N", help="for the draw of images (default: 0)")
    add("--image", type=Path, metavar="FILE", help="explain this image instead of test images")
    parser.device_option()
    args = parser.parse_args()
    draws = args.correct or args.incorrect or args.seed is not None
    if args.image and (draws or args.target == "true"):
        parser.error(
            "--image explains one image of unknown class: "
            "no --correct, --incorrect, --seed, --target true"
        )
    if args.layer and args.method in gradcam.LAYERLESS_METHODS:
        parser.error(f"--method {args.method} uses no layer: leave out --layer")
    folder = args.model.parent
    args.out = args.out or (folder if args.image else cli.out_folder(folder, args, DEFAULTS))
    for name, value in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def main() -> None:
    args = arguments()
    device = cli.pick_device(args.device)
    model = models.load(args.model, device)
    layer = args.layer or model.layer
    gradcam.find_layer(model.network, layer)
    target = samples.parse_target(args.target, model.classes)
    if args.image:
        explain_user_image(args, model, layer, target)
        return

    dataset = data.load(model.dataset, args.data)
    wanted = {kind: getattr(args, kind) for kind in samples.KINDS}
    explained = samples.explain(model, dataset, wanted, args.seed, args.method, layer, target)
    rows = samples.describe(explained, args.method, model.classes)
    dead = {kind: sum(r["dead"] for r in rows if r["kind"] == kind) for kind in samples.KINDS}
    content = {
        "method": args.method,
        "layer": explained.layer,
        "map_size": explained.raw.shape[1:],
        "target": args.target,
        "temperature": model.temperature,
        "rule": f"{RULE} (seed {args.seed}): {args.correct} correct, {args.incorrect} incorrect",
        "qualifying": explained.qualifying,
        "maps": "explanations.npz",
        "dead": dead,
        **samples.summarize(explained),
    }
    if dataset.ground_truth_test is not None:
        content |= samples.pointing(explained, dataset.ground_truth_test)

    out = results.output_folder(args.out)
    folder = results.output_folder(out / "figures")
    written = write_sheets(explained, rows, dataset, model.classes, args.method, folder)
    if args.method == "gradcam":
        written.append(write_worked_example(model, dataset, explained, folder))
    arrays = {"index": explained.index, "map": explained.raw, "map_true": explained.raw_true}
    results.write_npz(out / "explanations.npz", **arrays)
    hashes = {"data_sha256": dataset.sha256, "checkpoint_sha256": results.sha256(args.model)}
    provenance = results.provenance(args.seed, device, data_source=dataset.source, **hashes)
    remove_stale(out, written)
    content |= {"provenance": provenance, "samples": rows}
    results.write_json(out / "explanations.json", content)

    counts = " and ".join(f"{(explained.kind == kind).sum()} {kind}" for kind in samples.KINDS)
    print(f"explained {counts} images with {args.method}; dead maps: {sum(dead.values())}")
    if "pointing_game" in content:
        share, baseline = content["pointing_game"], content["pointing_game_baseline"]
        print(f"maximum on the shape: {share:.0%} (on another image's shape: {baseline:.0%})")
    path = results.shown(out / "explanations.json")
    print(f"wrote {path}, the maps beside it, and {len(written)} figures")


def write_sheets(
    explained: samples.Explained, rows: list[dict], dataset: data.Dataset, classes, method, folder
) -> list[Path]:
    """A sheet for each class and kind, and an overview of each kind. Returns the files."""
    pairs = ((explained.raw, explained.explained), (explained.raw_true, explained.labels))
    panels = {kind: {} for kind in samples.KINDS}
    for k, row in enumerate(rows):
        maps, titles = [], [f"#{row['index']}\n{row['true']}"]
        for raw, target in pairs[: NUMBER_OF_MAPS[row["kind"]]]:
            maps.append(raw[k])
            titles.append(map_title(classes[target[k]], explained.confidence[k, target[k]], row))
        panel = figures.Panel(dataset.x_test[row["index"]], maps, titles)
        panels[row["kind"]].setdefault(row["true"], []).append(panel)

    note, written = describe_map(method, explained.layer, explained.raw), []
    for kind, by_class in panels.items():
        columns = COLUMNS[kind]
        for name, of_class in by_class.items():
            sheet = figures.sheet(of_class, note, columns)
            written.append(save(sheet, folder / f"{kind}_{name}.png"))
        if by_class:
            first = [of_class[:columns] for of_class in by_class.values()]
            overview = figures.grid(first, list(by_class), note, max(map(len, first)))
            written.append(save(overview, folder / f"overview_{kind}.png"))
    return written


def map_title(name: str, confidence: float, row: dict) -> str:
    """The title of a map: the role of the class that it explains, its name, its confidence."""
    roles = {row["true"]: "true", row["predicted"]: "predicted"}
    return f"{roles.get(name, 'explained')}\n{name} {confidence:.0%}"


def describe_map(method: str, layer: str | None, raw) -> str:
    """The note below the sheets: method, layer and size of the map."""
    where = f" at {layer}" if layer else ""
    return f"{method}{where}, {raw.shape[1]} x {raw.shape[2]}"


def write_worked_example(
    model: models.Model, dataset: data.Dataset, explained: samples.Explained, folder: Path
) -> Path:
    """The arithmetic of Grad-CAM on the first image of the draw."""
    image = dataset.x_test[explained.index[0]]
    device = next(model.network.parameters()).device
    x, target = models.to_input(image[None], device), explained.explained[:1].to(device)
    with gradcam.borrowed(model.network):
        at_layer = gradcam.at_layer(model.network, x, explained.layer, target)
    activations, gradients = (tensor[0].cpu().numpy() for tensor in at_layer[:2])
    figure = figures.worked_example(image, activations, gradients)
    return save(figure, folder / "worked_example.png")


def explain_user_image(args, model: models.Model, layer: str, target: str | int) -> None:
    """Explains any image: its central square, resized to 32 x 32."""
    image = data.fit_image(data.read_image(args.image), 32)
    x = models.to_input(image[None], next(model.network.parameters()).device)
    logits = models.logits(model.network, image[None])[0]
    order = logits.argsort(descending=True).tolist()
    explained = {"predicted": order[0], "second": order[1]}.get(target, target)
    maps = gradcam.explain(model.network, x, layer, explained, args.method)
    confidence = torch.softmax(logits.double() / model.temperature, 0).tolist()
    raw, name = maps.raw.cpu().numpy(), model.classes[explained]
    title = f"explained\n{name} {confidence[explained]:.0%}"
    panel = figures.Panel(image, [raw[0]], ["network input\n", title])
    top = ", ".join(f"{model.classes[k]} {confidence[k]:.0%}" for k in order[:3])
    note = f"{describe_map(args.method, maps.layer, raw)}. Predicted: {top}"
    path = output_path(results.output_folder(args.out / "user"), args.image)
    save(figures.sheet([panel], note, columns=1), path)
    print(f"predicted: {top}" + ("; the map is zero after the ReLU" if maps.dead[0] else ""))
    # A file name may contain bytes that are not valid UTF-8, which cannot be printed.
    print(f"wrote {results.shown(path)}".encode("utf-8", "replace").decode())


def output_path(folder: Path, image: Path) -> Path:
    """folder/NAME.png. If that exists, NAME-HASH.png with the image's hash, so that neither the
    image itself nor the figure of another image of the same name is overwritten."""
    path = folder / f"{image.stem}.png"
    return folder / f"{image.stem}-{results.sha256(image)[:8]}.png" if path.exists() else path


if __name__ == "__main__":
    cli.run(main)
