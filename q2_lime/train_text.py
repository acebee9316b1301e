"""Trains newsgroup classifiers, a linear SVM and logistic regression, on full and stripped posts.

    python q2_lime/train_text.py                      20newsgroups: 20 minutes on 2 CPU cores
    python q2_lime/train_text.py --dataset corpus     built-in posts: no download, seconds

Stripped posts have no headers, footers and quotes. Settings are chosen by cross-validation on the
training posts; the test set is evaluated once, after training. Writes OUT/KIND.npz and
OUT/KIND_stripped.npz (plain arrays) and OUT/evaluation.json. OUT is outputs/q2_lime/text, or
OUT/other/OPTIONS if options differ from their defaults.

Posts of one thread (same subject apart from "Re:") stay in one fold. Otherwise a classifier is
validated on replies to posts it was trained on, which share names and quotations with them, and the
accuracy on later posts, such as the test posts, is overestimated by several points.
"""

import re
from pathlib import Path
from typing import Any

from common import cli, newsgroups, results, statistics

import numpy as np
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

from q2_lime import linear

SUBJECT = re.compile(r"(?m)^Subject: *(?:(?i:re|fwd?)\s*:[ \t]*)*(.*)$")  # without "Re:"
FOLDS = 3
# Setting -> parameter of `pipeline`.
SETTINGS = {"min_df": "features__min_df", "stop_words": "features__stop_words", "C": "model__C"}
GRIDS = {  # logistic regression uses the min_df and stop_words chosen for the SVM
    "svm": {
        "min_df": [1, 2],
        "stop_words": [None, "english"],
        "C": [0.05, 0.1, 0.2, 0.5, 1.0, 2.0],
    },
    "logistic_regression": {"C": [0.3, 1.0, 3.0, 10.0, 30.0]},
}


def main() -> None:
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--dataset", choices=newsgroups.DATASETS, default="20newsgroups")
    parser.data_option("20newsgroups")
    add("--seed", type=cli.seed, default=0, metavar="N", help="of the folds (default: 0)")
    add("--out", type=Path, metavar="DIR", help="see above")
    args = parser.parse_args()
    base = results.OUTPUTS if args.dataset == "20newsgroups" else results.OUTPUTS / "demo"
    posts = newsgroups.load(args.dataset, args.data)
    default = cli.out_folder(base / "q2_lime/text", args, {"seed": 0})
    out = results.output_folder(args.out or default)
    labels, groups = np.array(posts.y_train), threads(posts.train, len(posts.classes))
    about = {"classes": tuple(posts.classes), "dataset": args.dataset}
    models, searches = {}, {}
    for variant, texts in variants(posts.train).items():
        settings = {}
        for kind in linear.KINDS:
            grid = {name: [value] for name, value in settings.items()} | GRIDS[kind]
            rows = search(kind, grid, texts, labels, groups, args.seed)
            searches[f"{kind}_{variant}"] = rows
            settings = {name: rows[0][name] for name in SETTINGS}
            about |= {"stripped": variant == "stripped", "settings": settings}
            models[kind, variant] = train(kind, texts, labels, groups, **about)
            print(f"{kind}, {variant} posts: best of {len(rows)} settings {rows[0]}", flush=True)

    content = {"n_train": len(posts.train), "n_test": len(posts.test)}
    content = results.plain(content | {"models": evaluate(models, posts), "search": searches})
    # All files are written at the end, so that models and results belong together.
    origins = {"data_sha256": posts.sha256}
    for (kind, variant), model in models.items():
        path = linear.save(out / f"{kind}{'_stripped' if model.stripped else ''}.npz", model)
        origins[f"{kind}_{variant}_sha256"] = results.sha256(path)
    content["summary"] = summarize(content)
    content["provenance"] = results.provenance(args.seed, torch.device("cpu"), **origins)
    results.write_json(out / "evaluation.json", content)
    for kind, row in content["models"].items():
        full, stripped = (f"{row[key]:.2%}" for key in ("accuracy", "accuracy_stripped"))
        print(f"{kind}: test accuracy {full} on full posts, {stripped} on stripped posts")
    print(f"wrote {results.shown(out)}: evaluation.json, {len(models)} models")


def variants(posts: list[str]) -> dict[str, list[str]]:
    """Full and stripped posts."""
    return {"full": posts, "stripped": [newsgroups.strip(post) for post in posts]}


def threads(posts: list[str], n_classes: int) -> np.ndarray:
    """Thread number of each post (N,), from its subject.

    If there are too few subjects, as in the built-in posts, every post is a separate thread.
    """
    found = [SUBJECT.search(post) for post in posts]
    subjects = [m[1].lower().strip() if m else post for m, post in zip(found, posts, strict=True)]
    numbers = np.unique(subjects, return_inverse=True)[1]
    enough = len(np.unique(numbers)) >= FOLDS * n_classes
    return numbers if enough else np.arange(len(posts))


def pipeline(kind: str) -> Pipeline:
    """TF-IDF as in equation 1 of linear.py, and a classifier.

    The classifier is a linear SVM (one against the rest, squared hinge) or multinomial logistic
    regression. Words in more than half of the posts are left out, and counts are replaced by
    1 + ln(count), as is standard for long texts (Manning et al., Introduction to Information
    Retrieval, section 6.4.1).
    """
    svm, logistic = LinearSVC(random_state=0), LogisticRegression(max_iter=200, tol=1e-3)
    features = TfidfVectorizer(sublinear_tf=True, max_df=0.5, token_pattern=linear.WORD.pattern)
    return Pipeline([("features", features), ("model", svm if kind == "svm" else logistic)])


def search(
    kind: str, grid: dict[str, list], texts: list[str], labels: np.ndarray, groups, seed: int
) -> list[dict[str, Any]]:
    """Cross-validated accuracy of all SETTINGS in `grid`, best first.

    `groups` (N,) are the threads. Returns rows with the settings, `accuracy`, and `accuracy_std`
    over the folds.
    """
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    parameters = {SETTINGS[name]: values for name, values in grid.items()}
    tried = GridSearchCV(pipeline(kind), parameters, cv=folds, refit=False, n_jobs=2)
    scores = tried.fit(texts, labels, groups=groups).cv_results_
    columns = {name: scores[f"param_{key}"] for name, key in SETTINGS.items()}
    columns |= {"accuracy": scores["mean_test_score"], "accuracy_std": scores["std_test_score"]}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return results.plain(sorted(rows, key=lambda row: -row["accuracy"]))


def train(
    kind: str, texts: list[str], labels: np.ndarray, groups: np.ndarray, settings: dict, **about
) -> linear.LinearModel:
    """Fits one classifier to all training posts; `about` are further fields of `LinearModel`.

    An SVM has no probabilities, and those of a regularized logistic regression are too small, so
    the margins are divided by a temperature (Guo et al., arXiv:1706.04599), which changes no
    prediction. It is fitted on the margins of posts held out in five folds, with threads kept
    together; only the vectorizer is fitted to all posts. Coefficients are rounded to 16 bits, as in
    the file, so that the evaluated model is the stored one.
    """
    chosen = {SETTINGS[name]: value for name, value in settings.items()}
    vectors, model = pipeline(kind).set_params(**chosen).named_steps.values()
    x = vectors.fit_transform(texts)
    folds = list(StratifiedGroupKFold(5).split(labels, labels, groups))
    calibration = CalibratedClassifierCV(model, method="temperature", ensemble=False, cv=folds)
    fitted = calibration.fit(x, labels).calibrated_classifiers_[0]
    model, temperature = fitted.estimator, float(1 / fitted.calibrators[0].beta_)
    return linear.LinearModel(
        kind=kind,
        settings=settings,
        vocabulary={word: int(k) for word, k in vectors.vocabulary_.items()},
        idf=vectors.idf_.astype(np.float32).astype(float),
        coefficients=np.ascontiguousarray(model.coef_.T).astype(np.float16).astype(float),
        intercept=model.intercept_,
        temperature=temperature,
        **about,
    )


def evaluate(models: dict[tuple[str, str], linear.LinearModel], posts) -> dict[str, dict]:
    """Evaluates the models on full and stripped test posts. Returns the block of each kind.

    `accuracy` and `accuracy_stripped` are of models trained and tested on the same kind of posts.
    """
    texts, labels, blocks = variants(posts.test), np.array(posts.y_test), {}
    for kind in linear.KINDS:
        blocks[kind] = block = {}
        for trained, tested, key in (
            ("full", "full", "accuracy"),
            ("stripped", "stripped", "accuracy_stripped"),
            ("full", "stripped", "accuracy_full_on_stripped"),
            ("stripped", "full", "accuracy_stripped_on_full"),
        ):
            correct = models[kind, trained].margins(texts[tested]).argmax(1) == labels
            block[key] = correct.mean()
            if trained == tested:
                interval = statistics.wilson_interval(correct.sum(), len(labels))
                block[f"{key}_interval"] = interval
    return blocks


def summarize(content: dict) -> dict:
    """What training on stripped posts gains on them, and how little the settings matter."""
    summary: dict[str, Any] = {
        kind: {"training_gap": row["accuracy_stripped"] - row["accuracy_full_on_stripped"]}
        for kind, row in content["models"].items()
    }
    summary["search"] = {
        name: {
            "best_C": rows[0]["C"],
            "smallest_C": min(row["C"] for row in rows),
            "largest_C": max(row["C"] for row in rows),
            "top_4_range": rows[0]["accuracy"] - rows[:4][-1]["accuracy"],
            "accuracy_std": rows[0]["accuracy_std"],
        }
        for name, rows in content["search"].items()
    }
    return summary


if __name__ == "__main__":
    cli.run(main)
