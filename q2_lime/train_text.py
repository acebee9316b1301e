"""Trains classifiers of newsgroup posts: a linear SVM and logistic regression, each on posts as they are and on stripped ones.

    python q2_lime/train_text.py                          20newsgroups; about 10 minutes, most of it cross-validation
    python q2_lime/train_text.py --kinds svm --ngrams 2   pairs of words as features too
    python q2_lime/train_text.py --dataset corpus         built-in posts: no download, seconds

Stripped posts have no headers, footers and quotes. Settings are chosen by cross-validation on the training posts; the test posts are
looked at once. Writes OUT/KIND.npz and OUT/KIND_stripped.npz (arrays and words, no pickles), OUT/evaluation.json,
OUT/confusion.png, OUT/per_class.png and, for report/verify.py, OUT/receipts.json. OUT is outputs/q2_lime/text, or with unusual options a folder named after them in OUT/other.
"""

from pathlib import Path

import numpy as np
import torch

from common import cli, newsgroups, results, statistics
from common.figures import save as save_figure
from q2_lime import linear, text_figures, training

VARIANTS = {"full": False, "stripped": True}


def arguments():
    parser = cli.Parser(__doc__)
    parser.add_argument("--dataset", choices=newsgroups.DATASETS, default="20newsgroups")
    parser.data_option("20newsgroups")
    parser.add_argument(
        "--kinds", nargs="+", choices=linear.KINDS, default=list(linear.KINDS), help="default: both"
    )
    parser.add_argument(
        "--ngrams", type=int, choices=(1, 2), default=1, help="2: pairs of words are features too"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the cross-validation's folds (default: 0)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="see above")
    args = parser.parse_args()
    if args.out is None:
        usual = {"kinds": list(linear.KINDS), "ngrams": 1, "seed": 0}
        named = [
            f"{name}-{'-'.join(map(str, v)) if name == 'kinds' else v}"
            for name in usual
            if (v := getattr(args, name)) != usual[name]
        ]
        base = results.OUTPUTS if args.dataset == "20newsgroups" else results.OUTPUTS / "demo"
        args.out = base / "q2_lime/text" / (Path("other", "_".join(named)) if named else "")
    return args


def main() -> None:
    args = arguments()
    posts = newsgroups.load(args.dataset, args.data)
    out = results.output_folder(args.out)
    y_train, y_test = np.array(posts.y_train), np.array(posts.y_test)
    texts, groups = (
        {"full": posts.train, "stripped": [newsgroups.strip(text) for text in posts.train]},
        threads(posts),
    )
    models, searches, words = {}, {}, {}
    for kind in args.kinds:
        for variant, stripped in VARIANTS.items():
            # What counts as a word is searched with the first kind of classifier; the others take its answer.
            options = [words[variant]] if variant in words else training.WORDS
            rows = training.search(
                texts[variant], y_train, groups, kind, args.ngrams, options, args.seed
            )
            words.setdefault(variant, {key: rows[0][key] for key in ("min_df", "stop_words")})
            models[kind, variant] = found = training.train(
                texts[variant],
                y_train,
                groups,
                posts.classes,
                kind,
                args.ngrams,
                stripped,
                args.dataset,
                rows[0],
            )
            searches[f"{kind}_{variant}"] = rows
            print(
                f"{kind}, {variant}: cross-validated {rows[0]['accuracy']:.2%} with {found.settings}",
                flush=True,
            )

    predicted, content = tested(args, posts, models)
    content["search"] = searches
    # Everything is written at the end, so that models and figures belong together.
    origin, written = {"data_sha256": posts.sha256}, []
    for (kind, variant), found in models.items():
        path = linear.save(out / f"{kind}{'_stripped' if VARIANTS[variant] else ''}.npz", found)
        origin[f"{kind}_{variant}_sha256"] = results.sha256(path)
        written.append(path)
    content["provenance"] = results.provenance(args.seed, torch.device("cpu"), **origin)
    main_kind = args.kinds[0]
    matrix = confusion(predicted[main_kind, "full", "full"], y_test, len(posts.classes))
    written.append(
        save_figure(text_figures.confusion(matrix, posts.classes, main_kind), out / "confusion.png")
    )
    recalls = {
        variant: recall(predicted[main_kind, variant, variant], y_test) for variant in VARIANTS
    }
    written.append(
        save_figure(
            text_figures.per_class(recalls, posts.classes, main_kind), out / "per_class.png"
        )
    )
    written.append(results.write_json(out / "evaluation.json", content))
    for kind, row in content["models"].items():
        print(
            f"{kind}: test {row['accuracy']:.2%} as they are, {row['accuracy_stripped']:.2%} stripped"
            f" ({row['accuracy_full_on_stripped']:.2%} when trained on full posts)"
        )
    print(
        f"wrote {results.shown(out / 'evaluation.json')}, two figures and {len(models)} models beside it"
    )


def threads(posts: newsgroups.Posts) -> np.ndarray:
    """(N,): the thread of each training post; a thread of its own where all posts share a few subjects, as the built-in ones do."""
    groups = training.threads(posts.train)
    return (
        groups
        if len(np.unique(groups)) >= training.FOLDS * len(posts.classes)
        else np.arange(len(groups))
    )


def tested(args, posts: newsgroups.Posts, models) -> tuple[dict, dict]:
    """The one look at the test posts: the classes that every model gives them, as they are and stripped, and what evaluation.json says of them.

    Args:
        models: by kind and variant.
    """
    texts, labels = (
        {"full": posts.test, "stripped": [newsgroups.strip(text) for text in posts.test]},
        np.array(posts.y_test),
    )
    predicted = {
        (kind, trained, shown): models[kind, trained].margins(texts[shown]).argmax(1)
        for kind, trained in models
        for shown in VARIANTS
    }
    content = {
        "dataset": args.dataset,
        "classes": posts.classes,
        "n_train": len(posts.train),
        "n_test": len(labels),
        "n_test_empty_when_stripped": sum(not text.strip() for text in texts["stripped"]),
        "ngrams": args.ngrams,
        "threads": len(np.unique(threads(posts))),
        "models": {kind: measures(kind, models, predicted, labels) for kind in args.kinds},
    }
    return predicted, content


def measures(kind: str, models, predicted, labels: np.ndarray) -> dict:
    """One kind's block of evaluation.json. `accuracy` and `accuracy_stripped`: trained and tested on the same form of posts."""
    right = {key[1:]: found == labels for key, found in predicted.items() if key[0] == kind}
    classes = models[kind, "full"].classes
    block = {
        "accuracy": right["full", "full"].mean(),
        "accuracy_interval": statistics.wilson_interval(right["full", "full"].sum(), len(labels)),
        "accuracy_stripped": right["stripped", "stripped"].mean(),
        "accuracy_stripped_interval": statistics.wilson_interval(
            right["stripped", "stripped"].sum(), len(labels)
        ),
        "accuracy_full_on_stripped": right["full", "stripped"].mean(),
        "accuracy_stripped_on_full": right["stripped", "full"].mean(),
    }
    for variant in VARIANTS:
        model = models[kind, variant]
        block[f"settings_{variant}"] = model.settings | {
            "temperature": model.temperature,
            "words": len(model.idf),
        }
    matrix = confusion(predicted[kind, "full", "full"], labels, len(classes))
    precision = np.diag(matrix) / np.maximum(matrix.sum(0), 1)
    table = zip(
        classes,
        recall(predicted[kind, "full", "full"], labels),
        precision,
        recall(predicted[kind, "stripped", "stripped"], labels),
        strict=True,
    )
    block["per_class"] = {
        name: {"recall": r, "precision": p, "recall_stripped": s} for name, r, p, s in table
    }
    block["confusion_matrix"] = matrix
    return block


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(K, K) counts: rows are true classes, columns predicted ones."""
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def recall(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(K,): the share of each class's posts that are recognised."""
    return np.array([(predicted[labels == k] == k).mean() for k in np.unique(labels)])


if __name__ == "__main__":
    cli.run(main)
