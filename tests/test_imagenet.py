"""ImageNet models: checkpoints, padding, folded batch norm, and their CIFAR-10 classes."""

from common import imagenet
from common.cli import UserError

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models as zoo
from torchvision.models._meta import _IMAGENET_CATEGORIES


def test_tensorflow_padding_by_hand():
    convolution = nn.Conv2d(2, 3, 3, stride=2, padding=1)
    weight, bias, x = convolution.weight, convolution.bias, torch.randn(1, 2, 8, 8)
    before = convolution(x)
    imagenet.pad_as_tensorflow(convolution)
    after = convolution(x)
    padded = torch.zeros(1, 2, 9, 9)
    padded[:, :, :8, :8] = x
    assert after.shape == before.shape and not torch.allclose(after, before)
    assert torch.allclose(after, F.conv2d(padded, weight, bias, stride=2), atol=1e-6)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"padding": "odd"}, "padding 'odd'"),
        ({"arch": "resnet18"}, "resnet18"),
        ({"arch": "no_such"}, "no_such"),
        ({"mean": None}, "does not fit"),
        ({"std": [0.5, 0.5, 0.0]}, "does not fit"),
        (None, "w.pth"),
        (b"nothing", "w.pth"),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused(tmp_path, change, message):
    content = {"arch": "squeezenet1_1", "state_dict": zoo.squeezenet1_1().state_dict()}
    content |= {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": 224, "padding": "torch"}
    content |= {"categories": list(_IMAGENET_CATEGORIES), "source": "x"}
    file = tmp_path / "w.pth"
    if type(change) is bytes:
        file.write_bytes(change)
    else:
        torch.save({"state_dict": {}} if change is None else content | change, file)
    with pytest.raises(UserError, match=message):
        imagenet.load(file=file)


def test_imagenet_classes_of_the_ten_classes():
    expected = {404: "airliner", 817: "sports car", 7: "cock", 24: "great grey owl"}
    expected |= {80: "black grouse", 100: "black swan", 127: "white stork", 146: "albatross"}
    expected |= {281: "tabby", 285: "Egyptian cat", 351: "hartebeest", 353: "gazelle"}
    expected |= {151: "Chihuahua", 268: "Mexican hairless", 30: "bullfrog", 32: "tailed frog"}
    expected |= {339: "sorrel", 403: "aircraft carrier", 914: "yawl", 867: "trailer truck"}
    assert all(_IMAGENET_CATEGORIES[k] == name for k, name in expected.items())
    assert all(imagenet.cifar_class(k) for k in expected)
    assert imagenet.cifar_class(717) is None and imagenet.cifar_class(281) == "cat"
    assert [len(imagenet.CIFAR_TO_IMAGENET[name]) for name in ("bird", "dog")] == [59, 118]
