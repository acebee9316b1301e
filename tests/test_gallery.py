"""The gallery: shows every explanation, keeps text from results as text, works in a browser."""

import re
import shutil
from contextlib import contextmanager
from urllib.parse import unquote

from common import data, results
from common.cli import UserError

import numpy as np
import pytest
from conftest import ROOT, needed
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from report import gallery

HOSTILE = '"\'><img src=x onerror="window.owned=1"><script>window.owned=1</script></style>'
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
PAIRS = (("cat", "cat"), ("cat", "dog"), ("dog", "dog"), ("dog", HOSTILE))  # true, predicted
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
DATASET = data.Dataset("test", ("cat", "dog"), IMAGES, [], IMAGES, [], "a test", "hash")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Results with hostile class names, words and reasons, and the page made from them."""
    out = tmp_path_factory.mktemp("outputs")

    def write(folder: str, samples: list[dict], **content) -> None:
        content["samples"] = [sample | {"figure": "0 #.png"} for sample in samples]
        results.write_json(out / folder / "explanations.json", content)
        Image.new("RGB", (1440, 600)).save(out / folder / "0 #.png")

    samples = []
    for k, (true, name) in enumerate(PAIRS):
        kind = "correct" if true == name else "incorrect"
        sample = {"index": k, "true": true, "predicted": name, "explained": name, "kind": kind}
        sample |= {"confidence": 0.9, "confidence_true": 0.1, "dead": k == 2, "dead_true": False}
        samples.append(sample)
    write("q1_gradcam", samples, maps="maps.npz", provenance={"data_sha256": "hash"})
    maps = np.full((4, 8, 8), -1.0)
    maps[[0, 1, 3], 1, 7] = 1  # positive in the upper right corner only
    results.write_npz(out / "q1_gradcam/maps.npz", map=maps, map_true=maps)
    good = {"probability": 0.4, "verdict": "reliable", "reasons": []}
    tabby = good | {"index": 0, "true": "cat", "predicted": "tabby", "mapped_class": "cat"}
    other = {"index": 2, "true": "dog", "predicted": HOSTILE, "mapped_class": None}
    other |= {"probability": 0.4, "verdict": "not reliable", "reasons": [HOSTILE]}
    write("q2_lime/images", [tabby, other], model="mobilenet_v2")
    post = good | {"index": 7, "true": "sci.space", "model": "svm", "predicted": "sci.space"}
    word = {"word": HOSTILE, "weight": -0.1, "zone": "header"}
    post["words"] = [{"word": "Shuttle", "weight": 0.5, "zone": "body"}, word]
    write("q2_lime/text", [post, post | {"index": 8, "true": HOSTILE}])
    accuracy = {"accuracy": 0.5, "accuracy_interval": [0, 1]}
    results.write_json(out / "q1_gradcam/evaluation.json", accuracy)
    assert gallery.build(out, DATASET) == 8
    return out


def test_every_explanation_has_an_image_beside_the_page(outputs):
    html = (outputs / "index.html").read_text()
    addresses = re.findall(r'\s(?:src|href)="([^"#]+)"', html)
    for link in ("../report/report.pdf", "live.html"):
        addresses.remove(link)
    assert html.count("<img") == html.count("<article") == len(addresses) / 2 == 8
    for address in addresses:
        Image.open(outputs / unquote(address)).verify()
    assert not re.search(r"https?:|url\(", html)
    assert "CIFAR-10 test accuracy" in html and "50.00%" in html
    identifiers = re.findall(r'<article id="([^"]*)"', html)
    assert len(set(identifiers)) == 8 and {"gradcam-3", "lime-2", "svm-8"} < set(identifiers)


def test_strip_shows_the_image_and_where_the_map_is_high(outputs):
    strip = np.asarray(Image.open(outputs / "gallery/gradcam_0.webp")).astype(int)
    image = IMAGES[0].astype(int).repeat(4, 0).repeat(4, 1)
    assert np.corrcoef(strip[:, :128].sum(2).ravel(), image.sum(2).ravel())[0, 1] > 0.9
    rows, columns = (strip[:, 128:, 1] - strip[:, 128:, 2] > 60).nonzero()  # yellow
    assert len(rows) > 50 and rows.mean() < 48 and columns.mean() > 104
    assert (outputs / "index.html").read_text().count("zero after the ReLU") == 1


@pytest.mark.parametrize(
    ("folder", "old", "new", "message"),
    [
        ("q1_gradcam", '"hash"', '"other"', "explains other images"),
        ("q1_gradcam", '"dead"', '"died"', "lacks 'dead'"),
        ("q2_lime/text", "0 #.png", "../../q1_gradcam/0 #.png", "lacks the figure"),
    ],
)
def test_unusable_results_are_named(outputs, tmp_path, folder, old, new, message):
    shutil.copytree(outputs, tmp_path / "out")
    path = tmp_path / "out" / folder / "explanations.json"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        gallery.build(tmp_path / "out", DATASET)


@pytest.mark.slow
def test_the_committed_page_shows_the_committed_results(cifar10, tmp_path):
    for name in ("q1_gradcam", "q2_lime", "evaluation"):
        (tmp_path / name).symlink_to(ROOT / "outputs" / name)
    gallery.build(tmp_path, cifar10)
    pages = [(folder / "index.html").read_bytes() for folder in (ROOT / "outputs", tmp_path)]
    same = pages[0] == pages[1]  # without the difference, which takes minutes to compute
    assert same, "run `make gallery`"
    assert sum(file.stat().st_size for file in (tmp_path / "gallery").iterdir()) < 2_500_000


@contextmanager
def opened(path, width=390):
    """A page opened from disk; fails if the browser reports an error or a blocked request."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    needed(program is not None, "Chromium or Chrome")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800})
        problems = []
        for event in ("console", "pageerror", "requestfailed"):
            page.on(event, lambda problem: problems.append(problem))
        page.goto(path.as_uri())
        yield page
        assert not problems and page.evaluate("window.owned") is None


def test_filters_search_and_large_view(outputs):
    """The address holds the filters and the large view; keys step through it; it fits small
    screens."""
    with opened(outputs / "index.html") as page:

        def choose(label: str, value: str, count: int) -> None:
            page.get_by_label(label).select_option(value)
            expect(page.locator("article:visible")).to_have_count(count)

        choose("Question", "Question 1: Grad-CAM", 4)
        choose("Prediction", "incorrect", 2)
        choose("True class", "dog", 1)
        choose("Explanation", "reliable", 0)
        page.get_by_role("button", name="Show all").click()
        choose("True class", HOSTILE, 1)
        page.get_by_role("button", name="Show all").click()
        page.get_by_label("Search").fill("SHUTTLE")
        expect(page.get_by_role("status")).to_have_text("2 of 8 explanations")
        page.get_by_role("button", name="Show all").click()

        large = page.locator("dialog h3")
        page.get_by_label("True class").select_option("dog")
        page.get_by_role("button", name="Large view of test image 3").click()
        expect(page).to_have_url(re.compile("[?]class=dog#gradcam-3$"))
        page.keyboard.press("ArrowLeft")
        expect(large).to_contain_text("test image 2")
        address = page.url
        page.go_back()
        expect(page.locator("dialog")).to_be_hidden()
        expect(page.locator("article:visible")).to_have_count(3)
        page.goto(address)
        expect(large).to_contain_text("test image 2")
        page.keyboard.press("Escape")
        expect(page).to_have_url(re.compile("^[^#]+$"))
        page.get_by_role("button", name="Show all").click()
        page.get_by_role("button", name="Large view of post 7").first.click()
        fits = "e => e.scrollWidth <= e.clientWidth && e.offsetWidth <= innerWidth"
        assert page.locator("html").evaluate(fits) and page.locator("dialog").evaluate(fits)
        assert page.locator("#svm-7 .against").inner_text() == f"{HOSTILE} -0.10 H"
