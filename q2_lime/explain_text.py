"""Explains newsgroup classifiers with LIME: one test post of each class, or a text of yours.

    python q2_lime/explain_text.py                        SVM and logistic regression, 20 posts each
    python q2_lime/explain_text.py --text letter.txt      your own text (- reads standard input)
    python q2_lime/explain_text.py --fast                 one seed, no stability
    python q2_lime/explain_text.py --samples 1000         a fixed number of masks
    python q2_lime/explain_text.py --models outputs/demo/q2_lime/text

Posts are drawn at random from the test posts that still have two known words when stripped. Takes a
minute on two CPU cores. Writes OUT/explanations.json, OUT/leak.json and OUT/figures; for --text,
OUT/user/NAME_KIND.{png,json}. OUT is the folder of the models, or OUT/other/OPTIONS if options
differ from their defaults.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

from common import cli, newsgroups, results, user_files
from common.figures import remove_stale
from common.figures import save as save_figure

import numpy as np
import torch
from scipy.stats import spearmanr

from q2_lime import core, leak, linear, stability, summary, text, text_figures

SOURCES = ("header", "footer")  # zones that name the source of a post
SHOWN = 10  # top words in figures and results
MEASURES = ("fidelity", "fidelity_baseline", "ground_truth_correlation")
MEASURES += ("model_calls_total", "seconds_total", "similarity")


def main() -> None:
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    parser.data_option("20newsgroups")
    models = results.OUTPUTS / "q2_lime/text"
    add("--models", type=Path, default=models, metavar="DIR", help="default: outputs/q2_lime/text")
    add("--text", metavar="FILE", help="explain this text; - for standard input")
    add("--samples", type=cli.positive, metavar="N", help="masks (default: until settled)")
    add("--fast", action="store_true", help="one seed: stability is not measured")
    add("--seed", type=cli.seed, default=0, metavar="N", help="of posts and masks (default: 0)")
    add("--out", type=Path, metavar="DIR", help="see above")
    args = parser.parse_args()
    if not args.out:
        defaults = {"samples": None, "fast": False, "seed": 0} if args.text is None else {}
        args.out = cli.out_folder(args.models, args, defaults)
    args.n_seeds = 1 if args.fast else stability.N_SEEDS
    args.settings = replace(text.SETTINGS, samples=args.samples, seed=args.seed)
    models = {kind: linear.load(args.models / f"{kind}.npz") for kind in linear.KINDS}
    same_classes(args.models, models)
    if args.text is not None:
        explain_user_text(args, models)
    else:
        explain_test_posts(args, models)


def explain_test_posts(args, models: dict[str, linear.LinearModel]) -> None:
    """Explains one test post of each class with each model and measures the weight by zone."""
    first = models[linear.KINDS[0]]
    posts = newsgroups.load(first.dataset, args.data)
    out = results.output_folder(args.out)
    paths = {f"{kind}_stripped": args.models / f"{kind}_stripped.npz" for kind in models}
    stripped = {key: linear.load(path) for key, path in paths.items()}
    same_classes(args.models, models | stripped)
    calls = stability.max_calls(args.settings, args.n_seeds)
    print(f"{len(models)} models, one post of each class, at most {calls:,} model calls for each")
    leaks = leak.compare(posts, models | stripped, args.seed)
    panels: dict[str, list[text_figures.Panel]] = {kind: [] for kind in models}
    chosen = draw(posts, list(models.values()), args.seed)
    for kind, model in models.items():
        for index in chosen:
            true, name = posts.classes[posts.y_test[index]], f"post {index}"
            figure = f"figures/{kind}_{cli.file_name(true)}.png"
            about = {"index": index, "model": kind, "true": true, "figure": figure}
            panel = explain(args, model, posts.test[index], name, about, index)
            print(f"{kind}, {name}, {true}: {summary.one_line(panel.sample)}", flush=True)
            panels[kind].append(panel)
    written = []  # at the end, so that the figures belong to the results
    for kind, row in panels.items():
        sheet = text_figures.overview(row)
        written.append(save_figure(sheet, out / f"figures/overview_{kind}.png"))
        for panel in row:
            written.append(save_figure(text_figures.post(panel), out / panel.sample["figure"]))
    provenance = origin(args, *models, data_sha256=posts.sha256)
    results.write_json(out / "leak.json", leaks | {"provenance": provenance})
    remove_stale(out, written)
    samples = [panel.sample for row in panels.values() for panel in row]
    content = {"settings": vars(args.settings), "n_seeds": args.n_seeds}
    content |= {"summary": summarize(samples), "provenance": provenance, "samples": samples}
    results.write_json(out / "explanations.json", content)
    for kind in models:
        medians = content["summary"][kind]["median"].items()
        known = [f"{key} {value:.3g}" for key, value in medians if value is not None]
        print(f"{kind}, medians: {', '.join(known)}")
    print(f"wrote {results.shown(out / 'explanations.json')} and {len(written)} figures")


def same_classes(folder: Path, models: dict[str, linear.LinearModel]) -> None:
    """Raises UserError unless all models have the same data set and classes."""
    if len({(model.dataset, model.classes) for model in models.values()}) > 1:
        raise cli.UserError(f"the models in {folder} were trained on different data sets")


def origin(args, *kinds: str, **more: str) -> dict:
    """The provenance of a result, with the hashes of the models."""
    hashes = {f"{kind}_sha256": results.sha256(args.models / f"{kind}.npz") for kind in kinds}
    return results.provenance(args.seed, torch.device("cpu"), **hashes, **more)


def draw(posts: newsgroups.Posts, models: list[linear.LinearModel], seed: int) -> list[int]:
    """The index of a random test post of each class, with two words or more that the first model
    knows when stripped, and not more than LIME can explain."""
    stripped = models[0].vectors([newsgroups.strip(body) for body in posts.test])
    enough, labels, chosen = np.diff(stripped.indptr) > 1, np.array(posts.y_test), []
    lengths = [np.diff(model.vectors(posts.test).indptr) for model in models]
    too_long = np.max(lengths, axis=0) > text.MAX_WORDS
    for k, name in enumerate(posts.classes):
        rng = np.random.default_rng(cli.seed_for(seed, "post", name))
        able = np.flatnonzero((labels == k) & enough)
        index = rng.choice(able)
        if too_long[index]:
            index = rng.choice(able[~too_long[able]])
        chosen.append(int(index))
    return chosen


def explain(
    args, model: linear.LinearModel, body: str, name: str, about: dict, *item: object
) -> text_figures.Panel:
    """Explains the predicted class of one text.

    `name` is for figures and messages. `about` holds the first keys of its entry in the results
    file; its `true` is "" if the class is unknown. `item` separates the random draws of different
    texts.
    """
    post = text.read(body, model.vocabulary, name)
    label, values, truth = text.prepare(post, model)
    probabilities, d = model.probabilities([body])[0], len(post.words)
    top5 = np.argsort(-probabilities, kind="stable")[:5]
    found, row = stability.explain(values, d, args.settings, *item, n_seeds=args.n_seeds)
    weights = found.weights[:, 0]
    varied = np.ptp(truth) and np.ptp(weights)
    zones = post.zone_shares().argmax(1)
    words = [
        {"word": post.words[k], "weight": weights[k], "zone": newsgroups.ZONES[zones[k]]}
        for k in core.top_features(weights, SHOWN)
    ]
    sample = {
        **about,
        "predicted": model.classes[label],
        "probability": probabilities[label],
        "top5": [{"class": model.classes[k], "probability": probabilities[k]} for k in top5],
        "words": words,
        "zone_weight": leak.zone_weight(post, weights),
        "ground_truth_correlation": spearmanr(weights, truth).statistic if varied else None,
        **row,
    }
    # Rounded here, so that a summary agrees with the numbers in the file.
    return text_figures.Panel(Path(name).name, post, results.plain(results.without_nan(sample)))


def summarize(samples: list[dict]) -> dict:
    """Counts, medians and words of interest over all explanations, and for each kind of model."""
    by_kind = {"n_explanations": len(samples)} | summary.verdicts(samples)
    for kind in linear.KINDS:
        rows = [s for s in samples if s["model"] == kind]
        correct = [s for s in rows if s["predicted"] == s["true"]]
        wrong = [s for s in rows if s["predicted"] != s["true"]]
        misleading = {w["word"] for s in wrong for w in s["words"] if w["weight"] > 0}
        source = {w["word"] for s in correct for w in s["words"] if w["zone"] in SOURCES}
        by_kind[kind] = {
            "n": len(rows),
            "n_correct": len(correct),
            "median": summary.medians(rows, *MEASURES),
            "wrong_predictions": sorted({s["predicted"] for s in wrong}),
            "misleading_words": sorted(misleading),
            "source_words": sorted(source),
            "n_mostly_outside_body": sum(sum(s["zone_weight"][:3]) > 0.5 for s in correct),
        }
    return by_kind


def explain_user_text(args, models: dict[str, linear.LinearModel]) -> None:
    """Explains a user's text with each model, and writes NAME_KIND.png and NAME_KIND.json."""
    body, name = text.read_user_text(args.text)
    digest = hashlib.sha256(body.encode()).hexdigest()
    path = Path("text" if args.text == "-" else args.text)
    for kind, model in models.items():
        panel = explain(args, model, body, name, {"model": kind, "true": ""}, "own", body)
        sample, provenance = panel.sample, origin(args, kind)
        request = {"text_sha256": digest, "model_sha256": provenance[f"{kind}_sha256"]}
        request |= {"settings": vars(args.settings), "n_seeds": args.n_seeds}
        content = sample | {"request": request, "provenance": provenance}
        words = ", ".join(f"{w['word']} {w['weight']:+.2f}" for w in sample["words"][:5])
        said = f"{sample['predicted']} {sample['probability']:.0%}; {words}"
        rows = [(kind, said), ("LIME", summary.one_line(sample))]
        named = args.out / "user", path, [path], text_figures.post(panel)
        user_files.save(*named, content, rows, ending=f"_{kind}", photographs=False)


if __name__ == "__main__":
    cli.run(main)
