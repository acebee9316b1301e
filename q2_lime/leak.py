"""The leak meter: how much of an explanation's weight lies on words which a careful reader would not want used.

The lesson of the LIME paper itself (Ribeiro et al., arXiv:1602.04938, section 6.4): a newsgroup classifier that leans on the names
of hosts and posters in headers scores well and is worth little elsewhere. Accuracy picks the wrong model; the explanation shows why.
"""

from dataclasses import replace

import numpy as np

from common import news
from common.runtime import UserError
from q2_lime import core, text
from q2_lime.linear import LinearModel

TOP = 10  # leading words that count
SAMPLES = (
    1000  # masks, or twice the words of a post where that is more; many posts are explained, so the number is fixed
)
BODY = news.ZONES.index("body")


def zone_weight(post: text.Post, weights: np.ndarray) -> np.ndarray:
    """(4,): the share of the |weight| of the TOP leading words in each of `news.ZONES`; a word that stands in several zones counts in each by
    its share of occurrences. Adds up to 1."""
    first = core.leading(weights, TOP)
    strength = np.abs(weights[first])
    return strength @ post.zone_shares()[first] / max(strength.sum(), 1e-300)


def measure(model: LinearModel, posts: list[str], indices: list[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Zone shares of the explanations of some posts, as they are: (N, 4) of the weight and, to compare with, of the words that the model
    knows, each word counting the same. NaN for a post with nothing to explain."""
    rows, words = [], []
    for body, index in zip(posts, indices, strict=True):
        try:
            post = text.read(body, model.vocabulary)
        except UserError:
            rows.append(np.full(len(news.ZONES), np.nan))
            words.append(rows[-1])
            continue
        margins = text.answer_linear(post, model)
        says = int(margins(np.ones((1, len(post.words)), bool))[0].argmax())
        values = text.explained_values(margins, model, [says], "margin")
        d = len(post.words)
        settings = replace(text.SETTINGS, samples=max(SAMPLES, 2 * d), held_out=32, seed=seed)
        rows.append(zone_weight(post, core.explain(values, d, settings, "leak", index).weights[:, 0]))
        words.append(post.zone_shares().mean(0))
    return np.array(rows), np.array(words)


def interval(shares: np.ndarray, rng: np.random.Generator, repeats: int = 2000) -> list[float]:
    """The 95% bootstrap interval of a mean over (N,) posts (percentiles; Efron, 1979)."""
    shares = shares[~np.isnan(shares)]
    means = rng.choice(shares, (repeats, len(shares))).mean(1)
    return np.percentile(means, [2.5, 97.5]).tolist()
