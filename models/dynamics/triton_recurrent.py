# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Resonating neurons with recurrent weights on a GPU: a matrix product and one launch per step."""

from collections.abc import Callable, Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from models.dynamics import triton_line
from models.dynamics.triton_loops import load_coefficients, load_limits
from models.dynamics.triton_support import SIZES, launch, place, spike
from models.surrogate import Surrogate


@triton.jit(do_not_specialize=["step", *SIZES])
def _forward(
    I, recurrent, A, B, gain, x, y, s, new_x, new_y, new_s, spikes, kept_x, kept_y, kept_I, step, T,
    theta, reset, scale, H, STEP: tl.constexpr, FLAG: tl.constexpr, KEEP: tl.constexpr,
    EACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One step from x, y and s [B, H]."""
    row, j, mask, at = place(H, BLOCK)
    x_t, y_t = tl.load(x + at, mask, 0.0), tl.load(y + at, mask, 0.0)
    s_t = tl.load(s + at, mask, 0.0)
    c = load_coefficients(A, B, gain, gain, j, mask, 1)
    at_t = (row * T + step) * H + j
    current = tl.load(I + at_t, mask, 0.0) + tl.load(recurrent + at, mask, 0.0)
    limits = load_limits(theta, reset, scale, j, mask, True, EACH)
    x_new, y_new = STEP(current, x_t, y_t, s_t, c, limits, FLAG)
    s_new = spike(limits[2] * x_new - limits[0])
    if KEEP:
        kept = row * H + at_t  # they have T + 1 steps
        tl.store(kept_x + kept, x_t, mask)
        tl.store(kept_y + kept, y_t, mask)
        tl.store(kept_x + kept + H, x_new, mask)
        tl.store(kept_I + at_t, current, mask)
    tl.store(spikes + at_t, s_new, mask)
    tl.store(new_x + at, x_new, mask)
    tl.store(new_y + at, y_new, mask)
    tl.store(new_s + at, s_new, mask)


@triton.jit(do_not_specialize=["step", *SIZES])
def _backward(
    I, d_spikes, by_V, d_I, d_I_now, kept_x, kept_y, initial_s, spikes, A, B, gain, d_x, d_y, d_s,
    sums, step, T, theta, reset, scale, H, ADJOINT: tl.constexpr, FLAG: tl.constexpr,
    SURROGATE: tl.constexpr, WIDTH: tl.constexpr, LEARNS: tl.constexpr, EACH: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One step back. Gradients [B, H] of x, y and s, and seven sums of them, continue."""
    row, j, mask, at = place(H, BLOCK)
    size = tl.num_programs(0).to(tl.int64) * H
    zero = tl.zeros((BLOCK,), tl.float32)
    g_x, g_y = tl.load(d_x + at, mask, 0.0), tl.load(d_y + at, mask, 0.0)
    g = (g_x, g_y, tl.load(d_s + at, mask, 0.0), zero, zero, zero)
    sums += at
    total = (
        tl.load(sums, mask, 0.0), tl.load(sums + size, mask, 0.0),
        tl.load(sums + 2 * size, mask, 0.0), zero, zero, zero, zero,
    )  # fmt: skip
    if LEARNS:
        total = (
            total[0], total[1], total[2], zero, tl.load(sums + 3 * size, mask, 0.0),
            tl.load(sums + 4 * size, mask, 0.0), tl.load(sums + 5 * size, mask, 0.0),
        )  # fmt: skip
    c = load_coefficients(A, B, gain, gain, j, mask, 1)
    at_t = (row * T + step) * H + j
    kept = row * H + at_t
    x_t, x_new = tl.load(kept_x + kept, mask, 0.0), tl.load(kept_x + kept + H, mask, 0.0)
    y_t, current = tl.load(kept_y + kept, mask, 0.0), tl.load(I + at_t, mask, 0.0)
    d_spike = tl.load(d_spikes + at_t, mask, 0.0) + tl.load(by_V + at, mask, 0.0)
    before = tl.load(spikes + at_t - H, tl.where(step > 0, mask, j < 0), 0.0)
    s_t = tl.where(step > 0, before, tl.load(initial_s + at, mask, 0.0))
    limits = load_limits(theta, reset, scale, j, mask, True, EACH)
    g_I, g, total = ADJOINT(
        current, d_spike, x_t, x_new, y_t, s_t, g, total, c, limits, FLAG, SURROGATE, WIDTH, LEARNS
    )
    tl.store(d_I + at_t, g_I, mask)
    tl.store(d_I_now + at, g_I, mask)
    tl.store(d_x + at, g[0], mask)
    tl.store(d_y + at, g[1], mask)
    tl.store(d_s + at, g[2], mask)
    tl.store(sums, total[0], mask)
    tl.store(sums + size, total[1], mask)
    tl.store(sums + 2 * size, total[2], mask)
    if LEARNS:
        tl.store(sums + 3 * size, total[4], mask)
        tl.store(sums + 4 * size, total[5], mask)
        tl.store(sums + 5 * size, total[6], mask)


def step_by_step(
    ctx, step: Callable, flag: bool, I: Tensor, coefficients: Sequence[Tensor],
    limits: Sequence[Tensor | float], before: Sequence[Tensor], way: Sequence[Tensor | None],
    span: int, for_backward: bool,
) -> tuple[Tensor, list[Tensor], Tensor]:  # fmt: skip
    """Spikes, the state x, y and s after the last step, and the line; all tensors are dense, but
    those of ``way``, see ``triton_line``.

    ``ctx`` keeps what :func:`step_back` needs. ``limits`` are all tensors [H] or all numbers.
    """
    B, T, H = I.shape
    after = [torch.empty_like(x) for x in before]
    spikes, returning, each = torch.empty_like(I), triton_line.forth(I, way, span), _each(limits)
    kept = kept_x, kept_y = I.new_empty(2, B, T + 1, H) if for_backward else before[:2]
    kept_I = torch.empty_like(I) if for_backward else I
    for t in range(T):
        given = after if t else before
        launch(
            _forward, B, H, I, returning(t, given[2]), *coefficients, *given, *after, spikes,
            kept_x, kept_y, kept_I, t, T, *limits, STEP=step, FLAG=flag, KEEP=for_backward,
            EACH=each,
        )  # fmt: skip
    if for_backward:
        ctx.numbers, ctx.span = None if each else limits, span
        tensors = limits if each else [None] * 3
        kept = before[2], kept_I, *coefficients, *tensors, *kept, spikes, returning.z
        ctx.save_for_backward(*kept, *way)
    return spikes, after, triton_line.line_behind(returning)


def _each(limits: Sequence[Tensor | float]) -> bool:
    """Whether every neuron has limits of its own."""
    return isinstance(limits[0], Tensor)


def step_back(
    ctx, adjoint: Callable, flag: bool, surrogate: Surrogate, d_spikes: Tensor | None,
    d_state: Sequence[Tensor], d_line: Tensor | None, learns: bool, needed: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, tuple]:  # fmt: skip
    """Gradients of I, sums [3, H] of the coefficients' (and if they learn limits', [6, H]), that of
    s, and those of ``way`` that are ``needed``.

    The gradients of x and y are left in ``d_state``.
    """
    s, I, A, imaginary, gain, *limits, kept_x, kept_y, spikes, z = ctx.saved_tensors[:-5]
    (B, T, H), way = I.shape, ctx.saved_tensors[-5:]
    back, d_spikes = triton_line.back(I, way, ctx.span, d_spikes, d_line)
    d_I, d_I_now = torch.empty_like(I), torch.empty_like(s)
    sums, limits = I.new_zeros(6 if learns else 3, B, H), ctx.numbers or limits
    for t in reversed(range(T)):
        launch(
            _backward, B, H, I, d_spikes, back.by_V, d_I, d_I_now, kept_x, kept_y, s, spikes, A,
            imaginary, gain, *d_state, sums, t, T, *limits, ADJOINT=adjoint, FLAG=flag,
            SURROGATE=surrogate.name, WIDTH=surrogate.width, LEARNS=learns, EACH=_each(limits),
        )  # fmt: skip
        back(t, d_I_now)
    before = torch.cat([s[:, None], spikes[:, :-1]], dim=1)
    by_V, by_way = back.gradients(before, z, d_I, needed)
    return d_I, sums.sum(dim=1), d_state[2] + by_V, by_way
