# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Where the entries of sparse matrices are, row by row: events of an input, spikes, and places
where their gradients are wanted. Compiled CPU kernels find them.

64 bytes are compared at once, and the bits of the result are taken one after another.
"""

from typing import NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core.cgutils import alloca_once, for_range_slice, get_or_insert_function
from torch import Tensor, nn

from models.dynamics.numba_kept import HAS_VBMI2, inlined, instruction, kernel
from models.dynamics.numba_support import (
    KEPT,
    LOOKS,
    WANTED,
    ZERO,
    arrays,
    nothing,
    room,
    run_rows,
)
from models.places import Places

EVERY_BIT, HAPPENED = np.uint8(255), np.float32(1)
BIT, INDEX = np.uint64(1), ir.Constant(ir.IntType(32), 0)
# Shares of entries above which a dense product is about as fast, with few outputs and with many
DENSEST, DENSEST_OF_MANY, MANY = 0.15, 0.2, 512
MOST_WANTED = 0.2  # share of the entries of a gradient, likewise
SAMPLED_ROWS = 64  # whose share decides whether counting the others is worth it
WORTH_A_SEARCH = 1 << 22  # multiply-adds of the dense product
NARROWEST = 64  # outputs; finding the events costs more than a narrower product


class Events(NamedTuple):
    """The entries of a matrix [N, K] that are not zero, row by row."""

    starts: Tensor  # [N + 1] int64, where the events of each row begin
    columns: Tensor  # [events] int32
    values: Tensor  # [events] float32


@instruction
def lowest_bit(typing, x):
    """The place of the lowest bit that is set in ``x``, an unsigned integer other than 0."""

    def code(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return x(x), code


@instruction
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


@instruction
def number_of_bits(typing, x):
    """How many bits are set in ``x``, an unsigned integer."""

    def code(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return x(x), code


@inlined
def write_each(columns, place, begin, bits):
    """Write ``begin`` plus the place of every bit that is set into ``columns``, int32, from
    ``place`` on; returns where they end."""
    while bits != 0:
        columns[place] = begin + np.int64(lowest_bit(bits))
        bits, place = bits & (bits - BIT), place + 1
    return place


@instruction
def write_together(typing, columns, place, begin, bits):
    """The same, 16 at once: one instruction moves the places of all bits to the front."""
    if columns.dtype != types.int32:
        return None  # Numba says that there is no such function

    def code(context, builder, signature, arguments):
        array, place, begin, bits = arguments
        byte, word, flag = (ir.IntType(size) for size in (8, 32, 1))
        places, chosen = ir.VectorType(byte, 64), ir.VectorType(flag, 64)
        some, wide, lanes = (ir.VectorType(kind, 16) for kind in (byte, word, flag))

        def function(name, *of, gives=None):
            kind = ir.FunctionType(gives or ir.VoidType(), of)
            return get_or_insert_function(builder.module, kind, name)

        def everywhere(x):
            x = builder.insert_element(ir.Constant(wide, ir.Undefined), x, INDEX)
            return builder.shuffle_vector(x, x, ir.Constant(wide, None))

        compress = "llvm.experimental.vector.compress.v64i8"
        compress = function(compress, places, chosen, places, gives=places)
        store = "llvm.masked.store.v16i32.p0"
        store = function(store, wide, wide.as_pointer(), word, lanes)
        given = ir.Constant(places, list(range(64))), builder.bitcast(bits, chosen)
        found = alloca_once(builder, places)
        builder.store(builder.call(compress, [*given, ir.Constant(places, None)]), found)
        found, count = builder.bitcast(found, byte.as_pointer()), builder.ctpop(bits)
        data = context.make_array(signature.args[0])(context, builder, array).data
        first = everywhere(builder.trunc(begin, word))
        zero, step = (ir.Constant(count.type, size) for size in (0, 16))
        with for_range_slice(builder, zero, count, step, count.type) as (done, _):
            next_ones = builder.bitcast(builder.gep(found, [done]), some.as_pointer())
            next_ones = builder.zext(builder.load(next_ones, align=1), wide)
            left = everywhere(builder.trunc(builder.sub(count, done), word))
            there = builder.icmp_signed("<", ir.Constant(wide, list(range(16))), left)
            to = builder.bitcast(builder.gep(data, [builder.add(place, done)]), wide.as_pointer())
            builder.call(store, [builder.add(next_ones, first), to, ir.Constant(word, 4), there])
        return builder.add(place, count)

    return types.intp(columns, types.intp, types.intp, types.uint64), code


# Where there is no such instruction, it would be made of many.
write_places = write_together if HAS_VBMI2 else write_each


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
            spike = write_places(kept, spike, begin, bits_of(row, begin, KEPT))
            place = write_places(wanted, place, begin, bits_of(row, begin, WANTED))


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
    end = place
    for begin in range(0, marks.size, 64):
        end = write_places(columns, end, begin, bits_of(marks, begin, WANTED))
    found, given = columns[place:end], values[place:end]
    for event in range(found.size):
        given[event] = row[found[event]]
    return end


@kernel
def gather_events(first, end, x, starts, columns, values, marks):
    """Columns and values of the events of rows first to end."""
    for n in range(first, end):
        write_events(x[n], marks, starts[n], columns, values)


@inlined
def bits_between(x, begin, end):
    """Which of the entries of x [64 or more] uint8 from ``begin`` to ``end``, or of the first 64 of
    them, are not 0."""
    back = max(0, begin + 64 - x.size)
    found = bits_of(x, begin - back, EVERY_BIT) >> np.uint64(back)
    return found if end - begin >= 64 else found & ((BIT << np.uint64(end - begin)) - BIT)


@kernel
def count_counts(first, end, x, K, counts):
    """The number of entries that are not 0 in each of the rows first to end of x [N * K] uint8."""
    for n in range(first, end):
        count = np.uint64(0)
        for begin in range(n * K, (n + 1) * K, 64):
            count += number_of_bits(bits_between(x, begin, (n + 1) * K))
        counts[n] = count


@kernel
def gather_counts(first, end, x, K, starts, columns, values):
    """Columns and values of the events of these rows."""
    for n in range(first, end):
        row, place = x[n * K : (n + 1) * K], starts[n]
        for k in range(0, K, 64):
            bits = bits_between(x, n * K + k, (n + 1) * K)
            place = write_places(columns, place, k, bits)
        found, given = columns[starts[n] : place], values[starts[n] : place]
        for event in range(found.size):
            given[event] = row[found[event]]


@kernel
def add_counts(first, end, x, totals):
    """How many of the steps of clips first to end of x [B, T, F] uint8 have an event [B, F]."""
    for row in range(first, end):
        total = totals[row]
        total[:] = 0
        for t in range(x.shape[1]):
            for f in range(total.size):
                total[f] += HAPPENED if x[row, t, f] else ZERO


def densest(outputs: int) -> float:
    """Share of entries above which a product with so many outputs is dense."""
    return DENSEST if outputs < MANY else DENSEST_OF_MANY


def find_events(x: Tensor, outputs: int) -> Events | None:
    """The events of x [N, K] float32 or uint8, or None where a dense product with [K, H] is as
    good."""
    N, K = x.shape
    if N * K * outputs < WORTH_A_SEARCH or outputs < NARROWEST:
        return None
    sample = x[:: -(-N // SAMPLED_ROWS)]
    if torch.count_nonzero(sample) > 2 * densest(outputs) * sample.numel():
        return None
    return all_events(x, densest(outputs))


def all_events(x: Tensor, densest: float = 1.0) -> Events | None:
    """The events of x [N, K] float32 or uint8, or None if they are more than this share of the
    entries."""
    N, K = x.shape
    starts = torch.zeros(N + 1, dtype=torch.int64)
    counts = torch.empty(N, dtype=torch.int64)
    if x.dtype == torch.uint8 and x.numel() >= 64:
        given, count, gather = (*arrays(x.view(-1)), K), count_counts, gather_counts
        scratch = nothing
    else:
        given, count, gather = arrays(x.to(torch.float32)), count_events, gather_events
        wide = K + -K % 64
        scratch = lambda n: (room(n, wide, dtype=torch.uint8, zero=True),)  # noqa: E731
    run_rows(count, N, K // (2 * LOOKS), *given, *arrays(counts))
    torch.cumsum(counts, 0, out=starts[1:])
    total = int(starts[-1])
    if total > densest * x.numel():
        return None
    events = Events(starts, torch.empty(total, dtype=torch.int32), torch.empty(total))
    run_rows(gather, N, K // LOOKS, *given, *arrays(*events), scratch=scratch)
    return events


def sum_counts(x: Tensor) -> Tensor:
    """How many steps of x [B, T, F] uint8 have an event, by clip and feature [B, F] float32."""
    totals = torch.empty(x.shape[0], x.shape[2])
    run_rows(add_counts, len(x), x[0].numel() // (4 * LOOKS), *arrays(x.contiguous(), totals))
    return totals


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
    starts = torch.zeros(2, N + 1, dtype=torch.int64)
    run_rows(count_marks, N, K // (2 * LOOKS), *arrays(rows, *starts[:, 1:]))
    totals = starts.cumsum_(1)[:, -1].tolist()
    events, wanted = (torch.empty(total, dtype=torch.int32) for total in totals)
    run_rows(gather_marks, N, K // LOOKS, *arrays(rows, *starts, events, wanted))
    values = torch.full((totals[0],), gain)
    most = densest(outputs), MOST_WANTED
    few = [n <= share * N * K for n, share in zip(totals, most, strict=True)]
    return (
        Events(starts[0], events, values) if few[0] else None,
        Places(starts[1], wanted) if few[1] else None,
    )
