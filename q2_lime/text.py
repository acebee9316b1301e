"""LIME's interface to texts: features are the distinct words of a text, and masking deletes words.

Texts are converted to lower case, as in linear.py: "God" and "god" are one feature (two in the
`lime` package). Words outside a model's vocabulary cannot change its output and are left out.
"""

import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from email.errors import MissingHeaderBodySeparatorDefect
from email.parser import HeaderParser
from pathlib import Path

from common import newsgroups
from common.cli import UserError

import numpy as np

from q2_lime import core
from q2_lime.linear import WORD, LinearModel

# Defaults for texts, chosen with q2_lime/ablate.py (outputs/q2_lime/text/ablation.json).
SETTINGS = core.Settings(sampler="glime", kernel_width=0.54, alpha=0.01, max_samples=4000)
MAX_WORDS = 2000  # distinct words; the cost of the regression grows with their cube
FIELDS = ("from", "subject", "newsgroups", "organization", "date")  # a news post has one of them


@dataclass(frozen=True)
class Post:
    """A text and its features."""

    text: str  # see `clean`
    words: tuple[str, ...]  # (d) distinct, in lower case, in order of appearance
    spans: tuple[tuple[int, int, int], ...]  # (start, end, index into `words`) of all occurrences
    parts: tuple[tuple[int, int, str], ...]  # (start, end, zone), covering the whole text

    def zone_shares(self) -> np.ndarray:
        """Share of each word's occurrences in each zone of `newsgroups.ZONES`, (d, 4)."""
        counts = np.zeros((len(self.words), len(newsgroups.ZONES)))
        zones = [zone for start, end, zone in self.parts for _ in range(start, end)]
        for start, _, word in self.spans:
            counts[word, newsgroups.ZONES.index(zones[start])] += 1
        return counts / counts.sum(1, keepdims=True)


def read(text: str, known: Collection[str] | None = None, name: str = "the text") -> Post:
    """Finds the words of a text, or only those in `known`; `name` is for error messages.

    All of a text is body, unless `is_news_post`. Raises UserError if it is empty, or has fewer than
    two (known) words or more than MAX_WORDS.
    """
    if not text.strip():
        raise UserError(f"{name} is empty: there is nothing to explain")
    text = clean(text)
    parts = newsgroups.zones(text) if is_news_post(text) else [(0, len(text), "body")]
    # Lower case can be longer than the original: the Turkish dotted capital I has two characters.
    places = [place for place, letter in enumerate(text) for _ in letter.lower()] + [len(text)]
    numbers: dict[str, int] = {}
    spans = []
    for match in WORD.finditer(text.lower()):
        if known is None or match.group() in known:
            start, end = places[match.start()], places[match.end()]
            spans.append((start, end, numbers.setdefault(match.group(), len(numbers))))
    if len(numbers) < 2:
        found = "only one word" if numbers else "no words"
        kind = "" if known is None else " that the model knows"
        raise UserError(f"{name} has {found}{kind}: at least two are needed")
    if len(numbers) > MAX_WORDS:
        raise UserError(f"{name} has {len(numbers):,} different words: at most {MAX_WORDS:,} work")
    return Post(text, tuple(numbers), tuple(spans), tuple(parts))


def clean(text: str) -> str:
    """The text with line ends as "\\n", without byte-order mark and blank lines at the start."""
    return re.sub(r"\r\n?", "\n", text.lstrip("\ufeff")).lstrip("\n")


def read_user_text(file: str) -> tuple[str, str]:
    """Reads a user's text from a file, or from standard input if `file` is "-".

    Returns the text, see `clean`, and a name for messages.
    Raises UserError if it cannot be read or is not UTF-8.
    """
    if not file:
        raise UserError("the text is empty: --text needs a file, or - for standard input")
    name = "standard input" if file == "-" else file
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        text = content.decode()
    except UnicodeDecodeError:
        raise UserError(f"{name} is not a text in UTF-8") from None
    except OSError as error:
        raise UserError(f"can't read the text {name!r}: {error.strerror}") from None
    return clean(text), name


def is_news_post(text: str) -> bool:
    """Whether a text starts with the header of a news post (lines `Name: value`, a blank line)."""
    header = HeaderParser().parsestr(text)
    broken = (d for d in header.defects if isinstance(d, MissingHeaderBodySeparatorDefect))
    complete = "\n\n" in text and not any(broken) and not text.startswith("From ")
    return complete and any(field in header for field in FIELDS)


def without(post: Post, mask: np.ndarray) -> str:
    """The text without the words that `mask` (d,) hides. Spaces and punctuation stay."""
    pieces, place = [], 0
    for start, end, word in post.spans:
        if not mask[word]:
            pieces.append(post.text[place:start])
            place = end
    return "".join(pieces) + post.text[place:]


def answer_linear(post: Post, model: LinearModel) -> core.ValueFunction:
    """Margins (n, K) of a linear model, computed from the masks (n, d) without building texts.

    Deleting a word does not change the counts of the others, so equation 1 of linear.py becomes
    margin(z) = b + (z * v) W / |z * v|.
    """
    columns = [model.vocabulary[word] for word in post.words]
    counts = np.bincount([word for _, _, word in post.spans], minlength=len(post.words))
    v = (1 + np.log(counts)) * model.idf[columns]
    scores, squares = v[:, None] * model.coefficients[columns], v**2

    def answer(masks: np.ndarray) -> np.ndarray:
        shown = masks.astype(float)
        length = np.sqrt(shown @ squares)[:, None]
        return shown @ scores / np.maximum(length, 1e-12) + model.intercept

    return answer


def prepare(
    post: Post, model: LinearModel, value: str = "margin"
) -> tuple[int, core.ValueFunction, np.ndarray]:
    """What LIME needs to explain a post.

    Returns the predicted class, the function from masks (n, d) to its `value` (n, 1), and the
    ground truth: the contribution of each word to its margin, (d,). `value` is "margin", or a value
    of `core.transform` at the model's temperature.
    """
    margins = answer_linear(post, model)
    predicted = int(margins(np.ones((1, len(post.words)), bool)).argmax())
    truth = model.contributions(post.text, list(post.words))[:, predicted]

    def values(masks: np.ndarray) -> np.ndarray:
        if value == "margin":
            return margins(masks)[:, [predicted]]
        return core.transform(margins(masks) / model.temperature, [predicted], value)

    return predicted, values, truth
