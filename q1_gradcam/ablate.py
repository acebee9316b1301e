"""Measures each choice of the training recipe: one change at a time, in short trainings.

    python q1_gradcam/ablate.py                 all choices: 22 trainings, an hour on two cores
    python q1_gradcam/ablate.py --resume        continues an interrupted run
    python q1_gradcam/ablate.py --only "batch size"

Trains a narrower network on 45,000 images and evaluates it on the 5,000 held out from them; the
test set is not used. Writes OUT/ablation.json, ablation.svg, and ablation.npz (which held-out
images each training classifies correctly). OUT is outputs/q1_gradcam, or other/ablation in it if
options are not the default ones.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import cli, data, models, results, statistics
from common.figures import save
from q1_gradcam import figures, train
from q1_gradcam.recipes import recipe

HELD_OUT = 5000
EPOCHS = 8  # of the recipe's 22, with the same shares of image sizes
WIDTHS = (32, 96, 96)
SEEDS = (0, 1, 2)  # of the baseline: shows how far trainings with the same recipe differ
BASELINE = "baseline"


def choices(epochs: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Choice -> alternative -> its changes to the recipe."""
    nesterov = {"optimizer": "nesterov", "filter_momentum": 0.9, "weight_decay": 5e-4}
    no_28 = [24] * (epochs - 2) + [32] * 2
    return {
        "optimizer of the filters": {
            "Nesterov SGD, 0.1": nesterov | {"lr": 0.1},
            "Nesterov SGD, 0.4": nesterov | {"lr": 0.4},
        },
        "learning rate of Muon": {"0.06": {"lr": 0.06}, "0.24": {"lr": 0.24}},
        "learning rates of biases and head": {"a tenth": {"bias_lr": 0.0053, "head_lr": 0.067}},
        "schedule": {"one warm-up epoch": {"warmup": 1.0}},
        "batch size": {"250": {"batch": 250}, "1000": {"batch": 1000}},
        "label smoothing": {"0": {"label_smoothing": 0.0}, "0.1": {"label_smoothing": 0.1}},
        "translation": {"0 px": {"translate": 0}, "2 px": {"translate": 2}},
        "mirroring": {"none": {"flip": False}},
        "whitening bias trained": {"to the end": {"whiten_bias_epochs": epochs}},
        "image sizes": {"32 px throughout": {"sides": [32] * epochs}, "no 28 px": {"sides": no_28}},
        "precision of the layers": {"float32": {"bfloat16_on_cpu": False}},
        "widths": {
            "16, 48, 48": {"options": {"widths": (16, 48, 48)}},
            "64, 256, 256": {"options": {"widths": (64, 256, 256)}},
        },
    }


def arguments():
    parser = cli.Parser(__doc__)
    add, names = parser.add_argument, tuple(choices(EPOCHS))
    parser.data_option()
    only = f"some of: {', '.join(names)}"
    add("--only", nargs="+", choices=names, default=names, metavar="CHOICE", help=only)
    epochs = f"of each training (default: {EPOCHS})"
    add("--epochs", type=cli.positive, default=EPOCHS, metavar="N", help=epochs)
    add("--train-size", type=cli.positive, metavar="N", help="use only the first N images")
    add("--out", type=Path, metavar="DIR", help="see above")
    add("--resume", action="store_true", help="keep the trainings in OUT/ablation.json")
    parser.device_option()
    args = parser.parse_args()
    if args.epochs < 3:
        parser.error("--epochs: at least 3, since the last two use images of full size")
    unusual = set(args.only) != set(names) or args.epochs != EPOCHS or args.train_size
    folder = results.OUTPUTS / "q1_gradcam"
    args.out = args.out or (folder / "other/ablation" if unusual else folder)
    return args


def main() -> None:
    args = arguments()
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    out = results.output_folder(args.out)
    dataset = data.load("cifar10", args.data)
    kept, held_out = data.held_out_split(dataset.y_train, HELD_OUT)
    kept = kept[: args.train_size]
    plan = {
        "dataset": "cifar10",
        "data_sha256": dataset.sha256,
        "train_size": len(kept),
        "held_out": HELD_OUT,
        "recipe": recipe("compact", "cifar10", args.epochs) | {"options": {"widths": WIDTHS}},
    }
    rows, correct = read_finished(out, plan) if args.resume else ([], [])

    for choice, value, changes, seed in trainings(args.only, args.epochs):
        if any((row["choice"], row["value"], row["seed"]) == (choice, value, seed) for row in rows):
            continue
        row, hits = train_once(dataset, kept, held_out, plan, changes, seed, device)
        rows.append({"choice": choice, "value": value, "changes": changes, "seed": seed} | row)
        correct.append(hits)
        print(f"{choice}: {value}, seed {seed}: held out {row['accuracy']:.2%}", flush=True)
        write(out, plan, rows, np.stack(correct), device, dataset)
    write(out, plan, rows, np.stack(correct), device, dataset)
    print(f"wrote {results.shown(out / 'ablation.json')}")


def write(out: Path, plan, rows: list[dict], correct: np.ndarray, device, dataset) -> None:
    """Writes the trainings so far, their comparison with the baseline, and the figure."""
    alternatives = compare(rows, correct)
    content = plan | {"trainings": rows, "alternatives": alternatives}
    origin = {"data_source": dataset.source, "data_sha256": dataset.sha256}
    provenance = results.provenance(0, device, **origin)
    results.write_npz(out / "ablation.npz", right=correct)
    results.write_json(out / "ablation.json", content | {"provenance": provenance})
    save(figures.ablation(rows, alternatives), out / "ablation.svg")


def trainings(names, epochs: int) -> Iterator[tuple[str, str, dict[str, Any], int]]:
    """Choice, value, changes and seed of every training, in order."""
    yield BASELINE, BASELINE, {}, SEEDS[0]
    for name in names:
        for value, changes in choices(epochs)[name].items():
            yield name, value, changes, SEEDS[0]
    for seed in SEEDS[1:]:
        yield BASELINE, BASELINE, {}, seed


def train_once(
    dataset, kept, held_out, plan, changes, seed, device
) -> tuple[dict[str, Any], np.ndarray]:
    """One training: its row, and which held-out images are correct, single and mirrored (2, N)."""
    plan = plan | {"arch": "compact", "recipe": plan["recipe"] | changes}
    state = {"current": None}
    model, run = train.train_one(dataset, kept, held_out, plan, seed, device, state, None)
    images, labels = dataset.x_train[held_out], torch.from_numpy(dataset.y_train[held_out])
    single = models.logits(model.network, images)
    both = single + models.logits(model.network, images, mirror=True)
    hits = np.stack([(logits.argmax(1) == labels).numpy() for logits in (single, both)])
    row = {"accuracy": hits[0].mean(), "accuracy_mirror": hits[1].mean()}
    row |= {"temperature": model.temperature}
    return row | {key: run[key] for key in ("parameters", "train_flops")}, hits


def compare(rows: list[dict[str, Any]], correct: np.ndarray) -> list[dict[str, Any]]:
    """The baseline's mean and range over seeds, then each alternative against it.

    Args:
        rows: T trainings; correct: (T, 2, N) bool, as from `train_once`.

    An alternative is compared with the baseline of the same seed, image by image, so the interval
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
    content, arrays = results.read_json(path), results.read_npz(out / "ablation.npz")
    with results.reading(path):
        rows, correct = content["trainings"], arrays["right"]
        compare(rows, correct)
    if {key: content.get(key) for key in plan} != results.plain(plan) or len(correct) < len(rows):
        advice = "start without --resume, or with another --out"
        raise cli.UserError(f"{path} was made with other settings or data: {advice}")
    return rows, list(correct[: len(rows)])


if __name__ == "__main__":
    cli.run(main)
