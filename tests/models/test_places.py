# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Gradients as lists of the places where they are wanted: to PyTorch they are dense tensors."""

import numpy as np
import pytest
import torch

from models.snns import SNN

events_cpu = pytest.importorskip("models.events_cpu")
around = pytest.importorskip("models.dynamics.cpu_around")
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


class Lacking(torch.autograd.Function):
    """Passes x on; its gradient lacks something, or is the same as a plain tensor."""

    @staticmethod
    def forward(ctx, x, pending):
        ctx.save_for_backward(x)
        ctx.pending = pending
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        rows = x.detach().flatten(0, 1).numpy()
        line = np.random.default_rng(0).normal(size=(3, rows.shape[1])).astype(np.float32)
        found = around.Pending(gradient.flatten(0, 1).clone(), (rows, *line), x.shape)
        return found if ctx.pending else found.dense(), None


def test_what_a_gradient_lacks_is_added_once():
    x, line = torch.randn(SHAPE), torch.randn(3, SHAPE[2])
    given = torch.randn(SHAPE)
    expected = given + line[1] * (x - line[0]) + line[2]
    lacks = x.flatten(0, 1).numpy(), *line.numpy()
    found = around.Pending(given.flatten(0, 1).clone(), lacks, x.shape)
    for _ in range(2):
        torch.testing.assert_close(found + 0, expected)
    assert type(found + 0) is torch.Tensor
    np.testing.assert_array_equal(found.numpy(), found.dense().numpy())


@pytest.mark.parametrize("threads", [1, 9])  # more than there are sums: several read each row
@pytest.mark.parametrize("frozen", ["x", "weight", None])
@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_products_add_what_a_gradient_lacks(case, sparse, listed, frozen, threads):
    x, weight, events, wanted, _ = case
    before, found = torch.get_num_threads(), []
    for pending in (True, False):
        leaves = [x.detach().requires_grad_(frozen != "x"), weight.clone()]
        leaves[1].requires_grad_(frozen != "weight")
        y = through(*leaves, events if listed else None, wanted if sparse else None)
        torch.set_num_threads(threads)
        try:
            Lacking.apply(y, pending).square().sum().backward()
        finally:
            torch.set_num_threads(before)
        found.append([leaf.grad for leaf in leaves])
    for ours, plain in zip(*found, strict=True):
        assert (ours is None) == (plain is None)
        if plain is not None:
            torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-6)


def test_several_products_of_a_current_and_hooks_see_what_it_lacked(case):
    x, weight, events, wanted, _ = case
    found = []
    for pending in (True, False):
        leaf, seen = x.detach().requires_grad_(), []
        y = through(leaf * 1.0, weight, events, wanted)
        y.retain_grad()
        y.register_hook(lambda gradient, seen=seen: seen.append(gradient.sum()))
        (Lacking.apply(y, pending).square().sum() + y.sum()).backward()
        found.append([leaf.grad, y.grad, *seen])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("density", [0.03, 0.6])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bidirectional": True},
        {"use_bias": True},
        {"delay": "axonal"},
        {"delay": "dendritic"},
        {"delay": "synaptic"},
    ],
    ids=str,
)
def test_pytorch_computes_nothing_of_what_networks_hand_on(density, options, monkeypatch):
    """When it first does, it imports its distributed tensors, in the middle of an epoch."""

    def refuse(cls, function, *_):
        pytest.fail(f"{function} of a {cls.__name__} gradient")

    monkeypatch.setattr(around.Handed, "__torch_dispatch__", classmethod(refuse))
    torch.manual_seed(0)
    net = SNN((None, None, 70), [128, 128, 20], "SiLIF", backend="cpu", **options)
    x = (torch.rand(16, 50, 70) < density).float()
    output, *_ = net(x)
    output.sum().backward()
    assert net.snn[0].W.weight.grad.abs().sum() > 0
