# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Compiled CPU kernels for delays of whole steps, as evaluation has them; without gradients."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.dynamics.numba_kept import kernel
from models.dynamics.numba_support import ZERO, arrays, room, run_rows

NEURONS = 64  # whose currents at the steps of a clip stay in the nearest cache


@kernel
def shift_rows(first, end, x, delay, y):
    """Rows first to end of y_t = x_{t - delay}, y being 0 before: x, y [B, T, F], delay [F]."""
    T = x.shape[1]
    for row in range(first, end):
        for t in range(T):
            now = x[row, t]
            for j in range(now.size):
                if now[j] != 0 and t + delay[j] < T:
                    y[row, t + delay[j], j] = now[j]


@kernel
def count_columns(first, end, x, counts):
    """How many entries of each feature of clips first to end of x [B, T, F] are not 0."""
    for row in range(first, end):
        counts[row, :] = 0
        for t in range(x.shape[1]):
            for f in range(x.shape[2]):
                counts[row, f] += x[row, t, f] != 0


@kernel
def gather_columns(first, end, x, places, steps, values):
    """Steps and values of these entries, by clip, feature and step; they begin at ``places``."""
    for row in range(first, end):
        for t in range(x.shape[1]):
            for f in range(0, x.shape[2], 16):
                given, place = x[row, t, f : f + 16], places[row, f : f + 16]
                found = np.int32(0)
                for j in range(given.size):
                    found |= np.int32(given[j] != 0)
                for j in range(given.size if found else 0):
                    if given[j] != 0:
                        steps[place[j]], values[place[j]] = t, given[j]
                        place[j] += 1


@kernel
def split_lanes(first, end, weight, delay, weights, places):
    """Blocks first to end of weight [H, F] and of where it leads: delays times lanes, plus lane."""
    H, lanes = len(weight), NEURONS
    for block in range(first, end):
        for f in range(weight.shape[1]):
            for j in range(lanes):
                h = block * lanes + j
                weights[block, f, j] = weight[h, f] if h < H else ZERO
                places[block, f, j] = j + (delay[h, f] * lanes if h < H else 0)


@kernel
def scatter_lanes(first, end, ends, steps, values, weights, places, y, work):
    """Currents of clips first to end of y [B, T, H] of events sorted by clip, feature and step.

    An event adds the weights of a block [blocks, F, NEURONS] to ``places`` of ``work``, which begin
    at its step. Two of a feature read them once: adding in memory is what takes the time.
    """
    T, lanes, F = y.shape[1], NEURONS, weights.shape[1]
    for row in range(first, end):
        for block in range(len(weights)):
            work[:] = 0
            for f in range(F):
                i, stop = ends[row * F + f], ends[row * F + f + 1]
                given, at = weights[block, f], places[block, f]
                while i + 2 <= stop:
                    now, later = work[steps[i] * lanes :], work[steps[i + 1] * lanes :]
                    value, another = values[i], values[i + 1]
                    for j in range(lanes):
                        now[at[j]] += value * given[j]
                        later[at[j]] += another * given[j]
                    i += 2
                if i < stop:
                    now, value = work[steps[i] * lanes :], values[i]
                    for j in range(lanes):
                        now[at[j]] += value * given[j]
            for t in range(T):
                made, to = work[t * lanes :], y[row, t, block * lanes : (block + 1) * lanes]
                for j in range(to.size):
                    to[j] = made[j]


def shifted(x: Tensor, delay: Tensor) -> Tensor:
    """x [B, T, F] of every feature, ``delay`` [F] whole steps later; without gradients."""
    y = torch.zeros_like(x, memory_format=torch.contiguous_format)
    run_rows(shift_rows, len(x), x[0].numel(), *arrays(x.contiguous(), delay, y))
    return y


def delayed(x: Tensor, weight: Tensor, delay: Tensor) -> Tensor:
    """Currents [B, T, H] of x [B, T, F], ``delay`` [H, F] whole steps later; without gradients."""
    (B, T, inputs), H = x.shape, len(weight)
    x, weight, longest = x.contiguous(), weight.contiguous(), int(delay.max())
    counts = torch.empty(B, inputs, dtype=torch.int64)
    run_rows(count_columns, B, x[0].numel(), *arrays(x, counts))
    ends = F.pad(counts.flatten().cumsum(0), (1, 0))
    steps = np.empty(int(ends[-1]), np.uint32)  # an index that cannot be negative takes less time
    values, begins = torch.empty(len(steps)), ends[:-1].clone().view(B, inputs)
    run_rows(gather_columns, B, x[0].numel(), *arrays(x, begins), steps, *arrays(values))
    shape = -(-H // NEURONS), inputs, NEURONS
    weights = np.empty(shape, np.float32)
    places = np.empty(shape, np.uint16 if longest < (1 << 16) // NEURONS else np.uint32)
    run_rows(split_lanes, len(weights), weights[0].size, *arrays(weight, delay), weights, places)
    y = x.new_empty(B, T, H)
    given = *arrays(ends), steps, *arrays(values), weights, places, *arrays(y)
    scratch = lambda n: (room(n, (T + longest) * NEURONS),)  # noqa: E731
    run_rows(scatter_lanes, B, T * H, *given, scratch=scratch)
    return y
