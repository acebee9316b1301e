"""Question 2, texts: classifiers against scikit-learn, LIME against the `lime` package, errors, and
the scripts as a user runs them."""

import io
import json
import re
import shutil
import sys
from dataclasses import replace

from common import newsgroups, results
from common.cli import UserError

import numpy as np
import pytest
from conftest import ROOT, Harmful, call
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from evaluation import speed
from q2_lime import core, explain_text, leak, linear, text, train_text

ALONE = np.arange(10_000)  # every post is a separate thread
C = {"min_df": 1, "stop_words": None, "C": 1.0}


def trained(texts, labels, classes, kind="svm"):
    about = {"classes": classes, "stripped": False, "dataset": "x", "settings": C}
    return train_text.train(kind, texts, np.array(labels), ALONE[: len(labels)], **about)


@pytest.fixture(scope="module")
def posts():
    return newsgroups.load_corpus(train=200, test=100)


@pytest.fixture(scope="module")
def model(posts):
    return trained(posts.train, posts.y_train, posts.classes)


@pytest.mark.parametrize("kind", linear.KINDS)
def test_tfidf_and_probabilities_match_scikit_learn(posts, kind):
    ours = trained(posts.train, posts.y_train, posts.classes, kind)
    logistic = LogisticRegression(max_iter=200, tol=1e-3)
    classifier = LinearSVC(random_state=0) if kind == "svm" else logistic
    labels = np.array(posts.y_train)
    folds = list(StratifiedGroupKFold(5).split(labels, labels, ALONE[: len(labels)]))
    options = {"method": "temperature", "ensemble": False, "cv": folds}
    classifier = CalibratedClassifierCV(classifier, **options)
    tfidf = TfidfVectorizer(sublinear_tf=True, max_df=0.5)
    theirs = make_pipeline(tfidf, classifier).fit(posts.train, posts.y_train)
    texts = [*posts.test, "", "unknown words: zzz", "\u0130zmir, a comet and \u0130zmir"]
    expected = theirs.predict_proba(texts)
    assert np.allclose(ours.probabilities(texts), expected, atol=2e-3)  # 16-bit coefficients
    assert abs(ours.vectors(texts) - theirs[0].transform(texts)).max() < 1e-6


def test_contributions_add_up_to_the_margin(posts, model):
    body = posts.test[0]
    words = list(text.read(body, model.vocabulary).words)
    total = model.contributions(body, words).sum(0) + model.intercept
    assert np.allclose(total, model.margins([body])[0])


def changed(arrays, **changes):
    """The settings of a saved model with changes."""
    settings = json.loads(arrays["about"].tobytes()) | changes
    return {"about": np.frombuffer(json.dumps(settings).encode(), np.uint8)}


def test_a_saved_model_loads_and_a_damaged_one_gets_one_line(tmp_path, posts, model):
    path = linear.save(tmp_path / "m.npz", model)
    loaded = linear.load(path)
    assert (loaded.vocabulary, loaded.settings) == (model.vocabulary, C)
    assert np.array_equal(loaded.margins(posts.test), model.margins(posts.test))
    good = results.read_npz(path)
    for damage, reason in (
        ({"idf": np.array([Harmful()], dtype=object)}, "Object arrays"),
        ({"intercept": np.zeros(3)}, "do not fit"),
        ({"coefficients": good["coefficients"] * np.nan}, "not finite"),
        ({"vocabulary": np.frombuffer(b"oil\noil", "u1")}, "twice"),
        (changed(good, temperature=float("nan")), "temperature"),
        (changed(good, temperature=0), "temperature"),
        (changed(good, classes=["a", "\x07"]), "class name"),
        (changed(good, format=2), "format"),
    ):
        np.savez(path, **good | damage)
        with pytest.raises(UserError, match=f"damaged or not a text model.*{reason}"):
            linear.load(path)
    for content in (b"", b"text", b"PK\x03\x04" + bytes(90)):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged or not a text model"):
            linear.load(path)
    with pytest.raises(UserError, match="there is no text model"):
        linear.load(tmp_path / "missing.npz")


def test_posts_with_the_same_subject_are_one_thread():
    moon = ["Subject: Moon", "Subject: Re: moon", "From: x\nSubject: RE: Re: Moon"]
    threads = train_text.threads([*moon, "Subject: Mars", "no subject"], n_classes=1)
    assert threads[0] == threads[1] == threads[2] and len(set(threads.tolist())) == 3


def test_masks_and_texts_give_the_same_margins(posts, model):
    for body in [*posts.test[:5], "\u0130orbit saw a COMET in \u0130orbit, \u0130lunar"]:
        post = text.read(body, model.vocabulary)
        masks = np.random.default_rng(0).random((60, len(post.words))) < 0.6
        masks[0], masks[1] = True, False
        margins = text.answer_linear(post, model)(masks)
        texts = [text.without(post, mask) for mask in masks]
        assert np.allclose(margins, model.margins(texts), atol=1e-9)
        assert np.allclose(margins[0], model.margins([body])[0])
        assert np.allclose(margins[1], model.intercept)


def test_weights_agree_exactly_with_the_lime_package(posts, model, monkeypatch):
    """The package deletes words from the text; ours computes with the same masks."""
    monkeypatch.setattr(speed, "PACKAGE_TEXT_SAMPLES", 300)
    for index in (2, 3):
        assert speed.post_row(posts.test[index], index, model, seed=0)["largest_difference"] < 1e-9


def test_weights_agree_with_the_ground_truth(posts, model):
    for index in range(4):
        post = text.read(posts.test[index], model.vocabulary)
        _, values, truth = text.prepare(post, model)
        explanation = core.explain(values, len(post.words), text.SETTINGS, index)
        weights = explanation.weights[:, 0]
        assert np.corrcoef(weights, truth)[0, 1] > 0.95 and explanation.fidelity[0] > 0.95
        assert core.top_features(weights, 1) == core.top_features(truth, 1)


def test_words_spans_and_zones_by_hand():
    body = "From: ann@moon.org\n\nBob writes:\n> Moon old\nMoon and Ann\n\n--\nbob"
    post = text.read(body)
    assert post.words == ("from", "ann", "moon", "org", "bob", "writes", "old", "and")
    assert all(body[s:e].lower() == post.words[k] for s, e, k in post.spans)
    share = dict(zip(post.words, post.zone_shares().tolist(), strict=True))
    assert newsgroups.ZONES == ("header", "quote", "footer", "body")
    assert share["moon"] == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    assert share["ann"] == [0.5, 0, 0, 0.5] and share["bob"] == [0, 0.5, 0.5, 0]
    assert share["old"] == [0, 1, 0, 0] and share["and"] == [0, 0, 0, 1]
    hidden = np.array([word != "moon" for word in post.words])
    assert text.without(post, hidden) == re.sub("(?i)moon", "", body)


@pytest.mark.parametrize(
    "body, message",
    [
        ("", "is empty"),
        ("a b c", "has no words"),
        ("zzz qqq vvv", "no words that the model knows"),
        ("comet zzz", "has only one word that the model knows"),
        (" ".join(f"word{k}" for k in range(2001)), "2,001 different words"),
    ],
)
def test_texts_that_cannot_be_explained(model, body, message):
    everything = message in ("has no words", "2,001 different words")
    with pytest.raises(UserError, match=message):
        text.read(body, None if everything else model.vocabulary)


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\r\n"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_zones_do_not_depend_on_byte_order_mark_and_line_ends(tmp_path, before, end):
    post = b"FROM:ann@org\nsubject: moon\n\nBob writes:\n> old\nA comet\n\n--\nann"
    (tmp_path / "post").write_bytes(before + post.replace(b"\n", end))
    body, _ = text.read_user_text(str(tmp_path / "post"))
    assert text.read("\ufeff" + body) == text.read(body)
    zones = [newsgroups.ZONES[k] for k in text.read(body).zone_shares().argmax(1)]
    assert zones == ["header"] * 5 + ["quote"] * 3 + ["body"]  # ties: the first zone


@pytest.mark.parametrize(
    "body",
    [
        "Dear x,\n\ny",
        "Note: so.\n\nx",
        "http://x\n\nx",
        "From: moon",
        "Date: 1 May\nDear x,\n\ny",
        "From the desk of x\nDate: 1 May\n\ny",
    ],
)
def test_other_texts_are_no_news_posts(body):
    assert not text.is_news_post(body)


def test_a_post_may_have_any_header():
    assert text.is_news_post("From: a\nContent-Type: multipart/mixed; boundary*=idna''%FF\n\nmoon")


def test_zone_weight_by_hand():
    post = text.read("From: moon\n\nmoon comet\n\n--\nann")
    weights = np.array([0.0, -2.0, 1.0, 1.0])  # moon: half header, half body; ann: footer
    assert leak.zone_weight(post, weights) == pytest.approx([0.25, 0, 0.25, 0.5])


def test_the_planted_leak_is_found(posts, model):
    shares, exact, words = leak.outside_body(leak.measure(model, posts.test, range(12), seed=0))
    assert np.corrcoef(shares, exact)[0, 1] > 0.8
    assert shares.mean() > max(words.mean(), 0.3)


def test_stripping_removes_the_planted_leak(text_demo):
    content = results.read_json(text_demo / "leak.json")
    for kind in linear.KINDS:
        rows = [content["models"][name] for name in (kind, f"{kind}_stripped")]
        summary, (full, stripped) = content["summary"][kind], [row["outside_body"] for row in rows]
        assert summary["outside_body_drop"] == pytest.approx(full - stripped) and full > stripped
        n = summary["n_classes"]
        assert summary["n_classes_with_less"] == n
        assert summary["p_value"] == pytest.approx(2 / 2**n)  # all of them, two-sided


def test_posts_that_are_too_long_are_not_drawn(posts, model, monkeypatch):
    chosen = explain_text.draw(posts, [model], 0)
    lengths = [len(text.read(posts.test[k], model.vocabulary).words) for k in chosen]
    monkeypatch.setattr(text, "MAX_WORDS", max(lengths) - 1)
    again = explain_text.draw(posts, [model], 0)
    for before, after, n in zip(chosen, again, lengths, strict=True):
        assert (after == before) == (n <= text.MAX_WORDS)
        text.read(posts.test[after], model.vocabulary)


OUT = ROOT / "outputs/q2_lime/text"


def test_the_scripts_find_the_known_answers(text_demo):
    """Of the built-in posts: the words that tell the class, and the host in the header."""
    evaluation = json.loads((text_demo / "evaluation.json").read_text())
    svm = evaluation["models"]["svm"]
    assert svm["accuracy"] > 0.95 > svm["accuracy_stripped"] > 0.8 and evaluation["n_test"] == 400
    samples = json.loads((text_demo / "explanations.json").read_text())["samples"]
    assert len(samples) == 8 and all((text_demo / sample["figure"]).is_file() for sample in samples)
    telling = []
    for sample in samples:
        known = newsgroups.TOPIC_WORDS[sample["predicted"]]
        known += (newsgroups.LEAK_HOSTS[sample["predicted"]],)
        top = [word["word"] for word in sample["words"] if word["weight"] > 0][:3]
        telling += [word in known for word in top]
    assert np.mean(telling) > 0.9
    models = json.loads((text_demo / "leak.json").read_text())["models"]
    assert models["svm"]["outside_body"] > 0.3 > models["svm_stripped"]["outside_body"]


def test_user_texts(text_demo, monkeypatch, tmp_path):
    """A file and the standard input."""
    path = tmp_path / "a$_$b.txt"  # not a formula
    path.write_bytes(b"Through the telescope we saw a comet.\r\n\r\nThen the lunar eclipse.")
    options = ("--models", text_demo, "--out", tmp_path)
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
        label, values, _ = text.prepare(post, model)
        found = core.explain(values, len(post.words), text.SETTINGS, stored["index"])
        top = core.top_features(found.weights[:, 0], 10)
        assert model.classes[label] == stored["predicted"]
        assert [post.words[k] for k in top] == [word["word"] for word in stored["words"]]
        weights = [word["weight"] for word in stored["words"]]
        assert np.allclose(found.weights[top, 0], weights, rtol=1e-5)


def test_text_models_of_different_data_sets_are_refused(text_demo, tmp_path):
    for path in text_demo.glob("*.npz"):
        shutil.copy(path, tmp_path)
    model = linear.load(tmp_path / "svm.npz")
    linear.save(tmp_path / "svm.npz", replace(model, dataset="20newsgroups"))
    done = call(explain_text, "--models", tmp_path)
    assert done.returncode == 2 and "trained on different data sets" in done.stderr
