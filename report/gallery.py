"""Writes outputs/index.html: every explanation on one page that needs no server, with filters and a large view of each.

    python report/gallery.py            outputs/index.html, from the results of both questions
    python report/gallery.py --demo     outputs/demo/index.html, from what `make demo` wrote

Reads explanations.json of Grad-CAM, of LIME on pictures and of LIME on posts, the maps beside them, and the test pictures and posts
themselves from --data. The small pictures go into gallery/ beside the page, a sheet for each class (one file loads faster than fifteen); the
figures stay where they are and are linked. Nothing is loaded from elsewhere: the page's content security policy forbids it.
"""

import base64
import hashlib
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from common import corpus, data, results, runtime
from common.figures import blend, enlarge, grey
from common.news import News
from q1_gradcam.selection import KINDS
from q2_lime import image_figures, images, text
from q2_lime.text_figures import KIND_NAMES

FINE = 128  # pixels: the side that a small picture is enlarged to, at least
PALETTE_STEP = 4  # at every how many pixels the colours are looked up
FIRST_WORDS = 5  # of a post, before it is opened
METHOD_NAMES = {"gradcam": "Grad-CAM"}
PARTS = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """One explanation. `name`, `true`, `says` and `section` are text; `small`, `large` and `more` are HTML, escaped already.

    Attributes:
        method: what the filter goes by; section: the heading that it stands under.
        true: the true class; says: what the model says, and how surely; right: whether that is right.
        verdict: of LIME; None for Grad-CAM, which has none.
        brief: the facts that matter most, in a line.
        small, large: the pictures or words, before and after opening; more: what opening adds.
        facts: what is known of it, name and value.
        figure: address of the figure that has it.
    """

    method: str
    section: str
    name: str
    true: str
    says: str
    right: bool
    verdict: str | None
    brief: str
    small: str
    large: str
    facts: dict[str, str]
    figure: str
    more: str = ""


@dataclass(frozen=True)
class Sheet:
    """Small pictures in one file, `columns` x `rows`."""

    address: str
    columns: int
    rows: int

    def cell(self, column: int, row: int, alt: str, below: str, across: str = "") -> str:
        """One of them as HTML: `alt` says what is seen, `below` and `across` are written there."""
        place = f"--n:{self.columns};--m:{self.rows};--c:{column};--r:{row}"
        over = f"<b>{escape(across)}</b>" if across else ""
        picture = f'<img src="{self.address}" alt="{escape(alt)}" loading="lazy">'
        return f'<figure><span class="cell" style="{place}">{picture}{over}</span><figcaption>{escape(below)}</figcaption></figure>'


def write_sheet(path: Path, cells: list[list[np.ndarray]], dither: bool = False) -> Sheet:
    """Writes pictures (H, W, 3) uint8, a row for each list, in the 256 colours that fit best."""
    full = Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in cells]))
    colours = full.reduce(PALETTE_STEP).quantize(256, kmeans=2)  # of all pixels they would take half a minute
    image = full.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG if dither else Image.Dither.NONE)
    results.write_whole(path, lambda file: image.save(file, format="PNG", optimize=True))
    return Sheet(quote(f"{path.parent.name}/{path.name}"), len(cells[0]), len(cells))


def finer(image: np.ndarray, side: int = FINE) -> np.ndarray:
    """A picture (H, W, 3), uint8 or 0 to 1, each pixel repeated until there are `side` of them or more a side, uint8."""
    factor = -(-side // len(image))
    whole = image if image.dtype == np.uint8 else (255 * image).round().astype(np.uint8)
    return whole.repeat(factor, axis=0).repeat(factor, axis=1)


def over_picture(image: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """The map `raw` (h, w) over its picture (H, W, 3) uint8, in the colours of the figures; of a dead map the pale picture alone."""
    lightness = grey(finer(image))
    level = np.maximum(raw, 0)
    if not level.any():
        return finer((0.5 + 0.4 * grey(image))[..., None].repeat(3, axis=2))
    smooth = enlarge(level / level.max(), lightness.shape)
    shown = blend(lightness, smooth)
    shown[find_boundaries(smooth >= 0.5 * smooth.max(), mode="inner")] = 1.0
    return finer(shown)


def whereabouts(raw: np.ndarray) -> str:
    """Where a map (h, w) is highest, in words."""
    row, column = np.unravel_index(raw.argmax(), raw.shape)
    down = ("upper", "middle", "lower")[int(3 * row / raw.shape[0])]
    across = ("left", "centre", "right")[int(3 * column / raw.shape[1])]
    return "the centre" if (down, across) == ("middle", "centre") else f"the {down} {across}"


def number(value: float | None, form: str = ".2f") -> str:
    return "–" if value is None else format(value, form)


def gradcam(outputs: Path, dataset: data.Dataset) -> list[Entry]:
    """Question 1: a sheet for each class and kind; columns are pictures, rows the picture and its maps."""
    found = results.read_json(outputs / "q1_gradcam/explanations.json")
    check_pictures(found, dataset)
    arrays = results.read_npz(outputs / "q1_gradcam" / found["maps"])
    maps, maps_true = arrays["map"], arrays["map_true"]
    groups: dict[tuple[str, str], list[int]] = {}
    for k, sample in enumerate(found["samples"]):
        groups.setdefault((sample["kind"], sample["true"]), []).append(k)
    entries = []
    for (kind, true), members in sorted(groups.items(), key=lambda group: KINDS.index(group[0][0])):
        pictures = [dataset.x_test[found["samples"][k]["index"]] for k in members]
        raws = [[maps[k] for k in members]] + ([[maps_true[k] for k in members]] if kind == "incorrect" else [])
        cells = [[finer(p) for p in pictures]]
        cells += [[over_picture(p, raw) for p, raw in zip(pictures, row, strict=True)] for row in raws]
        sheet = write_sheet(outputs / f"gallery/gradcam_{kind}_{true}.png", cells)
        for column, k in enumerate(members):
            sample = found["samples"][k]
            shares = {true: sample["confidence_true"], sample["predicted"]: sample["confidence"]}
            explained = [(sample["explained"], sample["dead"]), (true, sample["dead_true"])][: len(raws)]
            shown = [sheet.cell(column, 0, f"The picture, a small photograph: {true}", "picture")]
            for row, (name, dead) in enumerate(explained):
                highest = "zero everywhere" if dead else f"highest at {whereabouts(raws[row][column])}"
                below = f"map for {name}" + (f", {shares[name]:.0%}" if name in shares else "")
                across = "zero after the ReLU: no evidence" if dead else ""
                shown.append(sheet.cell(column, row + 1, f"Its map for {name}: {highest}", below, across))
            facts = {
                f"confidence in {sample['predicted']}, the class it says": number(sample["confidence"], ".1%"),
                f"confidence in {true}, the true class": number(sample["confidence_true"], ".1%"),
                **{f"map for {name}": "dead: zero after the ReLU" if dead else "not dead" for name, dead in explained},
                "highest value of the map before scaling": number(sample["peak"], ".3f"),
                "method and layer": f"{sample['method']}, {sample['layer']}",
            }
            alive = "no evidence left after the ReLU" if any(dead for _, dead in explained) else "map not dead"
            line = alive if kind == "correct" else f"true class {sample['confidence_true']:.0%}; {alive}"
            method = METHOD_NAMES.get(found["method"], found["method"])
            entries.append(
                Entry(method, f"Question 1: {method}", f"test picture {sample['index']}", true,
                      f"{sample['predicted']} {sample['confidence']:.0%}", kind == "correct", None, line, "".join(shown), "".join(shown), facts,
                      quote(f"q1_gradcam/{sample['figure']}"))
            )  # fmt: skip
    return entries


def lime_pictures(outputs: Path, folder: str, dataset: data.Dataset) -> list[Entry]:
    """Question 2, pictures: one sheet; columns are pictures, rows the picture, its leading regions, all its weights."""
    found = results.read_json(outputs / folder / "explanations.json")
    check_pictures(found, dataset)
    samples, columns = found["samples"], []
    with np.load(outputs / folder / "explanations.npz") as arrays:
        for sample in samples:
            labels, weights = (arrays[f"{name}_{sample['index']}"] for name in ("labels", "weights"))
            picture = images.enlarged(dataset.x_test[sample["index"]], len(labels), found["choices"]["enlarge"])
            leading = image_figures.leading_map(picture, labels, weights[:, 0])
            signed = image_figures.signed_map(picture, labels, weights[:, 0])
            columns.append([finer(one, len(leading)) for one in (picture, leading, signed)])
    sheet = write_sheet(outputs / "gallery/lime.png", [list(row) for row in zip(*columns, strict=True)], dither=True)
    method, entries = f"LIME on pictures, {found['model']}", []
    for column, sample in enumerate(samples):
        true, says, meaning = sample["true"], sample["predicted"], sample["meaning"]
        seen = (
            ("The picture as the model saw it", "picture"),
            (f"The {image_figures.LEADING} regions that count most for or against {says}", "leading regions"),
            (f"Every region coloured by its weight for {says}", "all weights"),
        )
        shown = "".join(sheet.cell(column, row, alt, below) for row, (alt, below) in enumerate(seen))
        kind = ", none of the ten classes" if meaning is None else "" if meaning == says else f", a kind of {meaning}"
        facts = {
            f"{place} most probable": f"{answer['class']} {answer['probability']:.1%}"
            for place, answer in zip(("1st", "2nd", "3rd", "4th", "5th"), sample["top5"], strict=True)
        }
        facts |= {"regions": number(sample["n_superpixels"], "d")} | card(sample, found["settings"]["top"])
        figure = quote(f"{folder}/{sample['figure']}")
        whole = f'<a class="whole" href="{figure}"><img src="{figure}" alt="The whole page on this picture" loading="lazy"></a>'
        entries.append(
            Entry(method, f"Question 2: {method}", f"test picture {sample['index']}", true, f"{says} {sample['probability']:.0%}{kind}",
                  meaning == true, sample["verdict"], brief(sample), shown, shown, facts, figure, whole)
        )  # fmt: skip
    return entries


def lime_posts(outputs: Path, posts: News) -> list[Entry]:
    """Question 2, posts: the leading words as bars, and the post with these words marked."""
    found = results.read_json(outputs / "q2_lime/text/explanations.json")
    if found["provenance"]["data_sha256"] != posts.sha256:
        raise runtime.UserError("the posts were explained from other data: run q2_lime/explain_text.py again")
    entries = []
    for sample in found["samples"]:
        weights = {word["word"]: word["weight"] for word in sample["words"]}
        facts = card(sample, text.SETTINGS.top)
        facts["rank correlation with the model's own coefficients"] = number(sample["truth_correlation"])
        facts["different words"] = number(sample["n_words"], "d")
        method = f"LIME on posts, {KIND_NAMES[sample['model']]}"
        post = f'<pre tabindex="0" role="region" aria-label="The post">{marked(posts.test[sample["index"]], weights)}</pre>'
        entries.append(
            Entry(method, f"Question 2: {method}", f"post {sample['index']}", sample["true"],
                  f"{sample['predicted']} {sample['probability']:.0%}", sample["true"] == sample["predicted"], sample["verdict"], brief(sample),
                  bars(sample["words"][:FIRST_WORDS]), bars(sample["words"], zones=True), facts,
                  quote(f"q2_lime/text/{sample['figure']}"), post)
        )  # fmt: skip
    return entries


def card(sample: dict, top: int) -> dict[str, str]:
    """How far to trust an explanation of LIME: what its results say, in the order of the figures' cards."""
    stable, settled = sample["stability"], sample["settled"]
    facts = {
        "held-out fidelity (R²)": number(sample["fidelity"]),
        f"top-{top} overlap between seeds": number(stable["jaccard"]),
        "rank correlation between seeds": number(stable["rank_correlation"]),
        "signs that agree between seeds": number(stable["sign_agreement"], ".0%"),
        "model calls": number(sample["model_calls"], ",d"),
    }
    if settled is not None:
        end = "settled" if settled else "stopped at the bound"
        facts["leading parts"] = f"{end}, expected overlap {number(sample['expected_overlap'])}"
    return facts | {"verdict": sample["verdict"]}


def brief(sample: dict) -> str:
    return f"fidelity {number(sample['fidelity'])}, overlap between seeds {number(sample['stability']['jaccard'])}"


def bars(words: list[dict], zones: bool = False) -> str:
    """Words with bars for their weights; with `zones`, where in the post each mostly stands."""
    largest = max((abs(word["weight"]) for word in words), default=0) or 1
    rows = []
    for word in words:
        side, zone = "for" if word["weight"] > 0 else "against", f"<td>{escape(word['zone'])}</td>" if zones else ""
        bar = f'<span class="bar {side}" style="--w:{abs(word["weight"]) / largest:.3f}"></span>'
        rows.append(
            f'<tr><th scope="row">{escape(image_figures.short(word["word"]))}</th><td>{bar}</td><td>{word["weight"]:+.2f}</td>{zone}</tr>'
        )
    caption = "Leading words and their weights for what the model says"
    head = '<tr><th scope="col">word</th><th scope="col">weight</th><td></td><th scope="col">stands in</th></tr>'
    return f'<table class="words"><caption>{caption}</caption>{head if zones else ""}{"".join(rows)}</table>'


def marked(body: str, weights: dict[str, float]) -> str:
    """A post as HTML, every occurrence of its leading words marked; all of its own text is escaped."""
    largest, pieces, place = max(map(abs, weights.values())) or 1, [], 0
    post = text.read(body, weights)
    for start, end, k in post.spans:
        weight = weights[post.words[k]]
        side, share = "for" if weight > 0 else "against", abs(weight) / largest
        mark = f'<mark class="{side}" style="--w:{share:.2f}">{escape(body[start:end])}</mark>'
        pieces += [escape(body[place:start]), mark]
        place = end
    return "".join([*pieces, escape(body[place:])])


def check_pictures(found: dict, dataset: data.Dataset) -> None:
    """Maps belong over the pictures that they were made from."""
    if found["provenance"]["data_sha256"] != dataset.sha256:
        script = found["provenance"]["command"]
        raise runtime.UserError(f"the pictures of {dataset.source} are not those explained: run {script} again")


def trust(verdict: str | None) -> str:
    return "none" if verdict is None else "yes" if verdict.startswith("faithful") else "no"


def item(entry: Entry) -> str:
    """An explanation as HTML: what is seen at once, and in a template what opening it shows."""
    true, says, judged = escape(entry.true), escape(entry.says), "right" if entry.right else "wrong"
    tags = f'<span class="tag {judged}">{judged}</span>'
    if entry.verdict is not None:
        trusted = "faithful and stable" if trust(entry.verdict) == "yes" else "not to be trusted"
        tags += f'<span class="tag {trust(entry.verdict)}">{trusted}</span>'
    title = f"{true} <small>{escape(entry.name)}</small>"
    said = f'<p class="says">the model says <strong>{says}</strong></p><p class="tags">{tags}</p><p class="brief">{escape(entry.brief)}</p>'
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entry.facts.items())
    values = {"method": entry.method, "class": entry.true, "right": judged, "trust": trust(entry.verdict)}
    attributes = " ".join(f'data-{name}="{escape(value)}"' for name, value in values.items())
    return (
        f'<li class="entry" {attributes}><h3>{title}</h3>{said}<div class="shown">{entry.small}</div>'
        f'<button type="button" class="open">Large view<span class="hidden"> of {escape(entry.name)}, {true}</span></button>'
        f'<template><h2 id="title">{title}</h2><p>{escape(entry.section)}</p>{said}<div class="shown">{entry.large}</div>'
        f'<dl>{facts}</dl>{entry.more}<p><a href="{entry.figure}">The figure that has it</a></p></template></li>'
    )


def choice(name: str, label: str, options: str) -> str:
    """A filter; the empty value lets everything through."""
    fields = f'<select id="{name}" name="{name}"><option value="">all</option>{options}</select>'
    return f'<div><label for="{name}">{label}</label>{fields}</div>'


def option(value: str, label: str = "") -> str:
    return f'<option value="{escape(value)}">{escape(label or value)}</option>'


def page(entries: list[Entry]) -> str:
    """The whole page."""
    style, script = ((PARTS / f"gallery.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    sections: dict[str, list[Entry]] = {}
    for entry in entries:
        sections.setdefault(entry.section, []).append(entry)
    methods = "".join(option(group[0].method, name) for name, group in sections.items())
    is_post = {entry.true: entry.method.startswith("LIME on posts") for entry in entries}
    classes = ""
    for label, posts in (("pictures", False), ("posts", True)):
        names = sorted(name for name, of_post in is_post.items() if of_post is posts)
        classes += f'<optgroup label="{label}">{"".join(map(option, names))}</optgroup>'
    filters = choice("method", "Method", methods) + choice("class", "True class", classes)
    filters += choice("right", "The model is", option("right") + option("wrong"))
    verdicts = option("yes", "faithful and stable") + option("no", "not to be trusted")
    filters += choice("trust", "LIME's verdict", verdicts + option("none", "none (Grad-CAM)"))
    body = "".join(
        f'<section><h2>{escape(name)}</h2><ul class="entries">{"".join(map(item, group))}</ul></section>\n'
        for name, group in sections.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Trust the map? All explanations</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<header>
<h1>Trust the map? All explanations</h1>
<p>Drawn at random by seed, not picked. Grad-CAM: the brighter, the more a place counts, as a share of the map's own peak; the white line
runs at half of it. LIME: <span class="for">blue</span> speaks for what the model says, <span class="against">orange</span> against it.</p>
<p class="scales"><span>Grad-CAM 0 <img src="gallery/scale.png" alt="from violet over orange to light yellow"> peak</span>
<span>LIME against <span class="signed" role="img" aria-label="from orange over white to blue"></span> for</span></p>
<noscript><p>Filters and large views need the page's own script, which is switched off here.</p></noscript>
</header>
<form class="filters" aria-label="Filters">{filters}<button type="reset">Show all</button>
<p role="status" aria-live="polite">{len(entries)} explanations</p></form>
<main>
{body}</main>
<dialog aria-labelledby="title"><div class="bar-top"><button type="button" class="back">Previous</button>
<button type="button" class="on">Next</button><button type="button" class="close">Close</button></div>
<div class="large"></div></dialog>
<script>{script}</script>
</body>
</html>
"""


def build(outputs: Path, dataset: data.Dataset, posts: News, pictures_folder: str = "q2_lime/images") -> int:
    """Writes OUTPUTS/index.html and OUTPUTS/gallery; returns how many explanations are there."""
    earlier = {*outputs.glob("gallery/gradcam_*.png")}
    entries = gradcam(outputs, dataset) + lime_pictures(outputs, pictures_folder, dataset) + lime_posts(outputs, posts)
    ramp = np.linspace(0, 1, 128)[None].repeat(8, axis=0)
    write_sheet(
        outputs / "gallery/scale.png", [[(255 * blend(np.full_like(ramp, 0.5), ramp)).round().astype(np.uint8)]]
    )
    html = page(entries)
    for path in earlier:
        if f"gallery/{quote(path.name)}" not in html:
            path.unlink()
    results.write_whole(outputs / "index.html", lambda file: file.write(html.encode()))
    return len(entries)


def main() -> None:
    parser = runtime.Parser(__doc__)
    parser.add_argument("--demo", action="store_true", help="the results of `make demo` instead")
    parser.data_option("CIFAR-10 and 20newsgroups are or go")
    args = parser.parse_args()
    if args.demo:
        outputs = results.OUTPUTS / "demo"
        count = build(outputs, data.load_shapes(), corpus.load(), "q2_lime/classifier")
    else:
        outputs = results.OUTPUTS
        count = build(outputs, data.load_cifar10(args.data), corpus.posts("20newsgroups", args.data))
    print(f"wrote {results.shown(outputs / 'index.html')} with {count} explanations, and its small pictures in gallery")


if __name__ == "__main__":
    runtime.run(main)
