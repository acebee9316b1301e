"""How each network is trained: every hyperparameter in one place, with its reason or its source.

`sides` gives the side of the pictures, epoch by epoch: the first epochs see them shrunk to 24 pixels, where a picture costs a
bit over half, then to 28 (progressive resizing; global average pooling lets the same weights serve every size).
"""

from typing import Any

from common.cli import UserError

_MUON = {
    "optimiser": "muon",
    "batch": 500,
    "lr": 0.12,  # of Muon: filters are renormalised, so this is an angle per step
    "muon_momentum": 0.6,  # airbench94_muon
    # The next two are rates for the *sum* of the losses over a batch, as airbench94_muon has them; the rate for their mean is
    # `batch` times as large. Biases of batch norms want far higher rates than filters do (arXiv:2404.00498).
    "bias_lr": 0.053,
    "head_lr": 0.67,
    "momentum": 0.85,  # airbench94_muon
    "decay_per_picture": 2e-6,  # airbench94_muon
    "whiten_bias_epochs": 3,  # arXiv:2404.00498
    "warmup": 0.0,
    "label_smoothing": 0.2,  # arXiv:2404.00498; it lowers the confidences, which the temperature puts right
    "translate": 4,  # as airbench95 and 96 have it; 2 is for the shortest trainings (arXiv:2404.00498)
    "flip": True,
}
_SGD = {  # the cosine-free form of the common 95% recipe for CIFAR ResNets: one linear ramp up, one down
    "optimiser": "sgd",
    "batch": 128,
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "warmup": 2.0,
    "label_smoothing": 0.1,
    "translate": 4,
    "flip": True,
}

RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("compact", "cifar10"): _MUON
    | {
        "options": {"widths": (64, 256, 256)},  # airbench94's (arXiv:2404.00498)
        "sides": [24] * 10 + [28] * 4 + [32] * 8,
        "bfloat16_on_cpu": True,  # where the processor multiplies in it; 1.7 times as fast there
    },
    ("resnet18", "cifar10"): _SGD | {"options": {}, "sides": [32] * 60},
    ("vgg16", "cifar10"): _SGD | {"options": {}, "sides": [32] * 60, "lr": 0.05},
    # The shapes are easy: a quarter of the width and a few epochs do. A mirrored shape is still the same shape.
    ("compact", "shapes"): _MUON
    | {
        "options": {"widths": (32, 48, 64)},
        "sides": [32] * 3,
        "batch": 100,
        "lr": 0.06,
        "label_smoothing": 0.1,
        "translate": 2,
    },
    ("resnet18", "shapes"): _SGD | {"options": {}, "sides": [32] * 6, "warmup": 1.0},
    ("vgg16", "shapes"): _SGD | {"options": {}, "sides": [32] * 6, "lr": 0.05, "warmup": 1.0},
}

# A narrower network in a few epochs: for a first try, and for the pair of networks with and without a planted shortcut.
QUICK = {
    "options": {"widths": (32, 96, 96)},
    "sides": [24] * 4 + [32] * 3,
    "translate": 2,
    "bfloat16_on_cpu": False,
}


def recipe(
    arch: str, dataset: str, epochs: int | None = None, quick: bool = False
) -> dict[str, Any]:
    """The recipe of a network on a data set; another number of epochs keeps the share of each picture size.

    `quick` takes the narrower network and the few epochs of QUICK (the compact network on CIFAR-10)."""
    dataset = dataset.removesuffix("-marked")
    if quick and (arch, dataset) != ("compact", "cifar10"):
        raise UserError(
            "--quick is for the compact network on CIFAR-10; other recipes are short already, or can't be"
        )
    if (arch, dataset) not in RECIPES:
        raise UserError(
            f"no recipe for {arch!r} on {dataset!r}: choose from {sorted({a for a, _ in RECIPES})}"
        )
    chosen = RECIPES[arch, dataset] | (QUICK if quick else {})
    sides = chosen["sides"]
    if epochs is not None:
        sides = [sides[i * len(sides) // epochs] for i in range(epochs)]
        chosen["warmup"] = min(chosen["warmup"], epochs / 4)
    return chosen | {"sides": sides, "epochs": len(sides)}
