"""LIME's front end for texts: the parts are the distinct words of a post; a hidden word is cut out wherever it stands.

Words are told apart as the models of this project do it, in lower case ("God" and "god" are one word; the `lime` package has two
features there). Words that a linear model does not know can't change its answer and are left out from the start.
"""

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from common import newsgroups
from common.cli import UserError
from q2_lime import core
from q2_lime.linear import WORD, LinearModel

VALUES = ("margin", "log_odds", "probability")
# The defaults for texts. Their reasons are measured: q2_lime/ablate.py --half text, outputs/q2_lime/text/ablation.json.
SETTINGS = core.Settings(
    sampler="glime", width=0.54, alpha=0.01, bound=4000, overlap=0.95, top=5, held_out=500
)
LONGEST = 200_000  # characters; a post of the collection has 160,000 at most
MOST_WORDS = 2000  # different ones; the surrogate's equations grow with their cube
CHUNK = 500  # strings at a time for a classifier that reads strings


@dataclass(frozen=True)
class Post:
    """A text and its explainable words.

    Attributes:
        text: as it is.
        words: (d) distinct words in lower case, in order of appearance.
        spans: (start, end, number of the word) of every occurrence, in order.
        zones: the zone of every occurrence, as in `common.news.ZONES`.
        parts: (start, end, zone) of the whole text, in order.
    """

    text: str
    words: tuple[str, ...]
    spans: tuple[tuple[int, int, int], ...]
    zones: tuple[str, ...]
    parts: tuple[tuple[int, int, str], ...]

    def zone_shares(self) -> np.ndarray:
        """(d, 4): how the occurrences of each word are spread over `common.news.ZONES`; rows add up to 1."""
        counts = np.zeros((len(self.words), len(newsgroups.ZONES)))
        for (_, _, word), zone in zip(self.spans, self.zones, strict=True):
            counts[word, newsgroups.ZONES.index(zone)] += 1
        return counts / counts.sum(1, keepdims=True)


def read(
    text: str, known: Collection[str] | None = None, name: str = "the text", news_post: bool = True
) -> Post:
    """Finds the words of a text, of those that are `known` where that is given. A text that is no `news_post` is body throughout.

    Raises:
        UserError: the text is empty, binary or far too long, or has fewer than two (known) words.
    """
    if not text.strip():
        raise UserError(f"{name} is empty: there is nothing to explain")
    if len(text) > LONGEST:
        raise UserError(f"{name} has {len(text):,} characters: cut it to {LONGEST:,} or fewer")
    if "\0" in text:
        raise UserError(f"{name} is not a text (it holds zero bytes)")
    zone_of = np.empty(len(text), dtype=int)
    parts = newsgroups.zones(text) if news_post else [(0, len(text), "body")]
    for start, end, zone in parts:
        zone_of[start:end] = newsgroups.ZONES.index(zone)
    numbers: dict[str, int] = {}
    spans, zones = [], []
    for match in WORD.finditer(text):
        word = match.group().lower()
        if known is None or word in known:
            spans.append((*match.span(), numbers.setdefault(word, len(numbers))))
            zones.append(newsgroups.ZONES[zone_of[match.start()]])
    if len(numbers) < 2:
        which = "words" if known is None else "words that the model knows"
        raise UserError(
            f"{name} has {len(numbers) or 'no'} {which}: two are needed to tell them apart"
        )
    if len(numbers) > MOST_WORDS:
        raise UserError(
            f"{name} has {len(numbers):,} different words: cut it to {MOST_WORDS:,} or fewer"
        )
    return Post(text, tuple(numbers), tuple(spans), tuple(zones), tuple(parts))


def from_user(file: str) -> tuple[str, str]:
    """A user's text and what to call it; "-" stands for standard input.

    Raises:
        UserError: no such file; no UTF-8; far too long.
    """
    most = LONGEST * 4 + 1  # bytes; a character has four at most
    if file == "-":
        content, name = sys.stdin.buffer.read(most), "standard input"
    else:
        path = Path(file)
        if not path.is_file():
            raise UserError(f"there is no text {path}")
        with open(path, "rb") as opened:
            content, name = opened.read(most), str(path)
    try:
        body = content.decode("utf-8")
    except UnicodeDecodeError:
        if len(content) == most:
            raise UserError(
                f"{name} is too long: cut it to {LONGEST:,} characters or fewer"
            ) from None
        raise UserError(f"{name} is not a text in UTF-8") from None
    return body.replace("\r\n", "\n"), name


def without(post: Post, mask: np.ndarray) -> str:
    """The text with the words cut out that `mask` (d,) hides; what stands between words stays, as in the package."""
    pieces, place = [], 0
    for start, end, word in post.spans:
        if not mask[word]:
            pieces.append(post.text[place:start])
            place = end
    return "".join(pieces) + post.text[place:]


def answer_by_strings(post: Post, classify: Callable[[list[str]], np.ndarray]) -> core.Answer:
    """For any classifier, a function from texts to (n, K): builds the texts that the masks leave over."""

    def answer(masks: np.ndarray) -> np.ndarray:
        parts = [masks[i : i + CHUNK] for i in range(0, len(masks), CHUNK)]
        return np.concatenate([classify([without(post, mask) for mask in part]) for part in parts])

    return answer


def answer_linear(post: Post, model: LinearModel) -> core.Answer:
    """Margins (n, K) of a linear model, straight from the masks (n, d): no text is built.

    Hiding word j leaves the counts of the others alone, so equation 1 of `linear.py` becomes
    margin(z) = b + (z * v) W / |z * v|. Holds for single words as features; for runs of words `answer_by_strings` does.
    """
    if model.ngrams > 1:
        return answer_by_strings(post, model.margins)
    columns = [model.vocabulary[word] for word in post.words]
    counts = np.bincount([word for _, _, word in post.spans], minlength=len(post.words))
    v = (1 + np.log(counts)) * model.idf[columns]
    scores, squares = v[:, None] * model.coefficients[columns], v**2

    def answer(masks: np.ndarray) -> np.ndarray:
        shown = masks.astype(float)
        length = np.sqrt(shown @ squares)[:, None]
        return shown @ scores / np.maximum(length, 1e-12) + model.intercept

    return answer


def explained_values(
    margins: core.Answer, model: LinearModel, classes: list[int], value: str
) -> core.Answer:
    """What is explained, for each of `classes`: its margin; the log-odds of its probability; or the probability itself."""

    def answer(masks: np.ndarray) -> np.ndarray:
        found = margins(masks)
        if value == "margin":
            return found[:, classes]
        scaled = found / model.temperature
        if value == "probability":
            return softmax(scaled, axis=1)[:, classes]
        others = [logsumexp(np.delete(scaled, k, axis=1), axis=1) for k in classes]
        return scaled[:, classes] - np.stack(others, axis=1)

    return answer


def log_probabilities(model: LinearModel, text: str) -> np.ndarray:
    """(K,) for one text."""
    return log_softmax(model.margins([text])[0] / model.temperature)
