# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What all compiled CPU kernels share: working arrays, threads, and the loop over time.

Kernels are plain sequential functions over a range of batch rows that release the GIL. The rows are
spread over threads here rather than by Numba's own parallel loops, because Numba's OpenMP pool is a
second one beside PyTorch's (its idle threads spin on the cores that PyTorch needs) and its other
portable layer aborts the process when two Python threads meet in it.

Nothing is kept for the backward pass but the input and the state before every STEPS_KEPT-th step:
the steps between are computed again, exactly as before, while they fit the cache.
"""

import math
import time
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numba import types

from models.dynamics import naive
from models.dynamics.backends import Compilation
from models.dynamics.numba_kept import inlined, instruction, kernel
from models.dynamics.numba_threads import run_pieces

_WORTH_A_THREAD = 1 << 16  # neuron steps; less work than this is done before a thread wakes up
LINE = 64  # entries, whose bytes are a multiple of those of a line of the cache
PAGE = 1024  # entries
APART = 160  # entries, from the beginning of a page to that of the next array
BURST = 32  # rows that are read from memory, or written to it, at once: faster than one by one
LOOKS = 8  # entries that a kernel only looks at, in the time of a neuron step
_CHUNKS_PER_THREAD = 4  # smaller pieces than threads: a thread that starts late does less
STEPS_KEPT = 24  # steps that a backward pass recomputes at once; sized to stay in the L2 cache
UNROLLED = 4  # steps taken, or gone back, per visit of a neuron; STEPS_KEPT is a multiple
KEPT, WANTED, FIRED = map(np.uint8, (naive.KEPT, naive.WANTED, naive.FIRED))
F = np.float32
ONE, ZERO = F(1), F(0)


@instruction
def fused(typing, x, y, z):
    """x * y + z, rounded once."""

    def code(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), code


@instruction
def put(typing, x, place, value):
    """x[place] = value of a float32 array in one piece, one after another: instructions that write
    to several places at once take longer."""

    def code(context, builder, signature, arguments):
        array, place, value = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        builder.store_atomic(value, builder.gep(data, [place]), "monotonic", 4)
        return context.get_dummy_value()

    return types.none(x, types.intp, types.float32), code


@inlined
def read(x, row, begin, end):
    """Have rows begin to end of a clip in the cache, as far as x [B, T, H] is not empty: memory is
    read faster so than row by row between other work. The sum of what was looked at."""
    total = ZERO
    if x.size:
        for t in range(begin, end):
            for j in range(0, x.shape[2], LINE // 4):
                total += x[row, t, j]
    return total


def compile_first(compiled: Callable, arguments: tuple) -> None:
    """Compile, or read from disk, by a call on no rows.

    Does nothing for a kernel that is compiled already. ``arguments`` follow first and end.
    """
    if compiled.overloads:  # "signatures" takes longer than a small kernel
        return
    start = time.perf_counter()
    compiled(0, 0, *arguments)
    Compilation.seconds += time.perf_counter() - start


def arrays(*tensors: torch.Tensor) -> tuple[np.ndarray, ...]:
    """NumPy's views of ``tensors``: what a kernel writes to them it writes to the tensors."""
    return tuple([(x.detach() if x.requires_grad else x).numpy() for x in tensors])


def room(
    threads: int, *shape: int, dtype: torch.dtype = torch.float32, zero: bool = False
) -> np.ndarray:
    """A working array for each of the ``threads``, [threads, *shape], that begins with a line of
    the cache, as PyTorch's do and NumPy's may not: vectors that lie in two lines take twice as
    long, and lines that two threads write to much longer."""
    size = math.prod(shape)
    apart = threads, size + LINE - size % LINE
    whole = (torch.zeros if zero else torch.empty)(apart, dtype=dtype).numpy()
    return whole[:, :size].reshape(threads, *shape)


def apart(count: int, *shape: int) -> torch.Tensor:
    """As many arrays of zeros, each contiguous, [count, *shape], none of which begins at the same
    place of a page: a load waits for a store before it where the last 12 bits of their addresses
    are equal, as in a loop that adds to all arrays."""
    size = math.prod(shape)
    return torch.zeros(count, size + -size % PAGE + APART)[:, :size].view(count, *shape)


def nothing(threads: int) -> tuple[np.ndarray, ...]:
    """No working arrays."""
    return ()


def pieces(rows: int, steps: int, threads: int) -> tuple[int, list[int]]:
    """How many of the ``threads`` are worth it for ``rows`` of so many neuron ``steps`` each, and
    the bounds of the pieces that they take in turn."""
    threads = max(1, min(threads, rows, rows * steps // _WORTH_A_THREAD))
    if threads == 1:
        return 1, [0, rows]
    count = min(rows, threads * _CHUNKS_PER_THREAD)
    return threads, [rows * i // count for i in range(count + 1)]


def run_rows(
    compiled: Callable,
    rows: int,
    steps: int,
    *arguments,
    scratch: Callable[[int], tuple[np.ndarray, ...]] = nothing,
) -> None:
    """Call ``compiled(first, end, *arguments, *own)`` so that all ``rows`` are covered.

    Uses up to ``torch.get_num_threads()`` threads, this one included. Rows must be independent:
    results do not depend on how many threads there are.

    Args:
        compiled: a function made by :func:`kernel`.
        rows: batch rows to cover.
        steps: neuron steps per row, to judge whether threads pay.
        arguments: passed on.
        scratch: makes the working arrays of so many threads, each [threads, ...]; a thread has its
            ``own`` part of each.
    """
    threads, bounds = pieces(rows, steps, torch.get_num_threads())
    shared = scratch(threads)
    if not compiled.overloads or threads == 1:
        own = [x[0] for x in shared]
        compile_first(compiled, (*arguments, *own))
        if threads == 1:
            compiled(0, rows, *arguments, *own)
            return
    run_pieces(compiled, bounds, threads, arguments, shared)


class Kernels(NamedTuple):
    """A recurrence of one to three states x, y and q per neuron, by :func:`make_kernels`."""

    forward: Callable
    backward: Callable
    has_y: bool
    has_q: bool
    jumps: bool
    folds: bool
    each: bool
    # To be inlined: whether a neuron so far above the threshold spikes, a step and the window as
    # given, and the gradients of steps of a row
    fires: Callable
    step: Callable
    window: Callable
    back: Callable


def _pass_q(step: Callable, adjoint: Callable) -> tuple[Callable, Callable]:
    """The functions of a recurrence without a third state q as those of one that has it."""

    @inlined
    def step_past(current, x, y, q, s, c_0, c_1, c_2, c_3, c_4, theta, reset, scale):
        x, y, above = step(current, x, y, s, c_0, c_1, c_2, c_3, c_4, theta, reset, scale)
        return x, y, q, above

    @inlined
    def adjoint_past(
        d_s, d_x, d_y, d_q, current, x, y, s, new_x, new_y, c_0, c_1, c_2, c_3, c_4, theta, reset,
        scale, width,
    ):  # fmt: skip
        return adjoint(
            d_s, d_x, d_y, current, x, y, s, new_x, new_y, c_0, c_1, c_2, c_3, c_4, theta, reset,
            scale, width,
        )  # fmt: skip

    return step_past, adjoint_past


@cache
def firing(at_threshold: bool) -> Callable:
    """Whether a neuron spikes that is so far above the threshold, to be called in kernels."""
    return inlined((lambda above: above >= ZERO) if at_threshold else (lambda above: above > ZERO))


def make_kernels(
    step: Callable, adjoint: Callable, window: Callable, *, has_y: bool, jumps: bool, each: bool,
    folds: bool, has_q: bool = False, at_threshold: bool = False,
) -> Kernels:  # fmt: skip
    """Compile a recurrence with five coefficients per neuron, and theta, reset and scale.

    Args:
        step: (current, x, y, s, five coefficients, theta, reset, scale) -> x, y, and how far above
            the threshold the neuron is; inlined.
        adjoint: (gradients of s, x and y, current, x, y, s, new x, new y, five coefficients, theta,
            reset, scale, width) -> the gradient of the current, what is added to seven sums, four
            of coefficients and those of theta, reset and scale, and the gradients of x, y, s and of
            s by way of y; inlined.
        window: (that distance, width) -> the derivative of the spike; inlined.
        has_y: whether there is a second state y; without, its arrays and all sums but the first are
            neither read nor written: the compiler drops what has no effect.
        has_q: whether there is a third state q as well, and the gradient of a spike by way of it is
            that of q. ``step`` takes and returns q between y and s; ``adjoint`` takes its gradient
            behind that of y, q for s, and returns its gradient for that of s by way of y.
        at_threshold: whether a neuron spikes where that is 0, or only where it is more.
        jumps: whether there are a gradient of s by way of y and a fourth sum.
        each: whether every neuron has theta, reset and scale, and the backward kernel sums their
            gradients, instead of one for all.
        folds: whether the backward kernel takes gradients of spikes as they are after dropout, and
            their ``marks``: KEPT spikes, and where the gradient of a spike is WANTED, since dropout
            keeps it and the window is open; a neuron that FIRED may be dropped. The forward kernel
            writes marks if there are any. The current is ``slope * I + offset``, and the gradients
            of its ``slope`` and shift, as those of ``(I - mean) * slope + shift``, are summed, too.
    """

    fires = firing(at_threshold)
    if not has_q:
        step, adjoint = _pass_q(step, adjoint)

    @inlined
    def back(
        n, row, t, k, I, d_spikes, d_I, X, Y, S, d_x, d_y, d_s, d_jump, sum_0, sum_1, sum_2, sum_3,
        limits, c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width, norm,
    ):  # fmt: skip
        """Gradients of steps t + n - 1 down to t, whose history starts at row k.

        What reaches s, as a spike, by itself and by way of y, is kept apart and summed as autograd
        does, to the last bit.
        """
        d_theta, d_reset, d_scale = limits
        slope, offset = norm
        for j in range(d_I.shape[2]):
            dx, ds, dy, jump = d_x[row, j], d_s[row, j], ZERO, ZERO
            if has_y:
                dy = d_y[row, j]
            if jumps or has_q:
                jump = d_jump[row, j]
            total_0, total_1, total_2, total_3 = ZERO, ZERO, ZERO, ZERO
            by_theta, by_reset, by_scale = ZERO, ZERO, ZERO
            for later in range(n):
                i = n - 1 - later
                d_spike = d_spikes[0, i, j] if folds else d_spikes[row, t + i, j]
                given = I[row, t + i, j]
                current = fused(given, slope[j], offset[j]) if folds else given
                d_I_now, g_0, g_1, g_2, g_3, g_theta, g_reset, g_scale, dx, dy, ds, jump = adjoint(
                    d_spike + ds + jump, dx, dy, jump, current,
                    X[k + i, j], Y[k + i, j], S[k + i, j], X[k + i + 1, j], Y[k + i + 1, j],
                    c_0[j], c_1[j], c_2[j], c_3[j], c_4[j],
                    theta[j * each], reset[j * each], scale[j * each], width,
                )  # fmt: skip
                d_I[row, t + i, j] = d_I_now
                total_0 += g_0
                total_1 += g_1
                total_2 += g_2
                total_3 += g_3
                by_theta += g_theta
                by_reset += g_reset
                by_scale += g_scale
            d_x[row, j], d_s[row, j] = dx, ds
            sum_0[row, j] += total_0
            if has_y:
                d_y[row, j] = dy
                sum_1[row, j] += total_1
                sum_2[row, j] += total_2
            if jumps or has_q:
                d_jump[row, j] = jump
            if jumps:
                sum_3[row, j] += total_3
            if each:
                d_theta[row, j] += by_theta
                d_reset[row, j] += by_reset
                d_scale[row, j] += by_scale

    @inlined
    def pull_back(n, row, begin, end, I, d_I, mean, slope, sums):
        """Gradients of the normalisation, and of what it was of, from those of its results d_I."""
        d_slope, d_shift = sums
        for t in range(begin, end, n):
            for j in range(I.shape[2]):
                by_slope, by_shift = d_slope[row, j], d_shift[row, j]
                for i in range(n):
                    d_current = d_I[row, t + i, j]
                    by_shift += d_current
                    by_slope += d_current * (I[row, t + i, j] - mean[j])
                    d_I[row, t + i, j] = d_current * slope[j]
                d_slope[row, j], d_shift[row, j] = by_slope, by_shift

    @inlined
    def spread(n, row, t, d_spikes, marks, starts, at, values, gain, D):
        """Write what reaches the spikes of steps t to t + n - 1 into D."""
        for i in range(n):
            if starts.size == 0:
                for j in range(D.shape[2]):
                    wanted = marks[row, t + i, j] & WANTED
                    D[0, i, j] = d_spikes[row, t + i, j] * (gain if wanted else ZERO)
            else:
                place = row * marks.shape[1] + t + i
                D[0, i, :] = ZERO
                row_of = D[0, i]
                for e in range(starts[place], starts[place + 1]):
                    put(row_of, at[e], values[e] * gain)

    @inlined
    def forth(
        n, marking, row, begin, end, every, I, x, y, q, s, spikes, kept, c_0, c_1, c_2, c_3, c_4,
        theta, reset, scale, width, norm, fold,
    ):  # fmt: skip
        """Steps begin to end, n at a time, whose states between them stay in registers."""
        kept_x, kept_y, kept_q, kept_s = kept
        (slope, offset), (stays, gain, marks, counts) = norm, fold
        for t in range(begin, end, n):
            if every > 0 and t % every == 0:
                for j in range(I.shape[2]):
                    kept_x[row, t // every, j] = x[row, j]
                    kept_s[row, t // every, j] = s[row, j]
                    if has_y:
                        kept_y[row, t // every, j] = y[row, j]
                    if has_q:
                        kept_q[row, t // every, j] = q[row, j]
            for j in range(I.shape[2]):
                new_x, new_y, new_q, new_s = x[row, j], y[row, j], q[row, j], s[row, j]
                count = counts[row, j] if marking else ZERO
                for i in range(n):
                    new_x, new_y, new_q, above = step(
                        fused(I[row, t + i, j], slope[j], offset[j]), new_x, new_y, new_q, new_s,
                        c_0[j], c_1[j], c_2[j], c_3[j], c_4[j],
                        theta[j * each], reset[j * each], scale[j * each],
                    )  # fmt: skip
                    new_s = ONE if fires(above) else ZERO
                    if marking:
                        stay = stays[row, t + i, j]
                        opened = np.uint8(window(above, width) != ZERO)
                        spike = new_s * F(stay)
                        count += spike
                        mark = np.uint8(spike) * KEPT | np.uint8(stay & opened) * WANTED
                        marks[row, t + i, j] = mark | np.uint8(new_s) * FIRED
                        spikes[row, t + i, j] = spike * gain
                    else:
                        spikes[row, t + i, j] = new_s
                x[row, j], s[row, j] = new_x, new_s
                if has_y:
                    y[row, j] = new_y
                if has_q:
                    q[row, j] = new_q
                if marking:
                    counts[row, j] = count

    @kernel
    def forward_steps(
        first, end, start, stop, every, I, x, y, q, s, spikes, kept_x, kept_y, kept_q, kept_s,
        c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width, slope, offset, stays, gain, marks,
        counts,
    ):  # fmt: skip
        whole = stop - (stop - start) % UNROLLED
        kept, fold = (kept_x, kept_y, kept_q, kept_s), (stays, gain, marks, counts)
        for row in range(first, end):
            forth(
                UNROLLED, folds, row, start, whole, every, I, x, y, q, s, spikes, kept,
                c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width, (slope, offset), fold,
            )  # fmt: skip
            forth(  # what is left; with recurrent weights, steps come one by one
                1, folds or marks.size > 0, row, whole, stop, every, I, x, y, q, s, spikes, kept,
                c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width, (slope, offset), fold,
            )  # fmt: skip

    @kernel
    def backward_steps(
        first, end, start, stop, every, I, d_spikes, d_I, kept_x, kept_y, kept_s,
        d_x, d_y, d_s, d_jump, sum_0, sum_1, sum_2, sum_3, d_theta, d_reset, d_scale,
        c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width, marks, starts, at, values, gain, mean,
        slope, offset, d_slope, d_shift, X, Y, S, D,
    ):  # fmt: skip
        for row in range(end - 1, first - 1, -1):  # the latest rows are still cached
            for kept in range((stop - 1) // every, start // every - 1, -1):
                begin = kept * every
                until = min(begin + every, stop)
                whole = until - (until - begin) % UNROLLED
                # What is written is cached sooner, too, if rows are first filled one after another.
                D[0, 0, 0] = read(I, row, begin, until) + read(d_spikes, row, begin, until)
                d_I[row, begin:until] = ZERO
                for j in range(I.shape[2]):
                    X[0, j], S[0, j] = kept_x[row, kept, j], kept_s[row, kept, j]
                    if has_y:
                        Y[0, j] = kept_y[row, kept, j]
                # S holds q where there is one: nothing but V sees the spikes then. (Calls of more
                # than 30 arguments cannot be inlined.)
                # One step after another, as several would read several rows of I at once from
                # memory, which is slower.
                for t in range(begin, until):
                    k = t - begin
                    for j in range(I.shape[2]):
                        current = I[row, t, j]
                        if folds:
                            current = fused(current, slope[j], offset[j])
                        X[k + 1, j], y, q, above = step(
                            current, X[k, j], Y[k, j], S[k, j], S[k, j],
                            c_0[j], c_1[j], c_2[j], c_3[j], c_4[j],
                            theta[j * each], reset[j * each], scale[j * each],
                        )  # fmt: skip
                        if has_y:
                            Y[k + 1, j] = y
                        S[k + 1, j] = q if has_q else ONE if fires(above) else ZERO
                pulled = D if folds else d_spikes
                for t in range(until - 1, whole - 1, -1):
                    if folds:
                        spread(1, row, t, d_spikes, marks, starts, at, values, gain, D)
                    back(
                        1, row, t, t - begin, I, pulled, d_I, X, Y, S, d_x, d_y, d_s, d_jump,
                        sum_0, sum_1, sum_2, sum_3, (d_theta, d_reset, d_scale),
                        c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width,
                        (slope, offset),
                    )  # fmt: skip
                for t in range(whole - UNROLLED, begin - 1, -UNROLLED):
                    if folds:
                        spread(UNROLLED, row, t, d_spikes, marks, starts, at, values, gain, D)
                    back(
                        UNROLLED, row, t, t - begin, I, pulled, d_I, X, Y, S, d_x, d_y, d_s,
                        d_jump, sum_0, sum_1, sum_2, sum_3, (d_theta, d_reset, d_scale),
                        c_0, c_1, c_2, c_3, c_4, theta, reset, scale, width,
                        (slope, offset),
                    )  # fmt: skip
                if folds:
                    by_norm = d_slope, d_shift
                    pull_back(UNROLLED, row, begin, whole, I, d_I, mean, slope, by_norm)
                    pull_back(1, row, whole, until, I, d_I, mean, slope, by_norm)

    flags = has_y, has_q, jumps, folds, each
    return Kernels(forward_steps, backward_steps, *flags, fires, step, window, back)
