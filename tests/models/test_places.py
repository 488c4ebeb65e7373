# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Gradients as lists of the places where they are wanted: to PyTorch they are dense tensors."""

import numpy as np
import pytest
import torch

events_cpu = pytest.importorskip("models.events_cpu")
linear_cpu = pytest.importorskip("models.linear_cpu")
places = pytest.importorskip("models.places")

SHAPE, OUTPUTS = (3, 7, 70), 20  # [B, T, K]


@pytest.fixture
def case():
    """An input, weights, all its events, the places that are wanted, and a mask of these."""
    torch.manual_seed(0)
    x = (torch.rand(SHAPE) < 0.1).float().requires_grad_()
    weight = torch.randn(OUTPUTS, SHAPE[2])
    mask = torch.rand(SHAPE) < 0.2
    counts = mask.flatten(0, 1).sum(1)
    starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    wanted = places.Places(starts, mask.flatten(0, 1).nonzero()[:, 1].int())
    return x, weight, events_cpu.all_events(x.detach().flatten(0, 1)), wanted, mask


def through(x, weight, events, wanted):
    return linear_cpu.product(x, weight, events, wanted)[0]


def test_the_gradient_of_a_product_is_there_where_it_is_wanted(case):
    x, weight, events, wanted, mask = case
    y = through(x, weight, events, wanted)
    cotangent = torch.randn_like(y)
    (found,) = torch.autograd.grad(y, x, cotangent)
    assert isinstance(found, places.Scattered)
    assert found.shape == x.shape
    expected = (cotangent @ weight) * mask
    torch.testing.assert_close(found.dense(), expected)
    torch.testing.assert_close(found + 0, expected)
    assert type(found + 0) is torch.Tensor
    assert torch.equal(found[1], found.dense()[1])
    np.testing.assert_array_equal(found.numpy(), found.dense().numpy())


def test_gradients_of_several_consumers_are_added(case):
    x, weight, events, wanted, mask = case
    y = x * 1.0  # as a layer that hands its spikes on
    total = through(y, weight, events, wanted).sum() + through(y, 2 * weight, events, wanted).sum()
    (total + (3 * y).sum()).backward()
    torch.testing.assert_close(x.grad, 3 + 3 * weight.sum(0) * mask)


def test_hooks_and_kept_gradients_see_dense_tensors(case):
    x, weight, events, wanted, mask = case
    y, norms = x * 1.0, []
    y.retain_grad()
    y.register_hook(lambda gradient: norms.append(gradient.norm()))
    with pytest.warns(UserWarning, match="Anomaly"), torch.autograd.detect_anomaly():
        through(y, weight, events, wanted).sum().backward()
    expected = weight.sum(0) * mask
    torch.testing.assert_close(y.grad, expected)
    torch.testing.assert_close(norms, [expected.norm()])
    assert type(y.grad) is torch.Tensor
