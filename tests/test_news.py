"""Zones of posts by hand, and stripping against scikit-learn's."""

import pytest
from conftest import DATA
from sklearn.datasets import fetch_20newsgroups

from common.cli import UserError
from common.newsgroups import load_20newsgroups, strip, zones

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


def test_zones_have_no_gaps():
    odd = (
        "",
        "\n\n",
        "no blank line",
        "h\n\n",
        "h\n\n\n\n",
        "h\n\n> all\n> quoted",
        "h\n\na\n\n--\nb",
    )
    for text in odd:
        assert "".join(text[start:end] for start, end, _ in zones(text)) == text


def test_damaged_cache_and_no_network(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    with pytest.raises(UserError, match="is missing and the download failed"):
        load_20newsgroups(tmp_path)
    (tmp_path / "scikit_learn_data/20news-bydate_py3.pkz").write_bytes(b"damaged")
    with pytest.raises(UserError, match="is damaged and the download failed"):
        load_20newsgroups(tmp_path)


@pytest.mark.slow
def test_real_posts_are_stripped_as_by_scikit_learn(newsgroups):
    options = {"data_home": DATA / "scikit_learn_data", "subset": "test", "shuffle": False}
    stripped = fetch_20newsgroups(remove=("headers", "footers", "quotes"), **options).data
    assert len(newsgroups.train) == 11314 and len(newsgroups.test) == 7532
    for text, expected in zip(newsgroups.test, stripped, strict=True):
        assert strip(text) == expected
        assert "".join(text[start:end] for start, end, _ in zones(text)) == text
        assert words(text, "body") == expected.split()
