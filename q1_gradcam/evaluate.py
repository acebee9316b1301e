"""Evaluates a trained classifier on the test set: accuracy, confusions, calibration.

    python q1_gradcam/evaluate.py                                           the committed network
    python q1_gradcam/evaluate.py --model outputs/demo/q1_gradcam/model.pt

Takes half a minute on two cores. Writes OUT/evaluation.json, confusion.svg, per_class.svg and
reliability.svg, and training_curve.svg if training.json is next to the checkpoint.
"""

from pathlib import Path

from common import cli, data, models, results, statistics
from common.figures import confusion, save

import numpy as np
import torch
from sklearn.metrics import confusion_matrix

from q1_gradcam import figures
from q1_gradcam.calibration import expected_calibration_error, reliability

VEHICLES = ("airplane", "automobile", "ship", "truck")  # the other classes of CIFAR-10 are animals
# Test images that were decoded from JPEG in one copy of CIFAR-10 (the start of its hash).
JPEG_COPY = "9202aa8393eedc94"
JPEG_DECODED = """
1259 1369 1422 1556 2245 2737 2935 3630 3695 3718 4085 4496 5791 5896 6286
7580 7707 7724 7832 8117 8541 8551 9254
"""
UNCERTAIN = (0.45, 0.95)  # mean confidence of the bins that are summarized separately


def main() -> None:
    parser = cli.Parser(__doc__)
    default = results.OUTPUTS / "q1_gradcam/model.pt"
    parser.add_argument("--model", type=Path, default=default, metavar="FILE")
    parser.data_option()
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: the checkpoint's folder")
    parser.device_option()
    args = parser.parse_args()
    device = cli.pick_device(args.device)
    model = models.load(args.model, device)
    out = results.output_folder(args.out or args.model.parent)
    dataset = data.load(model.dataset, args.data, len(model.classes))
    content = evaluate(model, dataset)

    drawn = {
        "confusion": confusion(content["confusion_matrix"], model.classes, (3.5, 3.3)),
        "per_class": figures.per_class(content),
        "reliability": figures.reliability(content),
    }
    training = args.model.with_name("training.json")
    if training.is_file():
        with results.reading(training):
            drawn["training_curve"] = figures.training_curve(results.read_json(training)["history"])
    for name, figure in drawn.items():
        save(figure, out / f"{name}.svg")
    hashes = {"data_sha256": dataset.sha256, "checkpoint_sha256": results.sha256(args.model)}
    provenance = results.provenance(model.training.get("seed", 0), device, **hashes)
    results.write_json(out / "evaluation.json", content | {"provenance": provenance})

    accuracy, mirror, n = (content[key] for key in ("accuracy", "accuracy_mirror", "n"))
    print(f"accuracy {accuracy:.2%} (mirror-averaged {mirror:.2%}) on {n} images")
    error = content["expected_calibration_error"]
    before = content["expected_calibration_error_as_trained"]
    print(f"expected calibration error {error:.1%} (before the temperature {before:.1%})")
    pair = content["mistakes"]["most_confused_pair"]
    print(f"most confused: {' and '.join(pair['classes'])}, {pair['count']} times")
    print(f"wrote {results.shown(out / 'evaluation.json')} and {len(drawn)} figures beside it")


def evaluate(model: models.Model, dataset: data.Dataset) -> dict:
    """The content of evaluation.json."""
    names, labels = model.classes, dataset.y_test.astype(int)
    single = models.logits(model.network, dataset.x_test)
    both = single + models.logits(model.network, dataset.x_test, mirror=True)
    correct = single.argmax(1).numpy() == labels
    as_trained, calibrated = (
        torch.softmax(single.double() / t, 1).amax(1).numpy() for t in (1.0, model.temperature)
    )
    diagram, diagram_as_trained = (reliability(c, correct) for c in (calibrated, as_trained))
    # Rows: true classes, columns: predicted.
    matrix = confusion_matrix(labels, single.argmax(1).numpy(), labels=range(len(names)))
    hits, totals = matrix.diagonal(), matrix.sum(1)
    per_class = dict(zip(names, hits / totals, strict=True))
    intervals = [statistics.wilson_interval(k, n) for k, n in zip(hits, totals, strict=True)]
    content = {
        "arch": model.arch,
        "dataset": dataset.name,
        "n": len(labels),
        "accuracy": correct.mean(),
        "accuracy_interval": statistics.wilson_interval(correct.sum(), len(correct)),
        "accuracy_mirror": (both.argmax(1).numpy() == labels).mean(),
        "per_class_accuracy": per_class,
        "per_class_interval": dict(zip(names, intervals, strict=True)),
        "classes_by_accuracy": sorted(names, key=per_class.get),
        "confusion_matrix": matrix,
        "mistakes": mistakes(matrix, names),
        "temperature": model.temperature,
        "expected_calibration_error": expected_calibration_error(diagram),
        "expected_calibration_error_as_trained": expected_calibration_error(diagram_as_trained),
        "reliability": diagram,
        "reliability_as_trained": diagram_as_trained,
        "uncertain": uncertain(diagram),
    }
    if dataset.sha256.startswith(JPEG_COPY):
        damaged = np.isin(np.arange(len(labels)), [int(k) for k in JPEG_DECODED.split()])
        content["jpeg_decoded"] = {
            "n": damaged.sum(),
            "accuracy": correct[damaged].mean(),
            "accuracy_without": correct[~damaged].mean(),
        }
    return content


def mistakes(matrix: np.ndarray, names: tuple[str, ...]) -> dict:
    """The number of mistakes, and the pair of classes that is confused most often, either way.

    For CIFAR-10 also: the share of mistakes within the animals or within the vehicles, the same if
    all wrong classes were equally likely, and the most frequent mistake across, with its share of
    the true class.
    """
    n = matrix.sum() - np.trace(matrix)
    mutual = np.triu(matrix + matrix.T, 1)
    a, b = np.unravel_index(mutual.argmax(), mutual.shape)
    share = mutual[a, b] / max(n, 1)
    pair = {"classes": [names[a], names[b]], "count": mutual[a, b], "share": share}
    content = {"n": n, "most_confused_pair": pair}
    if names == data.CIFAR10_CLASSES:
        vehicle = np.isin(names, VEHICLES)
        across = vehicle[:, None] != vehicle
        pairs = len(names) * (len(names) - 1)
        content["within_kind"] = 1 - matrix[across].sum() / max(n, 1)
        content["within_kind_by_chance"] = 1 - across.sum() / pairs
        counts = matrix * across
        true, predicted = np.unravel_index(counts.argmax(), counts.shape)
        count = counts[true, predicted]
        most = {"true": names[true], "predicted": names[predicted], "count": count}
        content["most_across"] = most | {"share": count / matrix[true].sum()}
    return content


def uncertain(diagram: dict[str, list]) -> dict:
    """Mean confidence and accuracy over the bins whose mean confidence lies within UNCERTAIN."""
    low, high = UNCERTAIN
    rows = np.array([diagram[key] for key in ("confidence", "accuracy", "count")], float)
    confidence, accuracy, count = rows[:, (rows[0] > low) & (rows[0] < high)]
    content = {"low": low, "high": high, "n": int(count.sum())}
    for key, values in (("confidence", confidence), ("accuracy", accuracy)):
        content[key] = values @ count / content["n"] if content["n"] else None
    return content


if __name__ == "__main__":
    cli.run(main)
