"""What each choice of the training recipe is worth: one changed at a time, in short trainings of a narrower network.

    python q1_gradcam/ablate.py                       one training a choice, three of the usual recipe; some 45 minutes on two fast cores
    python q1_gradcam/ablate.py --resume              go on after Ctrl-C or a power cut
    python q1_gradcam/ablate.py --only batch          some of the choices

Trains on 45,000 pictures, scores on the 5,000 held out from them; the test set has no part in it. Writes OUT/ablation.json, and in OUT/ablation.npz
which held-out pictures each training got right. OUT is outputs/q1_gradcam/tried; of some choices, or shorter trainings, outputs/q1_gradcam/other/tried.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import cli, data, models, results, statistics
from common.results import reading
from q1_gradcam import train
from q1_gradcam.recipes import recipe

HELD_OUT = 5000
EPOCHS = 8  # of the 22, in the same proportions of picture sizes
WIDTHS = (32, 96, 96)
USUAL_SEEDS = (0, 1, 2)  # of the usual recipe: how far apart two trainings of the same recipe are
USUAL = "usual"
# What a training depends on: trainings that another version of these made are not gone on with.
TRAINED_BY = (
    "common/data.py",
    "common/models.py",
    *(f"q1_gradcam/{name}.py" for name in ("batches", "optimisers", "recipes", "train")),
)


def choices(epochs: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Choice -> alternatives as they are called -> what they change in the recipe."""
    nesterov = {"optimiser": "nesterov", "filter_momentum": 0.9, "weight_decay": 5e-4}
    return {
        "optimiser of filters": {
            "Nesterov SGD, rate 0.1": nesterov | {"lr": 0.1},
            "Nesterov SGD, rate 0.4": nesterov | {"lr": 0.4},
        },
        "rate of Muon": {"0.06": {"lr": 0.06}, "0.24": {"lr": 0.24}},
        "rates of biases, head": {"a tenth": {"bias_lr": 0.0053, "head_lr": 0.067}},
        "schedule": {"one epoch of warm-up": {"warmup": 1.0}},
        "batch": {"250": {"batch": 250}, "1000": {"batch": 1000}},
        "label smoothing": {"0": {"label_smoothing": 0.0}, "0.1": {"label_smoothing": 0.1}},
        "translation": {"0 px": {"translate": 0}, "2 px": {"translate": 2}},
        "mirroring": {"none": {"flip": False}},
        "whitening bias trained": {"to the end": {"whiten_bias_epochs": epochs}},
        "picture sizes": {
            "32 px throughout": {"sides": [32] * epochs},
            "no 28 px": {"sides": [24] * (epochs - 2) + [32] * 2},
        },
        "arithmetic of the layers": {"float32": {"bfloat16_on_cpu": False}},
        "widths": {
            "16, 48, 48": {"options": {"widths": (16, 48, 48)}},
            "64, 256, 256": {"options": {"widths": (64, 256, 256)}},
        },
    }


def arguments():
    parser = cli.Parser(__doc__)
    add, names = parser.add_argument, tuple(choices(EPOCHS))
    parser.data_option()
    add(
        "--only",
        nargs="+",
        choices=names,
        default=names,
        metavar="CHOICE",
        help=f"of {', '.join(map(repr, names))}",
    )
    add(
        "--epochs",
        type=cli.positive,
        default=EPOCHS,
        metavar="N",
        help=f"of each training (default: {EPOCHS})",
    )
    add("--train-size", type=cli.positive, metavar="N", help="train on the first N pictures only")
    add("--out", type=Path, metavar="DIR", help="see above")
    add(
        "--resume",
        action="store_true",
        help="keep the trainings in OUT/ablation.json, and add the rest",
    )
    parser.device_option()
    args = parser.parse_args()
    if args.epochs < 3:
        parser.error("--epochs: three or more, since the last two have pictures of full size")
    unusual = set(args.only) != set(names) or args.epochs != EPOCHS or args.train_size
    args.out = args.out or results.OUTPUTS / "q1_gradcam" / ("other/tried" if unusual else "tried")
    return args


def main() -> None:
    args = arguments()
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    out = results.output_folder(args.out)
    dataset = data.load("cifar10", args.data)
    kept, held_out = data.held_out_split(dataset.y_train, HELD_OUT)
    kept = kept[: args.train_size]
    usual = recipe("compact", "cifar10", args.epochs) | {"options": {"widths": WIDTHS}}
    plan = {
        "dataset": "cifar10",
        "data_sha256": dataset.sha256,
        "train_size": len(kept),
        "held_out": HELD_OUT,
        "recipe": usual,
    }
    rows, right = finished(out, plan) if args.resume else ([], [])

    for choice, value, changes, seed in trials(args.only, args.epochs):
        if any((row["choice"], row["value"], row["seed"]) == (choice, value, seed) for row in rows):
            continue
        row, found = one_training(dataset, kept, held_out, plan, changes, seed, device)
        rows.append({"choice": choice, "value": value, "changes": changes, "seed": seed} | row)
        right.append(found)
        print(f"{choice}: {value}, seed {seed}: {row['accuracy']:.2%} held out", flush=True)
        write(args, out, plan, rows, np.stack(right), device, dataset)
    write(args, out, plan, rows, np.stack(right), device, dataset)
    print(f"wrote {results.shown(out / 'ablation.json')}")


def write(args, out: Path, plan, rows, right: np.ndarray, device, dataset) -> None:
    """The trainings so far, with their receipt."""
    content = plan | {"trainings": rows, "alternatives": compared(rows, right)}
    provenance = results.provenance(
        0, device, data_source=dataset.source, data_sha256=dataset.sha256
    )
    results.write_npz(out / "ablation.npz", right=right)
    results.write_json(out / "ablation.json", content | {"provenance": provenance})


def trials(names: tuple[str, ...], epochs: int) -> Iterator[tuple[str, str, dict[str, Any], int]]:
    """Choice, value, changes and seed of every training, in order."""
    yield USUAL, USUAL, {}, USUAL_SEEDS[0]
    for name in names:
        for value, changes in choices(epochs)[name].items():
            yield name, value, changes, USUAL_SEEDS[0]
    for seed in USUAL_SEEDS[1:]:
        yield USUAL, USUAL, {}, seed


def one_training(
    dataset, kept, held_out, plan, changes, seed, device
) -> tuple[dict[str, Any], np.ndarray]:
    """Trains once; returns what is worth knowing, and which held-out pictures were right, single and mirrored (2, N)."""
    plan = plan | {"arch": "compact", "recipe": plan["recipe"] | changes}
    with tempfile.TemporaryDirectory() as folder:  # a training that is cut short is begun again
        model, run = train.train_one(
            dataset, kept, held_out, plan, seed, Path(folder), device, resume=False
        )
    single, other = (
        models.logits(model.network, dataset.x_train[held_out], mirror=mirror)
        for mirror in (False, True)
    )
    labels = torch.from_numpy(dataset.y_train[held_out])
    right = np.stack([(logits.argmax(1) == labels).numpy() for logits in (single, single + other)])
    row = {
        "accuracy": right[0].mean(),
        "accuracy_mirror": right[1].mean(),
        "temperature": model.temperature,
    }
    return row | {"parameters": run["parameters"], "train_flops": run["train_flops"]}, right


def compared(rows: list[dict[str, Any]], right: np.ndarray) -> list[dict[str, Any]]:
    """Every alternative against the usual recipe: held-out pictures right (T, 2, N) in trainings with the same seed; and how many times its arithmetic
    it takes.

    The interval covers the draw of pictures; the spread of the usual recipe over seeds, beside it in `usual`, what another start does.
    """
    usual = {row["seed"]: k for k, row in enumerate(rows) if row["choice"] == USUAL}
    spread = np.array([rows[k]["accuracy"] for k in usual.values()])
    found = [
        {
            "choice": USUAL,
            "value": USUAL,
            "accuracy": spread.mean(),
            "lowest": spread.min(),
            "highest": spread.max(),
            "seeds": len(spread),
        }
    ]
    for k, row in enumerate(rows):
        if row["choice"] != USUAL:
            base = usual[row["seed"]]
            duel = statistics.compare_paired(right[k][0], right[base][0], larger_is_better=True)
            times = row["train_flops"] / rows[base]["train_flops"]
            found.append(
                {key: row[key] for key in ("choice", "value", "accuracy")}
                | {"times": times, "against_usual": duel}
            )
    return found


def finished(out: Path, plan: dict[str, Any]) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """The trainings that OUT has, and which pictures each got right; refused where they had other settings or data, or were made by other code."""
    path = out / "ablation.json"
    if not path.is_file():
        return [], []
    content, right = (
        results.read_json(path),
        results.read_npz(out / "ablation.npz").get("right", np.empty(0)),
    )
    with reading(path):
        rows, code = content["trainings"], content["provenance"]["code"]
        _ = [
            (row["choice"], row["value"], row["seed"], row["accuracy"], row["train_flops"])
            for row in rows
        ]
    ours = results.code_hashes()
    other_code = [name for name in TRAINED_BY if code.get(name) != ours[name]]
    if other_code:
        raise cli.UserError(
            f"{path} was made by another {other_code[0]}: start without --resume, or with another --out"
        )
    if {key: content.get(key) for key in plan} != results.plain(plan) or len(right) < len(rows):
        raise cli.UserError(
            f"{path} was made with other settings or data: start without --resume, or with another --out"
        )
    return rows, list(right[: len(rows)])


if __name__ == "__main__":
    cli.run(main)
