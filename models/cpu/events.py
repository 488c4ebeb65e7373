# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Products of sparse spikes and weights: a row of weights is added for every event.

Where few entries of x [N, K] are not zero (a few per cent of spikes, half of them dropped), this
takes a fraction of the time of a dense product, forward and for the gradient of the weights. The
gradient of x is dense. A sum has the terms of the dense one in the order of its index, so results
differ by rounding only, and they do not depend on the number of threads.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.dynamics.numba_support import arrays, kernel, run_rows

DENSEST = 0.15  # share of entries above which a dense product is about as fast
SAMPLED_ROWS = 64  # whose share decides whether counting the others is worth it
WORTH_A_SEARCH = 1 << 24  # multiply-adds of the dense product
NARROWEST = 64  # outputs; finding the events costs more than a narrower product
BLOCK = 256  # rows whose gradients stay in the L2 cache
PARTS = 8  # sums of the gradient of the weights, whatever the number of threads


class Events(NamedTuple):
    """The entries of a matrix [N, K] that are not zero, row by row."""

    starts: Tensor  # [N + 1] int64, where the events of each row begin
    columns: Tensor  # [events] int32
    values: Tensor  # [events] float32


@kernel
def count_events(first, end, x, counts):
    """Entries of rows first to end that are not zero."""
    for n in range(first, end):
        row, count = x[n], np.int32(0)
        for k in range(row.size):
            count += np.int32(row[k] != 0)
        counts[n] = count


@kernel
def gather_events(first, end, x, starts, columns, values):
    """Columns and values of the events of rows first to end."""
    for n in range(first, end):
        row, place, k = x[n], starts[n], 0
        while place < starts[n + 1]:
            columns[place], values[place] = k, row[k]
            place += row[k] != 0
            k += 1


@kernel
def add_one(out, value, row):
    """out += value * row."""
    for j in range(out.size):
        out[j] += value * row[j]


@kernel
def add_eight(out, v, a, b, c, d, e, f, g, h):
    """out += v[0] * a + ... + v[7] * h, one after another."""
    v0, v1, v2, v3, v4, v5, v6, v7 = v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]
    for j in range(out.size):
        total = out[j] + v0 * a[j] + v1 * b[j] + v2 * c[j] + v3 * d[j]
        out[j] = total + v4 * e[j] + v5 * f[j] + v6 * g[j] + v7 * h[j]


@kernel
def add_rows(out, begin, end, indices, values, rows):
    """out += the rows that the events begin to end point at, times their values."""
    i = begin
    while i + 8 <= end:
        at = indices[i : i + 8]
        add_eight(
            out, values[i : i + 8], rows[at[0]], rows[at[1]], rows[at[2]], rows[at[3]],
            rows[at[4]], rows[at[5]], rows[at[6]], rows[at[7]],
        )  # fmt: skip
        i += 8
    while i < end:
        add_one(out, values[i], rows[indices[i]])
        i += 1


@kernel
def forward_product(first, end, starts, columns, values, weight, y):
    """Rows first to end of y [N, H], the weight [K, H]."""
    for n in range(first, end):
        y[n, :] = 0
        add_rows(y[n], starts[n], starts[n + 1], columns, values, weight)


@kernel
def weight_gradient(first, end, starts, columns, values, d_y, sums, ends, rows, sorted_values):
    """Parts first to end of the gradient sums [PARTS, K, H], each over its share of the rows.

    The events of a block of rows are sorted by column first, ``ends[k]`` being where those of
    column k end.
    """
    N, K = len(d_y), sums.shape[1]
    for part in range(first, end):
        total = sums[part]
        total[:] = 0
        stop = N * (part + 1) // len(sums)
        for begin in range(N * part // len(sums), stop, BLOCK):
            until = min(begin + BLOCK, stop)
            ends[:] = 0
            for i in range(starts[begin], starts[until]):
                ends[columns[i] + 1] += 1
            for k in range(K):
                ends[k + 1] += ends[k]
            for n in range(begin, until):
                for i in range(starts[n], starts[n + 1]):
                    place = ends[columns[i]]
                    rows[place], sorted_values[place] = n, values[i]
                    ends[columns[i]] = place + 1
            start = 0
            for k in range(K):
                add_rows(total[k], start, ends[k], rows, sorted_values, d_y)
                start = ends[k]


def find_events(x: Tensor, outputs: int) -> Events | None:
    """The events of x [N, K] float32, or None where a dense product with [K, H] is as good."""
    N, K = x.shape
    if N * K * outputs < WORTH_A_SEARCH or outputs < NARROWEST:
        return None
    sample = x[:: -(-N // SAMPLED_ROWS)]
    if torch.count_nonzero(sample) > 2 * DENSEST * sample.numel():
        return None
    starts = torch.zeros(N + 1, dtype=torch.int64)
    counts = torch.empty(N, dtype=torch.int64)
    run_rows(count_events, N, K, *arrays(x, counts))
    torch.cumsum(counts, 0, out=starts[1:])
    total = int(starts[-1])
    if total > DENSEST * x.numel():
        return None
    columns, values = torch.empty(total, dtype=torch.int32), torch.empty(total)
    run_rows(gather_events, N, K, *arrays(x, starts, columns, values))
    return Events(starts, columns, values)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, events):
        ctx.save_for_backward(weight, *events)
        y = x.new_empty(len(x), len(weight))
        rows = arrays(*events, weight.T.contiguous(), y)
        run_rows(forward_product, len(x), weight.numel(), *rows)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y):
        weight, *events = ctx.saved_tensors
        d_x = d_y @ weight if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return d_x, None, None
        H, K = weight.shape
        sums = d_y.new_empty(PARTS, K, H)
        run_rows(
            weight_gradient, PARTS, len(d_y) * H, *arrays(*events, d_y.contiguous(), sums),
            scratch=lambda: _sorting_room(K),
        )  # fmt: skip
        return d_x, sums.sum(0).T, None


def _sorting_room(columns: int) -> tuple[np.ndarray, ...]:
    """Ends of columns, and the rows and values of a block's events."""
    most = BLOCK * columns
    return np.empty(columns + 1, np.int64), np.empty(most, np.int32), np.empty(most, np.float32)


def product(x: Tensor, weight: Tensor, events: Events) -> Tensor:
    """x [N, K] times weight [H, K] transposed, ``events`` being those of x."""
    return _Product.apply(x, weight, events)
