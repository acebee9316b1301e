"""Trains linear text classifiers with scikit-learn; every setting is chosen by cross-validation on the training posts.

Posts of one thread (same subject, but for "Re:") stay in one fold. Otherwise a classifier is asked about answers to posts that it has
learnt, finds the same names and quotations, and looks several points better than it is on later posts, which the test set holds.
"""

import re
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.svm import LinearSVC

from q2_lime.linear import WORD, LinearModel

FOLDS = 3
# What is tried. Words in more than half of the posts are left out, counts enter by their logarithm: both are settled practice for
# long posts (Manning et al., "Introduction to Information Retrieval", section 6.4.1), so they are not searched over.
WORDS = [{"min_df": min_df, "stop_words": stop} for min_df in (1, 2) for stop in (None, "english")]
PENALTIES = {
    "svm": (0.2, 0.5, 1.0, 2.0),
    "logistic_regression": (3.0, 10.0, 30.0),
}  # C; larger fits more closely


def vectorizer(ngrams: int = 1, **words) -> TfidfVectorizer:
    return TfidfVectorizer(
        sublinear_tf=True, max_df=0.5, ngram_range=(1, ngrams), token_pattern=WORD.pattern, **words
    )


def classifier(kind: str, penalty: float):
    """The estimator of a kind: a linear SVM (one against the rest, squared hinge) or multinomial logistic regression."""
    if kind == "svm":
        return LinearSVC(C=penalty, random_state=0)
    return LogisticRegression(C=penalty, max_iter=200, tol=1e-3)


def threads(posts: list[str]) -> np.ndarray:
    """(N,): the number of the thread that a post, headers and all, belongs to, judged by its subject."""
    subjects = [re.search(r"^Subject: *(.*)$", post, re.MULTILINE) for post in posts]
    names = [
        match.group(1).lower() if match else post
        for match, post in zip(subjects, posts, strict=True)
    ]
    return np.unique(
        [re.sub(r"^((re|fwd?)\s*:\s*)+", "", name).strip() for name in names], return_inverse=True
    )[1]


def search(
    texts: list[str],
    labels: np.ndarray,
    groups: np.ndarray,
    kind: str,
    ngrams: int,
    words: list[dict],
    seed: int,
) -> list[dict[str, Any]]:
    """Cross-validated accuracy of every setting, best first: rows of {min_df, stop_words, C, accuracy, spread}.

    Args:
        texts: (N) posts; labels: (N,); groups: (N,) thread of each post.
    """
    split = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    folds, texts, rows = (
        list(split.split(labels, labels, groups)),
        np.array(texts, dtype=object),
        [],
    )
    for options in words:
        parts = []
        for train, held in folds:
            vectors = vectorizer(ngrams, **options)
            x = vectors.fit_transform(texts[train])
            parts.append((x, labels[train], vectors.transform(texts[held]), labels[held]))
        for penalty in PENALTIES[kind]:
            scores = [
                classifier(kind, penalty).fit(x, y).score(x_held, y_held)
                for x, y, x_held, y_held in parts
            ]
            rows.append(
                options | {"C": penalty, "accuracy": np.mean(scores), "spread": np.std(scores)}
            )
    return sorted(rows, key=lambda row: -row["accuracy"])


def train(
    texts: list[str],
    labels: np.ndarray,
    groups: np.ndarray,
    classes: tuple[str, ...],
    kind: str,
    ngrams: int,
    stripped: bool,
    dataset: str,
    settings: dict[str, Any],
) -> LinearModel:
    """Fits one classifier to all training posts.

    The SVM has no probabilities of its own. Its margins are divided by a temperature fitted on the margins of posts it was not
    trained on (five folds, threads kept together), which keeps every decision and the one matrix of coefficients (Guo et al.,
    arXiv:1706.04599). Coefficients come in the 16 bits in which they are stored, so that what is measured is what is kept.
    """
    vectors = vectorizer(ngrams, min_df=settings["min_df"], stop_words=settings["stop_words"])
    x, model, temperature = vectors.fit_transform(texts), classifier(kind, settings["C"]), 1.0
    if kind == "svm":
        folds = list(StratifiedGroupKFold(5).split(labels, labels, groups))
        calibrated = CalibratedClassifierCV(
            model, method="temperature", ensemble=False, cv=folds
        ).fit(x, labels)
        only = calibrated.calibrated_classifiers_[0]
        model, temperature = only.estimator, float(1 / only.calibrators[0].beta_)
    else:
        model.fit(x, labels)
    coefficients, intercept = model.coef_, model.intercept_
    if len(classes) == 2:  # scikit-learn keeps one column for two classes
        half = 0.5 if kind == "logistic_regression" else 1.0
        coefficients, intercept = (
            half * np.concatenate((-part, part)) for part in (coefficients, intercept)
        )
    return LinearModel(
        kind=kind,
        classes=tuple(classes),
        vocabulary={word: int(k) for word, k in vectors.vocabulary_.items()},
        idf=vectors.idf_.astype(np.float32).astype(float),
        coefficients=np.ascontiguousarray(coefficients.T).astype(np.float16).astype(float),
        intercept=intercept,
        temperature=temperature,
        ngrams=ngrams,
        stripped=stripped,
        dataset=dataset,
        settings={key: settings[key] for key in ("min_df", "stop_words", "C")},
    )
