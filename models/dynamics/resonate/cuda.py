# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Resonate recurrence in fused GPU kernels, with a hand-written backward pass.

The loop over time runs inside the kernels, the state of a neuron stays in registers. Complex
numbers are pairs of reals ``u = x + iy`` and ``A + iB``; the gradient of a complex number is that
of its real plus i times that of its imaginary part. Kept for the backward pass: the input and u.
"""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from models.dynamics.triton_support import dense_copy, inside, launch, spike


@triton.jit
def _forward(
    I, A, B, gain, x, y, s, spikes, kept_x, kept_y, T, reset, scale, theta, H,
    RESET_INSIDE: tl.constexpr, KEEP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """x, y and s [B, H] are read before and written after."""
    row = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = j < H
    at = row * H + j
    x_t, y_t = tl.load(x + at, mask, 0.0), tl.load(y + at, mask, 0.0)
    s_t = tl.load(s + at, mask, 0.0)
    A_j, B_j = tl.load(A + j, mask, 0.0), tl.load(B + j, mask, 0.0)
    gain_j = tl.load(gain + j, mask, 0.0)
    for t in range(T):
        step = (row * T + t) * H + j
        current = tl.load(I + step, mask, 0.0)
        if KEEP:
            tl.store(kept_x + step + row * H, x_t, mask)  # kept_x and kept_y have T + 1 steps
            tl.store(kept_y + step + row * H, y_t, mask)
        if RESET_INSIDE:
            x_t = x_t - reset * s_t
            x_new = (A_j * x_t - B_j * y_t) + gain_j * current
            y_t = A_j * y_t + B_j * x_t
            x_t = x_new
        else:
            drift_x = (A_j * x_t - B_j * y_t) + current
            drift_y = A_j * y_t + B_j * x_t
            x_t = (x_t + gain_j * drift_x) - reset * s_t
            y_t = y_t + gain_j * drift_y
        s_t = spike(scale * x_t - theta)
        tl.store(spikes + step, s_t, mask)
    if KEEP:
        tl.store(kept_x + (row * (T + 1) + T) * H + j, x_t, mask)
    tl.store(x + at, x_t, mask)
    tl.store(y + at, y_t, mask)
    tl.store(s + at, s_t, mask)


@triton.jit
def _backward(
    I, d_spikes, d_I, kept_x, kept_y, initial_s, A, B, gain, d_x, d_y, d_s, d_A, d_B, d_gain,
    T, reset, scale, theta, H, RESET_INSIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """d_x, d_y and d_s [B, H] are read before and written after; d_A, d_B, d_gain written."""
    row = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = j < H
    at = row * H + j
    g_x, g_y = tl.load(d_x + at, mask, 0.0), tl.load(d_y + at, mask, 0.0)
    g_s, s_0 = tl.load(d_s + at, mask, 0.0), tl.load(initial_s + at, mask, 0.0)
    A_j, B_j = tl.load(A + j, mask, 0.0), tl.load(B + j, mask, 0.0)
    gain_j = tl.load(gain + j, mask, 0.0)
    sum_A, sum_B = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    sum_gain = tl.zeros((BLOCK,), tl.float32)
    x_new = tl.load(kept_x + (row * (T + 1) + T) * H + j, mask, 0.0)
    for done in range(T):
        t = T - 1 - done
        step = (row * T + t) * H + j
        current = tl.load(I + step, mask, 0.0)
        x_t = tl.load(kept_x + step + row * H, mask, 0.0)
        y_t = tl.load(kept_y + step + row * H, mask, 0.0)
        s_t = tl.where(t > 0, spike(scale * x_t - theta), s_0)
        g_spike = g_s + tl.load(d_spikes + step, mask, 0.0)
        g_x = g_x + scale * (g_spike * inside(scale * x_new - theta))
        x_new = x_t
        if RESET_INSIDE:
            x_t = x_t - reset * s_t
            tl.store(d_I + step, gain_j * g_x, mask)
            sum_gain += g_x * current
            sum_A += g_x * x_t + g_y * y_t
            sum_B += g_y * x_t - g_x * y_t
            g_x_before = A_j * g_x + B_j * g_y
            g_y = A_j * g_y - B_j * g_x
            g_x = g_x_before
            g_s = -reset * g_x
        else:
            drift_x = (A_j * x_t - B_j * y_t) + current
            drift_y = A_j * y_t + B_j * x_t
            sum_gain += g_x * drift_x + g_y * drift_y
            g_drift_x, g_drift_y = gain_j * g_x, gain_j * g_y
            tl.store(d_I + step, g_drift_x, mask)
            sum_A += g_drift_x * x_t + g_drift_y * y_t
            sum_B += g_drift_y * x_t - g_drift_x * y_t
            g_s = -reset * g_x
            g_x = g_x + (A_j * g_drift_x + B_j * g_drift_y)
            g_y = g_y + (A_j * g_drift_y - B_j * g_drift_x)
    tl.store(d_x + at, g_x, mask)
    tl.store(d_y + at, g_y, mask)
    tl.store(d_s + at, g_s, mask)
    tl.store(d_A + at, sum_A, mask)
    tl.store(d_B + at, sum_B, mask)
    tl.store(d_gain + at, sum_gain, mask)


class _Resonate(torch.autograd.Function):
    """I [B, T, H]; A complex, gain [H]; u complex, s [B, H]; constants: reset, scale, theta."""

    @staticmethod
    def forward(ctx, I, A, gain, u, s, constants, reset_inside, for_backward):
        batch, T, H = I.shape
        I, initial_s = I.contiguous(), s.contiguous()
        coefficients = dense_copy(A.real), dense_copy(A.imag), gain.contiguous()
        x, y, s = dense_copy(u.real), dense_copy(u.imag), dense_copy(s)
        spikes = torch.empty_like(I)
        kept_x, kept_y = I.new_empty(2, batch, T + 1, H) if for_backward else (x, y)
        launch(
            _forward, batch, H, I, *coefficients, x, y, s, spikes, kept_x, kept_y, T, *constants,
            RESET_INSIDE=reset_inside, KEEP=for_backward,
        )  # fmt: skip
        if for_backward:
            ctx.save_for_backward(I, *coefficients, kept_x, kept_y, initial_s)
            ctx.constants, ctx.reset_inside = constants, reset_inside
        return spikes, torch.complex(x, y), s

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, d_u, d_s):
        I, *coefficients, kept_x, kept_y, initial_s = ctx.saved_tensors
        batch, T, H = I.shape
        d_I, d_x, d_y = torch.empty_like(I), dense_copy(d_u.real), dense_copy(d_u.imag)
        d_s, sums = dense_copy(d_s), I.new_empty(3, batch, H)
        launch(
            _backward, batch, H, I, d_spikes.contiguous(), d_I, kept_x, kept_y, initial_s,
            *coefficients, d_x, d_y, d_s, *sums, T, *ctx.constants, RESET_INSIDE=ctx.reset_inside,
        )  # fmt: skip
        d_real, d_imaginary, d_gain = sums.sum(dim=1)
        d_A, d_u = torch.complex(d_real, d_imaginary), torch.complex(d_x, d_y)
        return d_I, d_A, d_gain, d_u, d_s, None, None, None


def resonate(I, A, reset, gain, *, scale, theta, state, reset_inside):
    """See :func:`models.dynamics.resonate`; float32 on a GPU, no second derivatives."""
    B, _, H = I.shape
    # A number is written by the GPU: copied from the host it could not be part of a CUDA graph.
    gain = gain.expand(H) if isinstance(gain, torch.Tensor) else I.new_full((H,), gain)
    u, s = (x.expand(B, H) for x in state)
    constants = (float(reset), float(scale), float(theta))
    spikes, u, s = _Resonate.apply(
        I, A.expand(H), gain, u, s, constants, reset_inside, torch.is_grad_enabled()
    )
    return spikes, type(state)(u, s)
