"""ImageNet models: checkpoints, padding, folded batch norm, and their CIFAR-10 classes."""

from dataclasses import replace

from common import data, folding, imagenet
from common.cli import UserError

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from scipy.special import softmax
from torch import nn
from torchvision import models as zoo
from torchvision.models._meta import _IMAGENET_CATEGORIES

from q2_lime import images


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_folding_batch_norm_is_exact(name):
    torch.manual_seed(1)
    network = zoo.get_model(name, weights=None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics as after training
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    folded = folding.fold(network.eval(), torch.randn(2, 3, 64, 64))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    x = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(folded(x), network(x), atol=1e-5 * network(x).abs().max())


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
    content = {"arch": "mobilenet_v2", "state_dict": zoo.mobilenet_v2(weights=None).state_dict()}
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


@pytest.mark.slow
def test_the_padding_improves_the_predictions(cifar10, imagenet_model):
    """The true class's ImageNet classes get more probability with the checkpoint's padding."""
    file = imagenet.local_weights(ROOT / "data", "mobilenet_v2")
    plain = zoo.mobilenet_v2(weights=None)
    plain.load_state_dict(torch.load(file, weights_only=True)["state_dict"])
    chosen = np.random.default_rng(0).choice(10000, 100, replace=False)
    inputs = np.stack([data.fit_image(cifar10.x_test[i], 224, "bicubic") for i in chosen])
    kinds = [imagenet.CIFAR_TO_IMAGENET[cifar10.classes[cifar10.y_test[i]]] for i in chosen]

    def share(model):
        p = softmax(images.predict(model, inputs), axis=1)
        return np.mean([row[list(k)].sum() for row, k in zip(p, kinds, strict=True)])

    assert share(imagenet_model) > share(replace(imagenet_model, network=plain.eval())) + 0.03
