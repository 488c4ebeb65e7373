# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What surrounds the recurrences on a CPU: sums of what comes in, statistics of batches, dropout,
and the loops of the readout.

The latter round as the specification does: scores and the gradient of the input equal those of
``naive`` to the last bit.

Dropout keeps its masks in a byte per unit, and draws them as in ``mersenne``.

Statistics of batches are PyTorch's, too: it lets each thread add up its share of the rows one after
another, and adds what the threads have found in double precision. The kernels do the same, as
:func:`normalize_alike` finds out. A product that writes the rows adds them up at once, while they
are cached. What comes to their gradient by way of the statistics is :class:`Pending`.
"""

import math
from abc import abstractmethod
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_map

from models.dynamics.mersenne import WORTH_A_BLOCK, bernoulli, draws_alike, numbers_alike, uniform
from models.dynamics.numba_kept import kernel
from models.dynamics.numba_support import LOOKS, F, arrays, fused, run_rows

LARGE, ALL, NONE = np.float32(0.9), np.float32(1), np.float32(0)
NOTHING = np.empty((0, 0), F), *np.empty((3, 0), F)  # to be added to the rows of a gradient
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
    if math.prod(shape) >= WORTH_A_BLOCK and draws_alike():
        return bernoulli(math.prod(shape), 1 - p, torch.default_generator).view(shape)
    return torch.empty(shape).bernoulli_(1 - p).to(torch.uint8)


def rand(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """``torch.rand(shape, dtype=dtype)``, of float32 or complex64."""
    if math.prod(shape) < WORTH_A_BLOCK or not numbers_alike():
        return torch.rand(shape, dtype=dtype)
    if dtype.is_complex:
        return torch.view_as_complex(uniform((*shape, 2), torch.default_generator))
    return uniform(shape, torch.default_generator)


@cache
def gain_of(p: float) -> float:
    """What dropout with probability ``p`` multiplies by, as PyTorch rounds the quotient."""
    return torch.ones(1).div_(1 - p).item()


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, p):
        ctx.kept = bernoulli(x.numel(), 1 - p, torch.default_generator)
        ctx.scale = np.float32(gain_of(p))
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


def shares(rows: int) -> tuple[int, int]:
    """How many of so many rows PyTorch gives a thread, and to how many of its threads."""
    share = -(-rows // torch.get_num_threads())
    return share, -(-rows // share)


@kernel
def add_columns(first, end, share, x, sums):
    """Sums [turns, H] of the rows of x [N, H], in turns of ``share`` rows."""
    for turn in range(first, end):
        total = sums[turn]
        total[:] = 0
        for n in range(turn * share, min((turn + 1) * share, len(x))):
            for j in range(total.size):
                total[j] += x[n, j]


@kernel
def add_squares(first, end, share, x, mean, sums):
    """The same of the squares of x - mean."""
    for turn in range(first, end):
        total = sums[turn]
        total[:] = 0
        for n in range(turn * share, min((turn + 1) * share, len(x))):
            for j in range(total.size):
                distance = x[n, j] - mean[j]
                total[j] = fused(distance, distance, total[j])


def note_sums(x: Tensor, sums: Tensor | None) -> Tensor:
    """x, of whose rows :func:`statistics` shall know these ``sums``, as of :func:`add_columns`."""
    x.noted = sums, x._version
    return x


@kernel
def find_mean(first, end, sums, mean, N):
    """The mean [H] of N rows in the columns first to end."""
    for j in range(first, end):
        total = 0.0
        for turn in range(len(sums)):
            total += sums[turn, j]
        mean[j] = total / N


@kernel
def finish(first, end, squares, N, momentum, eps, mean, rate, running_mean, running_var):
    """One over the deviation of N rows in the columns first to end, and what a norm remembers, in
    single precision where PyTorch has it."""
    count, others, new, old = F(N), F(N - 1), F(momentum), F(1 - momentum)
    for j in range(first, end):
        total = 0.0
        for turn in range(len(squares)):
            total += squares[turn, j]
        total = F(total)
        rate[j] = 1 / np.sqrt(np.float64(total / count) + eps)
        running_mean[j] = old * running_mean[j] + new * mean[j]
        running_var[j] = fused(total / others, new, old * running_var[j])


def statistics(norm: nn.BatchNorm1d, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and one over the deviation [H] of x [B, T, H], as ``norm`` in training computes and
    remembers them."""
    sums, version = getattr(x, "noted", (None, None))
    known = sums is not None and version == x._version
    x = x.detach().flatten(0, 1).contiguous()
    norm.num_batches_tracked.add_(1)
    N, H = x.shape
    if torch.get_num_threads() >= N:  # PyTorch adds them in another order
        remembered = norm.running_mean, norm.running_var, norm.momentum
        mean, variance = torch.batch_norm_update_stats(x, *remembered)
        return mean, (1 / torch.sqrt(variance.double() + norm.eps)).float()
    share, turns = shares(N)
    if not known or sums.shape[0] != turns:
        sums = x.new_empty(turns, H)
        run_rows(add_columns, turns, share * H // LOOKS, share, *arrays(x, sums))
    mean, rate, squares = x.new_empty(H), x.new_empty(H), x.new_empty(turns, H)
    run_rows(find_mean, H, turns, *arrays(sums, mean), N)
    run_rows(add_squares, turns, share * H // LOOKS, share, *arrays(x, mean, squares))
    found = arrays(mean, rate, norm.running_mean, norm.running_var)
    run_rows(finish, H, turns, *arrays(squares), N, norm.momentum, norm.eps, *found)
    return mean, rate


def line_of(
    mean: np.ndarray, rate: np.ndarray, weight: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """slope and offset [H] of a normalisation ``slope * x + offset``, rounded as by PyTorch."""
    slope, double = rate * weight, np.float64
    return slope, (shift.astype(double) - mean.astype(double) * slope.astype(double)).astype(F)


@kernel
def add_lines(first, end, d_x, x, mean, slope, offset):
    """d_x += slope * (x - mean) + offset, [H], in rows first to end of d_x [N, H]; none of x: no
    change."""
    for n in range(first, min(end, len(x))):
        for j in range(x.shape[1]):
            d_x[n, j] += slope[j] * (x[n, j] - mean[j]) + offset[j]


class Handed(Tensor):
    """A gradient that one of our operations hands to another in a form of its own.

    Whatever PyTorch computes of it, such as the sum of the gradients of several products, it
    computes of the :meth:`dense` tensor; when it first does, it imports its distributed tensors,
    for a second. The last argument is the shape.
    """

    @staticmethod
    def __new__(cls, *given):
        return Tensor._make_wrapper_subclass(cls, given[-1], dtype=torch.float32)

    @abstractmethod
    def dense(self) -> Tensor:
        """The same as a plain tensor."""

    def numpy(self, **options):
        """The dense tensor's, which PyTorch does not give of a subclass."""
        return self.dense().numpy(**options)

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        return function(*tree_map(plain, arguments), **tree_map(plain, options or {}))


def plain(x):
    """The dense tensor of a gradient that is handed on; anything else as it is."""
    return x.dense() if isinstance(x, Handed) else x


class Finished(torch.autograd.Function):
    """Its argument, whose gradient is a plain tensor, for PyTorch's own operations."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, d_x):
        return plain(d_x)


class Pending(Handed):
    """The gradient of x [..., H] as ``rows`` [N, H], which lacks what comes by way of the mean and
    the deviation of x: ``slope * (x - mean) + offset``, ``lacks`` being x [N, H] and these three.

    The first that reads it adds that, row by row: for itself memory would be read once more.
    """

    def __init__(self, rows: Tensor, lacks: tuple[np.ndarray, ...], shape: torch.Size):
        self.rows, self.lacks = rows, lacks

    def dense(self) -> Tensor:
        x, *line = self.taken()
        if x.size:
            run_rows(add_lines, len(x), x.shape[1] // LOOKS, self.rows.numpy(), x, *line)
        return self.rows.view(self.shape)

    def taken(self) -> tuple[np.ndarray, ...]:
        """What the rows lack, to be added now."""
        lacks, self.lacks = self.lacks, NOTHING
        return lacks


def rows_of(d_y: Tensor, for_several: bool = False) -> tuple[Tensor, tuple[np.ndarray, ...]]:
    """The rows [N, H] of a gradient [..., H], and what a kernel has to add to them: nothing where
    they are ``for_several`` threads that all read all of them."""
    if isinstance(d_y, Pending):
        if for_several:
            d_y.dense()
        return d_y.rows, d_y.taken()
    return d_y.reshape(-1, d_y.shape[-1]).contiguous(), NOTHING


def pull_back(
    x: Tensor, mean: Tensor, rate: Tensor, weight: Tensor, sums: Tensor, d_x: Tensor
) -> tuple[Pending, Tensor, Tensor]:
    """Gradients of x [B, T, H], weight and shift [H]; d_x is the first without what comes by the
    statistics of x. ``sums`` [2, B, H] are those of slope and shift by clips."""
    d_slope, d_shift = sums.sum(dim=1).numpy()
    mean, rate, weight = arrays(mean, rate, weight)
    rows = x.flatten(0, 1)
    count = F(len(rows))
    pulls = (-(rate * weight) * pull / count for pull in (rate**2 * d_slope, d_shift))
    d_x = Pending(d_x.view_as(rows), (*arrays(rows), mean, *pulls), x.shape)
    return d_x, torch.from_numpy(d_slope * rate), torch.from_numpy(d_shift)


@cache
def normalize_alike() -> bool:
    """Whether PyTorch normalises on this machine as the kernels do, which multiply and add in one
    rounding; tried once."""
    x = torch.rand(20, 30, 37, generator=torch.Generator().manual_seed(0)) * 3 - 1
    norms = [nn.BatchNorm1d(37) for _ in range(2)]
    for norm in norms:
        norm.weight.data, norm.bias.data = x[0, 0].clone(), x[1, 1].clone()
    with torch.no_grad():
        mean, rate = statistics(norms[0], x)
        given = arrays(mean, rate, norms[0].weight, norms[0].bias)
        slope, offset = (torch.from_numpy(a).double() for a in line_of(*given))
        ours = (x.double() * slope + offset).float()
        theirs = norms[1](x.flatten(0, 1)).view_as(x)
    found = zip([ours, *norms[0].buffers()], [theirs, *norms[1].buffers()], strict=True)
    return all(torch.equal(a, b) for a, b in found)


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
