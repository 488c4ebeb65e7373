# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recurrent weights and their delays on the CPU: a few clips by themselves through all steps.

A product for every step would have all clips of a batch wait for each other twice a step. Here a
group of clips, which shares what is read of V, goes through the steps alone. Forward, a row of V is
added for every spike; backwards a row of V is multiplied with the gradient of the current only for
neurons whose surrogate window is open, as the gradient of any other spike is multiplied by zero.
Where most neurons spike, or most windows are open, rows of V are taken one after another for all
clips of the group. A spike with delays adds its taps to what arrives later, and its gradient
gathers them. Sums of the forward pass have the terms of the dense product in the order of its
index, whether zeros are left out or not: results differ by rounding only, and do not depend on the
number of threads.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from models.dynamics.numba_kept import kernel, summing_kernel
from models.dynamics.numba_support import KEPT, ONE, WANTED, ZERO, Kernels, room
from models.events_cpu import BIT, bits_of, lowest_bit
from models.linear_cpu import add_rows
from models.places import products

GROUP = 4  # clips


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


@kernel
def spread(first, end, at, sent, taps, delays, z):
    """Add to z [B, T, H] what spikes ``sent`` [B, E, H] at the steps from ``at`` on bring back,
    as far as there are steps; taps [H, W], delays [H]."""
    for row in range(first, end):
        for e in range(sent.shape[1]):
            for j in range(sent.shape[2]):
                if sent[row, e, j] != ZERO:
                    begin = at + e + delays[j]
                    for i in range(max(0, -begin), min(taps.shape[1], z.shape[1] - begin)):
                        z[row, begin + i, j] += taps[j, i] * sent[row, e, j]


@kernel
def add_all_rows(out, values, V):
    """out [4, H] += values [4, K] times V [K, H], one row of V after another."""
    whole, (out_0, out_1, out_2, out_3) = len(V) - len(V) % 4, (out[0], out[1], out[2], out[3])
    for k in range(0, whole, 4):
        a, b, c, d = V[k], V[k + 1], V[k + 2], V[k + 3]
        a_0, a_1, a_2, a_3 = values[0, k], values[1, k], values[2, k], values[3, k]
        b_0, b_1, b_2, b_3 = values[0, k + 1], values[1, k + 1], values[2, k + 1], values[3, k + 1]
        c_0, c_1, c_2, c_3 = values[0, k + 2], values[1, k + 2], values[2, k + 2], values[3, k + 2]
        d_0, d_1, d_2, d_3 = values[0, k + 3], values[1, k + 3], values[2, k + 3], values[3, k + 3]
        for j in range(out_0.size):
            out_0[j] = out_0[j] + a_0 * a[j] + b_0 * b[j] + c_0 * c[j] + d_0 * d[j]
            out_1[j] = out_1[j] + a_1 * a[j] + b_1 * b[j] + c_1 * c[j] + d_1 * d[j]
            out_2[j] = out_2[j] + a_2 * a[j] + b_2 * b[j] + c_2 * c[j] + d_2 * d[j]
            out_3[j] = out_3[j] + a_3 * a[j] + b_3 * b[j] + c_3 * c[j] + d_3 * d[j]
    for k in range(whole, len(V)):
        for n in range(4):
            for j in range(out_0.size):
                out[n, j] += values[n, k] * V[k, j]


@summing_kernel
def all_products(out, V, g):
    """out [4, H] = the products of all rows of V with each row of g [4, K]."""
    g_0, g_1, g_2, g_3 = g[0], g[1], g[2], g[3]
    whole = len(V) - len(V) % 4
    for j in range(0, whole, 4):
        a, b, c, d = V[j], V[j + 1], V[j + 2], V[j + 3]
        a_0, a_1, a_2, a_3 = ZERO, ZERO, ZERO, ZERO
        b_0, b_1, b_2, b_3 = ZERO, ZERO, ZERO, ZERO
        c_0, c_1, c_2, c_3 = ZERO, ZERO, ZERO, ZERO
        d_0, d_1, d_2, d_3 = ZERO, ZERO, ZERO, ZERO
        for k in range(g_0.size):
            a_0 += a[k] * g_0[k]
            a_1 += a[k] * g_1[k]
            a_2 += a[k] * g_2[k]
            a_3 += a[k] * g_3[k]
            b_0 += b[k] * g_0[k]
            b_1 += b[k] * g_1[k]
            b_2 += b[k] * g_2[k]
            b_3 += b[k] * g_3[k]
            c_0 += c[k] * g_0[k]
            c_1 += c[k] * g_1[k]
            c_2 += c[k] * g_2[k]
            c_3 += c[k] * g_3[k]
            d_0 += d[k] * g_0[k]
            d_1 += d[k] * g_1[k]
            d_2 += d[k] * g_2[k]
            d_3 += d[k] * g_3[k]
        out[0, j], out[0, j + 1], out[0, j + 2], out[0, j + 3] = a_0, b_0, c_0, d_0
        out[1, j], out[1, j + 1], out[1, j + 2], out[1, j + 3] = a_1, b_1, c_1, d_1
        out[2, j], out[2, j + 1], out[2, j + 2], out[2, j + 3] = a_2, b_2, c_2, d_2
        out[3, j], out[3, j + 1], out[3, j + 2], out[3, j + 3] = a_3, b_3, c_3, d_3
    for j in range(whole, len(V)):
        for n in range(4):
            total, row = ZERO, g[n]
            for k in range(row.size):
                total += V[j, k] * row[k]
            out[n, j] = total


class ClipKernels(NamedTuple):
    """What takes groups of clips through the steps, see :func:`clip_kernels`."""

    forward: Callable
    backward: Callable


def forward_room(threads: int, H: int) -> tuple[np.ndarray, ...]:
    """Scratch of threads: marks, places of spikes, their values, what arrives, counts."""
    marks = room(threads, H + -H % 64, dtype=torch.uint8, zero=True)
    places = room(threads, GROUP, H, dtype=torch.int64)
    return marks, places, *(room(threads, GROUP, H, zero=True) for _ in range(3))


def backward_room(threads: int, H: int, steps: int) -> tuple[np.ndarray, ...]:
    """Scratch of threads: where the gradient of z is wanted, marks, places of them,
    what is found there, how far neurons are above the threshold, what arrives, and the gradient of
    z, of so many ``steps``."""
    wide, bytes_of = H + -H % 64, {"dtype": torch.uint8, "zero": True}
    wanted, marks = (
        room(threads, GROUP, steps, wide, **bytes_of),
        room(threads, GROUP, wide, **bytes_of),
    )
    places, found = room(threads, GROUP, H, dtype=torch.int64), [room(threads, H) for _ in range(2)]
    for row in found:
        row[:] = ONE
    arrived, d_z = room(threads, GROUP, H, zero=True), room(threads, steps, GROUP, H, zero=True)
    return wanted, marks, places, *found, arrived, d_z


@cache
def clip_kernels(kernels: Kernels) -> ClipKernels:
    """Those of a recurrence, over groups of clips.

    They take what its kernels take and, behind ``every``: V [H, H]; the ``mask`` [B, H] or [1, H]
    of what arrives; taps [H, W] and delays [H] of the first of them; the share of spikes, or open
    windows, above which all rows of V are taken; the given current and z, which is empty without
    delays, or what ``backward`` names.
    """
    one_step, step, window, back = kernels.forward, kernels.step, kernels.window, kernels.back
    fires = kernels.fires
    has_y, has_q, each = kernels.has_y, kernels.has_q, kernels.each

    @kernel
    def forward(
        first, end, start, stop, every, V, mask, taps, delays, most, given, z, I, x, y, q, s,
        spikes, kept_x, kept_y, kept_q, kept_s, c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width,
        slope, offset, stays, gain, marks, counts, spiked, places, values, arrived, sources,
    ):  # fmt: skip
        """All steps, which complete the current I; s before them may be any numbers."""
        for group in range(first, end):
            begin = group * GROUP
            until = min(begin + GROUP, len(I))
            for t in range(start, stop):
                some_are_dense = False
                for row in range(begin, until):
                    n = row - begin
                    source = z[row, t] if z.size else s[row]
                    for j in range(I.shape[2]):
                        sources[n, j] = source[j]
                        spiked[j] = WANTED if source[j] != ZERO else 0
                    count = find(spiked, places[n])
                    for i in range(count):
                        values[n, i] = source[places[n, i]]
                    arrived[n, :] = ZERO
                    if count <= most * I.shape[2] or until < begin + GROUP:
                        add_rows(arrived[n], 0, count, places[n], values[n], V)
                        sources[n, :] = ZERO
                    else:
                        some_are_dense = True
                if some_are_dense:
                    add_all_rows(arrived, sources, V)
                for row in range(begin, until):
                    n, passed = row - begin, mask[row % len(mask)]
                    for j in range(I.shape[2]):
                        I[row, t, j] = given[row, t, j] + arrived[n, j] * passed[j]
                    one_step(
                        row, row + 1, t, t + 1, every, I, x, y, q, s, spikes,
                        kept_x, kept_y, kept_q, kept_s, c_0, c_1, c_2, c_3, c_4, theta, reset,
                        scale, width, slope, offset, stays, gain, marks, counts,
                    )  # fmt: skip
                    if z.size:
                        for j in range(I.shape[2]):
                            spiked[j] = WANTED if s[row, j] > ZERO else 0
                        for k in range(find(spiked, places[n])):
                            j = places[n, k]
                            at = t + delays[j]
                            for i in range(min(taps.shape[1], z.shape[1] - at)):
                                z[row, at + i, j] += taps[j, i]

    @kernel
    def backward(
        first, end, start, stop, every, V, mask, taps, delays, most, spiked, sent, wants_sent,
        d_sent, d_taps, I, d_spikes, d_I, kept_x, kept_y, kept_s,
        d_x, d_y, d_s, d_jump, sum_0, sum_1, sum_2, sum_3, d_theta, d_reset, d_scale,
        c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width, marks, starts, at, values, gain, mean,
        slope, offset, d_slope, d_shift, X, Y, S, D, wanted, opened, places, found, above,
        arrived, d_z,
    ):  # fmt: skip
        """All steps from the first on, the state before each being kept.

        Marks as KEPT in ``spiked`` [B, T, H], unless it is empty, the spikes before each step but
        the first. ``sent`` [B, E, H] are the spikes before the first step; their gradient is
        written where it ``wants_sent``. Adds to d_taps [groups, H, W], unless it is empty.
        """
        E, W, H = sent.shape[1], taps.shape[1], I.shape[2]
        for group in range(first, end):
            begin = group * GROUP
            until = min(begin + GROUP, len(I))
            wanted[:] = 0
            for row in range(begin, until):
                n = row - begin
                for t in range(stop):
                    for j in range(H):
                        before = kept_s[row, t, j]
                        _, _, _, beyond = step(
                            I[row, t, j], kept_x[row, t, j], kept_y[row, t, j], before, before,
                            c_0[j], c_1[j], c_2[j], c_3[j], c_4[j],
                            theta[j * each], reset[j * each], scale[j * each],
                        )  # fmt: skip
                        wants = (window(beyond, width) != ZERO) | fires(beyond) & (d_taps.size > 0)
                        opened[n, j] = WANTED if wants else 0
                    for k in range(find(opened[n], places[n])):
                        j = places[n, k]
                        at = t + delays[j]
                        for i in range(min(W, stop - at)):
                            wanted[n, at + i, j] = WANTED
                for e in range(E):
                    for j in range(H):
                        if wants_sent or (d_taps.size and sent[row, e, j] != ZERO):
                            at = e - E + delays[j]
                            for i in range(max(0, -at), min(W, stop - at)):
                                wanted[n, at + i, j] = WANTED

            for t in range(stop - 1, -1, -1):
                total = 0
                for row in range(begin, until):
                    n, passed = row - begin, mask[row % len(mask)]
                    for j in range(H):
                        X[2 * n, j], S[2 * n, j] = kept_x[row, t, j], kept_s[row, t, j]
                        if has_y:
                            Y[2 * n, j] = kept_y[row, t, j]
                        X[2 * n + 1, j], y, q, above[j] = step(
                            I[row, t, j], X[2 * n, j], Y[2 * n, j], S[2 * n, j], S[2 * n, j],
                            c_0[j], c_1[j], c_2[j], c_3[j], c_4[j],
                            theta[j * each], reset[j * each], scale[j * each],
                        )  # fmt: skip
                        if has_y:
                            Y[2 * n + 1, j] = y
                        S[2 * n + 1, j] = q if has_q else ONE if fires(above[j]) else ZERO
                        opened[n, j] = WANTED if window(above[j], width) != ZERO else 0
                    for k in range(find(opened[n], places[n])):
                        j, by_V = places[n, k], ZERO
                        at = t + delays[j]
                        for i in range(min(W, stop - at)):
                            by_V += taps[j, i] * d_z[at + i, n, j]
                        d_s[row, j] += by_V
                    if spiked.size and t + 1 < stop:
                        for j in range(H):
                            spiked[row, t + 1, j] = KEPT if fires(above[j]) else 0
                    if d_taps.size:
                        for j in range(H):
                            opened[n, j] = WANTED if fires(above[j]) else 0
                        for k in range(find(opened[n], places[n])):
                            j = places[n, k]
                            at = t + delays[j]
                            for i in range(min(W, stop - at)):
                                d_taps[group, j, i] += d_z[at + i, n, j]
                    back(
                        1, row, t, 2 * n, I, d_spikes, d_I, X, Y, S, d_x, d_y, d_s, d_jump,
                        sum_0, sum_1, sum_2, sum_3, (d_theta, d_reset, d_scale),
                        c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width,
                        (slope, offset),
                    )  # fmt: skip
                    for j in range(H):
                        arrived[n, j] = d_I[row, t, j] * passed[j]
                        total += wanted[n, t, j] != 0
                if total > most * H * (until - begin):
                    all_products(d_z[t], V, arrived)
                else:
                    for n in range(until - begin):
                        d_z[t, n, :] = ZERO
                        count = find(wanted[n, t], places[n])
                        products(0, count, places[n], V, arrived[n], found)
                        for i in range(count):
                            d_z[t, n, places[n, i]] = found[i]

            for row in range(begin, until):
                n = row - begin
                for e in range(E):
                    for j in range(H):
                        at = e - E + delays[j]
                        for i in range(max(0, -at), min(W, stop - at)):
                            if wants_sent:
                                d_sent[row, e, j] += taps[j, i] * d_z[at + i, n, j]
                            if d_taps.size:
                                d_taps[group, j, i] += sent[row, e, j] * d_z[at + i, n, j]

    return ClipKernels(forward, backward)
