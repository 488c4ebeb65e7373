# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The readout in fused GPU kernels, with a hand-written backward pass.

One program per batch row holds all classes, padded to a power of two. Kept for the backward pass:
the input and the potential. The same kernels, without SUMS, give the potential of every step.
"""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from models.dynamics.triton_support import RUN, launch, load_eight, own_gradient

_RUN = tl.constexpr(RUN)


@triton.jit
def _softmax(u, mask):
    largest = tl.max(tl.where(mask, u, -float("inf")), axis=0)
    e = tl.where(mask, tl.exp(u - largest), 0.0)
    return e / tl.sum(e, axis=0)


@triton.jit(do_not_specialize=["T", "C"])
def _forward(
    I, alpha, u, new_u, out, kept_u, T, C, SUMS: tl.constexpr, KEEP: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """All steps from u [B, C].

    There are few programs, so nothing hides the time that a load or a softmax takes but what else
    the program can do meanwhile: eight currents are loaded at once, and no potential waits for the
    softmax of another.
    """
    row = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, BLOCK)
    mask = j < C
    at = row * C + j
    u_t = tl.load(u + at, mask, 0.0)
    alpha_j = tl.load(alpha + j, mask, 0.0)
    keep_j = 1.0 - alpha_j
    total = tl.zeros((BLOCK,), tl.float32)
    I += row * T * C
    kept_u += row * (T + 1) * C
    whole = T // _RUN * _RUN
    for t in range(0, whole, _RUN):
        step = t * C + j
        inputs = load_eight(I + step, C, mask)
        for k in tl.static_range(_RUN):
            if KEEP:
                tl.store(kept_u + step + k * C, u_t, mask)
            u_t = alpha_j * u_t + keep_j * inputs[k]
            if SUMS:
                total += _softmax(u_t, mask)
    for t in range(whole, T):
        step = t * C + j
        current = tl.load(I + step, mask, 0.0)
        if KEEP:
            tl.store(kept_u + step, u_t, mask)
        u_t = alpha_j * u_t + keep_j * current
        if SUMS:
            total += _softmax(u_t, mask)
    if KEEP:
        tl.store(kept_u + T * C + j, u_t, mask)
    tl.store(new_u + at, u_t, mask)
    if SUMS:
        tl.store(out + at, total, mask)


@triton.jit
def _gradient(d_out, step, mask, d_sum, SUMS: tl.constexpr):
    """The gradient of what a step gave; ``d_sum`` is that of all where they are summed."""
    if SUMS:
        return d_sum
    else:  # the compiler looks at one branch only
        return tl.load(d_out + step, mask, 0.0)


@triton.jit
def _eight_gradients(d_out, step, C, mask, d_sum, SUMS: tl.constexpr):
    """The same for eight steps."""
    if SUMS:
        return (d_sum, d_sum, d_sum, d_sum, d_sum, d_sum, d_sum, d_sum)
    else:
        return load_eight(d_out + step, C, mask)


@triton.jit
def _adjoint(current, u, u_new, g_out, g_u, sum_alpha, alpha, keep, mask, SUMS: tl.constexpr):
    """One step back: the gradients of its current and of u before it, and the sum."""
    if SUMS:
        p = _softmax(u_new, mask)
        g_out = p * (g_out - tl.sum(p * g_out, axis=0))
    g_u = g_u + g_out
    sum_alpha += g_u * (u - current)
    return keep * g_u, alpha * g_u, sum_alpha


@triton.jit(do_not_specialize=["given", "T", "C"])
def _backward(
    I, kept_u, d_out, d_u, d_I, d_alpha, alpha, given, T, C, SUMS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """d_u [B, C] is read, if it is ``given`` (1, else 0), and then written; d_alpha is written.

    As in the forward pass, eight steps are loaded at once; the odd ones come first.
    """
    row = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, BLOCK)
    mask = j < C
    at = row * C + j
    starts = tl.where(given > 0, mask, j < 0)
    g_u, alpha_j = tl.load(d_u + at, starts, 0.0), tl.load(alpha + j, mask, 0.0)
    keep_j = 1.0 - alpha_j
    sum_alpha = tl.zeros((BLOCK,), tl.float32)
    d_sum = _gradient(d_out, at, mask, sum_alpha, not SUMS)
    I, d_I, d_out = I + row * T * C, d_I + row * T * C, d_out + row * T * C
    kept_u += row * (T + 1) * C
    u_new = tl.load(kept_u + T * C + j, mask, 0.0)
    runs, odd = T // _RUN, T % _RUN
    for done in range(odd):
        step = (T - 1 - done) * C + j
        u_t, current = tl.load(kept_u + step, mask, 0.0), tl.load(I + step, mask, 0.0)
        g_out = _gradient(d_out, step, mask, d_sum, SUMS)
        g_I, g_u, sum_alpha = _adjoint(
            current, u_t, u_new, g_out, g_u, sum_alpha, alpha_j, keep_j, mask, SUMS
        )
        tl.store(d_I + step, g_I, mask)
        u_new = u_t
    for done in range(runs):
        step = (runs - 1 - done) * _RUN * C + j
        us, inputs = load_eight(kept_u + step, C, mask), load_eight(I + step, C, mask)
        given_eight = _eight_gradients(d_out, step, C, mask, d_sum, SUMS)
        for k in tl.static_range(_RUN - 1, -1, -1):
            g_I, g_u, sum_alpha = _adjoint(
                inputs[k], us[k], u_new, given_eight[k], g_u, sum_alpha, alpha_j, keep_j, mask, SUMS
            )
            tl.store(d_I + step + k * C, g_I, mask)
            u_new = us[k]
    tl.store(d_u + at, g_u, mask)
    tl.store(d_alpha + at, sum_alpha, mask)


class _Readout(torch.autograd.Function):
    """I [B, T, C], alpha [C], u [B, C]; ``sums``: scores [B, C], else potentials [B, T, C]."""

    @staticmethod
    def forward(ctx, I, alpha, u, sums, for_backward):
        ctx.set_materialize_grads(False)
        B, T, C = I.shape
        I, alpha, u = I.contiguous(), alpha.contiguous(), u.contiguous()
        new_u, out = torch.empty_like(u), torch.empty_like(u)
        keeps = for_backward or not sums
        kept_u = I.new_empty(B, T + 1, C) if keeps else u
        launch(
            _forward, B, C, I, alpha, u, new_u, out, kept_u, T, SUMS=sums, KEEP=keeps,
            **_program(C),
        )  # fmt: skip
        if for_backward:
            ctx.save_for_backward(I, alpha, kept_u)
            ctx.sums = sums
        return out if sums else kept_u[:, 1:], new_u

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out, d_u):
        I, alpha, kept_u = ctx.saved_tensors
        B, T, C = I.shape
        given = d_u is not None
        d_I, d_u = torch.empty_like(I), own_gradient(d_u, I[:, 0], given)
        if d_out is None:
            d_out = torch.zeros_like(d_u if ctx.sums else I)
        d_alpha = torch.empty_like(d_u)
        launch(
            _backward, B, C, I, kept_u, d_out.contiguous(), d_u, d_I, d_alpha, alpha, int(given),
            T, SUMS=ctx.sums, **_program(C),
        )  # fmt: skip
        return d_I, d_alpha.sum(dim=0), d_u, None, None


def _program(classes: int) -> dict[str, int]:
    """The size of a program; one warp sums over few classes without waiting for others."""
    block = triton.next_power_of_2(classes)
    return {"block": block, "warps": 1 if block <= 64 else 4}


def _run(I, alpha, state, sums):
    B, _, C = I.shape
    return _Readout.apply(I, alpha.expand(C), state.expand(B, C), sums, torch.is_grad_enabled())


def readout(I, alpha, *, state):
    """See :func:`models.dynamics.readout`; float32 on a GPU, no second derivatives."""
    return _run(I, alpha, state, True)


def potentials(I, alpha, *, state):
    """See :func:`models.dynamics.potentials`; float32 on a GPU, no second derivatives."""
    return _run(I, alpha, state, False)
