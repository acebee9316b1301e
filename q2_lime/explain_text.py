"""Explains what a newsgroup classifier says of a post: LIME, one test post of each class, and how far to trust each explanation.

    python q2_lime/explain_text.py                        one post of each class, SVM and logistic regression
    python q2_lime/explain_text.py --text letter.txt      your own text (- reads it from the terminal)
    python q2_lime/explain_text.py --samples 1000         a fixed number of masks instead of going on until settled
    python q2_lime/explain_text.py --engine lime          the `lime` package instead, all defaults
    python q2_lime/explain_text.py --models outputs/demo/q2_lime/text

Posts are drawn at random, by seed, from the test posts that still have words when stripped. Writes OUT/explanations.json, OUT/leak.json,
OUT/figures/*.png, OUT/html/*.html (the package's own page for each post) and, for report/verify.py, OUT/receipts.json; for --text,
OUT/own/NAME.{json,png,html}. OUT is the models' folder, or with options other than the usual ones a folder named after them in OUT/other.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from common import cli, newsgroups, results
from common.figures import remove_stale
from common.figures import save as save_figure
from common.results import reading
from q2_lime import core, leak, lime_package, linear, one_post, stability, text, text_figures

HEADER = re.compile(r"[A-Z][A-Za-z-]*: ")
TELLING_POSTS = 3  # of the explained ones, in a figure of their own
USUAL = {
    "samples": "auto",
    "sampler": text.SETTINGS.sampler,
    "value": "margin",
    "engine": "own",
    "seed": 0,
}


def arguments():
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    folder = results.OUTPUTS / "q2_lime/text"
    add(
        "--models",
        type=Path,
        default=folder,
        metavar="DIR",
        help="where KIND.npz are (default: outputs/q2_lime/text)",
    )
    parser.data_option("20newsgroups")
    add(
        "--kinds", nargs="+", choices=linear.KINDS, default=list(linear.KINDS), help="default: both"
    )
    add(
        "--text",
        metavar="FILE",
        help="explain this text instead of test posts; - for standard input",
    )
    add(
        "--samples",
        metavar="N",
        help="masks to fit to, or auto: until the leading words are settled (default)",
    )
    add("--sampler", choices=tuple(core.SAMPLERS), help=f"default: {text.SETTINGS.sampler}")
    add("--value", choices=text.VALUES, help="what is explained (default: margin)")
    add(
        "--engine",
        choices=("own", "lime"),
        help="this project's arithmetic or the package's (default: own)",
    )
    add("--seed", type=int, metavar="N", help="of the draw of posts and of masks (default: 0)")
    add("--out", type=Path, metavar="DIR", help="see above")
    args = parser.parse_args()
    given = {name for name in USUAL if getattr(args, name) is not None}
    unusual = [
        f"{name}-{value}"
        for name in USUAL
        if (value := getattr(args, name)) not in (None, USUAL[name])
    ]
    unusual += ["kinds-" + "-".join(args.kinds)] if args.kinds != list(linear.KINDS) else []
    for name, value in USUAL.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.samples != "auto" and not (
        args.samples.isdecimal() and int(args.samples) >= core.FEWEST
    ):
        parser.error(
            f"--samples {args.samples}: give auto, or a whole number of {core.FEWEST} or more"
        )
    if args.engine == "lime" and given & {"sampler", "value"}:
        parser.error("--engine lime runs the package as it comes: no --sampler, no --value")
    args.out = args.out or args.models / (
        Path("other", "_".join(unusual)) if unusual and not args.text else ""
    )
    width = text.SETTINGS.width if args.sampler == "glime" else 0.25
    samples = None if args.samples == "auto" else int(args.samples)
    args.settings = replace(
        text.SETTINGS, sampler=args.sampler, width=width, samples=samples, seed=args.seed
    )
    return args


def main() -> None:
    args = arguments()
    models = {kind: linear.load(args.models / f"{kind}.npz") for kind in args.kinds}
    if args.text:
        explain_own(args, models)
        return
    first = models[args.kinds[0]]
    posts = newsgroups.load(first.dataset, args.data)
    if args.engine == "own" and first.ngrams == 1:
        models |= {
            f"{kind}_stripped": linear.load(args.models / f"{kind}_stripped.npz")
            for kind in args.kinds
        }
        evaluation = results.read_json(args.models / "evaluation.json")
        with reading(args.models / "evaluation.json"):
            check_evaluation(args, evaluation)
    chosen, left_out = draw(posts, first, args.seed)

    explained, samples, panels = {}, [], {kind: [] for kind in args.kinds}
    for kind in args.kinds:
        for index in chosen:
            name, true = f"post {index}", posts.classes[posts.y_test[index]]
            one = explain(args, models[kind], posts.test[index], name, true, index)
            stem = f"{kind}_{true}"
            explained[stem] = one
            panels[kind].append(one.panel)
            sample = {"index": index, "model": kind, **one.sample}
            samples.append(sample | {"figure": f"figures/{stem}.png", "html": f"html/{stem}.html"})
            print(f"{kind} {name} {true}: {one.panel.card[0]}", flush=True)
    leaks = (
        leak.meter(posts, models, evaluation, args.seed)
        if f"{args.kinds[0]}_stripped" in models
        else None
    )

    # All that there is to write is known.
    out, written = results.output_folder(args.out), []
    for stem, one in explained.items():
        written.append(save_figure(text_figures.post(one.panel), out / f"figures/{stem}.png"))
        lime_package.write_html(out / f"html/{stem}.html", one.page, one.says, one_post.SHOWN)
    for kind in args.kinds:
        caption = f"One test post of each class, drawn at random (seed {args.seed}); {text_figures.KIND_NAMES[kind]}. Bars: LIME's weights"
        caption += " for the class it says (blue for, orange against), each panel on its own scale."
        figure = text_figures.overview(panels[kind], "The words behind each decision", caption)
        written.append(save_figure(figure, out / f"figures/overview_{kind}.png"))
    if leaks:
        written += leak_figures(args, posts, leaks, panels[args.kinds[0]], samples, out)
        leaks["provenance"] = results.provenance(
            args.seed, torch.device("cpu"), data_sha256=posts.sha256, **hashes(args)
        )
        results.write_json(out / "leak.json", leaks)
    samples = results.plain(samples)  # what is said of all is said of them as they are written
    content = summarise(args, first.dataset, left_out, samples)
    for kind, row in content.get("known_answer", {}).items():
        print(
            f"{kind}: of the three leading words for the class {row['telling']:.0%} tell it, {row['leak']:.0%} are the planted leak"
        )
    content["provenance"] = results.provenance(
        args.seed, torch.device("cpu"), data_sha256=posts.sha256, **hashes(args)
    )
    remove_stale(out, written)
    results.write_json(out / "explanations.json", content | {"samples": samples})
    for kind, row in content["median"].items():
        known = (
            ""
            if row["truth_correlation"] is None
            else f", rank correlation with the model's own coefficients {row['truth_correlation']:.3f}"
        )
        print(
            f"{kind}: median fidelity {row['fidelity']:.2f}, top-5 overlap between seeds {row['jaccard']:.2f}{known}"
        )
    print(
        f"wrote {results.shown(out / 'explanations.json')}, {len(written)} figures and {len(samples)} pages"
    )


def check_evaluation(args, evaluation: dict) -> None:
    """Accuracies stand beside explanations, so they have to be there, and of the same models."""
    for kind in args.kinds:
        [evaluation["models"][kind][name] for names in leak.ACCURACIES.values() for name in names]
        for variant, end in (("full", ""), ("stripped", "_stripped")):
            file = args.models / f"{kind}{end}.npz"
            if evaluation["provenance"].get(f"{kind}_{variant}_sha256") != results.sha256(file):
                raise cli.UserError(
                    f"{file} is not what evaluation.json beside it has measured: run q2_lime/train_text.py again"
                )


def draw(posts: newsgroups.Posts, model: linear.LinearModel, seed: int) -> tuple[list[int], int]:
    """One test post of each class, at random by seed, of those with two known words or more when stripped; and how many that rule
    leaves out."""
    enough = []
    for body in posts.test:
        enough.append(
            len({t for t in model.tokens(newsgroups.strip(body)) if t in model.vocabulary}) > 1
        )
    labels, enough = np.array(posts.y_test), np.array(enough)
    chosen = []
    for k in range(len(posts.classes)):
        rng = np.random.default_rng(cli.seed_for(seed, "post", posts.classes[k]))
        chosen.append(int(rng.choice(np.flatnonzero((labels == k) & enough))))
    return chosen, int((~enough).sum())


def explain(
    args,
    model: linear.LinearModel,
    body: str,
    name: str,
    true: str,
    *item: object,
    news_post: bool = True,
):
    """One explanation as the command line asks for it."""
    return one_post.explain(
        model, body, args.settings, args.engine, args.value, name, true, *item, news_post=news_post
    )


def summarise(args, dataset: str, left_out: int, samples: list[dict]) -> dict:
    """What the results say of all posts together, from what explanations.json says of each."""
    medians = {}
    for kind in args.kinds:
        of_kind = [s for s in samples if s["model"] == kind]
        medians[kind] = stability.medians(
            of_kind, "fidelity", "truth_correlation", "model_calls", "seconds"
        )
        medians[kind]["right"] = sum(s["true"] == s["predicted"] for s in of_kind)
    rule = f"one of each class by seed {args.seed}, from the test posts with two known words or more when stripped"
    content = {
        "engine": args.engine,
        "value": args.value,
        "sampler": args.sampler,
        "samples_asked": args.samples,
    }
    content |= {"rule": rule, "left_out": left_out, "median": medians}
    if dataset == "corpus":
        content["known_answer"] = {
            kind: telling_found([s for s in samples if s["model"] == kind]) for kind in args.kinds
        }
    return content


def telling_found(samples: list[dict]) -> dict[str, float]:
    """Built-in posts: of the three leading words for the class, the share that tell it by construction, and the share that are the
    planted leak."""
    telling, leaks = [], []
    for sample in samples:
        first = [word["word"] for word in sample["words"] if word["weight"] > 0][:3]
        telling += [word in newsgroups.TOPIC_WORDS[sample["predicted"]] for word in first]
        leaks += [word == newsgroups.LEAK_HOSTS[sample["predicted"]] for word in first]
    return {"telling": float(np.mean(telling)), "leak": float(np.mean(leaks))}


def hashes(args) -> dict[str, str]:
    return {f"{kind}_sha256": results.sha256(args.models / f"{kind}.npz") for kind in args.kinds}


def leak_figures(args, posts, leaks, panels, samples, out: Path) -> list[Path]:
    """Zones by class for the first kind of model, trained on full and on stripped posts; the most telling of the explained posts."""
    kind, rows = args.kinds[0], leaks["models"]
    titles = {
        key: f"trained on {rows[key]['trained_on']}: {rows[key]['outside_body']:.0%}\noutside the body (of the words: {rows[key]['outside_body_words']:.0%})"
        for key in (kind, f"{kind}_stripped")
    }
    shares = {
        key: [[zones[z] for z in newsgroups.ZONES] for zones in rows[key]["per_class"].values()]
        for key in titles
    }
    figure = text_figures.leak(
        {key: np.array(share, float) for key, share in shares.items()}, posts.classes, titles
    )
    written = [save_figure(figure, out / "figures/leak.png")]
    outside = leak.outside(np.array([s["zone_weight"] for s in samples if s["model"] == kind]))
    order = [k for k in np.argsort(outside)[::-1] if panels[k].true == panels[k].predicted][
        :TELLING_POSTS
    ]
    caption = f"Of the {len(panels)} explained posts, one of each class, those that the {text_figures.KIND_NAMES[kind]} gets right with the largest"
    caption += f" share of the weight of the {leak.TOP} leading words outside the body. Dotted lines: lines left out."
    figure = text_figures.telling(
        [panels[k] for k in order],
        [outside[k] for k in order],
        "Right, for the wrong reasons?",
        caption,
    )
    return [*written, save_figure(figure, out / "figures/telling.png")]


def explain_own(args, models) -> None:
    """Explains a user's text with each model."""
    body, name = text.from_user(args.text)
    headed = (
        HEADER.match(body) is not None
    )  # a text without header lines is no newsgroup post: all of it is body
    explained = {}
    for kind, model in models.items():
        explained[kind] = explain(args, model, body, name, "", "own", body, news_post=headed)
    out = results.output_folder(args.out / "own")
    stem = "text" if args.text == "-" else Path(args.text).stem
    for kind, one in explained.items():
        panel = replace(one.panel, name=Path(name).name)
        save_figure(text_figures.post(panel), out / f"{stem}_{kind}.png")
        lime_package.write_html(out / f"{stem}_{kind}.html", one.page, one.says, one_post.SHOWN)
        origin = results.provenance(
            args.seed, torch.device("cpu"), model_sha256=results.sha256(args.models / f"{kind}.npz")
        )
        results.write_json(
            out / f"{stem}_{kind}.json", {"model": kind, **one.sample, "provenance": origin}
        )
        words = ", ".join(
            f"{word['word']} {word['weight']:+.2f}" for word in one.sample["words"][:5]
        )
        print(f"{kind}: {one.sample['predicted']} {one.sample['probability']:.0%}; {words}")
        print("\n".join(f"  {line}" for line in one.panel.card))
    print(f"wrote {results.shown(out)}/{stem}_*.png, .html and .json")


if __name__ == "__main__":
    cli.run(main)
