# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Batch normalisation but for its two passes over the data, which a recurrence does on the way.

What is left are a few numbers per neuron, for which PyTorch would launch a dozen operations, and
one pass over the data in the backward pass, for which it would take two.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from models.dynamics.triton_support import RUN, SIZES, launch, load_eight, place

_RUN = tl.constexpr(RUN)


@triton.jit(do_not_specialize=["H"])
def _remember(
    mean, variance, weight, running_mean, running_variance, rate, slope, momentum, eps, unbiased, H,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """rate and slope [H] are written, the running statistics [H] brought up to date."""
    _, j, mask, _ = place(H, BLOCK)
    mean_j, variance_j = tl.load(mean + j, mask, 0.0), tl.load(variance + j, mask, 1.0)
    rate_j = tl.div_rn(1.0, tl.sqrt_rn(variance_j + eps))
    tl.store(rate + j, rate_j, mask)
    tl.store(slope + j, tl.load(weight + j, mask, 0.0) * rate_j, mask)
    before = tl.load(running_mean + j, mask, 0.0)
    tl.store(running_mean + j, before + momentum * (mean_j - before), mask)
    before = tl.load(running_variance + j, mask, 0.0)
    after = before + momentum * (variance_j * unbiased - before)
    tl.store(running_variance + j, after, mask)


@triton.jit(do_not_specialize=SIZES)
def _backward(
    g, x, mean, rate, weight, d_mean, d_slope, d_x, d_weight, count, T, H, BLOCK: tl.constexpr
):  # fmt: skip
    row, j, mask, _ = place(H, BLOCK)
    rate_j, d_slope_j = tl.load(rate + j, mask, 0.0), tl.load(d_slope + j, mask, 0.0)
    d_rate_j = d_slope_j * tl.load(weight + j, mask, 0.0)
    # Of the gradient over x - mean, and over x = 0.
    slope_j = -d_rate_j * (rate_j * rate_j * rate_j) / count
    mean_j, d_mean_j = tl.load(mean + j, mask, 0.0), tl.load(d_mean + j, mask, 0.0)
    offset_j = d_mean_j / count - slope_j * mean_j
    tl.store(d_weight + j, d_slope_j * rate_j, tl.where(row == 0, mask, j < 0))
    g, x, d_x = g + row * T * H, x + row * T * H, d_x + row * T * H
    whole = T // _RUN * _RUN
    for t in range(0, whole, _RUN):
        first = t * H + j
        gradients, inputs = load_eight(g + first, H, mask), load_eight(x + first, H, mask)
        for k in tl.static_range(_RUN):
            total = gradients[k] + inputs[k] * slope_j + offset_j
            tl.store(d_x + first + k * H, total, mask)
    for t in range(whole, T):
        at = t * H + j
        total = tl.load(g + at, mask, 0.0) + tl.load(x + at, mask, 0.0) * slope_j + offset_j
        tl.store(d_x + at, total, mask)


def remember(
    norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Bring the running statistics of ``norm`` up to date with mean and variance [H] of a batch.

    All float32, of ``count`` values. Returns 1 / sqrt(variance + eps), and that times the weight.
    """
    rate, slope = torch.empty_like(mean), torch.empty_like(mean)
    launch(
        _remember, 1, len(mean), mean, variance, norm.weight, norm.running_mean, norm.running_var,
        rate, slope, norm.momentum, norm.eps, count / (count - 1),
    )  # fmt: skip
    return rate, slope


def gradients(
    g: Tensor, x: Tensor, mean: Tensor, rate: Tensor, weight: Tensor, d_mean: Tensor,
    d_slope: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Those of the input x [B, T, H], to whose own gradient ``g`` is added, and of the weight [H].

    ``d_mean`` and ``d_slope`` [H] are those of the mean, and of the weight times the rate [H].
    """
    B, T, H = x.shape
    g, x, d_mean, d_slope = (v.contiguous() for v in (g, x, d_mean, d_slope))
    d_x, d_weight = torch.empty_like(x), torch.empty_like(weight)
    launch(
        _backward, B, H, g, x, mean, rate, weight, d_mean, d_slope, d_x, d_weight, float(B * T), T
    )
    return d_x, d_weight
