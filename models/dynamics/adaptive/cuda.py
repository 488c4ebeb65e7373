# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Adaptive recurrence in fused GPU kernels, with a hand-written backward pass.

The loop over time runs inside the kernels, the state of a neuron stays in registers. Kept for the
backward pass: the input current and u. The adaptation w is not: it enters the gradients of alpha
and beta only as sums over time of ``weight_t * w_t``, and because w is a linear filter of
``x_t = a u_{t-1} + b s_{t-1}`` such a sum equals that of ``x_t * filtered_t``, where the weights
are filtered by the same decay beta backwards in time.

With recurrent weights, each step is a matrix product and one launch of the same kernels.
"""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from models.dynamics.triton_support import dense_copy, inside, launch, spike


@triton.jit(do_not_specialize=["start", "stop"])
def _forward(
    I, recurrent, alpha, beta, a, b, u, w, s, spikes, kept_u, kept_I, start, stop, T, theta, H,
    ADAPTS: tl.constexpr, RECURRENT: tl.constexpr, KEEP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Steps start to stop; u, w and s [B, H] are read before and written after."""
    row = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = j < H
    at = row * H + j
    u_t, s_t = tl.load(u + at, mask, 0.0), tl.load(s + at, mask, 0.0)
    alpha_j = tl.load(alpha + j, mask, 0.0)
    keep_j = 1.0 - alpha_j
    if ADAPTS:
        w_t = tl.load(w + at, mask, 0.0)
        beta_j, a_j = tl.load(beta + j, mask, 0.0), tl.load(a + j, mask, 0.0)
        b_j = tl.load(b + j, mask, 0.0)
    for t in range(start, stop):
        step = (row * T + t) * H + j
        current = tl.load(I + step, mask, 0.0)
        if RECURRENT:
            current = current + tl.load(recurrent + at, mask, 0.0)
        if KEEP:
            tl.store(kept_u + step + row * H, u_t, mask)  # kept_u has T + 1 steps
            if RECURRENT:
                tl.store(kept_I + step, current, mask)
        if ADAPTS:
            w_t = beta_j * w_t + a_j * u_t + b_j * s_t
            current = current - w_t
        u_t = alpha_j * (u_t - s_t) + keep_j * current
        s_t = spike(u_t - theta)
        tl.store(spikes + step, s_t, mask)
    if KEEP:
        tl.store(kept_u + (row * (T + 1) + stop) * H + j, u_t, mask)
    tl.store(u + at, u_t, mask)
    tl.store(s + at, s_t, mask)
    if ADAPTS:
        tl.store(w + at, w_t, mask)


@triton.jit(do_not_specialize=["start", "stop"])
def _backward(
    I, d_spikes, d_I, kept_u, initial_w, initial_s, alpha, beta, a, b,
    d_u, d_w, d_s, filtered_u, filtered_w, d_alpha, d_beta, d_a, d_b, start, stop, T, theta, H,
    ADAPTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Steps stop - 1 down to start; everything [B, H] but the initial state is added to."""
    row = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = j < H
    at = row * H + j
    g_u, g_s = tl.load(d_u + at, mask, 0.0), tl.load(d_s + at, mask, 0.0)
    sum_alpha = tl.load(d_alpha + at, mask, 0.0)
    s_0 = tl.load(initial_s + at, mask, 0.0)
    alpha_j = tl.load(alpha + j, mask, 0.0)
    keep_j = 1.0 - alpha_j
    if ADAPTS:
        g_w = tl.load(d_w + at, mask, 0.0)
        by_u, by_w = tl.load(filtered_u + at, mask, 0.0), tl.load(filtered_w + at, mask, 0.0)
        sum_beta, sum_a = tl.load(d_beta + at, mask, 0.0), tl.load(d_a + at, mask, 0.0)
        sum_b = tl.load(d_b + at, mask, 0.0)
        beta_j, a_j = tl.load(beta + j, mask, 0.0), tl.load(a + j, mask, 0.0)
        b_j = tl.load(b + j, mask, 0.0)
    u_new = tl.load(kept_u + (row * (T + 1) + stop) * H + j, mask, 0.0)
    for done in range(stop - start):
        t = stop - 1 - done
        step = (row * T + t) * H + j
        u_t = tl.load(kept_u + step + row * H, mask, 0.0)
        s_t = tl.where(t > 0, spike(u_t - theta), s_0)
        g_u = g_u + (g_s + tl.load(d_spikes + step, mask, 0.0)) * inside(u_new - theta)
        g_I = keep_j * g_u
        tl.store(d_I + step, g_I, mask)
        sum_alpha += g_u * ((u_t - s_t) - tl.load(I + step, mask, 0.0))
        if ADAPTS:
            x_t = a_j * u_t + b_j * s_t
            sum_beta += x_t * by_w
            g_w = g_w - g_I
            by_u = g_u + beta_j * by_u
            by_w = g_w + beta_j * by_w
            sum_alpha += x_t * by_u
            sum_a += g_w * u_t
            sum_b += g_w * s_t
            g_s = b_j * g_w - alpha_j * g_u
            g_u = alpha_j * g_u + a_j * g_w
            g_w = beta_j * g_w
        else:
            g_u = alpha_j * g_u
            g_s = -g_u
        u_new = u_t
    if ADAPTS:
        if start == 0:
            w_0 = tl.load(initial_w + at, mask, 0.0)
            sum_beta += w_0 * by_w
            sum_alpha += w_0 * (beta_j * by_u)
        tl.store(d_w + at, g_w, mask)
        tl.store(filtered_u + at, by_u, mask)
        tl.store(filtered_w + at, by_w, mask)
        tl.store(d_beta + at, sum_beta, mask)
        tl.store(d_a + at, sum_a, mask)
        tl.store(d_b + at, sum_b, mask)
    tl.store(d_u + at, g_u, mask)
    tl.store(d_s + at, g_s, mask)
    tl.store(d_alpha + at, sum_alpha, mask)


class _Adaptive(torch.autograd.Function):
    """Inputs [B, T, H], [H] and [B, H]; beta, a, b and w are None together, V may be None."""

    @staticmethod
    def forward(ctx, I, alpha, beta, a, b, u, w, s, V, theta, for_backward):
        B, T, H = I.shape
        adapts = beta is not None
        I, *coefficients = (_dense(x, alpha) for x in (I, alpha, beta, a, b))
        initial_s = s.contiguous()
        initial_w = w.contiguous() if adapts else initial_s
        u, s = dense_copy(u), dense_copy(s)
        w = dense_copy(initial_w) if adapts else u
        spikes = torch.empty_like(I)
        kept_u = I.new_empty(B, T + 1, H) if for_backward else u
        recurrent = u if V is None else torch.empty_like(u)
        kept_I = torch.empty_like(I) if V is not None and for_backward else I

        def run(start, stop):
            launch(
                _forward, B, H, I, recurrent, *coefficients, u, w, s, spikes, kept_u, kept_I,
                start, stop, T, theta, ADAPTS=adapts, RECURRENT=V is not None, KEEP=for_backward,
            )  # fmt: skip

        if V is None:
            run(0, T)
        else:
            for t in range(T):
                torch.mm(s, V, out=recurrent)
                run(t, t + 1)
        if for_backward:
            kept_spikes = None if V is None else spikes
            ctx.save_for_backward(
                kept_I, *coefficients, kept_u, initial_w, initial_s, V, kept_spikes
            )
            ctx.adapts, ctx.theta = adapts, theta
        return spikes, u, w if adapts else None, s

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, d_u, d_w, d_s):
        I, *coefficients, kept_u, initial_w, initial_s, V, spikes = ctx.saved_tensors
        B, T, H = I.shape
        d_spikes, d_I = d_spikes.contiguous(), torch.empty_like(I)
        d_u, d_s = dense_copy(d_u), dense_copy(d_s)
        d_w = dense_copy(d_w) if ctx.adapts else d_u
        sums = I.new_zeros(6 if ctx.adapts else 1, B, H)
        d_alpha, d_beta, d_a, d_b, *filtered = sums if ctx.adapts else sums.expand(6, B, H)
        # Without adaptation all that belongs to it is a placeholder that no kernel touches.

        def run(start, stop):
            launch(
                _backward, B, H, I, d_spikes, d_I, kept_u, initial_w, initial_s, *coefficients,
                d_u, d_w, d_s, *filtered, d_alpha, d_beta, d_a, d_b, start, stop, T, ctx.theta,
                ADAPTS=ctx.adapts,
            )  # fmt: skip

        d_V = None
        if V is None:
            run(0, T)
        else:
            for t in reversed(range(T)):
                run(t, t + 1)
                d_s.addmm_(d_I[:, t], V.T)
            if ctx.needs_input_grad[8]:
                before = torch.cat([initial_s[:, None], spikes[:, :-1]], dim=1)
                d_V = before.flatten(0, 1).T @ d_I.flatten(0, 1)
        by_neuron = sums[:4].sum(dim=1)
        if not ctx.adapts:
            return d_I, by_neuron[0], None, None, None, d_u, None, d_s, d_V, None, None
        return d_I, *by_neuron, d_u, d_w, d_s, d_V, None, None


def _dense(x: torch.Tensor | None, placeholder: torch.Tensor) -> torch.Tensor:
    return placeholder.contiguous() if x is None else x.contiguous()


def adaptive(I, alpha, beta, a, b, *, theta, state, V=None):
    """See :func:`models.dynamics.adaptive`; float32 on a GPU, no second derivatives."""
    B, _, H = I.shape
    coefficients = [None if x is None else x.expand(H) for x in (alpha, beta, a, b)]
    u, w, s = (x.expand(B, H) for x in state)
    spikes, u, new_w, s = _Adaptive.apply(
        I, *coefficients, u, None if beta is None else w, s, V, theta, torch.is_grad_enabled()
    )
    return spikes, type(state)(u, state.w if beta is None else new_w, s)
