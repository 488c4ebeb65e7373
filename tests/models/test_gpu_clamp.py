# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The clamp of GPUs is PyTorch's; its operations can be had on the CPU, too."""

import math

import pytest
import torch

from models.gpu.clamp import Clamp


@pytest.mark.parametrize("bounds", [(0.0, 2.0), (0.36, 0.96), (-1.0, 1.0), (-math.inf, -0.1)])
def test_values_and_gradients_are_those_of_torch(bounds):
    at_bounds = torch.tensor([bound for bound in bounds if math.isfinite(bound)])
    around = [torch.nextafter(at_bounds, torch.tensor(to)) for to in (-math.inf, math.inf)]
    x = torch.cat([at_bounds, *around, torch.linspace(-3, 3, 41)])
    gradient = torch.linspace(1, 2, len(x))
    results = []
    for clamp in (torch.clamp, Clamp.apply):
        leaf = x.clone().requires_grad_()
        y = clamp(leaf, *bounds)
        y.backward(gradient)
        results.append((y.detach(), leaf.grad))
    for expected, found in zip(*results, strict=True):
        assert torch.equal(expected, found)
    assert 0 < torch.count_nonzero(results[0][1]) < len(x)
