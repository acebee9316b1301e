"""Grad-CAM and related methods against Captum, pytorch-grad-cam and hand-worked examples."""

import copy

from common import figures, models
from common.cli import UserError

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam, Saliency
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, GuidedBackpropReLUModel, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from q1_gradcam import gradcam

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
NETWORKS = {  # architecture -> two layers
    "compact": ("body.stage2", "body.stage3"),
    "resnet18": ("body.layer3", "body.layer4"),
}
LIBRARY = {"gradcam": GradCAM, "gradcam++": GradCAMPlusPlus}
LIBRARY |= {"hirescam": HiResCAM, "layercam": LayerCAM}
CASES = [(arch, layer) for arch, layers in NETWORKS.items() for layer in layers]
Y = torch.tensor([0, 3, 3, 9, 5])


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


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Compares maps relative to the maximum of each."""
    ours, theirs = ours.flatten(1), theirs.detach().flatten(1)
    peak = theirs.abs().amax(1, keepdim=True)
    assert (peak > 0).all(), "a zero map proves nothing"
    assert ((ours - theirs).abs() / peak).max() < 1e-5


@pytest.mark.parametrize("arch, layer", CASES)
def test_raw_maps_agree_with_captum(networks, x, arch, layer):
    network, options = networks[arch], {"attribute_to_layer_input": False}
    captum = LayerGradCam(network, gradcam.find_layer(network, layer))
    theirs = captum.attribute(x, target=Y, relu_attributions=False, **options)
    close(gradcam.explain(network, x, layer, Y).raw, theirs[:, 0])
    prepared = gradcam.prepare(network, x, layer)
    norms = [m for m in prepared.modules() if isinstance(m, nn.BatchNorm2d)]
    assert prepared is not network and not norms, "batch norm is folded in a copy"
    close(gradcam.explain(prepared, x, layer, Y, batch=2).raw, theirs[:, 0])


@pytest.mark.parametrize("arch", NETWORKS)
@pytest.mark.parametrize("method", LIBRARY)
def test_upsampled_maps_agree_with_pytorch_grad_cam(networks, x, arch, method):
    network, layer = Scaled(networks[arch]), "network." + NETWORKS[arch][0]
    library = LIBRARY[method](network, [gradcam.find_layer(network, layer)])
    theirs = library(x, [ClassifierOutputTarget(int(k)) for k in Y])
    ours = like_pytorch_grad_cam(gradcam.explain(network, x, layer, Y, method).raw)
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


def like_pytorch_grad_cam(raw: torch.Tensor) -> np.ndarray:
    """The library's postprocessing: ReLU, min-max, bilinear upsampling, min-max again."""

    def min_max(maps):
        low = maps - maps.flatten(1).amin(1)[:, None, None]
        return low / (1e-7 + low.flatten(1).amax(1)[:, None, None])

    return min_max(gradcam.enlarge(min_max(raw.relu()), (32, 32))).numpy()


@pytest.mark.parametrize("arch", NETWORKS)
def test_pixel_methods_agree_with_libraries(networks, x, arch):
    network = networks[arch]
    saliency = Saliency(network).attribute(x, Y).amax(1)
    close(gradcam.explain(network, x, None, Y, "input_gradient").raw, saliency)
    library = GuidedBackpropReLUModel(copy.deepcopy(network), "cpu")
    theirs = [library(x[k : k + 1].clone(), int(Y[k])) for k in range(5)]
    guided = torch.from_numpy(np.abs(np.stack(theirs)).max(-1))
    close(gradcam.explain(network, x, None, Y, "guided_backprop").raw, guided)
    layer = NETWORKS[arch][0]
    coarse = gradcam.enlarge(gradcam.explain(network, x, layer, Y).raw.relu(), (32, 32))
    product = gradcam.explain(network, x, layer, Y, "guided_gradcam").raw
    alive = coarse.flatten(1).amax(1) > 0
    assert alive.sum() >= 3
    close(product[alive], (guided * coarse)[alive])


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
    """Before average pooling and a linear head, the map adds up to the logit without the bias."""
    fc_bias = networks["resnet18"].body.fc.bias[7]
    for arch, layer, bias in (("compact", "body.stage3", 0), ("resnet18", "body.layer4", fc_bias)):
        maps = gradcam.explain(networks[arch], x, layer, 7)
        total, logit = maps.raw.sum((1, 2)), maps.logits[:, 7] - bias
        assert torch.allclose(total, logit, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", gradcam.METHODS)
def test_batch_equals_one_by_one(networks, x, method):
    """Also where gradients are off."""
    network, layer = networks["compact"], "body.stage3"
    with torch.inference_mode():
        together = gradcam.explain(network, x.clone(), layer, None, method, batch=3)
    alone = [gradcam.explain(network, image[None], layer, None, method).raw for image in x]
    close(together.raw, torch.cat(alone))
    assert torch.equal(together.target, together.logits.argmax(1))


@pytest.mark.parametrize("method", gradcam.METHODS)
def test_the_network_is_restored(networks, x, method):
    """After success and after an error: modes, hooks, gradients and statistics."""
    network = copy.deepcopy(networks["resnet18"])
    network.body.layer2.train()
    network.body.conv1.weight.requires_grad_(False)
    network.body.fc.weight.grad = torch.ones_like(network.body.fc.weight)
    before = snapshot(network)
    gradcam.explain(network, x, "body.layer4", None, method)
    assert snapshot(network) == before
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


def test_figures_enlarge_maps_as_gradcam_does():
    small = torch.rand(1, 8, 8)
    drawn = figures.enlarge(small[0].numpy(), (32, 32))
    assert np.abs(drawn - gradcam.enlarge(small, (32, 32))[0].numpy()).max() < 1e-5


@pytest.mark.parametrize(
    "change, message",
    [
        ({"layer": "body.none"}, "unknown layer 'body.none': choose body.conv1, body.layer1,"),
        ({"layer": "body.fc"}, "no feature map"),
        ({"layer": "body.layer1.0.relu"}, "more than once"),
        ({"method": "magic"}, "unknown method"),
        ({"target": 10}, "no class 10"),
        ({"target": -1}, "no class -1"),
        ({"target": torch.tensor([1, 2])}, "as many target classes"),
        ({"images": torch.full((1, 3, 32, 32), torch.inf)}, "images contain"),
    ],
)
def test_wrong_arguments(networks, x, change, message):
    with pytest.raises(UserError, match=message):
        gradcam.explain(networks["resnet18"], **{"images": x, "layer": "body.layer4"} | change)
