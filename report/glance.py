"""Writes what README.md says of the results, between its markers: tables from the results files, sentences from the report's claims.

python report/glance.py            rewrite both
python report/glance.py --check    exit status 1 if they are not what the results say
"""

import sys
from pathlib import Path

from common import cli, results
from common.results import reading
from report import build, summary_claims

README = results.ROOT / "README.md"
MARKERS = {
    name: (f"<!-- {name}: written by report/glance.py -->", f"<!-- end of {name} -->")
    for name in ("results", "sentences")
}


def tables(outputs: Path) -> str:
    """The tables as Markdown, every number read from a results file below `outputs`."""
    return f"{question_1(outputs)}\n{question_2(outputs)}\n{trust(outputs)}"


def question_1(outputs: Path) -> str:
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
        (
            "test accuracy, committed network",
            f"{evaluation['accuracy']:.2%} (95% interval {low:.2%} to {high:.2%})",
        ),
        ("the same, averaged with the mirrored picture", f"{evaluation['accuracy_mirror']:.2%}"),
        (
            f"mean over {len(rows)} {'seed' if len(rows) == 1 else 'seeds'}, single view / mirrored",
            f"{mean['accuracy']:.2%} / {mean['accuracy_mirror']:.2%}",
        ),
        (
            "training time, mean (and range)",
            f"{sum(minutes) / len(rows):.0f} minutes ({min(minutes):.0f} to {max(minutes):.0f}) on {training['hardware']}",
        ),
        (
            "training cost",
            f"{training['train_flops']:.2g} FLOP, {training['parameters'] / 1e6:.2f} million parameters",
        ),
        ("best and worst class", f"{best[0]} {best[1]:.1%}, {worst[0]} {worst[1]:.1%}"),
        (
            "most frequent confusion",
            f"{pair['true']} taken for {pair['predicted']}, {pair['share']:.1%} of its pictures",
        ),
        (
            "expected calibration error, as trained / with temperature",
            f"{evaluation['expected_calibration_error_as_trained']:.1%} / {evaluation['expected_calibration_error']:.1%}",
        ),
        (
            "Grad-CAM maps drawn, and dead ones among them",
            f"{len(explanations['samples'])}, {dead}",
        ),
    ]
    return markdown("CIFAR-10, compact network", lines)


def question_2(outputs: Path) -> str:
    texts, leak = (
        results.read_json(outputs / f"q2_lime/text/{name}.json") for name in ("evaluation", "leak")
    )
    explained = results.read_json(outputs / "q2_lime/text/explanations.json")["median"]
    images = results.read_json(outputs / "q2_lime/images/explanations.json")
    median, n = images["median"], len(images["samples"])
    fidelities = [sample["fidelity"] for sample in images["samples"]]
    lines = []
    for kind, name in (("svm", "linear SVM"), ("logistic_regression", "logistic regression")):
        row = texts["models"][kind]
        lines.append(
            (
                f"20newsgroups, {name}: test accuracy, posts as they are / stripped of headers, footers, quotes",
                f"{row['accuracy']:.1%} / {row['accuracy_stripped']:.1%}",
            )
        )
    outside = [leak["models"][key] for key in ("svm", "svm_stripped")]
    shares = [
        f"{row['outside_body']:.0%} ({row['outside_body_interval'][0]:.0%} to {row['outside_body_interval'][1]:.0%}; {row['outside_body_words']:.0%} of the words)"
        for row in outside
    ]
    lines += [
        (
            "weight outside the body of a post, SVM trained on posts as they are",
            f"{shares[0]}, {leak['posts']} posts",
        ),
        ("the same, trained on stripped posts", shares[1]),
        (
            "LIME on the SVM: held-out fidelity, top-5 overlap between seeds, rank correlation with the coefficients",
            f"{explained['svm']['fidelity']:.2f}, {explained['svm']['jaccard']:.2f}, {explained['svm']['truth_correlation']:.2f} (medians)",
        ),
        (
            f"LIME on {images['model']}, {n} pictures: held-out fidelity, top-5 overlap between seeds, model calls",
            f"{median['fidelity']:.2f} ({min(fidelities):.2f} to {max(fidelities):.2f}), {median['jaccard']:.2f}, {median['model_calls']:.0f} (medians)",
        ),
        (
            "of these, explanations that say of themselves that they are not to be trusted",
            f"{median['not_to_be_trusted']} of {n}",
        ),
    ]
    return markdown("Question 2, LIME", lines)


SIGNS = {"beats": "+", "ties": "=", "loses": "−"}
CONTROLS = ("random", "centre", "edges", "untrained")


def trust(outputs: Path) -> str:
    """Every method beside the controls: means, and how it does against each of them."""
    faithful, shapes, planted, sanity = (
        results.read_json(outputs / f"trust/{name}.json")
        for name in ("faithfulness", "shapes", "shortcut", "sanity")
    )
    lime = results.read_json(outputs / "trust/lime.json")
    known = {
        "shapes": shapes["methods"] | {"lime": lime["shapes"]["methods"]["lime"]},
        "mark": planted["methods"] | {"lime": lime["shortcut"]["methods"]["lime"]},
    }

    def cell(row: dict) -> str:
        signs = "".join(
            SIGNS[row["against"][c]["verdict"]] for c in CONTROLS if c in row.get("against", {})
        )
        return f"{row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f}) {signs}".strip()

    lines = [
        f"| how far to trust it: {faithful['n']} test pictures | deletion (small is good) | insertion (large is good) | sanity check "
        "| peak on known evidence: shapes, planted mark |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in (
        faithful["methods"]
        | {f"lime, {lime['faithfulness']['n']} pictures": lime["faithfulness"]["methods"]["lime"]}
    ).items():
        key = name.split(",")[0]
        peaks = ", ".join(
            f"{known[where][key]['peak']['mean']:.0%}" for where in ("shapes", "mark")
        )
        verdict = (sanity["verdicts"] | lime["sanity"]["verdicts"]).get(key, "")
        lines.append(
            f"| {name.replace('_', ' ')} | {cell(row['deletion'])} | {cell(row['insertion'])} | {verdict} | {peaks} |"
        )
    return "\n".join(lines) + (
        "\n\nSigns, in this order: against noise, a bump in the centre, edges, and the same method on an untrained network; + beats (the 95% interval of the"
        "\npaired difference lies on the good side of zero), = ties, − loses. The rows without a sanity check are such controls themselves; methods on pixels are held\nagainst noise that is as fine as they are.\n"
    )


def markdown(title: str, lines: list[tuple[str, str]]) -> str:
    body = "\n".join(f"| {name} | {value} |" for name, value in lines)
    return f"| {title} | |\n| --- | --- |\n{body}\n"


def max_min(shares: dict[str, float]) -> tuple[tuple[str, float], tuple[str, float]]:
    ordered = sorted(shares.items(), key=lambda item: item[1])
    return ordered[-1], ordered[0]


def sentences(outputs: Path) -> str:
    """The paragraphs of summary_claims.README. Raises UserError where a claim does not hold; on other inputs it is left out instead."""
    said, _ = build.checked(build.read_results(outputs))
    paragraphs = [
        " ".join(said[name] for name in names if said[name]) for names in summary_claims.README
    ]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def rewritten(text: str, outputs: Path) -> str:
    """The README's text with the parts between the markers as the results below `outputs` have them."""
    for name, new in (("results", tables(outputs)), ("sentences", sentences(outputs))):
        start, end = MARKERS[name]
        if text.count(start) != 1 or text.count(end) != 1:
            raise cli.UserError(f"README.md has to hold {start!r} and {end!r} once each")
        before, rest = text.split(start)
        text = f"{before}{start}\n{new}{end}{rest.split(end)[1]}"
    return text


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, only compare")
    args = parser.parse_args()
    old = README.read_text(encoding="utf-8")
    with reading("a results file in outputs"):
        new = rewritten(old, results.ROOT / "outputs")
    if args.check and new != old:
        print(
            "README.md does not say what the results say: run python report/glance.py",
            file=sys.stderr,
        )
        sys.exit(1)
    if not args.check:
        results.write_whole(README, lambda file: file.write(new.encode()))


if __name__ == "__main__":
    cli.run(main)
