"""Shows where a trained classifier looks: Grad-CAM on pictures it gets right and on pictures it gets wrong.

    python q1_gradcam/explain.py                                  10 right and 5 wrong test pictures of each class
    python q1_gradcam/explain.py --image cat.jpg                  your own picture
    python q1_gradcam/explain.py --method layercam --layer body.stage2
    python q1_gradcam/explain.py --target second                  why not the runner-up?
    python q1_gradcam/explain.py --model outputs/demo/q1_gradcam/model.pt

Test pictures are drawn at random, by seed, from all that qualify; the wrong ones are explained twice, for the class that the
network says and for the true one. Writes OUT/explanations.json, OUT/explanations.npz, OUT/figures/*.png and, for
report/verify.py, OUT/receipts.json; for --image, OUT/own/NAME.png. OUT is the checkpoint's folder, or with options other than
the usual ones a folder named after them in OUT/other, so that they don't replace the usual results.
"""

import textwrap
from pathlib import Path

import numpy as np
import torch

from common import cli, data, models, results
from common.figures import remove_stale
from common.figures import save as save_figure
from q1_gradcam import drawn_pictures, figures, gradcam, selection

OVERVIEW = {"correct": 5, "incorrect": 3}  # pictures of each class on the overview page
USUAL = {
    "method": "gradcam",
    "layer": None,
    "target": "predicted",
    "correct": 10,
    "incorrect": 5,
    "seed": 0,
}


def arguments():
    parser = cli.Parser(__doc__)
    usual_model = results.OUTPUTS / "q1_gradcam/model.pt"
    add = parser.add_argument
    add(
        "--model",
        type=Path,
        default=usual_model,
        metavar="FILE",
        help="default: outputs/q1_gradcam/model.pt",
    )
    parser.data_option()
    add("--out", type=Path, metavar="DIR", help="see above")
    add("--method", choices=gradcam.METHODS, help="default: gradcam")
    add(
        "--layer",
        metavar="NAME",
        help="default: the last stage that is fine enough to point at something",
    )
    add(
        "--target",
        metavar="CLASS",
        help="predicted (default), true, second, a class name or number",
    )
    add(
        "--correct",
        type=cli.positive,
        metavar="N",
        help="right pictures of each class (default: 10)",
    )
    add(
        "--incorrect",
        type=cli.positive,
        metavar="N",
        help="wrong ones, or all there are (default: 5)",
    )
    add("--seed", type=int, metavar="N", help="of the draw (default: 0)")
    add("--image", type=Path, metavar="FILE", help="explain this picture instead of test pictures")
    parser.device_option()
    args = parser.parse_args()
    if args.image and (
        args.correct or args.incorrect or args.seed is not None or args.target == "true"
    ):
        parser.error(
            "--image explains one picture of unknown class: no --correct, --incorrect, --seed, --target true"
        )
    if args.layer and args.method in gradcam.LAYERLESS_METHODS:
        parser.error(f"--method {args.method} looks at no layer: leave out --layer")
    unusual = [
        f"{name}-{value}"
        for name in USUAL
        if (value := getattr(args, name)) not in (None, USUAL[name])
    ]
    for name, value in USUAL.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.out = args.out or args.model.parent / (
        Path("other", "_".join(unusual)) if unusual and not args.image else ""
    )
    return args


def main() -> None:
    args = arguments()
    device = cli.pick_device(args.device)
    model = models.load(args.model, device)
    layer = args.layer or model.layer
    gradcam.find_layer(model.network, layer)
    target = drawn_pictures.parse_target(args.target, model.classes)
    if args.image:
        explain_own(args, model, layer, target)
        return

    dataset = data.load(model.dataset, args.data)
    done = drawn_pictures.compute(args, model, dataset, layer, target)
    drawn, samples = done.drawn, drawn_pictures.describe(done, args, model.classes)
    panels = {kind: {} for kind in selection.KINDS}
    level = [gradcam.scale(raw).numpy() for raw in done.raw]
    for k, (kind, sample) in enumerate(zip(drawn.kind, samples, strict=True)):
        shown = [
            figures.PanelMap(
                level[m][k],
                bool(done.dead[m][k]),
                model.classes[y[k]],
                done.confidence[k, y[k]].item(),
            )
            for m, y in ((0, done.explained), (1, done.labels))[: 1 if kind == "correct" else 2]
        ]
        name, true = f"#{sample['index']}", sample["true"]
        panel = figures.Panel(
            dataset.x_test[sample["index"]], name, true, sample["predicted"], tuple(shown)
        )
        panels[kind].setdefault(true, []).append(panel)

    out = results.output_folder(args.out)
    written = write_sheets(panels, drawn, args, done.maps, results.output_folder(out / "figures"))
    if args.method == "gradcam":
        image = dataset.x_test[drawn.index[0]]
        written.append(
            write_worked_example(model, image, layer, done.explained[:1], f"#{drawn.index[0]}", out)
        )
    results.write_npz(
        out / "explanations.npz",
        index=drawn.index,
        map=done.raw[0].numpy(),
        map_true=done.raw[1].numpy(),
    )
    content = drawn_pictures.summarise(done, args, model, dataset, samples)
    hashes = {"data_sha256": dataset.sha256, "checkpoint_sha256": results.sha256(args.model)}
    origin = results.provenance(args.seed, device, data_source=dataset.source, **hashes)
    remove_stale(out, written)
    results.write_json(
        out / "explanations.json", content | {"provenance": origin, "samples": samples}
    )

    counts = [
        f"{drawn.kind.count(kind)} {word}"
        for kind, word in (("correct", "right"), ("incorrect", "wrong"))
    ]
    dead_ones = sum(content["dead"].values())
    print(f"explained {' and '.join(counts)} pictures with {args.method}; dead maps: {dead_ones}")
    for key in ("peak_on_evidence", "peak_in_evidence_cell"):
        if key in content:
            by_chance = content[f"{key}_control"]
            print(
                f"{key.replace('_', ' ')}: {content[key]:.0%} of the right pictures (by chance {by_chance:.0%})"
            )
    print(
        f"wrote {results.shown(out / 'explanations.json')}, the maps beside it, and {len(written)} figures"
    )


def write_sheets(
    panels, drawn: selection.Selection, args, maps: gradcam.Maps, folder: Path
) -> list[Path]:
    """A sheet for each class and kind, and an overview of each kind. Returns the files written."""
    how = f"{how_to_read(maps)}\nPercent: the network's confidence."
    written = []
    for kind in selection.KINDS:
        for name, chosen in panels[kind].items():
            n = drawn.qualifying[kind][name]
            which = (
                f"All {n}"
                if len(chosen) == n
                else f"{len(chosen)} drawn at random (seed {args.seed}) from the {n}"
            )
            judged = "classified correctly" if kind == "correct" else "taken for something else"
            caption = f"{which} test pictures of class {name!r} that are {judged}.\n{how}"
            figure = figures.sheet(chosen, f"{name}: {judged}", caption)
            written.append(save_figure(figure, folder / f"{kind}_{name}.png"))
        rows = {name: chosen[: OVERVIEW[kind]] for name, chosen in panels[kind].items()}
        if rows:
            judged = "right" if kind == "correct" else "wrong"
            spared = [name for name, n in drawn.qualifying[kind].items() if n == 0]
            more = f" No mistakes: {', '.join(spared)}." if spared else ""
            most = max(map(len, rows.values()))
            if kind == "incorrect":
                more = f" Two maps: of the class it says, and of the true one.{more}"
            first = "The first" if most == 1 else f"The first {most}"
            which = textwrap.fill(
                f"{first} of each class's random draw (seed {args.seed}).{more}", figures.CAPTION
            )
            caption = f"{which}\n{how}"
            figure = figures.overview(
                rows, f"What the network looks at when it is {judged}", caption
            )
            written.append(save_figure(figure, folder / f"overview_{kind}.png"))
    return written


def how_to_read(maps: gradcam.Maps) -> str:
    """The part of a caption that says what the colours are."""
    if maps.layer is None:
        return f"Map: {maps.method}, scaled to its own peak (colour bar); white line: half of the peak."
    size = "x".join(map(str, maps.raw.shape[1:]))
    return (
        f"Map: {maps.method} at {maps.layer} ({size}), positive part, enlarged bilinearly,\n"
        "scaled to its own peak (colour bar); white line: half of the peak."
    )


def write_worked_example(
    model, image: np.ndarray, layer: str, target, name: str, out: Path
) -> Path:
    """The arithmetic of Grad-CAM on the first picture of the draw."""
    x = models.to_input(image[None], next(model.network.parameters()).device)
    with gradcam.borrowed(model.network):
        activations, gradients, _, _ = gradcam.at_layer(
            model.network, x, layer, target.to(x.device)
        )
    title = f"Grad-CAM worked out: test picture {name}, class {model.classes[target]}, {layer}"
    figure = figures.worked_example(
        image, activations[0].cpu().numpy(), gradients[0].cpu().numpy(), title
    )
    return save_figure(figure, out / "figures/worked_example.png")


def explain_own(args, model: models.Model, layer: str, target: str | int) -> None:
    """Explains a picture that is no test picture: its central square, brought to 32 x 32."""
    image = data.fit_image(data.read_image(args.image), 32)
    logits = models.logits(model.network, image[None])[0]
    confidence = torch.softmax(logits.double() / model.temperature, 0)
    order = logits.argsort(descending=True).tolist()
    wanted = {"predicted": order[0], "second": order[1]}.get(target, target)
    x = models.to_input(image[None], next(model.network.parameters()).device)
    maps = gradcam.explain(model.network, x, layer, wanted, args.method)
    level, name = gradcam.scale(maps.raw.cpu())[0].numpy(), model.classes[wanted]
    shown = figures.PanelMap(level, bool(maps.dead[0]), name, confidence[wanted].item())
    panel = figures.Panel(image, "as the network sees it", "", model.classes[order[0]], (shown,))
    says = ", ".join(f"{model.classes[k]} {confidence[k]:.0%}" for k in order[:3])
    caption = (
        f"The network says: {says}. It knows its {len(order)} classes alone.\n{how_to_read(maps)}"
    )
    path = results.output_folder(args.out / "own") / f"{args.image.stem}.png"
    save_figure(figures.single(panel, f"{args.image.name}: why {name}?", caption), path)
    print(
        f"{args.image} looks like: {says}"
        + ("; the map is zero after the ReLU" if maps.dead[0] else "")
    )
    print(f"wrote {results.shown(path)}")


if __name__ == "__main__":
    cli.run(main)
