"""Writes the tables in README.md that stand between markers, from the results files.

python report/update_readme.py
"""

from contextlib import suppress
from pathlib import Path

from common import results
from common.cli import ROOT, Parser, UserError, run

README = ROOT / "README.md"
# One row for each results file: what, value, compared with.
ROWS = {
    "q1_gradcam/evaluation": "CIFAR-10 test accuracy | {accuracy:.2%} | 95% interval "
    "{accuracy_interval[0]:.2%} to {accuracy_interval[1]:.2%}",
    "q1_gradcam/training": "the same, mean over the seeds | {mean[accuracy]:.2%} | lowest and "
    "highest seed: {accuracy_range[0]:.2%}, {accuracy_range[1]:.2%}",
    "q1_gradcam/resnet18/evaluation": "CIFAR-10 test accuracy, ResNet-18 | {accuracy:.2%} | 95% "
    "interval {accuracy_interval[0]:.2%} to {accuracy_interval[1]:.2%}",
    "evaluation/faithfulness": "Grad-CAM, insertion (higher is better) | "
    "{methods[gradcam][insertion_auc][mean]:.2f} | fixed blob in the center: "
    "{methods[center][insertion_auc][mean]:.2f}; noise: {methods[random][insertion_auc][mean]:.2f}",
    "evaluation/shortcut": "Grad-CAM finds a small planted mark, last stage | "
    "{tolerance[methods][gradcam][network][2]:.0%} within 4 pixels, "
    "{tolerance[methods][gradcam][network][4]:.0%} within 8 | noise: "
    "{tolerance[methods][random][network][2]:.0%} and "
    "{tolerance[methods][random][network][4]:.0%}; center: "
    "{tolerance[methods][center][network][2]:.0%} and "
    "{tolerance[methods][center][network][4]:.0%}; second stage: "
    "{stages[body.stage2][methods][gradcam][network][2]:.0%} within 4; LIME: "
    "{tolerance[methods][lime][network][2]:.0%} within 4",
    "q2_lime/images/explanations": "LIME on an ImageNet model, median held-out fidelity | "
    "{summary[median][fidelity]:.2f} | a surrogate that only counts the visible segments: "
    "{summary[median][fidelity_baseline]:.2f}; {summary[n_trustworthy]} of {summary[n]} reliable",
    "q2_lime/text/evaluation": "20newsgroups test accuracy, SVM | {models[svm][accuracy]:.1%} | "
    "without headers, footers and quotes: {models[svm][accuracy_stripped]:.1%}",
    "q2_lime/text/explanations": "LIME on the SVM, median held-out fidelity | "
    "{summary[svm][median][fidelity]:.3f} | rank correlation with the true contributions: "
    "{summary[svm][median][ground_truth_correlation]:.2f}",
    "evaluation/speed_lime": "LIME with a quarter of the `lime` package's model calls | "
    "{images[median][ours_quarter][seconds]:.2f} s, overlap of the top segments between seeds "
    "{images[median][ours_quarter][jaccard]:.2f} | package, same segments: "
    "{images[median][package_on_our_segments][seconds]:.2f} s, "
    "{images[median][package_on_our_segments][jaccard]:.2f}",
    "evaluation/speed_text": "LIME on a post, with the masks of the `lime` package (largest "
    "difference of the weights {largest_difference:.0e}) | {median_seconds[ours]:.2f} s | package: "
    "{median_seconds[package]:.1f} s; at least {lowest_ratio:.0f} times as fast on every post",
    "evaluation/faults": "attempts with damaged files, odd arguments or kills that left no "
    "traceback and no damaged results | {held:,} | of {tried:,}",
    "evaluation/speed_gradcam": "time of Grad-CAM, in forward passes | "
    "{networks[0][variants][this project][forward_passes]:.2f} | Captum: "
    "{networks[0][variants][captum][forward_passes]:.2f}; pytorch-grad-cam: "
    "{networks[0][variants][pytorch-grad-cam][forward_passes]:.2f}",
    "q2_lime/text/leak": "LIME's weight outside the body of posts | "
    "{models[svm][outside_body]:.0%} | 95% interval {models[svm][outside_body_interval][0]:.0%} to "
    "{models[svm][outside_body_interval][1]:.0%}; share of the words there: "
    "{models[svm][outside_body_words]:.0%}",
}


def questions(table: list[str]) -> list[str]:
    """The table of the questions with the costs of the commands.

    The cells of a row are question, command, output, section of the report, minutes with and
    without AVX-512, and memory.
    """
    paths = [results.OUTPUTS / f"evaluation/minutes_{name}.json" for name in ("avx512", "avx2")]
    rows = table[:2]
    for row in table[2:]:
        cells = [cell.strip() for cell in row.strip().strip("|").split("|")][:4]
        runs = []
        for path in paths:
            with results.reading(path):
                runs.append(results.read_json(path)["commands"][cells[1].strip("`")])
        costs = [f"{run['seconds'] / 60:.1f}" for run in runs]
        costs.append(f"{max(run['peak_memory_bytes'] for run in runs) / 1e9:.1f} GB")
        rows.append(f"| {' | '.join(cells + costs)} |")
    return rows


def headlines(outputs: Path = results.OUTPUTS) -> list[str]:
    """The main results that exist, beside what they are compared with."""
    rows = ["| what | value | compared with | file |", "| --- " * 4 + "|"]
    for name, cells in ROWS.items():
        path = outputs / f"{name}.json"
        if path.is_file():
            with suppress(LookupError):  # results of a smaller run
                cells = cells.format(**results.read_json(path))
                rows.append(f"| {cells} | [{path.name}](outputs/{name}.json) |")
    return rows


def updated(text: str) -> str:
    """The text with new tables between `<!-- NAME -->` and `<!-- /NAME -->`."""
    for name in ("questions", "results"):
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(start) != 1 or text.count(end) != 1:
            raise UserError(f"README.md needs the markers {start} and {end} once each")
        before, rest = text.split(start)
        table, after = rest.split(end)
        rows = questions(table.strip().splitlines()) if name == "questions" else headlines()
        if len(rows) < {"questions": 7, "results": len(ROWS) + 2}[name]:
            raise UserError(f"rows of the {name} in README.md are missing")
        text = "\n".join([before + start, *rows, end + after])
    return text


def main() -> None:
    Parser(__doc__).parse_args()
    new = updated(README.read_text(encoding="utf-8"))
    results.write_whole(README, lambda file: file.write(new.encode()))


if __name__ == "__main__":
    run(main)
