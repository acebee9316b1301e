"""Guided backpropagation (arXiv:1412.6806): ReLUs pass back only positive gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

RELUS = (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6)


class _PositiveGradient(torch.autograd.Function):
    """The identity whose backward pass keeps only positive gradients."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.relu()


class PositiveReLUs(TorchFunctionMode):
    """In this context, every ReLU or ReLU6, be it a module or a function, is guided. `used`:
    whether there was one."""

    used = False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        output = function(*args, **kwargs)
        relu6 = function is F.hardtanh and kwargs.get("min_val") == 0  # what nn.ReLU6 calls
        if function not in RELUS and not relu6:
            return output
        self.used = True
        return _PositiveGradient.apply(output)
