"""Explains newsgroup classifiers with LIME: one test post of each class, or a text of yours.

    python q2_lime/explain_text.py                        SVM and logistic regression, 20 posts each
    python q2_lime/explain_text.py --text letter.txt      your own text (- reads standard input)
    python q2_lime/explain_text.py --samples 1000         a fixed number of masks
    python q2_lime/explain_text.py --engine lime          the `lime` package with its defaults
    python q2_lime/explain_text.py --models outputs/demo/q2_lime/text

Posts are drawn at random, by seed, from the test posts that still have words when stripped. Takes
two minutes on 2 CPU cores. Writes OUT/explanations.json, OUT/leak.json and OUT/figures; for --text,
OUT/user/NAME_HASH_KIND.{json,png}. OUT is the folder of the models, or OUT/other/OPTIONS if options
differ from their defaults.
"""

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from common import cli, newsgroups, results
from common.figures import remove_stale
from common.figures import save as save_figure
from q2_lime import core, leak, lime_package, linear, stability, text, text_figures

SOURCES = ("header", "footer")  # zones that tell where a post comes from
SHOWN = 10  # top words in figures and results
DEFAULTS = {
    "samples": "auto",
    "sampler": text.SETTINGS.sampler,
    "value": "margin",
    "engine": "builtin",
    "seed": 0,
    "kinds": list(linear.KINDS),
}
MEASURES = ("fidelity", "ground_truth_correlation", "model_calls", "seconds", "jaccard")


def arguments():
    parser = cli.Parser(__doc__)
    add, usual = parser.add_argument, text.SETTINGS
    parser.data_option("20newsgroups")
    parser.set_defaults(models=results.OUTPUTS / "q2_lime/text", **DEFAULTS)
    add(
        "--models",
        type=Path,
        metavar="DIR",
        help="folder of the models (default: outputs/q2_lime/text)",
    )
    add("--kinds", nargs="+", choices=linear.KINDS, help="default: both")
    add("--text", metavar="FILE", help="explain this text; - for standard input")
    add("--samples", metavar="N", help="masks, or auto: until the top words settle (default)")
    add("--sampler", choices=tuple(core.SAMPLERS), help=f"default: {usual.sampler}")
    add("--value", choices=text.VALUES, help="what is explained (default: margin)")
    add("--engine", choices=("builtin", "lime", "own"), help="lime: the package (default: builtin)")
    add("--seed", type=int, metavar="N", help="of posts and masks (default: 0)")
    add("--out", type=Path, metavar="DIR", help="see above")
    args = parser.parse_args()
    args.engine = args.engine.replace("own", "builtin")  # the old name
    if args.engine == "lime" and (args.sampler, args.value) != (usual.sampler, "margin"):
        parser.error("--engine lime uses the package's defaults: no --sampler, no --value")
    number = int(args.samples) if args.samples.isdecimal() else 0
    if args.samples != "auto" and number < core.MIN_SAMPLES:
        parser.error(f"--samples {args.samples}: give auto, or {core.MIN_SAMPLES} or more")
    if not args.out:
        of_posts = args.text is None
        args.out = cli.out_folder(args.models, args, DEFAULTS) if of_posts else args.models
    width = usual.kernel_width if args.sampler == "glime" else lime_package.KERNEL_WIDTH
    chosen = {"sampler": args.sampler, "kernel_width": width, "seed": args.seed}
    args.settings = replace(usual, samples=number or None, **chosen)
    return args


def main() -> None:
    args = arguments()
    models = {kind: linear.load(args.models / f"{kind}.npz") for kind in args.kinds}
    if args.text is not None:
        explain_user_text(args, models)
    else:
        explain_test_posts(args, models)


def explain_test_posts(args, models: dict[str, linear.LinearModel]) -> None:
    """Explains one test post of each class with each model and measures the weight by zone."""
    first = models[args.kinds[0]]
    posts = newsgroups.load(first.dataset, args.data)
    if args.engine == "builtin" and first.ngrams == 1:
        stripped = {f"{k}_stripped": args.models / f"{k}_stripped.npz" for k in args.kinds}
        models |= {key: linear.load(path) for key, path in stripped.items()}
    chosen, n_excluded = draw(posts, first, args.seed)
    panels: dict[str, list[text_figures.Panel]] = {kind: [] for kind in args.kinds}
    for kind in args.kinds:
        for index in chosen:
            true = posts.classes[posts.y_test[index]]
            panel = explain(args, models[kind], posts.test[index], f"post {index}", true, index)
            figure = {"figure": f"figures/{kind}_{true}.png"}
            sample = {"index": index, "model": kind} | panel.sample | figure
            panels[kind].append(replace(panel, sample=results.plain(sample)))
            print(f"{kind}, {panel.name}, {true}: {text_figures.describe(sample)[0]}", flush=True)
    leaks = {}
    if len(models) > len(args.kinds):
        leaks = results.plain(leak.compare(posts, models, args.seed))
    samples = [panel.sample for kind in args.kinds for panel in panels[kind]]
    provenance = origin(args, *args.kinds, data_sha256=posts.sha256)
    rule = "test posts with two known words or more when stripped"
    content = {
        "engine": args.engine,
        "value": args.value,
        "sampler": args.sampler,
        "n_samples": args.samples,
        "selection": f"one of each class by seed {args.seed}, from the {rule}",
        "n_excluded": n_excluded,
        "summary": summarize(samples, args.kinds),
    }
    out = results.output_folder(args.out)
    written = [
        save_figure(text_figures.post(panel), out / panel.sample["figure"])
        for row in panels.values()
        for panel in row
    ]
    for kind, row in panels.items():
        figure = text_figures.overview(row)
        written.append(save_figure(figure, out / f"figures/overview_{kind}.png"))
    if leaks:
        leaks["summary"] = leak.summarize(leaks["models"], samples)
        kind = args.kinds[0]
        pair = {key: leaks["models"][key] for key in (kind, f"{kind}_stripped")}
        written.append(save_figure(text_figures.leak(pair), out / "figures/leak.svg"))
        telling = text_figures.telling(panels[kind])
        written.append(save_figure(telling, out / "figures/telling.svg"))
        results.write_json(out / "leak.json", leaks | {"provenance": provenance})
    remove_stale(out, written)
    content |= {"provenance": provenance, "samples": samples}
    results.write_json(out / "explanations.json", content)
    for kind in args.kinds:
        row = content["summary"][kind]["median"]
        print(f"{kind}, medians: " + ", ".join(f"{key} {row[key]}" for key in MEASURES))
    print(f"wrote {results.shown(out / 'explanations.json')} and {len(written)} figures")


def origin(args, *kinds: str, **more: str) -> dict:
    """The provenance of a result, with the hashes of the models."""
    hashes = {f"{kind}_sha256": results.sha256(args.models / f"{kind}.npz") for kind in kinds}
    return results.provenance(args.seed, torch.device("cpu"), **hashes, **more)


def draw(posts: newsgroups.Posts, model: linear.LinearModel, seed: int) -> tuple[list[int], int]:
    """Draws one test post of each class among those with two known words or more when stripped.

    Returns:
        Their indices, and how many posts are excluded by the rule.
    """
    words = [set(model.tokens(newsgroups.strip(body))) for body in posts.test]
    enough = np.array([len(row & model.vocabulary.keys()) > 1 for row in words])
    chosen = []
    for k, name in enumerate(posts.classes):
        rng = np.random.default_rng(cli.seed_for(seed, "post", name))
        chosen.append(int(rng.choice(np.flatnonzero((np.array(posts.y_test) == k) & enough))))
    return chosen, int((~enough).sum())


def explain(
    args, model: linear.LinearModel, body: str, name: str, true: str, *item, news_post: bool = True
) -> text_figures.Panel:
    """Explains the predicted class of one text.

    Args:
        args: with `settings`, `engine`, `value` and `seed`.
        name: for figures and messages.
        true: the true class, "" if unknown.
        item: identifies the text in the seeds of its random draws.
        news_post: whether the text has header, quotes and footer.
    """
    post = text.read(body, model.vocabulary if model.ngrams == 1 else None, name, news_post)
    margins, d = text.answer_linear(post, model), len(post.words)
    order = np.argsort(-margins(np.ones((1, d), bool))[0], kind="stable")[:5].tolist()
    probabilities, label = model.probabilities([body])[0], order[0]
    if args.engine == "builtin":
        values = text.explained_values(margins, model, [label], args.value)
        vectors, row = run_builtin(values, d, args.settings, *item)
    else:
        vectors, row = run_package(post, model, label, args.settings, *item)
    weights, truth, correlation = vectors[0], None, None
    if model.ngrams == 1:
        truth = model.contributions(body, list(post.words))[:, label]
        if np.ptp(truth) and np.ptp(weights):
            correlation = float(spearmanr(weights, truth).statistic)
    zones = post.zone_shares().argmax(1)
    words = [
        {"word": post.words[k], "weight": weights[k], "zone": newsgroups.ZONES[zones[k]]}
        | ({} if truth is None else {"ground_truth": truth[k]})
        for k in core.top_features(weights, SHOWN)
    ]
    agreement = stability.agreement(vectors, args.settings.top_k)
    sample = {
        "true": true,
        "predicted": model.classes[label],
        "probability": probabilities[label],
        "top5": [{"class": model.classes[k], "probability": probabilities[k]} for k in order],
        "n_words": d,
        "words": words,
        "zone_weight": leak.zone_weight(post, weights),
        "ground_truth_correlation": correlation,
        "stability": agreement,
        **row,
        **vars(stability.verdict(row["fidelity"], agreement["jaccard"])),
    }
    return text_figures.Panel(name, post, results.without_nan(sample))


def run_builtin(
    values: core.ValueFunction, d: int, settings: core.Settings, *item
) -> tuple[list[np.ndarray], dict]:
    """Weights (d,) of every seed, and the measures of the first run."""
    started = time.perf_counter()
    first = core.explain(values, d, settings, *item)
    seconds = time.perf_counter() - started
    others = [core.explain(values, d, s, *item) for s in stability.repeated_settings(settings)]
    keys = ("model_calls", "settled", "expected_overlap", "effective_samples")
    row = {"fidelity": first.fidelity[0]} | {key: getattr(first, key) for key in keys}
    row |= {"original": first.original[0], "surrogate_original": first.surrogate_original[0]}
    return [run.weights[:, 0] for run in (first, *others)], row | {"seconds": seconds}


def run_package(
    post: text.Post, model: linear.LinearModel, label: int, settings: core.Settings, *item
) -> tuple[list[np.ndarray], dict]:
    """The same for the `lime` package."""
    n, runs, times = settings.samples or lime_package.TEXT_SAMPLES, [], [time.perf_counter()]
    task = post, model.probabilities, label, model.classes, n
    for k in range(stability.N_SEEDS):
        seed = cli.seed_for(settings.seed, "package", k, *item) % 2**32
        runs.append(lime_package.explain_text(*task, seed))
        times.append(time.perf_counter())
    rng = np.random.default_rng(cli.seed_for(settings.seed, "held out", *item))
    held_out = settings.held_out
    fidelity = lime_package.text_fidelity(runs[0], model.probabilities, label, held_out, rng)
    row = {"fidelity": fidelity, "in_sample": runs[0].score, "settled": None}
    row |= {"model_calls": n + held_out, "seconds": times[1] - times[0]}
    return [run.weights for run in runs], row


def summarize(samples: list[dict], kinds: list[str]) -> dict:
    """What the report prints about all posts together."""
    summary = {
        "n_explanations": len(samples),
        "n_not_trustworthy": sum(not s["trustworthy"] for s in samples),
        "share_below_leak_samples": np.mean([s["model_calls"] < leak.SAMPLES for s in samples]),
    }
    for kind in kinds:
        rows = [s for s in samples if s["model"] == kind]
        correct = [s for s in rows if s["predicted"] == s["true"]]
        wrong = [s for s in rows if s["predicted"] != s["true"]]
        truths = [t for s in rows if (t := s["ground_truth_correlation"]) is not None]
        misleading = {w["word"] for s in wrong for w in s["words"] if w["weight"] > 0}
        source = {w["word"] for s in correct for w in s["words"] if w["zone"] in SOURCES}
        summary[kind] = {
            "n": len(rows),
            "n_correct": len(correct),
            "n_not_trustworthy": sum(not s["trustworthy"] for s in rows),
            "median": stability.medians(rows, *MEASURES[:4]),
            "min_ground_truth_correlation": min(truths, default=None),
            "wrong_predictions": sorted({s["predicted"] for s in wrong}),
            "misleading_words": sorted(misleading),
            "source_words": sorted(source),
            "n_mostly_outside_body": sum(sum(s["zone_weight"][:3]) > 0.5 for s in correct),
        }
    return summary


def explain_user_text(args, models: dict[str, linear.LinearModel]) -> None:
    """Explains a user's text with each model."""
    body, name = text.read_user_text(args.text)
    digest = hashlib.sha256(body.encode()).hexdigest()[:8]  # texts of one name in two folders
    stem = f"{'text' if args.text == '-' else Path(args.text).stem}_{digest}"
    item, news_post = ("own", body), text.is_news_post(body)
    panels = {
        k: explain(args, m, body, name, "", *item, news_post=news_post) for k, m in models.items()
    }
    out = results.output_folder(args.out / "user")
    for kind, panel in panels.items():
        figure = text_figures.post(replace(panel, name=Path(name).name))
        save_figure(figure, out / f"{stem}_{kind}.png")
        content = {"model": kind, **panel.sample, "provenance": origin(args, kind)}
        results.write_json(out / f"{stem}_{kind}.json", content)
        words = ", ".join(f"{w['word']} {w['weight']:+.2f}" for w in panel.sample["words"][:5])
        print(f"{kind}: {panel.sample['predicted']} {panel.sample['probability']:.0%}; {words}")
        print("\n".join(f"  {line}" for line in text_figures.describe(panel.sample)))
    print(f"wrote a figure and a JSON file of each model in {results.shown(out)}")


if __name__ == "__main__":
    cli.run(main)
