# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Compiled CPU kernels around the dynamics: dropout, and products with sparse spikes.

Dropout draws PyTorch's masks several times faster, and keeps them in a byte per unit. PyTorch
takes the numbers of a mask one after another from its Mersenne Twister (MT19937, Matsumoto &
Nishimura 1998): two words of 32 bits are the 53 bits of a double in [0, 1), which is compared with
the probability. Here a block of 624 words is renewed and compared in vector instructions. Numbers
and the generator's state afterwards are the same. On Intel's CPUs PyTorch draws from another
generator, of the MKL library, which is fast already; :func:`draws_alike` finds out.

In a product of sparse spikes and weights a row of weights is added for every event. Where few
entries of x [N, K] are not zero (a few per cent of spikes, half of them dropped), this takes a
fraction of the time of a dense product, forward and for the gradient of the weights. The gradient
of x is dense. A sum has the terms of the dense one in the order of its index, so results differ by
rounding only, and they do not depend on the number of threads.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.dynamics.numba_support import arrays, compile_first, inlined, kernel, run_rows

UNITS = 1 << 12  # units that a thread takes at once
WORDS, SHIFT = 624, 397
HIGH, LOW, TWIST, ONE = (np.uint32(x) for x in (0x80000000, 0x7FFFFFFF, 0x9908B0DF, 1))
TEMPER_B, TEMPER_C = np.uint32(0x9D2C5680), np.uint32(0xEFC60000)
HALF_WORD, BITS_53 = np.uint64(32), np.uint64((1 << 53) - 1)

# Where a generator's exported state (5,056 bytes) keeps what is needed here.
LEFT, USED, STATE = slice(8, 12), slice(16, 24), slice(24, 24 + 8 * WORDS)

DENSEST = 0.15  # share of entries above which a dense product is about as fast
SAMPLED_ROWS = 64  # whose share decides whether counting the others is worth it
WORTH_A_SEARCH = 1 << 24  # multiply-adds of the dense product
NARROWEST = 64  # outputs; finding the events costs more than a narrower product
ROWS = 256  # rows whose gradients stay in the L2 cache
PARTS = 8  # sums of the gradient of the weights, whatever the number of threads


@inlined
def twisted(word, following):
    """The linear map of the recurrence, of the upper bit of one word and the rest of the next."""
    mixed = (word & HIGH) | (following & LOW)
    return np.uint32(mixed >> ONE) ^ np.uint32((np.uint32(0) - (following & ONE)) & TWIST)


@kernel
def renew(old, new):
    """The next 624 words of the state."""
    for i in range(WORDS - SHIFT):
        new[i] = old[i + SHIFT] ^ twisted(old[i], old[i + 1])
    for i in range(WORDS - SHIFT, 2 * (WORDS - SHIFT)):  # parts that do not read what they write
        new[i] = new[i + SHIFT - WORDS] ^ twisted(old[i], old[i + 1])
    for i in range(2 * (WORDS - SHIFT), WORDS - 1):
        new[i] = new[i + SHIFT - WORDS] ^ twisted(old[i], old[i + 1])
    new[WORDS - 1] = new[SHIFT - 1] ^ twisted(old[WORDS - 1], new[0])


@kernel
def temper(state, words):
    """The random words that a state stands for."""
    for i in range(WORDS):
        y = state[i]
        y = np.uint32(y ^ np.uint32(y >> np.uint32(11)))
        y = np.uint32(y ^ np.uint32(np.uint32(y << np.uint32(7)) & TEMPER_B))
        y = np.uint32(y ^ np.uint32(np.uint32(y << np.uint32(15)) & TEMPER_C))
        words[i] = np.uint32(y ^ np.uint32(y >> np.uint32(18)))


@kernel
def compare(pairs, below, kept):
    """Whether the 53 bits of each pair of words, the first word's above, are ``below``."""
    for i in range(kept.size):
        pair = pairs[i]
        kept[i] = np.int64(((pair << HALF_WORD) | (pair >> HALF_WORD)) & BITS_53) < below


@kernel
def fill_bernoulli(first, end, state, spare, words, used, below, kept):
    """kept[first:end] = 53 random bits < below; returns how many words of the last block are used.

    ``words`` has room for the block that ``state`` stands for and for one word left over from the
    block before. Pairs of words are read as 64-bit numbers.
    """
    temper(state, words[:WORDS])
    begin, stop, place = used, WORDS, first
    pairs = words.view(np.uint64)
    while place < end:
        if stop - begin < 2:
            left = stop - begin
            words[0] = words[begin]  # read only if it is left
            renew(state, spare)
            for i in range(WORDS):
                state[i] = spare[i]
            temper(state, words[left : left + WORDS])
            begin, stop = 0, WORDS + left
        if begin % 2 == 1:  # pairs start at even places
            for i in range(begin, stop):
                words[i - 1] = words[i]
            begin, stop = begin - 1, stop - 1
        count = min((stop - begin) // 2, end - place)
        compare(pairs[begin // 2 :], below, kept[place : place + count])
        place += count
        begin += 2 * count
    return WORDS - (stop - begin)


def bernoulli(count: int, probability: float, generator: torch.Generator) -> torch.Tensor:
    """``count`` numbers [count] uint8, 1 with ``probability``, drawn from a CPU generator.

    What ``torch.empty(count).bernoulli_(probability, generator=generator)`` gives and does to the
    generator where :func:`draws_alike` holds.
    """
    kept = torch.empty(count, dtype=torch.uint8)
    if not count:
        return kept
    exported = generator.get_state()
    fields = exported.numpy()
    left, used = fields[LEFT].view(np.int32), fields[USED].view(np.uint64)
    stored = fields[STATE].view(np.uint64)
    state, spare = stored.astype(np.uint32), np.empty(WORDS, np.uint32)
    words = np.zeros(WORDS + 2, np.uint32)
    start = WORDS if left[0] == 1 else int(used[0])  # of a new generator no block is made yet
    below = math.ceil(probability * 2.0**53)
    arguments = (state, spare, words, start, below, kept.numpy())
    compile_first(fill_bernoulli, arguments)
    end = fill_bernoulli(0, count, *arguments)
    stored[:], left[0], used[0] = state, WORDS + 1 - end, end
    generator.set_state(exported)
    return kept


@cache
def draws_alike() -> bool:
    """Whether :func:`bernoulli` gives on this machine what PyTorch gives, tried once."""
    ours, theirs = (torch.Generator().manual_seed(1) for _ in range(2))
    if len(ours.get_state()) != 5056:
        return False
    for count in (1000, 999, 2 * WORDS):
        expected = torch.empty(count).bernoulli_(0.3, generator=theirs)
        if not torch.equal(bernoulli(count, 0.3, ours).float(), expected):
            return False
        torch.rand(3, generator=ours), torch.rand(3, generator=theirs)  # an odd number of words
    return torch.equal(ours.get_state(), theirs.get_state())


@kernel
def scale_kept(first, end, x, kept, scale, y):
    """y = x * scale where kept, else x * 0, in blocks first to end."""
    # Indices start at 0: of others the compiler does not know the sign, and does not vectorise.
    part = slice(first * UNITS, min(end * UNITS, x.size))
    x, kept, y = x[part], kept[part], y[part]
    for i in range(x.size):
        y[i] = x[i] * (np.float32(kept[i]) * scale)


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


class Events(NamedTuple):
    """The entries of a matrix [N, K] that are not zero, row by row."""

    starts: Tensor  # [N + 1] int64, where the events of each row begin
    columns: Tensor  # [events] int32
    values: Tensor  # [events] float32


@kernel
def count_events(first, end, x, counts):
    """The number of non-zero entries in each of the rows first to end."""
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
        value, row = values[i], rows[indices[i]]
        for j in range(out.size):
            out[j] += value * row[j]
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
        for begin in range(N * part // len(sums), stop, ROWS):
            until = min(begin + ROWS, stop)
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
    return all_events(x, DENSEST)


def all_events(x: Tensor, densest: float = 1.0) -> Events | None:
    """The events of x [N, K] float32, or None if they are more than this share of the entries."""
    N, K = x.shape
    starts = torch.zeros(N + 1, dtype=torch.int64)
    counts = torch.empty(N, dtype=torch.int64)
    run_rows(count_events, N, K, *arrays(x, counts))
    torch.cumsum(counts, 0, out=starts[1:])
    total = int(starts[-1])
    if total > densest * x.numel():
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
        sums, most = d_y.new_empty(PARTS, K, H), ROWS * K

        def room():
            """Ends of columns, and the rows and values of a block's events."""
            sizes = (K + 1, np.int64), (most, np.int32), (most, np.float32)
            return tuple(np.empty(*size) for size in sizes)

        given = arrays(*events, d_y.contiguous(), sums)
        run_rows(weight_gradient, PARTS, len(d_y) * H, *given, scratch=room)
        return d_x, sums.sum(0).T, None


def product(x: Tensor, weight: Tensor, events: Events) -> Tensor:
    """x [N, K] times weight [H, K] transposed, ``events`` being those of x."""
    return _Product.apply(x, weight, events)
