"""Writes outputs/index.html: every explanation on one page that needs no server, with filters and a large view of each.

    python report/gallery.py            outputs/index.html, from the results of both questions
    python report/gallery.py --demo     outputs/demo/index.html, from what `make demo` wrote

Reads explanations.json of Grad-CAM, of LIME on pictures and of LIME on posts, the maps beside them, and the test pictures and posts
themselves from --data. The small pictures go into gallery/ beside the page, a sheet for each class (one file loads faster than fifteen); the
figures stay where they are and are linked. Nothing is loaded from elsewhere: the page's content security policy forbids it.
"""

import base64
import hashlib
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from common import cli, data, newsgroups, results
from common.figures import blend
from common.newsgroups import Posts
from report.gallery_entries import Entry, collect, write_sheet

PARTS = Path(__file__).parent


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
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entry.facts.items()
    )
    values = {
        "method": entry.method,
        "class": entry.true,
        "right": judged,
        "trust": trust(entry.verdict),
    }
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
    style, script = (
        (PARTS / f"gallery.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")
    )
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


def build(
    outputs: Path, dataset: data.Dataset, posts: Posts, pictures_folder: str = "q2_lime/images"
) -> int:
    """Writes OUTPUTS/index.html and OUTPUTS/gallery; returns how many explanations are there."""
    earlier = {*outputs.glob("gallery/gradcam_*.png")}
    entries = collect(outputs, dataset, posts, pictures_folder)
    ramp = np.linspace(0, 1, 128)[None].repeat(8, axis=0)
    write_sheet(
        outputs / "gallery/scale.png",
        [[(255 * blend(np.full_like(ramp, 0.5), ramp)).round().astype(np.uint8)]],
    )
    html = page(entries)
    for path in earlier:
        if f"gallery/{quote(path.name)}" not in html:
            path.unlink()
    results.write_whole(outputs / "index.html", lambda file: file.write(html.encode()))
    return len(entries)


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("--demo", action="store_true", help="the results of `make demo` instead")
    parser.data_option("CIFAR-10 and 20newsgroups are or go")
    args = parser.parse_args()
    if args.demo:
        outputs = results.OUTPUTS / "demo"
        count = build(outputs, data.load_shapes(), newsgroups.load_corpus(), "q2_lime/classifier")
    else:
        outputs = results.OUTPUTS
        count = build(
            outputs, data.load_cifar10(args.data), newsgroups.load("20newsgroups", args.data)
        )
    print(
        f"wrote {results.shown(outputs / 'index.html')} with {count} explanations, and its small pictures in gallery"
    )


if __name__ == "__main__":
    cli.run(main)
