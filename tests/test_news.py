"""Posts and their zones, against scikit-learn's own stripping."""

import pytest
from conftest import DATA

from common import newsgroups
from common.cli import UserError

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
    return " ".join(
        text[start:end] for start, end, name in newsgroups.zones(text) if name == zone
    ).split()


def test_zones_by_hand():
    assert words(POST, "header") == "From: someone@example.org Subject: Re: Engines".split()
    assert words(POST, "quote")[-2:] == ["And", "water."]
    assert words(POST, "body") == "Mine does not. It is a bicycle.".split()
    assert words(POST, "footer") == ["--", "Someone,", "Somewhere"]
    assert newsgroups.strip(POST).split() == words(POST, "body")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "no blank line",
        "head\n\n",
        "head\n\n\n\n",
        "h\n\n> all\n> quoted",
        "h\n\na\n\n--\nb",
    ],
)
def test_zones_have_no_gaps(text):
    spans = newsgroups.zones(text)
    assert "".join(text[start:end] for start, end, _ in spans) == text
    assert {zone for *_, zone in spans} <= set(newsgroups.ZONES)


@pytest.mark.parametrize(
    "content, message",
    [(b"no cache", "is damaged and the download failed"), (None, "no 20newsgroups in")],
)
def test_no_good_cache_and_no_network(tmp_path, monkeypatch, content, message):
    def refuse(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    if content:
        (tmp_path / "scikit_learn_data").mkdir()
        (tmp_path / "scikit_learn_data/20news-bydate_py3.pkz").write_bytes(content)
    with pytest.raises(UserError, match=message):
        newsgroups.load_20newsgroups(tmp_path)


def test_real_posts_are_stripped_as_scikit_learn_does(newsgroups):
    from sklearn.datasets import fetch_20newsgroups

    stripped = fetch_20newsgroups(
        data_home=DATA / "scikit_learn_data",
        subset="test",
        shuffle=False,
        remove=("headers", "footers", "quotes"),
    ).data
    assert (
        len(newsgroups.train) == 11314
        and len(newsgroups.test) == 7532 == len(stripped)
        and len(newsgroups.classes) == 20
    )
    for text, expected in zip(newsgroups.test, stripped, strict=True):
        assert newsgroups.strip(text) == expected
        assert "".join(text[start:end] for start, end, _ in newsgroups.zones(text)) == text
        assert words(text, "body") == expected.split()
