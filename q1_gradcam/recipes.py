"""How each network is trained: every hyperparameter, with its reason or source.

`sides` gives the side of the images in each epoch (progressive resizing). Images of 24 pixels cost
a little over half as much as those of 32; global average pooling makes the network independent of
the size.
"""

from typing import Any

from common.cli import UserError

_MUON = {
    "optimizer": "muon",
    "batch": 500,
    # Of Muon: half of that of airbench94_muon, for a quarter of its batch size. Filters are
    # renormalized, so this is an angle per step.
    "lr": 0.12,
    "muon_momentum": 0.6,  # airbench94_muon
    # Learning rates for the summed loss of a batch, as in airbench94_muon; those for the mean loss
    # are `batch` times as large. Batch-norm biases need far higher rates than filters
    # (arXiv:2404.00498).
    "bias_lr": 0.053,
    "head_lr": 0.67,
    "momentum": 0.85,  # airbench94_muon
    "decay_per_image": 2e-6,  # airbench94_muon
    "whiten_bias_epochs": 3,  # arXiv:2404.00498
    "warmup": 0.0,
    "label_smoothing": 0.2,  # arXiv:2404.00498; the temperature corrects the low confidence
    "translate": 4,  # as in airbench95 and 96; 2 is for the shortest runs (arXiv:2404.00498)
    "flip": True,
}

RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("compact", "cifar10"): _MUON
    | {
        "options": {"widths": (64, 256, 256)},  # as in airbench94 (arXiv:2404.00498)
        "sides": [24] * 10 + [28] * 4 + [32] * 8,
        "bfloat16_on_cpu": True,  # 1.7 times as fast on processors that multiply in bfloat16
    },
    ("resnet18", "cifar10"): _MUON
    | {
        "options": {},
        "sides": [24] * 11 + [28] * 4 + [32] * 7,
        # Trainable batch-norm scales and a head without a small fixed factor need low rates.
        "bias_lr": 0.0004,
        "head_lr": 0.00004,
        "decay_per_image": 1e-7,
        "label_smoothing": 0.1,
        "cutout": 8,  # airbench96 uses 12 for its longer trainings
        "bfloat16_on_cpu": True,
        "muon_bfloat16": True,  # three quarters of Muon's time, a quarter of the step
    },
    # The shapes are easy: a quarter of the width and a few epochs suffice.
    ("compact", "shapes"): _MUON
    | {
        "options": {"widths": (32, 48, 64)},
        "sides": [32] * 3,
        "batch": 100,
        "lr": 0.06,
        "label_smoothing": 0.1,
        "translate": 2,
    },
}

# For a first try, and for the pair of networks with and without a planted shortcut.
QUICK = {
    "options": {"widths": (32, 96, 96)},
    "sides": [24] * 4 + [32] * 3,
    "translate": 2,
    "bfloat16_on_cpu": False,
}


def recipe(
    arch: str, dataset: str, epochs: int | None = None, quick: bool = False
) -> dict[str, Any]:
    """The recipe of a network on a dataset.

    `epochs` replaces the number of epochs, and each image size keeps its share of them. `quick`
    applies QUICK, which is for the compact network on CIFAR-10 only.
    """
    dataset = dataset.removesuffix("-marked")
    if quick and (arch, dataset) != ("compact", "cifar10"):
        raise UserError("--quick is only available for the compact network on CIFAR-10")
    if (arch, dataset) not in RECIPES:
        known = ", ".join(f"{a} on {d}" for a, d in RECIPES)
        raise UserError(f"there is no recipe for {arch} on {dataset}: choose {known}")
    chosen = RECIPES[arch, dataset] | (QUICK if quick else {})
    sides = chosen["sides"]
    if epochs is not None:
        sides = [sides[i * len(sides) // epochs] for i in range(epochs)]
    return chosen | {"sides": sides, "epochs": len(sides)}
