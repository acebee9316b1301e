"""Networks for 32 x 32 pictures, and checkpoints that carry all that is needed to use them again.

Every network takes pictures as (N, 3, H, W) float in 0 to 1 and gives logits (N, K); the normalisation is its first layer,
so that nobody who uses it later can forget it.
"""

import pickle
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.cli import UserError, first_line, seed_for
from common.results import write_whole

CHECKPOINT_FORMAT = 1


class Normalise(nn.Module):
    """(x - mean) / std per channel, for x in 0 to 1."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class PatchWhitening(nn.Conv2d):
    """A frozen 2 x 2 convolution whose 24 filters are the whitened principal patches of the training pictures, and their
    negatives (Jordan, arXiv:2404.00498; only the bias is trained).

    One replicated row and column, right and below, keep the grid at 32 x 32, so that two halvings end at 8 x 8 with nothing
    dropped. (A cell so stands for pixels half a pixel to the right and below; a cell of the last map is four pixels wide.)
    """

    def __init__(self):
        super().__init__(3, 24, kernel_size=2)
        self.weight.requires_grad_(False)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1), mode="replicate"))

    @torch.no_grad()
    def fit(self, pictures: Tensor, eps: float = 5e-4) -> None:
        """Sets the filters from normalised `pictures` (N, 3, H, W): the eigenvectors of the 12 x 12 second moments of their
        2 x 2 patches, each divided by the square root of its eigenvalue."""
        patches = (
            pictures.cpu()
            .double()
            .unfold(2, 2, 1)
            .unfold(3, 2, 1)
            .permute(0, 2, 3, 1, 4, 5)
            .reshape(-1, 12)
        )
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors.T / (values[:, None] + eps).sqrt()).view(12, 3, 2, 2)
        self.weight.copy_(torch.cat((filters, -filters)))


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """3 x 3, no bias, starting as the identity on its first channels (Dirac initialisation; arXiv:2404.00498)."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight[: min(inputs, outputs)])
    return convolution


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm whose scale stays at 1 (a ReLU network can absorb it) and whose running statistics follow a short training.

    The learning rate ends at zero, so they fit the last weights: taken afresh over thirty batches they moved the held-out
    accuracy of a trained network by less than a tenth of a point."""
    norm = nn.BatchNorm2d(channels, momentum=0.6)
    norm.weight.requires_grad_(False)
    return norm


class Stage(nn.Module):
    """Widen, halve the grid (before batch norm and ReLU, which then work on a quarter of the numbers), refine."""

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
    """A network made to be trained on a laptop and to be explained.

    Patch whitening, three stages at 16 x 16, 8 x 8 and 8 x 8, global average pooling and a linear head: the logit is the sum
    over the last map of weight x activation, so that Grad-CAM there shows exactly how the logit came about.
    """

    LOGIT_SCALE = 1 / 50  # keeps the first steps gentle; a fixed factor on the head

    def __init__(self, classes: int, widths: tuple[int, int, int] = (64, 192, 192)):
        super().__init__()
        self.whiten = PatchWhitening()
        self.relu = nn.ReLU()
        self.stage1 = Stage(24, widths[0], halve=True)
        self.stage2 = Stage(widths[0], widths[1], halve=True)
        self.stage3 = Stage(widths[1], widths[2], halve=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(widths[2], classes, bias=False)
        nn.init.normal_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.whiten(x))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.head(self.pool(x).flatten(1)) * self.LOGIT_SCALE


def _resnet18(classes: int) -> nn.Module:
    """ResNet-18 (He et al., arXiv:1512.03385) in its CIFAR form: a 3 x 3 first layer of stride 1, no max-pool."""
    from torchvision.models import resnet18

    network = resnet18(num_classes=classes)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def _vgg16(classes: int) -> nn.Module:
    """VGG-16 with batch norm (Simonyan & Zisserman, arXiv:1409.1556) for 32 x 32: one linear layer on the last 1 x 1 map."""
    from torchvision.models import vgg16_bn

    network = vgg16_bn(num_classes=classes)
    network.avgpool = nn.AdaptiveAvgPool2d(1)
    network.classifier = nn.Linear(512, classes)
    return network


@dataclass(frozen=True)
class Architecture:
    """How to build a network, which layer to explain unless told otherwise, and which are worth comparing."""

    build: Any  # (classes, **options) -> nn.Module
    layer: str
    stages: tuple[str, ...]


ARCHITECTURES = {
    "compact": Architecture(Compact, "body.stage3", ("body.stage1", "body.stage2", "body.stage3")),
    "resnet18": Architecture(
        _resnet18, "body.layer4", tuple(f"body.layer{k}" for k in (1, 2, 3, 4))
    ),
    # The layer before each max-pool; the last one is 2 x 2, too coarse to point at anything, so the one before is taken.
    "vgg16": Architecture(
        _vgg16, "body.features.32", tuple(f"body.features.{k}" for k in (5, 12, 22, 32, 42))
    ),
}


class Classifier(nn.Module):
    """Normalisation and a network (`body`): pictures (N, 3, H, W) in 0 to 1 in, logits (N, K) out."""

    def __init__(self, body: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.normalise(x))


@dataclass
class Model:
    """A classifier with what belongs to it; what a checkpoint holds.

    Attributes:
        network: the classifier, in `eval()` mode when it comes from a checkpoint.
        arch, options: key of ARCHITECTURES and the arguments of its `build`.
        classes: class names in the order of the logits.
        dataset: name of the data set it was trained on.
        temperature: what logits are divided by before the softmax (Guo et al., arXiv:1706.04599, section 4.2), fitted on
            held-out pictures; it changes no decision, only how sure the network says it is.
        training: seed, recipe, held-out size, data hash, and what else the training script wrote down.
    """

    network: Classifier
    arch: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    dataset: str
    temperature: float = 1.0
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def layer(self) -> str:
        """The layer explained unless told otherwise."""
        return ARCHITECTURES[self.arch].layer


def build(arch: str, classes: int, mean, std, options: dict[str, Any] | None = None) -> Classifier:
    """A fresh network of one of the ARCHITECTURES, randomly initialised from torch's global generator."""
    if arch not in ARCHITECTURES:
        raise UserError(f"unknown architecture {arch!r}: choose {', '.join(ARCHITECTURES)}")
    return Classifier(
        ARCHITECTURES[arch].build(classes, **(options or {})), tuple(mean), tuple(std)
    )


def untrained(model: Model, images: np.ndarray, seed: int) -> Classifier:
    """The network of a model before its first step, in `eval()`. What the data alone determine is kept (normalisation, whitening filters; their
    bias is learnt) or taken from `images` (N, H, W, 3) (batch norm)."""
    torch.manual_seed(seed_for(seed, "untrained"))
    fresh = build(model.arch, len(model.classes), (0.0,) * 3, (1.0,) * 3, model.options)
    by_data = ("normalise.", "body.whiten.weight")
    kept = {
        key: value for key, value in model.network.state_dict().items() if key.startswith(by_data)
    }
    fresh.load_state_dict(kept, strict=False)
    device = next(model.network.parameters()).device
    return with_fresh_statistics(fresh.eval().to(device, memory_format=torch.channels_last), images)


def with_fresh_statistics(network: nn.Module, images: np.ndarray) -> nn.Module:
    """The network, changed in place: its batch norms take their statistics from `images` (N, H, W, 3) alone.

    With those of trained filters other filters would be far out of range, and maps would change for that reason alone.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True  # the plain mean over what it is shown
    logits(network, images)
    return network.eval()


def save(path: str | Path, model: Model, half: bool = False) -> Path:
    """Writes a checkpoint, whole or not at all; `half` stores floating-point weights in 16 bits."""
    state = {
        key: value.detach().cpu().contiguous() for key, value in model.network.state_dict().items()
    }
    if half:
        state = {
            key: value.half() if value.is_floating_point() else value
            for key, value in state.items()
        }
    content = {name: value for name, value in vars(model).items() if name != "network"}
    content |= {"format": CHECKPOINT_FORMAT, "classes": list(model.classes), "state_dict": state}
    return write_whole(path, lambda file: torch.save(content, file))


def load(path: str | Path, device: torch.device | str = "cpu", arch: str | None = None) -> Model:
    """Reads a checkpoint written by `save`; never runs code from it (`weights_only=True`).

    Args:
        arch: refuse a checkpoint of any other architecture.

    Raises:
        UserError: no such file; damaged; a pickle with code in it; not a checkpoint of this project; another architecture.
    """
    content = read_torch(path)
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise UserError(
            f"{path} is not a checkpoint of this project: train one with q1_gradcam/train.py"
        )
    if arch is not None and content.get("arch") != arch:
        raise UserError(f"{path} holds a {content.get('arch')!r} network, not {arch!r}")
    try:
        state = content.pop("state_dict")
        mean, std = (state[f"normalise.{part}"].flatten().tolist() for part in ("mean", "std"))
        network = build(content["arch"], len(content["classes"]), mean, std, content["options"])
        network.load_state_dict(state)
        content = {key: value for key, value in content.items() if key != "format"}
        model = Model(network.eval().to(device), **content | {"classes": tuple(content["classes"])})
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(f"{path} does not fit its architecture ({first_line(error)})") from None
    network.to(memory_format=torch.channels_last)
    return model


def read_torch(path: str | Path) -> Any:
    """`torch.load` with `weights_only=True`, its failures as UserErrors."""
    if not Path(path).is_file():
        raise UserError(
            f"there is no checkpoint {path}: train one with q1_gradcam/train.py, or give its path"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what it raises depends on which byte is wrong
        if isinstance(error, pickle.UnpicklingError) and re.search(
            "GLOBAL|global|blocked", str(error)
        ):
            raise UserError(
                f"{path} holds more than weights, so it is not loaded: it could run code"
            ) from None
        raise UserError(f"{path} is damaged or not a checkpoint: get it again") from None


def to_input(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Pictures (N, H, W, 3) uint8 as network input (N, 3, H, W) float in 0 to 1, channels last in memory."""
    # A copy, because torch warns of arrays that can't be written to, as pictures read by PIL are.
    return (
        torch.from_numpy(np.array(images, order="C"))
        .to(device)
        .permute(0, 3, 1, 2)
        .float()
        .div(255)
    )


@torch.inference_mode()
def logits(
    network: nn.Module, images: np.ndarray, batch: int = 500, mirror: bool = False
) -> Tensor:
    """Logits (N, K) on the CPU for pictures (N, H, W, 3) uint8; with `mirror`, of the pictures turned left to right."""
    device = next(network.parameters()).device
    parts = []
    for start in range(0, len(images), batch):
        x = to_input(images[start : start + batch], device)
        parts.append(network(x.flip(3) if mirror else x).float().cpu())
    return torch.cat(parts)
