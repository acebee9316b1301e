"""Question 2, texts: the linear models against scikit-learn, LIME's front end against the package and the known answer."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import DATA, ROOT
from lime import lime_text
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from common import newsgroups
from common.cli import UserError
from q2_lime import core, leak, lime_package, linear, stability, text, text_figures, training

ALONE = np.arange(10_000)  # every post a thread of its own
SETTINGS = {"min_df": 1, "stop_words": None, "C": 1.0}


@pytest.fixture(scope="module")
def posts():
    return newsgroups.load_corpus(train=200, test=100)


def trained(posts, kind="svm", ngrams=1, stripped=False):
    texts = [newsgroups.strip(t) for t in posts.train] if stripped else posts.train
    labels = np.array(posts.y_train)
    return training.train(
        texts,
        labels,
        ALONE[: len(labels)],
        posts.classes,
        kind,
        ngrams,
        stripped,
        "corpus",
        SETTINGS,
    )


@pytest.fixture(scope="module")
def model(posts):
    return trained(posts)


# --- The models -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, ngrams", [("svm", 1), ("svm", 2), ("logistic_regression", 1)])
def test_the_model_computes_what_scikit_learns_pipeline_does(posts, kind, ngrams):
    ours = trained(posts, kind, ngrams)
    vectors = training.vectorizer(ngrams, min_df=1, stop_words=None)
    if kind == "svm":
        labels = np.array(posts.y_train)
        folds = list(StratifiedGroupKFold(5).split(labels, labels, ALONE[: len(labels)]))
        inner = CalibratedClassifierCV(
            LinearSVC(random_state=0), method="temperature", ensemble=False, cv=folds
        )
    else:
        inner = LogisticRegression(C=1.0, max_iter=200, tol=1e-3)
    theirs = make_pipeline(vectors, inner).fit(posts.train, posts.y_train)
    texts = [*posts.test, "", "nothing here is known: zzz"]
    assert np.allclose(
        ours.probabilities(texts), theirs.predict_proba(texts), atol=2e-3
    )  # coefficients have 16 bits
    assert abs(ours.vectors(texts) - theirs[0].transform(texts)).max() < 1e-6


def test_two_classes_are_two_columns():
    texts, labels = (
        ["good fine good", "bad poor", "fine good", "poor bad bad"] * 10,
        np.array([0, 1, 0, 1] * 10),
    )
    for kind in linear.KINDS:
        found = training.train(
            texts, labels, ALONE[:40], ("yes", "no"), kind, 1, False, "x", SETTINGS
        )
        assert found.probabilities(["good", "bad"]).argmax(1).tolist() == [0, 1]
    vectors = training.vectorizer(min_df=1, stop_words=None)
    theirs = make_pipeline(vectors, LogisticRegression(C=1.0, max_iter=200, tol=1e-3)).fit(
        texts, labels
    )
    assert np.allclose(found.probabilities(texts), theirs.predict_proba(texts), atol=2e-3)


def test_contributions_add_up_to_the_margin(posts, model):
    body = posts.test[0]
    words = list(dict.fromkeys(t for t in model.tokens(body) if t in model.vocabulary))
    total = model.contributions(body, words).sum(0) + model.intercept
    assert np.allclose(total, model.margins([body])[0])


def test_a_stored_model_comes_back(tmp_path, posts, model):
    back = linear.load(linear.save(tmp_path / "m.npz", model))
    assert (
        back.vocabulary == model.vocabulary
        and back.settings == SETTINGS
        and back.classes == posts.classes
    )
    assert np.array_equal(back.margins(posts.test), model.margins(posts.test))


def test_a_file_that_could_run_code_is_refused(tmp_path, model):
    linear.save(tmp_path / "m.npz", model)
    with np.load(tmp_path / "m.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "evil.npz", **arrays | {"idf": np.array([print], dtype=object)})
    (tmp_path / "short.npz").write_bytes((tmp_path / "m.npz").read_bytes()[:1000])
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.savez(tmp_path / "bent.npz", **arrays | {"intercept": np.zeros(3)})
    for name in ("evil", "short", "other", "bent", "missing"):
        with pytest.raises(UserError, match="text model"):
            linear.load(tmp_path / f"{name}.npz")


def test_posts_of_a_thread_are_told_by_their_subject():
    subjects = [
        "Subject: Moon",
        "Subject: Re: moon",
        "From: x\nSubject: RE: Re: Moon",
        "Subject: Mars",
        "no subject",
    ]
    found = training.threads(subjects)
    assert found[0] == found[1] == found[2] and len(set(found.tolist())) == 3


# --- The front end ----------------------------------------------------------------------------------------------------------


def test_masks_and_strings_give_the_same_margins(posts, model):
    """The short way, from the TF-IDF row, against the long one, through texts with words cut out."""
    for body in posts.test[:5]:
        post = text.read(body, model.vocabulary)
        masks = np.random.default_rng(0).random((60, len(post.words))) < 0.6
        masks[0], masks[1] = True, False
        short = text.answer_linear(post, model)(masks)
        assert np.allclose(short, text.answer_by_strings(post, model.margins)(masks), atol=1e-9)
        assert np.allclose(short[0], model.margins([body])[0]) and np.allclose(
            short[1], model.intercept
        )


def test_pairs_of_words_go_the_general_way(posts):
    model = trained(posts, ngrams=2)
    post = text.read(posts.test[0])
    masks = np.random.default_rng(0).random((20, len(post.words))) < 0.6
    found = text.answer_linear(post, model)(masks)
    assert np.allclose(found, model.margins([text.without(post, mask) for mask in masks]))


def test_the_packages_masks_and_answers_give_its_weights(posts, model):
    body = posts.test[3].lower()  # the package tells cases apart, the models don't
    post = text.read(body)
    explainer = lime_text.LimeTextExplainer(class_names=list(posts.classes), random_state=0)
    indexed = lime_text.IndexedString(body)
    masks, answers, distances = explainer._LimeTextExplainer__data_labels_distances(
        indexed, model.probabilities, 300
    )
    words = [str(indexed.word(k)) for k in range(indexed.num_words())]
    column = {word: k for k, word in enumerate(words)}
    label = int(answers[0].argmax())
    _, pairs, _, _ = explainer.base.explain_instance_with_data(
        masks, answers, distances, label, masks.shape[1], feature_selection="highest_weights"
    )
    theirs = dict(pairs)
    ours = text.answer_by_strings(post, model.probabilities)(
        masks[:, [column[w] for w in post.words]].astype(bool)
    )
    one_letter = [k for k, word in enumerate(words) if word not in post.words]
    assert all(len(words[k]) < 2 for k in one_letter)
    assert np.allclose(ours, answers, atol=1e-9)  # one-letter words are nothing to the model
    counts = core.kernel(masks.astype(bool), 0.25)
    found = core.fit(masks.astype(float), ours, counts, alpha=1.0).weights[:, label]
    assert np.allclose(found, [theirs[k] for k in range(len(words))], atol=1e-6)


def test_the_linear_models_own_coefficients_are_found(posts, model):
    for index in range(4):
        post = text.read(posts.test[index], model.vocabulary)
        margins = text.answer_linear(post, model)
        says = int(margins(np.ones((1, len(post.words)), bool))[0].argmax())
        values = text.explained_values(margins, model, [says], "margin")
        found = core.explain(values, len(post.words), replace(text.SETTINGS, samples=1000), index)
        truth = model.contributions(post.text, list(post.words))[:, says]
        assert np.corrcoef(found.weights[:, 0], truth)[0, 1] > 0.95 and found.fidelity[0] > 0.95
        assert core.leading(found.weights[:, 0], 1) == core.leading(truth, 1)


def test_explained_values(posts, model):
    post = text.read(posts.test[0], model.vocabulary)
    margins = text.answer_linear(post, model)
    masks = np.random.default_rng(0).random((9, len(post.words))) < 0.5
    p = model.probabilities([text.without(post, mask) for mask in masks])
    assert np.allclose(
        text.explained_values(margins, model, [2, 0], "probability")(masks), p[:, [2, 0]]
    )
    assert np.allclose(
        text.explained_values(margins, model, [1], "log_odds")(masks)[:, 0],
        np.log(p[:, 1] / (1 - p[:, 1])),
    )


def test_words_spans_and_zones_by_hand():
    body = "From: ann@moon.org\n\nBob writes:\n> Moon old\nMoon and Ann\n\n--\nbob"
    post = text.read(body)
    assert post.words == ("from", "ann", "moon", "org", "bob", "writes", "old", "and")
    assert [body[s:e].lower() for s, e, _ in post.spans] == [
        post.words[k] for _, _, k in post.spans
    ]
    share = dict(zip(post.words, post.zone_shares().tolist(), strict=True))
    assert newsgroups.ZONES == ("header", "quote", "footer", "body")
    assert share["moon"] == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3]) and share["ann"] == [
        0.5,
        0,
        0,
        0.5,
    ]
    assert (
        share["bob"] == [0, 0.5, 0.5, 0]
        and share["old"] == [0, 1, 0, 0]
        and share["and"] == [0, 0, 0, 1]
    )
    hidden = np.array([word != "moon" for word in post.words])
    assert text.without(post, hidden) == re.sub("(?i)moon", "", body)


@pytest.mark.parametrize(
    "body, message",
    [
        ("", "is empty"),
        (" \n\t ", "is empty"),
        ("a b c", "has no words"),
        ("zzz qqq vvv", "no words that the model knows"),
        ("comet zzz", "has 1 words that the model knows"),
        ("x\0y comet orbit", "not a text"),
        ("comet orbit " * 20000, "cut it"),
        (" ".join(f"word{k}" for k in range(2001)), "2,001 different words"),
    ],
)
def test_texts_without_anything_to_explain_are_refused(model, body, message):
    with pytest.raises(UserError, match=message):
        text.read(
            body, None if message in ("has no words", "2,001 different words") else model.vocabulary
        )


# --- Known answers on the built-in posts ------------------------------------------------------------------------------------


def test_the_corpus_is_what_it_says():
    posts = newsgroups.load_corpus()
    bodies = [newsgroups.strip(t).lower().split() for t in posts.test]
    for body, whole, label in zip(bodies, posts.test, posts.y_test, strict=True):
        name = posts.classes[label]
        assert set(body) & set(newsgroups.TOPIC_WORDS[name]) and not set(body) & set(
            newsgroups.LEAK_HOSTS.values()
        )
        assert sum(leak_ in whole for leak_ in newsgroups.LEAK_HOSTS.values()) in (0, 1)
    marked = np.mean(
        [
            newsgroups.LEAK_HOSTS[posts.classes[k]] in t
            for t, k in zip(posts.test, posts.y_test, strict=True)
        ]
    )
    assert marked == pytest.approx(newsgroups.LEAK_RATE, abs=0.06)
    assert newsgroups.load_corpus().sha256 == posts.sha256


def test_the_leak_meter_finds_the_planted_leak(posts, model):
    indices = list(range(12))
    bodies = [posts.test[i] for i in indices]
    shares, words = leak.measure(model, bodies, indices, seed=0)
    leaky = 1 - shares[:, leak.BODY]
    clean = (
        1 - leak.measure(trained(posts, stripped=True), bodies, indices, seed=0)[0][:, leak.BODY]
    )
    assert leaky.mean() > (1 - words[:, leak.BODY]).mean()  # more of the weight than of the words
    assert np.nanmean(leaky) > 0.3 > 0.1 > np.nanmean(clean)
    low, high = leak.interval(leaky, np.random.default_rng(0))
    assert low < np.nanmean(leaky) < high


def test_zone_weight_by_hand():
    post = text.read("From: moon\n\nmoon comet\n\n--\nann")
    weights = np.array(
        [0.0, -2.0, 1.0, 1.0]
    )  # from, moon (half header, half body), comet (body), ann (footer)
    assert leak.zone_weight(post, weights) == pytest.approx([0.25, 0, 0.25, 0.5])


def test_nothing_outside_the_body_is_no_negative_share():
    shares = leak.outside(
        np.array([[0, 0, 0, np.nextafter(1, 2)], [0.25, 0, 0.25, 0.5], [np.nan] * 4])
    )
    assert f"{shares[0]:.0%}" == "0%" and shares[1] == 0.5 and np.isnan(shares[2])


# --- The package's explanations ---------------------------------------------------------------------------------------------


def test_the_verdict_on_the_packages_explanation_is_held_out():
    """Of an answer that is linear in its features it is right; of noise its in-sample fidelity, not the held-out one, says so too."""
    post = text.read(" ".join(f"word{k}" for k in range(40)))

    def linear_in_words(texts: list[str]) -> np.ndarray:
        p = np.array([sum(int(k) for k in re.findall(r"word(\d+)", t)) / 2000 for t in texts])
        return np.stack([p, 1 - p], axis=1)

    def noise(texts: list[str]) -> np.ndarray:
        p = np.array([np.random.default_rng(len(t) + sum(t.encode())).random() for t in texts])
        return np.stack([p, 1 - p], axis=1)

    held_out = {}
    for classify, samples in ((linear_in_words, 500), (noise, 50)):
        found = lime_package.explain_text(post, classify, 0, ("a", "b"), samples, 0)
        held_out[classify] = lime_package.text_fidelity(
            found, classify, 0, 500, np.random.default_rng(0)
        )
    assert held_out[linear_in_words] > 0.9
    assert found.score > stability.FAITHFUL and held_out[noise] < 0.1
    row, card = lime_package.row_and_card(held_out[noise], found.score, {"jaccard": 1.0}, 560, 5)
    assert (
        row["verdict"].startswith("not to be trusted")
        and row["in_sample"] == found.score
        and "in-sample" in card[0]
    )


# --- Figures ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    ["spring " * 50, "see " + "x" * 200 + " and on", "  a\n\n\nb " + "c " * 90, "d" * 84 + " e"],
)
def test_drawn_lines_break_at_spaces(body):
    lines = text_figures._lines(text_figures.Explained("", body, [], [], [], "", "", 0.5, []), 100)
    assert "".join("".join(line.text for line in lines).split()) == "".join(body.split())
    for line in lines:
        end = line.start + len(line.text)
        assert line.text == body[line.start : end] and len(line.text) <= text_figures.COLUMNS
        whole = re.search(r"\S*\Z", body[:end])[0] + re.match(r"\S*", body[end:])[0]
        assert line.text.endswith(whole) or len(whole) > text_figures.COLUMNS


# --- The package's pages ----------------------------------------------------------------------------------------------------


def test_posts_are_shown_as_text_never_as_markup(tmp_path, model):
    body = (
        "From: x@stargate.org\n\ncomet orbit <script>alert(1)</script> </script><b>telescope &amp;"
    )
    post = text.read(body, model.vocabulary)
    weights = np.arange(1.0, len(post.words) + 1)
    own = lime_package.text_object(
        post, weights, 0.0, 0, model.probabilities([body])[0], model.classes
    )
    assert own.as_list(0)[0] == (post.words[-1], len(post.words))
    page = lime_package.write_html(tmp_path / "page.html", own, 0).read_text()
    assert (tmp_path / "lime.js").stat().st_size > 1e6 and len(page) < 20_000
    assert "alert" in page and "<script>alert" not in page and "</script><b>" not in page
    again = lime_package.write_html(tmp_path / "again.html", own, 0).read_text()
    assert page == again  # drawing it changes nothing


# --- The scripts ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory, script):
    out = tmp_path_factory.mktemp("text")
    done = script("q2_lime/train_text.py", "--dataset", "corpus", "--out", out)
    assert done.returncode == 0, done.stderr
    done = script("q2_lime/explain_text.py", "--models", out)
    assert done.returncode == 0, done.stderr
    return out


def test_the_scripts_write_what_they_say(demo):
    evaluation = json.loads((demo / "evaluation.json").read_text())
    svm = evaluation["models"]["svm"]
    assert svm["accuracy"] > 0.95 > svm["accuracy_stripped"] > 0.8 and evaluation["n_test"] == 400
    found = json.loads((demo / "explanations.json").read_text())
    assert len(found["samples"]) == 8 and {s["model"] for s in found["samples"]} == set(
        linear.KINDS
    )
    for sample in found["samples"]:
        assert (demo / sample["figure"]).is_file() and (demo / sample["html"]).is_file()
        assert {
            "index",
            "true",
            "predicted",
            "probability",
            "words",
            "fidelity",
            "stability",
            "truth_correlation",
        } <= set(sample)
    assert found["known_answer"]["svm"]["telling"] + found["known_answer"]["svm"]["leak"] > 0.9
    leaks = json.loads((demo / "leak.json").read_text())["models"]
    assert leaks["svm"]["outside_body"] > 0.3 > leaks["svm_stripped"]["outside_body"]


def test_an_explanation_is_the_same_alone(demo):
    """Without the other posts, the other model, figures and pages, the stored explanation comes out again."""
    stored = json.loads((demo / "explanations.json").read_text())["samples"][-1]
    model, posts = linear.load(demo / f"{stored['model']}.npz"), newsgroups.load_corpus()
    post = text.read(posts.test[stored["index"]], model.vocabulary)
    says = model.classes.index(stored["predicted"])
    second = model.classes.index(stored["second"])
    values = text.explained_values(text.answer_linear(post, model), model, [says, second], "margin")
    found = core.explain(values, len(post.words), text.SETTINGS, stored["index"])
    first = core.leading(found.weights[:, 0], 10)
    assert [post.words[k] for k in first] == [word["word"] for word in stored["words"]]
    assert np.allclose(
        found.weights[first, 0], [word["weight"] for word in stored["words"]], rtol=1e-5
    )


def test_a_users_own_text(demo, script, tmp_path):
    own = tmp_path / "letter.txt"
    own.write_text("Through the telescope we saw a comet and the lunar eclipse.")
    done = script(
        "q2_lime/explain_text.py",
        "--models",
        demo,
        "--text",
        own,
        "--kinds",
        "svm",
        "--out",
        tmp_path,
    )
    assert done.returncode == 0 and "astronomy" in done.stdout, done.stderr
    assert {p.suffix for p in (tmp_path / "own").glob("letter_svm.*")} == {".png", ".html", ".json"}
    done = script(
        "q2_lime/explain_text.py",
        "--models",
        demo,
        "--text",
        "-",
        "--engine",
        "lime",
        "--samples",
        "200",
        "--kinds",
        "svm",
        "--out",
        tmp_path,
        input=own.read_text(),
    )
    assert done.returncode == 0 and "in-sample" in done.stdout and "Verdict" in done.stdout, (
        done.stderr
    )


def test_a_text_that_is_no_post_is_body_throughout(demo, script, tmp_path):
    own = tmp_path / "a$_$b.txt"  # a name that would be taken for a formula
    own.write_bytes(b"Through the telescope we saw a comet.\r\n\r\nThen the lunar eclipse.")
    done = script(
        "q2_lime/explain_text.py",
        "--models",
        demo,
        "--text",
        own,
        "--kinds",
        "svm",
        "--out",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    words = json.loads((tmp_path / "own/a$_$b_svm.json").read_text())["words"]
    assert len(words) >= 4 and {word["zone"] for word in words} == {"body"}


def test_pairs_of_words_through_the_scripts(script, tmp_path):
    done = script(
        "q2_lime/train_text.py",
        "--dataset",
        "corpus",
        "--kinds",
        "svm",
        "--ngrams",
        "2",
        "--out",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    done = script(
        "q2_lime/explain_text.py",
        "--models",
        tmp_path,
        "--kinds",
        "svm",
        "--samples",
        "200",
        "--out",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "explanations.json").read_text())
    assert (
        found["median"]["svm"]["truth_correlation"] is None
        and found["median"]["svm"]["fidelity"] > 0.7
    )


def test_an_incomplete_evaluation_gets_one_line_and_status_2(demo, script, tmp_path):
    shutil.copytree(demo, tmp_path / "copy")
    path = tmp_path / "copy/evaluation.json"
    content = json.loads(path.read_text())
    del content["models"]["svm"]["accuracy_stripped"]
    path.write_text(json.dumps(content))
    done = script("q2_lime/explain_text.py", "--models", tmp_path / "copy")
    assert done.returncode == 2 and "evaluation.json lacks 'accuracy_stripped'" in done.stderr, (
        done.stderr
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "content, options, message",
    [
        (b"", [], "is empty"),
        (b"\xff\xfe\x00\x01", [], "not a text in UTF-8"),
        (b"word " * 1_000_000, [], "cut it to"),
        (b"zzz qqq", [], "no words that the model knows"),
        (b"comet orbit", ["--samples", "3"], "--samples 3"),
        (b"comet orbit", ["--engine", "lime", "--value", "probability"], "no --value"),
        (None, [], "there is no text"),
    ],
)
def test_bad_texts_get_one_line_and_status_2(demo, script, tmp_path, content, options, message):
    own = tmp_path / "own.txt"
    if content is not None:
        own.write_bytes(content)
    done = script(
        "q2_lime/explain_text.py",
        "--models",
        demo,
        "--text",
        own,
        "--out",
        tmp_path / "out",
        *options,
    )
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


# --- Real posts -------------------------------------------------------------------------------------------------------------


OUT = ROOT / "outputs/q2_lime/text"


def test_the_committed_models_score_what_is_written(newsgroups):
    stored = json.loads((OUT / "evaluation.json").read_text())
    labels = np.array(newsgroups.y_test)
    for kind in linear.KINDS:
        for variant, texts in (
            ("", newsgroups.test),
            ("_stripped", [newsgroups.strip(t) for t in newsgroups.test]),
        ):
            model = linear.load(OUT / f"{kind}{variant}.npz")
            accuracy = (model.margins(texts).argmax(1) == labels).mean()
            assert accuracy == pytest.approx(stored["models"][kind][f"accuracy{variant}"], abs=1e-5)


def test_a_committed_explanation_comes_out_again_and_is_the_right_one(newsgroups):
    stored = json.loads((OUT / "explanations.json").read_text())["samples"][0]
    model = linear.load(OUT / f"{stored['model']}.npz")
    post = text.read(newsgroups.test[stored["index"]], model.vocabulary)
    says, second = (model.classes.index(stored[key]) for key in ("predicted", "second"))
    values = text.explained_values(text.answer_linear(post, model), model, [says, second], "margin")
    found = core.explain(values, len(post.words), text.SETTINGS, stored["index"])
    first = core.leading(found.weights[:, 0], 10)
    assert [post.words[k] for k in first] == [word["word"] for word in stored["words"]]
    truth = model.contributions(post.text, list(post.words))[:, says]
    assert np.corrcoef(found.weights[:, 0], truth)[0, 1] > 0.95


def test_every_class_has_its_post(newsgroups):
    samples = json.loads((OUT / "explanations.json").read_text())["samples"]
    for kind in linear.KINDS:
        chosen = [s for s in samples if s["model"] == kind]
        assert [s["true"] for s in chosen] == list(newsgroups.classes)
        assert all(newsgroups.classes[newsgroups.y_test[s["index"]]] == s["true"] for s in chosen)
    assert DATA.is_dir()
