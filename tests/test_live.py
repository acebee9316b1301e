"""The live page: its networks, Grad-CAM and LIME against Python, and its use in a browser."""

import re
from dataclasses import asdict, replace

from common import data, imagenet, models, synthetic

import numpy as np
import pytest
import torch
from conftest import small_model
from PIL import Image
from playwright.sync_api import expect
from test_gallery import opened

from q1_gradcam import gradcam
from q2_lime import core, images, stability, verdicts
from report.live import build

DATASET = replace(data.load_shapes(), classes=tuple("abcdefghij"))
WIDTHS = (8, 11, 6)
HOSTILE = "<img src=x onerror=window.owned=1>.png"
expect.set_options(timeout=60_000)


def small_network(seed: int) -> models.Model:
    """An untrained network with few channels, of odd number, and logits of usual size."""
    model = small_model(DATASET.classes, seed, WIDTHS)
    with torch.no_grad():
        model.network.body.head.weight.mul_(30)
        model.network.body.whiten.fit(torch.randn(20, 3, 32, 32))
    models.with_fresh_statistics(model.network, DATASET.x_train[:50])
    return replace(model, temperature=0.5)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A page with untrained networks and short runs of LIME."""
    path = tmp_path_factory.mktemp("live") / "live.html"
    with pytest.MonkeyPatch.context() as patch:
        short = replace(images.SMALL_SETTINGS, max_samples=96)
        patch.setattr(images, "SMALL_SETTINGS", short)
        patch.setattr(stability, "N_SEEDS", 2)
        build.build(path, [small_network(0), small_network(1)], DATASET)
    return path


@pytest.fixture
def page(small):
    with opened(small) as page:
        expect(page.locator("#effect")).to_contain_text("Prediction")
        yield page


def flat(batch: np.ndarray) -> list:
    return batch.reshape(len(batch), -1).tolist()


@pytest.mark.slow
def test_networks_and_maps_agree_with_pytorch(tmp_path):
    networks = [*map(models.load, build.NETWORKS), small_network(2)]
    build.build(tmp_path / "live.html", networks, DATASET)
    assert (tmp_path / "live.html").stat().st_size < 7e6
    ten = synthetic.make_shapes(10, seed=3).images
    run = """([k, images]) => pool.evaluate(k, images).then((all) => all.map((maps) =>
      classes.map((_, k) => [...mapOf(maps, k)])))"""
    with opened(tmp_path / "live.html") as page:
        expect(page.locator("#effect")).to_contain_text("Prediction")
        for k, model in enumerate(networks):
            maps = np.array(page.evaluate(run, [k, flat(ten)])).reshape(10, 10, 8, 8)
            x = models.to_input(ten)
            expected = [gradcam.explain(model.network, x, model.layer, c).raw for c in range(10)]
            expected = torch.stack(expected, 1).numpy()
            logits = models.logits(model.network, ten).numpy()
            assert abs(maps - expected).max() < min(1e-3, 5e-3 * expected.max())
            tolerance = 1e-3 if k < 2 else 5e-3  # few channels round less evenly
            assert abs(maps.sum((2, 3)) - logits).max() < tolerance * abs(logits).max()


def test_lime_agrees_with_core_on_the_same_masks(page, monkeypatch):
    image = DATASET.x_test[page.evaluate("config.images[0].index")]
    grid = images.SMALL_IMAGE_SETTINGS
    segments = images.segment(image, grid)
    masks = np.random.default_rng(0).random((200, 64)) < 0.85
    hidden = images.filled_image(image, segments, grid.fill)
    shown = np.where(masks[:5][:, segments][..., None], image, hidden)
    ours = page.evaluate(
        "masks => masks.map((m) => [...masked(m)])", masks[:5].astype(int).tolist()
    )
    assert abs(np.array(ours) - flat(shown)).max() <= 1 and (hidden != image).any()
    monkeypatch.setattr(images, "MIN_CHANGE", 10.0)  # the usual one is below all changes here
    unchanged = images.unchanged_share(image, segments, grid.fill)
    assert 0.1 < unchanged < 0.9
    found = page.evaluate("(least) => { lime.min_change = least; return unchangedShare(); }", 10)
    assert found == pytest.approx(unchanged)

    logits = images.masked_logits(
        imagenet.from_model(small_network(0), "", ""), image, segments, "blur"
    )
    values = core.transform(logits(masks), [3], "log_odds")
    ones = np.ones(120)
    surrogate = core.fit(masks[:120], values[:120], ones, 1.0)
    errors = core.leave_one_out(masks[:120], values[:120], ones, 1.0, surrogate)[:, 0]
    arguments = (masks[:120], ones, 1.0, surrogate.weights[:, 0], errors, np.random.default_rng(0))
    expected = core.expected_stability(*arguments)
    found = page.evaluate(
        """async (masks) => {
          const maps = await pool.evaluate(0, masks.map(masked));
          const values = maps.map((map) => logOdds(logitsOf(map), 3));
          const surrogate = fit(masks.slice(0, 120), values.slice(0, 120), lime.alpha);
          const errors = leaveOneOut(surrogate);
          return { values, errors,
            expected: expectedStability(surrogate, errors, lime, generator(1)) };
        }""",
        masks.astype(int).tolist(),
    )
    assert np.ptp(values) > 0.1
    np.testing.assert_allclose(found["values"], values[:, 0], atol=5e-3 * np.ptp(values))
    np.testing.assert_allclose(found["errors"], errors, atol=0.02 * np.ptp(values))
    assert found["expected"] == pytest.approx(expected, abs=0.03)


def asked(values: core.ValueFunction, d: int, settings: core.Settings, unchanged: float) -> tuple:
    """Python's entry for an explanation, and what `judge` of lime.js needs to find the same."""
    calls = []

    def recorded(masks):
        calls.append((masks.astype(int), values(masks)))
        return calls[-1][1]

    row = stability.explain(recorded, d, settings, unchanged=unchanged)[1]
    masks, found = (np.concatenate(parts) for parts in zip(*calls, strict=True))
    found, n = found[:, 0], row["model_calls"] - 1
    runs = [(0, n), *((n + 1 + n * k, n + 1 + n * (k + 1)) for k in range(stability.N_SEEDS - 1))]
    model = [found[n], *found[-2:]]  # the whole input and two removals
    runs = [{"masks": masks[a:b].tolist(), "values": found[a:b].tolist()} for a, b in runs]
    others = {"masks": masks[n + 1 : -2].tolist(), "values": found[n + 1 : -2].tolist()}
    return row, [runs, others, list(map(float, model)), unchanged, masks[-2].tolist()]


@pytest.mark.slow
def test_the_verdict_is_that_of_python(page):
    found_all = set()
    for case in verdicts.cases():
        settings = replace(case.settings, max_samples=128)  # few, for some undecided ones
        row, arguments = asked(case.values, case.d, settings, case.unchanged)
        found = page.evaluate(
            """([settings, runs, others, model, unchanged]) => {
              settings = { ...lime, ...settings };
              const fitted = runs.map(({ masks, values }) => fit(masks, values, settings.alpha));
              const judged = judge(fitted, others, model, unchanged, settings);
              return { ...judged, removed: removals(fitted[0], settings)[1] };
            }""",
            [asdict(settings), *arguments],
        )
        found_all.add(row["verdict"])
        assert found["verdict"] == row["verdict"]
        assert len(found["reasons"]) == len(row["reasons"])
        for ours, python in zip(found["reasons"], row["reasons"], strict=True):
            assert re.sub(r"\d+\.\d+", "", ours) == re.sub(r"\d+\.\d+", "", python)
        if np.isnan(row["fidelity"]):
            continue
        assert found["removed"] == arguments[-1]
        checks = {name: numbers for name, *numbers in found["checks"]}
        assert list(checks) == list(stability.THRESHOLDS)
        similarity = [row["stability"]["similarity"], *row["stability"]["similarity_range"]]
        assert checks["fidelity"][0] == pytest.approx(row["fidelity"], abs=1e-6)
        assert checks["fidelity"][1:] == pytest.approx(row["fidelity_interval"], abs=0.03)
        assert checks["stability"] == pytest.approx(similarity, abs=1e-6)
        for name in list(checks)[2:5]:
            assert checks[name][0] == pytest.approx(row["removals"][name]["miss"], rel=1e-4)
        assert checks["unchanged"] == [case.unchanged] * 3
        assert found["baseline"] == pytest.approx(row["fidelity_baseline"], abs=1e-6)
    assert found_all == set(stability.VERDICTS)


def test_the_page_in_use(page, small, tmp_path):
    """With the keyboard, on a small screen; a file that is no image, and a photo."""
    html = small.read_text()
    assert "default-src 'none'" in html and "connect-src" not in html
    assert "http" not in html.replace('http-equiv="Content-Security-Policy"', "")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#samples button").nth(2).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#effect")).to_contain_text("The label is b")
    page.locator("#image").focus()
    for key in ("Space", "ArrowRight", "ArrowDown", "Space"):
        page.keyboard.press(key)
    expect(page.locator("#effect")).to_contain_text("2 of 64 squares")
    assert page.evaluate("[...hidden.keys()].filter((k) => hidden[k])") == [0, 9]
    page.get_by_role("button", name="Restore").press("Enter")
    page.get_by_role("button", name="Run LIME").press("Enter")
    expect(page.locator("#verdict")).to_contain_text("reliable")
    expect(page.locator("#facts")).to_contain_text("599 in")  # 96 to fit to, 500 others, 3 removals
    page.get_by_label("trained on CIFAR-10").press("ArrowRight")
    expect(page.locator("#evidence")).to_contain_text("is on the mark")

    (tmp_path / HOSTILE).write_text("no image")
    page.locator("#file").set_input_files(tmp_path / HOSTILE)
    expect(page.get_by_role("alert")).to_contain_text(f"{HOSTILE} is not an image")
    photo = np.zeros((300, 500, 3), np.uint8)
    photo[:, 100:250], photo[:, 250:400] = (255, 0, 0), (0, 0, 255)  # the central square
    Image.fromarray(photo).save(tmp_path / "photo.png")
    page.locator("#file").set_input_files(tmp_path / "photo.png")
    expect(page.get_by_role("alert")).to_have_text("")
    colors = page.evaluate("[484, 507].map((p) => [...pixels.slice(3 * p, 3 * p + 3)])")
    assert np.allclose(colors, [[255, 0, 0], [0, 0, 255]], atol=2)
