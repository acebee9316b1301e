"""Networks for 32 x 32 images and their checkpoints."""

import math
import pickle
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from common.cli import UserError, class_names, first_line, seed_for
from common.results import write_torch, write_whole

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHECKPOINT_FORMAT = 1
TRAIN_ONE = "train one with q1_gradcam/train.py"


class Normalize(nn.Module):
    """(x - mean) / std per channel."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class PatchWhitening(nn.Conv2d):
    """A 2 x 2 convolution that whitens patches (Jordan, arXiv:2404.00498), with a trainable bias.

    The 24 filters are the 12 whitened principal components of the training patches and their
    negatives. The input is padded at the bottom and right, so the output is as large.
    """

    def __init__(self):
        super().__init__(3, 24, kernel_size=2)
        self.weight.requires_grad_(False)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1), mode="replicate"))

    @torch.no_grad()
    def fit(self, images: Tensor, eps: float = 5e-4) -> None:
        """Sets the filters, eigenvectors / sqrt(eigenvalue + eps), from normalized images."""
        patches = F.unfold(images.cpu().double(), 2).transpose(1, 2).reshape(-1, 12)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors.T / (values[:, None] + eps).sqrt()).view(12, 3, 2, 2)
        self.weight.copy_(torch.cat((filters, -filters)))


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """3 x 3, no bias; the first channels are initialized as the identity (arXiv:2404.00498)."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight[: min(inputs, outputs)])
    return convolution


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm with a fixed scale of 1 and a large momentum, which suits short training."""
    norm = nn.BatchNorm2d(channels, momentum=0.6)
    norm.weight.requires_grad_(False)
    return norm


class Stage(nn.Module):
    """Two 3 x 3 convolutions with batch norm and ReLU. Pooling right after the first saves time."""

    def __init__(self, inputs: int, outputs: int, halve: bool):
        super().__init__()
        self.widen = _convolution(inputs, outputs)
        self.pool = nn.MaxPool2d(2) if halve else nn.Identity()
        self.norm1 = _batch_norm(outputs)
        self.relu1 = nn.ReLU()
        self.refine = _convolution(outputs, outputs)
        self.norm2 = _batch_norm(outputs)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.norm1(self.pool(self.widen(x))))
        return self.relu2(self.norm2(self.refine(x)))


class Compact(nn.Module):
    """A small network whose logits Grad-CAM decomposes exactly.

    Patch whitening, three stages (16 x 16, 8 x 8, 8 x 8 for an image of 32 x 32 pixels), global
    average pooling and a linear head without bias: each logit is the spatial mean of the weighted
    sum of the last feature maps.
    """

    LOGIT_SCALE = 1 / 50  # keeps the first updates small

    def __init__(self, classes: int, widths: tuple[int, int, int] = (64, 192, 192)):
        super().__init__()
        self.whiten = PatchWhitening()
        self.relu = nn.ReLU()
        self.stage1 = Stage(24, widths[0], halve=True)
        self.stage2 = Stage(widths[0], widths[1], halve=True)
        self.stage3 = Stage(widths[1], widths[2], halve=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(widths[2], classes, bias=False)
        if not self.head.weight.is_meta:  # there it would import torch's compiler, for a second
            nn.init.normal_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.whiten(x))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.head(self.pool(x).flatten(1)) * self.LOGIT_SCALE


def _resnet18(classes: int) -> nn.Module:
    """ResNet-18 (He et al., arXiv:1512.03385) with a 3 x 3 stride-1 first layer and no max-pool."""
    from torchvision.models import resnet18

    network = resnet18(num_classes=classes)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


# Name -> function (classes, **options) -> network.
ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {"compact": Compact, "resnet18": _resnet18}
STAGES = {  # layers to compare; the last one is explained by default
    "compact": ("body.stage1", "body.stage2", "body.stage3"),
    "resnet18": ("body.layer1", "body.layer2", "body.layer3", "body.layer4"),
}


class Classifier(nn.Module):
    """Maps images (N, 3, H, W) in 0 to 1 to logits (N, K). The first layer normalizes them."""

    def __init__(self, body: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.normalise = Normalize(mean, std)  # this name is a key of the checkpoints
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.normalise(x))


@dataclass
class Model:
    """A classifier and its metadata, as stored in a checkpoint."""

    network: Classifier
    arch: str  # key of ARCHITECTURES
    options: dict[str, Any]  # the arguments of its function
    classes: tuple[str, ...]  # in the order of the logits
    dataset: str  # name of the training data
    temperature: float = 1.0  # divides the logits before the softmax; see q1_gradcam/calibration.py
    training: dict[str, Any] = field(default_factory=dict)  # seed, recipe, hash of the data, ...

    @property
    def layer(self) -> str:
        """The layer explained by default."""
        return STAGES[self.arch][-1]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (N, K) of images (N, H, W, 3) uint8."""
        return torch.softmax(logits(self.network, images).double() / self.temperature, 1).numpy()


def build(arch: str, classes: int, mean, std, options: dict[str, Any]) -> Classifier:
    """A network of one of ARCHITECTURES, initialized with torch's global random generator."""
    if arch not in ARCHITECTURES:
        raise UserError(f"unknown architecture {arch!r}: choose {', '.join(ARCHITECTURES)}")
    return Classifier(ARCHITECTURES[arch](classes, **options), mean, std)


def untrained(model: Model, images: np.ndarray, seed: int) -> Classifier:
    """A network like that of `model` with random weights, in `eval()` mode.

    Normalization and whitening filters are copied, since they are computed from the data rather
    than trained. The batch norm statistics are computed from `images` (N, H, W, 3).
    """
    torch.manual_seed(seed_for(seed, "untrained"))
    network = build(model.arch, len(model.classes), (0.0,) * 3, (1.0,) * 3, model.options)
    trained, fixed = model.network.state_dict(), ("normalise.", "body.whiten.weight")
    network.load_state_dict({k: v for k, v in trained.items() if k.startswith(fixed)}, strict=False)
    device = next(model.network.parameters()).device
    network = network.eval().to(device, memory_format=torch.channels_last)
    return with_fresh_statistics(network, images)


def with_fresh_statistics(network: nn.Module, images: np.ndarray) -> nn.Module:
    """Recomputes the batch norm statistics of `network`, in place, from `images` (N, H, W, 3)."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum, module.training = None, True  # None: the mean over all batches
    logits(network, images)
    return network.eval()


def save(path: str | Path, model: Model, half: bool = False) -> Path:
    """Writes a checkpoint atomically; `half` stores floating-point weights in 16 bits.

    Raises UserError if `load` would refuse the checkpoint.
    """
    state = {k: v.detach().cpu().contiguous() for k, v in model.network.state_dict().items()}
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    content = {name: value for name, value in vars(model).items() if name != "network"}
    content |= {"format": CHECKPOINT_FORMAT, "classes": list(model.classes), "state_dict": state}

    def write(file: IO[bytes]) -> None:
        write_torch(content, file)
        file.flush()
        load(file.name)

    return write_whole(path, write)


def load(path: str | Path, device: torch.device | str = "cpu") -> Model:
    """Reads a checkpoint written by `save`. Raises UserError for any other file."""
    content = read_torch(path)
    if not isinstance(content, dict) or content.pop("format", None) != CHECKPOINT_FORMAT:
        raise UserError(f"{path} is not a checkpoint of this project: {TRAIN_ONE}")
    try:
        state, classes = content.pop("state_dict"), class_names(content.pop("classes"))
        if len(classes) < 2:
            raise ValueError("it has fewer than two classes")
        mean, std = (state[f"normalise.{part}"].flatten().tolist() for part in ("mean", "std"))
        with torch.device("meta"):  # allocates nothing, whatever sizes the file names
            network = build(content["arch"], len(classes), mean, std, content["options"])
        network.load_state_dict(state, assign=True)
        network.float()
        model = Model(network.eval().to(device), classes=classes, **content)
        values = network.state_dict().values()
        if not all(v.dtype in (torch.float32, torch.int64) and v.isfinite().all() for v in values):
            raise ValueError("some weights are not finite numbers")
        if not 0 < model.temperature < math.inf:
            raise ValueError("the temperature is not a positive number")
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(f"{path} does not fit its architecture ({first_line(error)})") from None
    network.to(memory_format=torch.channels_last)
    return model


def read_torch(path: str | Path, advice: str = TRAIN_ONE) -> Any:
    """`torch.load` with `weights_only=True`. Raises UserError if the file cannot be loaded."""
    if not Path(path).is_file():
        raise UserError(f"there is no checkpoint {path}: {advice}")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums
                if archive.testzip():
                    raise zipfile.BadZipFile
        with warnings.catch_warnings(action="ignore"):  # about unusual pickles
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the type depends on which byte is damaged
        if isinstance(error, pickle.UnpicklingError) and "global" in str(error).lower():
            raise UserError(f"{path} is not loaded: it contains code, not only weights") from None
        raise UserError(f"{path} is damaged or not a checkpoint: get it again") from None


def to_input(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Images (N, H, W, 3) uint8 as float (N, 3, H, W) in 0 to 1, in channels-last format."""
    copy = np.array(images, order="C")  # torch warns if an array is read-only
    return torch.from_numpy(copy).float().to(device).permute(0, 3, 1, 2).div(255)


@torch.inference_mode()
def logits(
    network: nn.Module, images: np.ndarray, batch: int = 100, mirror: bool = False
) -> Tensor:
    """Logits (N, K), on the CPU, of images (N, H, W, 3) uint8; `mirror` flips the images."""
    device = next(network.parameters()).device
    parts = []
    for start in range(0, len(images), batch):
        x = to_input(images[start : start + batch], device)
        parts.append(network(x.flip(3) if mirror else x).float().cpu())
    if not all(part.isfinite().all() for part in parts):
        raise UserError("the network's logits are not finite numbers: its weights are damaged")
    return torch.cat(parts)
