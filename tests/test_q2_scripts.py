"""The scripts of the text half of Question 2, as a user runs them, and the committed results."""

import io
import json
import sys

from common import newsgroups

import numpy as np
import pytest
from conftest import ROOT, call
from test_text import answers

from q2_lime import core, explain_text, linear, text, train_text

OUT = ROOT / "outputs/q2_lime/text"


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("text")
    for module, *options in (
        (train_text, "--dataset", "corpus", "--out"),
        (explain_text, "--models"),
    ):
        ran = call(module, *options, out)
        assert ran.returncode == 0 and "Warning" not in ran.stderr, ran.stderr
    return out


def test_the_scripts_find_the_known_answers(demo):
    """Of the built-in posts: the words that tell the class, and the host in the header."""
    evaluation = json.loads((demo / "evaluation.json").read_text())
    svm = evaluation["models"]["svm"]
    assert svm["accuracy"] > 0.95 > svm["accuracy_stripped"] > 0.8 and evaluation["n_test"] == 400
    samples = json.loads((demo / "explanations.json").read_text())["samples"]
    assert len(samples) == 8 and all((demo / sample["figure"]).is_file() for sample in samples)
    telling = []
    for sample in samples:
        known = newsgroups.TOPIC_WORDS[sample["predicted"]]
        known += (newsgroups.LEAK_HOSTS[sample["predicted"]],)
        top = [word["word"] for word in sample["words"] if word["weight"] > 0][:3]
        telling += [word in known for word in top]
    assert np.mean(telling) > 0.9
    models = json.loads((demo / "leak.json").read_text())["models"]
    assert models["svm"]["outside_body"] > 0.3 > models["svm_stripped"]["outside_body"]


def test_user_texts(demo, monkeypatch, tmp_path):
    """A file and the standard input."""
    path = tmp_path / "a$_$b.txt"  # not a formula
    path.write_bytes(b"Through the telescope we saw a comet.\r\n\r\nThen the lunar eclipse.")
    options = ("--models", demo, "--out", tmp_path)
    ran = call(explain_text, "--text", path, *options)
    assert ran.returncode == 0 and "astronomy" in ran.stdout, ran.stderr
    stored = tmp_path / "user/a$_$b_svm.json"
    sample = json.loads(stored.read_text())
    assert {word["zone"] for word in sample["words"]} == {"body"}
    assert stored.with_suffix(".png").is_file()
    options = ("--text", "-", "--samples", "200", *options)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    ran = call(explain_text, *options)
    assert ran.returncode == 0 and "astronomy" in ran.stdout, ran.stderr


def test_accuracies_of_the_committed_models(newsgroups):
    stored, labels = json.loads((OUT / "evaluation.json").read_text()), np.array(newsgroups.y_test)
    texts = train_text.variants(newsgroups.test)
    for kind in linear.KINDS:
        for end, variant in (("", "full"), ("_stripped", "stripped")):
            margins = linear.load(OUT / f"{kind}{end}.npz").margins(texts[variant])
            accuracy = (margins.argmax(1) == labels).mean()
            assert accuracy == pytest.approx(stored["models"][kind][f"accuracy{end}"], abs=1e-5)


def test_committed_explanations(newsgroups):
    samples = json.loads((OUT / "explanations.json").read_text())["samples"]
    for kind in linear.KINDS:
        rows = [sample for sample in samples if sample["model"] == kind]
        assert [row["true"] for row in rows] == list(newsgroups.classes)
        assert all(newsgroups.classes[newsgroups.y_test[r["index"]]] == r["true"] for r in rows)
        model, stored = linear.load(OUT / f"{kind}.npz"), rows[0]
        post = text.read(newsgroups.test[stored["index"]], model.vocabulary)
        values, label = answers(post, model)
        found = core.explain(values, len(post.words), text.SETTINGS, stored["index"])
        top = core.top_features(found.weights[:, 0], 10)
        assert model.classes[label] == stored["predicted"]
        assert [post.words[k] for k in top] == [word["word"] for word in stored["words"]]
        weights = [word["weight"] for word in stored["words"]]
        assert np.allclose(found.weights[top, 0], weights, rtol=1e-5)
