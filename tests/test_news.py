"""Zones of posts by hand, and stripping against scikit-learn's."""

import hashlib
import tarfile

from common import newsgroups
from common.cli import UserError
from common.newsgroups import CLASSES, load_20newsgroups, strip, zones
from common.results import sha256

import pytest
from sklearn.datasets import _twenty_newsgroups as scikit
from sklearn.datasets import load_files

PARTS = ("train", "test")

POST = """From: someone@example.org
Subject: Re: Engines

In article <1@x>, other@y writes:
> An engine needs oil.
> And water.

Mine does not.

It is a bicycle.

--
Someone, Somewhere"""


def words(text: str, zone: str) -> list[str]:
    spans = zones(text)
    return " ".join(text[start:end] for start, end, name in spans if name == zone).split()


def test_zones_by_hand():
    assert words(POST, "header") == "From: someone@example.org Subject: Re: Engines".split()
    quote = "In article <1@x>, other@y writes: > An engine needs oil. > And water."
    assert words(POST, "quote") == quote.split()
    assert words(POST, "body") == "Mine does not. It is a bicycle.".split()
    assert words(POST, "footer") == ["--", "Someone,", "Somewhere"]


@pytest.mark.parametrize(
    "text", ["", "\n\n", "no blank line", "h\n\n> all\n> quoted", "h\n\na\n\n--\nb"]
)
def test_zones_have_no_gaps(text):
    assert "".join(text[start:end] for start, end, _ in zones(text)) == text


def test_an_official_archive_is_converted_once(tmp_path, monkeypatch):
    """Two posts of each class and part: the order is that of scikit-learn's `load_files`."""
    names = [f"20news-bydate-{p}/{c}/{k}" for p in PARTS for c in CLASSES for k in "21"]
    with tarfile.open(tmp_path / "20news-bydate.tar.gz", "w:gz") as archive:
        for name in names:
            content = f"caf\xe9 in {name}".encode("latin1")
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
            archive.add(tmp_path / name, name)
    expected = [load_files(tmp_path / f"20news-bydate-{p}", encoding="latin1") for p in PARTS]
    digest = hashlib.sha256()
    for part in expected:
        for text, label in zip(part.data, part.target, strict=True):
            digest.update(f"{label}\0{text}\0".encode())
    monkeypatch.setattr(newsgroups, "POSTS_SHA256", digest.hexdigest())
    with pytest.raises(UserError, match="20news-bydate.tar.gz is damaged"):
        load_20newsgroups(tmp_path)
    monkeypatch.setattr(newsgroups, "URL_SHA256", sha256(tmp_path / "20news-bydate.tar.gz"))
    for _ in range(2):  # from the archive, then from the file written beside it
        posts = load_20newsgroups(tmp_path)
        assert [posts.train, posts.test] == [part.data for part in expected]
        assert [posts.y_train, posts.y_test] == [part.target.tolist() for part in expected]
        assert not (tmp_path / "20news-bydate.tar.gz").exists()


def test_no_posts_and_no_network(tmp_path, offline):
    with pytest.raises(UserError, match="could not be downloaded .*Name or service not known"):
        load_20newsgroups(tmp_path)
    assert not list(tmp_path.iterdir())
    for name in ("20newsgroups.json.gz", "scikit_learn_data/20news-bydate_py3.pkz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"damaged")
        with pytest.raises(UserError, match=f"{name} is damaged .*delete it"):
            load_20newsgroups(tmp_path)
        (tmp_path / name).unlink()


@pytest.mark.slow
def test_real_posts_are_stripped_as_by_scikit_learn(newsgroups):
    assert len(newsgroups.train) == 11314 and len(newsgroups.test) == 7532
    for text in newsgroups.test:
        expected = scikit.strip_newsgroup_header(text)
        expected = scikit.strip_newsgroup_footer(expected)
        expected = scikit.strip_newsgroup_quoting(expected)
        assert strip(text) == expected
        assert "".join(text[start:end] for start, end, _ in zones(text)) == text
        assert words(text, "body") == expected.split()
