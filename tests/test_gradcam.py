"""Grad-CAM and related methods against Captum, pytorch-grad-cam and hand-worked examples."""

import copy

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop, LayerGradCam, Saliency
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from common import models
from common.cli import UserError
from q1_gradcam import gradcam

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
NETWORKS = {  # architecture -> two layers
    "compact": ("body.stage2", "body.stage3"),
    "resnet18": ("body.layer3", "body.layer4"),
    "vgg16": ("body.features.22", "body.features.32"),
}
CASES = [(arch, layer) for arch, layers in NETWORKS.items() for layer in layers]


@pytest.fixture(scope="module")
def networks():
    """Untrained networks in eval mode; their batch norms have statistics of random images."""
    torch.manual_seed(0)
    made = {}
    for arch in NETWORKS:
        options = {"widths": (16, 24, 32)} if arch == "compact" else {}
        network = models.build(arch, 10, MEAN, STD, options)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.bias, std=0.2)
        if arch == "compact":
            network.body.whiten.fit(torch.randn(20, 3, 32, 32))
        with torch.no_grad():
            network.train()(torch.rand(16, 3, 32, 32))
        made[arch] = network.eval()
    return made


@pytest.fixture(scope="module")
def x():
    torch.manual_seed(1)
    return torch.rand(5, 3, 32, 32)


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-5) -> None:
    """The difference, relative to the maximum of each map."""
    ours, theirs = ours.flatten(1), theirs.flatten(1)
    peak = theirs.abs().amax(1, keepdim=True)
    assert (peak > 0).all(), "a zero map proves nothing"
    assert ((ours - theirs).abs() / peak).max() < tolerance


@pytest.mark.parametrize("arch, layer", CASES)
def test_raw_maps_agree_with_captum(networks, x, arch, layer):
    network, y = networks[arch], torch.tensor([0, 3, 3, 9, 5])
    theirs = LayerGradCam(network, gradcam.find_layer(network, layer)).attribute(
        x, target=y, attribute_to_layer_input=False, relu_attributions=False
    )
    close(gradcam.explain(network, x, layer, y).raw, theirs[:, 0].detach())


@pytest.mark.parametrize("arch, layer", CASES)
def test_normalized_maps_agree_with_pytorch_grad_cam(networks, x, arch, layer):
    network, y = networks[arch], [0, 3, 3, 9, 5]
    theirs = GradCAM(network, [gradcam.find_layer(network, layer)])(
        x, [ClassifierOutputTarget(k) for k in y]
    )
    raw = gradcam.explain(network, x, layer, torch.tensor(y)).raw
    ours = like_pytorch_grad_cam(raw)
    alive = theirs.reshape(5, -1).max(1) > 0
    assert alive.sum() >= 3
    assert np.abs(ours[alive] - theirs[alive]).max() < 1e-5


def like_pytorch_grad_cam(raw: torch.Tensor) -> np.ndarray:
    """The library's presentation: ReLU, min-max, bilinear upsampling, min-max again."""

    def min_max(maps):
        low = maps - maps.flatten(1).amin(1)[:, None, None]
        return low / (1e-7 + low.flatten(1).amax(1)[:, None, None])

    return min_max(gradcam.enlarge(min_max(raw.relu()), (32, 32))).numpy()


@pytest.mark.parametrize("arch", NETWORKS)
@pytest.mark.parametrize(
    "method, reference",
    [("gradcam++", GradCAMPlusPlus), ("hirescam", HiResCAM), ("layercam", LayerCAM)],
)
def test_related_methods_agree_with_pytorch_grad_cam(networks, x, arch, method, reference):
    network, layer = Scaled(networks[arch]), "network." + NETWORKS[arch][0]
    y = [0, 3, 3, 9, 5]
    theirs = reference(network, [gradcam.find_layer(network, layer)])(
        x, [ClassifierOutputTarget(k) for k in y]
    )
    ours = like_pytorch_grad_cam(gradcam.explain(network, x, layer, torch.tensor(y), method).raw)
    alive = theirs.reshape(5, -1).max(1) > 0
    assert alive.sum() >= 3
    assert np.abs(ours[alive] - theirs[alive]).max() < (1e-3 if method == "gradcam++" else 1e-5)


class Scaled(nn.Module):
    """Logits times 10,000. The library adds 1e-6 to the denominator of Grad-CAM++, which would
    matter for the small gradients of an untrained network."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return 1e4 * self.network(x)


@pytest.mark.parametrize("arch", NETWORKS)
def test_pixel_methods_agree_with_captum(networks, x, arch):
    network, y = networks[arch], torch.tensor([0, 3, 3, 9, 5])
    close(
        gradcam.explain(network, x, None, y, "input_gradient").raw,
        Saliency(network).attribute(x, y).amax(1),
    )
    separate = unshare_relus(network)  # Captum needs one out-of-place ReLU module per use
    theirs = GuidedBackprop(separate).attribute(x, y).abs().amax(1)
    close(gradcam.explain(network, x, None, y, "guided_backprop").raw, theirs.detach())


def unshare_relus(network):
    """A copy with out-of-place ReLUs, and one ReLU module for each use in ResNet blocks."""
    import types

    from torchvision.models.resnet import BasicBlock

    def forward(block, x):
        out = block.relu(block.bn1(block.conv1(x)))
        out = block.bn2(block.conv2(out))
        return block.relu_out(out + (x if block.downsample is None else block.downsample(x)))

    separate = copy.deepcopy(network)
    for module in list(separate.modules()):
        if isinstance(module, nn.ReLU):
            module.inplace = False
        if isinstance(module, BasicBlock):
            module.relu_out = nn.ReLU()
            module.forward = types.MethodType(forward, module)
    return separate


def test_guided_grad_cam_is_the_product(networks, x):
    network, layer = networks["compact"], "body.stage3"
    guided = gradcam.explain(network, x, None, 3, "guided_backprop").raw
    coarse = gradcam.enlarge(gradcam.explain(network, x, layer, 3).raw.relu(), (32, 32))
    assert torch.equal(gradcam.explain(network, x, layer, 3, "guided_gradcam").raw, guided * coarse)


# A hand-worked example: two channels on a 2 x 2 grid.
A = torch.tensor([[[[1.0, 2.0], [0.0, 1.0]], [[3.0, 0.0], [1.0, 0.0]]]])
G = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, -3.0]]]])


@pytest.mark.parametrize(
    "method, expected",
    [
        # alpha = (1/2, -1): 1/2 A_0 - A_1
        ("gradcam", [[-2.5, 1.0], [-1.0, 0.5]]),
        ("counterfactual", [[2.5, -1.0], [1.0, -0.5]]),
        ("hirescam", [[-2.0, 0.0], [0.0, 1.0]]),
        ("layercam", [[1.0, 0.0], [0.0, 1.0]]),
        # channel 0: a = 1 / (2 + 4) where G = 1, so alpha = 1/3; channel 1: no positive gradient
        ("gradcam++", [[1 / 3, 2 / 3], [0.0, 1 / 3]]),
    ],
)
def test_by_hand(method, expected):
    assert torch.allclose(gradcam.LAYER_METHODS[method](A, G)[0], torch.tensor(expected), atol=1e-6)


def test_the_map_adds_up_to_the_logit(networks, x):
    """Before average pooling and a linear head without bias, the map adds up to the logit."""
    maps = gradcam.explain(networks["compact"], x, "body.stage3", 7)
    assert torch.allclose(maps.raw.sum((1, 2)), maps.logits[:, 7], rtol=1e-4, atol=1e-5)
    network = networks["resnet18"]
    maps = gradcam.explain(network, x, "body.layer4", 7)
    assert torch.allclose(
        maps.raw.sum((1, 2)), maps.logits[:, 7] - network.body.fc.bias[7], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("method", gradcam.METHODS)
def test_batch_equals_one_by_one(networks, x, method):
    network, layer = networks["compact"], "body.stage3"
    together = gradcam.explain(network, x, layer, None, method, batch=3)
    alone = torch.cat(
        [gradcam.explain(network, x[k : k + 1], layer, None, method).raw for k in range(len(x))]
    )
    close(together.raw, alone)
    assert torch.equal(together.target, together.logits.argmax(1))


@pytest.mark.parametrize("method", gradcam.METHODS)
def test_the_network_is_restored(networks, x, method):
    network = copy.deepcopy(networks["resnet18"])
    network.body.layer2.train()
    network.body.conv1.weight.requires_grad_(False)
    network.body.fc.weight.grad = torch.ones_like(network.body.fc.weight)
    before = snapshot(network)
    gradcam.explain(network, x, "body.layer4", None, method)
    assert snapshot(network) == before
    with pytest.raises(UserError):
        gradcam.explain(network, x, "body.layer4", 10, method)  # no such class
    with pytest.raises(RuntimeError):
        gradcam.explain(network, x[:, :2], "body.layer4", 1, method)  # two channels
    assert snapshot(network) == before


def snapshot(network):
    return [
        (name, m.training, len(m._forward_hooks), len(m._backward_hooks), len(m._forward_pre_hooks))
        for name, m in network.named_modules()
    ] + [
        (name, p.requires_grad, None if p.grad is None else p.grad.sum().item(), p.sum().item())
        for name, p in (*network.named_parameters(), *network.named_buffers())
    ]


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(networks, x, around):
    network = networks["compact"]
    expected = gradcam.explain(network, x, "body.stage3").raw
    with around():
        for method in gradcam.METHODS:
            gradcam.explain(network, x.clone(), "body.stage3", None, method)
        assert torch.equal(gradcam.explain(network, x.clone(), "body.stage3").raw, expected)


def test_nothing_is_recorded_below_the_layer(networks, x):
    network, recorded = networks["resnet18"], {}
    watched = ("body.layer1", "body.layer3")
    hooks = [
        gradcam.find_layer(network, name).register_forward_hook(
            lambda m, i, output, name=name: recorded.update({name: output.requires_grad})
        )
        for name in watched
    ]
    gradcam.explain(network, x, "body.layer2")
    for hook in hooks:
        hook.remove()
    assert recorded == {"body.layer1": False, "body.layer3": True}


def test_an_in_place_relu_after_the_layer_leaves_the_activations_alone(x):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    with gradcam.borrowed(network):
        activations, *_ = gradcam.at_layer(network, x, "0", None)
    assert torch.equal(activations, network[0](x).detach()) and (activations < 0).any()


def test_dead_maps_are_marked(x):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2, bias=False),
    )
    with torch.no_grad():
        network[4].weight.copy_(torch.tensor([[1.0] * 4, [-1.0] * 4]))
    y = torch.tensor([0, 1, 0, 1, 1])
    maps = gradcam.explain(network, x, "1", y)
    assert maps.dead.tolist() == [False, True, False, True, True]
    assert (gradcam.scale(maps.raw)[maps.dead] == 0).all() and gradcam.scale(maps.raw)[0].max() == 1


def test_figures_enlarge_as_the_method_does():
    from common import figures

    level = torch.rand(1, 8, 8)
    ours = gradcam.enlarge(level, (32, 32))[0].numpy()
    assert np.abs(figures.enlarge(level[0].numpy(), (32, 32)) - ours).max() < 1e-5


def test_enlarging_keeps_places():
    """A single positive cell of an 8 x 8 map is centered on its 4 x 4 block of pixels."""
    small = torch.zeros(1, 8, 8)
    small[0, 2, 5] = 1
    large = gradcam.enlarge(small, (32, 32))[0]
    places = torch.arange(32) + 0.5
    assert (large.sum(1) @ places / large.sum()).item() == pytest.approx(2.5 * 4)
    assert (large.sum(0) @ places / large.sum()).item() == pytest.approx(5.5 * 4)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"layer": "body.nowhere"},
            "unknown layer 'body.nowhere': choose body.whiten, body.stage1,",
        ),
        ({"layer": "body.head"}, "no feature map"),
        ({"method": "magic"}, "unknown method"),
        ({"target": 10}, "no class 10"),
        ({"target": -1}, "no class -1"),
        ({"target": torch.tensor([1, 2])}, "as many target classes"),
    ],
)
def test_wrong_arguments(networks, x, change, message):
    with pytest.raises(UserError, match=message):
        gradcam.explain(networks["compact"], x, **{"layer": "body.stage3"} | change)


def test_a_layer_that_runs_twice_is_refused(networks, x):
    with pytest.raises(UserError, match="more than once"):
        gradcam.explain(networks["resnet18"], x, "body.layer1.0.relu")


def test_guided_backpropagation_needs_relus(x):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UserError, match="ReLU"):
        gradcam.explain(network, x, None, None, "guided_backprop")


def test_channels_last_features_and_other_outputs_are_refused(x):
    class ChannelsLast(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1)

    class Tuple(nn.Module):
        def forward(self, x):
            return (x,)

    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nn.Sequential(nn.Conv2d(3, 96, 3), ChannelsLast(), *head)
    with pytest.raises(UserError, match="channels last"):
        gradcam.explain(network, x, "1")
    with pytest.raises(UserError, match="does not return logits"):
        gradcam.explain(nn.Sequential(nn.Conv2d(3, 4, 3), *head, Tuple()), x, "0")


def test_weights_that_are_not_finite_are_refused(x):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        network[0].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        gradcam.explain(network, x, "0")
