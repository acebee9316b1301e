"""Writes the table of results in README.md, between its two markers, from the results files.

python report/update_readme.py
"""

from common import results
from common.cli import ROOT, Parser, UserError, run

README = ROOT / "README.md"
START, END = "<!-- results -->", "<!-- /results -->"
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
    "{tolerance[methods][gradcam][network][4]:.0%} within 8 | second stage: "
    "{stages[body.stage2][methods][gradcam][network][2]:.0%} within 4; LIME: "
    "{tolerance[methods][lime][network][2]:.0%}; noise: "
    "{tolerance[methods][random][network][2]:.0%}",
    "q2_lime/images/explanations": "LIME on an ImageNet model, median held-out fidelity | "
    "{summary[median][fidelity]:.2f} | counting the shown parts: "
    "{summary[median][fidelity_baseline]:.2f}; {summary[n_trustworthy]} of {summary[n]} reliable",
    "q2_lime/text/evaluation": "20newsgroups test accuracy, SVM | {models[svm][accuracy]:.1%} | "
    "without headers, footers and quotes: {models[svm][accuracy_stripped]:.1%}",
    "q2_lime/text/explanations": "LIME on the SVM, median held-out fidelity | "
    "{summary[svm][median][fidelity]:.3f} | rank correlation with the true contributions: "
    "{summary[svm][median][ground_truth_correlation]:.2f}",
    "q2_lime/text/leak": "LIME's weight outside the body of posts | "
    "{models[svm][outside_body]:.0%} | share of the words there: "
    "{models[svm][outside_body_words]:.0%}",
}


def table() -> str:
    """The results as a Markdown table."""
    lines = ["| what | value | compared with | file |", "| --- | --- | --- | --- |"]
    for name, row in ROWS.items():
        path = results.OUTPUTS / f"{name}.json"
        with results.reading(path):
            cells = row.format(**results.read_json(path))
        lines.append(f"| {cells} | [{path.name}](outputs/{name}.json) |")
    return "\n".join(lines)


def main() -> None:
    Parser(__doc__).parse_args()
    old = README.read_text(encoding="utf-8")
    if old.count(START) != 1 or old.count(END) != 1:
        raise UserError(f"README.md needs the markers {START} and {END} once each")
    new = f"{old.split(START)[0]}{START}\n{table()}\n{END}{old.split(END)[1]}"
    results.write_whole(README, lambda file: file.write(new.encode()))


if __name__ == "__main__":
    run(main)
