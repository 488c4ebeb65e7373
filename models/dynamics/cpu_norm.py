# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Batch normalisation on a CPU, to the bits of PyTorch.

PyTorch lets each thread add up its share of the rows one after another, and adds what the threads
have found in double precision. Kernels do the same here, so that statistics and what is normalised
by them are PyTorch's, which :func:`normalize_alike` finds out. A product that writes the rows adds
them up at once, while they are cached.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from models.dynamics.numba_support import F, arrays, fused, kernel, run_rows


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


@kernel
def add_statistics(first, end, x, mean, slope, offset, d_x):
    """d_x += slope * (x - mean) + offset, [H], in rows first to end: what reaches x by way of its
    mean and deviation."""
    for n in range(first, end):
        for j in range(x.shape[1]):
            d_x[n, j] += slope[j] * (x[n, j] - mean[j]) + offset[j]


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
    x = x.detach().flatten(0, 1)
    norm.num_batches_tracked.add_(1)
    N, H = x.shape
    if torch.get_num_threads() >= N:  # PyTorch adds them in another order
        remembered = norm.running_mean, norm.running_var, norm.momentum
        mean, variance = torch.batch_norm_update_stats(x, *remembered)
        return mean, (1 / torch.sqrt(variance.double() + norm.eps)).float()
    share, turns = shares(N)
    if not known or len(sums) != turns:
        sums = x.new_empty(turns, H)
        run_rows(add_columns, turns, share * H, share, *arrays(x, sums))
    mean, rate, squares = x.new_empty(H), x.new_empty(H), x.new_empty(turns, H)
    run_rows(find_mean, H, turns, *arrays(sums, mean), N)
    run_rows(add_squares, turns, share * H, share, *arrays(x, mean, squares))
    found = arrays(mean, rate, norm.running_mean, norm.running_var)
    run_rows(finish, H, turns, *arrays(squares), N, norm.momentum, norm.eps, *found)
    return mean, rate


def line_of(
    mean: np.ndarray, rate: np.ndarray, weight: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """slope and offset [H] of a normalisation ``slope * x + offset``, rounded as by PyTorch."""
    slope, double = rate * weight, np.float64
    return slope, (shift.astype(double) - mean.astype(double) * slope.astype(double)).astype(F)


def pull_back(
    x: Tensor, mean: Tensor, rate: Tensor, weight: Tensor, sums: Tensor, d_x: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients [H] of weight and shift; to d_x [N, H] it adds what comes by the statistics of x.

    ``sums`` [2, B, H] are those of slope and shift by clips.
    """
    d_slope, d_shift = sums.sum(dim=1).numpy()
    mean, rate, weight = arrays(mean, rate, weight)
    pulls = (-(rate * weight) * pull / F(len(x)) for pull in (rate**2 * d_slope, d_shift))
    run_rows(add_statistics, *x.shape, *arrays(x), mean, *pulls, *arrays(d_x))
    return torch.from_numpy(d_slope * rate), torch.from_numpy(d_shift)


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
