"""Explains a trained classifier with Grad-CAM, on images it classifies correctly and incorrectly.

    python q1_gradcam/explain.py                            10 correct and 5 incorrect per class
    python q1_gradcam/explain.py --image cat.jpg            explains an image file
    python q1_gradcam/explain.py --method layercam --layer body.stage2
    python q1_gradcam/explain.py --target second            explains the runner-up class
    python q1_gradcam/explain.py --model outputs/demo/q1_gradcam/model.pt

Takes half a minute on two cores. The test images are drawn at random from all that qualify. The
incorrect ones have two maps, of the predicted and of the true class. Writes OUT/explanations.json,
OUT/explanations.npz and OUT/figures/*.png; with --image, OUT/user/NAME.png. OUT is the checkpoint's
folder, or a folder in OUT/other that names the options that are not the default ones.
"""

from pathlib import Path

from common import cli, data, models, results
from common.figures import remove_stale, save
from q1_gradcam import figures, gradcam, samples

COLUMNS = {"correct": 5, "incorrect": 3}  # images in a row of a sheet
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
    add("--target", metavar="CLASS", help="predicted (default), second, true or a class name")
    add("--correct", type=cli.positive, metavar="N", help="images per class (default: 10)")
    add("--incorrect", type=cli.positive, metavar="N", help="images per class (default: 5)")
    add("--seed", type=cli.seed, metavar="N", help="for the draw of images (default: 0)")
    add("--image", type=Path, metavar="FILE", help="explain this image instead of test images")
    parser.device_option()
    parser.set_defaults(**DEFAULTS)
    args = parser.parse_args()
    if args.image and args.target == "true":
        parser.error("--target true: the true class of --image is unknown")
    if args.layer and args.method in gradcam.LAYERLESS_METHODS:
        parser.error(f"--method {args.method} uses no layer: leave out --layer")
    folder = args.model.parent
    args.out = args.out or (folder if args.image else cli.out_folder(folder, args, DEFAULTS))
    return args


def main() -> None:
    args = arguments()
    device = cli.pick_device(args.device)
    model = models.load(args.model, device)
    layer = model.layer if args.layer is None else args.layer
    gradcam.find_layer(model.network, layer)
    known = (*samples.TARGETS, *model.classes)
    if args.target not in known:
        raise cli.UserError(f"unknown class {args.target!r}: choose {', '.join(known)}")
    if args.image:
        explain_user_image(args, model, layer)
        return

    out = results.output_folder(args.out)
    dataset = data.load(model.dataset, args.data)
    logits = models.logits(model.network, dataset.x_test)
    wanted = {kind: getattr(args, kind) for kind in samples.KINDS}
    predicted = logits.argmax(1).numpy()
    index, qualifying = samples.draw(predicted, dataset.y_test, model.classes, wanted, args.seed)
    options = (args.method, layer, args.target)
    explained = samples.explain(model, dataset, index, logits[index], *options)
    rows = samples.describe(explained, args.method, model.classes)
    dead = {kind: sum(r["dead"] for r in rows if r["kind"] == kind) for kind in samples.KINDS}
    content = {
        "method": args.method,
        "layer": explained.layer,
        "map_size": explained.raw.shape[1:],
        "target": args.target,
        "temperature": model.temperature,
        "rule": f"{RULE} (seed {args.seed}): {args.correct} correct, {args.incorrect} incorrect",
        "qualifying": qualifying,
        "maps": "explanations.npz",
        "dead": dead,
        **samples.summarize(explained),
    }
    if dataset.ground_truth_test is not None:
        content |= samples.pointing(explained, dataset.ground_truth_test)

    written = write_sheets(explained, rows, dataset, model.classes, out / "figures")
    if args.method == "gradcam":
        written.append(write_worked_example(model, dataset, explained, out / "figures"))
    arrays = {"index": explained.index, "map": explained.raw, "map_true": explained.raw_true}
    results.write_npz(out / "explanations.npz", **arrays)
    hashes = {"data_sha256": dataset.sha256, "checkpoint_sha256": results.sha256(args.model)}
    provenance = results.provenance(args.seed, device, data_source=dataset.source, **hashes)
    remove_stale(out, written)
    content |= {"provenance": provenance, "samples": rows}
    results.write_json(out / "explanations.json", content)

    correct, incorrect = explained.correct.sum(), (~explained.correct).sum()
    counts = f"{correct} correct and {incorrect} incorrect images"
    print(f"explained {counts} with {args.method}; dead maps: {sum(dead.values())}")
    if "pointing_game" in content:
        share, baseline = content["pointing_game"], content["pointing_game_baseline"]
        print(f"maximum on the shape: {share:.0%} (on the shape of another image: {baseline:.0%})")
    path = results.shown(out / "explanations.json")
    print(f"wrote {path}, the maps beside it, and {len(written)} figures")


def write_sheets(
    explained: samples.Explained, rows: list[dict], dataset: data.Dataset, classes, folder: Path
) -> list[Path]:
    """A sheet for each class and kind, and an overview of each kind. Returns the files."""
    panels = {kind: {} for kind in samples.KINDS}
    for k, row in enumerate(rows):
        maps = [(explained.raw[k], explained.explained[k])]
        if row["kind"] == "incorrect":
            maps.append((explained.raw_true[k], explained.labels[k]))
        roles = {row["true"]: "true", row["predicted"]: "predicted"}
        titles = [f"#{row['index']}\n{row['true']}"]
        for _, c in maps:
            role = roles.get(classes[c], "explained")
            titles.append(f"{role}\n{classes[c]} {explained.confidence[k, c]:.0%}")
        panel = figures.Panel(dataset.x_test[row["index"]], [raw for raw, _ in maps], titles)
        panels[row["kind"]].setdefault(row["true"], []).append(panel)

    note, written = describe_map(rows[0]["method"], explained.layer, explained.raw), []
    for kind, by_class in panels.items():
        columns = COLUMNS[kind]
        for name, of_class in by_class.items():
            sheet = figures.sheet(of_class, note, columns)
            written.append(save(sheet, folder / f"{kind}_{cli.file_name(name)}.png"))
        if by_class:
            first = [of_class[:columns] for of_class in by_class.values()]
            overview = figures.grid(first, list(by_class), note, max(map(len, first)))
            written.append(save(overview, folder / f"overview_{kind}.png"))
    return written


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
    x, target = models.to_input(image[None], device), int(explained.explained[0])
    with gradcam.borrowed(model.network):
        at_layer = gradcam.at_layer(
            model.network, x, explained.layer, x.new_tensor([target]).long()
        )
    activations, gradients = (tensor[0].cpu().numpy() for tensor in at_layer[:2])
    figure = figures.worked_example(image, activations, gradients)
    return save(figure, folder / "worked_example.png")


def explain_user_image(args, model: models.Model, layer: str) -> None:
    """Explains any image: its central square, resized to 32 x 32."""
    image = data.fit_image(data.read_image(args.image), 32)
    x = models.to_input(image[None], next(model.network.parameters()).device)
    logits = models.logits(model.network, image[None])
    k = samples.target_class(logits, None, args.target, model.classes).item()
    maps = gradcam.explain(model.network, x, layer, k, args.method)
    confidence = (logits[0].double() / model.temperature).softmax(0)
    raw, title = maps.raw.cpu().numpy(), f"explained\n{model.classes[k]} {confidence[k]:.0%}"
    panel = figures.Panel(image, [raw[0]], ["network input\n", title])
    values, order = (tensor.tolist() for tensor in confidence.topk(3))
    top = ", ".join(f"{model.classes[c]} {p:.0%}" for c, p in zip(order, values, strict=True))
    note = f"{describe_map(args.method, maps.layer, raw)}. Predicted: {top}"
    path = output_path(results.output_folder(args.out / "user"), args.image)
    save(figures.sheet([panel], note, columns=1), path)
    print(f"predicted: {top}" + ("; the map is zero after the ReLU" if maps.dead[0] else ""))
    print(f"wrote {results.shown(path)}")


def output_path(folder: Path, image: Path) -> Path:
    """folder/NAME.png. If that exists, folder/NAME-HASH.png with the image's hash, so that neither
    the image itself nor the figure of another image of the same name is overwritten."""
    stem = cli.file_name(image.stem)
    path = folder / f"{stem}.png"
    return folder / f"{stem}-{results.sha256(image)[:8]}.png" if path.exists() else path


if __name__ == "__main__":
    cli.run(main)
