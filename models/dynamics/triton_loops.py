# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The loops over time of the recurrences, forwards and backwards, as GPU kernels.

A recurrence brings two functions, its ``step`` and the ``adjoint`` of it (see ``Kind``). The loop
runs inside the kernels, the state of a neuron stays in registers. Kept for the backward pass: the
input, and the state before every eighth step, from which the backward pass computes the seven
behind it again, by the same operations. That moves and holds fewer bytes than every state.

What a ``Fold`` asks for, normalisation before and dropout after the recurrence, is done while the
values are in registers; what is kept then is the input as it was before normalisation.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from models.dynamics.naive import Fold
from models.dynamics.triton_support import (
    RUN,
    SIZES,
    launch,
    load_eight,
    place,
    spike,
)
from models.surrogate import Surrogate

_RUN = tl.constexpr(RUN)


class Kind(NamedTuple):
    """A recurrence of one or two states x and y per neuron that spikes by ``scale * x - theta``.

    Coefficients c are four numbers per neuron, limits l three: theta, reset and scale. The sums of
    gradients are those of the seven, in this order. Gradients g of the state are six: of x, y and
    the last spike, and three for whatever else the adjoint keeps.
    """

    # step(current, x, y, s, c, l, FLAG) -> x, y
    step: Callable
    # adjoint(current, d_spike, x, new x, y, s, g, sums, c, l, FLAG, SURROGATE, WIDTH, LEARNS) ->
    # gradient of the current, g, sums, those of the limits only if it LEARNS
    adjoint: Callable
    flag: bool
    has_y: bool = True
    # Whether the sums of the first two coefficients lack the share of the initial y, which the
    # last two of g give.
    filters: bool = False
    scales: bool = False  # whether there are reset and scale
    stride: int = 1  # between neighbours in x, y and the first two coefficients

    def flags(self) -> dict:
        """Constants of both kernels."""
        return {"STEP": self.step, "FLAG": self.flag, "HAS_Y": self.has_y, "SCALES": self.scales,
                "STRIDE": self.stride}  # fmt: skip


@triton.jit
def load_coefficients(c_0, c_1, c_2, c_3, j, mask, STRIDE: tl.constexpr):
    """Those of the neurons j."""
    return (
        tl.load(c_0 + j * STRIDE, mask, 0.0), tl.load(c_1 + j * STRIDE, mask, 0.0),
        tl.load(c_2 + j, mask, 0.0), tl.load(c_3 + j, mask, 0.0),
    )  # fmt: skip


@triton.jit
def load_limits(theta, reset, scale, j, mask, SCALES: tl.constexpr, EACH: tl.constexpr):
    """theta, reset and scale, of the neurons j where there are some of EACH; else they are numbers.

    Without the last two 0 and 1.
    """
    if EACH:
        theta = tl.load(theta + j, mask, 0.0)
    limits = (theta, 0.0, 1.0)
    if SCALES:
        if EACH:
            reset, scale = tl.load(reset + j, mask, 0.0), tl.load(scale + j, mask, 0.0)
        limits = (theta, reset, scale)
    return limits


@triton.jit
def _load_fold(
    mean, slope, shift, seed, j, mask, NORMALIZES: tl.constexpr, DROPS: tl.constexpr
):  # fmt: skip
    """mean, slope and shift of the neurons j, and the seed; what is not used is 0."""
    norm, random = (0.0, 0.0, 0.0), 0
    if NORMALIZES:
        norm = (
            tl.load(mean + j, mask, 0.0), tl.load(slope + j, mask, 0.0),
            tl.load(shift + j, mask, 0.0),
        )  # fmt: skip
    if DROPS:
        random = tl.load(seed)
    return norm, random


@triton.jit
def _normalized(x, norm, NORMALIZES: tl.constexpr):
    """The current of an input, see ``models.dynamics.Fold``."""
    if NORMALIZES:
        x = (x - norm[0]) * norm[1] + norm[2]
    return x


@triton.jit
def _four_factors(seed, row, t, T, H, j, p, grown, DROPS: tl.constexpr):
    """What dropout multiplies the spikes of the steps t // 4 * 4 and the three behind it by.

    A counter-based generator (Philox) gives four numbers at once, and gives them again in the
    backward pass: nothing is kept.
    """
    if DROPS:
        at = (row * ((T + 3) // 4) + t // 4) * H + j
        r_0, r_1, r_2, r_3 = tl.rand4x(seed, at)
        return (
            tl.where(r_0 >= p, grown, 0.0),
            tl.where(r_1 >= p, grown, 0.0),
            tl.where(r_2 >= p, grown, 0.0),
            tl.where(r_3 >= p, grown, 0.0),
        )
    else:  # the compiler looks at one branch only
        return (1.0, 1.0, 1.0, 1.0)


@triton.jit
def _one_factor(seed, row, t, T, H, j, p, grown, DROPS: tl.constexpr):
    """The same for one step t, which is not known when the kernel is compiled."""
    four, k = _four_factors(seed, row, t, T, H, j, p, grown, DROPS), t % 4
    return tl.where(k == 0, four[0], tl.where(k == 1, four[1], tl.where(k == 2, four[2], four[3])))


@triton.jit
def _store_spikes(target, s, factor, count, mask, DROPS: tl.constexpr, COUNTS: tl.constexpr):
    """Store the spikes ``s`` after dropout; ``count`` with those that are left."""
    if DROPS:
        s = s * factor
    tl.store(target, s, mask)
    if COUNTS:
        count += tl.where(s > 0.0, 1.0, 0.0)
    return count


@triton.jit
def _store_gradient(target, g, x, norm, by_fold, mask, NORMALIZES: tl.constexpr):
    """Store the gradient of the input ``x`` whose current's is ``g``; the sums with ``g`` added."""
    if NORMALIZES:
        by_fold = (by_fold[0] + g * (x - norm[0]), by_fold[1] + g)
        g = g * norm[1]
    tl.store(target, g, mask)
    return by_fold


@triton.jit
def _keep(kept_x, kept_y, at, x, y, mask, HAS_Y: tl.constexpr, KEEP: tl.constexpr):
    if KEEP:
        tl.store(kept_x + at, x, mask)
        if HAS_Y:
            tl.store(kept_y + at, y, mask)


@triton.jit(do_not_specialize=SIZES)
def _forward(
    I, c_0, c_1, c_2, c_3, x, y, s, new_x, new_y, new_s, spikes, kept_x, kept_y, mean, slope, shift,
    seed, counts, p, grown, T, theta, reset, scale, H,
    STEP: tl.constexpr, FLAG: tl.constexpr, HAS_Y: tl.constexpr, SCALES: tl.constexpr,
    STRIDE: tl.constexpr, KEEP: tl.constexpr, NORMALIZES: tl.constexpr, DROPS: tl.constexpr,
    COUNTS: tl.constexpr, EACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """All steps from x, y and s [B, H].

    Currents are loaded eight steps ahead of their use: a load that follows a store waits for it,
    and one load at a time leaves the memory idle.
    """
    row, j, mask, at = place(H, BLOCK)
    x_t, y_t = tl.load(x + at * STRIDE, mask, 0.0), tl.load(y + at * STRIDE, mask, 0.0)
    s_t = tl.load(s + at, mask, 0.0)
    c = load_coefficients(c_0, c_1, c_2, c_3, j, mask, STRIDE)
    limits = load_limits(theta, reset, scale, j, mask, SCALES, EACH)
    norm, random = _load_fold(mean, slope, shift, seed, j, mask, NORMALIZES, DROPS)
    runs = T // _RUN
    I, spikes = I + row * T * H, spikes + row * T * H
    kept_x += row * (runs + T % _RUN) * H
    kept_y += row * (runs + T % _RUN) * H
    kept = j
    count = tl.zeros((BLOCK,), tl.float32)
    for t in range(0, runs * _RUN, _RUN):
        first = t * H + j
        inputs = load_eight(I + first, H, mask)
        _keep(kept_x, kept_y, kept, x_t, y_t, mask, HAS_Y, KEEP)
        kept += H
        for k in tl.static_range(_RUN):
            if k % 4 == 0:
                factors = _four_factors(random, row, t + k, T, H, j, p, grown, DROPS)
            current = _normalized(inputs[k], norm, NORMALIZES)
            x_t, y_t = STEP(current, x_t, y_t, s_t, c, limits, FLAG)
            s_t = spike(limits[2] * x_t - limits[0])
            count = _store_spikes(
                spikes + first + k * H, s_t, factors[k % 4], count, mask, DROPS, COUNTS
            )
    for t in range(runs * _RUN, T):
        at_t = t * H + j
        current = _normalized(tl.load(I + at_t, mask, 0.0), norm, NORMALIZES)
        factor = _one_factor(random, row, t, T, H, j, p, grown, DROPS)
        _keep(kept_x, kept_y, kept, x_t, y_t, mask, HAS_Y, KEEP)
        kept += H
        x_t, y_t = STEP(current, x_t, y_t, s_t, c, limits, FLAG)
        s_t = spike(limits[2] * x_t - limits[0])
        count = _store_spikes(spikes + at_t, s_t, factor, count, mask, DROPS, COUNTS)
    if COUNTS:
        tl.store(counts + at, count, mask)
    tl.store(new_x + at * STRIDE, x_t, mask)
    if HAS_Y:
        tl.store(new_y + at * STRIDE, y_t, mask)
    tl.store(new_s + at, s_t, mask)


@triton.jit
def _run_again(
    inputs, x, y, s, c, norm, limits, STEP: tl.constexpr, FLAG: tl.constexpr,
    NORMALIZES: tl.constexpr,
):  # fmt: skip
    """x and y before each of eight steps, and after the last."""
    xs, ys = (x,), (y,)
    for k in tl.static_range(_RUN):
        x, y = STEP(_normalized(inputs[k], norm, NORMALIZES), x, y, s, c, limits, FLAG)
        s = spike(limits[2] * x - limits[0])
        xs, ys = xs + (x,), ys + (y,)  # noqa: RUF005 (Triton knows no unpacking)
    return xs, ys


@triton.jit(do_not_specialize=["given", *SIZES])
def _backward(
    I, d_spikes, d_I, kept_x, kept_y, initial_y, initial_s, c_0, c_1, c_2, c_3, d_x, d_y, d_s,
    d_0, d_1, d_2, d_3, d_theta, d_reset, d_scale, d_mean, d_slope, d_shift, mean, slope, shift,
    seed, p, grown, given, T, theta, reset, scale, H,
    STEP: tl.constexpr, ADJOINT: tl.constexpr, FLAG: tl.constexpr, HAS_Y: tl.constexpr,
    FILTERS: tl.constexpr, SCALES: tl.constexpr, STRIDE: tl.constexpr, SURROGATE: tl.constexpr,
    WIDTH: tl.constexpr, LEARNS: tl.constexpr, NORMALIZES: tl.constexpr, DROPS: tl.constexpr,
    EACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """d_x, d_y and d_s [B, H] are read, if they are ``given`` (1, else 0), and then written; the
    other gradients are written.

    As in the forward pass, eight steps are loaded at once; the odd ones come first.
    """
    row, j, mask, at = place(H, BLOCK)
    starts = tl.where(given > 0, mask, j < 0)
    zero = tl.zeros((BLOCK,), tl.float32)
    g_x, g_y = tl.load(d_x + at * STRIDE, starts, 0.0), zero
    if HAS_Y:
        g_y = tl.load(d_y + at * STRIDE, starts, 0.0)
    g = (g_x, g_y, tl.load(d_s + at, starts, 0.0), zero, zero, zero)
    s_0 = tl.load(initial_s + at, mask, 0.0)
    c = load_coefficients(c_0, c_1, c_2, c_3, j, mask, STRIDE)
    limits = load_limits(theta, reset, scale, j, mask, SCALES, EACH)
    norm, random = _load_fold(mean, slope, shift, seed, j, mask, NORMALIZES, DROPS)
    sums, by_fold = (zero, zero, zero, zero, zero, zero, zero), (zero, zero)
    runs, odd = T // _RUN, T % _RUN
    I, d_I, d_spikes = I + row * T * H, d_I + row * T * H, d_spikes + row * T * H
    kept_x += row * (runs + odd) * H
    kept_y += row * (runs + odd) * H
    kept = (runs + odd) * H + j
    for done in range(odd):
        t = T - 1 - done
        at_t = t * H + j
        kept -= H
        x_t, y_t = tl.load(kept_x + kept, mask, 0.0), zero
        if HAS_Y:
            y_t = tl.load(kept_y + kept, mask, 0.0)
        input_t, d_spike = tl.load(I + at_t, mask, 0.0), tl.load(d_spikes + at_t, mask, 0.0)
        s_t = tl.where(t > 0, spike(limits[2] * x_t - limits[0]), s_0)
        if DROPS:
            d_spike = d_spike * _one_factor(random, row, t, T, H, j, p, grown, DROPS)
        current = _normalized(input_t, norm, NORMALIZES)
        x_new, _ = STEP(current, x_t, y_t, s_t, c, limits, FLAG)
        g_I, g, sums = ADJOINT(
            current, d_spike, x_t, x_new, y_t, s_t, g, sums, c, limits, FLAG, SURROGATE, WIDTH,
            LEARNS,
        )  # fmt: skip
        by_fold = _store_gradient(d_I + at_t, g_I, input_t, norm, by_fold, mask, NORMALIZES)
    for done in range(runs):
        t = (runs - 1 - done) * _RUN
        first = t * H + j
        kept -= H
        x_t, y_t = tl.load(kept_x + kept, mask, 0.0), zero
        if HAS_Y:
            y_t = tl.load(kept_y + kept, mask, 0.0)
        inputs, d_eight = load_eight(I + first, H, mask), load_eight(d_spikes + first, H, mask)
        low = _four_factors(random, row, t, T, H, j, p, grown, DROPS)
        factors = low + _four_factors(random, row, t + 4, T, H, j, p, grown, DROPS)
        s_first = tl.where(t > 0, spike(limits[2] * x_t - limits[0]), s_0)
        xs, ys = _run_again(inputs, x_t, y_t, s_first, c, norm, limits, STEP, FLAG, NORMALIZES)
        for k in tl.static_range(_RUN - 1, -1, -1):
            s_t = s_first if k == 0 else spike(limits[2] * xs[k] - limits[0])
            d_spike = d_eight[k]
            if DROPS:
                d_spike = d_spike * factors[k]
            g_I, g, sums = ADJOINT(
                _normalized(inputs[k], norm, NORMALIZES), d_spike, xs[k], xs[k + 1], ys[k], s_t, g,
                sums, c, limits, FLAG, SURROGATE, WIDTH, LEARNS,
            )  # fmt: skip
            by_fold = _store_gradient(
                d_I + first + k * H, g_I, inputs[k], norm, by_fold, mask, NORMALIZES
            )
    if NORMALIZES:
        tl.store(d_mean + at, -norm[1] * by_fold[1], mask)
        tl.store(d_slope + at, by_fold[0], mask)
        tl.store(d_shift + at, by_fold[1], mask)
    if LEARNS:
        tl.store(d_theta + at, sums[4], mask)
        if SCALES:
            tl.store(d_reset + at, sums[5], mask)
            tl.store(d_scale + at, sums[6], mask)
    sum_0, sum_1 = sums[0], sums[1]
    if FILTERS:
        y_0 = tl.load(initial_y + at, mask, 0.0)
        sum_0, sum_1 = sum_0 + y_0 * (c[1] * g[4]), sum_1 + y_0 * g[5]
        tl.store(d_3 + at, sums[3], mask)
    tl.store(d_0 + at, sum_0, mask)
    if HAS_Y:
        tl.store(d_1 + at, sum_1, mask)
        tl.store(d_2 + at, sums[2], mask)
        tl.store(d_y + at * STRIDE, g[1], mask)
    tl.store(d_x + at * STRIDE, g[0], mask)
    tl.store(d_s + at, g[2] + g[3], mask)


@triton.jit(do_not_specialize=SIZES)
def _factors(seed, out, T, p, grown, H, BLOCK: tl.constexpr):
    row, j, mask, _ = place(H, BLOCK)
    for t in range(0, T, 4):
        four = _four_factors(tl.load(seed), row, t, T, H, j, p, grown, True)
        for k in tl.static_range(4):
            at = (row * T + t + k) * H + j
            tl.store(out + at, four[k], mask & (at < (row + 1) * T * H))


def dropout_factors(shape: tuple[int, int, int], p: float, seed: torch.Tensor) -> torch.Tensor:
    """What the kernels multiply spikes [B, T, H] by for ``p`` and ``seed`` of a ``Fold``."""
    out = torch.empty(shape, device=seed.device)
    B, T, H = shape
    launch(_factors, B, H, seed, out, T, p, 1 / (1 - p))
    return out


def fold_arguments(fold: Fold | None) -> tuple:
    """mean, slope, shift, seed, counts, p as the recurrences' autograd functions take them."""
    if fold is None:
        return None, None, None, None, None, 0.0
    return fold.mean, fold.slope, fold.shift, fold.seed, fold.counts, float(fold.p)


def run_forward(
    ctx, kind: Kind, I, coefficients, limits, before, after, fold, surrogate: Surrogate,
    for_backward: bool,
):  # fmt: skip
    """The spikes [B, T, H]; ``after`` is written, and ``ctx`` keeps what the backward pass needs.

    ``before`` and ``after`` are x, y and s [B, H], ``limits`` theta, reset and scale, all [H] or
    numbers, ``fold`` what ``fold_arguments`` gave.
    """
    B, T, H = I.shape
    *tensors, counts, p = fold
    each = isinstance(limits[0], torch.Tensor)
    limits = [x.contiguous() for x in limits] if each else limits
    ctx.normalizes, ctx.p = tensors[0] is not None, p
    tensors = [before[2] if x is None else x.contiguous() for x in tensors]
    spikes = torch.empty_like(I)
    states = T // RUN + T % RUN  # that before each whole run, and before each odd step
    kept = I.new_empty(1 + kind.has_y, B, states, H) if for_backward else before[2][None]
    launch(
        _forward, B, H, I, *coefficients, *before, *after, spikes, kept[0], kept[-1], *tensors,
        before[2] if counts is None else counts, p, 1 / (1 - p), T, *limits, **kind.flags(),
        KEEP=for_backward, NORMALIZES=ctx.normalizes, DROPS=p > 0, COUNTS=counts is not None,
        EACH=each,
    )  # fmt: skip
    if for_backward:
        limits, ctx.numbers = (limits, None) if each else ([None] * 3, limits)
        ctx.save_for_backward(I, *coefficients, *limits, kept, *before[1:], *tensors)
        ctx.kind, ctx.surrogate = kind, surrogate
    return spikes


def run_backward(ctx, d_spikes, d_state, given: bool, learns: tuple[bool, ...]):
    """Gradients of I [B, T, H], of the coefficients, of theta, reset and scale, and of mean, slope
    and shift, [H] or None.

    ``d_state`` are those of x, y and s [B, H] after the last step, if ``given``; they become those
    before the first. ``learns``: which of theta, reset and scale need one.
    """
    I, c_0, c_1, c_2, c_3, *rest = ctx.saved_tensors
    *limits, kept, y, s = rest[:6]
    tensors = rest[6:]
    B, T, H = I.shape
    kind, limits = ctx.kind, ctx.numbers or limits
    d_spikes = torch.zeros_like(I) if d_spikes is None else d_spikes.contiguous()
    d_I = torch.empty_like(I)
    number = 1 + 2 * kind.has_y + kind.filters
    learning = (1 + 2 * kind.scales) * any(learns)
    sums = I.new_empty(number + learning + 3 * ctx.normalizes, B, H)
    of_each, of_limits, of_fold = sums.split([number, learning, len(sums) - number - learning])
    by_row = [
        x for part, full in ((of_each, 4), (of_limits, 3), (of_fold, 3))
        for x in (*part, *sums[:1].expand(full - len(part), B, H))
    ]  # fmt: skip
    launch(
        _backward, B, H, I, d_spikes, d_I, kept[0], kept[-1], y, s, c_0, c_1, c_2, c_3, *d_state,
        *by_row, *tensors, ctx.p, 1 / (1 - ctx.p), int(given), T, *limits, **kind.flags(),
        ADJOINT=kind.adjoint, FILTERS=kind.filters, SURROGATE=ctx.surrogate.name,
        WIDTH=ctx.surrogate.width, LEARNS=any(learns), NORMALIZES=ctx.normalizes, DROPS=ctx.p > 0,
        EACH=ctx.numbers is None,
    )  # fmt: skip
    by_neuron = sums.sum(dim=1)
    by_limit = [by_neuron[number + i] if needed else None for i, needed in enumerate(learns)]
    by_fold = by_neuron[-3:] if ctx.normalizes else (None, None, None)
    return d_I, [*by_neuron[:number], *[None] * (4 - number)], by_limit, by_fold
