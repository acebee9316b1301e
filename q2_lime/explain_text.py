"""Explains what a newsgroup classifier says of a post: LIME, one test post of each class, and how far to trust each explanation.

    python q2_lime/explain_text.py                        one post of each class, SVM and logistic regression
    python q2_lime/explain_text.py --text letter.txt      your own text (- reads it from the terminal)
    python q2_lime/explain_text.py --samples 1000         a fixed number of masks instead of going on until settled
    python q2_lime/explain_text.py --engine lime          the `lime` package instead, all defaults
    python q2_lime/explain_text.py --models outputs/demo/q2_lime/text

Posts are drawn at random, by seed, from the test posts that still have words when stripped. Writes OUT/explanations.json, OUT/leak.json,
OUT/figures/*.png and OUT/html/*.html (the package's own page for each post); for --text, OUT/own/NAME.{json,png,html}. OUT is the models'
folder, or with options other than the usual ones a folder named after them in OUT/other.
"""

import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from common import corpus, news, results, runtime
from common.figures import remove_stale
from common.figures import save as save_figure
from q2_lime import core, leak, linear, package, text, text_figures

STABILITY_SEEDS = 5
HEADER = re.compile(r"[A-Z][A-Za-z-]*: ")
SHOWN = 10  # words in a figure
LEAK_POSTS = 10  # posts of each class for the leak meter
TELLING_POSTS = 3  # of the explained ones, in a figure of their own
USUAL = {"samples": "auto", "sampler": text.SETTINGS.sampler, "value": "margin", "engine": "own", "seed": 0}


def arguments():
    parser = runtime.Parser(__doc__)
    add = parser.add_argument
    folder = results.OUTPUTS / "q2_lime/text"
    add("--models", type=Path, default=folder, metavar="DIR", help="where KIND.npz are (default: outputs/q2_lime/text)")
    parser.data_option("20newsgroups is or goes")
    add("--kinds", nargs="+", choices=linear.KINDS, default=list(linear.KINDS), help="default: both")
    add("--text", metavar="FILE", help="explain this text instead of test posts; - for standard input")
    add("--samples", metavar="N", help="masks to fit to, or auto: until the leading words are settled (default)")
    add("--sampler", choices=tuple(core.SAMPLERS), help=f"default: {text.SETTINGS.sampler}")
    add("--value", choices=text.VALUES, help="what is explained (default: margin)")
    add("--engine", choices=("own", "lime"), help="this project's arithmetic or the package's (default: own)")
    add("--seed", type=int, metavar="N", help="of the draw of posts and of masks (default: 0)")
    add("--out", type=Path, metavar="DIR", help="see above")
    args = parser.parse_args()
    given = {name for name in USUAL if getattr(args, name) is not None}
    unusual = [f"{name}-{value}" for name in USUAL if (value := getattr(args, name)) not in (None, USUAL[name])]
    unusual += ["kinds-" + "-".join(args.kinds)] if args.kinds != list(linear.KINDS) else []
    for name, value in USUAL.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.samples != "auto" and not (args.samples.isdecimal() and int(args.samples) >= core.FEWEST):
        parser.error(f"--samples {args.samples}: give auto, or a whole number of {core.FEWEST} or more")
    if args.engine == "lime" and given & {"sampler", "value"}:
        parser.error("--engine lime runs the package as it comes: no --sampler, no --value")
    args.out = args.out or args.models / (Path("other", "_".join(unusual)) if unusual and not args.text else "")
    width = text.SETTINGS.width if args.sampler == "glime" else 0.25
    samples = None if args.samples == "auto" else int(args.samples)
    args.settings = replace(text.SETTINGS, sampler=args.sampler, width=width, samples=samples, seed=args.seed)
    return args


def main() -> None:
    args = arguments()
    models = {kind: linear.load(args.models / f"{kind}.npz") for kind in args.kinds}
    if args.text:
        explain_own(args, models)
        return
    first = models[args.kinds[0]]
    posts = corpus.posts(first.dataset, args.data)
    if args.engine == "own" and first.ngrams == 1:
        models |= {f"{kind}_stripped": linear.load(args.models / f"{kind}_stripped.npz") for kind in args.kinds}
        evaluation = results.read_json(args.models / "evaluation.json")
        check_hashes(args, evaluation)
    chosen, left_out = draw(posts, first, args.seed)

    explained, samples, panels = {}, [], {kind: [] for kind in args.kinds}
    for kind in args.kinds:
        for index in chosen:
            name, true = f"post {index}", posts.classes[posts.y_test[index]]
            found = explain(args, models[kind], posts.test[index], name, index)
            sample, panel = describe(found, models[kind], name, true)
            stem = f"{kind}_{true}"
            explained[stem] = (found, models[kind], panel)
            panels[kind].append(panel)
            sample = {"index": index, "model": kind, **sample}
            samples.append(sample | {"figure": f"figures/{stem}.png", "html": f"html/{stem}.html"})
            print(f"{kind} {name} {true}: {found['card'][0]}", flush=True)
    leaks, per_class = (
        leak_meter(args, posts, models, evaluation) if f"{args.kinds[0]}_stripped" in models else (None, None)
    )

    # All that there is to write is known.
    out, written = results.output_folder(args.out), []
    for stem, (found, model, panel) in explained.items():
        written.append(save_figure(text_figures.post(panel, panel.predicted), out / f"figures/{stem}.png"))
        write_html(out / f"html/{stem}.html", found, model)
    for kind in args.kinds:
        caption = f"One test post of each class, drawn at random (seed {args.seed}); {text_figures.KIND_NAMES[kind]}. Bars: LIME's weights"
        caption += " for the class it says (blue for, orange against), each panel on its own scale."
        figure = text_figures.overview(panels[kind], "The words behind each decision", caption)
        written.append(save_figure(figure, out / f"figures/overview_{kind}.png"))
    if leaks:
        written += leak_figures(args, posts, leaks, per_class, panels[args.kinds[0]], samples, out)
        leaks["provenance"] = results.provenance(
            args.seed, torch.device("cpu"), data_sha256=posts.sha256, **hashes(args)
        )
        results.write_json(out / "leak.json", leaks)
    medians = {kind: summary([s for s in samples if s["model"] == kind]) for kind in args.kinds}
    rule = f"one of each class by seed {args.seed}, from the test posts with two known words or more when stripped"
    content = {"engine": args.engine, "value": args.value, "sampler": args.sampler, "samples_asked": args.samples}
    content |= {"rule": rule, "left_out": left_out, "median": medians}
    if first.dataset == "corpus":
        content["known_answer"] = {
            kind: telling_found([s for s in samples if s["model"] == kind]) for kind in args.kinds
        }
        for kind, row in content["known_answer"].items():
            print(
                f"{kind}: of the three leading words for the class {row['telling']:.0%} tell it, {row['leak']:.0%} are the planted leak"
            )
    content["provenance"] = results.provenance(args.seed, torch.device("cpu"), data_sha256=posts.sha256, **hashes(args))
    remove_stale(out, written)
    results.write_json(out / "explanations.json", content | {"samples": samples})
    for kind, row in medians.items():
        known = (
            ""
            if row["truth_correlation"] is None
            else f", rank correlation with the right answer {row['truth_correlation']:.3f}"
        )
        print(f"{kind}: median fidelity {row['fidelity']:.2f}, top-5 overlap between seeds {row['jaccard']:.2f}{known}")
    print(f"wrote {results.shown(out / 'explanations.json')}, {len(written)} figures and {len(samples)} pages")


def check_hashes(args, evaluation: dict) -> None:
    """Accuracies stand beside explanations, so they have to be of the same models."""
    for kind in args.kinds:
        for variant, end in (("full", ""), ("stripped", "_stripped")):
            file = args.models / f"{kind}{end}.npz"
            if evaluation["provenance"].get(f"{kind}_{variant}_sha256") != results.sha256(file):
                raise runtime.UserError(
                    f"{file} is not what evaluation.json beside it has measured: run q2_lime/train_text.py again"
                )


def draw(posts: news.News, model: linear.LinearModel, seed: int) -> tuple[list[int], int]:
    """One test post of each class, at random by seed, of those with two known words or more when stripped; and how many that rule
    leaves out."""
    enough = []
    for body in posts.test:
        enough.append(len({t for t in model.tokens(news.strip(body)) if t in model.vocabulary}) > 1)
    labels, enough = np.array(posts.y_test), np.array(enough)
    chosen = []
    for k in range(len(posts.classes)):
        rng = np.random.default_rng(runtime.seed_for(seed, "post", posts.classes[k]))
        chosen.append(int(rng.choice(np.flatnonzero((labels == k) & enough))))
    return chosen, int((~enough).sum())


def explain(args, model: linear.LinearModel, body: str, name: str, *item: object, news_post: bool = True) -> dict:
    """One explanation with all that is said of it: the post, weights (d, 2) for the class the model says and the runner-up, the card."""
    post = text.read(body, model.vocabulary if model.ngrams == 1 else None, name, news_post)
    margins = text.answer_linear(post, model)
    full = np.ones((1, len(post.words)), bool)
    says, second = (int(k) for k in np.argsort(-margins(full)[0], kind="stable")[:2])
    found = {"post": post, "says": says, "second": second, "probabilities": model.probabilities([body])[0]}
    values = text.explained_values(margins, model, [says, second], args.value)
    if args.engine == "own":
        started = time.perf_counter()
        result = core.explain(values, len(post.words), args.settings, *item)
        found |= {"seconds": time.perf_counter() - started, "weights": result.weights, "intercept": result.intercept[0]}
        runs = [core.explain(values, len(post.words), replace(args.settings, seed=runtime.seed_for(args.settings.seed, "again", k)), *item)
                for k in range(STABILITY_SEEDS - 1)]  # fmt: skip
        found["stability"] = core.stability([run.weights[:, 0] for run in (result, *runs)], args.settings.top)
        found |= {"fidelity": result.fidelity[0], "model_calls": result.model_calls, "settled": result.settled}
        found |= {
            "effective_samples": result.effective_samples,
            "original": result.original[0],
            "expected_overlap": result.expected_overlap,
        }
        found |= {"surrogate_original": result.surrogate_original[0]}
        found["verdict"] = core.verdict(result.fidelity[0], found["stability"]["jaccard"])
        found["card"] = core.card(
            result, found["stability"], args.settings.top, args.value.replace("_", "-").capitalize()
        )
    else:
        n = args.settings.samples or package.TEXT_SAMPLES
        started = time.perf_counter()
        seeds = [runtime.seed_for(args.seed, "package", k, *item) % 2**32 for k in range(STABILITY_SEEDS)]
        runs = []
        for k, seed in enumerate(seeds):
            runs.append(package.explain_text(post, model.probabilities, says, model.classes, n, seed))
            if k == 0:
                found["seconds"] = time.perf_counter() - started
        found |= {
            "weights": runs[0].weights[:, None],
            "intercept": runs[0].intercept,
            "model_calls": n,
            "settled": None,
        }
        found["stability"] = core.stability([run.weights for run in runs], args.settings.top)
        found |= {"fidelity": runs[0].score, "verdict": "fidelity is in-sample, as the package gives it"}
        found["own"] = runs[0].own
        found["card"] = [f"In-sample R² {runs[0].score:.2f}; top-{args.settings.top} overlap between seeds {found['stability']['jaccard']:.2f};"
                         f" {n:,} calls."]  # fmt: skip
    truth = model.contributions(body, list(post.words))[:, says] if model.ngrams == 1 else None
    found["truth"] = truth
    found["truth_correlation"] = None
    if truth is not None and np.ptp(truth) and np.ptp(found["weights"][:, 0]):
        found["truth_correlation"] = float(spearmanr(found["weights"][:, 0], truth).statistic)
        found["card"][0] += f" Rank correlation with the right answer {found['truth_correlation']:.2f}."
    return found


def describe(found: dict, model: linear.LinearModel, name: str, true: str) -> tuple[dict, text_figures.Explained]:
    """What results and figure say of an explanation. `true` is empty where nobody knows."""
    post, weights = found["post"], found["weights"][:, 0]
    first = core.leading(weights, SHOWN)
    zone = [news.ZONES[k] for k in post.zone_shares().argmax(1)]
    words = [
        {"word": post.words[k], "weight": weights[k], "zone": zone[k]}
        | ({"truth": found["truth"][k]} if found["truth"] is not None else {})
        for k in first
    ]
    says = model.classes[found["says"]]
    sample = {"true": true, "predicted": says, "probability": found["probabilities"][found["says"]]}
    sample |= {"second": model.classes[found["second"]], "n_words": len(post.words), "words": words}
    sample["zone_weight"] = leak.zone_weight(post, weights)
    keys = ("fidelity", "stability", "truth_correlation", "model_calls", "settled", "expected_overlap", "effective_samples", "original",
            "surrogate_original", "seconds", "verdict")  # fmt: skip
    sample |= {key: found[key] for key in keys if key in found}
    sample = core.without_nan(sample)
    leading = set(first.tolist())
    spans = [(start, end, weights[k]) for start, end, k in post.spans if k in leading]
    bars = [text_figures.Word(post.words[k], weights[k], zone[k]) for k in first]
    explained = text_figures.Explained(
        name, post.text, spans, list(post.parts), bars, true, says, sample["probability"], found["card"]
    )
    return sample, explained


def write_html(path: Path, found: dict, model: linear.LinearModel) -> Path:
    """The package's page for an explanation: of its own object where its engine ran, else of one filled with our weights."""
    own = found.get("own") or package.text_object(
        found["post"], found["weights"][:, 0], found["intercept"], found["says"], found["probabilities"], model.classes
    )
    return package.write_html(path, own, found["says"], SHOWN)


def summary(samples: list[dict]) -> dict[str, float]:
    """Medians over the explained posts."""
    rows = {key: [s[key] for s in samples] for key in ("fidelity", "truth_correlation", "model_calls", "seconds")}
    rows |= {key: [s["stability"][key] for s in samples] for key in ("jaccard", "rank_correlation", "sign_agreement")}
    return {key: core.median(row) for key, row in rows.items()} | {
        "right": sum(s["true"] == s["predicted"] for s in samples)
    }


def telling_found(samples: list[dict]) -> dict[str, float]:
    """Built-in posts: of the three leading words for the class, the share that tell it by construction, and the share that are the
    planted leak."""
    telling, leaks = [], []
    for sample in samples:
        first = [word["word"] for word in sample["words"] if word["weight"] > 0][:3]
        telling += [word in corpus.TELLING[sample["predicted"]] for word in first]
        leaks += [word == corpus.LEAKS[sample["predicted"]] for word in first]
    return {"telling": float(np.mean(telling)), "leak": float(np.mean(leaks))}


def hashes(args) -> dict[str, str]:
    return {f"{kind}_sha256": results.sha256(args.models / f"{kind}.npz") for kind in args.kinds}


def leak_meter(args, posts, models, evaluation) -> tuple[dict, dict]:
    """The contents of leak.json, and the zone shares by class (K, 4) of each model: those trained on full posts and those trained on stripped
    ones, all shown the same full posts."""
    labels, chosen = np.array(posts.y_test), []
    for k, name in enumerate(posts.classes):
        rng = np.random.default_rng(runtime.seed_for(args.seed, "leak", name))
        of_class = np.flatnonzero(labels == k)
        chosen += rng.choice(of_class, min(LEAK_POSTS, len(of_class)), replace=False).tolist()
    bodies, classes = [posts.test[i] for i in chosen], labels[chosen]
    rows, by_class = {}, {}
    for key, model in models.items():
        shares, words = leak.measure(model, bodies, chosen, args.seed)
        outside = 1 - shares[:, leak.BODY]
        by_class[key] = np.array([np.nanmean(shares[classes == k], axis=0) for k in range(len(posts.classes))])
        rng = np.random.default_rng(runtime.seed_for(args.seed, "interval", key))
        scores = evaluation["models"][key.removesuffix("_stripped")]
        rows[key] = {
            "trained_on": "stripped posts" if model.stripped else "posts as they are",
            "accuracy": scores["accuracy_stripped_on_full" if model.stripped else "accuracy"],
            "accuracy_on_stripped": scores["accuracy_stripped" if model.stripped else "accuracy_full_on_stripped"],
            "outside_body": np.nanmean(outside),
            "outside_body_interval": leak.interval(outside, rng),
            "outside_body_words": np.nanmean(1 - words[:, leak.BODY]),
            "zones": dict(zip(news.ZONES, np.nanmean(shares, axis=0), strict=True)),
            "per_class": {
                name: dict(zip(news.ZONES, by_class[key][k], strict=True)) for k, name in enumerate(posts.classes)
            },
        }
        row = rows[key]
        print(f"leak meter, {key}: {row['outside_body']:.0%} of the weight outside the body, where {row['outside_body_words']:.0%} of the"
              " words stand", flush=True)  # fmt: skip
    rule = f"{LEAK_POSTS} test posts of each class by seed {args.seed}, shown to every model as they are"
    about = {
        "posts": len(chosen),
        "posts_per_class": LEAK_POSTS,
        "top_words": leak.TOP,
        "samples": leak.SAMPLES,
        "rule": rule,
    }
    return core.without_nan(about | {"models": rows}), by_class


def leak_figures(args, posts, leaks, by_class, panels, samples, out: Path) -> list[Path]:
    """Zones by class for the first kind of model, trained on full and on stripped posts; the most telling of the explained posts."""
    kind, rows = args.kinds[0], leaks["models"]
    titles = {
        key: f"trained on {rows[key]['trained_on']}: {rows[key]['outside_body']:.0%}\noutside the body (of the words: {rows[key]['outside_body_words']:.0%})"
        for key in (kind, f"{kind}_stripped")
    }
    figure = text_figures.leak({key: by_class[key] for key in titles}, posts.classes, titles)
    written = [save_figure(figure, out / "figures/leak.png")]
    outside = [1 - s["zone_weight"][leak.BODY] for s in samples if s["model"] == kind]
    order = [k for k in np.argsort(outside)[::-1] if panels[k].true == panels[k].predicted][:TELLING_POSTS]
    caption = f"Of the {len(panels)} explained posts, one of each class, those that the {text_figures.KIND_NAMES[kind]} gets right with the largest"
    caption += f" share of the weight of the {leak.TOP} leading words outside the body. Dotted lines: lines left out."
    figure = text_figures.telling(
        [panels[k] for k in order], [outside[k] for k in order], "Right, for the wrong reasons?", caption
    )
    return [*written, save_figure(figure, out / "figures/telling.png")]


def explain_own(args, models) -> None:
    """Explains a user's text with each model."""
    if args.text == "-":
        body, name = sys.stdin.buffer.read(text.LONGEST * 4 + 1), "standard input"
    else:
        path = Path(args.text)
        if not path.is_file():
            raise runtime.UserError(f"there is no text {path}")
        with open(path, "rb") as file:
            body, name = file.read(text.LONGEST * 4 + 1), str(path)
    try:
        body = body.decode("utf-8")
    except UnicodeDecodeError:
        if len(body) > text.LONGEST * 4:
            raise runtime.UserError(f"{name} is too long: cut it to {text.LONGEST:,} characters or fewer") from None
        raise runtime.UserError(f"{name} is not a text in UTF-8") from None
    body = body.replace("\r\n", "\n")
    headed = HEADER.match(body) is not None  # a text without header lines is no newsgroup post: all of it is body
    done = []
    for kind, model in models.items():
        found = explain(args, model, body, name, "own", body, news_post=headed)
        sample, panel = describe(found, model, Path(name).name if args.text != "-" else name, "")
        done.append((kind, model, found, sample, panel))
    out = results.output_folder(args.out / "own")
    stem = "text" if args.text == "-" else Path(args.text).stem
    for kind, model, found, sample, panel in done:
        save_figure(text_figures.post(panel, sample["predicted"]), out / f"{stem}_{kind}.png")
        write_html(out / f"{stem}_{kind}.html", found, model)
        origin = results.provenance(
            args.seed, torch.device("cpu"), model_sha256=results.sha256(args.models / f"{kind}.npz")
        )
        results.write_json(out / f"{stem}_{kind}.json", {"model": kind, **sample, "provenance": origin})
        words = ", ".join(f"{word['word']} {word['weight']:+.2f}" for word in sample["words"][:5])
        print(f"{kind}: {sample['predicted']} {sample['probability']:.0%}; {words}")
        print("\n".join(f"  {line}" for line in found["card"]))
    print(f"wrote {results.shown(out)}/{stem}_*.png, .html and .json")


if __name__ == "__main__":
    runtime.run(main)
