"""Muon for the convolution filters, Nesterov SGD for the rest, one schedule for both."""

import torch
from torch import Tensor, nn


def orthogonalize(matrix: Tensor, steps: int = 3) -> Tensor:
    """Moves the singular values of a matrix (m, n) towards 1 and keeps its singular vectors.

    This is the quintic Newton-Schulz iteration X <- aX + b(XX')X + c(XX')^2 X of Muon (Jordan et
    al., "Muon: an optimizer for hidden layers in neural networks", 2024). Its coefficients are
    chosen for speed: five steps bring all but the smallest singular values to between 0.7 and 1.2.
    Three steps, as in airbench94_muon, leave the small ones smaller and cost three fifths.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    if tall := x.size(0) > x.size(1):
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Orthogonalized Nesterov momentum for convolution filters (outputs, inputs, kh, kw).

    Before every step, the filters of each layer are scaled to a Frobenius norm of sqrt(outputs).
    Batch norm makes the output independent of this scale, and with a fixed scale the learning rate
    is an angle (as in airbench94, Jordan, arXiv:2404.00498).
    """

    def __init__(self, params, lr: float, momentum: float):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(p.grad)
                update = p.grad + group["momentum"] * buffer  # Nesterov
                direction = orthogonalize(update.reshape(p.size(0), -1)).view(p.shape)
                p.mul_(p.size(0) ** 0.5 / p.norm()).sub_(direction, alpha=group["lr"])


def make(network: nn.Module, recipe: dict) -> list[torch.optim.Optimizer]:
    """The optimizers for a network; `initial_lr` of each group is its base learning rate.

    recipe["optimizer"] is one of:
        muon: Muon for the filters; Nesterov SGD, with separate learning rates, for biases,
            batch-norm scales and the head.
        nesterov: the same, with Nesterov SGD for the filters as well.
        sgd: Nesterov SGD with one learning rate for all, and weight decay for weights only.
    """
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    if recipe["optimizer"] == "sgd":
        weights = [p for _, p in named if p.dim() > 1]
        others = [p for _, p in named if p.dim() == 1]
        groups = [
            {"params": weights, "weight_decay": recipe["weight_decay"]},
            {"params": others, "weight_decay": 0.0},
        ]
        sgd = torch.optim.SGD(groups, recipe["lr"], momentum=recipe["momentum"], nesterov=True)
        return _with_initial_rates([sgd])

    # What counts is weight decay times learning rate, so the recipe gives their product per image,
    # as airbench94_muon does. The rates are for summed losses: `batch` times those for the mean.
    decay = recipe["decay_per_image"] * recipe["batch"]
    bias_lr, head_lr = recipe["bias_lr"] * recipe["batch"], recipe["head_lr"] * recipe["batch"]
    filters, kinds = [], {"whitening bias": [], "biases": [], "scales": [], "head": []}
    for name, p in named:
        if p.dim() == 4:
            filters.append(p)
        elif "whiten" in name:
            kinds["whitening bias"].append(p)
        elif p.dim() == 2:
            kinds["head"].append(p)
        else:  # scales: trainable batch-norm weights, which the compact network does not have
            kinds["biases" if name.endswith("bias") else "scales"].append(p)
    groups = []
    for kind, params in kinds.items():
        lr = head_lr if kind == "head" else bias_lr
        weight_decay = 0.0 if kind == "scales" else decay / lr
        groups.append({"params": params, "lr": lr, "weight_decay": weight_decay, "name": kind})
    sgd = torch.optim.SGD(groups, lr=bias_lr, momentum=recipe["momentum"], nesterov=True)
    if recipe["optimizer"] == "muon":
        return _with_initial_rates([sgd, Muon(filters, recipe["lr"], recipe["muon_momentum"])])
    options = {"momentum": recipe["filter_momentum"], "weight_decay": recipe["weight_decay"]}
    return _with_initial_rates(
        [sgd, torch.optim.SGD(filters, recipe["lr"], nesterov=True, **options)]
    )


def _with_initial_rates(optimizers: list[torch.optim.Optimizer]) -> list[torch.optim.Optimizer]:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def set_rates(optimizers: list[torch.optim.Optimizer], recipe: dict, epoch: float) -> None:
    """Sets every learning rate for a point in training; `epoch` counts from 0, with fractions.

    Linear warm-up over `warmup` epochs, then linear decay to zero. The learning rate of the
    whitening bias reaches zero after `whiten_bias_epochs`.
    """
    warmup, epochs = recipe["warmup"], recipe["epochs"]
    rate = epoch / warmup if epoch < warmup else (epochs - epoch) / (epochs - warmup)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            factor = rate
            if group.get("name") == "whitening bias":
                factor = max(0.0, 1 - epoch / recipe["whiten_bias_epochs"])
            group["lr"] = group["initial_lr"] * factor
