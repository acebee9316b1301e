"""How much of an explanation's weight lies on words outside the body of a post.

A newsgroup classifier that relies on names of hosts and posters in headers is accurate on test
posts but generalizes badly; explanations reveal this (Ribeiro et al., arXiv:1602.04938).
"""

from dataclasses import replace

from common import newsgroups, results
from common.cli import UserError, seed_for
from common.statistics import mean_interval

import numpy as np
from scipy.stats import binomtest

from q2_lime import core, linear, text
from q2_lime.linear import LinearModel

TOP_K = 10  # words of largest |weight| that are counted
SAMPLES = 1000  # masks per post, but at least twice its words
POSTS_PER_CLASS = 10
# Errors of scikit-learn's rule for footers, counted by eye in 50 random test posts
# (np.random.default_rng(50)).
FOOTERS = {"n_read": 50, "body_in_footer": 5, "signature_in_body": 6}
BODY = newsgroups.ZONES.index("body")


def zone_weight(post: text.Post, weights: np.ndarray) -> np.ndarray:
    """Share of the |weight| of the TOP_K top words in each of `newsgroups.ZONES`, (4,), sum 1.

    A word that occurs in several zones counts in each by its share of occurrences.
    """
    top = core.top_features(weights, TOP_K)
    strength = np.abs(weights[top])
    return strength @ post.zone_shares()[top] / max(strength.sum(), 1e-300)


def measure(model: LinearModel, posts: list[str], chosen: list[int], seed: int) -> np.ndarray:
    """Explains the N `chosen` posts and adds up the weights by zone.

    Returns shares (3, N, 4) of LIME's weight, of the true contributions and, as a baseline, of the
    words known to the model. Rows of posts with fewer than two known words are NaN.
    """
    shares = np.full((3, len(chosen), len(newsgroups.ZONES)), np.nan)
    for row, index in enumerate(chosen):
        try:
            post = text.read(posts[index], model.vocabulary)
        except UserError:
            continue
        d, (_, values, truth) = len(post.words), text.prepare(post, model)
        settings = replace(text.SETTINGS, seed=seed)
        rng = core.stream(settings, "masks", "leak", index)
        run = core.draw(values, settings, max(SAMPLES, 2 * d), d, rng)
        surrogate = core.fit(*run, settings.alpha)
        shares[0, row] = zone_weight(post, surrogate.weights[:, 0])
        shares[1, row] = zone_weight(post, truth)
        shares[2, row] = post.zone_shares().mean(0)
    return shares


def outside_body(shares: np.ndarray) -> np.ndarray:
    """Share outside the body, 0 to 1, of zone shares (..., 4)."""
    return np.clip(1 - shares[..., BODY], 0, 1)  # the shares add up to 1 except for rounding


def interval(shares: np.ndarray, rng: np.random.Generator, repeats: int = 2000) -> list[float]:
    """95% bootstrap interval of the mean over posts (N,) (percentiles; Efron, 1979)."""
    shares = shares[~np.isnan(shares)]
    means = rng.choice(shares, (repeats, len(shares))).mean(1)
    return np.percentile(means, [2.5, 97.5]).tolist()


def compare(posts: newsgroups.Posts, models: dict[str, LinearModel], seed: int) -> dict:
    """Compares models trained on full and on stripped posts on the same full test posts.

    `models` has the keys KIND and KIND_stripped. Returns the content of leak.json without
    provenance.
    """
    labels, chosen = np.array(posts.y_test), []
    for k, name in enumerate(posts.classes):
        of_class = np.flatnonzero(labels == k)
        rng = np.random.default_rng(seed_for(seed, "leak", name))
        chosen += rng.choice(of_class, min(POSTS_PER_CLASS, len(of_class)), replace=False).tolist()
    classes, rows, exact, bodies = labels[chosen], {}, {}, {}
    for key, model in models.items():
        shares, truth, words = measure(model, posts.test, chosen, seed)
        exact[key] = outside_body(truth)
        bodies[key] = [np.nanmean(shares[classes == k, BODY]) for k in range(len(posts.classes))]
        outside, rng = outside_body(shares), np.random.default_rng(seed_for(seed, "interval", key))
        rows[key] = row = {
            "accuracy": (model.margins(posts.test).argmax(1) == labels).mean(),
            "outside_body": np.nanmean(outside),
            "outside_body_interval": interval(outside, rng),
            "outside_body_words": np.nanmean(outside_body(words)),
            "zones": dict(zip(newsgroups.ZONES, np.nanmean(shares, axis=0), strict=True)),
        }
        weight, share = f"{row['outside_body']:.0%}", f"{row['outside_body_words']:.0%}"
        print(f"{key}: {weight} of the weight, {share} of the words outside the body", flush=True)
    for kind in linear.KINDS:
        rows[kind]["exact_drop"] = mean_interval(exact[kind] - exact[f"{kind}_stripped"])
    rows, summary = results.plain(results.without_nan(rows)), {}
    for kind in linear.KINDS:
        full, stripped = rows[kind], rows[f"{kind}_stripped"]
        less = int(np.sum(np.array(bodies[kind]) < bodies[f"{kind}_stripped"]))
        summary[kind] = {
            "outside_body_drop": full["outside_body"] - stripped["outside_body"],
            "n_classes": len(posts.classes),
            "n_classes_with_less": less,
            "p_value": binomtest(less, len(posts.classes)).pvalue,  # sign test over the classes
        }
    about = {"n_posts": len(chosen), "top_k": TOP_K, "footers": FOOTERS}
    return about | {"models": rows, "summary": summary}
