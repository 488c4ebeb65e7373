# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What surrounds the recurrences on a CPU: sums of what comes in, statistics of batches, dropout,
and the loops of the readout.

The latter round as the specification does: scores and the gradient of the input equal those of
``naive`` to the last bit.

Dropout keeps a mask in a byte per unit; it is drawn as by PyTorch, see ``mersenne``.
"""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.dynamics.mersenne import bernoulli, draws_alike
from models.dynamics.numba_support import LOOKS, arrays, kernel, run_rows

LARGE, ALL, NONE = np.float32(0.9), np.float32(1), np.float32(0)
UNITS = 1 << 12  # units that a thread takes at once


@kernel
def scale_kept(first, end, x, kept, scale, y):
    """y = x * scale where kept, else x * 0, in blocks first to end."""
    # Indices start at 0: of others the compiler does not know the sign, and does not vectorise.
    part = slice(first * UNITS, min(end * UNITS, x.size))
    x, kept, y = x[part], kept[part], y[part]
    for i in range(x.size):
        y[i] = x[i] * (np.float32(kept[i]) * scale)


def kept(shape: tuple[int, ...], p: float) -> Tensor:
    """1 where dropout with probability ``p`` keeps an entry, else 0 (uint8), drawn by PyTorch."""
    if p == 0:
        return torch.ones(shape, dtype=torch.uint8)
    if draws_alike():
        return bernoulli(math.prod(shape), 1 - p, torch.default_generator).view(shape)
    return torch.empty(shape).bernoulli_(1 - p).to(torch.uint8)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, p):
        ctx.kept = bernoulli(x.numel(), 1 - p, torch.default_generator)
        # PyTorch divides, so that the quotient is its own.
        ctx.scale = np.float32(torch.ones(1).div_(1 - p).item())
        return _scaled(x, ctx.kept, ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y):
        return _scaled(d_y.contiguous(), ctx.kept, ctx.scale), None


def _scaled(x: Tensor, kept: Tensor, scale: np.float32) -> Tensor:
    y = torch.empty_like(x)
    flat = arrays(x.view(-1), kept), arrays(y.view(-1))
    run_rows(scale_kept, -(-x.numel() // UNITS), UNITS, *flat[0], scale, *flat[1])
    return y


def dropout(x: Tensor, p: float) -> Tensor:
    """As ``torch.nn.functional.dropout`` in training: float32, contiguous, 0 < p < 1."""
    return _Dropout.apply(x, p)


@kernel
def add_inputs(first, end, x, totals, counts):
    """Sums over time of clips first to end of x [B, T, F], where what is above 0.9 counts as 1, and
    of the entries that are not 0."""
    for row in range(first, end):
        totals[row, :], counts[row, :] = 0, 0
        for t in range(x.shape[1]):
            for f in range(x.shape[2]):
                value = x[row, t, f]
                totals[row, f] += ALL if value > LARGE else value
                counts[row, f] += ALL if value != NONE else NONE


def sum_inputs(x: Tensor) -> tuple[Tensor, Tensor]:
    """Both [B, F] of x [B, T, F] float32: see :func:`add_inputs`."""
    totals, counts = x.new_empty(2, x.shape[0], x.shape[2])
    run_rows(add_inputs, len(x), x[0].numel() // LOOKS, *arrays(x, totals, counts))
    return totals, counts


def statistics(norm: nn.BatchNorm1d, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and one over the deviation [H] of x [N, H], as ``norm`` in training computes and
    remembers them."""
    norm.num_batches_tracked.add_(1)
    remembered = norm.running_mean, norm.running_var, norm.momentum
    mean, variance = torch.batch_norm_update_stats(x, *remembered)
    return mean, (1 / torch.sqrt(variance.double() + norm.eps)).float()


@cache
def normalize_alike() -> bool:
    """Whether PyTorch normalises on this machine as the kernels do, which multiply and add in one
    rounding; tried once."""
    x = torch.rand(60, 37, generator=torch.Generator().manual_seed(0)) * 3 - 1
    norms = [nn.BatchNorm1d(x.shape[1]) for _ in range(2)]
    for norm in norms:
        norm.weight.data, norm.bias.data = x[0].clone(), x[1].clone()
    with torch.no_grad():
        mean, rate = statistics(norms[0], x)
        slope = (rate * x[0]).double()
        offset = (x[1].double() - mean.double() * slope).float()
        ours, theirs = (x.double() * slope + offset.double()).float(), norms[1](x)
    found = zip([ours, *norms[0].buffers()], [theirs, *norms[1].buffers()], strict=True)
    return all(torch.equal(a, b) for a, b in found)


@kernel
def add_statistics(first, end, I, mean, slope, offset, d_I):
    """d_I += slope * (I - mean) + offset, [H], in the rows first to end: what reaches the current
    by way of its mean and deviation."""
    for row in range(first, end):
        for t in range(I.shape[1]):
            for j in range(I.shape[2]):
                d_I[row, t, j] += slope[j] * (I[row, t, j] - mean[j]) + offset[j]


@kernel
def readout_forward(first, end, I, u, potentials, alpha, keep):
    for row in range(first, end):
        for t in range(I.shape[1]):
            for j in range(I.shape[2]):
                u[row, j] = alpha[j] * u[row, j] + keep[j] * I[row, t, j]
                potentials[row, t, j] = u[row, j]


@kernel
def readout_sum(first, end, steps, total):
    for row in range(first, end):
        for t in range(steps.shape[1]):
            for j in range(steps.shape[2]):
                total[row, j] += steps[row, t, j]


@kernel
def readout_backward(
    first, end, I, initial, potentials, d_potentials, d_u, d_I, d_alpha, alpha, keep
):  # fmt: skip
    for row in range(first, end):
        for t in range(I.shape[1] - 1, -1, -1):
            before = potentials[row, t - 1] if t > 0 else initial[row]
            for j in range(I.shape[2]):
                g = d_u[row, j] + d_potentials[row, t, j]
                d_I[row, t, j] = keep[j] * g
                d_alpha[row, j] += g * (before[j] - I[row, t, j])
                d_u[row, j] = alpha[j] * g
