# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Feed-forward weights in less than float32."""

import pytest
import torch
from torch import nn

from models.anns import ANN
from models.linear import PRECISIONS, Linear, set_precision
from models.snns import SNN


def results(linear, x, gradient):
    x = x.clone().requires_grad_()
    linear.zero_grad()
    y = linear(x)
    y.backward(gradient)
    # Copies: moving a network to a GPU takes its gradients along.
    return [y.detach(), x.grad, *(p.grad.clone() for p in linear.parameters())]


@pytest.fixture
def case():
    torch.manual_seed(0)
    return Linear(12, 7), torch.randn(3, 5, 12), torch.randn(3, 5, 7)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_all_precisions_compute_the_same_product(case, precision):
    linear, x, gradient = case
    expected = results(linear, x, gradient)
    set_precision(linear, precision)
    assert Linear(2, 2).precision == "fp32"
    tolerance = 2e-2 if precision == "bf16" else 1e-5
    for value, reference in zip(results(linear, x, gradient), expected, strict=True):
        assert value.dtype == torch.float32
        assert (value - reference).abs().max() < tolerance * reference.abs().max()


def test_bf16_rounds_operands_and_nothing_else(case):
    linear, x, gradient = case
    set_precision(linear, "bf16")
    rounded = [v.bfloat16().double() for v in (x, linear.weight.detach(), gradient)]
    y, d_x, d_weight, d_bias = results(linear, x, gradient)
    x64, w64, g64 = rounded
    assert torch.allclose(y.double(), x64 @ w64.T + linear.bias.detach().double(), atol=1e-6)
    assert torch.allclose(d_x.double(), g64 @ w64, atol=1e-6)
    assert torch.allclose(d_weight.double(), torch.einsum("bto,bti->oi", g64, x64), atol=1e-5)
    assert torch.allclose(d_bias, gradient.sum(dim=(0, 1)), atol=1e-6)


@pytest.mark.parametrize(
    "network",
    [
        SNN((None, None, 12), [8, 8, 4], "RadLIF"),
        ANN((None, None, 12), [8, 8, 4], "GRU"),
    ],
)
def test_only_feed_forward_weights_change_their_precision(network):
    set_precision(network, "bf16")
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            assert getattr(module, "precision", "fp32") == ("bf16" if ".W" in name else "fp32")


def test_float32_is_that_of_pytorch(case):
    linear, x, _ = case
    assert torch.equal(linear(x), nn.functional.linear(x, linear.weight, linear.bias))


def test_an_unknown_precision_is_refused(case):
    with pytest.raises(ValueError, match="fp32, tf32, bf16"):
        set_precision(case[0], "fp16")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", PRECISIONS)
def test_on_a_gpu(case, precision):
    linear, x, gradient = case
    if precision == "bf16":
        set_precision(linear, precision)
    expected = results(linear, x, gradient)
    set_precision(linear.cuda(), precision)
    tolerance = 2e-3 if precision == "tf32" else 1e-5
    for value, reference in zip(results(linear, x.cuda(), gradient.cuda()), expected, strict=True):
        assert (value.cpu() - reference).abs().max() < tolerance * reference.abs().max()
    assert torch.get_float32_matmul_precision() == "highest"
