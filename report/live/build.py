"""Writes outputs/live.html: Grad-CAM and LIME on a visitor's image, computed in the browser.

    python report/live/build.py      from the committed networks and CIFAR-10, in a few seconds

The page is one file of about 5 MB that works from disk, offline, and sends nothing anywhere. It
contains the networks of outputs/q1_gradcam and of outputs/evaluation/marked, with batch norm
folded and the weights in half precision, two test images per class, and the settings of LIME.
"""

import base64
import hashlib
import io
import zlib
from dataclasses import asdict
from pathlib import Path

from common import cli, data, figures, models, results, synthetic

import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.colors import to_rgb
from PIL import Image

from q2_lime import core, images, stability
from q2_lime.samplers import glime_probability

TEMPLATES = Path(__file__).parent
SCRIPTS = ("network", "lime", "draw", "page")
PER_CLASS = 2
SEED = 0
OUT = results.OUTPUTS


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def folded(model: models.Model) -> tuple[np.ndarray, np.ndarray]:
    """The weights of a `Compact` network for pixels from 0 to 255, with batch norm folded.

    Returns (small, large), both float32: the weights and bias of the whitening, the biases of the
    six convolutions and the head's weights for sums over the 64 cells; and the six convolutions.
    """
    if model.arch != "compact":
        raise cli.UserError(f"the page runs networks of the architecture compact, not {model.arch}")
    state = {k: v.double().numpy() for k, v in model.network.state_dict().items()}
    mean, std = (state[f"normalise.{part}"].reshape(1, 3, 1, 1) for part in ("mean", "std"))
    whiten = state["body.whiten.weight"] / std
    small, large = [whiten / 255, state["body.whiten.bias"] - (whiten * mean).sum((1, 2, 3))], []
    for stage in ("stage1", "stage2", "stage3"):
        for convolution, norm in (("widen", "norm1"), ("refine", "norm2")):
            weight, bias, average, variance = (
                state[f"body.{stage}.{norm}.{part}"]
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            scale = weight / np.sqrt(variance + model.network.body.stage1.norm1.eps)
            large.append(state[f"body.{stage}.{convolution}.weight"] * scale[:, None, None, None])
            small.append(bias - average * scale)
    small.append(state["body.head.weight"] * model.network.body.LOGIT_SCALE / 64)
    small, large = (np.concatenate([a.ravel() for a in part]) for part in (small, large))
    return small.astype(np.float32), large.astype(np.float32)


def network(model: models.Model) -> dict:
    """The network as the page reads it. The high bytes come first, as they compress better."""
    small, large = folded(model)
    half = large.astype(np.float16)
    if not np.isfinite(half).all():
        raise cli.UserError("some weights are too large for half precision")
    halves = half.astype("<f2").view(np.uint8).reshape(-1, 2)[:, ::-1].T.tobytes()
    return {
        "widths": model.options["widths"],
        "classes": len(model.classes),
        "temperature": model.temperature,
        "small": encode(small.astype("<f4").tobytes()),
        "large": encode(zlib.compress(halves, 9)),
    }


def draw(dataset: data.Dataset) -> list[dict]:
    """PER_CLASS random test images of each class, with the place of the planted mark in each."""
    drawn = []
    for label, name in enumerate(dataset.classes):
        rng = np.random.default_rng(cli.seed_for(SEED, "live page", name))
        for index in rng.permutation(np.flatnonzero(dataset.y_test == label))[:PER_CLASS]:
            image, file = dataset.x_test[index], io.BytesIO()
            Image.fromarray(image).save(file, "PNG", optimize=True)
            where = synthetic.stamp_each(image[None], [index], SEED)[1][0]
            mark = [int(axis.argmax()) for axis in (where.any(1), where.any(0))]
            png = encode(file.getvalue())
            drawn.append({"class": name, "index": int(index), "mark": mark, "png": png})
    return drawn


def lime_settings() -> dict:
    """The settings of LIME for small images, and the rule that decides about an explanation."""
    settings = images.SMALL_SETTINGS
    if settings.sampler != "glime" or images.SMALL_IMAGE_SETTINGS.fill != "blur":
        raise cli.UserError("the live page draws GLIME's masks and fills with a blur only")
    return asdict(settings) | {
        "shown": glime_probability(settings.kernel_width),
        "side": images.SMALL_IMAGE_SETTINGS.n_segments,
        "batch": core.BATCH,
        "min_hidden": core.MIN_HIDDEN,
        "repeats": core.REPEATS,
        "constant": core.CONSTANT,
        "n_seeds": stability.N_SEEDS,
        "thresholds": stability.THRESHOLDS,
    }


def build(path: Path, model: models.Model, marked: models.Model, dataset: data.Dataset) -> Path:
    """Writes the page for two networks with the classes of `dataset`."""
    ramp = figures.COLORS(np.linspace(figures.LOWEST_COLOR, 1, 64), bytes=True)[:, :3]
    config = {
        "networks": [network(model), network(marked)],
        "classes": dataset.classes,
        "images": draw(dataset),
        "mark": synthetic.MARK.tolist(),
        "lime": lime_settings(),
        "ramp": ramp.tolist(),
        "signed": [[round(255 * c) for c in to_rgb(x)] for x in (figures.ACCENT, figures.SECOND)],
    }
    scripts = {name: (TEMPLATES / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS}
    digests = [encode(hashlib.sha256(text.encode()).digest()) for text in scripts.values()]
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    html = environment.get_template("page.html").render(
        config=config,
        scripts={name: Markup(script) for name, script in scripts.items()},
        digests=digests,
        marked_class=synthetic.MARKED_CLASS,
        marked_share=synthetic.MARKED_SHARE,
    )
    return results.write_whole(path, lambda file: file.write(html.encode()))


def committed_networks() -> list[models.Model]:
    """The network trained on CIFAR-10, and the one that relies on the planted mark."""
    return [models.load(OUT / name / "model.pt") for name in ("q1_gradcam", "evaluation/marked")]


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("--out", type=Path, default=OUT / "live.html", metavar="FILE")
    parser.data_option()
    args = parser.parse_args()
    networks = [
        models.load(OUT / f"{name}/model.pt") for name in ("q1_gradcam", "evaluation/marked")
    ]
    path = build(args.out, *networks, data.load_cifar10(args.data))
    print(f"wrote {results.shown(path)}, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    cli.run(main)
