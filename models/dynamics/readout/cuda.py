# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Read-out in fused GPU kernels, with a hand-written backward pass.

One program per batch row holds all classes, padded to a power of two. Kept for the backward pass:
the input and the potential.
"""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from models.dynamics.triton_support import dense_copy, launch


@triton.jit
def _softmax(u, mask):
    largest = tl.max(tl.where(mask, u, -float("inf")), axis=0)
    e = tl.where(mask, tl.exp(u - largest), 0.0)
    return e / tl.sum(e, axis=0)


@triton.jit
def _forward(I, alpha, u, out, kept_u, T, C, KEEP: tl.constexpr, BLOCK: tl.constexpr):
    """u [B, C] is read before and written after.

    Every current is loaded while the step before it is computed: with one program a row there are
    few of them, and nothing else hides the time that a load takes.
    """
    row = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, BLOCK)
    mask = j < C
    at = row * C + j
    u_t = tl.load(u + at, mask, 0.0)
    alpha_j = tl.load(alpha + j, mask, 0.0)
    keep_j = 1.0 - alpha_j
    total = tl.zeros((BLOCK,), tl.float32)
    next_I = tl.load(I + row * T * C + j, mask, 0.0)
    for t in range(T):
        step = (row * T + t) * C + j
        current = next_I
        ahead = (row * T + tl.minimum(t + 1, T - 1)) * C + j
        next_I = tl.load(I + ahead, mask, 0.0)
        if KEEP:
            tl.store(kept_u + step + row * C, u_t, mask)  # kept_u has T + 1 steps
        u_t = alpha_j * u_t + keep_j * current
        total += _softmax(u_t, mask)
    if KEEP:
        tl.store(kept_u + (row * (T + 1) + T) * C + j, u_t, mask)
    tl.store(u + at, u_t, mask)
    tl.store(out + at, total, mask)


@triton.jit
def _backward(I, kept_u, d_out, d_u, d_I, d_alpha, alpha, T, C, BLOCK: tl.constexpr):
    """d_u [B, C] is read before and written after, d_alpha [B, C] written."""
    row = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, BLOCK)
    mask = j < C
    at = row * C + j
    g_out, g_u = tl.load(d_out + at, mask, 0.0), tl.load(d_u + at, mask, 0.0)
    alpha_j = tl.load(alpha + j, mask, 0.0)
    keep_j = 1.0 - alpha_j
    sum_alpha = tl.zeros((BLOCK,), tl.float32)
    kept = kept_u + row * C  # kept_u has T + 1 steps
    last = (row * T + T - 1) * C + j
    u_new = tl.load(kept + last + C, mask, 0.0)
    next_u, next_I = tl.load(kept + last, mask, 0.0), tl.load(I + last, mask, 0.0)
    for done in range(T):
        step = last - done * C
        u_t, current = next_u, next_I
        ahead = (row * T + tl.maximum(T - 2 - done, 0)) * C + j
        next_u, next_I = tl.load(kept + ahead, mask, 0.0), tl.load(I + ahead, mask, 0.0)
        p = _softmax(u_new, mask)
        g_u = g_u + p * (g_out - tl.sum(p * g_out, axis=0))
        tl.store(d_I + step, keep_j * g_u, mask)
        sum_alpha += g_u * (u_t - current)
        g_u = alpha_j * g_u
        u_new = u_t
    tl.store(d_u + at, g_u, mask)
    tl.store(d_alpha + at, sum_alpha, mask)


class _Readout(torch.autograd.Function):
    """I [B, T, C], alpha [C], u [B, C]."""

    @staticmethod
    def forward(ctx, I, alpha, u, for_backward):
        B, T, C = I.shape
        I, alpha, u = I.contiguous(), alpha.contiguous(), dense_copy(u)
        out = torch.empty_like(u)
        kept_u = I.new_empty(B, T + 1, C) if for_backward else u
        block = triton.next_power_of_2(C)
        launch(_forward, B, C, I, alpha, u, out, kept_u, T, block=block, KEEP=for_backward)
        if for_backward:
            ctx.save_for_backward(I, alpha, kept_u)
        return out, u

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out, d_u):
        I, alpha, kept_u = ctx.saved_tensors
        B, T, C = I.shape
        d_I, d_u = torch.empty_like(I), dense_copy(d_u)
        d_alpha = torch.empty_like(d_u)
        block = triton.next_power_of_2(C)
        launch(
            _backward, B, C, I, kept_u, d_out.contiguous(), d_u, d_I, d_alpha, alpha, T, block=block
        )
        return d_I, d_alpha.sum(dim=0), d_u, None


def readout(I, alpha, *, state):
    """See :func:`models.dynamics.readout`; float32 on a GPU, no second derivatives."""
    B, _, C = I.shape
    return _Readout.apply(I, alpha.expand(C), state.expand(B, C), torch.is_grad_enabled())
