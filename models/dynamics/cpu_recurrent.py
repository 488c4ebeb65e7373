# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The loop over time with recurrent weights on the CPU: step by step or clip by clip, and delays.

Step by step all clips are multiplied with V at once. Large layers without delays, few of whose
neurons spike, or few of whose windows are open, go through each clip by itself: see ``cpu_clips``.

Neurons whose delays are alike are brought side by side (V has its rows in the same order), so that
vector instructions compute several: neuron j of a group takes ``weights[i, j]`` of its spike
``start + i`` steps ago, where ``start`` is the shortest delay of the group and weights that a
neuron lacks are 0. Spikes of more than ``BLOCK`` steps ago are known for that many steps ahead:
they are gathered for all of these at once, while they are in the cache.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from models.dynamics.cpu_clips import clip_kernels, room
from models.dynamics.numba_support import STEPS_KEPT, ZERO, arrays, kernel, run_rows
from models.dynamics.returning import Back, DelayLine, Returning
from models.linear_cpu import by_weights, marked_events

BLOCK = 8  # steps, and by how many the delays of a group differ at most
UNROLLED = 4  # taps, and steps, at once

# Where clips are taken one by one, see ``cpu_clips``
SMALLEST, NARROWEST = 1 << 16, 32  # neuron steps and neurons, below which dense products are kept
MOST_SPIKES, MOST_OPEN = 0.3, 0.6  # shares of neurons, above which they are about as fast
APART = 16  # steps, from one whose open windows are counted to the next


@kernel
def _far(begin, end, first, edges, starts, weights, sent, far, f_0, f_1, f_2, f_3):
    """What arrives at 8 steps from more than 8 steps before each: far [B, 8, H].

    Row ``first`` of sent is due one step after the first of them. The earliest are added first.
    """
    for row in range(begin, end):
        for half in range(0, 8, 4):
            f_0[:], f_1[:], f_2[:], f_3[:] = ZERO, ZERO, ZERO, ZERO
            for g in range(edges.shape[0] - 1):
                for i in range(weights.shape[0] - 4, 7 if starts[g] == 1 else -1, -4):
                    at = first + half - starts[g] - i
                    for j in range(edges[g], edges[g + 1]):
                        w_0, w_1 = weights[i, j], weights[i + 1, j]
                        w_2, w_3 = weights[i + 2, j], weights[i + 3, j]
                        x_0, x_1 = sent[at - 3, row, j], sent[at - 2, row, j]
                        x_2, x_3 = sent[at - 1, row, j], sent[at, row, j]
                        x_4, x_5 = sent[at + 1, row, j], sent[at + 2, row, j]
                        x_6 = sent[at + 3, row, j]
                        f_0[j] = (((f_0[j] + w_3 * x_0) + w_2 * x_1) + w_1 * x_2) + w_0 * x_3
                        f_1[j] = (((f_1[j] + w_3 * x_1) + w_2 * x_2) + w_1 * x_3) + w_0 * x_4
                        f_2[j] = (((f_2[j] + w_3 * x_2) + w_2 * x_3) + w_1 * x_4) + w_0 * x_5
                        f_3[j] = (((f_3[j] + w_3 * x_3) + w_2 * x_4) + w_1 * x_5) + w_0 * x_6
            for j in range(weights.shape[1]):
                far[row, half, j], far[row, half + 1, j] = f_0[j], f_1[j]
                far[row, half + 2, j], far[row, half + 3, j] = f_2[j], f_3[j]


@kernel
def _near(begin, end, last, step, to, edges, starts, weights, sent, far, out):
    """What arrives at one step, as ``out[:, to]``; row ``last`` of sent set out before it."""
    for row in range(begin, end):
        for j in range(weights.shape[1]):
            out[row, to, j] = far[row, step, j]
        if starts[0] == 1:
            for j in range(edges[0], edges[1]):
                x = out[row, to, j] + weights[7, j] * sent[last - 7, row, j]
                x = x + weights[6, j] * sent[last - 6, row, j]
                x = x + weights[5, j] * sent[last - 5, row, j]
                x = x + weights[4, j] * sent[last - 4, row, j]
                x = x + weights[3, j] * sent[last - 3, row, j]
                x = x + weights[2, j] * sent[last - 2, row, j]
                x = x + weights[1, j] * sent[last - 1, row, j]
                out[row, to, j] = x + weights[0, j] * sent[last, row, j]


@kernel
def _by_taps(begin, end, end_of_time, s, d_z, place, first, d_taps):
    """Gradient [H, W] of the taps of neurons ``begin`` to ``end``, whose places in the order are
    given; s [B, T, H] are spikes, and that before step t returns in rows ``end_of_time - t`` on."""
    for row in range(s.shape[0]):
        for t in range(s.shape[1]):
            for j in range(begin, end):
                if s[row, t, j] != ZERO:
                    due = end_of_time - t - first[j]
                    for i in range(d_taps.shape[1]):
                        d_taps[j, i] += s[row, t, j] * d_z[due - i, row, place[j]]


class Line(DelayLine):
    """Delays of neurons brought side by side."""

    def __init__(self, given, B: int, steps: int):
        first, taps = (x.contiguous().numpy() for x in (given.first, given.taps.detach()))
        H, W = taps.shape
        start = (first - 1) // BLOCK * BLOCK + 1
        order = np.argsort(start, kind="stable")
        edges = np.array([0, *(np.flatnonzero(np.diff(start[order])) + 1), H])
        count = -(-(W + BLOCK - 1) // UNROLLED) * UNROLLED
        weights = np.zeros((count, H), np.float32)
        for i in range(W):
            weights[(first - start)[order] + i, np.arange(H)] = taps[order, i]
        super().__init__(given, B, steps, int(start.max()) + count)
        self.first, self.taps = first, taps
        self.order, self.place = (torch.from_numpy(x) for x in (order, np.argsort(order)))
        self.far, self.back = self.sent.new_zeros(B, BLOCK, H), self.sent.new_empty(B, H)
        starts = start[order][edges[:-1]]
        # An index that cannot be negative lets the loops become vector instructions.
        self.arrays = edges.astype(np.uint64), starts, weights, *arrays(self.sent, self.far)

    def arriving(self, t: int, out: Tensor, to: int, s: Tensor | None = None) -> None:
        if s is not None:
            torch.index_select(s, 1, self.order, out=self.row(t))
        B, _, H = self.far.shape
        if t % BLOCK == 0:
            scratch = lambda: tuple(np.empty((4, H), np.float32))  # noqa: E731
            run_rows(_far, B, BLOCK * H, self.length + t, *self.arrays, scratch=scratch)
        last = self.length + t - 1
        run_rows(_near, B, H, last, t % BLOCK, to, *self.arrays, *arrays(out))

    def restored(self, x: Tensor) -> Tensor:
        return torch.index_select(x, 1, self.place, out=self.back)

    def by_taps(self, s: Tensor, steps: int) -> Tensor:
        d_taps = np.zeros(self.taps.shape, np.float32)
        given = *arrays(s, self.sent, self.place), self.first, d_taps
        run_rows(_by_taps, len(d_taps), s.shape[0] * s.shape[1], self.length + steps, *given)
        return torch.from_numpy(d_taps)


def _worth_a_search(given) -> bool:
    """Whether there may be steps, without delays, that :mod:`cpu_clips` takes less time for."""
    return given.taps is None and given.I.numel() >= SMALLEST and given.I.shape[2] >= NARROWEST


def _way(given) -> tuple[np.ndarray, np.ndarray]:
    """V, and the mask of what arrives."""
    mask = torch.ones_like(given.I[:1, 0]) if given.mask is None else given.mask
    return arrays(given.V.contiguous(), mask.contiguous())


def step_by_step(run: Callable, given, s, z, line, current) -> None:
    """All steps of ``run(start, stop, ...)``, which leaves its spikes in s [B, H].

    The current [B, T, H] is written, z [B, T, H] if there are delays, and the line behind the last
    step.
    """
    returning, searched = Returning(given, current, z, Line), _worth_a_search(given)
    way = (*_way(given), *arrays(given.I.contiguous())) if searched else ()
    t, T, H = 0, *current.shape[1:]

    while t < T:
        # The first spikes may be any numbers.
        if searched and t > 0 and s.mean() <= MOST_SPIKES:
            stop = min(t + STEPS_KEPT, T)
            run(t, stop, clip_kernels(given.kernels).forward, way, lambda: room(H))
            t = stop
        else:
            torch.add(given.I[:, t], returning(t, s), out=current[:, t])
            run(t, t + 1)
            t += 1
    returning.write(line)


def step_back(
    run: Callable, given, spikes, z, d_I, d_spikes, d_line, needed: Sequence[bool]
) -> tuple[Tensor, tuple]:
    """All steps of the backward pass, which writes d_I.

    ``spikes`` [B, T, H] are those before each step; ``d_spikes`` of those after it are overwritten.
    Returns the gradient of the initial spikes by way of V, and those of what a ``Feedback`` has.
    """
    back = Back(given, d_I, d_line, Line)
    back.to_spikes(d_spikes)
    for t in reversed(range(d_I.shape[1])):
        run(t, t + 1)
        back(t, d_I[:, t])
        if t > 0:
            d_spikes[:, t - 1] += back.by_V
    return back.gradients(spikes, z, d_I, needed[12:17])


def rarely_open(given, kept: Tensor) -> bool:
    """Whether so few windows are open that clips are best taken back one by one, by a sample.

    ``kept`` [., B, T, H] is the state before every step.
    """
    if not _worth_a_search(given):
        return False
    kernels, (B, T, H) = given.kernels, given.I.shape
    counts = np.empty(B, np.int64)
    states = arrays(given.I.contiguous(), kept[0], kept[-1], kept[1 + kernels.has_q])
    run_rows(
        clip_kernels(kernels).count_open, B, -(-T // APART) * H, APART, counts, *states,
        *given.coefficients, np.float32(given.width),
    )  # fmt: skip
    return counts.sum() <= MOST_OPEN * B * -(-T // APART) * H


def clips_back(
    run: Callable, given, spikes, _z, d_I, _d_spikes, _d_line, needed: Sequence[bool]
) -> tuple[Tensor, tuple]:
    """As ``step_back``, clip by clip; the gradients of spikes are not overwritten."""
    H, d_V = d_I.shape[2], None
    spiked = torch.empty(d_I.shape, dtype=torch.uint8)
    way = *_way(given), spiked.numpy()
    run(0, d_I.shape[1], clip_kernels(given.kernels).backward, way, lambda: room(H))
    arrived = d_I if given.mask is None else d_I * given.mask[:, None]
    if needed[12]:
        events, _ = marked_events(spiked, 1.0, H)
        if events is None:
            d_V = spikes.flatten(0, 1).T @ arrived.flatten(0, 1)
        else:
            d_V = by_weights(events, arrived.flatten(0, 1), H) + given.s.T @ arrived[:, 0]
    return arrived[:, 0] @ given.V.T, (d_V, None, None, None, None)
