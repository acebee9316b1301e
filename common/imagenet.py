"""ImageNet models of torchvision, and networks of Question 1 in the same form."""

import glob
import re
from dataclasses import dataclass, replace
from pathlib import Path

from common import folding, models
from common.cli import UserError, first_line
from common.results import download, sha256, shown

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEFAULT = "mobilenet_v2"


@dataclass(frozen=True)
class ImageModel:
    """A classifier and the metadata needed to use it."""

    network: nn.Module  # normalized images (N, 3, side, side) -> logits (N, K); in `eval()` mode
    name: str  # of the architecture
    source: str  # where the weights come from
    mean: tuple[float, ...]  # to normalize images in 0 to 1
    std: tuple[float, ...]
    side: int  # height and width of the input
    categories: tuple[str, ...]
    sha256: str  # of the file with the weights


class Calibrated(nn.Module):
    """A network whose logits are divided by a temperature."""

    def __init__(self, network: nn.Module, temperature: float):
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) / self.temperature


def from_model(model: models.Model, source: str, digest: str) -> ImageModel:
    """A network of Question 1 with calibrated logits."""
    network = Calibrated(model.network, model.temperature).eval()
    mean, std = (0.0,) * 3, (1.0,) * 3  # the network normalizes its input
    return ImageModel(network, model.arch, source, mean, std, 32, model.classes, digest)


def load(
    name: str = DEFAULT,
    folder: str | Path | None = None,
    file: str | Path | None = None,
    fold: bool = True,
    device: torch.device | str = "cpu",
) -> ImageModel:
    """An ImageNet classifier with the weights of the checkpoint `file`.

    Without a `file`, the first FOLDER/weights/NAME_imagenet*.pth in alphabetical order is used, or
    torchvision's weights, which are downloaded. `fold` folds batch norm into the convolutions.
    Raises UserError if the model is unknown, the download fails, or the checkpoint is missing,
    damaged or unsuitable.
    """
    if folder and not file:
        pattern = f"weights/{glob.escape(name)}_imagenet*.pth"
        file = min(Path(folder).glob(pattern), default=None)
    model = _from_file(Path(file)) if file else _official(name)
    network = model.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, model.side, model.side, generator=torch.Generator().manual_seed(0))
    network = (folding.fold(network, x) if fold else None) or network
    return replace(model, network=network.to(device))


def to_input(model: ImageModel, images: np.ndarray) -> Tensor:
    """Images (N, side, side, 3) in 0 to 255, normalized for the model: (N, 3, side, side)."""
    device = next(model.network.parameters()).device
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (model.mean, model.std))
    return (models.to_input(images, device) - mean) / std


def _official(name: str) -> ImageModel:
    from torchvision import models as zoo

    if name not in zoo.list_models(module=zoo):
        advice = f"use {DEFAULT}, resnet50 or another of torchvision.models"
        raise UserError(f"torchvision has no classifier {name!r}: {advice}")
    weights = zoo.get_model_weights(name).DEFAULT
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
    if not file.is_file():
        print(f"downloading the weights of {name} to {shown(file)}", flush=True)
    download(weights.url, file, re.findall("-([0-9a-f]{8,})[.]", file.name)[0])
    state = models.read_torch(file)
    # By default, torchvision unpickles the file, which may run code in it.
    weights.get_state_dict = lambda **_: state
    network = zoo.get_model(name, weights=weights)
    preset, categories = weights.transforms(), tuple(weights.meta["categories"])
    mean, std, side = tuple(preset.mean), tuple(preset.std), preset.crop_size[0]
    source = f"torchvision, {weights}"
    return ImageModel(network, name, source, mean, std, side, categories, sha256(file))


def _from_file(path: Path) -> ImageModel:
    from torchvision import models as zoo

    content = models.read_torch(path, "omit --weights to use those of torchvision")
    arch = content.get("arch") if isinstance(content, dict) else None
    if arch not in zoo.list_models(module=zoo):
        raise UserError(f"{path} is not a checkpoint of a torchvision classifier (arch: {arch!r})")
    try:
        categories = tuple(map(str, content["categories"]))
        network = zoo.get_model(arch, weights=None, num_classes=len(categories))
        network.load_state_dict(content["state_dict"])
        mean, std = (tuple(float(v) for v in content[key]) for key in ("mean", "std"))
        side, padding = int(content["input_size"]), content["padding"]
        values = (torch.tensor([*mean, *std]), *network.state_dict().values())
        finite = all(value.isfinite().all() for value in values)
        named = len(categories) == 1000 and all(map(str.isprintable, categories))
        if not (finite and named and len(mean) == len(std) == 3 and min(std) > 0):
            raise ValueError("it needs 1000 categories, three means and positive deviations")
        if side < 32 or side % 32 or padding not in ("torch", "tf_same"):
            raise ValueError(f"unsuitable input size {side} or padding {padding!r}")
        if padding == "tf_same":
            pad_as_tensorflow(network)
    except KeyError as error:
        raise UserError(f"{path} is not an ImageNet checkpoint: it lacks {error}") from None
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{path} does not fit torchvision's {arch} ({first_line(error)})") from None
    source = str(content.get("source", "")) or shown(path)
    return ImageModel(network, arch, source, mean, std, side, categories, sha256(path))


def pad_as_tensorflow(network: nn.Module) -> None:
    """Pads convolutions of stride 2 only at the bottom and right, in place, as in TensorFlow."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            if module.kernel_size != (3, 3):
                raise ValueError("padding 'tf_same' is implemented for 3 x 3 kernels only")
            module.padding = (0, 0)
            module.register_forward_pre_hook(lambda _, inputs: F.pad(inputs[0], (0, 1, 0, 1)))


# The ImageNet classes that belong to each CIFAR-10 class. ImageNet has no deer; hartebeest, impala
# and gazelle are its closest relatives.
CIFAR_TO_IMAGENET: dict[str, tuple[int, ...]] = {
    "airplane": (404, 895),  # airliner, warplane
    "automobile": (407, 436, 468, 511, 609, 627, 656, 661, 751, 817),  # ambulance to sports car
    "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "cat": (281, 282, 283, 284, 285),
    "deer": (351, 352, 353),
    "dog": tuple(range(151, 269)),
    "frog": (30, 31, 32),
    "horse": (339,),  # sorrel
    # All watercraft, from aircraft carrier to yawl.
    "ship": (403, 472, 484, 510, 554, 576, 625, 628, 724, 780, 814, 833, 871, 914),
    # Fire engine, garbage truck, moving van, tow truck, trailer truck.
    "truck": (555, 569, 675, 864, 867),
}
RELATIVES_ONLY = ("deer",)


def cifar_class(number: int) -> str | None:
    """The CIFAR-10 class to which an ImageNet class belongs, or None."""
    return next((name for name, numbers in CIFAR_TO_IMAGENET.items() if number in numbers), None)
