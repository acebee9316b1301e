"""Measures each choice of the training recipe: one change at a time, in short trainings.

    python q1_gradcam/ablate.py                 22 trainings, an hour on two cores
    python q1_gradcam/ablate.py --resume        continues an interrupted run

Trains a narrower network on 45,000 images and evaluates it on the 5,000 held-out ones; the test set
is not used. Writes OUT/ablation.json, ablation.svg, and ablation.npz (which held-out images each
training classifies correctly).
"""

from pathlib import Path
from typing import Any

from common import cli, data, results, statistics
from common.figures import save

import numpy as np

from q1_gradcam import figures, train
from q1_gradcam.recipes import recipe

HELD_OUT = 5000
EPOCHS = 8  # of the recipe's 22, with the same shares of image sizes
WIDTHS = (32, 96, 96)
SEEDS = (0, 1, 2)  # of the baseline: shows how far trainings with the same recipe differ
BASELINE = "baseline"
_NESTEROV = {"optimizer": "nesterov", "filter_momentum": 0.9, "weight_decay": 5e-4}
CHOICES: dict[str, dict[str, dict[str, Any]]] = {  # choice -> alternative -> changes to the recipe
    "optimizer of the filters": {
        "Nesterov SGD, 0.1": _NESTEROV | {"lr": 0.1},
        "Nesterov SGD, 0.4": _NESTEROV | {"lr": 0.4},
    },
    "learning rate of Muon": {"0.06": {"lr": 0.06}, "0.24": {"lr": 0.24}},
    "learning rates of biases and head": {"a tenth": {"bias_lr": 0.0053, "head_lr": 0.067}},
    "schedule": {"one warm-up epoch": {"warmup": 1.0}},
    "batch size": {"250": {"batch": 250}, "1000": {"batch": 1000}},
    "label smoothing": {"0": {"label_smoothing": 0.0}, "0.1": {"label_smoothing": 0.1}},
    "translation": {"0 px": {"translate": 0}, "2 px": {"translate": 2}},
    "mirroring": {"none": {"flip": False}},
    "whitening bias trained": {"to the end": {"whiten_bias_epochs": EPOCHS}},
    "image sizes": {
        "32 px throughout": {"sides": [32] * EPOCHS},
        "no 28 px": {"sides": [24] * (EPOCHS - 2) + [32] * 2},
    },
    "precision of the layers": {"float32": {"bfloat16_on_cpu": False}},
    "widths": {
        "16, 48, 48": {"options": {"widths": (16, 48, 48)}},
        "64, 256, 256": {"options": {"widths": (64, 256, 256)}},
    },
}


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.data_option()
    default = results.OUTPUTS / "q1_gradcam"
    text = "default: outputs/q1_gradcam"
    parser.add_argument("--out", type=Path, default=default, metavar="DIR", help=text)
    text = "keep the trainings in OUT/ablation.json"
    parser.add_argument("--resume", action="store_true", help=text)
    parser.device_option()
    args = parser.parse_args()
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    out = results.output_folder(args.out)
    dataset = data.load("cifar10", args.data)
    kept, held_out = data.held_out_split(dataset.y_train, HELD_OUT)
    plan = {
        "dataset": "cifar10",
        "data_sha256": dataset.sha256,
        "train_size": len(kept),
        "held_out": HELD_OUT,
        "recipe": recipe("compact", "cifar10", EPOCHS) | {"options": {"widths": WIDTHS}},
    }
    rows, correct = read_finished(out, plan) if args.resume else ([], [])

    alternatives = [
        (choice, value, changes, SEEDS[0])
        for choice, values in CHOICES.items()
        for value, changes in values.items()
    ]
    first, *others = ((BASELINE, BASELINE, {}, seed) for seed in SEEDS)
    for choice, value, changes, seed in (first, *alternatives, *others):
        if any((row["choice"], row["value"], row["seed"]) == (choice, value, seed) for row in rows):
            continue
        row = {"choice": choice, "value": value, "changes": changes, "seed": seed}
        recipe_now = plan["recipe"] | changes
        measured, hits = train_and_score(plan, recipe_now, dataset, kept, held_out, seed, device)
        rows.append(row := row | measured)
        correct.append(hits)
        print(f"{choice}: {value}, seed {seed}: held out {row['accuracy']:.2%}", flush=True)
        write(out, plan, rows, np.stack(correct), device, dataset)
    write(out, plan, rows, np.stack(correct), device, dataset)
    print(f"wrote {results.shown(out / 'ablation.json')}")


def train_and_score(
    plan: dict, chosen: dict, dataset, kept: np.ndarray, held_out: np.ndarray, seed: int, device
) -> tuple[dict[str, Any], np.ndarray]:
    """Trains with the recipe `chosen`: accuracy and cost, and `train.correct` of the held-out
    images."""
    changed = plan | {"arch": "compact", "recipe": chosen}
    model, run = train.train_one(dataset, kept, held_out, changed, seed, device)
    labels = dataset.y_train[held_out]
    hits = train.correct(model.network, dataset.x_train[held_out], labels)
    row = dict(zip(("accuracy", "accuracy_mirror"), hits.mean(1), strict=True))
    row |= {"temperature": model.temperature, "parameters": run["parameters"]}
    return row | {"train_flops": run["train_flops"], "seconds": run["row"]["seconds"]}, hits


def write(out: Path, plan, rows: list[dict], correct: np.ndarray, device, dataset) -> None:
    """Writes the trainings so far, their comparison with the baseline, and the figure."""
    alternatives = compare(rows, correct)
    content = plan | {"trainings": rows, "alternatives": alternatives}
    origin = {"data_source": dataset.source, "data_sha256": dataset.sha256}
    provenance = results.provenance(0, device, **origin)
    results.write_npz(out / "ablation.npz", right=correct)
    results.write_json(out / "ablation.json", content | {"provenance": provenance})
    save(figures.ablation(rows, alternatives), out / "ablation.svg")


def compare(rows: list[dict[str, Any]], correct: np.ndarray) -> list[dict[str, Any]]:
    """The baseline's mean and range over seeds, then each alternative compared with the baseline.

    Args:
        rows: T trainings.
        correct: (T, 2, N) bool, as from `train.correct`.

    An alternative is compared with the baseline of the same seed, image by image, so its interval
    covers the choice of held-out images. The baseline's range shows the effect of the seed.
    """
    baseline = {row["seed"]: k for k, row in enumerate(rows) if row["choice"] == BASELINE}
    scores = np.array([rows[k]["accuracy"] for k in baseline.values()])
    first = {"choice": BASELINE, "value": BASELINE, "accuracy": scores.mean()}
    first |= {"lowest": scores.min(), "highest": scores.max(), "seeds": len(scores)}
    compared = [first]
    for k, row in enumerate(rows):
        if row["choice"] != BASELINE:
            b = baseline[row["seed"]]
            against = statistics.compare_paired(correct[k][0], correct[b][0], larger_is_better=True)
            ratio = row["train_flops"] / rows[b]["train_flops"]
            alternative = {key: row[key] for key in ("choice", "value", "accuracy")}
            alternative |= {"train_flops_ratio": ratio, "against_baseline": against}
            compared.append(alternative)
    return compared


def read_finished(out: Path, plan: dict[str, Any]) -> tuple[list[dict], list[np.ndarray]]:
    """The trainings in OUT and their correct images; UserError if made with another plan."""
    path = out / "ablation.json"
    if not path.is_file():
        return [], []
    with results.reading(path):
        content = results.read_json(path)
        rows = content["trainings"]
        correct = results.read_npz(out / "ablation.npz")["right"]
    if {key: content.get(key) for key in plan} != results.plain(plan):
        advice = "start without --resume, or with another --out"
        raise cli.UserError(f"{path} was made with other settings or data: {advice}")
    return rows, list(correct[: len(rows)])  # the arrays are written first


if __name__ == "__main__":
    cli.run(main)
