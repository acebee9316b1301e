"""The examples and the notebook, run as they are; comparison of both methods for a user's image."""

import json
import runpy

from common import results

import pytest
from conftest import ROOT, call
from PIL import Image

from evaluation import compare

EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize(
    "name, words",
    [
        ("gradcam_any_model.py", ["class 0, logit"]),
        ("lime_any_function.py", ["engine", "wheels", "seats", "radio"]),
        ("lime_any_text_model.py", ["astronomy; fidelity 1.00", "eclipse"]),
    ],
)
def test_examples(tmp_path, monkeypatch, capsys, name, words):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    printed = capsys.readouterr().out
    assert all(word in printed for word in words)
    assert (tmp_path / "gradcam_example.png").exists() == ("gradcam" in name)


def test_both_methods_side_by_side(shapes_model, tmp_path):
    image = EXAMPLES / "boat.png"
    options = ("--image", image, "--model", shapes_model, "--out", tmp_path, "--save-maps")
    done = call(compare, *options)
    assert done.returncode == 0, done.stderr
    for word in ("boat.png", "Grad-CAM", "LIME", "agreement"):
        assert f"\n{word} " in f"\n{done.stdout}"
    content = results.read_json(tmp_path / "user/boat.json")
    assert content["lime"]["n_segments"] == 64 and "gradcam" in content
    arrays = results.read_npz(tmp_path / "user/boat.npz")
    lime = arrays["lime_weights"][arrays["segments"]]
    assert lime.shape == (32, 32) and Image.open(tmp_path / "user/boat.png").width > 1000
    assert -1 <= content["agreement"]["rank_correlation"] <= 1


@pytest.mark.slow
def test_the_notebook_runs(imagenet_model, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    cells = json.loads((EXAMPLES / "colab.ipynb").read_text())["cells"]
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells)
    names = {}
    for cell in cells:
        if "setup" not in cell["metadata"].get("tags", []):
            source = "".join(cell["source"]).replace("outputs/colab", tmp_path.as_posix())
            exec(source, names)
    assert len(list((tmp_path / "user").glob("*.png"))) == 3
