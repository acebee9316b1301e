"""Measures each choice of the training recipe: one change at a time, in short trainings.

    python q1_gradcam/ablate.py                 22 trainings, an hour on two cores
    python q1_gradcam/ablate.py --resume        continues an interrupted run

Trains a narrower network on 45,000 images and evaluates it on the 5,000 held-out ones; the test set
is not used. Writes OUT/ablation.json, and ablation.npz (which held-out images each training
classifies correctly).
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import cli, data, results, statistics

import numpy as np
import torch

from q1_gradcam import train
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


@dataclass(frozen=True)
class Setup:
    """What every training works with. Also used by ladder.py."""

    args: argparse.Namespace
    device: torch.device
    dataset: data.Dataset
    kept: np.ndarray  # indices of the images to train on
    held_out: np.ndarray  # indices of the images to evaluate on
    plan: dict[str, Any]  # must be the same when a run is resumed

    def train(self, chosen: dict, seed: int) -> tuple[dict[str, Any], np.ndarray]:
        """Trains with the recipe `chosen`. Returns its accuracy and cost, and `train.correct` of
        the held-out images."""
        plan, held_out = self.plan | {"arch": "compact", "recipe": chosen}, self.held_out
        model, run = train.train_one(self.dataset, self.kept, held_out, plan, seed, self.device)
        images, labels = self.dataset.x_train[held_out], self.dataset.y_train[held_out]
        hits = train.correct(model.network, images, labels)
        accuracy, mirror = hits.mean(1)
        row = {"accuracy": accuracy, "accuracy_mirror": mirror, "temperature": model.temperature}
        row |= {"parameters": run["parameters"], "train_flops": run["train_flops"]}
        return row | {"seconds": run["row"]["seconds"]}, hits

    def write(self, name: str, content: dict[str, Any]) -> None:
        origin = {"data_source": self.dataset.source, "data_sha256": self.dataset.sha256}
        provenance = results.provenance(0, self.device, **origin)
        results.write_json(self.args.out / name, content | {"provenance": provenance})

    def read_finished(self, name: str, plan: dict[str, Any]) -> list[dict[str, Any]]:
        """The trainings in OUT with --resume; UserError if made with another plan."""
        path = self.args.out / name
        if not self.args.resume or not path.is_file():
            return []
        with results.reading(path):
            content = results.read_json(path)
            rows = content["trainings"]
        if {key: content.get(key) for key in plan} != results.plain(plan):
            advice = "start without --resume, or with another --out"
            raise cli.UserError(f"{path} was made with other settings or data: {advice}")
        return rows


def start(parser: cli.Parser) -> Setup:
    """Adds the options of ablate.py and ladder.py, parses them and splits the training images."""
    parser.data_option()
    default, text = results.OUTPUTS / "q1_gradcam", "default: outputs/q1_gradcam"
    parser.add_argument("--out", type=Path, default=default, metavar="DIR", help=text)
    parser.add_argument("--resume", action="store_true", help="keep the finished trainings in OUT")
    parser.device_option()
    args = parser.parse_args()
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    results.output_folder(args.out)
    dataset = data.load("cifar10", args.data)
    kept, held_out = data.held_out_split(dataset.y_train, HELD_OUT)
    plan = {"dataset": "cifar10", "data_sha256": dataset.sha256}
    plan |= {"train_size": len(kept), "held_out": len(held_out)}
    return Setup(args, device, dataset, kept, held_out, plan)


def main() -> None:
    setup = start(cli.Parser(__doc__))
    base = recipe("compact", "cifar10", EPOCHS) | {"options": {"widths": WIDTHS}}
    plan = setup.plan | {"recipe": base}
    rows, correct = setup.read_finished("ablation.json", plan), []
    if rows:  # the arrays are written first
        correct = list(results.read_npz(setup.args.out / "ablation.npz")["right"][: len(rows)])

    alternatives = [
        (choice, value, changes, SEEDS[0])
        for choice, values in CHOICES.items()
        for value, changes in values.items()
    ]
    first, *others = ((BASELINE, BASELINE, {}, seed) for seed in SEEDS)
    for choice, value, changes, seed in (first, *alternatives, *others):
        if any((row["choice"], row["value"], row["seed"]) == (choice, value, seed) for row in rows):
            continue
        measured, hits = setup.train(base | changes, seed)
        row = {"choice": choice, "value": value, "changes": changes, "seed": seed} | measured
        rows.append(row)
        correct.append(hits)
        print(f"{choice}: {value}, seed {seed}: held out {row['accuracy']:.2%}", flush=True)
        compared = compare(rows, np.stack(correct))
        results.write_npz(setup.args.out / "ablation.npz", right=np.stack(correct))
        setup.write("ablation.json", plan | {"trainings": rows, "alternatives": compared})
    print(f"the results are in {results.shown(setup.args.out / 'ablation.json')}")


def compare(rows: list[dict[str, Any]], correct: np.ndarray) -> list[dict[str, Any]]:
    """The baseline's mean and range over seeds, then each alternative compared with the baseline.

    `correct` (T, 2, N) holds `train.correct` of the T trainings in `rows`. An alternative is
    compared with the baseline of the same seed, image by image, so its interval covers the choice
    of held-out images; the baseline's range shows the effect of the seed. The false discovery rate
    is controlled.
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
            alternative = {key: row[key] for key in ("choice", "value", "accuracy")}
            compared.append(alternative | {"against_baseline": against})
    statistics.control_false_discoveries(compared)
    return compared


if __name__ == "__main__":
    cli.run(main)
