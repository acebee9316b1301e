"""Builds the report, a PDF in which every number, table and picture is read from the results files.

    python report/build.py            report/report.pdf, from outputs/
    python report/build.py --demo     outputs/demo/report.pdf, from what `make demo` has written
    python report/build.py --outputs DIR --out FILE.pdf

Every sentence about the results is checked first (report/claims.py); where one does not hold, nothing is built and the exit status is
2. A chapter whose results are missing is left out and named, and so are results that were made by other code than the code that
stands here. The same results give the same PDF, byte for byte: it carries no date and uses Typst's own fonts alone.
"""

import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path

import typst
from PIL import Image

from common import cli, data, results
from common.figures import plt
from common.results import reading
from evaluation import figures
from q2_lime import stability
from report import claims, values

HERE = Path(__file__).resolve().parent
# The chapters in their order, each with the results files it reads. To add one: chapters/NAME.typ and a line here.
CHAPTERS = {
    "introduction": (),
    "question1": (
        "q1_gradcam/training",
        "q1_gradcam/evaluation",
        "q1_gradcam/explanations",
        "q1_gradcam/maps",
        "benchmarks/gradcam",
    ),
    "question2": (
        "q2_lime/images/explanations",
        "q2_lime/images/ablation",
        "q2_lime/text/evaluation",
        "q2_lime/text/explanations",
        "q2_lime/text/ablation",
        "q2_lime/text/leak",
        "benchmarks/lime",
    ),
    "trust": (
        "trust/faithfulness",
        "trust/layers",
        "trust/sanity",
        "trust/stability",
        "trust/mistakes",
        "trust/shapes",
        "trust/shortcut",
        "trust/lime",
    ),
    "comparison": ("comparison/agreement", "comparison/methods", "trust/lime"),
    "limits": (),
    "hyperparameters": (
        "q1_gradcam/training",
        "q1_gradcam/tried/narrow",
        "q1_gradcam/tried/ablation",
        "trust/layers",
        "q2_lime/images/ablation",
        "q2_lime/text/ablation",
        "q2_lime/text/evaluation",
    ),
    "reproducibility": (),
    "viva": (),
    "sheets": (
        "q1_gradcam/explanations",
        "q2_lime/images/explanations",
        "q2_lime/text/explanations",
    ),
}
DEMO_CHAPTERS = {
    "demo": (
        "q1_gradcam/training",
        "q1_gradcam/evaluation",
        "q1_gradcam/explanations",
        "q2_lime/classifier/explanations",
        "q2_lime/text/evaluation",
        "q2_lime/text/explanations",
        "q2_lime/text/leak",
    ),
}
COMMANDS = {  # what writes a results file
    "q1_gradcam/training": "make train",
    "q1_gradcam/tried/narrow": "an earlier recipe",
    "q1_gradcam/tried/ablation": "python q1_gradcam/ablate.py",
    "q1_gradcam/maps": "make q1",
    "q1_gradcam/evaluation": "make q1",
    "q1_gradcam/explanations": "make q1",
    "q2_lime/images/explanations": "make q2",
    "q2_lime/text/explanations": "make q2",
    "q2_lime/text/leak": "make q2",
    "q2_lime/text/evaluation": "python q2_lime/train_text.py",
    "q2_lime/images/ablation": "python q2_lime/ablate.py",
    "q2_lime/text/ablation": "python q2_lime/ablate.py",
    **dict.fromkeys(CHAPTERS["trust"] + CHAPTERS["comparison"], "make trust"),
    "benchmarks/gradcam": "python benchmarks/gradcam.py",
    "benchmarks/lime": "python benchmarks/lime.py",
}
# What a hash in a results file is the hash of.
INPUTS = {
    "checkpoint_sha256": "q1_gradcam/model.pt",
    "shapes_checkpoint_sha256": "trust/shapes/model.pt",
    "marked_checkpoint_sha256": "trust/marked/model.pt",
    "unmarked_checkpoint_sha256": "trust/unmarked/model.pt",
    "svm_sha256": "q2_lime/text/svm.npz",
    "svm_full_sha256": "q2_lime/text/svm.npz",
    "logistic_regression_sha256": "q2_lime/text/logistic_regression.npz",
    "logistic_regression_full_sha256": "q2_lime/text/logistic_regression.npz",
    "explanations_sha256": "q2_lime/images/explanations.npz",
    "faithfulness_scores_sha256": "trust/faithfulness.npz",
    "lime_scores_sha256": "trust/lime.npz",
}
PLOTS = (
    "faithfulness",
    "layers",
    "sanity",
    "stability",
    "mistakes",
)  # of trust/: drawn again from the results, as vectors
JPEG_QUALITY = 82
SMALL, LARGE = (
    (820, 68),
    (1300, JPEG_QUALITY),
)  # how many pixels wide figures are kept, and how well
PANEL = 250  # pixels: side of one picture on a sheet of q1_gradcam/figures.py


def arguments():
    parser = cli.Parser(__doc__)
    parser.add_argument("--demo", action="store_true", help="the short report on the built-in data")
    parser.add_argument(
        "--outputs",
        type=Path,
        metavar="DIR",
        help="the results (default: outputs, or outputs/demo)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="see above")
    args = parser.parse_args()
    args.outputs = args.outputs or results.OUTPUTS / ("demo" if args.demo else "")
    args.out = args.out or (args.outputs / "report.pdf" if args.demo else HERE / "report.pdf")
    return args


def main() -> None:
    args = arguments()
    main_file, chapters = ("demo.typ", DEMO_CHAPTERS) if args.demo else ("report.typ", CHAPTERS)
    found = read_results(args.outputs)
    sentences, left_out = ({}, []) if args.demo else checked(found)
    state = state_of(found, chapters, args.outputs) | {"left_out": left_out}
    for warning in (*state["missing"], *state["older"], *left_out):
        print(f"warning: {warning}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder), args.outputs, found, sentences, state)
        pdf, pages = compile_pdf(Path(folder) / "report" / main_file)
    results.write_whole(args.out, lambda file: file.write(pdf))
    # The short report has no appendices and makes no claims.
    more = (
        ""
        if args.demo
        else f", {pages['body']} before the appendices; {len(sentences)} claims checked"
    )
    print(f"wrote {results.shown(args.out)}: {pages['total']} pages{more}, {len(pdf) / 1e6:.1f} MB")


def read_results(outputs: Path) -> values.Results:
    """Every JSON file below `outputs`, called by its path without ending, and what the claims measure on stored maps."""
    names = sorted(
        {name for needed in (*CHAPTERS.values(), *DEMO_CHAPTERS.values()) for name in needed}
    )
    paths = {name: outputs / f"{name}.json" for name in names}
    found = values.Results(
        {name: read_result(path) for name, path in paths.items() if path.is_file()}
    )
    samples = found.get("q1_gradcam/explanations", {}).get("samples", [])
    maps = outputs / "q1_gradcam/explanations.npz"
    if maps.is_file() and {sample.get("kind") for sample in samples} == {"correct", "incorrect"}:
        found["q1_gradcam/maps"] = values.measure_maps(maps, samples)
    return found


def read_result(path: Path) -> dict:
    """A results file. Raises UserError where it is damaged, or lacks what is read of all: provenance, and the figures of explanations."""
    content = results.read_json(path)
    with reading(path):
        content["provenance"].get("code", {}).items()
        if path.stem == "explanations":
            [Path(sample["figure"]) for sample in content["samples"]]
    return content


def checked(found: values.Results) -> tuple[dict[str, str | bool | None], list[str]]:
    """The sentence of every claim, None where its results are missing; and lines on what was left out.

    Raises UserError, a line for each claim that fails. Where results come from other data, weights or networks than the text was written about,
    such a sentence is left out and named instead: it is False.
    """
    sentences, failures = claims.check(found)
    others = claims.other_inputs(found)
    if failures and not others:
        raise cli.UserError(
            "\n       ".join(
                [f"{len(failures)} claim(s) do not hold, nothing was built", *failures.values()]
            )
        )
    lines = [*others, *(f"left out: {line}" for line in failures.values())] if failures else others
    return sentences | dict.fromkeys(failures, False), lines


def state_of(found: values.Results, chapters: dict, outputs: Path) -> dict:
    """What the report says of its own making: chapters, what is missing, what was made by other code or from other inputs."""
    missing = {
        name: [file for file in needed if file not in found] for name, needed in chapters.items()
    }
    commands = {} if chapters is DEMO_CHAPTERS else COMMANDS
    lines = [
        f"chapter {name!r} is left out: there is no {file}.json ({commands.get(file, 'make demo')} writes it)"
        for name, files in missing.items()
        for file in files
    ]
    code = results.sha256_of_rooms()
    older = []
    for name, content in found.items():
        origin = content.get("provenance", {})
        changed = [
            file
            for file, digest in origin.get("code", {}).items()
            if code.get(file, "")[:16] != digest
        ]
        if changed:
            older.append(f"{name}.json was made before {', '.join(changed)} got the present form")
        for key, file in INPUTS.items():
            if (
                key in origin
                and (outputs / file).is_file()
                and results.sha256(outputs / file) != origin[key]
            ):
                older.append(f"{name}.json was made from another {file}")
    return {
        "chapters": {name: not files for name, files in missing.items()},
        "missing": lines,
        "older": older,
        "bounds": {"faithful": stability.FAITHFUL, "stable": stability.STABLE},
        "digest": digest(outputs, found),
    }


def digest(outputs: Path, found: values.Results) -> str:
    """A hash of all that the report is made from: results, their figures, and the text itself. It stands in the PDF."""
    whole = hashlib.sha256(json.dumps(found, sort_keys=True).encode())
    sources = [
        *HERE.rglob("*.typ"),
        HERE / "references.bib",
        *(
            HERE / f"{name}.py"
            for name in ("build", "claims", "trust_claims", "summary_claims", "values")
        ),
    ]
    for path in (
        *sorted(sources),
        *sorted(path for name in found for path in figures_of(outputs, name)),
    ):
        whole.update(path.read_bytes())
    return whole.hexdigest()


def figures_of(outputs: Path, name: str) -> list[Path]:
    """The figures beside a results file and in its folder `figures`."""
    folder = (outputs / name).parent
    return sorted({*folder.glob("*.png"), *folder.glob("figures/*.png")})


def stage(folder: Path, outputs: Path, found, sentences, state) -> None:
    """Puts together in `folder` what Typst reads: the text, the results as one JSON file, the figures as JPEG."""
    shutil.copytree(
        HERE, folder / "report", ignore=shutil.ignore_patterns("*.py", "*.pdf", "__pycache__")
    )
    build = folder / "report/build"
    build.mkdir()
    for name, content in (("results", found), ("claims", sentences), ("state", state)):
        (build / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    lime = [
        found[name]["samples"]
        for name in found
        if name.startswith("q2_lime") and name.endswith("/explanations")
    ]
    single = {Path(sample["figure"]).name for samples in lime for sample in samples}
    for path in sorted({path for name in found for path in figures_of(outputs, name)}):
        target = build / "figures" / path.relative_to(outputs).with_suffix(".jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(data.read_image(path))
        width, quality = (
            SMALL if path.name in single else LARGE
        )  # the former are shown small, on a sheet
        small = image.resize((width, width * image.height // image.width), Image.Resampling.LANCZOS)
        small.save(target, quality=quality, subsampling=0)
        if path.parent == outputs / "q1_gradcam/figures" and path.name.startswith(
            ("correct_", "incorrect_")
        ):
            cut_sheet(image, build / "panels" / path.stem, path)
    draw_plots(build / "figures/trust", found)
    leave_out(folder / "report", [name for name, there in state["chapters"].items() if not there])


def draw_plots(folder: Path, found: values.Results) -> None:
    """The PLOTS whose results are there, as SVG: the same bytes each time."""
    for part in PLOTS:
        if f"trust/{part}" in found:
            folder.mkdir(parents=True, exist_ok=True)
            with plt.rc_context({"svg.hashsalt": part}):
                with reading(f"trust/{part}.json"):
                    figure = getattr(figures, part)(found[f"trust/{part}"])
                figure.savefig(folder / f"{part}.svg", metadata={"Date": None})
            plt.close(figure)


def cut_sheet(sheet: Image.Image, folder: Path, path: Path) -> None:
    """The single pictures of a sheet of one class (see `sheet` in q1_gradcam/figures.py), row by row, as JPEG."""
    cell, top, bottom = sheet.width // 5, 84, 190
    rows = (sheet.height - top - bottom) / cell
    if rows != int(rows):
        raise cli.UserError(
            f"{path} is not laid out as q1_gradcam/figures.py used to: adapt cut_sheet in report/build.py"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for row in range(int(rows)):
        for column in range(5):
            x, y = column * cell + (cell - PANEL) // 2, top + (row + 1) * cell - PANEL - 6
            panel = sheet.crop((x, y, x + PANEL, y + PANEL)).resize(
                (112, 112), Image.Resampling.BOX
            )
            panel.save(folder / f"{row}_{column}.jpg", quality=JPEG_QUALITY, subsampling=0)


def leave_out(report: Path, chapters: list[str]) -> None:
    """Replaces every reference to a label of a chapter that is left out, which Typst would refuse."""
    labels = {
        label
        for name in chapters
        for label in re.findall(r"<([a-z][\w-]*)>", text_of(report, name))
    }
    for path in (
        *report.glob("*.typ"),
        *report.glob("chapters/*.typ"),
        report / "build/claims.json",
    ):
        text = path.read_text(encoding="utf-8")
        new = re.sub(
            r"@([a-z][\w-]*)", lambda at: "(in a part left out)" if at[1] in labels else at[0], text
        )
        path.write_text(new, encoding="utf-8")


def text_of(report: Path, chapter: str) -> str:
    return (report / f"chapters/{chapter}.typ").read_text(encoding="utf-8")


def compile_pdf(main_file: Path) -> tuple[bytes, dict[str, int]]:
    """The PDF, and its number of pages in all and before the appendices. Raises UserError where Typst finds a fault."""
    try:
        compiler = typst.Compiler(
            str(main_file), root=str(main_file.parent), ignore_system_fonts=True
        )
        pdf = compiler.compile(format="pdf")
        found = json.loads(compiler.query("<pages>", field="value"))
    except typst.TypstError as error:
        raise cli.UserError(f"Typst: {cli.first_line(error)}") from None
    return pdf, {name: number for pair in found for name, number in pair.items()}


if __name__ == "__main__":
    cli.run(main)
