"""Shows where a trained classifier looks: Grad-CAM on pictures it gets right and on pictures it gets wrong.

    python q1_gradcam/explain.py                                  10 right and 5 wrong test pictures of each class
    python q1_gradcam/explain.py --image cat.jpg                  your own picture
    python q1_gradcam/explain.py --method layercam --layer body.stage2 --out somewhere
    python q1_gradcam/explain.py --model outputs/demo/q1_gradcam/model.pt

Test pictures are drawn at random, by seed, from all that qualify; the wrong ones are explained twice, for the class that the
network says and for the true one. Writes OUT/explanations.json, OUT/explanations.npz and OUT/figures/*.png; for --image,
OUT/own/NAME.png.
"""

from pathlib import Path

import numpy as np
import torch

from common import data, models, pictures, results, runtime
from q1_gradcam import figures, gradcam

OVERVIEW = {"correct": 5, "incorrect": 3}  # pictures of each class on the overview page
TARGETS = ("predicted", "true", "second")


def arguments():
    parser = runtime.Parser(__doc__)
    parser.add_argument("--model", type=Path, default=results.OUTPUTS / "q1_gradcam/model.pt", metavar="FILE")
    parser.add_argument(
        "--data",
        type=Path,
        default=results.ROOT / "data",
        metavar="DIR",
        help="where CIFAR-10 is or goes (default: data)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: the checkpoint's folder")
    parser.add_argument("--method", choices=gradcam.METHODS, default="gradcam", help="default: gradcam")
    parser.add_argument(
        "--layer", metavar="NAME", help="default: the network's last stage that is fine enough to point"
    )
    parser.add_argument(
        "--target",
        default="predicted",
        metavar="CLASS",
        help="predicted (default), true, second, a class name or number",
    )
    parser.add_argument(
        "--correct", type=runtime.positive(), metavar="N", help="right pictures of each class (default: 10)"
    )
    parser.add_argument(
        "--incorrect", type=runtime.positive(), metavar="N", help="wrong ones, or all there are (default: 5)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of the draw (default: 0)")
    parser.add_argument("--image", type=Path, metavar="FILE", help="explain this picture instead of test pictures")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: auto)")
    args = parser.parse_args()
    if args.image and (args.correct or args.incorrect or args.seed is not None or args.target == "true"):
        parser.error(
            "--image explains one picture of unknown class: no --correct, --incorrect, --seed or --target true"
        )
    args.correct, args.incorrect, args.seed = args.correct or 10, args.incorrect or 5, args.seed or 0
    return args


def main() -> None:
    args = arguments()
    device = runtime.pick_device(args.device)
    model = models.load(args.model, device)
    layer = args.layer or model.layer
    gradcam.find_layer(model.network, layer)
    target = parse_target(args.target, model.classes)
    out = args.out or args.model.parent
    if args.image:
        explain_own(args, model, layer, target, results.output_folder(out / "own"))
        return

    dataset = data.load(model.dataset, args.data)
    logits = models.logits(model.network, dataset.x_test)
    labels = torch.from_numpy(dataset.y_test.astype(np.int64))
    drawn, counts = draw(logits.argmax(1) == labels, labels, model.classes, args)
    folder = results.output_folder(out / "figures")

    chosen = torch.tensor([index for _, index in drawn])
    logits, labels, images = logits[chosen], labels[chosen], dataset.x_test[chosen.numpy()]
    predicted, confidence = logits.argmax(1), torch.softmax(logits.double() / model.temperature, 1)
    explained = {"predicted": predicted, "true": labels, "second": logits.topk(2).indices[:, 1]}
    explained = explained[target] if isinstance(target, str) else torch.full_like(labels, target)
    # Two maps of every picture: of the class asked for, and of the true one.
    x = models.to_input(images, device)
    maps = [
        gradcam.explain(model.network, x, layer, y.to(device), args.method) for y in (explained, labels)
    ]  # fmt: skip
    raw, dead = [m.raw.cpu() for m in maps], [m.dead.cpu() for m in maps]
    level = [gradcam.scale(m).numpy() for m in raw]

    samples, panels = [], {"correct": {}, "incorrect": {}}
    for k, (kind, index) in enumerate(drawn):
        true = model.classes[labels[k]]
        kinds_maps = (0,) if kind == "correct" else (0, 1)
        panel = figures.Panel(
            images[k], index, true, model.classes[predicted[k]],
            confidence[k, predicted[k]].item(), confidence[k, labels[k]].item(),
            tuple(level[m][k] for m in kinds_maps), tuple(bool(dead[m][k]) for m in kinds_maps),
        )  # fmt: skip
        panels[kind].setdefault(true, []).append(panel)
        sample = {"index": index, "kind": kind, "true": true, "predicted": panel.predicted}
        sample |= {"confidence": panel.confidence, "confidence_true": panel.confidence_true}
        sample |= {"method": args.method, "layer": maps[0].layer, "explained": model.classes[explained[k]]}
        sample |= {"dead": bool(dead[0][k]), "dead_true": bool(dead[1][k]), "peak": raw[0][k].max().item()}
        if dataset.evidence_test is not None and kind == "correct":
            sample["peak_on_evidence"] = bool(peak_on_evidence(raw[0][k], dataset.evidence_test[index]))
        samples.append(sample | {"figure": f"figures/{kind}_{true}.png"})

    write_figures(panels, counts, args, maps[0], folder, model)
    example = next(k for k, (kind, _) in enumerate(drawn) if kind == "correct")
    if args.method == "gradcam":
        a, g, _, _ = gradcam_parts(
            model.network, x[example : example + 1], layer, explained[example : example + 1].to(device)
        )
        title = f"Grad-CAM worked out: test picture #{drawn[example][1]}, class {model.classes[explained[example]]}, {layer}"
        figures.save(figures.worked_example(images[example], a, g, title), folder / "worked_example.png")
    results.write_npz(out / "explanations.npz", index=chosen.numpy(), map=raw[0].numpy(), map_true=raw[1].numpy())
    hashes = {"data_sha256": dataset.sha256, "checkpoint_sha256": results.sha256(args.model)}
    content = {
        "method": args.method, "layer": maps[0].layer, "map_size": list(raw[0].shape[1:]), "target": args.target,
        "temperature": model.temperature, "rule": rule(args), "qualifying": counts, "maps": "explanations.npz",
        "dead": {kind: sum(s["dead"] for s in samples if s["kind"] == kind) for kind in panels},
        "provenance": results.provenance(args.seed, device, **hashes), "samples": samples,
    }  # fmt: skip
    if dataset.evidence_test is not None:
        content |= evidence_found(raw[0], drawn, dataset.evidence_test)
    results.write_json(out / "explanations.json", content)
    wrong = sum(sample["kind"] == "incorrect" for sample in samples)
    print(
        f"explained {len(samples) - wrong} right and {wrong} wrong pictures with {args.method}; {sum(s['dead'] for s in samples)} maps are dead"
    )
    print(
        f"wrote {results.shown(out / 'explanations.json')}, the maps beside it, and figures in {results.shown(folder)}"
    )


def parse_target(text: str, classes: tuple[str, ...]) -> str | int:
    """One of TARGETS as it is; a class name or number as the class's number."""
    if text in TARGETS:
        return text
    if text in classes:
        return classes.index(text)
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    raise runtime.UserError(
        f"unknown class {text!r}: choose {', '.join(TARGETS)}, {', '.join(classes)}, or a number below {len(classes)}"
    )


def draw(right: torch.Tensor, labels: torch.Tensor, classes, args) -> tuple[list[tuple[str, int]], dict]:
    """Draws test pictures of each class, first the right ones, then the wrong ones.

    Returns:
        a list of (kind, index in the test set), and how many qualified, by kind and class.
    """
    drawn, counts = [], {"correct": {}, "incorrect": {}}
    for kind, wanted in (("correct", args.correct), ("incorrect", args.incorrect)):
        for k, name in enumerate(classes):
            able = ((right if kind == "correct" else ~right) & (labels == k)).nonzero()[:, 0].numpy()
            counts[kind][name] = len(able)
            if kind == "correct" and len(able) < wanted:
                raise runtime.UserError(
                    f"--correct {wanted}: only {len(able)} pictures of {name!r} are classified correctly"
                )
            order = np.random.default_rng(runtime.seed_for(args.seed, kind, name)).permutation(able)
            drawn += [(kind, int(index)) for index in order[:wanted]]
    return drawn, counts


def rule(args) -> str:
    return (
        f"drawn at random (seed {args.seed}) from all test pictures of the class that qualify: {args.correct} classified "
        f"correctly, {args.incorrect} incorrectly or all there are"
    )


def write_figures(panels, counts, args, maps: gradcam.Maps, folder: Path, model) -> None:
    """A sheet for each class and kind, and an overview of each kind."""
    size = "x".join(map(str, maps.raw.shape[1:]))
    where = f"{args.method} at {maps.layer} ({size})" if maps.layer else args.method
    how = f"Map: {where}, positive part, enlarged bilinearly, each scaled to its own peak (colour bar);\nwhite line: half of the peak."
    for kind, sheet in (("correct", figures.correct_sheet), ("incorrect", figures.incorrect_sheet)):
        for name, chosen in panels[kind].items():
            n = counts[kind][name]
            which = f"all {n}" if len(chosen) == n else f"{len(chosen)} drawn at random (seed {args.seed}) from {n}"
            judged = "classified correctly" if kind == "correct" else "taken for something else"
            caption = (
                f"{which} test pictures of class {name!r} that are {judged}.\n{how} Percent: the network's confidence."
            )
            figures.save(sheet(chosen, f"{name}: {judged}", caption), folder / f"{kind}_{name}.png")
        rows = {name: chosen[: OVERVIEW[kind]] for name, chosen in panels[kind].items()}
        if rows:
            judged = "right" if kind == "correct" else "wrong"
            more = "" if kind == "correct" else " First map: for the class it says; second: for the true class."
            caption = f"The first {OVERVIEW[kind]} of each class's random draw (seed {args.seed}).{more}\n{how}"
            title = f"What the network looks at when it is {judged}"
            figures.save(figures.overview(rows, title, caption), folder / f"overview_{kind}.png")


def peak_on_evidence(raw: torch.Tensor, evidence: np.ndarray, cells: float = 1.0) -> bool:
    """Whether the centre of the map's highest cell lies in the evidence (H, W) grown by so many `cells` of the map each way
    (the pointing game of Zhang et al., arXiv:1608.00507, with the tolerance in cells)."""
    (h, w), (height, width) = raw.shape, evidence.shape
    row, column = divmod(int(raw.argmax()), w)
    y, x = (row + 0.5) * height / h, (column + 0.5) * width / w
    rows, columns = evidence.nonzero()
    near = (abs(rows + 0.5 - y) <= cells * height / h + 0.5) & (abs(columns + 0.5 - x) <= cells * width / w + 0.5)
    return bool(near.any())


def evidence_found(raw: torch.Tensor, drawn: list[tuple[str, int]], evidence: np.ndarray) -> dict[str, float]:
    """Share of the right pictures whose peak lies on the evidence, grown by a cell and as it is, each beside its control: the
    same maps judged by the evidence of another picture."""
    right = [index for kind, index in drawn if kind == "correct"]
    found = {}
    for key, cells in (("peak_on_evidence", 1.0), ("peak_in_evidence_cell", 0.25)):
        for suffix, judged_by in (("", right), ("_control", np.roll(right, -1))):
            hits = [peak_on_evidence(raw[k], evidence[index], cells) for k, index in enumerate(judged_by)]
            found[key + suffix] = float(np.mean(hits))
        share, control = found[key], found[key + "_control"]
        print(f"{key.replace('_', ' ')}: {share:.0%} of {len(right)} right pictures; by chance {control:.0%}")
    return found


def gradcam_parts(network, x, layer, y):
    """Activations and gradients (C, h, w) of one picture, as arrays, and its logits and class."""
    with gradcam.borrowed(network):
        activations, gradients, logits, y = gradcam.at_layer(network, x, layer, y)
    return activations[0].cpu().numpy(), gradients[0].cpu().numpy(), logits, y


def explain_own(args, model: models.Model, layer: str, target: str | int, folder: Path) -> None:
    """Explains a picture that is no test picture: its central square, brought to 32 x 32."""
    image = pictures.fit(pictures.read(args.image), 32)
    logits = models.logits(model.network, image[None])[0]
    shares = torch.softmax(logits.double() / model.temperature, 0)
    order = logits.argsort(descending=True)
    wanted = {"predicted": int(order[0]), "second": int(order[1])}.get(target, target)
    x = models.to_input(image[None], next(model.network.parameters()).device)
    maps = gradcam.explain(model.network, x, layer, wanted, args.method)
    level = gradcam.scale(maps.raw.cpu())[0].numpy()
    name = model.classes[wanted]
    panel = figures.Panel(image, -1, "", name, shares[wanted].item(), float("nan"), (level,), (bool(maps.dead[0]),))
    says = ", ".join(f"{model.classes[k]} {shares[k]:.0%}" for k in order[:3])
    caption = (
        f"The network says: {says}. It knows these ten classes alone.\nMap for {name!r}: {args.method}"
        + (f" at {maps.layer}" if maps.layer else "")
        + ", positive part, scaled to its own peak;\nwhite line: half of the peak."
    )
    path = folder / f"{args.image.stem}.png"
    figures.save(figures.single(panel, f"{args.image.name}: why {name}?", caption), path)
    print(f"{args.image} looks like: {says}" + ("; the map is zero after the ReLU" if maps.dead[0] else ""))
    print(f"wrote {results.shown(path)}")


if __name__ == "__main__":
    runtime.run(main)
