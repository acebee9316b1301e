"""Grad-CAM for a user's images, with a network of Question 1 or an ImageNet model."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import data, imagenet, models, results, user_files
from common.cli import UserError

import numpy as np
import torch
from torch import nn

from q1_gradcam import figures, gradcam, layers, samples

NO_CONTRAST = 10  # of 255: if no color channel varies more, there is nothing to locate
FAINTEST = 0.1  # lowest strength of the colors
TOP = 5  # classes that are listed


@dataclass(frozen=True)
class Classifier:
    """A classifier and the layer to explain."""

    model: imagenet.ImageModel  # its logits are calibrated if it is a network of Question 1
    network: nn.Module  # the same with the logits as trained, which the maps explain
    layer: str


def is_name(model: str) -> bool:
    """Whether `model` is the name of a torchvision classifier rather than a file."""
    path = Path(model)
    return not (path.is_file() or path.suffix or len(path.parts) > 1)


def load(
    name: str, weights: Path | None, layer: str | None, folder: Path, device: torch.device
) -> Classifier:
    """Loads a checkpoint of Question 1, given its file, or a torchvision classifier.

    `weights`, an ImageNet checkpoint, takes the place of `name` if it is given. Other ImageNet
    weights are read from `folder` or downloaded. `layer` is None for the last convolutional stage.
    """
    if weights is None and not is_name(name):
        trained = models.load(name, device)
        model = imagenet.from_model(trained, results.shown(name), results.sha256(name))
        network, default = trained.network, trained.layer
    else:
        file = weights or imagenet.local_weights(folder, name)
        # Folding would change the output of a convolution, which `layer` may name.
        model = imagenet.load(name, file, fold=layer is None, device=device)
        network, default = model.network, None
    if layer:
        layers.find_layer(network, layer)
    elif default is None:
        default = layers.last_stage(network, layer_maps(model, network))
    return Classifier(model, network, layer or default)


def layer_maps(model: imagenet.ImageModel, network: nn.Module) -> dict[str, torch.Tensor]:
    """`layers.feature_maps` for a gray image."""
    gray = np.full((1, model.side, model.side, 3), 128, np.uint8)
    return layers.feature_maps(network, to_input(model, network, gray))


def to_input(model: imagenet.ImageModel, network: nn.Module, pixels: np.ndarray) -> torch.Tensor:
    return imagenet.to_input(model, pixels, next(network.parameters()).device)


@dataclass(frozen=True)
class Explained:
    """One explained image."""

    pixels: np.ndarray  # (side, side, 3) uint8, the model's input
    raw: np.ndarray  # (h, w) signed map
    target: int  # the explained class
    strength: float  # of the colors, 0 to 1
    note: str  # drawn instead of the map, if not empty
    content: dict[str, Any]  # for the results file


def explain(c: Classifier, image: np.ndarray, target: str, method: str = "gradcam") -> Explained:
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
    x = to_input(c.model, c.network, pixels[None])
    with torch.inference_mode():
        logits = c.model.network(x).cpu().double()
    probabilities = logits.softmax(1)[0]
    k = int(samples.target_class(logits, None, target, c.model.categories))
    maps = gradcam.explain(c.network, x, c.layer, k, method)
    raw, logit = maps.raw[0].cpu().numpy(), float(maps.logits[0, k])
    fine = gradcam.enlarge(maps.raw, pixels.shape[:2])[0]
    row, column = np.unravel_index(raw.argmax(), raw.shape)
    height, width = image.shape[:2]
    short = min(height, width)
    peak = [
        round((length - short) / 2 + (cell + 0.5) / cells * short)
        for length, cell, cells in ((width, column, raw.shape[1]), (height, row, raw.shape[0]))
    ]
    contrast = int(np.ptp(pixels.reshape(-1, 3), axis=0).max())
    chance = max(math.log(max(len(probabilities) - 1, 1)), math.log(2))
    evidence = 1 + float(torch.logit(probabilities[k], eps=1e-12)) / chance
    order = probabilities.argsort(descending=True)[:TOP].tolist()
    dead, flat = bool(maps.dead[0]), contrast < NO_CONTRAST
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
        "map_share_of_logit": raw.sum() / logit
        if logit and method in gradcam.LAYER_METHODS
        else None,
        "peak_xy": None if dead else peak,  # pixels of the user's image
        "area_above_half": 0 if dead else (fine > fine.max() / 2).float().mean(),
        "dead": dead,
        "contrast": contrast,
    }
    strength = min(max(evidence, FAINTEST), 1)
    note = "no contrast:\nnothing to\nlocate" if flat else figures.DEAD if dead else ""
    return Explained(pixels, raw, k, strength, note, results.plain(content))


def prediction(content: dict[str, Any]) -> str:
    """The two most probable classes, for the summary."""
    names, values = zip(*[row.values() for row in content["top5"]], strict=True)
    return user_files.prediction(names, values)


def display_name(method: str) -> str:
    return "Grad-CAM" if method == "gradcam" else method


def row(e: Explained) -> tuple[str, str]:
    """Label and text of the map, for the summary."""
    content = e.content
    label = display_name(content["method"])
    where = f"{content['layer'] or 'input'} ({'x'.join(map(str, content['map_size']))})"
    if e.note:
        return label, f"{where}, {' '.join(e.note.split())}"
    (x, y), area = content["peak_xy"], content["area_above_half"]
    text = f"{where}, peak at ({x}, {y}), {area:.0%} of the image above half of it"
    if content["explained"] != content["top5"][0]["class"]:
        text += f", for {content['explained']}"
    return label, text


def figure(e: Explained):
    """The image, its map, and what the map adds up to."""
    content = e.content
    lines = [f"{row['class']} {row['probability']:.0%}" for row in content["top5"]]
    share = content["map_share_of_logit"]
    lines += ["", f"logit: {content['logit']:+.2f}"]
    if share is not None:
        lines.append(f"sum of the map: {content['map_sum']:+.2f}, share {share:.0%}")
    if e.strength < 1:
        lines.append(f"colors at {e.strength:.0%}: {content['probability']:.0%} probable")
    at = f" at {content['layer']}" if content["layer"] else ""
    title = f"{display_name(content['method'])}{at}: {content['explained']}"
    return figures.single(e.pixels, e.raw, title, lines, e.strength, e.note)
