"""20newsgroups and a built-in corpus; the header, quotes, footer and body of posts."""

import gzip
import hashlib
import io
import json
import pickle
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.cli import UserError, first_line
from common.results import download, shown, write_whole

import numpy as np

DATASETS = ("20newsgroups", "corpus")
CLASSES = """
alt.atheism comp.graphics comp.os.ms-windows.misc comp.sys.ibm.pc.hardware comp.sys.mac.hardware
comp.windows.x misc.forsale rec.autos rec.motorcycles rec.sport.baseball rec.sport.hockey sci.crypt
sci.electronics sci.med sci.space soc.religion.christian talk.politics.guns talk.politics.mideast
talk.politics.misc talk.religion.misc
"""
CLASSES = tuple(CLASSES.split())
URL = "https://ndownloader.figshare.com/files/5975967"  # as in scikit-learn, 14 MB
URL_SHA256 = "8f1b2514ca22a5ade8fbb9cfa5727df95fa587f4c87b786e15c759fa66d95610"
POSTS_SHA256 = "37e5474789dfabce40b3b0d8420373154b03e7674901aad2e70763d7bba5b9e1"
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
    """20newsgroups, split by date, in the order of scikit-learn.

    Read from `folder`/20newsgroups.json.gz, or from scikit-learn's cache in
    `folder`/scikit_learn_data. Otherwise, the official archive is downloaded (14 MB) and the first
    of these files written. Raises UserError if a file has other content or the download fails.
    """
    own = Path(folder) / "20newsgroups.json.gz"
    cache = Path(folder) / "scikit_learn_data/20news-bydate_py3.pkz"
    readers = {own: lambda x: json.loads(gzip.decompress(x)), cache: _from_scikit_learn}
    file = next((file for file in readers if file.is_file()), None)
    if file is None:
        archive = own.with_name("20news-bydate.tar.gz")
        download(URL, archive, URL_SHA256)
        content = gzip.compress(json.dumps(_from_archive(archive)).encode(), 6, mtime=0)
        file = write_whole(own, lambda part: part.write(content))
        archive.unlink()
    try:
        x_train, y_train, x_test, y_test = readers[file](file.read_bytes())
        digest = hashlib.sha256()
        for texts, labels in ((x_train, y_train), (x_test, y_test)):
            for text, label in zip(texts, labels, strict=True):
                digest.update(f"{label}\0{text}\0".encode("utf-8", "surrogatepass"))
        if digest.hexdigest() != POSTS_SHA256:
            raise ValueError("the posts differ from the official ones")
    except Exception as error:  # the type depends on which byte is damaged
        advice = "delete it to download the posts again"
        reason = f"is damaged or not 20newsgroups ({first_line(error)})"
        raise UserError(f"{shown(file)} {reason}: {advice}") from None
    return Posts(CLASSES, x_train, y_train, x_test, y_test, digest.hexdigest())


def _from_archive(file: Path) -> list[list]:
    """Posts and labels of the training set and the test set, in scikit-learn's (random) order."""
    parts: list[list] = []
    with tarfile.open(file) as archive:
        posts = {tuple(m.name.split("/")): archive.extractfile(m) for m in archive if m.isfile()}
        posts = {name: post.read().decode("latin1") for name, post in posts.items()}
    for part in ("train", "test"):
        names = sorted(name for name in posts if name[0] == f"20news-bydate-{part}")
        np.random.RandomState(0).shuffle(names)
        parts += [[posts[name] for name in names], [CLASSES.index(name[1]) for name in names]]
    return parts


class _Inert(dict):
    """Takes the place of the classes in scikit-learn's cache. Keeps their data and does nothing."""

    def __init__(self, *_):
        super().__init__()

    def __setstate__(self, state):
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Reads scikit-learn's cache, which is a pickle, without running code from it."""

    def find_class(self, module: str, name: str) -> type[_Inert]:
        if name not in ("Bunch", "ndarray", "dtype", "_reconstruct"):
            raise pickle.UnpicklingError(f"it contains {module}.{name}")
        return _Inert


def _from_scikit_learn(content: bytes) -> list[list]:
    pickled = zlib.decompressobj().decompress(content, 100_000_000)  # 41 MB
    cache, parts = _Unpickler(io.BytesIO(pickled)).load(), []
    for part in (cache["train"], cache["test"]):
        labels = np.frombuffer(part["target"].state[-1], "<i8")  # the buffer of a NumPy array
        parts += [part["data"], labels.tolist()]
    return parts


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
    lists = [list(values) for part in parts for values in part]
    return Posts(CORPUS_CLASSES, *lists, digest)
