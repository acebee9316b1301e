"""What the gallery shows: the explanations of both questions, read from their results, each with its facts and its small pictures."""

from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from common import cli, data, results
from common.figures import blend, enlarge, grey
from common.newsgroups import Posts
from common.results import reading
from q1_gradcam.selection import KINDS
from q2_lime import image_figures, images, text
from q2_lime.text_figures import KIND_NAMES

FINE = 128  # pixels: the side that a small picture is enlarged to, at least
PALETTE_STEP = 4  # at every how many pixels the colours are looked up
FIRST_WORDS = 5  # of a post, before it is opened
METHOD_NAMES = {"gradcam": "Grad-CAM"}


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
    colours = full.reduce(PALETTE_STEP).quantize(
        256, kmeans=2
    )  # of all pixels they would take half a minute
    image = full.quantize(
        palette=colours, dither=Image.Dither.FLOYDSTEINBERG if dither else Image.Dither.NONE
    )
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


def collect(
    outputs: Path, dataset: data.Dataset, posts: Posts, pictures_folder: str
) -> list[Entry]:
    """All explanations below `outputs`; their small pictures go into its folder gallery.

    Raises:
        UserError: results are missing or damaged, or of other data.
    """
    entries = []
    for folder, read, origin in (
        ("q1_gradcam", gradcam, dataset),
        (pictures_folder, lime_pictures, dataset),
        ("q2_lime/text", lime_posts, posts),
    ):
        with reading(outputs / folder / "explanations.json"):
            entries += read(outputs, folder, origin)
    return entries


def number(value: float | None, form: str = ".2f") -> str:
    return "–" if value is None else format(value, form)


def gradcam(outputs: Path, folder: str, dataset: data.Dataset) -> list[Entry]:
    """Question 1: a sheet for each class and kind; columns are pictures, rows the picture and its maps."""
    found = results.read_json(outputs / folder / "explanations.json")
    check_pictures(found, dataset)
    file = outputs / folder / found["maps"]
    arrays = results.read_npz(file)
    with reading(file):
        maps, maps_true = arrays["map"], arrays["map_true"]
    groups: dict[tuple[str, str], list[int]] = {}
    for k, sample in enumerate(found["samples"]):
        groups.setdefault((sample["kind"], sample["true"]), []).append(k)
    entries = []
    for (kind, true), members in sorted(groups.items(), key=lambda group: KINDS.index(group[0][0])):
        pictures = [dataset.x_test[found["samples"][k]["index"]] for k in members]
        raws = [[maps[k] for k in members]] + (
            [[maps_true[k] for k in members]] if kind == "incorrect" else []
        )
        cells = [[finer(p) for p in pictures]]
        cells += [
            [over_picture(p, raw) for p, raw in zip(pictures, row, strict=True)] for row in raws
        ]
        sheet = write_sheet(outputs / f"gallery/gradcam_{kind}_{true}.png", cells)
        for column, k in enumerate(members):
            sample = found["samples"][k]
            shares = {true: sample["confidence_true"], sample["predicted"]: sample["confidence"]}
            explained = [(sample["explained"], sample["dead"]), (true, sample["dead_true"])][
                : len(raws)
            ]
            shown = [sheet.cell(column, 0, f"The picture, a small photograph: {true}", "picture")]
            for row, (name, dead) in enumerate(explained):
                highest = (
                    "zero everywhere" if dead else f"highest at {whereabouts(raws[row][column])}"
                )
                below = f"map for {name}" + (f", {shares[name]:.0%}" if name in shares else "")
                across = "zero after the ReLU: no evidence" if dead else ""
                shown.append(
                    sheet.cell(column, row + 1, f"Its map for {name}: {highest}", below, across)
                )
            facts = {
                f"confidence in {sample['predicted']}, the class it says": number(
                    sample["confidence"], ".1%"
                ),
                f"confidence in {true}, the true class": number(sample["confidence_true"], ".1%"),
                **{
                    f"map for {name}": "dead: zero after the ReLU" if dead else "not dead"
                    for name, dead in explained
                },
                "highest value of the map before scaling": number(sample["peak"], ".3f"),
                "method and layer": f"{sample['method']}, {sample['layer']}",
            }
            alive = (
                "no evidence left after the ReLU"
                if any(dead for _, dead in explained)
                else "map not dead"
            )
            line = (
                alive
                if kind == "correct"
                else f"true class {sample['confidence_true']:.0%}; {alive}"
            )
            method = METHOD_NAMES.get(found["method"], found["method"])
            entries.append(
                Entry(
                    method,
                    f"Question 1: {method}",
                    f"test picture {sample['index']}",
                    true,
                    f"{sample['predicted']} {sample['confidence']:.0%}",
                    kind == "correct",
                    None,
                    line,
                    "".join(shown),
                    "".join(shown),
                    facts,
                    quote(f"{folder}/{sample['figure']}"),
                )
            )
    return entries


def lime_pictures(outputs: Path, folder: str, dataset: data.Dataset) -> list[Entry]:
    """Question 2, pictures: one sheet; columns are pictures, rows the picture, its leading regions, all its weights."""
    found = results.read_json(outputs / folder / "explanations.json")
    check_pictures(found, dataset)
    file, samples, columns = outputs / folder / "explanations.npz", found["samples"], []
    arrays = results.read_npz(file)
    for sample in samples:
        index = sample["index"]
        with reading(file):
            labels, weights = (arrays[f"{name}_{index}"] for name in ("labels", "weights"))
        picture = images.enlarged(dataset.x_test[index], len(labels), found["choices"]["enlarge"])
        leading = image_figures.leading_map(picture, labels, weights[:, 0])
        signed = image_figures.signed_map(picture, labels, weights[:, 0])
        columns.append([finer(one, len(leading)) for one in (picture, leading, signed)])
    sheet = write_sheet(
        outputs / "gallery/lime.png", [list(row) for row in zip(*columns, strict=True)], dither=True
    )
    method, entries = f"LIME on pictures, {found['model']}", []
    for column, sample in enumerate(samples):
        true, says, meaning = sample["true"], sample["predicted"], sample["meaning"]
        seen = (
            ("The picture as the model saw it", "picture"),
            (
                f"The {image_figures.LEADING} regions that count most for or against {says}",
                "leading regions",
            ),
            (f"Every region coloured by its weight for {says}", "all weights"),
        )
        shown = "".join(
            sheet.cell(column, row, alt, below) for row, (alt, below) in enumerate(seen)
        )
        kind = (
            ", none of the ten classes"
            if meaning is None
            else ""
            if meaning == says
            else f", a kind of {meaning}"
        )
        facts = {
            f"{place} most probable": f"{answer['class']} {answer['probability']:.1%}"
            for place, answer in zip(
                ("1st", "2nd", "3rd", "4th", "5th"), sample["top5"], strict=True
            )
        }
        facts |= {"regions": number(sample["n_superpixels"], "d")} | card(
            sample, found["settings"]["top"]
        )
        figure = quote(f"{folder}/{sample['figure']}")
        whole = f'<a class="whole" href="{figure}"><img src="{figure}" alt="The whole page on this picture" loading="lazy"></a>'
        entries.append(
            Entry(
                method,
                f"Question 2: {method}",
                f"test picture {sample['index']}",
                true,
                f"{says} {sample['probability']:.0%}{kind}",
                meaning == true,
                sample["verdict"],
                brief(sample),
                shown,
                shown,
                facts,
                figure,
                whole,
            )
        )
    return entries


def lime_posts(outputs: Path, folder: str, posts: Posts) -> list[Entry]:
    """Question 2, posts: the leading words as bars, and the post with these words marked."""
    found = results.read_json(outputs / folder / "explanations.json")
    if found["provenance"]["data_sha256"] != posts.sha256:
        raise cli.UserError(
            "the posts were explained from other data: run q2_lime/explain_text.py again"
        )
    entries = []
    for sample in found["samples"]:
        weights = {word["word"]: word["weight"] for word in sample["words"]}
        facts = card(sample, text.SETTINGS.top)
        facts["rank correlation with the model's own coefficients"] = number(
            sample["truth_correlation"]
        )
        facts["different words"] = number(sample["n_words"], "d")
        method = f"LIME on posts, {KIND_NAMES[sample['model']]}"
        post = f'<pre tabindex="0" role="region" aria-label="The post">{marked(posts.test[sample["index"]], weights)}</pre>'
        entries.append(
            Entry(
                method,
                f"Question 2: {method}",
                f"post {sample['index']}",
                sample["true"],
                f"{sample['predicted']} {sample['probability']:.0%}",
                sample["true"] == sample["predicted"],
                sample["verdict"],
                brief(sample),
                bars(sample["words"][:FIRST_WORDS]),
                bars(sample["words"], zones=True),
                facts,
                quote(f"{folder}/{sample['figure']}"),
                post,
            )
        )
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
    if "in_sample" in sample:
        facts["in-sample R², as the package gives it"] = number(sample["in_sample"])
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
        side, zone = (
            "for" if word["weight"] > 0 else "against",
            f"<td>{escape(word['zone'])}</td>" if zones else "",
        )
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
        raise cli.UserError(
            f"the pictures of {dataset.source} are not those explained: run {script} again"
        )
