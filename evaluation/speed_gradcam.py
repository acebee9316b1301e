"""What a Grad-CAM map costs, beside one forward pass and beside two other libraries, and how far the maps agree.

    python benchmarks/gradcam.py            needs requirements-test.txt; run it alone on the machine; about a minute

Random pictures, untrained networks: neither changes the time. All variants take turns, round by round, so that a change in the
machine's speed meets them all; the median round counts. Writes gradcam.json and its receipt into outputs/benchmarks.
"""

import statistics
import time

import torch

from common import cli, models, results
from q1_gradcam import gradcam, recipes

try:
    from captum.attr import LayerGradCam
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
except ImportError:
    LayerGradCam = None

PICTURES, ROUNDS = 128, 7
NETWORKS = ("compact", "resnet18")


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: auto)"
    )
    args = parser.parse_args()
    device = cli.pick_device(args.device)
    if LayerGradCam is None:
        raise cli.UserError(
            "the libraries to compare with are missing: pip install -r requirements-test.txt"
        )
    rows = [measure(arch, device) for arch in NETWORKS]
    out, origin = results.OUTPUTS / "benchmarks", results.provenance(0, device)
    content = {"pictures": PICTURES, "rounds": ROUNDS, "networks": rows, "provenance": origin}
    path = results.write_json(out / "gradcam.json", content)
    for row in rows:
        costs = ", ".join(
            f"{name} {cost['forward_passes']:.2f}" for name, cost in row["variants"].items()
        )
        print(
            f"{row['arch']} at {row['layer']}: one forward pass {row['forward_seconds']:.3f} s; in forward passes: {costs}"
        )
    print(f"wrote {results.shown(path)}")


def measure(arch: str, device: torch.device) -> dict:
    """Medians for one network at its usual layer."""
    torch.manual_seed(0)
    options = recipes.recipe(arch, "cifar10")["options"]
    network = models.build(arch, 10, (0.5,) * 3, (0.25,) * 3, options)
    network = network.eval().to(device, memory_format=torch.channels_last)
    layer = models.ARCHITECTURES[arch].layer
    x = torch.rand(PICTURES, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    y = torch.arange(PICTURES, device=device) % 10
    targets = [ClassifierOutputTarget(int(k)) for k in y]
    module = gradcam.find_layer(network, layer)
    captum = LayerGradCam(network, module)

    def forward():
        with torch.inference_mode():
            return network(x)

    def pytorch_grad_cam():
        with GradCAM(
            network, [module]
        ) as method:  # its hooks copy activations on every forward pass until it is released
            return method(x, targets)

    variants = {
        "this project": lambda: gradcam.explain(network, x, layer, y).raw,
        "captum": lambda: captum.attribute(x, y, attribute_to_layer_input=False)[:, 0],
        "pytorch-grad-cam": pytorch_grad_cam,
    }
    seconds = {name: [] for name in ("forward", *variants)}
    for round_ in range(ROUNDS + 1):  # the first one warms up
        for name, call in {"forward": forward, **variants}.items():
            start = time.perf_counter()
            call()
            if device.type != "cpu":
                getattr(torch, device.type).synchronize()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    ours, theirs = variants["this project"](), variants["captum"]().detach()
    difference = ((ours - theirs).abs().amax((1, 2)) / theirs.abs().amax((1, 2))).max().item()
    return {
        "arch": arch,
        "layer": layer,
        "forward_seconds": median["forward"],
        "variants": {
            name: {"seconds": median[name], "forward_passes": median[name] / median["forward"]}
            for name in variants
        },
        "largest_relative_difference_to_captum": difference,
    }


if __name__ == "__main__":
    cli.run(main)
