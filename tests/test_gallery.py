"""The gallery: what it says, that nothing in a post or a class name becomes markup, and that it works in a browser."""

import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from common import data, results
from common.cli import UserError
from common.newsgroups import Posts
from report import gallery, gallery_entries

HOSTILE = '"\'><img src=x onerror="window.owned=1"><script>window.owned=1</script></template></pre></style><b>'
POST = f"From: eve@example.org\nSubject: nasa & space {HOSTILE}\n\nSpace, &lt;the shuttle&gt;. {HOSTILE}\n"
STABLE = {"jaccard": 0.8, "rank_correlation": None, "sign_agreement": 1.0}
CARD = {
    "fidelity": 0.75,
    "stability": STABLE,
    "model_calls": 1449,
    "settled": False,
    "expected_overlap": 0.6,
}
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run"
).split()


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    labels = np.array([0, 0, 1, 1], dtype=np.uint8)
    dataset = data.Dataset(
        "made up", ("cat", "dog"), pictures[:0], labels[:0], pictures, labels, "a test", "pictures"
    )
    return dataset, Posts(
        ("rec.autos", HOSTILE),
        [],
        [],
        ["an innocent post on space and nasa", POST],
        [0, 1],
        "posts",
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory, inputs):
    """Results of two right and two wrong pictures, one of them with a dead map; of LIME on two pictures; on two posts, two models."""
    out = tmp_path_factory.mktemp("outputs")
    rng, origin = np.random.default_rng(1), {"command": "python explain.py"}
    pictures, posts = origin | {"data_sha256": "pictures"}, origin | {"data_sha256": "posts"}

    def sample(index, kind, true, says, **more):
        row = {
            "index": index,
            "kind": kind,
            "true": true,
            "predicted": says,
            "explained": says,
            "confidence": 0.9,
            "dead": False,
        }
        row |= {
            "confidence_true": 0.9 if says == true else 0.1,
            "dead_true": False,
            "method": "gradcam",
            "layer": "body",
            "peak": 0.5,
        }
        return row | {"figure": f"figures/{kind}_{true}.png"} | more

    samples = [
        sample(0, "correct", "cat", "cat"),
        sample(2, "correct", "dog", "dog", dead=True, dead_true=True),
    ]
    samples += [sample(1, "incorrect", "cat", "dog"), sample(3, "incorrect", "dog", HOSTILE)]
    maps = rng.uniform(-1, 1, (4, 8, 8)).astype(np.float32)
    maps[0], maps[1] = -1, -(maps[1] ** 2)
    maps[0, 1, 7] = 1  # in the upper right corner alone
    content = {
        "method": "gradcam",
        "maps": "explanations.npz",
        "provenance": pictures,
        "samples": samples,
    }
    results.write_json(out / "q1_gradcam/explanations.json", content)
    results.write_npz(out / "q1_gradcam/explanations.npz", map=maps, map_true=maps)

    top5 = [{"class": name, "probability": 0.2} for name in (HOSTILE, "b", "c", "d", "e")]
    seen = CARD | {"probability": 0.2, "top5": top5, "n_superpixels": 4}
    samples = [
        {
            "index": 0,
            "true": "cat",
            "predicted": "tabby",
            "meaning": "cat",
            "verdict": "faithful and stable",
        }
    ]
    samples += [
        {
            "index": 2,
            "true": "dog",
            "predicted": HOSTILE,
            "meaning": None,
            "verdict": f"not to be trusted: {HOSTILE}",
        }
    ]
    samples = [seen | row | {"figure": f"figures/{row['true']}.png"} for row in samples]
    choices = {"model": "mobilenet_v2", "choices": {"enlarge": "bicubic"}, "settings": {"top": 5}}
    results.write_json(
        out / "q2_lime/images/explanations.json",
        choices | {"provenance": pictures, "samples": samples},
    )
    labels = np.kron([[0, 1], [2, 3]], np.ones((32, 32))).astype(np.uint16)
    weights = np.array([[1.0, 0], [-0.5, 0], [0.25, 0], [0, 0]])
    arrays = {f"labels_{k}": labels for k in (0, 2)} | {f"weights_{k}": weights for k in (0, 2)}
    results.write_npz(out / "q2_lime/images/explanations.npz", **arrays)

    words = [
        {"word": word, "weight": weight, "zone": "body"}
        for word, weight in (("space", 0.5), ("nasa", -0.25), (HOSTILE, 0.1))
    ]
    read = CARD | {
        "probability": 0.7,
        "truth_correlation": None,
        "n_words": 20,
        "words": words,
        "verdict": "faithful and stable",
    }
    samples = [
        read
        | {
            "index": index,
            "model": kind,
            "true": true,
            "predicted": HOSTILE,
            "figure": f"figures/{kind}_{index}.png",
        }
        for kind in ("svm", "logistic_regression")
        for index, true in ((0, "rec.autos"), (1, HOSTILE))
    ]
    results.write_json(
        out / "q2_lime/text/explanations.json", {"provenance": posts, "samples": samples}
    )
    for name in ("q1_gradcam", "q2_lime/images", "q2_lime/text"):
        for row in results.read_json(out / name / "explanations.json")["samples"]:
            path = out / name / row["figure"]
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (8, 8)).save(path)
    assert gallery.build(out, *inputs) == 10
    return out


class Addresses(HTMLParser):
    """Every address that a page names."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def handle_starttag(self, tag, attrs):
        self.found |= {
            value
            for name, value in attrs
            if name in ("src", "href", "srcset", "action", "data", "poster")
        }


def test_the_same_results_give_the_same_bytes(built, inputs):
    def contents():
        return {
            path: path.read_bytes()
            for path in [built / "index.html", *(built / "gallery").iterdir()]
        }

    before = contents()
    gallery.build(built, *inputs)
    assert (
        contents() == before and len(before) == 7
    )  # the page, two sheets a kind, LIME's sheet, the scale


def test_every_address_is_a_file_beside_the_page(built):
    parser = Addresses()
    html = (built / "index.html").read_text()
    parser.feed(html)
    found = parser.found - {"data:,"}
    assert len(found) > 10 and all((built / unquote(address)).is_file() for address in found)
    assert "default-src 'none'" in html and "@import" not in html and "url(" not in html


def test_the_sheet_has_the_pictures_and_their_maps(built, inputs):
    sheet = np.asarray(Image.open(built / "gallery/gradcam_correct_cat.png").convert("RGB")).astype(
        int
    )
    assert sheet.shape == (256, 128, 3)
    assert (
        abs(sheet[:128] - gallery_entries.finer(inputs[0].x_test[0])).mean() < 20
    )  # random colours, brought to 256
    bright = sheet[128:, :, 1] - sheet[128:, :, 2] > 60  # yellow
    rows, columns = bright.nonzero()
    assert rows.mean() < 48 and columns.mean() > 104
    html = (built / "index.html").read_text()
    assert "Its map for cat: highest at the upper right" in html
    assert html.count("zero after the ReLU: no evidence") == 2  # on the page and enlarged


def test_a_sheet_of_an_earlier_run_goes_and_other_files_stay(built, inputs):
    stale, own = built / "gallery/gradcam_correct_zebra.png", built / "gallery/mine.png"
    stale.write_bytes(b"")
    own.write_bytes(b"")
    gallery.build(built, *inputs)
    assert not stale.exists() and own.exists()
    own.unlink()


def test_results_of_other_data_are_refused(built, inputs):
    dataset, posts = inputs
    with pytest.raises(UserError, match="are not those explained: run"):
        gallery.build(built, replace(dataset, sha256="other"), posts)
    with pytest.raises(UserError, match="explained from other data"):
        gallery.build(built, dataset, replace(posts, sha256="other"))


def test_missing_results_are_named(tmp_path, inputs):
    with pytest.raises(UserError, match="explanations.json: run the script that writes it first"):
        gallery.build(tmp_path, *inputs)


@pytest.mark.parametrize(
    ("file", "spoil", "message"),
    [
        (
            "q1_gradcam/explanations.json",
            lambda found: found.pop("maps"),
            "explanations.json lacks 'maps'",
        ),
        (
            "q1_gradcam/explanations.json",
            lambda found: found["samples"][0].pop("peak"),
            "explanations.json lacks 'peak'",
        ),
        (
            "q1_gradcam/explanations.json",
            lambda found: found["samples"].append({}),
            "explanations.json lacks 'kind'",
        ),
        (
            "q1_gradcam/explanations.npz",
            lambda found: found.pop("map_true"),
            "explanations.npz lacks 'map_true'",
        ),
        (
            "q1_gradcam/explanations.npz",
            lambda found: found.update(map=found["map"][:1]),
            "not as its script writes it",
        ),
        (
            "q2_lime/images/explanations.npz",
            lambda found: found.pop("weights_2"),
            "explanations.npz lacks 'weights_2'",
        ),
        (
            "q2_lime/images/explanations.json",
            lambda found: found.update(samples=3),
            "not as its script writes it",
        ),
        (
            "q2_lime/text/explanations.json",
            lambda found: found.pop("provenance"),
            "lacks 'provenance'",
        ),
        ("q2_lime/images/explanations.npz", None, "can't read"),
    ],
)
def test_spoilt_results_are_named(built, inputs, tmp_path, file, spoil, message):
    shutil.copytree(built, tmp_path / "out")
    path = tmp_path / "out" / file
    if spoil is None:
        path.write_bytes(path.read_bytes()[:-100])
    else:
        is_json = path.suffix == ".json"
        content = results.read_json(path) if is_json else results.read_npz(path)
        spoil(content)
        results.write_json(path, content) if is_json else results.write_npz(path, **content)
    with pytest.raises(UserError, match=message):
        gallery.build(tmp_path / "out", *inputs)


def test_what_is_in_sample_is_called_so():
    packages = CARD | {"settled": None, "in_sample": 0.95, "verdict": "faithful and stable"}
    facts = gallery_entries.card(packages, 5)
    assert (
        facts["held-out fidelity (R²)"] == "0.75"
        and facts["in-sample R², as the package gives it"] == "0.95"
    )


def test_the_committed_gallery_is_of_the_committed_results(cifar10, newsgroups, tmp_path):
    for name in ("q1_gradcam", "q2_lime/images", "q2_lime/text"):
        (tmp_path / name).mkdir(parents=True)
        for path in (ROOT / "outputs" / name).glob("explanations.*"):
            shutil.copy(path, tmp_path / name)
    gallery.build(tmp_path, cifar10, newsgroups)
    new, old = tmp_path / "index.html", ROOT / "outputs/index.html"
    assert old.read_bytes() == new.read_bytes(), "run python report/gallery.py"
    assert {p.name for p in (tmp_path / "gallery").iterdir()} == {
        p.name for p in (old.parent / "gallery").iterdir()
    }
    assert sum(p.stat().st_size for p in (old, *(old.parent / "gallery").iterdir())) < 3_000_000


# --- In a browser -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium with a profile of its own; its absence is a failure in CI."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to have Chromium")
        pytest.skip("no Chromium or Chrome found: install one to test the gallery in it")
    with sync_playwright() as play:
        profile = tmp_path_factory.mktemp("profile")
        context = play.chromium.launch_persistent_context(
            profile, executable_path=program, args=FLAGS
        )
        yield context
        context.close()


@pytest.fixture
def page(browser, built):
    """The gallery, opened as a file; afterwards, nothing may have been complained about."""
    page, complaints = browser.new_page(), []
    page.set_default_timeout(5000)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.goto((built / "index.html").as_uri())
    yield page
    page.close()
    assert not complaints


def visible(page) -> int:
    assert (
        page.get_by_role("status")
        .inner_text()
        .startswith(f"{page.locator('.entry:visible').count()} of 10")
    )
    return page.locator(".entry:visible").count()


def test_filters(page):
    assert visible(page) == 10
    choose = {
        name: page.get_by_label(name, exact=True)
        for name in ("Method", "True class", "The model is")
    }
    choose["Method"].select_option("Grad-CAM")
    assert visible(page) == 4 and page.locator("section:visible").count() == 1
    choose["The model is"].select_option("wrong")
    choose["True class"].select_option("dog")
    assert visible(page) == 1 and "test picture 3" in page.locator(".entry:visible").inner_text()
    page.get_by_label("LIME's verdict").select_option("yes")
    assert page.get_by_role("status").inner_text() == "None is all of this: choose less"
    page.get_by_role("button", name="Show all").click()
    assert visible(page) == 10
    page.get_by_label("LIME's verdict").select_option("no")
    assert visible(page) == 1
    page.get_by_label("LIME's verdict").select_option("")
    choose["True class"].select_option(HOSTILE)  # arrived as it is
    assert visible(page) == 2


def test_the_keyboard_opens_steps_and_closes(page):
    page.get_by_label("Method", exact=True).select_option("LIME on pictures, mobilenet_v2")
    page.get_by_role("button", name="Show all").focus()
    page.keyboard.press("Tab")
    assert re.search(
        r"^Large view of test picture 0", page.evaluate("document.activeElement.textContent")
    )
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert "held-out fidelity (R²)\n0.75" in dialog.inner_text() and "1,449" in dialog.inner_text()
    page.keyboard.press("ArrowRight")
    assert "test picture 2" in dialog.locator("h2").inner_text()
    page.keyboard.press("ArrowRight")
    assert "test picture 0" in dialog.locator("h2").inner_text()  # round and round
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()  # closing and its event come a moment after the key
    expect(page.locator(".open:focus")).to_have_text(re.compile("^Large view of test picture 2"))


def test_a_hostile_post_does_not_become_markup(page):
    page.get_by_label("Method", exact=True).select_option("LIME on posts, linear SVM")
    page.locator(".open:visible").nth(1).click()
    assert page.locator("dialog pre").text_content() == POST
    marks = page.locator("dialog mark").all_inner_texts()
    assert marks == ["nasa", "space", "Space"]
    strange = """() => [document, ...[...document.querySelectorAll("template")].map((t) => t.content)].reduce(
        (n, part) => n + part.querySelectorAll("main script, template script, [onerror], [src=x], b:not(.cell b)").length, 0)"""
    assert page.evaluate(strange) == 0 and page.evaluate("window.owned") is None


def test_small_screens_and_pictures(page):
    page.set_viewport_size({"width": 390, "height": 800})
    page.locator(".open:visible").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    dialog = page.locator("dialog")
    assert dialog.evaluate("d => d.scrollWidth <= d.clientWidth")
    pictures = dialog.locator("img")
    assert pictures.count() == 2
    for k in range(2):
        pictures.nth(k).scroll_into_view_if_needed()
        pictures.nth(k).evaluate("image => image.decode()")
        assert pictures.nth(k).evaluate("image => image.naturalWidth") == 128 and pictures.nth(
            k
        ).get_attribute("alt")
