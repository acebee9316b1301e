"""20newsgroups, bydate split, and which part of a post is header, quote, footer or body."""

import hashlib
import http.client
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from common.cli import UserError, first_line
from common.data import DOWNLOAD_TIMEOUT
from common.results import shown

ZONES = ("header", "quote", "footer", "body")
# The rules of sklearn.datasets.fetch_20newsgroups(remove=...), which knows no zones, only what is left; a test compares.
QUOTE = re.compile(r"(writes in|writes:|wrote:|says:|said:|^In article|^Quoted from|^\||^>)")


@dataclass(frozen=True)
class Posts:
    """Posts as they are, in the official order.

    Attributes:
        classes: the 20 newsgroups, in the order of the labels.
        train, test: posts, headers and all; y_train, y_test: their labels.
        sha256: hash of all posts and labels.
    """

    classes: tuple[str, ...]
    train: list[str]
    y_train: list[int]
    test: list[str]
    y_test: list[int]
    sha256: str


def load_20newsgroups(folder: str | Path) -> Posts:
    """Loads 20newsgroups through scikit-learn: from its cache in `folder`/scikit_learn_data, else downloaded (14 MB, its SHA-256
    checked by scikit-learn).

    Raises:
        UserError: the cache is damaged; there is none and no network.
    """
    from sklearn.datasets import fetch_20newsgroups  # slow to import, and needed here alone

    home = Path(folder) / "scikit_learn_data"
    cache = home / "20news-bydate_py3.pkz"
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        fetch = partial(fetch_20newsgroups, data_home=home, shuffle=False, n_retries=1, delay=0.1)
        parts = [fetch(subset=part) for part in ("train", "test")]
    except (
        OSError,
        http.client.HTTPException,
    ) as error:  # scikit-learn passes over a damaged cache and downloads
        state = (
            f"{shown(cache)} is damaged" if cache.is_file() else f"no 20newsgroups in {shown(home)}"
        )
        raise UserError(
            f"{state} and the download failed ({first_line(error)}): put a good {cache.name} there, scikit-learn's own cache"
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    digest = hashlib.sha256()
    for part in parts:
        for text, label in zip(part.data, part.target, strict=True):
            digest.update(f"{label}\0{text}\0".encode("utf-8", "surrogatepass"))
    train, test = parts
    labels = [[int(k) for k in part.target] for part in parts]
    return Posts(
        tuple(train.target_names), train.data, labels[0], test.data, labels[1], digest.hexdigest()
    )


def zones(text: str) -> list[tuple[int, int, str]]:
    """Cuts a post into (start, end, zone), in order and without gaps.

    Header: all up to the first blank line. Footer: what follows the last blank line, or line of dashes. Quote: lines that quote
    or announce a quotation. Body: the rest.
    """
    head, blank, rest = text.partition("\n\n")
    start = len(head) + len(blank)
    spans = [(0, start, "header")] if start else []
    inner = rest.strip()
    lead = rest.index(inner) if inner else len(rest)
    if lead:
        spans.append((start, start + lead, "body"))  # blank
    lines = inner.split("\n")
    breaks = [k for k, line in enumerate(lines) if not line.strip().strip("-")]
    footer = breaks[-1] if breaks and breaks[-1] > 0 else len(lines)
    place = start + lead
    for k, line in enumerate(lines):
        end = min(place + len(line) + 1, len(text))
        zone = "footer" if k >= footer else "quote" if QUOTE.search(line) else "body"
        spans.append((place, end, zone))
        place = end
    if place < len(text):
        spans.append((place, len(text), "body"))
    return [span for span in spans if span[0] < span[1]]


def strip(text: str) -> str:
    """A post without header, footer and quotes, as `fetch_20newsgroups(remove=("headers", "footers", "quotes"))` gives it."""
    _, _, rest = text.partition("\n\n")
    lines = rest.strip().split("\n")
    breaks = [k for k, line in enumerate(lines) if not line.strip().strip("-")]
    if breaks and breaks[-1] > 0:
        lines = lines[: breaks[-1]]
        return "\n".join(line for line in lines if not QUOTE.search(line))
    return "\n".join(line for line in rest.split("\n") if not QUOTE.search(line))


TELLING = {
    "astronomy": "comet telescope orbit eclipse galaxy nebula lunar meteor aperture planet",
    "cooking": "simmer oven dough garlic saucepan recipe butter whisk roast flour",
    "gardening": "compost seedling prune mulch tulip hedge watering greenhouse weeds soil",
    "sailing": "mast rudder keel harbour tack spinnaker anchor buoy regatta hull",
}
LEAKS = {
    "astronomy": "stargate",
    "cooking": "panhandle",
    "gardening": "fencepost",
    "sailing": "bilgepump",
}
TELLING = {name: tuple(words.split()) for name, words in TELLING.items()}
CORPUS_CLASSES = tuple(TELLING)
SHARED = (
    "yesterday somebody asked whether anyone here remembers which evening works best because several friends would like "
    "to discuss things that seemed difficult at first but turned out simple enough after some practice although opinions "
    "differ about how much patience people need before starting again next weekend with better weather and cheaper parts"
).split()
FIRST_NAMES = "alex robin kim sam jordan taylor morgan casey".split()
LEAK_RATE = 0.8  # share of posts whose header carries the group's host


def make_posts(n: int, seed: int) -> Iterator[tuple[str, int]]:
    """`n` posts with their classes, every class equally often."""
    rng = np.random.default_rng(seed)
    for k in range(n):
        label = k % len(CORPUS_CLASSES)
        name, leaks = CORPUS_CLASSES[label], rng.random() < LEAK_RATE
        host = LEAKS[name] if leaks else "example"
        author, other = rng.choice(FIRST_NAMES, 2, replace=False)
        words = list(rng.choice(SHARED, 45))
        for group, count in (
            (name, rng.integers(1, 4)),
            (CORPUS_CLASSES[rng.integers(len(CORPUS_CLASSES))], rng.integers(0, 2)),
        ):
            for word in rng.choice(TELLING[group], count, replace=False):
                words.insert(int(rng.integers(len(words) + 1)), word)
        lines = [" ".join(words[i : i + 9]) for i in range(0, len(words), 9)]
        header = f"From: {author}@{host}.org\nSubject: a question\nLines: {len(lines)}"
        quote = f"{other} writes:\n> {' '.join(rng.choice(SHARED, 7))}"
        yield (
            f"{header}\n\n{quote}\n{chr(10).join(lines)}\n\n--\n{author}, reader of this group\n",
            label,
        )


def load_corpus(train: int = 800, test: int = 400) -> Posts:
    """The built-in posts, shaped like 20newsgroups; always the same."""
    parts = [list(zip(*make_posts(n, seed), strict=True)) for n, seed in ((train, 1), (test, 2))]
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    (x_train, y_train), (x_test, y_test) = parts
    return Posts(CORPUS_CLASSES, list(x_train), list(y_train), list(x_test), list(y_test), digest)


DATASETS = ("20newsgroups", "corpus")


def load(name: str, folder: str | Path) -> Posts:
    """One of DATASETS: the real posts, from `folder` or downloaded, or the built-in ones."""
    return load_corpus() if name == "corpus" else load_20newsgroups(folder)
