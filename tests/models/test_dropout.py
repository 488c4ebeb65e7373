# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Compiled dropout on the CPU against PyTorch's: masks, gradients, and what is left to draw."""

import importlib

import pytest
import torch
from torch import nn

from models.linear import Dropout

pytest.importorskip("numba")
mersenne = importlib.import_module("models.cpu")

mersenne_twister = pytest.mark.skipif(
    not mersenne.draws_alike(), reason="PyTorch draws from MKL's generator on this CPU"
)


@mersenne_twister
@pytest.mark.parametrize("drawn_before", [0, 1, 5, 623, 624, 625])
@pytest.mark.parametrize("probability", [0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0])
def test_the_numbers_are_those_of_torch(drawn_before, probability):
    for count in (1, 2, 311, 312, 313, 5000):
        ours, theirs = (torch.Generator().manual_seed(3) for _ in range(2))
        for generator in (ours, theirs):
            torch.rand(drawn_before, generator=generator)
        expected = torch.empty(count).bernoulli_(probability, generator=theirs)
        drawn = mersenne.bernoulli(count, probability, ours)
        assert torch.equal(drawn.float(), expected)
        assert torch.equal(ours.get_state(), theirs.get_state())


def outcome(dropout: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, gradient and the generator's state of two calls."""
    torch.manual_seed(5)
    x = x.clone().requires_grad_()
    y = dropout(x) + dropout(x)
    y.backward(torch.linspace(-1, 1, y.numel()).view(y.shape))
    return [y.detach(), x.grad, torch.get_rng_state()]


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(1,), (7, 3), (5, 40, 33), (0, 4)])
def test_dropout_is_that_of_torch(p, shape):
    x = torch.rand(shape) - 0.5
    for ours, expected in zip(outcome(Dropout(p), x), outcome(nn.Dropout(p), x), strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize(
    "x", [torch.rand(6, 5).T, torch.rand(6, 5).double(), torch.rand(6, 5).bfloat16()]
)
def test_what_the_kernels_are_not_made_for_is_left_to_torch(x):
    for ours, expected in zip(outcome(Dropout(0.5), x), outcome(nn.Dropout(0.5), x), strict=True):
        assert torch.equal(ours, expected)


def test_nothing_is_dropped_in_evaluation():
    x = torch.rand(4, 3)
    assert torch.equal(Dropout(0.5).eval()(x), x)


@mersenne_twister
@pytest.mark.parametrize(("backend", "compiled"), [("auto", True), ("cpu", True), ("naive", False)])
def test_the_back_end_decides(backend, compiled, monkeypatch):
    module = importlib.import_module("models.cpu")
    calls = []
    monkeypatch.setattr(module, "dropout", lambda x, p: calls.append(p) or x)
    Dropout(0.25, backend=backend)(torch.rand(4, 3))
    assert calls == [0.25] * compiled


def test_a_machine_that_draws_other_numbers_is_noticed(monkeypatch):
    def other(count, probability, generator):
        return torch.zeros(count, dtype=torch.uint8)

    monkeypatch.setattr(mersenne, "bernoulli", other)
    assert not mersenne.draws_alike.__wrapped__()
