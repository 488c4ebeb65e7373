# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Compiled CPU kernels for products in evaluation, whose sums are taken in the order of the inputs.

A row gives the same bits whatever the other rows are: a clip in any batch, a chunk of it, a single
step. What is 0 is skipped, which changes no sum.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.dynamics.cpu_around import line_of
from models.dynamics.numba_kept import kernel
from models.dynamics.numba_support import ZERO, arrays, fused, room, run_rows
from models.events_cpu import write_events

FEW_ROWS = 4  # that are multiplied sooner than the weights are transposed
NO_LINE = np.empty(0, np.float32), np.empty(0, np.float32)


@kernel
def find_columns(row, columns):
    """Write the columns of the entries that are not 0, and count them."""
    count = 0
    for k in range(row.size):
        columns[count] = k
        count += row[k] != ZERO
    return count


@kernel
def rows_in_order(first, end, x, weight, y, slope, offset, columns, values, marks):
    """Rows first to end of y [N, H], the weight [K, H], then ``slope * y + offset`` if there is
    any; the others are scratch, see ``write_events``."""
    for n in range(first, end):
        out = y[n]
        count = write_events(x[n], marks, 0, columns, values)
        out[:] = ZERO
        i = 0
        while i + 4 <= count:
            k_a, k_b, k_c, k_d = columns[i], columns[i + 1], columns[i + 2], columns[i + 3]
            a, b, c, d = weight[k_a], weight[k_b], weight[k_c], weight[k_d]
            v_a, v_b, v_c, v_d = values[i], values[i + 1], values[i + 2], values[i + 3]
            for j in range(out.size):
                total = fused(v_b, b[j], fused(v_a, a[j], out[j]))
                out[j] = fused(v_d, d[j], fused(v_c, c[j], total))
            i += 4
        while i < count:
            value, given = values[i], weight[columns[i]]
            for j in range(out.size):
                out[j] = fused(value, given[j], out[j])
            i += 1
        for j in range(slope.size):
            out[j] = fused(out[j], slope[j], offset[j])


@kernel
def few_rows_in_order(first, end, x, weight, y, columns):
    """The same of the weight [H, K]; ``columns`` [K + 1] is scratch."""
    H = weight.shape[0]
    for n in range(first, end):
        row, out = x[n], y[n]
        count = find_columns(row, columns)
        for j in range(0, H - H % 4, 4):
            a, b, c, d = weight[j], weight[j + 1], weight[j + 2], weight[j + 3]
            by_a, by_b, by_c, by_d = ZERO, ZERO, ZERO, ZERO
            for i in range(count):
                k = columns[i]
                by_a, by_b = fused(row[k], a[k], by_a), fused(row[k], b[k], by_b)
                by_c, by_d = fused(row[k], c[k], by_c), fused(row[k], d[k], by_d)
            out[j], out[j + 1], out[j + 2], out[j + 3] = by_a, by_b, by_c, by_d
        for j in range(H - H % 4, H):
            a, by_a = weight[j], ZERO
            for i in range(count):
                by_a = fused(row[columns[i]], a[columns[i]], by_a)
            out[j] = by_a


def multiply_in_order(
    x: Tensor, weight: Tensor, y: Tensor, line: tuple[np.ndarray, np.ndarray] = NO_LINE
) -> None:
    """Write the product y [N, H] of x [N, K] and ``weight`` [K, H], then ``slope * y + offset`` of
    a ``line``, each [H], or [0] for none."""
    N, K = x.shape

    def scratch(threads):
        marks = room(threads, K + -K % 64, dtype=torch.uint8, zero=True)
        return room(threads, K, dtype=torch.int32), room(threads, K), marks

    run_rows(rows_in_order, N, weight.numel(), *arrays(x, weight, y), *line, scratch=scratch)


class _InOrder(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        (N, K), H = x.shape, weight.shape[0]
        y = x.new_empty(N, H)
        if N > FEW_ROWS:
            multiply_in_order(x, weight.T.contiguous(), y)
            return y
        given, scratch = (
            arrays(x, weight.contiguous(), y),
            lambda n: (room(n, K + 1, dtype=torch.int32),),
        )
        run_rows(few_rows_in_order, N, K * H, *given, scratch=scratch)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y):
        x, weight = ctx.saved_tensors
        d_x = d_y @ weight if ctx.needs_input_grad[0] else None
        return d_x, d_y.T @ x if ctx.needs_input_grad[1] else None


def in_order(x: Tensor, weight: Tensor) -> Tensor:
    """x [N, K] times weight [H, K] transposed, every sum by fused products in the order of K."""
    return _InOrder.apply(x.contiguous(), weight)


def normalized_in_order(x: Tensor, weight: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """The same behind ``norm`` in evaluation, for more than ``FEW_ROWS`` rows; no gradients."""
    y = x.new_empty(x.shape[0], weight.shape[0])
    multiply_in_order(x.contiguous(), weight.T.contiguous(), y, _line(norm))
    return y


def _line(norm: nn.BatchNorm1d) -> tuple[np.ndarray, np.ndarray]:
    mean, variance, *learned = arrays(norm.running_mean, norm.running_var, norm.weight, norm.bias)
    return line_of(mean, 1 / np.sqrt(variance + np.float32(norm.eps)), *learned)


@cache
def evaluates_alike() -> bool:
    """Whether PyTorch normalises in evaluation on this machine as the kernels do, tried once."""
    x = torch.rand(30, 37, generator=torch.Generator().manual_seed(0)) * 3 - 1
    norm = nn.BatchNorm1d(37).eval()
    norm.running_mean, norm.running_var = x[0].clone(), x[1].square()
    norm.weight.data, norm.bias.data = x[2].clone(), x[3].clone()
    slope, offset = (torch.from_numpy(a).double() for a in _line(norm))
    with torch.no_grad():
        return torch.equal((x.double() * slope + offset).float(), norm(x))
