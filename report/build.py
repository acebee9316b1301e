"""Builds the report: a PDF in which every number, table and figure comes from the results files.

    python report/build.py            report/report.pdf, from outputs/ (about 10 seconds)
    python report/build.py --demo     outputs/demo/report.pdf, from the results of `make demo`
    python report/build.py --draft    builds even if claims are false, and marks them in the text

The chapters (report/chapters/*.typ) state what the results show as claims: a condition and a
sentence. If a condition is false, no report is written, each false claim is named, and the exit
status is 2. A chapter whose results are missing is left out and named. The same results give the
same PDF, byte for byte: it contains no date and uses only the fonts that come with Typst.
"""

import json
import re
import shutil
import tempfile
from pathlib import Path

from common import results
from common.cli import Parser, UserError, first_line, run

import typst
from PIL import Image

HERE = Path(__file__).resolve().parent
# chapters/NAME.typ in order. A chapter needs every results file that it reads with r("NAME").
CHAPTERS = (
    "introduction question1 question2 question2_images comparison trust known network "
    "hyperparameters limits conclusion reproducibility sheets"
).split()
# PNG figures would make the PDF several times larger.
JPEG_WIDTH, JPEG_QUALITY = 1300, 75


def main() -> None:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--demo", action="store_true", help="the short report on the built-in data")
    add("--draft", action="store_true", help="build although claims are false")
    add("--outputs", type=Path, metavar="DIR", help="results (default: outputs or outputs/demo)")
    add("--out", type=Path, metavar="FILE", help="the PDF (default: see above)")
    args = parser.parse_args()
    args.outputs = args.outputs or results.OUTPUTS / ("demo" if args.demo else "")
    args.out = args.out or (args.outputs if args.demo else HERE) / "report.pdf"

    content: dict = {"demo": args.demo, "results": {}, "chapters": [], "missing": []}
    for name in ["demo"] if args.demo else CHAPTERS:
        paths = {file: args.outputs / f"{file}.json" for file in files_of(name)}
        if missing := [f"no {file}.json" for file, path in paths.items() if not path.is_file()]:
            content["missing"].append(f"{name}: there is {', '.join(missing)}")
            print(f"left out: {content['missing'][-1]}", flush=True)
        else:
            content["chapters"].append(name)
            content["results"] |= {file: read(path) for file, path in paths.items()}
    if not content["results"]:
        missing = f"no chapter has all of its results in {args.outputs}"
        raise UserError(f"{missing}: run make demo, or make q1 q2 trust")
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder), args.outputs, content)
        pdf, claims, pages = compile_pdf(Path(folder))
    false = [claim["id"] for claim in claims if not claim["holds"]]
    lines = [f"claim {name!r} is false: {place_of(name)}" for name in false]
    if false and not args.draft:
        summary = f"{len(false)} of {len(claims)} claims are false, no report was written"
        raise UserError("; ".join([summary, *lines]))
    for line in lines:
        print(f"warning: {line}")
    results.write_whole(args.out, lambda file: file.write(pdf))
    held = f", {len(claims) - len(false)} claims hold" if claims else ""
    print(f"wrote {results.shown(args.out)}: {pages} pages, {len(pdf) / 1e6:.1f} MB{held}")


def files_of(chapter: str) -> list[str]:
    """The results files that a chapter reads."""
    text = (HERE / f"chapters/{chapter}.typ").read_text(encoding="utf-8")
    return sorted(set(re.findall(r'\br\("([\w/]+)"\)', text)))


def read(path: Path) -> dict:
    """A results file, which must have a provenance."""
    content = results.read_json(path)
    if not isinstance(content.get("provenance"), dict):
        raise UserError(f"{path} has no provenance: run the script that writes it again")
    return content


def stage(folder: Path, outputs: Path, content: dict) -> None:
    """Copies to `folder` what Typst reads: the text, the results in one file, the figures."""
    ignored = shutil.ignore_patterns("*.py", "*.pdf", "__pycache__", "gallery*", "live")
    shutil.copytree(HERE, folder, ignore=ignored, dirs_exist_ok=True)
    (folder / "content.json").write_text(json.dumps(content), encoding="utf-8")
    for parent in sorted({(outputs / name).parent for name in content["results"]}):
        for path in sorted([*parent.glob("*.*g"), *parent.glob("figures/*.*g")]):
            target = folder / "figures" / path.relative_to(outputs)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".svg":
                shutil.copy(path, target)
            elif path.suffix == ".png":
                write_jpeg(path, target.with_suffix(".jpg"))


def write_jpeg(path: Path, target: Path) -> None:
    try:
        image = Image.open(path).convert("RGB")
    except (OSError, SyntaxError) as error:
        raise UserError(f"can't read {path}: {first_line(error)}") from error
    image.thumbnail((JPEG_WIDTH, 10 * JPEG_WIDTH), Image.Resampling.LANCZOS)
    image.save(target, quality=JPEG_QUALITY)


def compile_pdf(folder: Path) -> tuple[bytes, list[dict], int]:
    """The PDF, its claims, and its number of pages. Raises UserError for any error."""
    try:
        compiler = typst.Compiler(str(folder / "report.typ"), str(folder), ignore_system_fonts=True)
        pdf = compiler.compile(format="pdf")
        claims, pages = (compiler.query(label, field="value") for label in ("<claim>", "<pages>"))
        return pdf, json.loads(claims), json.loads(pages)[0]
    except typst.TypstError as error:
        place = re.search(r"┌─ .*?([\w.]+:\d+:)", error.diagnostic or "")
        reason = f"{place[1] if place else ''} {first_line(error)}".strip()
        raise UserError(f"{reason} (in the text or in its results files)") from error


def place_of(claim: str) -> str:
    """File and line of a claim in the chapters."""
    for path in sorted(HERE.glob("chapters/*.typ")):
        text = path.read_text(encoding="utf-8")
        if found := re.search(rf'id:\s*"{re.escape(claim)}"', text):
            return f"{results.shown(path)}:{1 + text[: found.end()].count(chr(10))}"
    return "?"


if __name__ == "__main__":
    run(main)
