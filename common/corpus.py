"""Built-in posts whose telling words are known: made from templates by seed, in the form of 20newsgroups.

Four groups. The body of a post has one to three words that tell its group, sometimes one of any group, and many that all groups share.
The header of most posts carries a host that belongs to the group although it has nothing to do with the subject: a leak, as
real newsgroups have it. So the right explanation is known, and the tempting wrong one as well.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common import news
from common.news import News

TELLING = {
    "astronomy": "comet telescope orbit eclipse galaxy nebula lunar meteor aperture planet",
    "cooking": "simmer oven dough garlic saucepan recipe butter whisk roast flour",
    "gardening": "compost seedling prune mulch tulip hedge watering greenhouse weeds soil",
    "sailing": "mast rudder keel harbour tack spinnaker anchor buoy regatta hull",
}
LEAKS = {"astronomy": "stargate", "cooking": "panhandle", "gardening": "fencepost", "sailing": "bilgepump"}
TELLING = {name: tuple(words.split()) for name, words in TELLING.items()}
CLASSES = tuple(TELLING)
SHARED = (
    "yesterday somebody asked whether anyone here remembers which evening works best because several friends would like "
    "to discuss things that seemed difficult at first but turned out simple enough after some practice although opinions "
    "differ about how much patience people need before starting again next weekend with better weather and cheaper parts"
).split()
NAMES = "alex robin kim sam jordan taylor morgan casey".split()
LEAK_RATE = 0.8  # share of posts whose header carries the group's host


def make(n: int, seed: int) -> Iterator[tuple[str, int]]:
    """`n` posts with their classes, every class equally often."""
    rng = np.random.default_rng(seed)
    for k in range(n):
        label = k % len(CLASSES)
        name, leaks = CLASSES[label], rng.random() < LEAK_RATE
        host = LEAKS[name] if leaks else "example"
        author, other = rng.choice(NAMES, 2, replace=False)
        words = list(rng.choice(SHARED, 45))
        for group, count in ((name, rng.integers(1, 4)), (CLASSES[rng.integers(len(CLASSES))], rng.integers(0, 2))):
            for word in rng.choice(TELLING[group], count, replace=False):
                words.insert(int(rng.integers(len(words) + 1)), word)
        lines = [" ".join(words[i : i + 9]) for i in range(0, len(words), 9)]
        header = f"From: {author}@{host}.org\nSubject: a question\nLines: {len(lines)}"
        quote = f"{other} writes:\n> {' '.join(rng.choice(SHARED, 7))}"
        yield f"{header}\n\n{quote}\n{chr(10).join(lines)}\n\n--\n{author}, reader of this group\n", label


def load(train: int = 800, test: int = 400) -> News:
    """The built-in posts, shaped like 20newsgroups; always the same."""
    parts = [list(zip(*make(n, seed), strict=True)) for n, seed in ((train, 1), (test, 2))]
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    (x_train, y_train), (x_test, y_test) = parts
    return News(CLASSES, list(x_train), list(y_train), list(x_test), list(y_test), digest)


DATASETS = ("20newsgroups", "corpus")


def posts(name: str, folder: str | Path) -> News:
    """One of DATASETS: the real posts, from `folder` or downloaded, or the built-in ones."""
    return load() if name == "corpus" else news.load(folder)
