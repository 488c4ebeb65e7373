# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recurrent weights on a GPU: what spikes bring back, step by step, and their delays.

Forwards, ``Returning`` does what lies between two steps, backwards ``Back``. Delayed spikes are
gathered before the product with V, so that there is one product whatever the delays; gradients are
gathered in the same way, with time reversed. Programs read the line at other rows for every neuron.
It keeps neighbours together (time first), so that what one of them reads another reads a few taps
later. Nothing here waits for a device.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from models.dynamics.naive import Feedback
from models.dynamics.triton_support import SIZES, launch, own_gradient, place


@triton.jit(do_not_specialize=["newest", "to", "W", *SIZES])
def _arriving(s, sent, taps, first, out, newest, to, W, T, H, BLOCK: tl.constexpr):
    """Write s [B, H] to row ``newest`` of sent [..., B, H], and what arrives then, by taps [W, H],
    to step ``to`` of out [B, T, H]. The earliest is added first, as the specification does."""
    row, j, mask, at = place(H, BLOCK)
    size = tl.num_programs(0).to(tl.int64) * H
    now, delay = tl.load(s + at, mask, 0.0), tl.load(first + j, mask, 1)
    tl.store(sent + newest * size + at, now, mask)
    latest, taps = sent + (newest + 1 - delay) * size + at, taps + j
    z = tl.zeros((BLOCK,), tl.float32)
    for done in tl.range(W - 1, loop_unroll_factor=4):  # loads of several taps at once
        i = W - 1 - done
        z += tl.load(taps + i * H, mask, 0.0) * tl.load(latest - i * size, mask, 0.0)
    before = tl.load(latest, mask & (delay > 1), 0.0)
    z += tl.load(taps, mask, 0.0) * tl.where(delay > 1, before, now)
    tl.store(out + (row * T + to) * H + j, z, mask)


@triton.jit(do_not_specialize=["end", "W", *SIZES])
def _by_taps(s, d_z, first, d_taps, end, W, T, H, BLOCK: tl.constexpr):
    """Gradient [B, W, H] of the taps, a program for each of them and row; s [B, T, H] are spikes,
    and that before step t returns in rows ``end - t`` on, backwards, of d_z [..., B, H]."""
    program, j, mask, at = place(H, BLOCK)
    row, i = program // W, program % W
    size = tl.num_programs(0).to(tl.int64) // W * H
    due = d_z + (end - tl.load(first + j, mask, 1) - i) * size + row * H + j
    total, s = tl.zeros((BLOCK,), tl.float32), s + row * T * H + j
    for t in range(T):
        total += tl.load(s + t * H, mask, 0.0) * tl.load(due - t * size, mask, 0.0)
    tl.store(d_taps + at, total, mask)


class Line:
    """Delays of a batch of B rows over ``steps`` steps.

    ``sent`` [length + steps, B, H] is what sets out before each step. The first ``length`` rows but
    the last are of earlier steps, at first 0.
    """

    def __init__(self, given: Feedback, B: int, steps: int):
        self.length = given.span
        self.sent = given.taps.new_empty(given.span + steps, B, given.taps.shape[0])
        self.sent[: given.span] = 0
        self.first, self.taps = given.first.contiguous(), given.taps.T.contiguous()

    def row(self, t: int) -> Tensor:
        """Where what sets out before step t lies: [B, H]."""
        return self.sent[self.length + t - 1]

    def arriving(self, t: int, out: Tensor, to: int, s: Tensor | None = None) -> None:
        """Let s [B, H] set out before step t, unless it lies in ``row(t)``, and write what arrives
        at step t to ``out[:, to]``, which is [B, H]; t counts up."""
        (W, H), (B, T, _), last = self.taps.shape, out.shape, self.length + t - 1
        s = self.row(t) if s is None else s
        launch(_arriving, B, H, s, self.sent, self.taps, self.first, out, last, to, W, T)

    def by_taps(self, s: Tensor, steps: int) -> Tensor:
        """Gradient [H, W] of the taps, where that of z is in ``sent``, the last of ``steps`` steps
        first; s [B, T, H] are spikes before each step."""
        (W, H), (B, T, _) = self.taps.shape, s.shape
        d_taps, end = s.new_empty(B, W, H), self.length + steps
        launch(_by_taps, B * W, H, s, self.sent, self.first, d_taps, end, W, T)
        return d_taps.sum(dim=0).T


class Returning:
    """The forward pass over a current like ``I`` [B, T, H]; z [B, T, H] is written if there are
    delays."""

    def __init__(self, given: Feedback, I: Tensor, z: Tensor):
        B, self.T, H = I.shape
        self.given, self.z, self.V = given, z, given.V
        self.delays = None if given.taps is None else Line(given, B, self.T)
        self.returned = I.new_empty(B, H)
        if self.delays and given.line is not None:
            self._lines(0)[:] = given.line.transpose(0, 1)

    def _lines(self, t: int) -> Tensor:
        """What set out before the spikes before step t, as far as the line goes: [L - 1, B, H]."""
        begin = self.delays.length + t - self.given.span
        return self.delays.sent[begin : begin + self.given.span - 1]

    def __call__(self, t: int, s: Tensor) -> Tensor:
        """What arrives [B, H] at step t, from spikes s [B, H] before it; t counts up from 0.

        The product is the same as the specification's, so that it rounds alike.
        """
        if self.delays:
            self.delays.arriving(t, self.z, t, s)
        torch.mm(self.z[:, t] if self.delays else s, self.V, out=self.returned)
        if self.given.mask is not None:
            self.returned.mul_(self.given.mask)
        return self.returned

    def write(self, line: Tensor) -> None:
        """Write the line [B, L - 1, H] behind the last step, if there are delays."""
        if self.delays:
            line.copy_(self._lines(self.T).transpose(0, 1))


class Back:
    """The backward pass over gradients like ``d_I`` [B, T, H] of the current.

    ``by_V`` [B, H] is the gradient of the spikes before the step that was last, at first 0.
    ``d_line``, of the line behind the last step, is None where there is none.
    """

    def __init__(self, given: Feedback, d_I: Tensor, d_line: Tensor | None):
        B, self.T, H = d_I.shape
        self.given, self.V, self.delays = given, given.V, None
        self.by_V = d_I.new_zeros(B, H)
        # Of the spikes from step -span to T - 2, those that the lines hold and the initial ones
        self.d_sent = None
        if given.taps is not None:
            if d_line is not None:
                self.d_sent = functional.pad(d_line, (0, 0, self.T, 0))
            self.earlier = 0 if given.line is None else given.span - 1
            self.delays = Line(given, B, self.T + self.earlier)
            self.out = self.by_V[:, None]

    def to_spikes(self, d_spikes: Tensor) -> None:
        """Add what the line behind the last step brings to the gradient of spikes [B, T, H]."""
        if self.d_sent is not None:
            d_spikes[:, : self.T - 1] += self.d_sent[:, self.given.span :]

    def __call__(self, t: int, d_I: Tensor) -> None:
        """Take ``by_V`` from behind step t to before it; d_I [B, H] is the gradient of its current.

        t counts down from T - 1.
        """
        mask = self.given.mask
        arrived = d_I.contiguous() if mask is None else d_I * mask
        if self.delays:
            torch.mm(arrived, self.V.T, out=self.delays.row(self.T - t))
            self._gather(self.T - t)
        else:
            torch.mm(arrived, self.V.T, out=self.by_V)

    def _gather(self, back: int) -> None:
        """Take ``by_V`` to before the step that comes ``back`` steps after the end, backwards."""
        self.delays.arriving(back, self.out, 0)

    def gradients(
        self, spikes: Tensor, z: Tensor, d_I: Tensor, needed: Sequence[bool]
    ) -> tuple[Tensor, tuple]:
        """After the first step: the gradient of the initial spikes by way of V, and those of V,
        mask, taps, first and line, as far as they are ``needed``.

        ``spikes`` [B, T, H] are those before each step; d_I [B, T, H], of all currents.
        """
        given, delays, d_V, d_taps, by_line = self.given, self.delays, None, None, None
        needs_V, _, needs_taps, _, needs_line = needed
        if needs_V:
            arrived = d_I if given.mask is None else d_I * given.mask[:, None]
            d_V = (z if delays else spikes).flatten(0, 1).T @ arrived.flatten(0, 1)
        by_V = self.by_V.clone()
        if delays:
            delays.sent[delays.length + self.T :] = 0  # gradients of z before the first step
        if self.d_sent is not None:
            by_V += self.d_sent[:, given.span - 1]
        if needs_line:
            by_line = d_I.new_zeros(given.line.shape)
            if self.d_sent is not None:
                by_line += self.d_sent[:, : self.earlier]
            for k in reversed(range(self.earlier)):
                self._gather(self.T + self.earlier - k)
                by_line[:, k] += self.by_V
        if needs_taps:
            sent = spikes if given.line is None else torch.cat([given.line, spikes], dim=1)
            d_taps = delays.by_taps(sent, self.T + self.earlier)
        return by_V, (d_V, None, d_taps, None, by_line)


def forth(I: Tensor, way: Sequence[Tensor | None], span: int) -> Returning:
    """The forward pass over a current I [B, T, H]; ``way`` and ``span`` are those of ``way_of``."""
    B, T, H = I.shape
    return Returning(_given(way, span), I, I.new_empty(B, T * (span > 0), H))


def line_behind(returning: Returning) -> Tensor:
    """The line [B, L - 1, H] behind the last step; empty where there are no delays."""
    B, _, H = returning.z.shape
    line = returning.z.new_empty(B, max(0, returning.given.span - 1), H)
    returning.write(line)
    return line


def back(
    I: Tensor, way: Sequence[Tensor | None], span: int, d_spikes: Tensor | None,
    d_line: Tensor | None,
) -> tuple[Back, Tensor]:  # fmt: skip
    """The backward pass, and the gradient [B, T, H] of the spikes from outside of it."""
    returned = Back(_given(way, span), I, d_line)
    if d_spikes is None or d_line is not None:
        d_spikes = own_gradient(d_spikes, I, True)
        returned.to_spikes(d_spikes)
    return returned, d_spikes.contiguous()


def _given(way: Sequence[Tensor | None], span: int) -> Feedback:
    """Recurrent weights as they were given."""
    return Feedback(*way[:4], span, way[4])
