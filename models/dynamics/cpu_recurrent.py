# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The loop over time with recurrent weights on the CPU: a matrix product at every step, and delays.

Delayed spikes are gathered before the product, so that there is one whatever the delays. Neurons
whose delays are alike are brought side by side (V has its rows in the same order), so that vector
instructions compute several: neuron j of a group takes ``weights[-1 - i, j] x[t - start - i, j]``,
where ``start`` is the shortest delay of the group and weights that a neuron lacks are 0. The
backward pass gathers gradients in the same way. Time goes first, so that products read and write
whole blocks.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from models.dynamics.numba_support import ZERO, arrays, inlined, kernel, run_rows

ALIKE = 8  # steps by which the delays of a group differ at most
UNROLLED = 4  # taps at once


@inlined
def add_four(total, w_0, w_1, w_2, w_3, x_0, x_1, x_2, x_3):
    """Four taps of the neurons of a group, one after another."""
    for j in range(total.shape[0]):
        value = total[j] + w_0[j] * x_0[j]
        value = value + w_1[j] * x_1[j]
        value = value + w_2[j] * x_2[j]
        total[j] = value + w_3[j] * x_3[j]


@kernel
def _arrive(begin, end, t, s, order, groups, weights, sent, z):
    """Spikes s [B, H] before step t set out, and z of step t; the earliest spikes are added first.

    sent [L + T, B, H] has those before the first step in front.
    """
    L = sent.shape[0] - z.shape[1]
    count = weights.shape[0]
    for row in range(begin, end):
        for j in range(order.shape[0]):
            sent[L + t - 1, row, j] = s[row, order[j]]
            z[row, t, j] = ZERO
        for g in range(groups.shape[0]):
            a, b, then = groups[g, 0], groups[g, 1], L + t - groups[g, 2] - count + 1
            for i in range(0, count, 4):
                add_four(
                    z[row, t, a:b], weights[i, a:b], weights[i + 1, a:b],
 weights[i + 2, a:b], weights[i + 3, a:b], sent[then + i, row, a:b],
                    sent[then + i + 1, row, a:b], sent[then + i + 2, row, a:b],
                    sent[then + i + 3, row, a:b],
                )  # fmt: skip


@kernel
def _depart(begin, end, t, d_z, order, groups, weights, d_s, found):
    """Gradient d_s [B, H] of the spikes before step t, by that of z [T + L, B, H]."""
    count = weights.shape[0]
    for row in range(begin, end):
        found[:] = ZERO
        for g in range(groups.shape[0]):
            a, b, then = groups[g, 0], groups[g, 1], t + groups[g, 2] + count - 2
            for i in range(0, count, 4):
                add_four(
                    found[a:b], weights[i, a:b], weights[i + 1, a:b],
 weights[i + 2, a:b], weights[i + 3, a:b], d_z[then - i, row, a:b],
                    d_z[then - i - 1, row, a:b], d_z[then - i - 2, row, a:b],
                    d_z[then - i - 3, row, a:b],
                )  # fmt: skip
        for j in range(order.shape[0]):
            d_s[row, order[j]] = found[j]


@kernel
def _by_taps(begin, end, s, d_z, place, first, d_taps):
    """Gradient [H, W] of the taps of neurons ``begin`` to ``end``, whose places in the order are
    given; s [B, T, H] are the spikes before each step."""
    for row in range(s.shape[0]):
        for t in range(s.shape[1]):
            for j in range(begin, end):
                if s[row, t, j] != ZERO:
                    due = t - 1 + first[j]
                    for i in range(d_taps.shape[1]):
                        d_taps[j, i] += s[row, t, j] * d_z[due + i, row, place[j]]


class Line:
    """The delays of ``given`` inputs, by which spikes, or gradients, are gathered."""

    def __init__(self, given):
        first, taps = (x.contiguous().numpy() for x in (given.first, given.taps.detach()))
        H, W = taps.shape
        start = (first - 1) // ALIKE * ALIKE + 1
        order = np.argsort(start, kind="stable")
        edges = [0, *(np.flatnonzero(np.diff(start[order])) + 1), H]
        count = -(-(W + ALIKE - 1) // UNROLLED) * UNROLLED
        weights = np.zeros((count, H), np.float32)
        for i in range(W):
            weights[count - 1 - (first - start)[order] - i, np.arange(H)] = taps[order, i]
        groups = [(a, b, start[order[a]]) for a, b in pairwise(edges)]
        self.arrays = order, np.array(groups), weights
        self.order, self.work = torch.from_numpy(order), count * H
        self.first, self.shape = first, taps.shape
        self.length = int(start.max()) + count

    def arrive(self, t: int, s: Tensor, sent: Tensor, z: Tensor) -> None:
        """Gather z of step t behind spikes s [B, H]."""
        run_rows(_arrive, len(s), self.work, t, *arrays(s), *self.arrays, *arrays(sent, z))

    def depart(self, t: int, d_z: Tensor, d_s: Tensor) -> None:
        """Gather the gradient d_s [B, H] of these spikes."""
        given = t, *arrays(d_z), *self.arrays, *arrays(d_s)
        scratch = len(self.order)
        run_rows(
            _depart, len(d_s), self.work, *given,
            scratch=lambda: (np.empty(scratch, np.float32),),
        )  # fmt: skip

    def by_taps(self, s: Tensor, d_z: Tensor) -> Tensor:
        """Gradient [H, W] of the taps; spikes s [B, T, H] before each step."""
        place, d_taps = np.argsort(self.arrays[0]), np.zeros(self.shape, np.float32)
        given = *arrays(s, d_z), place, self.first, d_taps
        run_rows(_by_taps, len(d_taps), s.shape[0] * s.shape[1], *given)
        return torch.from_numpy(d_taps)


def step_by_step(run: Callable, given, s, z, line, current) -> None:
    """All steps of ``run(start, stop)``, which leaves its spikes in s [B, H].

    The current [B, T, H] is written, z [B, T, H] if there are delays, and the line behind the last
    step.
    """
    (B, T, H), V, returned = current.shape, given.V, torch.empty_like(s)
    delays = None if given.taps is None else Line(given)
    if delays:
        V, L, span = V[delays.order], delays.length, given.span
        sent = s.new_empty(L + T, B, H)
        sent[:L] = 0
        if given.line is not None:
            sent[L - span : L - 1] = given.line[..., delays.order].transpose(0, 1)
    for t in range(T):  # the same product as the specification's, so that it rounds alike
        if delays:
            delays.arrive(t, s, sent, z)
        torch.mm(z[:, t] if delays else s, V, out=returned)
        if given.mask is not None:
            returned.mul_(given.mask)
        torch.add(given.I[:, t], returned, out=current[:, t])
        run(t, t + 1)
    if delays:
        line[..., delays.order] = sent[L + T - span : L + T - 1].transpose(0, 1)


def step_back(
    run: Callable, given, spikes, z, d_I, d_spikes, d_line, needed: Sequence[bool]
) -> tuple[Tensor, tuple]:
    """All steps of the backward pass, which writes d_I.

    ``spikes`` [B, T, H] are those before each step; ``d_spikes`` of those after it are overwritten.
    Returns the gradient of the initial spikes by way of V, and those of what a ``Feedback`` has.
    """
    (B, T, H), V, mask = d_I.shape, given.V, given.mask
    delays = None if given.taps is None else Line(given)
    by_V, by_line, d_V, d_taps = d_I.new_empty(B, H), None, None, None
    if delays:
        V, span = V[delays.order], given.span
        d_z = d_I.new_empty(T + delays.length, B, H)
        d_z[T:] = 0
        # Of the spikes from step -span to T - 2, those that the lines hold and the initial ones
        d_sent = d_I.new_zeros(B, span + T - 1, H)
        if d_line is not None:
            d_sent[:, T:] = d_line
            d_spikes[:, : T - 1] += d_sent[:, span:]
    for t in reversed(range(T)):
        run(t, t + 1)
        arrived = d_I[:, t].contiguous() if mask is None else d_I[:, t] * mask
        torch.mm(arrived, V.T, out=d_z[t] if delays else by_V)
        if delays:
            delays.depart(t, d_z, by_V)
        if t > 0:
            d_spikes[:, t - 1] += by_V
    if needed[12]:
        arrived = d_I if mask is None else d_I * mask[:, None]
        d_V = (z if delays else spikes).flatten(0, 1).T @ arrived.flatten(0, 1)
    if delays:
        if needed[12]:
            d_V = torch.empty_like(d_V).index_copy_(0, delays.order, d_V)
        by_V += d_sent[:, span - 1]
        if given.line is not None:
            d_z = torch.cat([d_z.new_zeros(span - 1, B, H), d_z])
            spikes = torch.cat([given.line, spikes], dim=1)
        d_taps = delays.by_taps(spikes, d_z) if needed[14] else None
    if needed[16]:
        by_line, earlier = d_sent[:, : span - 1], torch.empty_like(by_V)
        for k in range(span - 1):
            delays.depart(k, d_z, earlier)
            by_line[:, k] += earlier
    return by_V, (d_V, None, d_taps, None, by_line)
