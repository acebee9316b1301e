"""Writes outputs/index.html: every explanation on one static page, with filters and a large view.

    python report/gallery.py            from the results of `make q1 q2`, in a few seconds
    python report/gallery.py --demo     outputs/demo/index.html, from the results of `make demo`

The page opens from disk, without a server, and loads nothing from other hosts. It shows the figures
of LIME as they are; for each Grad-CAM explanation a small image is written to outputs/gallery.
"""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from common import cli, data, results
from common.figures import blend, enlarge, overlay

import jinja2
import numpy as np
from matplotlib.colors import to_hex
from PIL import Image
from skimage.segmentation import find_boundaries

from q2_lime.text_figures import ZONE_COLORS
from report.update_readme import headlines

HERE = Path(__file__).parent
SCALE = 4  # screen pixels per image pixel
TEXT_MODELS = {"svm": "text, linear SVM", "logistic_regression": "text, logistic regression"}


def render(template: str, scripts: list[Path], **content: Any) -> str:
    """A page with these scripts. The template allows only scripts with their `hashes`."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in scripts}
    digests = [hashlib.sha256(text.encode()).digest() for text in texts.values()]
    hashes = [base64.b64encode(digest).decode() for digest in digests]
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True)
    return environment.get_template(template).render(content, scripts=texts, hashes=hashes)


def strip(image: np.ndarray, maps: list[np.ndarray]) -> Image.Image:
    """The image (H, W, 3) uint8 beside its maps (h, w), with a contour at half of the maximum."""
    panels = [image.repeat(SCALE, 0).repeat(SCALE, 1)]
    for raw in maps:
        panel, level = overlay(panels[0], raw), enlarge(np.maximum(raw, 0), panels[0].shape[:2])
        panel[find_boundaries(level >= 0.5 * (level.max() or 1), mode="inner")] = 255
        panels.append(panel)
    return Image.fromarray(np.concatenate(panels, axis=1))


def figure_url(outputs: Path, folder: str, figure: str) -> str:
    """The URL of a figure, relative to the page. Raises UserError unless it lies in `folder`."""
    path = (outputs / folder / figure).resolve()
    if not path.is_file() or not path.is_relative_to((outputs / folder).resolve()):
        raise cli.UserError(f"{folder} lacks the figure {figure!r}: run its script again")
    return quote(f"{folder}/{figure}")


def gradcam_entries(outputs: Path, content: dict, dataset: data.Dataset) -> Iterator[dict]:
    """The explanations of Question 1. Writes the image and its maps side by side as one file."""
    if content["provenance"]["data_sha256"] != dataset.sha256:
        raise cli.UserError("q1_gradcam explains other images: run q1_gradcam/explain.py again")
    arrays = results.read_npz(outputs / "q1_gradcam" / content["maps"])
    for k, sample in enumerate(content["samples"]):
        maps, notes = [(sample["explained"], arrays["map"][k], sample["dead"])], []
        if sample["kind"] == "incorrect":
            notes = [f"probability of {sample['true']}: {sample['confidence_true']:.1%}"]
            maps.append((sample["true"], arrays["map_true"][k], sample["dead_true"]))
        image = strip(dataset.x_test[sample["index"]], [raw for _, raw, _ in maps])
        path = outputs / f"gallery/gradcam_{sample['index']:d}.webp"
        results.write_whole(path, lambda file, image=image: image.save(file, "WEBP", quality=85))
        yield {
            "id": f"gradcam-{sample['index']}",
            "question": "Question 1: Grad-CAM",
            "name": f"test image {sample['index']}",
            "true": sample["true"],
            "prediction": f"{sample['predicted']} {sample['confidence']:.0%}",
            "outcome": sample["kind"],
            "trust": "not assessed",
            "notes": notes,
            "maps": maps,
            "strip": f"gallery/{path.name}",
            "figure": figure_url(outputs, "q1_gradcam", sample["figure"]),
        }


def lime_entries(outputs: Path, folder: str, content: dict) -> Iterator[dict]:
    """The explanations of Question 2 in `folder`, of images or of posts."""
    for sample in content["samples"]:
        if "words" in sample:
            explained, item, predicted = TEXT_MODELS[sample["model"]], "post", sample["predicted"]
        else:
            explained, item = f"images, {content['model']}", "test image"
            predicted = sample["mapped_class"]
        yield {
            "id": f"{sample.get('model', 'lime')}-{sample['index']}",
            "question": f"Question 2: LIME on {explained}",
            "name": f"{item} {sample['index']}",
            "true": sample["true"],
            "prediction": f"{sample['predicted']} {sample['probability']:.0%}",
            "outcome": "correct" if predicted == sample["true"] else "incorrect",
            "trust": sample["verdict"],
            "notes": sample["reasons"],
            "words": sample.get("words", []),
            "figure": figure_url(outputs, folder, sample["figure"]),
        }


def build(outputs: Path, dataset: data.Dataset, demo: bool = False) -> int:
    """Writes OUTPUTS/index.html and OUTPUTS/gallery; returns the number of explanations.

    Raises UserError if results are missing, damaged, or explain other images than `dataset`.
    """
    entries = []
    for folder in ("q1_gradcam", f"q2_lime/{'classifier' if demo else 'images'}", "q2_lime/text"):
        path = outputs / folder / "explanations.json"
        content = results.read_json(path)
        with results.reading(path):
            if folder == "q1_gradcam":
                entries += gradcam_entries(outputs, content, dataset)
            else:
                entries += lime_entries(outputs, folder, content)
    ramp = np.linspace(0, 1, 9)[None]
    html = render(
        "gallery.html",
        [HERE / "gallery.js"],
        entries=entries,
        headlines=[row.strip("| ").replace("`", "").split(" | ") for row in headlines(outputs)[2:]],
        zones=ZONE_COLORS,
        demo=demo,
        colors=[to_hex(color) for color in blend(np.full_like(ramp, 0.5), ramp)[0]],
    )
    results.write_whole(outputs / "index.html", lambda file: file.write(html.encode()))
    for path in outputs.glob("gallery/gradcam_*"):  # of an earlier run
        if f"gallery/{path.name}" not in html:
            path.unlink()
    return len(entries)


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("--demo", action="store_true", help="use the results of `make demo`")
    parser.data_option()
    args = parser.parse_args()
    outputs = results.OUTPUTS / ("demo" if args.demo else "")
    dataset = data.load_shapes() if args.demo else data.load_cifar10(args.data)
    count = build(outputs, dataset, args.demo)
    print(f"wrote {results.shown(outputs / 'index.html')} with {count} explanations")


if __name__ == "__main__":
    cli.run(main)
