"""Accuracy against the cost of training.

    python q1_gradcam/ladder.py                 18 trainings, four hours on two cores
    python q1_gradcam/ladder.py --resume        continues an interrupted run
    python q1_gradcam/ladder.py --seeds 0       one training for each recipe

Each recipe is that of the row before it with the changes that LADDER lists. Trains the compact
network on 45,000 images and evaluates it on the 5,000 held-out ones; the test set is not used.
Writes OUT/ladder.json and ladder.svg after each training. The provenance is that of the last run;
trainings that it resumed from can be older.
"""

from typing import Any

from common import cli, results
from common.figures import save

import numpy as np

from q1_gradcam import figures
from q1_gradcam.ablate import Setup, start
from q1_gradcam.recipes import recipe

LADDER: dict[str, dict[str, Any]] = {  # name -> changes to the recipe of the row before
    "22 epochs, 256 channels": {"sides": [24] * 10 + [28] * 4 + [32] * 8},
    "10 epochs, 256 channels": {"sides": [24] * 5 + [28] * 2 + [32] * 3},
    "18 epochs, 192 channels": {
        "sides": [20] * 6 + [24] * 6 + [28] * 3 + [32] * 3,
        "options": {"widths": (64, 192, 192)},
        "label_smoothing": 0.1,
    },
    "18 epochs, 192 channels, translation by 2 px": {"translate": 2},
    "10 epochs, 192 channels": {"sides": [20] * 3 + [24] * 4 + [28] * 1 + [32] * 2},
    "6 epochs, 192 channels": {"sides": [20] * 2 + [24] * 2 + [32] * 2},
}


def recipes() -> dict[str, dict[str, Any]]:
    """The recipe of each row, with the types that its results file has."""
    chosen, rows = recipe("compact", "cifar10"), {}
    for name, changes in LADDER.items():
        chosen = chosen | changes
        rows[name] = results.plain(chosen | {"epochs": len(chosen["sides"])})
    return rows


def main() -> None:
    parser = cli.Parser(__doc__)
    text = "one training of each recipe for each seed (default: 0 1 2)"
    add = parser.add_argument
    add("--seeds", type=cli.seed, nargs="+", default=[0, 1, 2], metavar="N", help=text)
    text = "train only these recipes: " + "; ".join(LADDER)
    add("--only", nargs="+", choices=LADDER, default=list(LADDER), metavar="NAME", help=text)
    setup = start(parser)
    trainings = setup.read_finished("ladder.json", setup.plan)
    for seed in setup.args.seeds:
        for name, chosen in reversed(recipes().items()):  # the cheapest first
            done = any((t["recipe"], t["seed"]) == (chosen, seed) for t in trainings)
            if done or name not in setup.args.only:
                continue
            print(f"{name}, seed {seed}", flush=True)
            row, _ = setup.train(chosen, seed)
            trainings.append({"recipe": chosen, "seed": seed} | row)
            write(setup, trainings)
    write(setup, trainings)  # with the command of this run, even if it trained nothing
    print(f"the results are in {results.shown(setup.args.out / 'ladder.json')}")


def write(setup: Setup, trainings: list[dict[str, Any]]) -> None:
    content = setup.plan | {"rows": summary(trainings), "trainings": trainings}
    save(figures.ladder(content["rows"]), setup.args.out / "ladder.svg")
    setup.write("ladder.json", content)


def summary(trainings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each recipe that was trained: cost, accuracies over its seeds, and their gain over
    the row before on the seeds that both have."""
    rows, before = [], {}
    for name, chosen in recipes().items():
        runs = {t["seed"]: t for t in trainings if t["recipe"] == chosen}
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
        row["seconds"] = np.mean([run["seconds"] for run in runs.values()])
        rows.append(row)
        before = runs
    return rows


if __name__ == "__main__":
    cli.run(main)
