"""The leak meter: how much of an explanation's weight lies on words which a careful reader would not want used.

The lesson of the LIME paper itself (Ribeiro et al., arXiv:1602.04938, section 6.4): a newsgroup classifier that leans on the names
of hosts and posters in headers scores well and is worth little elsewhere. Accuracy picks the wrong model; the explanation shows why.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from common import newsgroups, results
from common.cli import UserError, seed_for
from q2_lime import core, text
from q2_lime.linear import LinearModel

TOP = 10  # leading words that count
SAMPLES = 1000  # masks, or twice the words of a post where that is more; many posts are explained, so the number is fixed
POSTS = 10  # of each class
BODY = newsgroups.ZONES.index("body")
ACCURACIES = {  # of evaluation.json, by whether a model was trained on stripped posts: on posts as they are, and on stripped ones
    False: ("accuracy", "accuracy_full_on_stripped"),
    True: ("accuracy_stripped_on_full", "accuracy_stripped"),
}


def zone_weight(post: text.Post, weights: np.ndarray) -> np.ndarray:
    """(4,): the share of the |weight| of the TOP leading words in each of `newsgroups.ZONES`; a word that stands in several zones counts in each by
    its share of occurrences. Adds up to 1."""
    first = core.leading(weights, TOP)
    strength = np.abs(weights[first])
    return strength @ post.zone_shares()[first] / max(strength.sum(), 1e-300)


def measure(
    model: LinearModel, posts: list[str], indices: list[int], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Zone shares of the explanations of some posts, as they are: (N, 4) of the weight and, to compare with, of the words that the model
    knows, each word counting the same. NaN for a post with nothing to explain."""
    rows, words = [], []
    for body, index in zip(posts, indices, strict=True):
        try:
            post = text.read(body, model.vocabulary)
        except UserError:
            rows.append(np.full(len(newsgroups.ZONES), np.nan))
            words.append(rows[-1])
            continue
        margins = text.answer_linear(post, model)
        says = int(margins(np.ones((1, len(post.words)), bool))[0].argmax())
        values = text.explained_values(margins, model, [says], "margin")
        d = len(post.words)
        settings = replace(text.SETTINGS, samples=max(SAMPLES, 2 * d), held_out=32, seed=seed)
        rows.append(
            zone_weight(post, core.explain(values, d, settings, "leak", index).weights[:, 0])
        )
        words.append(post.zone_shares().mean(0))
    return np.array(rows), np.array(words)


def outside(shares: np.ndarray) -> np.ndarray:
    """What lies outside the body, of zone shares (..., 4) that add up to 1 but for rounding. 0 to 1."""
    return np.clip(1 - shares[..., BODY], 0, 1)


def interval(shares: np.ndarray, rng: np.random.Generator, repeats: int = 2000) -> list[float]:
    """The 95% bootstrap interval of a mean over (N,) posts (percentiles; Efron, 1979)."""
    shares = shares[~np.isnan(shares)]
    means = rng.choice(shares, (repeats, len(shares))).mean(1)
    return np.percentile(means, [2.5, 97.5]).tolist()


def meter(
    posts: newsgroups.Posts,
    models: dict[str, LinearModel],
    evaluation: dict,
    seed: int,
    say: Callable = print,
) -> dict:
    """The content of leak.json: models trained on full posts and models trained on stripped ones, all shown the same full posts.

    Args:
        models: by KIND and KIND_stripped; evaluation: the content of evaluation.json, for the accuracies beside the shares; say: is told
            how it gets on.
    """
    labels, chosen = np.array(posts.y_test), []
    for k, name in enumerate(posts.classes):
        rng = np.random.default_rng(seed_for(seed, "leak", name))
        of_class = np.flatnonzero(labels == k)
        chosen += rng.choice(of_class, min(POSTS, len(of_class)), replace=False).tolist()
    bodies, classes, rows = [posts.test[i] for i in chosen], labels[chosen], {}
    for key, model in models.items():
        shares, words = measure(model, bodies, chosen, seed)
        beyond = outside(shares)
        rng = np.random.default_rng(seed_for(seed, "interval", key))
        scores = evaluation["models"][key.removesuffix("_stripped")]
        whole, bare = ACCURACIES[model.stripped]
        rows[key] = {
            "trained_on": "stripped posts" if model.stripped else "posts as they are",
            "accuracy": scores[whole],
            "accuracy_on_stripped": scores[bare],
            "outside_body": np.nanmean(beyond),
            "outside_body_interval": interval(beyond, rng),
            "outside_body_words": np.nanmean(outside(words)),
            "zones": dict(zip(newsgroups.ZONES, np.nanmean(shares, axis=0), strict=True)),
            "per_class": {
                name: dict(
                    zip(newsgroups.ZONES, np.nanmean(shares[classes == k], axis=0), strict=True)
                )
                for k, name in enumerate(posts.classes)
            },
        }
        row = rows[key]
        say(
            f"leak meter, {key}: {row['outside_body']:.0%} of the weight outside the body, where {row['outside_body_words']:.0%} of the"
            " words stand",
            flush=True,
        )
    rule = f"{POSTS} test posts of each class by seed {seed}, shown to every model as they are"
    about = {
        "posts": len(chosen),
        "posts_per_class": POSTS,
        "top_words": TOP,
        "samples": SAMPLES,
        "rule": rule,
    }
    return results.without_nan(about | {"models": rows})
