"""Accuracy against the cost of training: what an hour buys.

    python q1_gradcam/ladder.py                 24 trainings, six hours on two cores
    python q1_gradcam/ladder.py --resume        continues an interrupted run
    python q1_gradcam/ladder.py --seeds 0       one training for each recipe

Each recipe changes one thing in the recipe before it. Trains the compact network on 45,000 images
and evaluates it on the 5,000 held-out ones; the test set is not used. Writes OUT/ladder.json and
ladder.svg after each training.
"""

from pathlib import Path
from typing import Any

from common import cli, data, results
from common.figures import save

import numpy as np

from q1_gradcam import figures
from q1_gradcam.ablate import HELD_OUT, train_and_score
from q1_gradcam.recipes import recipe

LADDER: dict[str, dict[str, Any]] = {  # name -> changes to the recipe of the row before
    "22 epochs, smoothing 0.2": {
        "sides": [24] * 10 + [28] * 4 + [32] * 8,
        "label_smoothing": 0.2,
    },
    "smoothing 0.1": {"label_smoothing": 0.1},
    "14 epochs": {"sides": [24] * 7 + [28] * 3 + [32] * 4},
    "10 epochs": {"sides": [24] * 5 + [28] * 2 + [32] * 3},
    "first epochs at 20 px": {"sides": [20] * 4 + [24] * 4 + [28] * 2 + [32] * 2},
    "9 epochs": {"sides": [20] * 3 + [24] * 3 + [28] * 1 + [32] * 2},
    "6 epochs": {"sides": [20] * 2 + [24] * 2 + [28] * 1 + [32] * 1},
    "4 epochs": {"sides": [20] * 1 + [24] * 2 + [32] * 1},
}


def recipes() -> dict[str, dict[str, Any]]:
    """The recipe of each row."""
    chosen, rows = recipe("compact", "cifar10"), {}
    for name, changes in LADDER.items():
        chosen = chosen | changes
        rows[name] = chosen | {"epochs": len(chosen["sides"])}
    return rows


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.data_option()
    default = results.OUTPUTS / "q1_gradcam"
    text = "default: outputs/q1_gradcam"
    parser.add_argument("--out", type=Path, default=default, metavar="DIR", help=text)
    text = "one training of each recipe for each seed (default: 0 1 2)"
    parser.add_argument(
        "--seeds", type=cli.seed, nargs="+", default=[0, 1, 2], metavar="N", help=text
    )
    text = "keep the trainings in OUT/ladder.json"
    parser.add_argument("--resume", action="store_true", help=text)
    parser.device_option()
    args = parser.parse_args()
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    out = results.output_folder(args.out)
    dataset = data.load("cifar10", args.data)
    kept, held_out = data.held_out_split(dataset.y_train, HELD_OUT)
    plan = {"dataset": "cifar10", "train_size": len(kept), "held_out": HELD_OUT}
    path = out / "ladder.json"
    trainings = []
    if args.resume and path.is_file():
        with results.reading(path):
            trainings = results.read_json(path)["trainings"]
    for seed in args.seeds:
        for name, chosen in recipes().items():
            chosen = results.plain(chosen)
            if any((t["recipe"], t["seed"]) == (chosen, seed) for t in trainings):
                continue
            print(f"{name}, seed {seed}")
            row, _ = train_and_score(plan, chosen, dataset, kept, held_out, seed, device)
            trainings.append({"recipe": chosen, "seed": seed} | row)
            origin = {"data_source": dataset.source, "data_sha256": dataset.sha256}
            provenance = results.provenance(seed, device, **origin)
            rows = summary(trainings)
            content = plan | {"rows": rows, "trainings": trainings, "provenance": provenance}
            results.write_json(path, content)
            save(figures.ladder(rows), out / "ladder.svg")
    print(f"wrote {results.shown(path)}")


def summary(trainings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each recipe that was trained: cost, accuracies over its seeds, and their gain over
    the row before on the seeds that both have."""
    rows, before = [], {}
    for name, chosen in recipes().items():
        runs = {t["seed"]: t for t in trainings if t["recipe"] == results.plain(chosen)}
        if not runs:
            continue
        row = {"name": name, "seeds": sorted(runs), "epochs": len(chosen["sides"])}
        for key in ("accuracy", "accuracy_mirror"):
            scores = [run[key] for run in runs.values()]
            row[key] = {"mean": np.mean(scores), "lowest": min(scores), "highest": max(scores)}
            common = runs.keys() & before.keys()
            gains = [runs[seed][key] - before[seed][key] for seed in common]
            row[key]["gain"] = np.mean(gains) if gains else None
        row["train_flops"] = next(iter(runs.values()))["train_flops"]
        rows.append(row)
        before = runs
    return rows


if __name__ == "__main__":
    cli.run(main)
