# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What surrounds the recurrences on a CPU: sums of what comes in, statistics of batches, dropout,
and the loops of the readout.

The latter round as the specification does: scores and the gradient of the input equal those of
``naive`` to the last bit.

Dropout draws PyTorch's masks several times faster, and keeps them in a byte per unit.

PyTorch takes the numbers of a mask one after another from its Mersenne Twister (MT19937, Matsumoto
& Nishimura 1998): two words of 32 bits are the 53 bits of a double in [0, 1), which is compared
with the probability. Here a block of 624 words is renewed and compared in vector instructions.
Numbers and the generator's state afterwards are the same. On Intel's CPUs PyTorch draws from
another generator, of the MKL library, which is fast already; :func:`draws_alike` finds out.
"""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.dynamics.numba_support import LOOKS, arrays, compile_first, inlined, kernel, run_rows

LARGE, ALL, NONE = np.float32(0.9), np.float32(1), np.float32(0)
UNITS = 1 << 12  # units that a thread takes at once
WORDS, SHIFT = 624, 397
HIGH, LOW, TWIST, ONE = (np.uint32(x) for x in (0x80000000, 0x7FFFFFFF, 0x9908B0DF, 1))
TEMPER_B, TEMPER_C = np.uint32(0x9D2C5680), np.uint32(0xEFC60000)
HALF_WORD, BITS_53 = np.uint64(32), np.uint64((1 << 53) - 1)

# Where a generator's exported state (5,056 bytes) keeps what is needed here.
LEFT, USED, STATE = slice(8, 12), slice(16, 24), slice(24, 24 + 8 * WORDS)


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
