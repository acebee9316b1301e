"""Grad-CAM on networks of others: every kind of layer and output, and what is refused."""

import copy

from common.cli import UserError

import pytest
import torch
from captum.attr import GuidedBackprop
from test_gradcam import close
from torch import nn
from torchvision import models as zoo

from q1_gradcam import gradcam, layers


def small_network(*layers) -> nn.Sequential:
    """The layers, average pooling, and a linear head with opposite weights for two classes."""
    torch.manual_seed(0)
    head = nn.Linear(4, 2, bias=False)
    head.weight.data = torch.tensor([[1.0] * 4, [-1.0] * 4])
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def test_an_in_place_relu_after_the_layer_does_not_change_the_activations(x):
    network = small_network(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    with gradcam.borrowed(network):
        activations, *_ = gradcam.at_layer(network, x, "0", None)
    assert torch.equal(activations, network[0](x).detach()) and (activations < 0).any()


def test_dead_maps_are_marked(x):
    network = small_network(nn.Conv2d(3, 4, 3), nn.ReLU())
    maps = gradcam.explain(network, x, "1", torch.tensor([0, 1, 0, 1, 1]))
    assert maps.dead.tolist() == [False, True, False, True, True]


class Apply(nn.Module):
    """A module that calls a function."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


CONV = nn.Conv2d(3, 4, 3)


def damaged(value: float):
    network = small_network(nn.Conv2d(3, 4, 3))
    network[0].weight.data[0, 0, 0, 0] = value
    return network


@pytest.mark.parametrize(
    "network, layer, method, message",
    [
        (small_network(CONV, nn.GELU()), None, "guided_backprop", "needs ReLUs"),
        (nn.Sequential(CONV, Apply(lambda x: x.permute(0, 2, 3, 1))), "1", "gradcam", "last"),
        (nn.Sequential(CONV, Apply(lambda x: (x,))), "1", "gradcam", "no feature map.*tuple"),
        (nn.Sequential(CONV, Apply(lambda x: (x,))), "0", "gradcam", "return logits.*tuple"),
        (nn.Sequential(CONV, Apply(lambda x: x.mean((1, 2, 3)))), "0", "gradcam", "return logits"),
        (nn.Sequential(CONV, Apply(lambda x: x.detach().mean((2, 3)))), "0", "gradcam", "depend"),
        (Apply(lambda x: x.detach().mean((2, 3))), None, "input_gradient", "no gradient"),
        (damaged(float("nan")), "0", "gradcam", "logits are not finite"),
    ],
)
def test_networks_that_cannot_be_explained_are_refused(x, network, layer, method, message):
    with pytest.raises(UserError, match=message):
        gradcam.explain(network, x, layer, None, method)


def test_channels_last_maps_and_tokens_can_be_reshaped(x):
    """The same network with its layer in another layout has the same maps."""
    expected = gradcam.explain(small_network(CONV, nn.ReLU()), x, "0").raw
    there, back = lambda a: a.permute(0, 2, 3, 1), lambda a: a.permute(0, 3, 1, 2)
    flat, unflat = lambda a: a.flatten(2), lambda a: a.unflatten(2, (30, 30))
    for change, reshape in ((there, back), (flat, unflat)):
        network = small_network(CONV, Apply(change), Apply(reshape), nn.ReLU())
        close(gradcam.explain(network, x, "1", reshape=reshape).raw, expected)


def test_relus_may_be_functions(x):
    modules = small_network(CONV, nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    expected = gradcam.explain(modules, x, None, 1, "guided_backprop").raw
    for relu in (torch.relu, torch.relu_, nn.functional.relu, torch.Tensor.relu):
        network = copy.deepcopy(modules)
        network[3] = Apply(relu)
        found = gradcam.explain(network, x, None, 1, "guided_backprop").raw
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "relu6", [nn.ReLU6(), nn.ReLU6(inplace=True), Apply(nn.functional.relu6), nn.Hardtanh(0, 6)]
)
def test_guided_backprop_with_relu6_agrees_with_captum(x, relu6):
    """Captum guides subclasses of ReLU only. Some of the activations exceed 6."""

    class Clamp(nn.ReLU):
        def forward(self, x):
            return x.clamp(0, 6)

    network = small_network(CONV, nn.ReLU(), nn.Conv2d(4, 4, 3), relu6, nn.Conv2d(4, 4, 3))
    network[2].weight.data *= 50
    found = gradcam.explain(network, x, None, 1, "guided_backprop").raw
    network[3] = Clamp()
    close(found, GuidedBackprop(network).attribute(x, 1).abs().amax(1))


def test_folding_keeps_what_would_change(x):
    """A layer to explain in front of its batch norm, a skip connection, a negative scale before a
    max-pool, a network that torch.fx cannot trace."""

    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.conv(x)
            return x + self.norm(x)

    norm, negative = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    negative.weight.data[2] = -1
    untraceable = Apply(lambda x: x if x.sum() > 0 else -x)
    for network, layer, kept in (
        (small_network(CONV, nn.MaxPool2d(2), norm), None, False),
        (small_network(CONV, nn.MaxPool2d(2), norm), "1", True),
        (small_network(CONV, norm), "0", True),
        (small_network(CONV, nn.MaxPool2d(2), negative), None, True),
        (small_network(Skip(), nn.ReLU()), None, True),
        (small_network(CONV, norm, untraceable), None, True),
        (zoo.mobilenet_v2(weights=None), None, False),
    ):
        prepared = gradcam.prepare(network.eval(), x, layer)
        assert any(isinstance(m, nn.BatchNorm2d) for m in prepared.modules()) == kept
        assert torch.allclose(prepared(x), network(x), rtol=1e-4, atol=1e-6)


LAST_STAGES = {"mobilenet_v2": "features.18", "resnet18": "layer4"}
LAST_STAGES |= {"densenet121": "features.norm5", "swin_t": "permute"}


@pytest.mark.parametrize("name", LAST_STAGES)
def test_the_default_layer_is_the_last_convolutional_stage(name):
    network = zoo.get_model(name, weights=None)
    maps = layers.feature_maps(network, torch.rand(1, 3, 64, 64))
    assert layers.last_stage(network, maps) == LAST_STAGES[name] and network.training


def test_a_network_without_feature_maps_is_refused(x):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    with pytest.raises(UserError, match="no convolutional stage"):
        layers.last_stage(network, layers.feature_maps(network, x))
