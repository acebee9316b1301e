"""Classifiers for LIME: torchvision's ImageNet models, plain checkpoint files, networks of Question 1; ready for many forward passes."""

import glob
import io
import socket
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import models
from common.cli import UserError, first_line
from common.data import CIFAR10_CLASSES, DOWNLOAD_TIMEOUT
from common.results import sha256, shown

DEFAULT = "mobilenet_v2"
FOLD_TOLERANCE = 1e-5  # relative; a folded network that is further off is not used
KEYS = ("arch", "state_dict", "mean", "std", "input_size", "padding", "categories")


@dataclass(frozen=True)
class PictureModel:
    """A classifier of pictures with what belongs to it.

    Attributes:
        network: normalised pictures (N, 3, side, side) in, logits (N, K) out; in `eval()`, batch norm folded where exact.
        name, source: torchvision's name of the architecture, and where the weights come from.
        mean, std: of the normalisation, three colours each, for pictures in 0 to 1.
        side: height and width that the network was made for.
        categories: K names.
        sha256: of the weights' file, or torchvision's hash of the official one.
        folded: whether batch norm was folded into the convolutions.
    """

    network: nn.Module
    name: str
    source: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int
    categories: tuple[str, ...]
    sha256: str
    folded: bool


class Calibrated(nn.Module):
    """A network of Question 1 with its logits divided by its temperature."""

    def __init__(self, network: nn.Module, temperature: float):
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) / self.temperature


def from_checkpoint(
    path: str | Path, device: torch.device | str = "cpu"
) -> tuple[PictureModel, str]:
    """A network that q1_gradcam/train.py made, and the name of the data set it was trained on."""
    model = models.load(path, device)
    return from_model(model, shown(path), sha256(path)), model.dataset


def from_model(model: models.Model, source: str, digest: str) -> PictureModel:
    """A network of Question 1, whose logits are divided by its temperature."""
    plain = ((0.0,) * 3, (1.0,) * 3)  # it normalises by itself
    network = Calibrated(model.network, model.temperature).eval()
    return PictureModel(network, model.arch, source, *plain, 32, model.classes, digest, False)


class SamePadding(nn.Module):
    """A 3 x 3 convolution of stride 2 as TensorFlow pads it where height and width are even: one row and column at the bottom and right only."""

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.convolution = convolution
        convolution.padding = (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(F.pad(x, (0, 1, 0, 1)))


def local_weights(folder: str | Path, name: str) -> Path | None:
    """A checkpoint of the model `name` in folder/weights, called NAME_imagenet*.pth, where there is one."""
    return next(
        iter(sorted((Path(folder) / "weights").glob(f"{glob.escape(name)}_imagenet*.pth"))), None
    )


def load(
    name: str = DEFAULT,
    file: str | Path | None = None,
    fold: bool = True,
    device: torch.device | str = "cpu",
) -> PictureModel:
    """An ImageNet classifier: of torchvision with its official weights (downloaded once), or from a checkpoint `file`.

    Raises:
        UserError: no such model; no network; the file is missing, damaged, or does not fit.
    """
    found = _from_file(Path(file)) if file else _official(name)
    network = found.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    folded = folding(network, found.side) if fold else None
    return PictureModel(
        **{**vars(found), "network": (folded or network).to(device), "folded": folded is not None}
    )


def folding(network: nn.Module, side: int) -> nn.Module | None:
    """The network with batch norm folded into its convolutions, or None where that is not possible or not exact."""
    from torch.fx.experimental.optimization import fuse

    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)).to(
        memory_format=torch.channels_last
    )
    try:
        folded = fuse(network).to(memory_format=torch.channels_last)
    except Exception:  # a network that can't be traced stays as it is
        return None
    with torch.inference_mode():
        before, after = network(x), folded(x)
    return folded if (before - after).abs().max() <= FOLD_TOLERANCE * before.abs().max() else None


def _official(name: str) -> PictureModel:
    from torchvision import models as zoo

    known = zoo.list_models(module=zoo)
    if name not in known:
        raise UserError(
            f"torchvision has no classifier {name!r}: take {DEFAULT}, resnet50, or another of torchvision.models"
        )
    weights = zoo.get_model_weights(name).DEFAULT
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
    if not file.is_file():
        print(f"downloading the weights of {name} to {file}", flush=True)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        with redirect_stdout(
            io.StringIO()
        ):  # torch says there that it downloads, whatever `progress` is
            network = zoo.get_model(name, weights=weights, progress=False)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the weights of {name} could not be downloaded ({first_line(error)}): put {file.name} into"
            f" {file.parent}, or give a checkpoint with --weights FILE"
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    made = weights.transforms()
    digest = sha256(file)
    side = made.crop_size[0]
    source = f"torchvision, {weights}"
    return PictureModel(
        network,
        name,
        source,
        tuple(made.mean),
        tuple(made.std),
        side,
        tuple(weights.meta["categories"]),
        digest,
        False,
    )


def _from_file(path: Path) -> PictureModel:
    if not path.is_file():
        raise UserError(
            f"there is no checkpoint {path}: give another with --weights, or leave it out for torchvision's own"
        )
    content = models.read_torch(path)
    if not isinstance(content, dict) or any(key not in content for key in KEYS):
        lacks = [key for key in KEYS if not isinstance(content, dict) or key not in content]
        raise UserError(f"{path} is not an ImageNet checkpoint: it lacks {', '.join(lacks)}")
    from torchvision import models as zoo

    if content["arch"] not in zoo.list_models(module=zoo):
        raise UserError(f"{path} holds a {content['arch']!r}, which torchvision does not know")
    if content["padding"] not in ("torch", "tf_same"):
        raise UserError(
            f"{path} asks for padding {content['padding']!r}: 'torch' and 'tf_same' are known"
        )
    try:
        categories = tuple(map(str, content["categories"]))
        network = zoo.get_model(content["arch"], weights=None, num_classes=len(categories))
        network.load_state_dict(content["state_dict"])
        mean, std = (tuple(float(v) for v in content[key]) for key in ("mean", "std"))
        side = content["input_size"]
        side = int(side if isinstance(side, int) else list(side)[-1])
        fits = (
            len(categories) == 1000
            and len(mean) == len(std) == 3
            and min(std) > 0
            and side >= 32
            and side % 32 == 0
        )
        if not fits or not all(
            torch.isfinite(value).all() for value in network.state_dict().values()
        ):
            raise ValueError(
                "1000 categories, three means, three positive deviations, a size in 32s and finite weights are wanted"
            )
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
        raise UserError(
            f"{path} does not fit torchvision's {content['arch']} ({first_line(error)})"
        ) from None
    if content["padding"] == "tf_same":
        pad_as_tensorflow(network)
    source = str(content.get("source", "")) or shown(path)
    return PictureModel(
        network, content["arch"], source, mean, std, side, categories, sha256(path), False
    )


def pad_as_tensorflow(network: nn.Module) -> None:
    """Puts SamePadding around every 3 x 3 convolution of stride 2, in place: what weights that come from TensorFlow were trained with."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if (
                isinstance(child, nn.Conv2d)
                and child.stride == (2, 2)
                and not isinstance(parent, SamePadding)
            ):
                if child.kernel_size != (3, 3):
                    raise UserError(
                        f"padding 'tf_same' is known for 3 x 3 convolutions, not {child.kernel_size}"
                    )
                setattr(parent, name, SamePadding(child))


CIFAR_TO_IMAGENET: dict[str, tuple[int, ...]] = {
    "airplane": (404, 895),  # airliner, warplane
    "automobile": (407, 436, 468, 511, 609, 627, 656, 661, 751, 817),  # ambulance to sports car
    "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "cat": (281, 282, 283, 284, 285),
    "deer": (351, 352, 353),  # hartebeest, impala, gazelle: relatives
    "dog": tuple(range(151, 269)),
    "frog": (30, 31, 32),
    "horse": (339,),  # sorrel
    "ship": (
        403,
        472,
        484,
        510,
        554,
        576,
        625,
        628,
        724,
        780,
        814,
        833,
        871,
        914,
    ),  # aircraft carrier to yawl, watercraft all
    "truck": (
        555,
        569,
        675,
        864,
        867,
    ),  # fire engine, garbage truck, moving van, tow truck, trailer truck
}
RELATIVES_ONLY = ("deer",)
CIFAR_CLASS: dict[int, str] = {
    number: name for name, numbers in CIFAR_TO_IMAGENET.items() for number in numbers
}
assert tuple(CIFAR_TO_IMAGENET) == CIFAR10_CLASSES and len(CIFAR_CLASS) == sum(
    map(len, CIFAR_TO_IMAGENET.values())
)


def cifar_class(number: int) -> str | None:
    """The CIFAR-10 class that an ImageNet class is a kind of, or None."""
    return CIFAR_CLASS.get(number)
