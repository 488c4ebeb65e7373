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

from collections.abc import Callable

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core.cgutils import alloca_once, for_range_slice, unpack_tuple
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.dynamics.cpu_around import add_lines, plain, rows_of, shares
from models.dynamics.numba_kept import instruction, kernel
from models.dynamics.numba_support import BURST, arrays, room, run_rows
from models.events_cpu import Events
from models.places import Places, gradient_at

ROWS = 256  # rows whose gradients stay in the L2 cache
TILE = 16  # columns that are transposed at once
PARTS, PER_PART = 8, 2000  # sums of the gradient of the weights, whatever the number of threads


def adding(width: int) -> Callable:
    """An instruction that adds up so many columns in registers, from the first event to the last,
    where a compiled loop writes and reads what there is after every few of them."""
    lanes, flags = ir.VectorType(ir.FloatType(), width), ir.VectorType(ir.IntType(32), width)

    @instruction
    def add(typing, out, at, rows, indices, values, begin, end):
        """out[at : at + width] += these columns of the rows that the events begin to end point at,
        times their values, one after another."""

        def code(context, builder, signature, arguments):
            def data(n, *place):
                array = context.make_array(signature.args[n])(context, builder, arguments[n])
                return builder.gep(array.data, place)

            def columns(place):
                return builder.bitcast(place, lanes.as_pointer())

            (_, at, rows, *_, begin, end), total = arguments, alloca_once(builder, lanes)
            shape = context.make_array(signature.args[2])(context, builder, rows).shape
            to, size = columns(data(0, at)), unpack_tuple(builder, shape, 2)[1]
            builder.store(builder.load(to, align=4), total)
            with for_range_slice(builder, begin, end, size.type(1)) as (event, _):
                row = builder.load(data(3, event))
                row = row if row.type == size.type else builder.sext(row, size.type)
                given = columns(data(2, builder.add(builder.mul(row, size), at)))
                value = builder.load(data(4, event))
                value = builder.insert_element(lanes(ir.Undefined), value, flags.element(0))
                value = builder.shuffle_vector(value, value, flags(None))
                product = builder.fmul(value, builder.load(given, align=4))
                builder.store(builder.fadd(builder.load(total), product), total)
            builder.store(builder.load(total), to, align=4)
            return context.get_dummy_value()

        return types.none(out, types.intp, rows, indices, values, types.intp, types.intp), code

    return add


add_64, add_16, add_4, add_1 = map(adding, (64, 16, 4, 1))


@kernel
def add_rows(out, begin, end, indices, values, rows):
    """out += the rows that the events begin to end point at, times their values, one after
    another."""
    at = 0
    while at + 64 <= out.size:
        add_64(out, at, rows, indices, values, begin, end)
        at += 64
    while at + 16 <= out.size:
        add_16(out, at, rows, indices, values, begin, end)
        at += 16
    while at + 4 <= out.size:
        add_4(out, at, rows, indices, values, begin, end)
        at += 4
    while at < out.size:
        add_1(out, at, rows, indices, values, begin, end)
        at += 1


@kernel
def forward_product(first, end, share, starts, columns, values, weight, y, sums):
    """y [N, H] by the weight [K, H], and sums [turns, H] of its rows as of ``add_columns``."""
    for turn in range(first, end):
        total = sums[turn]
        total[:] = 0
        stop = min((turn + 1) * share, len(y))
        for begin in range(turn * share, stop, BURST):
            until = min(begin + BURST, stop)
            y[begin:until] = 0
            for n in range(begin, until):
                row = y[n]
                add_rows(row, starts[n], starts[n + 1], columns, values, weight)
                for j in range(total.size):
                    total[j] += row[j]


@kernel
def weight_gradient(
    first, end, blocks, starts, columns, values, d_y, sums, x, mean, slope, offset, ends, rows,
    sorted_values,
):  # fmt: skip
    """Sums of the gradient [parts, K, H], each over its share of the rows, once these are as of
    ``add_lines``: those first to end, each in ``blocks`` of its own rows.

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
            add_lines(begin, until, d_y, x, mean, slope, offset)
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
            start = np.int64(0)  # of the literal 0 `add_rows` would be compiled once more
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
        return y.view(*x.shape[:-1], weight.shape[0]), sums

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y, _):
        weight, given, x = ctx.saved_tensors
        (events, wanted), d_x = ctx.lists, None
        if events is None or (wanted is None and ctx.needs_input_grad[0]):
            d_y = plain(d_y)
        if ctx.needs_input_grad[0]:
            d_x = d_y @ weight if wanted is None else gradient_at(wanted, given, d_y, ctx.shape)
        if not ctx.needs_input_grad[1]:
            return d_x, None, None, None
        if events is None:
            rows, x = (a.reshape(-1, a.shape[-1]) for a in (d_y, x))
            return d_x, rows.T @ x, None, None
        return d_x, by_weights(events, d_y, weight.shape[1]), None, None


def multiplied(events: Events, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The product [N, H] of rows with the weight [K, H], and sums of its rows as of
    ``models.dynamics.cpu_around.add_columns``."""
    N, H = events.starts.shape[0] - 1, weight.shape[1]
    (share, turns), y = shares(N), weight.new_empty(N, H)
    sums = weight.new_empty(turns, H)
    given = arrays(*events, weight, y, sums)
    run_rows(forward_product, turns, share * weight.numel(), share, *given)
    return y, sums


def by_weights(events: Events, d_y: Tensor, K: int) -> Tensor:
    """Gradient [H, K] of the weights of a product, from that of the product: d_y [..., H]."""
    sums = parts_by_weights(events, d_y, K)
    found = sums.new_empty(sums.shape[2], K)
    run_rows(
        add_transposed, -(-K // TILE), TILE * sums[:, 0].numel(), *arrays(sums, found),
        scratch=lambda n: (room(n, TILE, sums.shape[2] + TILE),),
    )  # fmt: skip
    return found


def parts_by_weights(events: Events, d_y: Tensor, K: int) -> Tensor:
    """Sums [parts, K, H] that add up to it, transposed."""
    (N, H), most = (len(events.starts) - 1, d_y.shape[-1]), ROWS * K
    parts = min(PARTS, 1 + N // PER_PART)
    parts = 1 << parts.bit_length() - 1  # a power of two, which most numbers of threads divide
    blocks = -(-torch.get_num_threads() // parts)  # so that no thread has nothing to do
    rows, lacks = rows_of(d_y, for_several=blocks > 1)
    sums = rows.new_empty(parts, K, H)

    def scratch(threads):
        """Ends of columns, and the rows and values of a block's events."""
        sizes = (K + 1, torch.int64), (most, torch.int32), (most, torch.float32)
        return tuple(room(threads, size, dtype=dtype) for size, dtype in sizes)

    turns, given = parts * blocks, (*arrays(*events, rows, sums), *lacks)
    run_rows(weight_gradient, turns, rows.numel() // blocks, blocks, *given, scratch=scratch)
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
