"""Muon for the convolution filters, Nesterov SGD for the rest, one schedule over both."""

import torch
from torch import Tensor, nn


def orthogonalize(matrix: Tensor, steps: int = 3) -> Tensor:
    """Brings a matrix towards the orthogonal one closest to it: same singular vectors, singular values towards 1.

    The quintic Newton-Schulz iteration X <- aX + b(XX')X + c(XX')^2 X of Muon (Jordan et al., "Muon: an optimizer for hidden
    layers in neural networks", 2024). Its coefficients are made for speed: five steps bring all but the smallest values to
    between 0.7 and 1.2; three, as airbench94_muon takes, leave the small ones smaller, at three fifths of the cost.

    Args:
        matrix: (m, n).
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
    """Orthogonalised momentum for convolution filters (outputs, inputs, kh, kw).

    Before every step each layer's filters are scaled to a Frobenius norm of sqrt(outputs): batch norm makes the scale
    meaningless, and a fixed one makes the learning rate an angle (as in airbench94, Jordan, arXiv:2404.00498).
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
                p.mul_(p.size(0) ** 0.5 / p.norm())
                p.sub_(
                    orthogonalize(update.reshape(p.size(0), -1)).view(p.shape), alpha=group["lr"]
                )


def make(network: nn.Module, recipe: dict) -> list[torch.optim.Optimizer]:
    """The optimisers for a network; each parameter group remembers its first learning rate as `initial_lr`.

    With `optimiser: muon`: filters by Muon; batch-norm biases, the whitening bias and the head by Nesterov SGD with rates of
    their own. With `optimiser: nesterov`: the same, but filters by Nesterov SGD as well. With `optimiser: sgd`: everything by Nesterov
    SGD at one rate, weight decay on weights alone.
    """
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    if recipe["optimiser"] == "sgd":
        groups = [
            {
                "params": [p for _, p in named if p.dim() > 1],
                "weight_decay": recipe["weight_decay"],
            },
            {"params": [p for _, p in named if p.dim() == 1], "weight_decay": 0.0},
        ]
        optimisers = [
            torch.optim.SGD(groups, lr=recipe["lr"], momentum=recipe["momentum"], nesterov=True)
        ]
    else:
        # Weight decay times learning rate is what counts, so it is given as one number per picture (airbench94_muon).
        decay = recipe["decay_per_picture"] * recipe["batch"]
        bias_rate, head_rate = (
            recipe["bias_lr"] * recipe["batch"],
            recipe["head_lr"] * recipe["batch"],
        )
        groups = [
            {
                "params": [p for name, p in named if test(name, p)],
                "lr": rate,
                "weight_decay": decay / rate,
                "name": label,
            }
            for label, rate, test in (
                ("whitening bias", bias_rate, lambda name, p: "whiten" in name),
                ("biases", bias_rate, lambda name, p: p.dim() == 1 and "whiten" not in name),
                ("head", head_rate, lambda name, p: p.dim() == 2),
            )
        ]
        filters = [p for _, p in named if p.dim() == 4]
        optimisers = [
            torch.optim.SGD(groups, lr=bias_rate, momentum=recipe["momentum"], nesterov=True)
        ]
        if recipe["optimiser"] == "muon":
            optimisers.append(Muon(filters, lr=recipe["lr"], momentum=recipe["muon_momentum"]))
        else:
            ways = {
                "lr": recipe["lr"],
                "momentum": recipe["filter_momentum"],
                "weight_decay": recipe["weight_decay"],
            }
            optimisers.append(torch.optim.SGD(filters, nesterov=True, **ways))
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["initial_lr"] = group["lr"]
    return optimisers


def set_rates(optimisers: list[torch.optim.Optimizer], recipe: dict, epoch: float) -> None:
    """Sets every learning rate for a moment of the training, `epoch` counting from 0 with fractions.

    Linear warm-up over `warmup` epochs, then linear to zero; the whitening bias is done after `whiten_bias_epochs`.
    """
    warm = recipe["warmup"]
    rate = epoch / warm if epoch < warm else (recipe["epochs"] - epoch) / (recipe["epochs"] - warm)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            factor = rate
            if group.get("name") == "whitening bias":
                factor = max(0.0, 1 - epoch / recipe["whiten_bias_epochs"])
            group["lr"] = group["initial_lr"] * factor
