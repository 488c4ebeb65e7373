# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recurrent weights on the CPU where few neurons spike: whole clips by themselves, from events.

A dense product for every step would have all clips of a batch wait for each other twice a step.
Here each goes through many steps alone: a row of V is added for every spike, and backwards a row of
V is multiplied with the gradient of the current only for neurons whose surrogate window is open, as
the gradient of any other spike is multiplied by zero. Sums of the forward pass have the terms of
the dense product in the order of its index: results differ by rounding only, and do not depend on
the number of threads.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from models.dynamics.numba_support import KEPT, ONE, WANTED, ZERO, Kernels, kernel
from models.linear_cpu import BIT, add_products, add_rows, bits_of, lowest_bit


@kernel
def find(marks, places):
    """Write which of the ``marks``, a multiple of 64, are WANTED; returns how many."""
    count = 0
    for begin in range(0, marks.size, 64):
        left = bits_of(marks, begin, WANTED)
        while left != 0:
            places[count] = begin + np.int64(lowest_bit(left))
            left, count = left & (left - BIT), count + 1
    return count


def room(H: int) -> tuple[np.ndarray, ...]:
    """Scratch of a thread: marks, the places of those wanted, ones (room for how far neurons are
    above the threshold), and what arrives."""
    marks = np.zeros(H + -H % 64, np.uint8)
    return marks, np.empty(H, np.int64), *np.ones((2, H), np.float32)


class ClipKernels(NamedTuple):
    """What goes through clips one by one, see :func:`clip_kernels`."""

    forward: Callable
    backward: Callable
    count_open: Callable


@cache
def clip_kernels(kernels: Kernels) -> ClipKernels:
    """Those of a recurrence: they take what its kernels take and, behind ``every``, V [H, H], the
    ``mask`` [B, H] or [1, H] of what arrives, and the given current or the marks of spikes."""
    one_step, step, window, back = kernels.forward, kernels.step, kernels.window, kernels.back
    has_y, has_q, each = kernels.has_y, kernels.has_q, kernels.each

    @kernel
    def forward(
        first, end, start, stop, every, V, mask, given, I, x, y, q, s, spikes,
        kept_x, kept_y, kept_q, kept_s, c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width,
        slope, offset, stays, gain, marks, counts, above, spiked, places, ones, arrived,
    ):  # fmt: skip
        """Steps start to stop, which complete the current I; s before them is 0 or 1."""
        for row in range(first, end):
            passed = mask[row % len(mask)]
            for t in range(start, stop):
                for j in range(I.shape[2]):
                    spiked[j] = WANTED if s[row, j] > ZERO else 0
                arrived[:] = ZERO
                add_rows(arrived, 0, find(spiked, places), places, ones, V)
                for j in range(I.shape[2]):
                    I[row, t, j] = given[row, t, j] + arrived[j] * passed[j]
                one_step(
                    row, row + 1, t, t + 1, every, I, x, y, q, s, spikes,
                    kept_x, kept_y, kept_q, kept_s, c_0, c_1, c_2, c_3, c_4, theta, reset, scale,
                    width, slope, offset, stays, gain, marks, counts, above,
                )  # fmt: skip

    @kernel
    def backward(
        first, end, start, stop, every, V, mask, spiked, I, d_spikes, d_I, kept_x, kept_y, kept_s,
        d_x, d_y, d_s, d_jump, sum_0, sum_1, sum_2, sum_3, d_theta, d_reset, d_scale,
        c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width, marks, gain, mean, slope, offset,
        d_slope, d_shift, X, Y, S, D, C, opened, places, above, arrived,
    ):  # fmt: skip
        """All steps, the state before each being kept; marks as KEPT in ``spiked`` [B, T, H] the
        spikes before each but the first."""
        for row in range(end - 1, first - 1, -1):
            passed = mask[row % len(mask)]
            spiked[row, 0] = 0
            for t in range(stop - 1, start - 1, -1):
                for j in range(I.shape[2]):
                    X[0, j], S[0, j] = kept_x[row, t, j], kept_s[row, t, j]
                    if has_y:
                        Y[0, j] = kept_y[row, t, j]
                    X[1, j], y, q, above[j] = step(
                        I[row, t, j], X[0, j], Y[0, j], S[0, j], S[0, j],
                        c_0[j], c_1[j], c_2[j], c_3[j], c_4[j],
                        theta[j * each], reset[j * each], scale[j * each],
                    )  # fmt: skip
                    if has_y:
                        Y[1, j] = y
                    S[1, j] = q if has_q else ONE if above[j] > ZERO else ZERO
                    opened[j] = WANTED if window(above[j], width) != ZERO else 0
                if t + 1 < stop:
                    for j in range(I.shape[2]):
                        spiked[row, t + 1, j] = KEPT if above[j] > ZERO else 0
                        arrived[j] = d_I[row, t + 1, j] * passed[j]
                    add_products(d_s[row], 0, find(opened, places), places, V, arrived)
                back(
                    1, row, t, 0, I, d_spikes, d_I, X, Y, S, d_x, d_y, d_s, d_jump,
                    sum_0, sum_1, sum_2, sum_3, d_theta, d_reset, d_scale,
                    c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width,
                )  # fmt: skip

    @kernel
    def count_open(
        first, end, apart, counts, I, kept_x, kept_y, kept_s,
        c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width,
    ):  # fmt: skip
        """How many windows are open in the last of every ``apart`` steps, for each clip."""
        for row in range(first, end):
            count = 0
            for t in range(I.shape[1] - 1, -1, -apart):
                for j in range(I.shape[2]):
                    before = kept_s[row, t, j]
                    _, _, _, above = step(
                        I[row, t, j], kept_x[row, t, j], kept_y[row, t, j], before, before,
                        c_0[j], c_1[j], c_2[j], c_3[j], c_4[j],
                        theta[j * each], reset[j * each], scale[j * each],
                    )  # fmt: skip
                    count += window(above, width) != ZERO
            counts[row] = count

    return ClipKernels(forward, backward, count_open)
