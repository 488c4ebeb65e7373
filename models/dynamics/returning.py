# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What spikes bring back through recurrent weights, step by step, in compiled back ends.

A back end runs the steps of its neurons and brings a ``DelayLine``; forwards, ``Returning`` does
what lies between two steps, backwards ``Back``. Delayed spikes are gathered before the product with
V, so that there is one product whatever the delays; gradients are gathered in the same way, with
time reversed. Nothing here waits for a device.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from models.dynamics.naive import Feedback


class DelayLine(ABC):
    """Delays of a batch of B rows over ``steps`` steps.

    ``sent`` [length + steps, B, H] is what sets out before each step, in the order of the neurons
    in ``order``; ``place`` is where each of them is. The first ``length`` rows but the last are of
    earlier steps, at first 0.
    """

    order: Tensor | slice = slice(None)
    place: Tensor | slice = slice(None)

    def __init__(self, given: Feedback, B: int, steps: int, length: int):
        self.length = length
        self.sent = given.taps.new_empty(length + steps, B, given.taps.shape[0])
        self.sent[:length] = 0

    def row(self, t: int) -> Tensor:
        """Where what sets out before step t lies: [B, H]."""
        return self.sent[self.length + t - 1]

    @abstractmethod
    def arriving(self, t: int, out: Tensor, to: int, s: Tensor | None = None) -> None:
        """Let s [B, H] set out before step t, unless it lies in ``row(t)``, and write what arrives
        at step t to ``out[:, to]``, which is [B, H] and in ``order``; t counts up."""

    def restored(self, x: Tensor) -> Tensor:
        """x [B, H], which is in ``order``, in the order of the neurons; not always a copy."""
        return x

    @abstractmethod
    def by_taps(self, s: Tensor, steps: int) -> Tensor:
        """Gradient [H, W] of the taps, where that of z is in ``sent``, the last of ``steps`` steps
        first; s [B, T, H] are spikes before each step."""


class Returning:
    """The forward pass over a current like ``I`` [B, T, H]; z [B, T, H] is written if there are
    delays."""

    def __init__(self, given: Feedback, I: Tensor, z: Tensor, line: type[DelayLine]):
        B, self.T, H = I.shape
        self.given, self.z, self.V = given, z, given.V
        self.delays = None if given.taps is None else line(given, B, self.T)
        self.returned = I.new_empty(B, H)
        if self.delays:
            self.V = self.V[self.delays.order]
            if given.line is not None:
                self._lines(0)[:] = given.line[..., self.delays.order].transpose(0, 1)

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
            line[..., self.delays.order] = self._lines(self.T).transpose(0, 1)


class Back:
    """The backward pass over gradients like ``d_I`` [B, T, H] of the current.

    ``by_V`` [B, H] is the gradient of the spikes before the step that was last, at first 0.
    ``d_line``, of the line behind the last step, is None where there is none.
    """

    def __init__(self, given: Feedback, d_I: Tensor, d_line: Tensor | None, line: type[DelayLine]):
        B, self.T, H = d_I.shape
        self.given, self.V, self.delays = given, given.V, None
        self.by_V = d_I.new_zeros(B, H)
        # Of the spikes from step -span to T - 2, those that the lines hold and the initial ones
        self.d_sent = None
        if given.taps is not None:
            if d_line is not None:
                self.d_sent = functional.pad(d_line, (0, 0, self.T, 0))
            self.earlier = 0 if given.line is None else given.span - 1
            self.delays = line(given, B, self.T + self.earlier)
            self.V, self.out = self.V[self.delays.order], self.by_V[:, None]

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
        self.by_V = self.delays.restored(self.out[:, 0])

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
            d_V = d_V if d_V is None else d_V[delays.place]
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
