"""Grad-CAM for a user's images, with a network of Question 1 or an ImageNet model."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common import data, imagenet, models, results, user_files
from common.cli import UserError
from common.figures import DEAD, WIDTH, axes_at, color_bar, plt, show_image, show_map, text_at

import numpy as np
import torch
from torch import nn

from q1_gradcam import gradcam, layers, samples

NO_CONTRAST = 10  # of 255: if no color channel varies more, there is nothing to locate
FAINTEST = 0.1  # lowest strength of the colors
TOP = 5  # classes that are listed


@dataclass(frozen=True)
class LoadedModel:
    """A classifier and the layer to explain."""

    model: imagenet.ImageModel  # its logits are calibrated if it is a network of Question 1
    network: nn.Module  # the same before calibration: maps explain the logits as trained
    layer: str | None  # None for methods that need none


def is_name(model: str) -> bool:
    """Whether `model` is the name of a torchvision classifier rather than a file."""
    path = Path(model)
    return not (path.is_file() or path.suffix or len(path.parts) > 1)


def load(
    name: str,
    weights: Path | None,
    layer: str | None,
    folder: Path,
    device: torch.device,
    needs_layer: bool = True,
) -> LoadedModel:
    """Loads a checkpoint of Question 1, given its file, or a torchvision classifier.

    `weights`, an ImageNet checkpoint, takes the place of `name` if it is given. Other ImageNet
    weights are read from `folder` or downloaded. `layer` is None for the last convolutional stage.
    """
    if weights is None and not is_name(name):
        trained = models.load(name, device)
        model = imagenet.from_model(trained, results.shown(name), results.sha256(name))
        network, default = trained.network, trained.layer
    else:
        # Folding would change the output of a convolution, which `layer` may name.
        model = imagenet.load(name, folder, weights, fold=layer is None, device=device)
        network, default = model.network, None
    if layer:
        layers.find_layer(network, layer)
    loaded = LoadedModel(model, network, layer or default)
    if needs_layer and not loaded.layer:
        loaded = replace(loaded, layer=layers.last_stage(network, layer_maps(loaded)))
    return loaded


def layer_maps(c: LoadedModel) -> dict[str, torch.Tensor]:
    """`layers.feature_maps` for a gray image."""
    gray = np.full((1, c.model.side, c.model.side, 3), 128, np.uint8)
    return layers.feature_maps(c.network, imagenet.to_input(c.model, gray))


@dataclass(frozen=True)
class ExplainedImage:
    """One explained image."""

    name: str  # of the method
    pixels: np.ndarray  # (side, side, 3) uint8, the model's input
    raw: np.ndarray  # (h, w) signed map
    target: int  # the explained class
    strength: float  # of the colors, 0 to 1
    note: str  # drawn instead of the map, if not empty
    content: dict[str, Any]  # for the results file


def explain(
    c: LoadedModel, image: np.ndarray, target: str, method: str = "gradcam"
) -> ExplainedImage:
    """Explains the class `target` ("predicted", "second" or a class name) of an image (H, W, 3).

    The colors of the map have their full strength from a probability of 50% upward and fade as it
    falls to 1 / K, which is chance among K classes.
    """
    known = ("predicted", "second", *c.model.categories)
    if target not in known:
        few = ", ".join([*known[:12], *["..."] * (len(known) > 12)])
        raise UserError(f"unknown class {target!r}: choose {few}")
    side = c.model.side
    pixels = data.fit_image(image, side, "lanczos" if side == 32 else "bicubic")
    x = imagenet.to_input(c.model, pixels[None])
    with torch.inference_mode():
        logits = c.model.network(x).cpu().double()
    probabilities = logits.softmax(1)[0]
    k = int(samples.target_class(logits, None, target, c.model.categories))
    maps = gradcam.explain(c.network, x, c.layer, k, method)
    raw, logit = maps.raw[0].cpu().numpy(), float(maps.logits[0, k])
    fine = gradcam.enlarge(maps.raw, pixels.shape[:2])[0]
    row, column = np.unravel_index(raw.argmax(), raw.shape)
    size = np.array(image.shape[1::-1])  # width, height
    share = (np.array([column, row]) + 0.5) / raw.shape[::-1]  # of the central square
    peak = ((size - size.min()) / 2 + share * size.min()).astype(int)
    chance = math.log(max(len(probabilities) - 1, 2))
    evidence = 1 + float(torch.logit(probabilities[k], eps=1e-12)) / chance
    order = probabilities.argsort(descending=True)[:TOP].tolist()
    of_layer = method in gradcam.LAYER_METHODS
    dead, flat = bool(maps.dead[0]), np.ptp(pixels, axis=(0, 1)).max() < NO_CONTRAST
    content = {
        "model": c.model.name,
        "weights": c.model.source,
        "explained": c.model.categories[k],
        "probability": probabilities[k],
        "unsure": bool(probabilities[order[0]] < user_files.UNSURE),
        "top5": [{"class": c.model.categories[j], "probability": probabilities[j]} for j in order],
        "method": method,
        "layer": maps.layer,
        "map_size": raw.shape,
        "logit": logit,
        "map_sum": raw.sum(),
        "map_share_of_logit": raw.sum() / logit if of_layer and logit else None,
        "peak_xy": None if dead else peak,  # pixels of the user's image
        "area_above_half": 0 if dead else (fine > fine.max() / 2).float().mean(),
        "dead": dead,
    }
    strength = min(max(evidence, FAINTEST), 1)
    note = "no contrast:\nnothing to\nlocate" if flat else DEAD if dead else ""
    name = gradcam.NAMES.get(method, method)
    return ExplainedImage(name, pixels, raw, k, strength, note, results.plain(content))


def rows(e: ExplainedImage, name: str) -> list[tuple[str, str]]:
    """Label and text of the prediction for the image `name` and of its map, for the summary."""
    content = e.content
    names, values = zip(*[row.values() for row in content["top5"]], strict=True)
    first = name, user_files.prediction(names, values)
    where = f"{content['layer'] or 'input'} ({'x'.join(map(str, content['map_size']))})"
    if e.note:
        return [first, (e.name, f"{where}, {' '.join(e.note.split())}")]
    (x, y), area = content["peak_xy"], content["area_above_half"]
    text = f"{where}, peak at ({x}, {y}), {area:.0%} of the image above half of it"
    if content["explained"] != content["top5"][0]["class"]:
        text += f", for {content['explained']}"
    return [first, (e.name, text)]


def figure(e: ExplainedImage):
    """The image and its map; on the right, what the map adds up to and the color bar."""
    content = e.content
    lines = [f"{row['class']} {row['probability']:.0%}" for row in content["top5"]]
    share = content["map_share_of_logit"]
    lines += ["", f"logit: {content['logit']:+.2f}"]
    if share is not None:
        lines.append(f"sum of the map: {content['map_sum']:+.2f} ({share:.0%} of the logit)")
    if e.strength < 1:
        probable = f"{content['explained']} is {content['probability']:.0%} probable"
        lines.append(f"colors faded to {e.strength:.0%}: {probable}")
    at = f" at {content['layer']}" if content["layer"] else ""
    title = f"{e.name}{at}: {content['explained']}"
    side, top = 2.45, 0.2
    plot = plt.figure(figsize=(WIDTH, side + top + 0.05))
    left, right = (axes_at(plot, x, top, side, side) for x in (0.02, side + 0.1))
    height, width = e.pixels.shape[:2]
    show_image(left, e.pixels, f"model input, {width} x {height}")
    show_map(right, e.pixels, e.raw, title, e.strength, e.note)
    text_at(plot, 2 * side + 0.25, top, "\n".join(lines), fontsize=7, linespacing=1.5)
    color_bar(axes_at(plot, 2 * side + 0.28, side - 0.21, 1.75, 0.1), e.strength)
    return plot
