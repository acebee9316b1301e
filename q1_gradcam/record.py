"""The content of training.json, and the state of an interrupted training run."""

from pathlib import Path
from typing import Any

import torch

from common import models, results
from common.cli import UserError


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Writes `plan`, the `finished` runs, and the `current` one (history, weights, optimizers)."""
    results.write_whole(path, lambda file: torch.save(state, file))


def read_state(path: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """The state of an interrupted run; UserError if that run had other settings or data."""
    state = models.read_torch(path)
    if not isinstance(state, dict) or state.get("plan") != plan:
        advice = "use the same, or start without --resume"
        raise UserError(f"{path} was made with other settings or data: {advice}")
    return state


def read_finished(path: Path, plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs in training.json; UserError if they had other settings or data."""
    content = results.read_json(path)
    recorded = {key: content.get(key) for key in plan}
    recorded["data_sha256"] = content.get("provenance", {}).get("data_sha256")
    if recorded != results.plain(plan):
        advice = "use the same, or another --out, or leave out --add"
        raise UserError(f"{path} was made with other settings or data: {advice}")
    with results.reading(path):
        keys = ("parameters", "flops_per_image", "train_flops", "history")
        first = {key: content[key] for key in keys}
        return [first | {"row": row} for row in content["seeds"]]


def summary(runs: list[dict[str, Any]], plan: dict[str, Any]) -> dict[str, Any]:
    """training.json: the first seed's run, whose network is kept; a row per seed; their means."""
    first, rows = runs[0]["row"], [run["row"] for run in runs]
    speed, reference = "train_flops_per_second", "matrix_product_flops_per_second"
    content = {key: plan[key] for key in ("arch", "dataset", "train_size", "held_out", "recipe")}
    content |= {"epochs": plan["recipe"]["epochs"]}
    for key in ("seed", "seconds", "hardware", "peak_memory_bytes", speed, reference):
        content[key] = first[key]
    content["share_of_matrix_product"] = first[speed] / first[reference]
    for key in ("parameters", "flops_per_image", "train_flops", "history"):
        content[key] = runs[0][key]
    accuracies = [row["accuracy"] for row in rows]
    means = ("accuracy", "accuracy_mirror", "held_out_accuracy", "held_out_accuracy_mirror")
    content |= {
        "seeds": rows,
        "mean": {key: sum(row[key] for row in rows) / len(rows) for key in (*means, "seconds")},
        "accuracy_range": [min(accuracies), max(accuracies)],
    }
    if len({row["side"] for row in content["history"]}) > 1:
        content["resizing"] = gain_of_full_size(content["history"])
    return content


def gain_of_full_size(history: list[dict[str, Any]]) -> dict[str, Any]:
    """Held-out accuracy before and after the images reach their full size.

    `time_share`: the time of an epoch at the smallest size, relative to one at full size.
    """
    small, full = min(row["side"] for row in history), history[-1]["side"]
    k = max(k for k, row in enumerate(history) if row["side"] < full)
    before, after = (row["held_out_accuracy"] for row in history[k : k + 2])

    def mean_seconds(side):
        values = [row["seconds"] for row in history if row["side"] == side]
        return sum(values) / len(values)

    return {
        "smallest_side": small,
        "first_full_epoch": history[k + 1]["epoch"],
        "accuracy_before": before,
        "accuracy_after": after,
        "gain": after - before,
        "time_share": mean_seconds(small) / mean_seconds(full),
    }
