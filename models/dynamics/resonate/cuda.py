# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Resonate recurrence in fused GPU kernels, with a hand-written backward pass.

The loop over time runs inside the kernels, the state of a neuron stays in registers. Complex
numbers are pairs of reals ``u = x + iy`` and ``A + iB``, in memory side by side; the gradient of a
complex number is that of its real plus i times that of its imaginary part. Kept for the backward
pass: the input, and u before every eighth step; the seven behind it are computed again, by the same
operations. What a ``Fold`` says is done on the way, as in the adaptive recurrence.
"""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from models.dynamics.triton_support import (
    RUN,
    SIZES,
    derivative,
    eight_factors,
    fold_arguments,
    four_factors,
    kept_states,
    launch,
    load_eight,
    load_fold,
    normalized,
    one_of_four,
    own_gradient,
    spike,
    store_gradient,
    store_spikes,
)
from models.surrogate import BOXCAR

_RUN = tl.constexpr(RUN)


@triton.jit
def _step(current, x, y, s, A, B, gain, reset, scale, theta, RESET_INSIDE: tl.constexpr):
    """The state after a step."""
    if RESET_INSIDE:
        x = x - reset * s
        x_new = (A * x - B * y) + gain * current
        y = A * y + B * x
        x = x_new
    else:
        drift_x = (A * x - B * y) + current
        drift_y = A * y + B * x
        x = (x + gain * drift_x) - reset * s
        y = y + gain * drift_y
    return x, y, spike(scale * x - theta)


@triton.jit
def _load_complex(x, at, mask):
    """Real and imaginary parts of what lies at ``at``; 0 where ``mask`` is."""
    return tl.load(x + 2 * at, mask, 0.0), tl.load(x + 2 * at + 1, mask, 0.0)


@triton.jit
def _store_complex(x, at, real, imaginary, mask):
    tl.store(x + 2 * at, real, mask)
    tl.store(x + 2 * at + 1, imaginary, mask)


@triton.jit
def _keep(kept_x, kept_y, at, x, y, mask, KEEP: tl.constexpr):
    if KEEP:
        tl.store(kept_x + at, x, mask)
        tl.store(kept_y + at, y, mask)


@triton.jit(do_not_specialize=SIZES)
def _forward(
    I, A, gain, u, s, new_u, new_s, spikes, kept_x, kept_y, mean, slope, shift, seed, counts, p,
    grown, T, reset, scale, theta, H,
    RESET_INSIDE: tl.constexpr, KEEP: tl.constexpr, NORMALIZES: tl.constexpr, DROPS: tl.constexpr,
    COUNTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """All steps from u and s [B, H].

    Currents are loaded eight steps ahead of their use: a load that follows a store waits for it,
    and one load at a time leaves the memory idle.
    """
    row = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = j < H
    at = row * H + j
    x_t, y_t = _load_complex(u, at, mask)
    s_t = tl.load(s + at, mask, 0.0)
    A_j, B_j = _load_complex(A, j, mask)
    gain_j = tl.load(gain + j, mask, 0.0)
    mean_j, slope_j, shift_j, random = load_fold(
        mean, slope, shift, seed, j, mask, NORMALIZES, DROPS
    )
    runs = T // _RUN
    I, spikes = I + row * T * H, spikes + row * T * H
    kept_x += row * (runs + T % _RUN) * H
    kept_y += row * (runs + T % _RUN) * H
    kept = j
    count = tl.zeros((BLOCK,), tl.float32)
    for t in range(0, runs * _RUN, _RUN):
        first = t * H + j
        inputs = load_eight(I + first, H, mask)
        _keep(kept_x, kept_y, kept, x_t, y_t, mask, KEEP)
        kept += H
        for k in tl.static_range(_RUN):
            if k % 4 == 0:
                factors = four_factors(random, row, t + k, T, H, j, p, grown, DROPS)
            current = normalized(inputs[k], mean_j, slope_j, shift_j, NORMALIZES)
            x_t, y_t, s_t = _step(
                current, x_t, y_t, s_t, A_j, B_j, gain_j, reset, scale, theta, RESET_INSIDE
            )
            count = store_spikes(
                spikes + first + k * H, s_t, factors[k % 4], count, mask, DROPS, COUNTS
            )
    for t in range(runs * _RUN, T):
        at_t = t * H + j
        current = normalized(tl.load(I + at_t, mask, 0.0), mean_j, slope_j, shift_j, NORMALIZES)
        factors = four_factors(random, row, t, T, H, j, p, grown, DROPS)
        _keep(kept_x, kept_y, kept, x_t, y_t, mask, KEEP)
        kept += H
        x_t, y_t, s_t = _step(
            current, x_t, y_t, s_t, A_j, B_j, gain_j, reset, scale, theta, RESET_INSIDE
        )
        factor = one_of_four(factors, t % 4)
        count = store_spikes(spikes + at_t, s_t, factor, count, mask, DROPS, COUNTS)
    if COUNTS:
        tl.store(counts + at, count, mask)
    _store_complex(new_u, at, x_t, y_t, mask)
    tl.store(new_s + at, s_t, mask)


@triton.jit
def _run_again(
    inputs, x, y, s, mean, slope, shift, A, B, gain, reset, scale, theta,
    RESET_INSIDE: tl.constexpr, NORMALIZES: tl.constexpr,
):  # fmt: skip
    """x and y before each of eight steps, and after the last."""
    xs, ys = (x,), (y,)
    for k in tl.static_range(_RUN):
        current = normalized(inputs[k], mean, slope, shift, NORMALIZES)
        x, y, s = _step(current, x, y, s, A, B, gain, reset, scale, theta, RESET_INSIDE)
        xs, ys = xs + (x,), ys + (y,)  # noqa: RUF005 (Triton knows no unpacking)
    return xs, ys


@triton.jit
def _adjoint(
    current, d_spike, x, x_new, y, s, g_x, g_y, g_s, sum_A, sum_B, sum_gain,
    A, B, gain, reset, scale, theta,
    RESET_INSIDE: tl.constexpr, SURROGATE: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One step back: the gradients of its current, of the state before it, and the sums."""
    g_spike = g_s + d_spike
    g_x = g_x + scale * (g_spike * derivative(scale * x_new - theta, SURROGATE, WIDTH))
    if RESET_INSIDE:
        x = x - reset * s
        g_I = gain * g_x
        sum_gain += g_x * current
        sum_A += g_x * x + g_y * y
        sum_B += g_y * x - g_x * y
        g_x_before = A * g_x + B * g_y
        g_y = A * g_y - B * g_x
        g_x = g_x_before
        g_s = -reset * g_x
    else:
        drift_x = (A * x - B * y) + current
        drift_y = A * y + B * x
        sum_gain += g_x * drift_x + g_y * drift_y
        g_drift_x, g_drift_y = gain * g_x, gain * g_y
        g_I = g_drift_x
        sum_A += g_drift_x * x + g_drift_y * y
        sum_B += g_drift_y * x - g_drift_x * y
        g_s = -reset * g_x
        g_x = g_x + (A * g_drift_x + B * g_drift_y)
        g_y = g_y + (A * g_drift_y - B * g_drift_x)
    return g_I, g_x, g_y, g_s, sum_A, sum_B, sum_gain


@triton.jit(do_not_specialize=["given", *SIZES])
def _backward(
    I, d_spikes, d_I, kept_x, kept_y, initial_s, A, gain, d_u, d_s, d_A, d_B, d_gain, d_mean,
    d_slope, d_shift, mean, slope, shift, seed, p, grown, given, T, reset, scale, theta, H,
    RESET_INSIDE: tl.constexpr, SURROGATE: tl.constexpr, WIDTH: tl.constexpr,
    NORMALIZES: tl.constexpr, DROPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """d_u and d_s [B, H] are read, if they are ``given`` (1, else 0), and then written; sums, too.

    As in the forward pass, eight steps are loaded at once; the odd ones come first.
    """
    row = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = j < H
    at = row * H + j
    starts = tl.where(given > 0, mask, j < 0)
    g_x, g_y = _load_complex(d_u, at, starts)
    g_s, s_0 = tl.load(d_s + at, starts, 0.0), tl.load(initial_s + at, mask, 0.0)
    A_j, B_j = _load_complex(A, j, mask)
    gain_j = tl.load(gain + j, mask, 0.0)
    sum_A, sum_B = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    mean_j, slope_j, shift_j, random = load_fold(
        mean, slope, shift, seed, j, mask, NORMALIZES, DROPS
    )
    sum_gain = tl.zeros((BLOCK,), tl.float32)
    sum_slope, sum_shift = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    runs, odd = T // _RUN, T % _RUN
    I, d_I, d_spikes = I + row * T * H, d_I + row * T * H, d_spikes + row * T * H
    kept_x += row * (runs + odd) * H
    kept_y += row * (runs + odd) * H
    kept = (runs + odd) * H + j
    for done in range(odd):
        t = T - 1 - done
        at_t = t * H + j
        kept -= H
        x_t, y_t = tl.load(kept_x + kept, mask, 0.0), tl.load(kept_y + kept, mask, 0.0)
        input_t, d_spike = tl.load(I + at_t, mask, 0.0), tl.load(d_spikes + at_t, mask, 0.0)
        s_t = tl.where(t > 0, spike(scale * x_t - theta), s_0)
        if DROPS:
            factors = four_factors(random, row, t, T, H, j, p, grown, DROPS)
            d_spike = d_spike * one_of_four(factors, t % 4)
        current = normalized(input_t, mean_j, slope_j, shift_j, NORMALIZES)
        x_new, _, _ = _step(
            current, x_t, y_t, s_t, A_j, B_j, gain_j, reset, scale, theta, RESET_INSIDE
        )
        g_I, g_x, g_y, g_s, sum_A, sum_B, sum_gain = _adjoint(
            current, d_spike, x_t, x_new, y_t, s_t, g_x, g_y, g_s, sum_A, sum_B, sum_gain, A_j,
            B_j, gain_j, reset, scale, theta, RESET_INSIDE, SURROGATE, WIDTH,
        )  # fmt: skip
        sum_slope, sum_shift = store_gradient(
            d_I + at_t, g_I, input_t, mean_j, slope_j, sum_slope, sum_shift, mask, NORMALIZES
        )
    for done in range(runs):
        t = (runs - 1 - done) * _RUN
        first = t * H + j
        kept -= H
        x_t, y_t = tl.load(kept_x + kept, mask, 0.0), tl.load(kept_y + kept, mask, 0.0)
        inputs, d_eight = load_eight(I + first, H, mask), load_eight(d_spikes + first, H, mask)
        factors = eight_factors(random, row, t, T, H, j, p, grown, DROPS)
        s_first = tl.where(t > 0, spike(scale * x_t - theta), s_0)
        xs, ys = _run_again(
            inputs, x_t, y_t, s_first, mean_j, slope_j, shift_j, A_j, B_j, gain_j, reset, scale,
            theta, RESET_INSIDE, NORMALIZES,
        )  # fmt: skip
        for k in tl.static_range(_RUN - 1, -1, -1):
            s_t = s_first if k == 0 else spike(scale * xs[k] - theta)
            d_spike = d_eight[k]
            if DROPS:
                d_spike = d_spike * factors[k]
            current = normalized(inputs[k], mean_j, slope_j, shift_j, NORMALIZES)
            g_I, g_x, g_y, g_s, sum_A, sum_B, sum_gain = _adjoint(
                current, d_spike, xs[k], xs[k + 1], ys[k], s_t, g_x, g_y, g_s, sum_A, sum_B,
                sum_gain, A_j, B_j, gain_j, reset, scale, theta, RESET_INSIDE, SURROGATE, WIDTH,
            )  # fmt: skip
            sum_slope, sum_shift = store_gradient(
                d_I + first + k * H, g_I, inputs[k], mean_j, slope_j, sum_slope, sum_shift, mask,
                NORMALIZES,
            )  # fmt: skip
    if NORMALIZES:
        tl.store(d_mean + at, -slope_j * sum_shift, mask)
        tl.store(d_slope + at, sum_slope, mask)
        tl.store(d_shift + at, sum_shift, mask)
    _store_complex(d_u, at, g_x, g_y, mask)
    tl.store(d_s + at, g_s, mask)
    tl.store(d_A + at, sum_A, mask)
    tl.store(d_B + at, sum_B, mask)
    tl.store(d_gain + at, sum_gain, mask)


class _Resonate(torch.autograd.Function):
    """I [B, T, H]; A complex, gain [H]; u complex, s [B, H]; constants: reset, scale, theta.

    mean, slope and shift [H] are a ``Fold``'s; they, seed [1] and counts [B, H], which is written,
    may be None.
    """

    @staticmethod
    def forward(
        ctx, I, A, gain, u, s, mean, slope, shift, seed, counts, p, constants, reset_inside,
        surrogate, for_backward,
    ):  # fmt: skip
        ctx.set_materialize_grads(False)
        batch, T, H = I.shape
        normalizes = mean is not None
        I, A, gain, u, s = (x.contiguous() for x in (I, _pairs(A), gain, _pairs(u), s))
        new_u, new_s = torch.empty_like(u), torch.empty_like(s)
        fold = [gain if x is None else x.contiguous() for x in (mean, slope, shift, seed)]
        spikes = torch.empty_like(I)
        kept_x, kept_y = I.new_empty(2, batch, kept_states(T), H) if for_backward else (s, s)
        launch(
            _forward, batch, H, I, A, gain, u, s, new_u, new_s, spikes, kept_x, kept_y, *fold,
            s if counts is None else counts, p, 1 / (1 - p), T, *constants,
            RESET_INSIDE=reset_inside, KEEP=for_backward, NORMALIZES=normalizes, DROPS=p > 0,
            COUNTS=counts is not None,
        )  # fmt: skip
        if for_backward:
            ctx.save_for_backward(I, A, gain, kept_x, kept_y, s, *fold)
            ctx.constants, ctx.reset_inside = constants, reset_inside
            ctx.normalizes, ctx.p, ctx.surrogate = normalizes, p, surrogate
        return spikes, torch.view_as_complex(new_u), new_s

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, d_u, d_s):
        I, A, gain, kept_x, kept_y, initial_s, *fold = ctx.saved_tensors
        batch, T, H = I.shape
        d_spikes = torch.zeros_like(I) if d_spikes is None else d_spikes.contiguous()
        given = d_u is not None or d_s is not None
        d_u = None if d_u is None else _pairs(d_u)
        d_u = own_gradient(d_u, initial_s[..., None].expand(batch, H, 2), given)
        d_s, d_I = own_gradient(d_s, initial_s, given), torch.empty_like(I)
        # Of A + iB, gain, mean, slope and shift.
        sums = I.new_empty(6 if ctx.normalizes else 3, batch, H)
        by_fold = sums[3:] if ctx.normalizes else sums
        launch(
            _backward, batch, H, I, d_spikes, d_I, kept_x, kept_y, initial_s, A, gain, d_u, d_s,
            *sums[:3], *by_fold, *fold, ctx.p, 1 / (1 - ctx.p), int(given), T, *ctx.constants,
            RESET_INSIDE=ctx.reset_inside, SURROGATE=ctx.surrogate.name,
            WIDTH=ctx.surrogate.width, NORMALIZES=ctx.normalizes, DROPS=ctx.p > 0,
        )  # fmt: skip
        d_real, d_imaginary, d_gain, *by_fold = sums.sum(dim=1)
        gradients = torch.complex(d_real, d_imaginary), d_gain, torch.view_as_complex(d_u), d_s
        return d_I, *gradients, *(by_fold or [None] * 3), *[None] * 7


def _pairs(x: torch.Tensor) -> torch.Tensor:
    """Complex x [...] as real and imaginary parts [..., 2]."""
    return torch.view_as_real(x.resolve_conj())


def resonate(I, A, reset, gain, *, scale, theta, state, reset_inside, fold=None, surrogate=BOXCAR):
    """See :func:`models.dynamics.resonate`; float32 on a GPU, no second derivatives."""
    B, _, H = I.shape
    # A number is written by the GPU: copied from the host it could not be part of a CUDA graph.
    gain = gain.expand(H) if isinstance(gain, torch.Tensor) else I.new_full((H,), gain)
    u, s = (x.expand(B, H) for x in state)
    constants = (float(reset), float(scale), float(theta))
    spikes, u, s = _Resonate.apply(
        I, A.expand(H), gain, u, s, *fold_arguments(fold), constants, reset_inside, surrogate,
        torch.is_grad_enabled(),
    )  # fmt: skip
    return spikes, type(state)(u, s)
