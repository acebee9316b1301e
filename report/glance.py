"""Writes the results at a glance into README.md, between its markers, from the results files.

python report/glance.py            rewrite the table
python report/glance.py --check    exit status 1 if the table is not what the results say
"""

import sys
from pathlib import Path

from common import results, runtime

README = results.ROOT / "README.md"
START, END = "<!-- results: written by report/glance.py -->", "<!-- end of results -->"


def table(outputs: Path) -> str:
    """The table as Markdown, every number read from a results file below `outputs`."""
    training = results.read_json(outputs / "q1_gradcam/training.json")
    evaluation = results.read_json(outputs / "q1_gradcam/evaluation.json")
    explanations = results.read_json(outputs / "q1_gradcam/explanations.json")
    mean, rows = training["mean"], training["seeds"]
    low, high = evaluation["accuracy_interval"]
    best, worst = max_min(evaluation["per_class_accuracy"])
    pair = evaluation["most_confused"][0]
    dead = sum(explanations["dead"].values())
    minutes = [row["seconds"] / 60 for row in rows]
    lines = [
        ("test accuracy, committed network", f"{evaluation['accuracy']:.2%} (95% interval {low:.2%} to {high:.2%})"),
        ("the same, averaged with the mirrored picture", f"{evaluation['accuracy_mirror']:.2%}"),
        (
            f"mean over {len(rows)} {'seed' if len(rows) == 1 else 'seeds'}, single view / mirrored",
            f"{mean['accuracy']:.2%} / {mean['accuracy_mirror']:.2%}",
        ),
        (
            "training time, mean (and range)",
            f"{sum(minutes) / len(rows):.0f} minutes ({min(minutes):.0f} to {max(minutes):.0f}) on {training['hardware']}",
        ),
        ("training cost", f"{training['train_flops']:.2g} FLOP, {training['parameters'] / 1e6:.2f} million parameters"),
        ("best and worst class", f"{best[0]} {best[1]:.1%}, {worst[0]} {worst[1]:.1%}"),
        (
            "most frequent confusion",
            f"{pair['true']} taken for {pair['predicted']}, {pair['share']:.1%} of its pictures",
        ),
        (
            "expected calibration error, as trained / with temperature",
            f"{evaluation['expected_calibration_error_as_trained']:.1%} / {evaluation['expected_calibration_error']:.1%}",
        ),
        ("Grad-CAM maps drawn, and dead ones among them", f"{len(explanations['samples'])}, {dead}"),
    ]
    body = "\n".join(f"| {name} | {value} |" for name, value in lines)
    return f"| CIFAR-10, compact network | |\n| --- | --- |\n{body}\n"


def max_min(shares: dict[str, float]) -> tuple[tuple[str, float], tuple[str, float]]:
    ordered = sorted(shares.items(), key=lambda item: item[1])
    return ordered[-1], ordered[0]


def with_table(text: str, new: str) -> str:
    """The README's text with the part between the markers replaced."""
    if text.count(START) != 1 or text.count(END) != 1:
        raise runtime.UserError(f"README.md has to hold {START!r} and {END!r} once each")
    before, rest = text.split(START)
    return f"{before}{START}\n{new}{END}{rest.split(END)[1]}"


def main() -> None:
    parser = runtime.Parser(__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, only compare")
    args = parser.parse_args()
    old = README.read_text(encoding="utf-8")
    new = with_table(old, table(results.ROOT / "outputs"))
    if args.check and new != old:
        print("README.md does not say what the results say: run python report/glance.py", file=sys.stderr)
        sys.exit(1)
    if not args.check:
        results.write_whole(README, lambda file: file.write(new.encode()))


if __name__ == "__main__":
    runtime.run(main)
