# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recurrent weights on a GPU: the delay line, by one launch per step, and what is done with it.

Programs read the line at other rows for every neuron. It keeps neighbours together (time first), so
that what one of them reads another reads a few taps later.
"""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from models.dynamics.naive import Feedback
from models.dynamics.returning import Back, DelayLine, Returning
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


class Line(DelayLine):
    """Delays in the order of the neurons."""

    def __init__(self, given: Feedback, B: int, steps: int):
        super().__init__(given, B, steps, given.span)
        self.first, self.taps = given.first.contiguous(), given.taps.T.contiguous()

    def arriving(self, t: int, out: Tensor, to: int, s: Tensor | None = None) -> None:
        (W, H), (B, T, _), last = self.taps.shape, out.shape, self.length + t - 1
        s = self.row(t) if s is None else s
        launch(_arriving, B, H, s, self.sent, self.taps, self.first, out, last, to, W, T)

    def by_taps(self, s: Tensor, steps: int) -> Tensor:
        (W, H), (B, T, _) = self.taps.shape, s.shape
        d_taps, end = s.new_empty(B, W, H), self.length + steps
        launch(_by_taps, B * W, H, s, self.sent, self.first, d_taps, end, W, T)
        return d_taps.sum(dim=0).T


def forth(I: Tensor, way: Sequence[Tensor | None], span: int) -> Returning:
    """The forward pass over a current I [B, T, H]; ``way`` and ``span`` are those of ``way_of``."""
    B, T, H = I.shape
    return Returning(_given(way, span), I, I.new_empty(B, T * (span > 0), H), Line)


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
    returned = Back(_given(way, span), I, d_line, Line)
    if d_spikes is None or d_line is not None:
        d_spikes = own_gradient(d_spikes, I, True)
        returned.to_spikes(d_spikes)
    return returned, d_spikes.contiguous()


def _given(way: Sequence[Tensor | None], span: int) -> Feedback:
    """Recurrent weights as they were given."""
    return Feedback(*way[:4], span, way[4])
