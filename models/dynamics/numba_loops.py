# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The loops over time of the recurrences, forwards and backwards, as compiled CPU kernels.

Nothing is kept for the backward pass but the input and the state before every STEPS_KEPT-th step:
the steps between are computed again, exactly as before, while they fit the cache.
"""

from collections.abc import Callable

from models.dynamics.numba_support import UNROLLED, ZERO, inlined, kernel


def make_kernels(step: Callable, adjoint: Callable, has_y: bool, jumps: bool):
    """Forward and backward kernel of a recurrence with five coefficients per neuron.

    Args:
        step: (current, x, y, s, five coefficients, theta, reset, scale) -> x, y, s; inlined.
        adjoint: (gradients of s, x and y, current, x, y, s, new x, new y, five coefficients, theta,
            reset, scale, width) -> the gradient of the current, what is added to four sums, and
            the gradients of x, y, s and of s by way of y; inlined.
        has_y: whether there is a second state y; without, its arrays and all sums but the first are
            neither read nor written: the compiler drops what has no effect.
        jumps: whether there are a gradient of s by way of y and a fourth sum.
    """

    @inlined
    def again(row, t, k, I, X, Y, S, c_0, c_1, c_2, c_3, c_4, theta, reset, scale):
        """Step t once more, from row k of the history.

        Several steps per visit of a neuron, as below, would read several rows of I at once from
        memory, which is slower than one after another.
        """
        for j in range(I.shape[2]):
            X[k + 1, j], y, S[k + 1, j] = step(
                I[row, t, j], X[k, j], Y[k, j], S[k, j],
                c_0[j], c_1[j], c_2[j], c_3[j], c_4[j], theta, reset, scale,
            )  # fmt: skip
            if has_y:
                Y[k + 1, j] = y

    @inlined
    def back(
        n, row, t, k, I, d_spikes, d_I, X, Y, S, d_x, d_y, d_s, d_jump, sum_0, sum_1, sum_2, sum_3,
        c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width,
    ):  # fmt: skip
        """Gradients of steps t + n - 1 down to t, whose history starts at row k.

        What reaches s, as a spike, by itself and by way of y, is kept apart and summed as autograd
        does, to the last bit.
        """
        for j in range(d_I.shape[2]):
            dx, ds, dy, jump = d_x[row, j], d_s[row, j], ZERO, ZERO
            if has_y:
                dy = d_y[row, j]
            if jumps:
                jump = d_jump[row, j]
            total_0, total_1, total_2, total_3 = ZERO, ZERO, ZERO, ZERO
            for later in range(n):
                i = n - 1 - later
                d_current, g_0, g_1, g_2, g_3, dx, dy, ds, jump = adjoint(
                    d_spikes[row, t + i, j] + ds + jump, dx, dy, I[row, t + i, j],
                    X[k + i, j], Y[k + i, j], S[k + i, j], X[k + i + 1, j], Y[k + i + 1, j],
                    c_0[j], c_1[j], c_2[j], c_3[j], c_4[j], theta, reset, scale, width,
                )  # fmt: skip
                d_I[row, t + i, j] = d_current
                total_0 += g_0
                total_1 += g_1
                total_2 += g_2
                total_3 += g_3
            d_x[row, j], d_s[row, j] = dx, ds
            sum_0[row, j] += total_0
            if has_y:
                d_y[row, j] = dy
                sum_1[row, j] += total_1
                sum_2[row, j] += total_2
            if jumps:
                d_jump[row, j] = jump
                sum_3[row, j] += total_3

    @kernel
    def forward_steps(
        first, end, start, stop, every, I, x, y, s, spikes, kept_x, kept_y, kept_s,
        c_0, c_1, c_2, c_3, c_4, theta, reset, scale,
    ):  # fmt: skip
        for row in range(first, end):
            for t in range(start, stop):
                if every > 0 and t % every == 0:
                    for j in range(I.shape[2]):
                        kept_x[row, t // every, j] = x[row, j]
                        kept_s[row, t // every, j] = s[row, j]
                        if has_y:
                            kept_y[row, t // every, j] = y[row, j]
                for j in range(I.shape[2]):
                    new_x, new_y, new_s = step(
                        I[row, t, j], x[row, j], y[row, j], s[row, j],
                        c_0[j], c_1[j], c_2[j], c_3[j], c_4[j], theta, reset, scale,
                    )  # fmt: skip
                    x[row, j], s[row, j], spikes[row, t, j] = new_x, new_s, new_s
                    if has_y:
                        y[row, j] = new_y

    @kernel
    def backward_steps(
        first, end, start, stop, every, I, d_spikes, d_I, kept_x, kept_y, kept_s,
        d_x, d_y, d_s, d_jump, sum_0, sum_1, sum_2, sum_3,
        c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width, X, Y, S,
    ):  # fmt: skip
        for row in range(end - 1, first - 1, -1):  # the latest rows are still cached
            for kept in range((stop - 1) // every, start // every - 1, -1):
                begin = kept * every
                until = min(begin + every, stop)
                whole = until - (until - begin) % UNROLLED
                for j in range(I.shape[2]):
                    X[0, j], S[0, j] = kept_x[row, kept, j], kept_s[row, kept, j]
                    if has_y:
                        Y[0, j] = kept_y[row, kept, j]
                for t in range(begin, until):
                    again(
                        row, t, t - begin, I, X, Y, S, c_0, c_1, c_2, c_3, c_4, theta, reset, scale
                    )
                for t in range(until - 1, whole - 1, -1):
                    back(
                        1, row, t, t - begin, I, d_spikes, d_I, X, Y, S, d_x, d_y, d_s, d_jump,
                        sum_0, sum_1, sum_2, sum_3, c_0, c_1, c_2, c_3, c_4, theta, reset, scale,
                        width,
                    )  # fmt: skip
                for t in range(whole - UNROLLED, begin - 1, -UNROLLED):
                    back(
                        UNROLLED, row, t, t - begin, I, d_spikes, d_I, X, Y, S, d_x, d_y, d_s,
                        d_jump, sum_0, sum_1, sum_2, sum_3, c_0, c_1, c_2, c_3, c_4, theta, reset,
                        scale, width,
                    )  # fmt: skip

    return forward_steps, backward_steps
