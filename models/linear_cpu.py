# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Compiled CPU kernels for products with sparse spikes.

In a product of sparse spikes and weights a row of weights is added for every event. Where few
entries of x [N, K] are not zero (a few per cent of spikes, half of them dropped), this takes a
fraction of the time of a dense product, forward and for the gradient of the weights. The gradient
of x is computed where it is wanted: where dropout kept a spike and the window of the surrogate is
open, as a layer marks it; everywhere else it would be multiplied by 0 (Perez-Nieves & Goodman
2021). A sum has the terms of the dense one, so results differ by rounding only, and they do not
depend on the number of threads.
"""

from typing import NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.dynamics.cpu_around import shares
from models.dynamics.numba_support import (
    KEPT,
    LOOKS,
    WANTED,
    ZERO,
    arrays,
    kernel,
    run_rows,
)
from models.places import Places, gradient_at

BIT, INDEX = np.uint64(1), ir.Constant(ir.IntType(32), 0)
DENSEST = 0.15  # share of entries above which a dense product is about as fast
MOST_WANTED = 0.2  # share of the entries of a gradient, likewise
SAMPLED_ROWS = 64  # whose share decides whether counting the others is worth it
WORTH_A_SEARCH = 1 << 24  # multiply-adds of the dense product
NARROWEST = 64  # outputs; finding the events costs more than a narrower product
ROWS = 256  # rows whose gradients stay in the L2 cache
TILE = 16  # columns that are transposed at once
PARTS, PER_PART = 8, 2000  # sums of the gradient of the weights, whatever the number of threads


class Events(NamedTuple):
    """The entries of a matrix [N, K] that are not zero, row by row."""

    starts: Tensor  # [N + 1] int64, where the events of each row begin
    columns: Tensor  # [events] int32
    values: Tensor  # [events] float32


@intrinsic
def lowest_bit(typing, x):
    """The place of the lowest bit that is set in ``x``, an unsigned integer other than 0."""

    def code(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return x(x), code


@intrinsic
def bits_of(typing, marks, begin, mark):
    """Which of the 64 entries of the vector ``marks`` from ``begin`` on have the ``mark``."""

    def code(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        lanes = ir.VectorType(ir.IntType(8), 64)
        place = builder.bitcast(builder.gep(data, [arguments[1]]), lanes.as_pointer())
        loaded = builder.load(place, align=1)
        wide = builder.insert_element(ir.Constant(lanes, ir.Undefined), arguments[2], INDEX)
        wide = builder.shuffle_vector(wide, wide, ir.Constant(ir.VectorType(INDEX.type, 64), None))
        both = builder.and_(loaded, wide)
        found = builder.icmp_unsigned("!=", both, ir.Constant(lanes, None))
        return builder.bitcast(found, ir.IntType(64))

    return types.uint64(marks, types.intp, types.uint8), code


@intrinsic
def number_of_bits(typing, x):
    """How many bits are set in ``x``, an unsigned integer."""

    def code(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return x(x), code


@kernel
def count_marks(first, end, marks, kept, wanted):
    """How many entries of the rows first to end are marked as KEPT, and as WANTED; marks [N, a
    multiple of 64]."""
    for n in range(first, end):
        spikes, places, row = np.uint64(0), np.uint64(0), marks[n]
        for begin in range(0, row.size, 64):
            spikes += number_of_bits(bits_of(row, begin, KEPT))
            places += number_of_bits(bits_of(row, begin, WANTED))
        kept[n], wanted[n] = spikes, places


@kernel
def gather_marks(first, end, marks, kept_starts, wanted_starts, kept, wanted):
    """The columns of these entries."""
    for n in range(first, end):
        spike, place, row = kept_starts[n], wanted_starts[n], marks[n]
        for begin in range(0, row.size, 64):
            left = bits_of(row, begin, KEPT)
            while left != 0:
                kept[spike] = begin + lowest_bit(left)
                left, spike = left & (left - BIT), spike + 1
            left = bits_of(row, begin, WANTED)
            while left != 0:
                wanted[place] = begin + lowest_bit(left)
                left, place = left & (left - BIT), place + 1


@kernel
def count_events(first, end, x, counts):
    """The number of non-zero entries in each of the rows first to end."""
    for n in range(first, end):
        row, count = x[n], np.int32(0)
        for k in range(row.size):
            count += np.int32(row[k] != 0)
        counts[n] = count


@kernel
def write_events(row, marks, place, columns, values):
    """Columns and values of the events of a row [K], from ``place`` on; returns where they end.

    ``marks`` are scratch of a multiple of 64, 0 beyond K.
    """
    for k in range(row.size):
        marks[k] = WANTED if row[k] != ZERO else 0
    for begin in range(0, marks.size, 64):
        left = bits_of(marks, begin, WANTED)
        while left != 0:
            k = begin + np.int64(lowest_bit(left))
            columns[place], values[place] = k, row[k]
            left, place = left & (left - BIT), place + 1
    return place


@kernel
def gather_events(first, end, x, starts, columns, values, marks):
    """Columns and values of the events of rows first to end."""
    for n in range(first, end):
        write_events(x[n], marks, starts[n], columns, values)


@kernel
def add_rows(out, begin, end, indices, values, rows):
    """out += the rows that the events begin to end point at, times their values, one after
    another."""
    i = begin
    while i + 8 <= end:
        a, b, c, d = (
            rows[indices[i]], rows[indices[i + 1]], rows[indices[i + 2]], rows[indices[i + 3]],
        )  # fmt: skip
        e, f, g, h = (
            rows[indices[i + 4]], rows[indices[i + 5]], rows[indices[i + 6]], rows[indices[i + 7]],
        )  # fmt: skip
        v_a, v_b, v_c, v_d = values[i], values[i + 1], values[i + 2], values[i + 3]
        v_e, v_f, v_g, v_h = values[i + 4], values[i + 5], values[i + 6], values[i + 7]
        for j in range(out.size):
            total = out[j] + v_a * a[j] + v_b * b[j] + v_c * c[j] + v_d * d[j]
            out[j] = total + v_e * e[j] + v_f * f[j] + v_g * g[j] + v_h * h[j]
        i += 8
    if i + 4 <= end:
        a, b, c, d = (
            rows[indices[i]], rows[indices[i + 1]], rows[indices[i + 2]], rows[indices[i + 3]],
        )  # fmt: skip
        v_a, v_b, v_c, v_d = values[i], values[i + 1], values[i + 2], values[i + 3]
        for j in range(out.size):
            out[j] = out[j] + v_a * a[j] + v_b * b[j] + v_c * c[j] + v_d * d[j]
        i += 4
    while i < end:
        value, row = values[i], rows[indices[i]]
        for j in range(out.size):
            out[j] += value * row[j]
        i += 1


@kernel
def forward_product(first, end, share, starts, columns, values, weight, y, sums):
    """y [N, H] by the weight [K, H], and sums [turns, H] of its rows as of ``add_columns``."""
    for turn in range(first, end):
        total = sums[turn]
        total[:] = 0
        for n in range(turn * share, min((turn + 1) * share, len(y))):
            row = y[n]
            row[:] = 0
            add_rows(row, starts[n], starts[n + 1], columns, values, weight)
            for j in range(total.size):
                total[j] += row[j]


@kernel
def weight_gradient(
    first, end, blocks, starts, columns, values, d_y, sums, ends, rows, sorted_values
):  # fmt: skip
    """Sums of the gradient [parts, K, H], each over its share of the rows: those first to end, each
    in ``blocks`` of its own rows.

    The events of ROWS rows are sorted by column first, ``ends[k]`` being where those of column k
    end.
    """
    N, K = len(d_y), sums.shape[1]
    for turn in range(first, end):
        total, part, block = sums[turn // blocks], turn // blocks, turn % blocks
        low, high = K * block // blocks, K * (block + 1) // blocks
        total[low:high] = 0
        stop = N * (part + 1) // len(sums)
        for begin in range(N * part // len(sums), stop, ROWS):
            until = min(begin + ROWS, stop)
            ends[low : high + 1] = 0
            for i in range(starts[begin], starts[until]):
                k = columns[i]
                if low <= k < high:
                    ends[k + 1] += 1
            for k in range(low, high):
                ends[k + 1] += ends[k]
            for n in range(begin, until):
                for i in range(starts[n], starts[n + 1]):
                    k = columns[i]
                    if low <= k < high:
                        place = ends[k]
                        rows[place], sorted_values[place] = n, values[i]
                        ends[k] = place + 1
            start = 0
            for k in range(low, high):
                add_rows(total[k], start, ends[k], rows, sorted_values, d_y)
                start = ends[k]


@kernel
def add_transposed(first, end, parts, out, tile):
    """out [H, K] = the sum of the parts [P, K, H], transposed: blocks first to end of TILE columns.

    ``tile`` is scratch [TILE, H and some more, as its columns would share few lines of the cache].
    """
    H = parts.shape[2]
    for block in range(first, end):
        begin = block * TILE
        count = min(TILE, out.shape[1] - begin)
        for k in range(count):
            row = tile[k]
            for j in range(H):
                row[j] = parts[0, begin + k, j]
            for part in range(1, len(parts)):
                for j in range(H):
                    row[j] += parts[part, begin + k, j]
        for j in range(H):
            to = out[j, begin : begin + count]
            for k in range(count):
                to[k] = tile[k, j]


def find_events(x: Tensor, outputs: int) -> Events | None:
    """The events of x [N, K] float32, or None where a dense product with [K, H] is as good."""
    N, K = x.shape
    if N * K * outputs < WORTH_A_SEARCH or outputs < NARROWEST:
        return None
    sample = x[:: -(-N // SAMPLED_ROWS)]
    if torch.count_nonzero(sample) > 2 * DENSEST * sample.numel():
        return None
    return all_events(x, DENSEST)


def all_events(x: Tensor, densest: float = 1.0) -> Events | None:
    """The events of x [N, K] float32, or None if they are more than this share of the entries."""
    N, K = x.shape
    starts = torch.zeros(N + 1, dtype=torch.int64)
    counts = torch.empty(N, dtype=torch.int64)
    run_rows(count_events, N, K // LOOKS, *arrays(x, counts))
    torch.cumsum(counts, 0, out=starts[1:])
    total = int(starts[-1])
    if total > densest * x.numel():
        return None
    columns, values = torch.empty(total, dtype=torch.int32), torch.empty(total)
    given = arrays(x, starts, columns, values)
    run_rows(
        gather_events, N, K // LOOKS, *given, scratch=lambda: (np.zeros(K + -K % 64, np.uint8),)
    )
    return Events(starts, columns, values)


def marked_events(marks: Tensor, gain: float, outputs: int) -> tuple[Events | None, Places | None]:
    """The events of spikes of which ``models.linear.handed`` knows the ``marks`` [B, T, K], and
    where their gradients are wanted.

    Each is None where a dense product with [K, H] is as good.
    """
    rows = marks.flatten(0, 1)
    N, K = rows.shape
    if N * K * outputs < WORTH_A_SEARCH:
        return None, None
    rows = nn.functional.pad(rows, (0, -K % 64)) if K % 64 else rows
    counts = torch.empty(2, N, dtype=torch.int64)
    run_rows(count_marks, N, K // (2 * LOOKS), *arrays(rows, *counts))
    starts = nn.functional.pad(counts.cumsum(1), (1, 0))
    totals = starts[:, -1].tolist()
    events, wanted = (torch.empty(total, dtype=torch.int32) for total in totals)
    run_rows(gather_marks, N, K // LOOKS, *arrays(rows, *starts, events, wanted))
    values = torch.full((totals[0],), gain)
    few = [n <= most * N * K for n, most in zip(totals, (DENSEST, MOST_WANTED), strict=True)]
    return (
        Events(starts[0], events, values) if few[0] else None,
        Places(starts[1], wanted) if few[1] else None,
    )


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, events, wanted):
        given = weight.T.contiguous()
        ctx.lists, ctx.shape = (events, wanted), x.shape
        ctx.save_for_backward(weight, given, x if events is None else None)
        if events is None:
            return x @ weight.T, None
        y, sums = multiplied(events, given)
        ctx.mark_non_differentiable(sums)
        return y.view(*x.shape[:-1], len(weight)), sums

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y, _):
        weight, given, x = ctx.saved_tensors
        (events, wanted), d_y, d_x = ctx.lists, d_y.reshape(-1, len(weight)).contiguous(), None
        if ctx.needs_input_grad[0]:
            if wanted is None:
                d_x = (d_y @ weight).view(ctx.shape)
            else:
                d_x = gradient_at(wanted, given, d_y, ctx.shape)
        if not ctx.needs_input_grad[1]:
            return d_x, None, None, None
        if events is None:
            return d_x, d_y.T @ x.reshape(-1, weight.shape[1]), None, None
        return d_x, by_weights(events, d_y, weight.shape[1]), None, None


def multiplied(events: Events, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The product [N, H] of rows with the weight [K, H], and sums of its rows as of
    ``models.dynamics.cpu_around.add_columns``."""
    N, H = len(events.starts) - 1, weight.shape[1]
    (share, turns), y = shares(N), weight.new_empty(N, H)
    sums = weight.new_empty(turns, H)
    given = arrays(*events, weight, y, sums)
    run_rows(forward_product, turns, share * weight.numel(), share, *given)
    return y, sums


def by_weights(events: Events, d_y: Tensor, K: int) -> Tensor:
    """Gradient [H, K] of the weights of a product, from that of the product: d_y [N, H], dense."""
    sums = parts_by_weights(events, d_y, K)
    found = d_y.new_empty(d_y.shape[1], K)
    room = lambda: (np.empty((TILE, d_y.shape[1] + TILE), np.float32),)  # noqa: E731
    run_rows(
        add_transposed, -(-K // TILE), TILE * sums[:, 0].numel(), *arrays(sums, found), scratch=room
    )
    return found


def parts_by_weights(events: Events, d_y: Tensor, K: int) -> Tensor:
    """Sums [parts, K, H] that add up to it, transposed."""
    parts, most = min(PARTS, 1 + len(d_y) // PER_PART), ROWS * K
    parts = 1 << parts.bit_length() - 1  # a power of two, which most numbers of threads divide
    sums = d_y.new_empty(parts, K, d_y.shape[1])
    blocks = -(-torch.get_num_threads() // parts)  # so that no thread has nothing to do

    def room():
        """Ends of columns, and the rows and values of a block's events."""
        sizes = (K + 1, np.int64), (most, np.int32), (most, np.float32)
        return tuple(np.empty(*size) for size in sizes)

    turns, given = parts * blocks, arrays(*events, d_y, sums)
    run_rows(weight_gradient, turns, d_y.numel() // blocks, blocks, *given, scratch=room)
    return sums


def product(
    x: Tensor, weight: Tensor, events: Events | None, wanted: Places | None = None
) -> tuple[Tensor, Tensor | None]:
    """x [..., K] times weight [H, K] transposed, and sums of its rows, see :func:`multiplied`, or
    None where the product is dense.

    ``events`` are those of the rows of x, None for a dense product. Of the gradient of x only what
    is ``wanted`` is computed, and the rest is 0; None: all of it.
    """
    return _Product.apply(x, weight, events, wanted)
