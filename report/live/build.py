"""Writes outputs/live.html: Grad-CAM and LIME on a visitor's image, computed in the browser.

    python report/live/build.py      from the committed networks and CIFAR-10, in a few seconds

The page is one file of a few MB that works from disk, offline, and sends nothing anywhere. It
contains the networks of outputs/q1_gradcam and of outputs/evaluation/marked, with batch norm
folded and the weights in half precision, two test images per class, and the settings of LIME.
"""

import base64
import io
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from common import cli, data, figures, models, results, synthetic

import numpy as np
import torch
from matplotlib.colors import to_rgb
from PIL import Image
from torch.nn.functional import pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

from q2_lime import core, images, stability
from q2_lime.samplers import glime_probability
from report.gallery import render

SCRIPTS = [Path(__file__).with_name(f"{name}.js") for name in ("network", "lime", "draw", "page")]
NETWORKS = tuple(results.OUTPUTS / f"{n}/model.pt" for n in ("q1_gradcam", "evaluation/marked"))
PER_CLASS = 2
SEED = 0


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def convolutions(model: models.Model) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Weights and biases of a `Compact` network for pixels from 0 to 255, batch norm folded.

    The last convolution is the head, for sums over the 64 cells.
    """
    body, normalize = model.network.body, model.network.normalise
    weight = body.whiten.weight / normalize.std
    yield weight / 255, body.whiten.bias - (weight * normalize.mean).sum((1, 2, 3))
    for stage in (body.stage1, body.stage2, body.stage3):
        for convolution, norm in ((stage.widen, stage.norm1), (stage.refine, stage.norm2)):
            fused = fuse_conv_bn_eval(convolution, norm)
            yield fused.weight, fused.bias
    head = body.head.weight[:, :, None, None] * body.LOGIT_SCALE / 64
    yield head, torch.zeros(len(head))


def network(model: models.Model) -> dict:
    """The network as the page reads it: see `convolve` in network.js."""
    if model.arch != "compact":
        raise cli.UserError(f"the page runs networks of the architecture compact, not {model.arch}")
    sizes = (32, 32, 16, 16, 8, 8, 8, 8)  # of the input of each convolution
    inputs, layers = 3, []
    for k, (weight, bias) in enumerate(convolutions(model)):
        more = -len(bias) % 4  # the page computes four outputs at a time
        weight = pad(weight.permute(2, 3, 1, 0), (0, more, 0, inputs - weight.shape[1]))
        weight, bias = weight.unflatten(3, (-1, 4)).movedim(3, 0), pad(bias, (0, more))
        inputs = len(bias)
        precision = "<f2" if weight.shape[1] == 3 else "<f4"  # the others have few weights
        weight, bias = weight.detach().numpy().astype(precision), bias.detach().numpy()
        if not np.isfinite(weight).all():
            raise cli.UserError("some weights are too large for half precision")
        weights, biases = encode(weight.tobytes()), encode(bias.astype("<f4").tobytes())
        layer = {"kernel": weight.shape[1], "weights": weights, "bias": biases}
        layer |= {"size": sizes[k], "relu": k < 7, "pool": k < 7 and sizes[k + 1] < sizes[k]}
        layers.append(layer)
    return {"temperature": model.temperature, "layers": layers}


def draw(dataset: data.Dataset) -> list[dict]:
    """PER_CLASS random test images of each class, with the place of the planted mark in each."""
    drawn = []
    for index in data.draw(dataset.y_test, dataset.classes, PER_CLASS, SEED, "live page"):
        image, file = dataset.x_test[index], io.BytesIO()
        Image.fromarray(image).save(file, "PNG", optimize=True)
        where = synthetic.stamp_each(image[None], [index], SEED)[1][0]
        mark = [int(axis.argmax()) for axis in (where.any(1), where.any(0))]
        name, png = dataset.classes[dataset.y_test[index]], encode(file.getvalue())
        drawn.append({"class": name, "index": index, "mark": mark, "png": png})
    return drawn


def lime_settings() -> dict:
    """The settings of LIME for small images, and the rules of the verdict on an explanation."""
    settings, grid = images.SMALL_SETTINGS, images.SMALL_IMAGE_SETTINGS
    if (settings.sampler, grid.fill, grid.n_segments) != ("glime", "blur", 8):
        raise cli.UserError("the live page draws GLIME's masks of 8 x 8 blurred squares only")
    return asdict(settings) | {
        "shown": glime_probability(settings.kernel_width),
        "side": grid.n_segments,
        "batch": core.BATCH,
        "min_hidden": core.MIN_HIDDEN,
        "repeats": core.REPEATS,
        "constant": core.CONSTANT,
        "min_change": images.MIN_CHANGE,
        "n_seeds": stability.N_SEEDS,
        "thresholds": stability.THRESHOLDS,
        "names": stability.NAMES,
        "verdicts": stability.VERDICTS,
        "level": stability.LEVEL,
        "resamples": stability.REPEATS,
        "removal_deviations": stability.REMOVAL_DEVIATIONS,
        "removal_share": stability.REMOVAL_SHARE,
    }


def build(path: Path, networks: list[models.Model], dataset: data.Dataset) -> Path:
    """Writes the page for an ordinary network and one that relies on the mark."""
    ramp = figures.COLORS(np.linspace(figures.LOWEST_COLOR, 1, 64), bytes=True)[:, :3]
    config = {
        "networks": [network(model) for model in networks],
        "classes": dataset.classes,
        "images": draw(dataset),
        "mark": synthetic.MARK.tolist(),
        "lime": lime_settings(),
        "ramp": ramp.tolist(),
        "signed": [[round(255 * c) for c in to_rgb(x)] for x in (figures.ACCENT, figures.SECOND)],
    }
    names = {"marked_class": synthetic.MARKED_CLASS, "marked_share": synthetic.MARKED_SHARE}
    html = render("live/page.html", SCRIPTS, config=config, **names)
    return results.write_whole(path, lambda file: file.write(html.encode()))


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.data_option()
    dataset = data.load_cifar10(parser.parse_args().data)
    path = build(results.OUTPUTS / "live.html", list(map(models.load, NETWORKS)), dataset)
    print(f"wrote {results.shown(path)}, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    cli.run(main)
