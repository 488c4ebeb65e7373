# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The adaptive and the resonate recurrence in fused GPU kernels, with hand-written backward passes.

The adaptation w enters the gradients of alpha and beta only as sums over time of ``weight_t *
w_t``, and because w is a linear filter of ``x_t = a u_{t-1} + b s_{t-1}`` such a sum equals that of
``x_t * filtered_t``, where the weights are filtered by the same decay beta backwards in time.

With recurrent weights, each step is a matrix product and one launch, every u is kept and no w.
Nothing in the loop waits for the host, so that a CUDA graph of a training step launches all of it
at once. V multiplies in float32 whatever the precision of the feed-forward products.

Complex numbers are pairs of reals ``u = x + iy`` and ``A + iB``, in memory side by side; the
gradient of a complex number is that of its real plus i times that of its imaginary part.
"""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from models.dynamics import triton_line, triton_recurrent
from models.dynamics.backends import limits_of, per_neuron, state_of, way_of
from models.dynamics.naive import AdaptiveState, ResonateState
from models.dynamics.triton_loops import (
    Kind,
    fold_arguments,
    load_coefficients,
    load_limits,
    run_backward,
    run_forward,
)
from models.dynamics.triton_readout import potentials, readout
from models.dynamics.triton_scan import selective_scan
from models.dynamics.triton_steps import balanced, resetting
from models.dynamics.triton_support import SIZES, derivative, launch, own_gradient, place, spike
from models.surrogate import BOXCAR

__all__ = [
    "adaptive",
    "balanced",
    "potentials",
    "readout",
    "resetting",
    "resonate",
    "selective_scan",
]


@triton.jit
def _adaptive_step(current, u, w, s, c, limits, ADAPTS: tl.constexpr):
    """The state after a step; c: alpha, beta, a and b."""
    if ADAPTS:
        w = c[1] * w + c[2] * u + c[3] * s
        current = current - w
    return c[0] * (u - s) + (1.0 - c[0]) * current, w


@triton.jit
def _adaptive_adjoint(
    current, d_spike, u, u_new, w, s, g, sums, c, limits, ADAPTS: tl.constexpr,
    SURROGATE: tl.constexpr, WIDTH: tl.constexpr, LEARNS: tl.constexpr,
):  # fmt: skip
    """One step back. g: of u, of w, of s by way of the reset and of the adaptation, which are
    summed in autograd's order, and the filtered weights of u and w."""
    by_spike = (d_spike + g[2] + g[3]) * derivative(u_new - limits[0], SURROGATE, WIDTH)
    g_u = g[0] + by_spike
    g_I = (1.0 - c[0]) * g_u
    sum_alpha = sums[0] + g_u * ((u - s) - current)
    sum_theta = sums[4]
    if LEARNS:
        sum_theta -= by_spike
    if ADAPTS:
        x = c[2] * u + c[3] * s
        g_w = g[1] - g_I
        by_u = g_u + c[1] * g[4]
        sums = (
            sum_alpha + x * by_u, sums[1] + x * g[5], sums[2] + g_w * u, sums[3] + g_w * s,
            sum_theta, sums[5], sums[6],
        )  # fmt: skip
        by_w = g_w + c[1] * g[5]
        g = (c[0] * g_u + c[2] * g_w, c[1] * g_w, -(c[0] * g_u), c[3] * g_w, by_u, by_w)
    else:
        sums = (sum_alpha, sums[1], sums[2], sums[3], sum_theta, sums[5], sums[6])
        g = (c[0] * g_u, g[1], -(c[0] * g_u), g[3], g[4], g[5])
    return g_I, g, sums


@triton.jit(do_not_specialize=["step", *SIZES])
def _forward(
    I, recurrent, alpha, beta, a, b, u, w, s, new_u, new_w, new_s, spikes, kept_u, kept_I, step, T,
    theta, H, ADAPTS: tl.constexpr, KEEP: tl.constexpr, EACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One step, with recurrent weights, from u, w and s [B, H]."""
    row, j, mask, at = place(H, BLOCK)
    u_t, w_t = tl.load(u + at, mask, 0.0), tl.load(w + at, mask, 0.0)
    s_t = tl.load(s + at, mask, 0.0)
    c = load_coefficients(alpha, beta, a, b, j, mask, 1)
    at_t = (row * T + step) * H + j
    kept_u += row * H + at_t  # it has T + 1 steps
    current = tl.load(I + at_t, mask, 0.0) + tl.load(recurrent + at, mask, 0.0)
    if KEEP:
        tl.store(kept_u, u_t, mask)
        tl.store(kept_I + at_t, current, mask)
    limits = load_limits(theta, theta, theta, j, mask, False, EACH)
    u_t, w_t = _adaptive_step(current, u_t, w_t, s_t, c, limits, ADAPTS)
    s_t = spike(u_t - limits[0])
    tl.store(spikes + at_t, s_t, mask)
    if KEEP:
        tl.store(kept_u + H, u_t, mask)
    tl.store(new_u + at, u_t, mask)
    tl.store(new_s + at, s_t, mask)
    if ADAPTS:
        tl.store(new_w + at, w_t, mask)


@triton.jit(do_not_specialize=["step", "given", *SIZES])
def _backward(
    I, d_spikes, by_V, d_I, d_I_now, kept_u, initial_w, initial_s, alpha, beta, a, b,
    d_u, d_w, by_reset, by_jump, filtered_u, filtered_w, d_alpha, d_beta, d_a, d_b, d_theta,
    step, given, T, theta, H, ADAPTS: tl.constexpr, SURROGATE: tl.constexpr, WIDTH: tl.constexpr,
    LEARNS: tl.constexpr, EACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One step back, with recurrent weights.

    Gradients [B, H] continue from what the step after it left in them. At the last step they start
    from 0, those of the state from what they hold, if they are ``given`` (1, else 0). What reaches
    the spikes through V is read from ``by_V``, and the gradient of the current is also written to
    ``d_I_now``.
    """
    row, j, mask, at = place(H, BLOCK)
    later = tl.where(step + 1 < T, mask, j < 0)
    starts = tl.where(given > 0, mask, later)
    zero = tl.zeros((BLOCK,), tl.float32)
    g_u, reset = tl.load(d_u + at, starts, 0.0), tl.load(by_reset + at, starts, 0.0)
    jump, sum_alpha = tl.load(by_jump + at, later, 0.0), tl.load(d_alpha + at, later, 0.0)
    g, sums = (g_u, zero, reset, jump, zero, zero), (sum_alpha, zero, zero, zero, zero, zero, zero)
    if LEARNS:
        sum_theta = tl.load(d_theta + at, later, 0.0)
        sums = (sum_alpha, zero, zero, zero, sum_theta, zero, zero)
    if ADAPTS:
        by_u, by_w = tl.load(filtered_u + at, later, 0.0), tl.load(filtered_w + at, later, 0.0)
        g = (g_u, tl.load(d_w + at, starts, 0.0), reset, jump, by_u, by_w)
        sum_beta, sum_a = tl.load(d_beta + at, later, 0.0), tl.load(d_a + at, later, 0.0)
        sum_b = tl.load(d_b + at, later, 0.0)
        sums = (sum_alpha, sum_beta, sum_a, sum_b, sums[4], zero, zero)
    c = load_coefficients(alpha, beta, a, b, j, mask, 1)
    at_t = (row * T + step) * H + j
    kept_u += row * H + at_t  # it has T + 1 steps
    u_t, u_new = tl.load(kept_u, mask, 0.0), tl.load(kept_u + H, mask, 0.0)
    current, d_spike = tl.load(I + at_t, mask, 0.0), tl.load(d_spikes + at_t, mask, 0.0)
    d_spike += tl.load(by_V + at, later, 0.0)
    limits = load_limits(theta, theta, theta, j, mask, False, EACH)
    s_t = tl.where(step > 0, spike(u_t - limits[0]), tl.load(initial_s + at, mask, 0.0))
    g_I, g, sums = _adaptive_adjoint(
        current, d_spike, u_t, u_new, zero, s_t, g, sums, c, limits, ADAPTS, SURROGATE, WIDTH,
        LEARNS,
    )  # fmt: skip
    if LEARNS:
        tl.store(d_theta + at, sums[4], mask)
    tl.store(d_I + at_t, g_I, mask)
    tl.store(d_I_now + at, g_I, mask)
    sum_alpha, sum_beta = sums[0], sums[1]
    if ADAPTS:
        if step == 0:
            w_0 = tl.load(initial_w + at, mask, 0.0)
            sum_beta += w_0 * g[5]
            sum_alpha += w_0 * (c[1] * g[4])
        tl.store(filtered_u + at, g[4], mask)
        tl.store(filtered_w + at, g[5], mask)
        tl.store(d_w + at, g[1], mask)
        tl.store(d_beta + at, sum_beta, mask)
        tl.store(d_a + at, sums[2], mask)
        tl.store(d_b + at, sums[3], mask)
    tl.store(d_u + at, g[0], mask)
    tl.store(by_reset + at, g[2], mask)
    tl.store(by_jump + at, g[3], mask)
    tl.store(d_alpha + at, sum_alpha, mask)


def _dense(alpha, beta, a, b, u, w, s):
    """Coefficients [H] and state [B, H] in dense memory, with something for what is None."""
    alpha, u, s = alpha.contiguous(), u.contiguous(), s.contiguous()
    coefficients = (alpha if x is None else x.contiguous() for x in (beta, a, b))
    return (alpha, *coefficients), (u, u if w is None else w.contiguous(), s)


class _Adaptive(torch.autograd.Function):
    """Inputs [B, T, H], [H] and [B, H]; beta, a, b and w are None together, theta may be a number.

    So may be mean, slope and shift [H], seed [1], and counts [B, H], which is written.
    """

    @staticmethod
    def forward(
        ctx, I, alpha, beta, a, b, theta, u, w, s, mean, slope, shift, seed, counts, p, surrogate,
        for_backward,
    ):  # fmt: skip
        ctx.set_materialize_grads(False)
        adapts = beta is not None
        kind = Kind(_adaptive_step, _adaptive_adjoint, flag=adapts, has_y=adapts, filters=adapts)
        coefficients, before = _dense(alpha, beta, a, b, u, w, s)
        after = u, w, s = [torch.empty_like(before[2]) for _ in before]
        spikes = run_forward(
            ctx, kind, I.contiguous(), coefficients, [theta] * 3, before, after,
            (mean, slope, shift, seed, counts, p), surrogate, for_backward,
        )  # fmt: skip
        return spikes, u, w if adapts else None, s

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, *d_state):
        given = any(x is not None for x in d_state)
        *_, s, _, _, _, _ = ctx.saved_tensors
        d_u, d_w, d_s = (own_gradient(x, s, given) for x in d_state)
        d_I, by_coefficient, by_limit, by_fold = run_backward(
            ctx, d_spikes, (d_u, d_w, d_s), given, ctx.needs_input_grad[5:6]
        )
        d_w = d_w if ctx.kind.has_y else None
        return d_I, *by_coefficient, *by_limit, d_u, d_w, d_s, *by_fold, *[None] * 5


class _Recurrent(torch.autograd.Function):
    """As above without a fold, with what a ``Feedback`` has."""

    @staticmethod
    def forward(
        ctx, I, alpha, beta, a, b, theta, u, w, s, V, mask, taps, first, line, span, surrogate,
        for_backward,
    ):  # fmt: skip
        ctx.set_materialize_grads(False)
        B, T, H = I.shape
        adapts = beta is not None
        I, each = I.contiguous(), isinstance(theta, torch.Tensor)
        theta = theta.contiguous() if each else theta
        coefficients, before = _dense(alpha, beta, a, b, u, w, s)
        after = u, w, s = [torch.empty_like(before[2]) for _ in before]
        way, spikes = (V, mask, taps, first, line), torch.empty_like(I)
        returning = triton_line.forth(I, way, span)
        kept_u, kept_I = (I.new_empty(B, T + 1, H), torch.empty_like(I)) if for_backward else (u, I)
        for t in range(T):
            given = after if t else before
            launch(
                _forward, B, H, I, returning(t, given[2]), *coefficients, *given, *after, spikes,
                kept_u, kept_I, t, T, theta, ADAPTS=adapts, KEEP=for_backward, EACH=each,
            )  # fmt: skip
        if for_backward:
            theta, ctx.number = (theta, None) if each else (None, theta)
            kept = kept_I, *coefficients, theta, kept_u, *before[1:], spikes, returning.z
            ctx.save_for_backward(*kept, *way)
            ctx.adapts, ctx.span, ctx.surrogate = adapts, span, surrogate
        return spikes, u, w if adapts else None, s, triton_line.line_behind(returning)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, *d_state):
        I, *c, theta, kept_u, initial_w, initial_s, spikes, z = ctx.saved_tensors[:11]
        (B, T, H), (*d_state, d_line), way = I.shape, d_state, ctx.saved_tensors[11:]
        back, d_spikes = triton_line.back(I, way, ctx.span, d_spikes, d_line)
        given = any(x is not None for x in d_state)
        d_u, d_w, by_reset = (own_gradient(x, initial_s, given) for x in d_state)
        d_I = torch.empty_like(I)
        by_jump, d_I_now, *filtered = I.new_empty(4, B, H)
        number, learns = 4 if ctx.adapts else 1, ctx.needs_input_grad[5]
        sums = I.new_empty(number + learns, B, H)
        for t in reversed(range(T)):
            launch(
                _backward, B, H, I, d_spikes, back.by_V, d_I, d_I_now, kept_u, initial_w,
                initial_s, *c, d_u, d_w, by_reset, by_jump, *filtered,
                *sums[:number], *sums[:1].expand(4 - number, B, H), sums[-1], t, int(given), T,
                ctx.number if theta is None else theta, ADAPTS=ctx.adapts, LEARNS=learns,
                SURROGATE=ctx.surrogate.name, WIDTH=ctx.surrogate.width, EACH=theta is not None,
            )  # fmt: skip
            back(t, d_I_now)
        before = torch.cat([initial_s[:, None], spikes[:, :-1]], dim=1)
        by_V, by_way = back.gradients(before, z, d_I, ctx.needs_input_grad[9:14])
        d_s = by_V + by_reset + by_jump if ctx.needs_input_grad[8] else None
        by_neuron = sums.sum(dim=1)
        by_coefficient = [*by_neuron[:number], *[None] * (4 - number)]
        d_theta = by_neuron[-1] if learns else None
        d_w = d_w if ctx.adapts else None
        return d_I, *by_coefficient, d_theta, d_u, d_w, d_s, *by_way, None, None, None


def adaptive(I, alpha, beta, a, b, *, theta, state, V=None, fold=None, surrogate=BOXCAR):
    """See :func:`models.dynamics.adaptive`; float32 on a GPU, no second derivatives.

    Either ``V`` or ``fold`` is None.
    """
    B, _, H = I.shape
    coefficients = [None if x is None else x.expand(H) for x in (alpha, beta, a, b)]
    u, w, s = (x.expand(B, H) for x in state)
    (theta,) = limits_of(I, theta)
    run, more = (_Adaptive, fold_arguments(fold)) if V is None else (_Recurrent, way_of(V))
    spikes, u, new_w, s, *line = run.apply(
        I, *coefficients, theta, u, None if beta is None else w, s, *more,
        surrogate, torch.is_grad_enabled(),
    )  # fmt: skip
    return spikes, state_of(AdaptiveState(u, state.w if beta is None else new_w, s), V, *line)


@triton.jit
def _resonate_step(current, x, y, s, c, limits, RESET_INSIDE: tl.constexpr):
    """The state after a step; c: A, B and the gain."""
    reset = limits[1]
    if RESET_INSIDE:
        x = x - reset * s
        x_new, y_new = (c[0] * x - c[1] * y) + c[2] * current, c[0] * y + c[1] * x
    else:
        drift_x, drift_y = (c[0] * x - c[1] * y) + current, c[0] * y + c[1] * x
        x_new, y_new = (x + c[2] * drift_x) - reset * s, y + c[2] * drift_y
    return x_new, y_new


@triton.jit
def _resonate_adjoint(
    current, d_spike, x, x_new, y, s, g, sums, c, limits, RESET_INSIDE: tl.constexpr,
    SURROGATE: tl.constexpr, WIDTH: tl.constexpr, LEARNS: tl.constexpr,
):  # fmt: skip
    """One step back; g: of x, y and s."""
    theta, reset, scale = limits[0], limits[1], limits[2]
    by_spike = (g[2] + d_spike) * derivative(scale * x_new - theta, SURROGATE, WIDTH)
    g_x, g_y = g[0] + scale * by_spike, g[1]
    A, B, gain = c[0], c[1], c[2]
    if RESET_INSIDE:
        x = x - reset * s
        g_I = gain * g_x
        sums = (
            sums[0] + (g_x * x + g_y * y), sums[1] + (g_y * x - g_x * y), sums[2] + g_x * current,
            sums[3], sums[4], sums[5], sums[6],
        )  # fmt: skip
        g_x, g_y = A * g_x + B * g_y, A * g_y - B * g_x
        g_s, by_reset = -reset * g_x, s * g_x
    else:
        drift_x, drift_y = (A * x - B * y) + current, A * y + B * x
        g_I, g_drift_y = gain * g_x, gain * g_y
        sums = (
            sums[0] + (g_I * x + g_drift_y * y), sums[1] + (g_drift_y * x - g_I * y),
            sums[2] + (g_x * drift_x + g_y * drift_y), sums[3], sums[4], sums[5], sums[6],
        )  # fmt: skip
        g_s, by_reset = -reset * g_x, s * g_x
        g_x, g_y = g_x + (A * g_I + B * g_drift_y), g_y + (A * g_drift_y - B * g_I)
    if LEARNS:
        sums = (
            sums[0], sums[1], sums[2], sums[3], sums[4] - by_spike, sums[5] - by_reset,
            sums[6] + by_spike * x_new,
        )  # fmt: skip
    return g_I, (g_x, g_y, g_s, g[3], g[4], g[5]), sums


class _Resonate(torch.autograd.Function):
    """I [B, T, H]; A complex, gain [H]; theta, reset, scale all [H] or numbers; u complex,
    s [B, H].

    mean, slope and shift [H] are a ``Fold``'s; they, seed [1] and counts [B, H], which is written,
    may be None.
    """

    @staticmethod
    def forward(
        ctx, I, A, gain, theta, reset, scale, u, s, mean, slope, shift, seed, counts, p,
        reset_inside, surrogate, for_backward,
    ):  # fmt: skip
        ctx.set_materialize_grads(False)
        I, A, gain, u, s = (x.contiguous() for x in (I, _pairs(A), gain, _pairs(u), s))
        new_u, new_s = torch.empty_like(u), torch.empty_like(s)
        kind = Kind(_resonate_step, _resonate_adjoint, flag=reset_inside, scales=True, stride=2)
        spikes = run_forward(
            ctx, kind, I, (*A.unbind(-1), gain, gain), (theta, reset, scale), (*u.unbind(-1), s),
            (*new_u.unbind(-1), new_s), (mean, slope, shift, seed, counts, p), surrogate,
            for_backward,
        )  # fmt: skip
        return spikes, torch.view_as_complex(new_u), new_s

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, d_u, d_s):
        *_, s, _, _, _, _ = ctx.saved_tensors
        given = d_u is not None or d_s is not None
        d_u = own_gradient(None if d_u is None else _pairs(d_u), s[..., None].expand(*s.shape, 2),
                           given)  # fmt: skip
        d_s = own_gradient(d_s, s, given)
        d_state = (*d_u.unbind(-1), d_s)
        d_I, (d_A, d_B, d_gain, _), by_limit, by_fold = run_backward(
            ctx, d_spikes, d_state, given, ctx.needs_input_grad[3:6]
        )
        by_coefficient = torch.complex(d_A, d_B), d_gain, *by_limit
        return d_I, *by_coefficient, torch.view_as_complex(d_u), d_s, *by_fold, *[None] * 6


class _RecurrentResonate(torch.autograd.Function):
    """As above without a fold, with what a ``Feedback`` has."""

    @staticmethod
    def forward(
        ctx, I, A, gain, theta, reset, scale, u, s, V, mask, taps, first, line, span, reset_inside,
        surrogate, for_backward,
    ):  # fmt: skip
        ctx.set_materialize_grads(False)
        ctx.options, limits = (reset_inside, surrogate), [theta, reset, scale]
        if isinstance(theta, torch.Tensor):
            limits = [x.contiguous() for x in limits]
        parts = [x.contiguous() for x in (*_pairs(A).unbind(-1), gain, *_pairs(u).unbind(-1), s)]
        spikes, (x, y, s), line = triton_recurrent.step_by_step(
            ctx, _resonate_step, reset_inside, I.contiguous(), parts[:3], limits, parts[3:],
            (V, mask, taps, first, line), span, for_backward,
        )  # fmt: skip
        return spikes, torch.complex(x, y), s, line

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, d_u, d_s, d_line):
        s, (flag, surrogate) = ctx.saved_tensors[0], ctx.options
        d_u = None if d_u is None else _pairs(d_u)
        parts = (None, None) if d_u is None else d_u.unbind(-1)
        d_state = [own_gradient(x, s, True) for x in (*parts, d_s)]
        d_I, sums, d_s, by_way = triton_recurrent.step_back(
            ctx, _resonate_adjoint, flag, surrogate, d_spikes, d_state, d_line,
            any(ctx.needs_input_grad[3:6]), ctx.needs_input_grad[8:13],
        )  # fmt: skip
        d_limits = sums[3:] if len(sums) > 3 else [None] * 3
        d_A, d_u = torch.complex(sums[0], sums[1]), torch.complex(*d_state[:2])
        return d_I, d_A, sums[2], *d_limits, d_u, d_s, *by_way, *[None] * 4


def _pairs(x: torch.Tensor) -> torch.Tensor:
    """Complex x [...] as real and imaginary parts [..., 2]."""
    return torch.view_as_real(x.resolve_conj())


def resonate(
    I, A, reset, gain, *, scale, theta, state, reset_inside, V=None, fold=None, surrogate=BOXCAR
):  # fmt: skip
    """See :func:`models.dynamics.resonate`; float32 on a GPU, no second derivatives.

    Either ``V`` or ``fold`` is None.
    """
    B, _, H = I.shape
    gain, limits = per_neuron(gain, I), limits_of(I, theta, reset, scale)
    u, s = (x.expand(B, H) for x in state)
    run, more = (_Resonate, fold_arguments(fold)) if V is None else (_RecurrentResonate, way_of(V))
    spikes, u, s, *line = run.apply(
        I, A.expand(H), gain, *limits, u, s, *more, reset_inside, surrogate,
        torch.is_grad_enabled(),
    )  # fmt: skip
    return spikes, state_of(ResonateState(u, s), V, *line)
