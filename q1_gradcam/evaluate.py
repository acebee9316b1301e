"""Measures a trained classifier on the test set: accuracy, confusions, and how far its confidences can be believed.

    python q1_gradcam/evaluate.py                                          the committed CIFAR-10 network
    python q1_gradcam/evaluate.py --model outputs/demo/q1_gradcam/model.pt

Writes OUT/evaluation.json, the figures confusion.png, per_class.png and reliability.png and, for report/verify.py, OUT/receipts.json.
"""

from pathlib import Path

import numpy as np
import torch

from common import cli, data, models, results, statistics
from common.figures import save as save_figure
from q1_gradcam import calibration, figures


def arguments():
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--model", type=Path, default=results.OUTPUTS / "q1_gradcam/model.pt", metavar="FILE"
    )
    parser.data_option()
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: the checkpoint's folder")
    parser.device_option()
    return parser.parse_args()


def main() -> None:
    args = arguments()
    device = cli.pick_device(args.device)
    model = models.load(args.model, device)
    out = results.output_folder(args.out or args.model.parent)
    dataset = data.load(model.dataset, args.data)
    content = measure(model, dataset)

    matrix, endings = content["confusion_matrix"], {"as_trained": "_as_trained", "calibrated": ""}
    diagrams = {kind: content[f"reliability{end}"] for kind, end in endings.items()}
    errors = {kind: content[f"expected_calibration_error{end}"] for kind, end in endings.items()}
    [
        save_figure(figures.confusion(matrix, model.classes), out / "confusion.png"),
        save_figure(figures.per_class(matrix, model.classes), out / "per_class.png"),
        save_figure(
            figures.reliability(diagrams, errors, model.temperature), out / "reliability.png"
        ),
    ]
    hashes = {"data_sha256": dataset.sha256, "checkpoint_sha256": results.sha256(args.model)}
    origin = results.provenance(model.training.get("seed", 0), device, **hashes)
    results.write_json(out / "evaluation.json", content | {"provenance": origin})
    pairs = ", ".join(
        f"{p['true']} taken for {p['predicted']} ({p['count']})"
        for p in content["most_confused"][:3]
    )
    print(
        f"accuracy {content['accuracy']:.2%} (mirror-averaged {content['accuracy_mirror']:.2%}) on {content['n']} pictures"
    )
    print(
        f"calibration error {errors['calibrated']:.1%} (as trained {errors['as_trained']:.1%}); most confused: {pairs}"
    )
    print(f"wrote {results.shown(out / 'evaluation.json')} and three figures beside it")


def measure(model: models.Model, dataset: data.Dataset) -> dict:
    """What evaluation.json says of a classifier on the test set."""
    names, labels = model.classes, dataset.y_test.astype(int)
    single = models.logits(model.network, dataset.x_test)
    both = single + models.logits(model.network, dataset.x_test, mirror=True)
    predicted = single.argmax(1).numpy()
    correct = predicted == labels

    confusion = np.zeros(
        (len(names), len(names)), int
    )  # rows are true classes, columns predicted ones
    np.add.at(confusion, (labels, predicted), 1)
    confidences = {}
    for kind, temperature in (("as_trained", 1.0), ("calibrated", model.temperature)):
        confidences[kind] = torch.softmax(single.double() / temperature, 1).amax(1).numpy()
    errors = {
        kind: calibration.expected_calibration_error(c, correct) for kind, c in confidences.items()
    }
    diagrams = {kind: calibration.reliability(c, correct) for kind, c in confidences.items()}
    return {
        "arch": model.arch,
        "dataset": dataset.name,
        "n": len(labels),
        "accuracy": correct.mean(),
        "accuracy_interval": statistics.wilson_interval(correct.sum(), len(correct)),
        "accuracy_mirror": (both.argmax(1).numpy() == labels).mean(),
        "per_class_accuracy": {
            name: confusion[k, k] / confusion[k].sum() for k, name in enumerate(names)
        },
        "confusion_matrix": confusion,
        "most_confused": most_confused(confusion, names),
        "temperature": model.temperature,
        "expected_calibration_error": errors["calibrated"],
        "expected_calibration_error_as_trained": errors["as_trained"],
        "mean_confidence": confidences["calibrated"].mean(),
        "reliability": diagrams["calibrated"],
        "reliability_as_trained": diagrams["as_trained"],
    }


def most_confused(confusion: np.ndarray, names: tuple[str, ...], most: int = 10) -> list[dict]:
    """The largest cells off the diagonal, with the share of the true class that they are."""
    off = confusion * (1 - np.eye(len(names), dtype=int))
    cells = [
        np.unravel_index(i, off.shape) for i in np.argsort(-off, axis=None, kind="stable")[:most]
    ]
    rows = [(int(t), int(p), int(off[t, p])) for t, p in cells if off[t, p]]
    return [
        {"true": names[t], "predicted": names[p], "count": n, "share": n / int(confusion[t].sum())}
        for t, p, n in rows
    ]


if __name__ == "__main__":
    cli.run(main)
