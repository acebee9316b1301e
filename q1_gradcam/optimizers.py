"""Muon for the convolution filters, Nesterov SGD for the rest, one schedule for both."""

import torch
from torch import Tensor, nn


def orthogonalize(matrix: Tensor, steps: int = 3) -> Tensor:
    """Moves the singular values of a matrix (m, n) towards 1 and keeps its singular vectors.

    This is the quintic Newton-Schulz iteration X <- aX + b(XX')X + c(XX')^2 X of Muon (Jordan et
    al., "Muon: an optimizer for hidden layers in neural networks", 2024). Five steps bring all but
    the smallest singular values to between 0.7 and 1.2. Three steps, as in airbench94_muon, leave
    the small ones smaller and cost three fifths as much.
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

    Before each step, the filters of a layer are rescaled to a Frobenius norm of sqrt(outputs), as
    in airbench94 (Jordan, arXiv:2404.00498). Batch norm makes the output independent of this norm;
    fixing it makes the learning rate an angle.
    """

    def __init__(self, params, lr: float, momentum: float, bfloat16: bool = False):
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.precision = torch.bfloat16 if bfloat16 else torch.float32  # of the orthogonalization

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
                matrix = update.reshape(p.size(0), -1).to(self.precision)
                direction = orthogonalize(matrix).to(p.dtype).view(p.shape)
                p.mul_(p.size(0) ** 0.5 / p.norm()).sub_(direction, alpha=group["lr"])


def make(network: nn.Module, recipe: dict, bfloat16: bool = False) -> list[torch.optim.Optimizer]:
    """The optimizers for a network; `initial_lr` of each group is its base learning rate.

    recipe["optimizer"] is one of:
        muon: Muon for the filters; Nesterov SGD, with separate learning rates, for biases,
            batch-norm scales and the head.
        nesterov: the same, with Nesterov SGD for the filters as well.

    With `bfloat16`, Muon orthogonalizes in bfloat16, as its reference implementation does.
    """
    groups: dict[str, dict] = {}
    for name, p in network.named_parameters():
        if p.requires_grad:
            kind = _kind(name, p)
            groups.setdefault(kind, {"name": kind, "params": []})["params"].append(p)
    lr, filters = recipe["lr"], groups["filters"]
    # The product of weight decay and learning rate is what matters, so the recipe gives it, per
    # image, as airbench94_muon does. Its rates are for summed losses, not for their means.
    del groups["filters"]
    for kind, group in groups.items():
        group["lr"] = recipe["batch"] * recipe["head_lr" if kind == "head" else "bias_lr"]
        decay = recipe["decay_per_image"] * recipe["batch"] / group["lr"]
        group["weight_decay"] = 0.0 if kind == "scales" else decay
    if recipe["optimizer"] == "nesterov":
        options = {"momentum": recipe["filter_momentum"], "weight_decay": recipe["weight_decay"]}
        groups["filters"] = filters | options
    sgd = torch.optim.SGD(groups.values(), lr, momentum=recipe["momentum"], nesterov=True)
    optimizers = [sgd]
    if recipe["optimizer"] == "muon":
        optimizers.append(Muon(filters["params"], lr, recipe["muon_momentum"], bfloat16))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def _kind(name: str, p: Tensor) -> str:
    """The group of a parameter. Scales are trainable batch-norm weights, as in ResNet-18."""
    if p.dim() == 4:
        return "filters"
    if p.dim() == 2:
        return "head"
    if "whiten" in name:
        return "whitening bias"
    return "biases" if name.endswith("bias") else "scales"


def set_rates(optimizers: list[torch.optim.Optimizer], recipe: dict, epoch: float) -> None:
    """Sets every learning rate for a point in training; `epoch` counts from 0, with fractions.

    Linear warm-up over `warmup` epochs, then linear decay to zero. The learning rate of the
    whitening bias reaches zero after `whiten_bias_epochs`; from then on its gradient is not
    computed either.
    """
    warmup, epochs = recipe["warmup"], recipe["epochs"]
    rate = epoch / warmup if epoch < warmup else (epochs - epoch) / (epochs - warmup)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            factor = rate
            if group.get("name") == "whitening bias":
                factor = max(0.0, 1 - epoch / recipe["whiten_bias_epochs"])
                for p in group["params"]:
                    p.requires_grad_(factor > 0)
            group["lr"] = group["initial_lr"] * factor
