"""The report: no number typed by hand, no claim that does not hold, the same bytes from the same results."""

import contextlib
import copy
import json
import math
import re
import shutil

import pytest

from common import results
from common.cli import UserError
from report import build, claims, summary_claims, values

REPORT = results.ROOT / "report"
TEXTS = sorted([REPORT / "report.typ", REPORT / "demo.typ", *(REPORT / "chapters").glob("*.typ")])
# Names and fixed expressions with a digit in them. Sizes of layers and the like stand in formulas, which are not searched.
NAMES = (
    "SHA-256",
    "CIFAR-10",
    "20newsgroups",
    "ResNet-18",
    "VGG-16",
    "MobileNetV2",
    "95%",
    "Question 1",
    "Question 2",
)
# Words that state how much or how many. Where they stand in the prose it has to be in one of these phrases: each is a definition, a rule, a name
# or a piece of the project's history, none a result. A result belongs into a claim, where a condition holds it (report/claims.py).
SMALL = "two|three|four|five|six|seven|eight|nine|ten"
MEASURES = re.compile(
    r"(?<!# )\b(half|halves|twice|thrice|doubl\w+|trebl\w+|thirds?|quarters?|fifths?|sixths?|eighths?|tenths?|\w+-fourths?|\w+fold|times|dozens?|hundreds?|thousands?"
    r"|millions?|most|mostly|majority|minority|percent|eleven|twelve|\w+teen|(twen|thir|for|fif|six|seven|eigh|nine)ty(-\w+)?"
    rf"|({SMALL}) (in|of|out of) (the )?({SMALL}))\b",
    re.IGNORECASE,
)
PHRASES = (
    # how a figure is drawn, how a table is built
    "white line: half of the peak",
    "white line: half of it",
    "white line runs at half of it",
    "== Times",
    "Percent: confidence",
    "for bins with twenty test pictures or more",
    "five of the ten correctly",
    "three of the five wrongly",
    "The five channels that contribute most",
    "each times its weight",
    "the same times their weights",
    "overlap of the top fifth",
    "overlap of their leading fifths",
    ", top fifths #",
    # definitions and arithmetic
    "a picture of thirty-two pixels",
    "a sevenfold enlargement",
    "weighed by second and third derivatives",
    "when most of the picture is still there",
    ": most of the picture is always there",
    "the most important first",
    "the upper half of the layers",
    "upper half replaced",
    "finer ones cost four times the arithmetic",
    "by the same network, twice:",
    "Third, each map",
    "Ten pictures and twenty posts",
    "Most of the recipe was taken over",
    # what was expected before looking
    "more than nine in ten pictures",
    "An ImageNet model recognises most CIFAR-10 pictures",
    # history: no results file was kept
    "in a trial on a dozen test pictures",
)


def prose(text: str) -> str:
    """What a Typst file says in words: its markup, without code, strings, formulas, labels, references and comments."""
    said, place = [], 0

    def skip(pattern: str) -> bool:
        nonlocal place
        if found := re.compile(pattern, re.DOTALL).match(text, place):
            place = found.end()
        return bool(found)

    def code(end: str) -> None:
        """Up to `end`, one of ) and }; or the end of the line; or, with "", the end of an expression such as #pct(x)[...]."""
        nonlocal place
        while place < len(text):
            if end and skip(re.escape(end)):
                return
            if skip(r"\("):
                code(")")
            elif skip(r"\{"):
                code("}")
            elif skip(r"\["):
                markup("]")
            elif not skip(r'//[^\n]*|"(\\.|[^"\\])*"|\$[^$]*\$|`[^`]*`'):
                if not end and not re.match(r"[\w.-]", text[place]):
                    return
                place += 1
            if not end and not re.match(r"[\w.([{-]", text[place : place + 1]):
                return

    def markup(end: str) -> None:
        nonlocal place
        while place < len(text):
            if end and skip(re.escape(end)):
                return
            if skip(r"#(let|set|show|import|include|for|if)\b"):
                code("\n")
            elif skip("#"):
                said.append("#")  # in its place
                code("")
            elif skip(r"\["):
                markup("]")
            elif not skip(r"//[^\n]*|\$[^$]*\$|```.*?```|`[^`]*`|@[\w-]+|<[a-z][\w-]*>|\\."):
                said.append(text[place])
                place += 1

    markup("")
    return "".join(said)


def typed_numbers(words: str) -> list[str]:
    """The numbers in a text that are not part of a name, each with what stands before it."""
    for name in NAMES:
        words = words.replace(name, "")
    return re.findall(r"[^\n]{0,40}\d[\d.,%]*", words)


def typed_measures(words: str) -> list[str]:
    """The words of MEASURES in a text that are in none of PHRASES, each with what stands around it."""
    words = " ".join(words.split())
    for phrase in PHRASES:
        words = re.sub(re.escape(phrase), "", words, flags=re.IGNORECASE)
    return [words[max(0, at.start() - 40) : at.end() + 20] for at in MEASURES.finditer(words)]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_no_number_is_typed_by_hand(path):
    assert typed_numbers(prose(path.read_text(encoding="utf-8"))) == []


def test_no_number_is_typed_into_a_claim():
    for claim in claims.CLAIMS:
        assert typed_numbers(re.sub(r"\{[^}]*\}", "", claim.text)) == [], claim.name


def test_no_condition_holds_whatever_the_results_say(found):
    """Emptied values (numbers that are none, no names) have to make each claim fail."""
    for claim in claims.CLAIMS:
        values_of = {
            name: math.nan if isinstance(x, float | int) and not isinstance(x, bool) else type(x)()
            for name, x in claim.values(found).items()
        }
        with contextlib.suppress(LookupError, TypeError, ValueError):
            assert not claims.holds(claim, values_of), claim.name


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_no_measure_is_written_as_a_word_outside_of_a_claim(path):
    assert typed_measures(prose(path.read_text(encoding="utf-8"))) == []


def test_every_phrase_that_is_let_pass_is_in_the_text():
    text = " ".join(
        " ".join(prose(path.read_text(encoding="utf-8")) for path in TEXTS).split()
    ).lower()
    assert [phrase for phrase in PHRASES if phrase.lower() not in text] == []


@pytest.mark.parametrize(
    "text",
    [
        "It found less than half of them.",
        "#x Some two hundred of #y.",
        "Seven of\nthe ten are right.",
        "#figure(plot(1), caption: [Mostly cats.])",
    ],
)
def test_the_search_finds_measures_in_words(text):
    assert typed_measures(prose(text))


def test_the_search_passes_over_computed_measures_and_phrases():
    assert not typed_measures(
        prose(
            "It takes #num(x) times as long, on #n thousand pictures; white line: half of the peak."
        )
    )


@pytest.mark.parametrize(
    "text",
    [
        "It is right on 93.3% of them.",
        "#figure(plot(1, 2), caption: [All 150 maps.])",
        "#let n = 3\nTwo of 10.",
        "- *A* 7 of #x",
    ],
)
def test_the_search_finds_typed_numbers(text):
    assert typed_numbers(prose(text))


@pytest.mark.parametrize(
    "text",
    ["#pct(x, digits: 2) of $10^3$ at @fig2 <fig-3> `4`", '#v("5") // 6', "#plot(1, (2, 3))"],
)
def test_the_search_passes_over_code(text):
    assert not typed_numbers(prose(text))


@pytest.fixture(scope="module")
def found():
    return build.read_results(results.OUTPUTS)


def test_every_claim_holds_and_is_made_somewhere(found):
    sentences, failures = claims.check(found)
    assert failures == {} and None not in sentences.values() and claims.other_inputs(found) == []
    used = re.findall(
        r'\bclaim\("([^"]+)"\)', "".join(path.read_text(encoding="utf-8") for path in TEXTS)
    )
    in_readme = [name for paragraph in summary_claims.README for name in paragraph]
    assert {*used, *in_readme} == set(sentences) and not {*used} & {*in_readme}
    assert len(claims.CLAIMS) == len(sentences)  # no name twice


@pytest.mark.parametrize(
    ("file", "change", "claim"),
    [
        (
            "q1_gradcam/evaluation",
            lambda r: r.update(accuracy_interval=[0.71, 0.73], accuracy=0.72),
            "accuracy",
        ),
        ("q1_gradcam/explanations", lambda r: r["dead"].update(correct=2), "dead"),
        ("q2_lime/images/explanations", lambda r: r["median"].update(fidelity=0.4), "fidelity"),
        ("q2_lime/text/leak", lambda r: r["models"]["svm"].update(outside_body=0.8), "leak"),
        ("benchmarks/lime", lambda r: r["images"]["median"].update(ours_jaccard=0.2), "beside"),
        (
            "trust/faithfulness",
            lambda r: r["methods"]["gradcam"]["insertion"]["against"]["random"].update(
                verdict="loses"
            ),
            "beats",
        ),
        ("trust/sanity", lambda r: r["verdicts"].update(guided_backprop="passes"), "guided"),
        (
            "trust/shortcut",
            lambda r: r["methods"]["gradcam"]["peak"].update(mean=0.9),
            "shortcut-cam",
        ),
        ("comparison/agreement", lambda r: r["many"]["rank_correlation"].update(mean=0.8), "agree"),
        ("trust/shapes", lambda r: r.pop("methods"), "shapes"),
        (
            "trust/shortcut",
            lambda r: r["methods"]["gradcam"]["peak"].update(mean=0.9),
            "seen-shortcut",
        ),
        (
            "trust/shortcut",
            lambda r: r["methods"]["guided_gradcam"]["peak"].update(mean=0.4),
            "use-both",
        ),
        ("trust/sanity", lambda r: r["verdicts"].update(gradcam="fails"), "two-tests"),
        ("trust/mistakes", lambda r: r["tells_mistakes"].update(gini=0.5), "warn"),
        ("q1_gradcam/evaluation", lambda r: r["confusion_matrix"][8].__setitem__(2, 90), "border"),
        ("q2_lime/text/leak", lambda r: r["models"]["svm"].update(outside_body=0.8), "readme-leak"),
        (
            "q2_lime/images/explanations",
            lambda r: [s["stability"].update(jaccard=0.0) for s in r["samples"]],
            "settled",
        ),
    ],
)
def test_a_changed_result_makes_its_claim_fail(found, file, change, claim):
    changed = copy.copy(found)
    changed[file] = copy.deepcopy(found[file])
    change(changed[file])
    _, failures = claims.check(changed)
    assert f"claim {claim!r}" in failures[claim]
    with pytest.raises(UserError, match="do not hold"):
        build.checked(changed)


def test_results_of_other_weights_leave_out_what_does_not_hold(found):
    changed = copy.copy(found)
    name = "q2_lime/images/explanations"
    changed[name] = copy.deepcopy(found[name])
    changed[name]["provenance"]["weights_sha256"] = "0" * 64
    next(s for s in changed[name]["samples"] if s["true"] == "horse")["predicted"] = "a zebra"
    sentences, lines = build.checked(changed)
    assert sentences["seen"] is False and sentences["fidelity"] and "another weights" in lines[0]
    assert [line.split(" needs ")[0] for line in lines[1:]] == [
        "left out: claim 'seen'",
        "left out: claim 'seen-horse'",
    ]


def test_results_by_other_code_or_from_other_inputs_are_named(found):
    changed = copy.copy(found)
    name = "q1_gradcam/evaluation"
    changed[name] = copy.deepcopy(found[name])
    changed[name]["provenance"]["code"] = {"common/data.py": "0" * 16}
    changed[name]["provenance"]["checkpoint_sha256"] = "0" * 64
    older = [
        line
        for line in build.state_of(changed, build.CHAPTERS, results.OUTPUTS)["older"]
        if line.startswith(name)
    ]
    assert "common/data.py" in older[0] and "another q1_gradcam/model.pt" in older[1]


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the results, to be spoilt."""
    folder = tmp_path_factory.mktemp("copy") / "outputs"
    shutil.copytree(
        results.OUTPUTS, folder, ignore=shutil.ignore_patterns("demo", "own", "other", "html")
    )
    return folder


def test_the_same_results_give_the_same_pdf(copied, script, tmp_path):
    runs = [
        script("report/build.py", "--outputs", folder, "--out", tmp_path / f"{k}.pdf")
        for k, folder in enumerate((results.OUTPUTS, copied))
    ]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    first, second = ((tmp_path / f"{k}.pdf").read_bytes() for k in (0, 1))
    assert first == second and len(first) < 12e6 and b"/CreationDate" not in first
    # The body is everything before the appendices: the questions for the viva, the references and the sheets of all pictures.
    total, body = map(
        int, re.search(r"(\d+) pages, (\d+) before the appendices", runs[0].stdout).groups()
    )
    assert 15 <= body <= 25 and total <= 40


def test_the_committed_pdf_belongs_to_the_results(found):
    pdf = (REPORT / "report.pdf").read_bytes()
    assert build.digest(results.OUTPUTS, found).encode() in pdf, (
        "results or text have changed: run make report"
    )


def test_a_false_claim_stops_the_build(copied, script, tmp_path):
    path = copied / "q1_gradcam/evaluation.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"accuracy_interval": [0.5, 0.6]}))
    done = script("report/build.py", "--outputs", copied, "--out", tmp_path / "a.pdf")
    path.write_text(before)
    assert done.returncode == 2 and "low=0.5" in done.stderr and "'accuracy'" in done.stderr
    assert not (tmp_path / "a.pdf").exists()


def test_results_of_another_network_without_git_still_give_a_report(copied, script, tmp_path):
    path = copied / "q1_gradcam/explanations.json"
    before = path.read_text()
    content = json.loads(before)
    content["provenance"] |= {"checkpoint_sha256": "0" * 64, "git_revision": None}
    path.write_text(json.dumps(content))
    done = script("report/build.py", "--outputs", copied, "--out", tmp_path / "a.pdf")
    path.write_text(before)
    assert done.returncode == 0, done.stderr
    assert "another checkpoint than the one that the text was written about" in done.stdout
    assert (
        "left out: claim 'story-two'" in done.stdout and (tmp_path / "a.pdf").stat().st_size > 1e6
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda arrays: arrays.pop("map_true"), "lacks 'map_true'"),
        (lambda arrays: arrays.update(map=arrays["map"][:9]), "not as its script writes it"),
        (None, "can't read"),
    ],
)
def test_spoilt_maps_are_named(found, tmp_path, spoil, message):
    name, path = "q1_gradcam/explanations", tmp_path / "maps.npz"
    arrays = results.read_npz(results.OUTPUTS / f"{name}.npz")
    (spoil or len)(arrays)
    results.write_npz(path, **arrays)
    if spoil is None:
        path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match=message):
        values.measure_maps(path, found[name]["samples"])


@pytest.mark.parametrize(
    ("file", "spoil", "message"),
    [
        (
            "trust/mistakes.png",
            lambda content: content[:-5000],
            "mistakes.png is a damaged image",
        ),
        ("trust/mistakes.json", lambda content: b'{"a": 1}', "mistakes.json lacks 'provenance'"),
        (
            "q1_gradcam/explanations.json",
            lambda content: content.replace(b'"figure"', b'"f"'),
            "lacks 'figure'",
        ),
    ],
)
def test_spoilt_files_get_one_line_and_status_2(copied, script, tmp_path, file, spoil, message):
    path = copied / file
    before = path.read_bytes()
    path.write_bytes(spoil(before))
    done = script("report/build.py", "--outputs", copied, "--out", tmp_path / "a.pdf")
    path.write_bytes(before)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, (
        done.stderr
    )
    assert not (tmp_path / "a.pdf").exists()


def test_a_missing_result_leaves_its_chapters_out_and_says_so(copied, script, tmp_path):
    (copied / "q2_lime/text/leak.json").unlink()
    done = script("report/build.py", "--outputs", copied, "--out", tmp_path / "a.pdf")
    assert done.returncode == 0, done.stderr
    assert (
        "chapter 'question2' is left out: there is no q2_lime/text/leak.json (make q2 writes it)"
        in done.stdout
    )
    assert (tmp_path / "a.pdf").stat().st_size > 1e6


def test_the_short_report_names_what_is_missing(script, tmp_path):
    done = script("report/build.py", "--demo", "--outputs", tmp_path, "--out", tmp_path / "a.pdf")
    assert done.returncode == 0, done.stderr
    assert "claims" not in done.stdout  # of which it makes none
    assert (
        "there is no q1_gradcam/training.json" in done.stdout
        and (tmp_path / "a.pdf").stat().st_size > 1000
    )
