# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The loop over time with recurrent weights on the CPU: a matrix product at every step, and delays.

Where a spike is due is written when it is fired, ahead of time: a spike of neuron j adds its taps
to W neighbouring steps of z [B, T + L, H]. Most neurons are silent at most steps and cost one
comparison. The matrix V is applied to z once a step, whatever the delays. Backwards, every spike
collects the gradients of the same steps.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from models.dynamics.numba_support import ZERO, arrays, kernel, run_rows


@kernel
def _send(begin, end, t, s, z, taps, first):
    """What spikes s [B, H] before step t add to z."""
    H, W = taps.shape
    for row in range(begin, end):
        for j in range(H):
            if s[row, j] != ZERO:
                due = t + first[j] - 1
                for i in range(W):
                    z[row, due + i, j] += taps[j, i] * s[row, j]


@kernel
def _collect(begin, end, t, d_z, d_s, taps, first):
    """Gradient d_s [B, H] of the spikes before step t, by that of z."""
    H, W = taps.shape
    for row in range(begin, end):
        for j in range(H):
            due = t + first[j] - 1
            total = ZERO
            for i in range(W):
                total += taps[j, i] * d_z[row, due + i, j]
            d_s[row, j] = total


@kernel
def _by_taps(begin, end, s, d_z, first, d_taps):
    """Gradient [H, W] of the taps of neurons ``begin`` to ``end``; s [B, T, H] before each step."""
    B, T, _ = s.shape
    for row in range(B):
        for t in range(T):
            for j in range(begin, end):
                if s[row, t, j] != ZERO:
                    due = t + first[j] - 1
                    for i in range(d_taps.shape[1]):
                        d_taps[j, i] += s[row, t, j] * d_z[row, due + i, j]


class Line:
    """The delay line of a layer: z [B, T + L, H] of the forward pass, or its gradient.

    taps [H, W] and first [H] are those of a ``Feedback``.
    """

    def __init__(self, z: Tensor, taps: Tensor, first: Tensor):
        self.z = z
        self.arrays = arrays(z, taps.contiguous(), first.contiguous())

    def send(self, t: int, s: Tensor) -> None:
        """Spikes s [B, H] before step t set out."""
        z, *taps = self.arrays
        run_rows(_send, len(z), z.shape[2], t, *arrays(s), z, *taps)

    def collect(self, t: int, d_s: Tensor) -> None:
        """Write the gradient d_s [B, H] of these spikes."""
        z, taps, first = self.arrays
        run_rows(_collect, len(z), taps.size, t, z, *arrays(d_s), taps, first)

    def by_taps(self, s: Tensor) -> Tensor:
        """Gradient of the taps; spikes s [B, T, H] before each step."""
        z, taps, first = self.arrays
        found = np.zeros_like(taps)
        steps = s.shape[0] * s.shape[1]
        run_rows(_by_taps, len(taps), steps, *arrays(s), z, first, found)
        return torch.from_numpy(found)


def _line(given, z: Tensor) -> Line | None:
    """The delay line of inputs ``given``, where they have any."""
    return None if given.taps is None else Line(z, given.taps, given.first)


def step_by_step(run: Callable, given, s, z, line, current) -> None:
    """All steps of ``run(start, stop)``, which leaves its spikes in s [B, H].

    The current [B, T, H] is written, z if there are delays, and the line behind the last step.
    """
    T, delays, returned = current.shape[1], _line(given, z), torch.empty_like(s)
    if delays:
        z.zero_()
        if given.line is not None:
            z[:, : given.span] = given.line
    for t in range(T):  # the same product as the specification's, so that it rounds alike
        if delays:
            delays.send(t, s)
        torch.mm(z[:, t] if delays else s, given.V, out=returned)
        if given.mask is not None:
            returned.mul_(given.mask)
        torch.add(given.I[:, t], returned, out=current[:, t])
        run(t, t + 1)
    line.copy_(z[:, T:])


def step_back(
    run: Callable, given, spikes, z, d_I, d_spikes, d_line, needed: Sequence[bool]
) -> tuple[Tensor, tuple]:
    """All steps of the backward pass, which writes d_I.

    ``spikes`` [B, T, H] are those before each step; ``d_spikes`` of those after it are overwritten.
    Returns the gradient of the initial spikes by way of V, and those of what a ``Feedback`` has.
    """
    T, V, mask, d_z = d_I.shape[1], given.V, given.mask, torch.zeros_like(z)
    delays = _line(given, d_z)
    if delays and d_line is not None:
        d_z[:, T:] = d_line
    for t in reversed(range(T)):
        run(t, t + 1)
        arrived = d_I[:, t].contiguous() if mask is None else d_I[:, t] * mask
        by_V = torch.mm(arrived, V.T)
        if delays:
            d_z[:, t] = by_V
            delays.collect(t, by_V)
        if t > 0:
            d_spikes[:, t - 1] += by_V
    d_V = d_taps = None
    if needed[12]:
        arrived = d_I if mask is None else d_I * mask[:, None]
        sent = z[:, :T] if delays else spikes
        d_V = sent.flatten(0, 1).T @ arrived.flatten(0, 1)
    if delays and needed[14]:
        d_taps = delays.by_taps(spikes)
    d_line = d_z[:, : given.span].clone() if needed[16] else None
    return by_V, (d_V, None, d_taps, None, d_line)
