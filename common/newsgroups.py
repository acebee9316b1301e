"""20newsgroups and a built-in corpus; the header, quotes, footer and body of posts."""

import hashlib
import http.client
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from common.cli import UserError, first_line
from common.results import shown

DATASETS = ("20newsgroups", "corpus")
ZONES = ("header", "quote", "footer", "body")
# As in sklearn.datasets.fetch_20newsgroups(remove=...), which returns only the remaining text.
QUOTE = re.compile(r"(writes in|writes:|wrote:|says:|said:|^In article|^Quoted from|^\||^>)")


@dataclass(frozen=True)
class Posts:
    """Posts and labels."""

    classes: tuple[str, ...]  # newsgroups in the order of the labels
    train: list[str]  # complete posts in the official order
    y_train: list[int]
    test: list[str]
    y_test: list[int]
    sha256: str  # of all posts and labels


def load(name: str, folder: str | Path) -> Posts:
    """Loads one of DATASETS; 20newsgroups is read from `folder` or downloaded into it."""
    return load_corpus() if name == "corpus" else load_20newsgroups(folder)


def load_20newsgroups(folder: str | Path) -> Posts:
    """20newsgroups, split by date, from scikit-learn's cache in `folder`/scikit_learn_data.

    Downloaded if it is missing or damaged (14 MB). Raises UserError if the download fails.
    """
    from sklearn.datasets import fetch_20newsgroups  # slow to import

    home = Path(folder) / "scikit_learn_data"
    cache = home / "20news-bydate_py3.pkz"
    fetch = partial(fetch_20newsgroups, data_home=home, shuffle=False, n_retries=1, delay=0.1)
    try:
        train, test = (fetch(subset=part) for part in ("train", "test"))
    except (OSError, http.client.HTTPException) as error:
        state = "damaged" if cache.is_file() else "missing"
        raise UserError(
            f"{shown(cache)} is {state} and the download failed ({first_line(error)}): put "
            "this cache file of scikit-learn there"
        ) from None
    digest = hashlib.sha256()
    for part in (train, test):
        for text, label in zip(part.data, part.target, strict=True):
            digest.update(f"{label}\0{text}\0".encode("utf-8", "surrogatepass"))
    y_train, y_test = ([int(label) for label in part.target] for part in (train, test))
    names = tuple(train.target_names)
    return Posts(names, train.data, y_train, test.data, y_test, digest.hexdigest())


def zones(text: str) -> list[tuple[int, int, str]]:
    """Splits a post into spans (start, end, zone), in order and without gaps.

    Header: up to the first blank line. Footer: from the last blank line or line of dashes. Quote:
    lines that match QUOTE. Body: all other lines, and whitespace around them.
    """
    head, blank, rest = text.partition("\n\n")
    header_end, start = len(head + blank), len(text) - len(rest.lstrip())
    spans = [(0, header_end, "header"), (header_end, start, "body")]
    lines = rest.strip().split("\n")
    footer = _footer(lines) or len(lines)
    for k, line in enumerate(lines):
        end = min(start + len(line) + 1, len(text))
        zone = "footer" if k >= footer else "quote" if QUOTE.search(line) else "body"
        spans.append((start, end, zone))
        start = end
    spans.append((start, len(text), "body"))
    return [span for span in spans if span[0] < span[1]]


def strip(text: str) -> str:
    """A post as in `fetch_20newsgroups(remove=("headers", "footers", "quotes"))`."""
    rest = text.partition("\n\n")[2]
    lines = rest.strip().split("\n")
    footer = _footer(lines)
    kept = lines[:footer] if footer else rest.split("\n")
    return "\n".join(line for line in kept if not QUOTE.search(line))


def _footer(lines: list[str]) -> int:
    """The index of the last blank line or line of dashes, or 0."""
    return max((k for k, line in enumerate(lines) if not line.strip().strip("-")), default=0)


TOPIC_WORDS = {
    "astronomy": "comet telescope orbit eclipse galaxy nebula lunar meteor aperture planet",
    "cooking": "simmer oven dough garlic saucepan recipe butter whisk roast flour",
    "gardening": "compost seedling prune mulch tulip hedge watering greenhouse weeds soil",
    "sailing": "mast rudder keel harbour tack spinnaker anchor buoy regatta hull",
}
TOPIC_WORDS = {group: tuple(words.split()) for group, words in TOPIC_WORDS.items()}
CORPUS_CLASSES = tuple(TOPIC_WORDS)
HOSTS = ("stargate", "panhandle", "fencepost", "bilgepump")
LEAK_HOSTS = dict(zip(CORPUS_CLASSES, HOSTS, strict=True))
LEAK_RATE = 0.8  # share of the posts whose header contains the host of their group
SHARED_WORDS = (
    "yesterday somebody asked whether anyone here remembers which evening works best because "
    "several friends would like to discuss things that seemed difficult at first but turned out "
    "simple enough after some practice although opinions differ about how much patience people "
    "need before starting again next weekend with better weather and cheaper parts"
).split()
FIRST_NAMES = "alex robin kim sam jordan taylor morgan casey".split()


def make_posts(n: int, seed: int) -> Iterator[tuple[str, int]]:
    """Yields `n` posts with their labels; post i has label i % 4."""
    rng = np.random.default_rng(seed)
    for k in range(n):
        label = k % len(CORPUS_CLASSES)
        group = CORPUS_CLASSES[label]
        host = LEAK_HOSTS[group] if rng.random() < LEAK_RATE else "example"
        author, other = rng.choice(FIRST_NAMES, 2, replace=False)
        words = list(rng.choice(SHARED_WORDS, 45))
        n_own = rng.integers(1, 4)
        other_group = CORPUS_CLASSES[rng.integers(len(CORPUS_CLASSES))]
        for name, count in ((group, n_own), (other_group, rng.integers(0, 2))):
            for word in rng.choice(TOPIC_WORDS[name], count, replace=False):
                words.insert(int(rng.integers(len(words) + 1)), word)
        lines = [" ".join(words[i : i + 9]) for i in range(0, len(words), 9)]
        header = f"From: {author}@{host}.org\nSubject: a question\nLines: {len(lines)}"
        quote = f"{other} writes:\n> {' '.join(rng.choice(SHARED_WORDS, 7))}"
        footer = f"--\n{author}, reader of this group\n"
        yield "\n\n".join((header, "\n".join((quote, *lines)), footer)), label


def load_corpus(train: int = 800, test: int = 400) -> Posts:
    """The built-in corpus, in the form of 20newsgroups; the same in every run."""
    parts = [list(zip(*make_posts(n, seed), strict=True)) for n, seed in ((train, 1), (test, 2))]
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    (x_train, y_train), (x_test, y_test) = parts
    return Posts(CORPUS_CLASSES, list(x_train), list(y_train), list(x_test), list(y_test), digest)
