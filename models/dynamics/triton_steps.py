# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Neurons that are reset at once, and balanced resonators, in GPU kernels with backward passes.

The state before every step is kept for the backward pass: a reset hides the potential at which a
neuron fired, which is computed again from there. Without recurrent weights the loop over time runs
inside the kernels; with V each step is a matrix product and one launch of the same kernels.

A step takes and returns three states x, y and q, of which a recurrence has some, and spikes s.
"""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from models.dynamics import triton_line
from models.dynamics.backends import limits_of, state_of, way_of
from models.dynamics.naive import AdaptiveState, BalancedState
from models.dynamics.triton_support import (
    SIZES,
    derivative,
    launch,
    own_gradient,
    place,
    spike,
    spike_at,
)
from models.surrogate import BOXCAR

ADAPTS, SCALES, HARD, DETACHED, SYMPLECTIC, BALANCED = (tl.constexpr(1 << i) for i in range(6))
WITH_Y = tl.constexpr(ADAPTS.value | BALANCED.value)


@triton.jit
def _fired(current, x, y, c, FORM: tl.constexpr):
    """The potential at which neurons that are reset at once fire, and their whole current."""
    if ADAPTS & FORM:
        current = current - y
    if SCALES & FORM:
        return c[0] * x + (1.0 - c[0]) * current, current
    else:
        return c[0] * x + current, current


@triton.jit
def _step(current, x, y, q, s, c, theta, decay, dt, FORM: tl.constexpr):
    """The states and spikes after a step; c: turn and damping, or alpha, beta, a and b."""
    if BALANCED & FORM:
        b = dt * (c[1] - q)
        x_new = x + (b * x - c[0] * y + dt * current)
        y = y + (c[0] * x + b * y)
        s = spike(x_new - theta - q)
        return x_new, y, decay * q + s, s
    else:
        drift = c[2] * x + c[3] * s
        fired, _ = _fired(current, x, y, c, FORM)
        s = spike(fired - theta) if ADAPTS & FORM else spike_at(fired - theta)
        x = fired * (1.0 - s) if HARD & FORM else fired - s * theta
        if ADAPTS & FORM:
            if SYMPLECTIC & FORM:
                drift = c[2] * x + c[3] * s
            y = c[1] * y + drift
        return x, y, q, s


@triton.jit
def _adjoint(
    current, d_s, x, y, q, s, g, c, theta, decay, dt, FORM: tl.constexpr, SURROGATE: tl.constexpr,
    WIDTH: tl.constexpr,
):  # fmt: skip
    """One step back, summed in autograd's order. g: of x, y and q after the step; ``d_s``, of the
    spikes. Returns those of the current, of the states and spikes before it, of c and of theta."""
    x_new, _, _, s_new = _step(current, x, y, q, s, c, theta, decay, dt, FORM)
    if BALANCED & FORM:
        drive = (d_s + g[2]) * derivative(x_new - theta - q, SURROGATE, WIDTH)
        g_x, g_y = g[0] + drive, g[1]
        b = dt * (c[1] - q)
        g_b = dt * (g_y * y + g_x * x)
        before = (
            (c[0] * g_y + g_x) + b * g_x, (g_y + b * g_y) - c[0] * g_x,
            (decay * g[2] - drive) - g_b, d_s * 0.0,
        )  # fmt: skip
        return dt * g_x, before, (g_y * x - g_x * y, g_b, g_b, g_b, -drive)
    else:
        fired, current = _fired(current, x, y, c, FORM)
        g_x, g_y, early, jump = g[0], g[1], d_s * 0.0, d_s * 0.0
        by_beta, by_a, by_b = early, early, early
        if ADAPTS & FORM:
            if SYMPLECTIC & FORM:
                by_a, by_b = g_y * x_new, g_y * s_new
                g_x, d_s = g_x + c[2] * g_y, d_s + c[3] * g_y
            else:
                by_a, by_b = g_y * x, g_y * s
                early, jump = c[2] * g_y, c[3] * g_y
            by_beta = g_y * y
        by_theta = g_x * 0.0
        if HARD & FORM:
            g_fired = g_x * (1.0 - s_new)
            if (DETACHED & FORM) == 0:
                d_s = d_s - g_x * fired
        else:
            g_fired = g_x
            by_theta = -(g_x * s_new)
            if (DETACHED & FORM) == 0:
                d_s = d_s - g_x * theta
        drive = d_s * derivative(fired - theta, SURROGATE, WIDTH)
        g_fired += drive
        if SCALES & FORM:
            g_I, by_alpha = (1.0 - c[0]) * g_fired, g_fired * (x - current)
        else:
            g_I, by_alpha = g_fired, g_fired * x
        if ADAPTS & FORM:
            g_y = c[1] * g_y - g_I
        before = (c[0] * g_fired + early, g_y, g[2], jump)
        return g_I, before, (by_alpha, by_beta, by_a, by_b, by_theta - drive)


@triton.jit
def _load(c_0, c_1, c_2, c_3, theta, j, mask, EACH: tl.constexpr):
    """Coefficients and theta of the neurons j."""
    c = (
        tl.load(c_0 + j, mask, 0.0), tl.load(c_1 + j, mask, 0.0), tl.load(c_2 + j, mask, 0.0),
        tl.load(c_3 + j, mask, 0.0),
    )  # fmt: skip
    if EACH:
        theta = tl.load(theta + j, mask, 0.0)
    return c, theta


@triton.jit(do_not_specialize=["start", "stop", *SIZES])
def _forward(
    I, returned, c_0, c_1, c_2, c_3, x, y, q, s, new_x, new_y, new_q, new_s, spikes, kept_x, kept_y,
    kept_q, kept_s, kept_I, start, stop, T, theta, decay, dt, H, FORM: tl.constexpr,
    RETURNS: tl.constexpr, SEEN: tl.constexpr, KEEP: tl.constexpr, EACH: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The steps from ``start`` to ``stop``, whose current has ``returned`` [B, H] added.

    Kept is what the backward pass reads, spikes only where they are ``SEEN`` by the next step.
    """
    row, j, mask, at = place(H, BLOCK)
    c, theta = _load(c_0, c_1, c_2, c_3, theta, j, mask, EACH)
    x_t, y_t = tl.load(x + at, mask, 0.0), tl.load(y + at, mask, 0.0)
    q_t, s_t = tl.load(q + at, mask, 0.0), tl.load(s + at, mask, 0.0)
    for t in range(start, stop):
        at_t = (row * T + t) * H + j
        current = tl.load(I + at_t, mask, 0.0)
        if RETURNS:
            current += tl.load(returned + at, mask, 0.0)
        if KEEP:
            tl.store(kept_x + at_t, x_t, mask)
            if WITH_Y & FORM:
                tl.store(kept_y + at_t, y_t, mask)
            if BALANCED & FORM:
                tl.store(kept_q + at_t, q_t, mask)
            if SEEN:
                tl.store(kept_s + at_t, s_t, mask)
            if RETURNS:
                tl.store(kept_I + at_t, current, mask)
        x_t, y_t, q_t, s_t = _step(current, x_t, y_t, q_t, s_t, c, theta, decay, dt, FORM)
        tl.store(spikes + at_t, s_t, mask)
    tl.store(new_x + at, x_t, mask)
    tl.store(new_y + at, y_t, mask)
    tl.store(new_q + at, q_t, mask)
    tl.store(new_s + at, s_t, mask)


@triton.jit(do_not_specialize=["start", "stop", *SIZES])
def _backward(
    I, d_spikes, by_V, d_I, d_I_now, kept_x, kept_y, kept_q, kept_s, c_0, c_1, c_2, c_3,
    d_x, d_y, d_q, d_s, sum_0, sum_1, sum_2, sum_3, sum_theta, start, stop, T, theta, decay, dt, H,
    FORM: tl.constexpr, SURROGATE: tl.constexpr, WIDTH: tl.constexpr, RETURNS: tl.constexpr,
    EACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The steps from ``stop`` back to ``start``; gradients and sums [B, H] are added to.

    What reaches the spikes of the last of these steps through V is read from ``by_V``; the gradient
    of the current of the first is also written to ``d_I_now``.
    """
    row, j, mask, at = place(H, BLOCK)
    c, theta = _load(c_0, c_1, c_2, c_3, theta, j, mask, EACH)
    g = (
        tl.load(d_x + at, mask, 0.0), tl.load(d_y + at, mask, 0.0), tl.load(d_q + at, mask, 0.0),
        tl.load(d_s + at, mask, 0.0),
    )  # fmt: skip
    sums = (
        tl.load(sum_0 + at, mask, 0.0), tl.load(sum_1 + at, mask, 0.0),
        tl.load(sum_2 + at, mask, 0.0), tl.load(sum_3 + at, mask, 0.0),
        tl.load(sum_theta + at, mask, 0.0),
    )  # fmt: skip
    for done in range(stop - start):
        at_t = (row * T + (stop - 1 - done)) * H + j
        d_spike = tl.load(d_spikes + at_t, mask, 0.0)
        if RETURNS:
            d_spike += tl.load(by_V + at, mask, 0.0)
        g_I, g, more = _adjoint(
            tl.load(I + at_t, mask, 0.0), d_spike + g[3], tl.load(kept_x + at_t, mask, 0.0),
            tl.load(kept_y + at_t, mask, 0.0), tl.load(kept_q + at_t, mask, 0.0),
            tl.load(kept_s + at_t, mask, 0.0), g, c, theta, decay, dt, FORM, SURROGATE, WIDTH,
        )  # fmt: skip
        sums = (
            sums[0] + more[0], sums[1] + more[1], sums[2] + more[2], sums[3] + more[3],
            sums[4] + more[4],
        )  # fmt: skip
        tl.store(d_I + at_t, g_I, mask)
        if RETURNS:
            tl.store(d_I_now + at, g_I, mask)
    tl.store(d_x + at, g[0], mask)
    tl.store(d_y + at, g[1], mask)
    tl.store(d_q + at, g[2], mask)
    tl.store(d_s + at, g[3], mask)
    tl.store(sum_0 + at, sums[0], mask)
    tl.store(sum_1 + at, sums[1], mask)
    tl.store(sum_2 + at, sums[2], mask)
    tl.store(sum_3 + at, sums[3], mask)
    tl.store(sum_theta + at, sums[4], mask)


class _Steps(torch.autograd.Function):
    """I [B, T, H], four coefficients [H], theta, x, y, q and s [B, H], and what a ``Feedback`` has;
    what there is not is None, but I, the first coefficient, x and s."""

    @staticmethod
    def forward(
        ctx, I, c_0, c_1, c_2, c_3, theta, x, y, q, s, V, mask, taps, first, line, span, numbers,
        form, surrogate, for_backward,
    ):  # fmt: skip
        ctx.set_materialize_grads(False)
        B, T, H = I.shape
        I, each = I.contiguous(), isinstance(theta, torch.Tensor)
        limits = [theta.contiguous() if each else theta, *numbers]
        c = [(c_0 if x is None else x).contiguous() for x in (c_0, c_1, c_2, c_3)]
        before = [(x if state is None else state).contiguous() for state in (x, y, q, s)]
        after, spikes = [torch.empty_like(before[0]) for _ in before], torch.empty_like(I)
        seen = V is not None or (form & ADAPTS.value and not form & SYMPLECTIC.value)
        needed = True, form & WITH_Y.value, form & BALANCED.value, seen, V is not None
        blocks = iter(I.new_empty(sum(map(bool, needed)) * for_backward, B, T, H))
        kept = [next(blocks) if there and for_backward else I for there in needed]
        way, stride = (V, mask, taps, first, line), T if V is None else 1
        returning = triton_line.forth(I, way, span)
        for t in range(0, T, stride):
            given = after if t else before
            returned = returning.returned if V is None else returning(t, given[3])
            launch(
                _forward, B, H, I, returned, *c, *given, *after, spikes, *kept, t, t + stride, T,
                *limits, FORM=form, RETURNS=V is not None, SEEN=bool(seen), KEEP=for_backward,
                EACH=each,
            )  # fmt: skip
        if for_backward:
            ctx.save_for_backward(*c, limits[0] if each else None, returning.z, *kept, *way)
            ctx.limits, ctx.form, ctx.surrogate, ctx.span = limits, form, surrogate, span
            ctx.given = [x is not None for x in (c_0, c_1, c_2, c_3)]
            ctx.states = [x is not None for x in (x, y, q, s)]
        return spikes, *after, triton_line.line_behind(returning)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, *d_state):
        *c, theta, z, kept_x, kept_y, kept_q, kept_s, I = ctx.saved_tensors[:-5]
        (B, T, H), (*d_state, d_line), way = I.shape, d_state, ctx.saved_tensors[-5:]
        each, returns = theta is not None, way[0] is not None
        stride = 1 if returns else T
        limits = [theta if each else ctx.limits[0], *ctx.limits[1:]]
        back, d_spikes = triton_line.back(I, way, ctx.span, d_spikes, d_line)
        d_state = [own_gradient(x, I[:, 0], True) for x in d_state]
        d_I, sums, d_I_now = torch.empty_like(I), I.new_zeros(5, B, H), I.new_empty(B, H)
        for t in range(T - stride, -1, -stride):
            launch(
                _backward, B, H, I, d_spikes, back.by_V, d_I, d_I_now, kept_x, kept_y, kept_q,
                kept_s, *c, *d_state, *sums, t, t + stride, T, *limits, FORM=ctx.form,
                SURROGATE=ctx.surrogate.name, WIDTH=ctx.surrogate.width, RETURNS=returns,
                EACH=each,
            )  # fmt: skip
            if returns:
                back(t, d_I_now)
        by_V, by_way = back.gradients(kept_s, z, d_I, ctx.needs_input_grad[10:15])
        d_x, d_y, d_q, d_s = d_state
        d_state = d_x, d_y, d_q, by_V + d_s
        by_neuron = sums.sum(dim=1)
        by_c = [g if there else None for g, there in zip(by_neuron, ctx.given, strict=False)]
        d_theta = by_neuron[4] if ctx.needs_input_grad[5] else None
        d_state = [g if there else None for g, there in zip(d_state, ctx.states, strict=True)]
        return d_I, *by_c, d_theta, *d_state, *by_way, *[None] * 5


def _run(I, coefficients, theta, state, V, numbers, form, surrogate):
    """Spikes, x, y, q, s and the line; coefficients and state with None for what there is not."""
    B, _, H = I.shape
    coefficients = [None if c is None else c.expand(H) for c in coefficients]
    state = [None if x is None else x.expand(B, H) for x in state]
    (theta,) = limits_of(I, theta)
    return _Steps.apply(
        I, *coefficients, theta, *state, *way_of(V), numbers, form, surrogate,
        torch.is_grad_enabled(),
    )  # fmt: skip


def resetting(
    I, alpha, beta, a, b, *, theta, state, V=None, scales=True, hard=True, detached=True,
    symplectic=True, surrogate=BOXCAR,
):  # fmt: skip
    """See :func:`models.dynamics.resetting`; float32 on a GPU, no second derivatives."""
    adapts = beta is not None
    flags = adapts, scales, hard, detached, symplectic
    form = sum(1 << i for i, flag in enumerate(flags) if flag)
    u, w, s = state
    s = s.detach() if V is None and (symplectic or not adapts) else s  # nothing sees it
    spikes, u, new_w, _, s, line = _run(
        I, (alpha, beta, a, b), theta, (u, w if adapts else None, None, s), V, (0.0, 0.0), form,
        surrogate,
    )  # fmt: skip
    return spikes, state_of(AdaptiveState(u, new_w if adapts else w, s), V, line)


def balanced(I, omega, damping, *, step, decay, theta, state, V=None, surrogate=BOXCAR):
    """See :func:`models.dynamics.balanced`; float32 on a GPU, no second derivatives."""
    u, v, q, s = state
    s = s.detach() if V is None else s  # nothing sees it
    spikes, u, v, q, s, line = _run(
        I, (step * omega, damping, None, None), theta, (u, v, q, s), V, (decay, step),
        BALANCED.value, surrogate,
    )  # fmt: skip
    return spikes, state_of(BalancedState(u, v, q, s), V, line)
