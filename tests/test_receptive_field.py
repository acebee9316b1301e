"""Receptive fields, against closed forms."""

import numpy as np
import pytest
import torch
from torch import nn

from evaluation import receptive_field


def test_the_theoretical_width_follows_the_recursion():
    """Equation 1 of the report: 3 x 3, pooling by 2, 3 x 3: 1 + 2 + 1 + 2 * 2 = 8 pixels."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 2, 3, padding=1),
    ).eval()
    found = receptive_field.measure(network, "4", np.zeros((2, 16, 16, 3), np.uint8), 0)
    assert found["width"] == 8 and found["cells"] == 64
    assert found["cells_that_see_the_image"] == 0
    # The corner cell sees 5 of 16 rows: its 8 rows begin at -3.
    assert found["share_of_image"]["lowest"] == pytest.approx((5 / 16) ** 2)


def test_the_energy_of_three_convolutions_is_that_of_a_matrix_power():
    """Equal filters act on rows and columns alike: as the third power of a tridiagonal matrix."""
    sizes = (3, 1, 1)
    network = nn.Sequential(*[nn.Conv2d(n, 1, 3, padding=1, bias=False) for n in sizes])
    for layer in network:
        nn.init.ones_(layer.weight)
    found = receptive_field.measure(network, "2", np.zeros((1, 12, 12, 3), np.uint8), 0)
    rows = np.linalg.matrix_power(np.eye(12) + np.eye(12, k=1) + np.eye(12, k=-1), 3) ** 2
    near = abs(np.subtract.outer(np.arange(12), np.arange(12))) <= 2
    share = (rows * near).sum(1) / rows.sum(1)
    assert found["energy_within"][0] == pytest.approx(share.mean() ** 2, rel=1e-5)
    assert found["energy_within"][1] == pytest.approx(1)  # within 4 pixels
    assert found["half_energy_radius"] == pytest.approx(1 / share.mean() ** 2, rel=1e-5)


def test_signs_leave_the_expected_energy_unchanged():
    """The mean over signs is the sum of the squared gradients of the channels."""
    network = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1))
    x = torch.rand(1, 3, 5, 5).repeat(4000, 1, 1, 1)
    signs = torch.Generator().manual_seed(0)
    (found,) = receptive_field.gradients(network, "0", x, signs, only_middle=True)
    expected = network[0].weight.detach().pow(2).sum((0, 1))
    np.testing.assert_allclose(found.mean(0)[1:4, 1:4], expected, rtol=0.1)
