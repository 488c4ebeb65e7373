# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Gradients of spikes at the places where they are wanted, on a CPU.

A layer's backward pass needs the gradient of a spike where the window of the surrogate is open and
dropout kept it, at a tenth of the entries. A product computes it there alone, and hands it on as a
list: as zeros between few numbers it would be written to memory and read again.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from models.dynamics.cpu_around import Handed, add_lines, rows_of
from models.dynamics.numba_kept import kernel, summing_kernel
from models.dynamics.numba_support import BURST, ZERO, arrays, put, run_rows


class Places(NamedTuple):
    """Some entries of a matrix [N, K], row by row."""

    starts: Tensor  # [N + 1] int64, where those of each row begin
    columns: Tensor  # int32


@summing_kernel
def products(begin, end, places, V, g, found):
    """found[i] = the product of row places[i] of V with g, for i from begin to end."""
    whole = end - (end - begin) % 8
    for i in range(begin, whole, 8):
        at = places[i : i + 8]
        a, b, c, d, e, f = V[at[0]], V[at[1]], V[at[2]], V[at[3]], V[at[4]], V[at[5]]
        x, y = V[at[6]], V[at[7]]
        by_a, by_b, by_c, by_d = ZERO, ZERO, ZERO, ZERO
        by_e, by_f, by_x, by_y = ZERO, ZERO, ZERO, ZERO
        for k in range(g.size):
            by_a += a[k] * g[k]
            by_b += b[k] * g[k]
            by_c += c[k] * g[k]
            by_d += d[k] * g[k]
            by_e += e[k] * g[k]
            by_f += f[k] * g[k]
            by_x += x[k] * g[k]
            by_y += y[k] * g[k]
        found[i], found[i + 1], found[i + 2], found[i + 3] = by_a, by_b, by_c, by_d
        found[i + 4], found[i + 5], found[i + 6], found[i + 7] = by_e, by_f, by_x, by_y
    for i in range(whole, end):
        a, by_a = V[places[i]], ZERO
        for k in range(g.size):
            by_a += a[k] * g[k]
        found[i] = by_a


@kernel
def input_gradient(
    first, end, starts, columns, weight, d_y, values, x, mean, slope, offset
):  # fmt: skip
    """Rows first to end of d_y [N, H], once they are as of ``add_lines``, times the weight [K, H]
    transposed, at the given places."""
    for begin in range(first, end, BURST):
        until = min(begin + BURST, end)
        add_lines(begin, until, d_y, x, mean, slope, offset)
        for n in range(begin, until):
            products(starts[n], starts[n + 1], columns, weight, d_y[n], values)


@kernel
def spread_out(first, end, starts, columns, values, x):
    """Rows first to end of x [N, K], which have the ``values`` at the given places, else 0."""
    for n in range(first, end):
        row = x[n]
        row[:] = ZERO
        for i in range(starts[n], starts[n + 1]):
            put(row, columns[i], values[i])


class Scattered(Handed):
    """A gradient [..., K] of numbers at some places, and of zeros."""

    def __init__(self, places: Places, values: Tensor, shape: torch.Size):
        self.places, self.found = places, values

    def dense(self) -> Tensor:
        x = torch.empty(self.shape)
        rows = x.view(-1, self.shape[-1])
        run_rows(spread_out, *rows.shape, *arrays(*self.places, self.found, rows))
        return x


def gradient_at(places: Places, weight: Tensor, d_y: Tensor, shape: torch.Size) -> Scattered:
    """The gradient, of that ``shape`` [..., K], of the input of a product with the weight [K, H],
    from that of the product: d_y [..., H]."""
    rows, lacks = rows_of(d_y)
    N, H = rows.shape
    values = rows.new_empty(places.columns.shape[0])
    given = *arrays(*places, weight, rows, values), *lacks
    run_rows(input_gradient, N, values.numel() * H // N, *given)
    return Scattered(places, values, shape)
