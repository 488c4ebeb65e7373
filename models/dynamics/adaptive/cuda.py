# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Adaptive recurrence in fused GPU kernels, with a hand-written backward pass.

The loop over time runs inside the kernels, the state of a neuron stays in registers. Kept for the
backward pass: the input current, and the state before every eighth step, from which the backward
pass computes the seven behind it again, by the same operations. That moves and holds fewer bytes
than every u.

The adaptation w enters the gradients of alpha and beta only as sums over time of ``weight_t *
w_t``, and because w is a linear filter of ``x_t = a u_{t-1} + b s_{t-1}`` such a sum equals that of
``x_t * filtered_t``, where the weights are filtered by the same decay beta backwards in time.

Without recurrent weights the kernels also do what a ``Fold`` says, normalisation before and dropout
after the recurrence, while the values are in registers; what is kept then is the input as it was
before normalisation. With recurrent weights, each step is a matrix product and one launch of the
same kernels, every u is kept and no w. Nothing in the loop waits for the host, so that a CUDA graph
of a training step launches all of it at once. V multiplies in float32 whatever the precision of the
feed-forward products.
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
def _step(current, u, w, s, alpha, keep, beta, a, b, theta, ADAPTS: tl.constexpr):
    """The state after a step."""
    if ADAPTS:
        w = beta * w + a * u + b * s
        current = current - w
    u = alpha * (u - s) + keep * current
    return u, w, spike(u - theta)


@triton.jit
def _keep(kept_u, kept_w, at, u, w, mask, ADAPTS: tl.constexpr, KEEP: tl.constexpr):
    if KEEP:
        tl.store(kept_u + at, u, mask)
        if ADAPTS:
            tl.store(kept_w + at, w, mask)


@triton.jit(do_not_specialize=["step", *SIZES])
def _forward(
    I, recurrent, alpha, beta, a, b, u, w, s, new_u, new_w, new_s, spikes, kept_u, kept_w, kept_I,
    mean, slope, shift, seed, counts, p, grown, step, T, theta, H,
    ADAPTS: tl.constexpr, RECURRENT: tl.constexpr, KEEP: tl.constexpr, NORMALIZES: tl.constexpr,
    DROPS: tl.constexpr, COUNTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """All steps, or with recurrent weights this one, from u, w and s [B, H].

    Currents are loaded eight steps ahead of their use: a load that follows a store waits for it,
    and one load at a time leaves the memory idle.
    """
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
    else:
        w_t, beta_j, a_j, b_j = u_t, alpha_j, alpha_j, alpha_j  # never looked at
    if RECURRENT:
        at_t = (row * T + step) * H + j
        kept_u += row * H + at_t  # it has T + 1 steps
        current = tl.load(I + at_t, mask, 0.0) + tl.load(recurrent + at, mask, 0.0)
        if KEEP:
            tl.store(kept_u, u_t, mask)
            tl.store(kept_I + at_t, current, mask)
        u_t, w_t, s_t = _step(
            current, u_t, w_t, s_t, alpha_j, keep_j, beta_j, a_j, b_j, theta, ADAPTS
        )
        tl.store(spikes + at_t, s_t, mask)
        if KEEP:
            tl.store(kept_u + H, u_t, mask)
    else:
        mean_j, slope_j, shift_j, random = load_fold(
            mean, slope, shift, seed, j, mask, NORMALIZES, DROPS
        )
        runs = T // _RUN
        I, spikes = I + row * T * H, spikes + row * T * H
        kept_u += row * (runs + T % _RUN) * H
        kept_w += row * (runs + T % _RUN) * H
        kept = j
        count = tl.zeros((BLOCK,), tl.float32)
        for t in range(0, runs * _RUN, _RUN):
            first = t * H + j
            inputs = load_eight(I + first, H, mask)
            _keep(kept_u, kept_w, kept, u_t, w_t, mask, ADAPTS, KEEP)
            kept += H
            for k in tl.static_range(_RUN):
                if k % 4 == 0:
                    factors = four_factors(random, row, t + k, T, H, j, p, grown, DROPS)
                current = normalized(inputs[k], mean_j, slope_j, shift_j, NORMALIZES)
                u_t, w_t, s_t = _step(
                    current, u_t, w_t, s_t, alpha_j, keep_j, beta_j, a_j, b_j, theta, ADAPTS
                )
                count = store_spikes(
                    spikes + first + k * H, s_t, factors[k % 4], count, mask, DROPS, COUNTS
                )
        for t in range(runs * _RUN, T):
            at_t = t * H + j
            current = normalized(tl.load(I + at_t, mask, 0.0), mean_j, slope_j, shift_j, NORMALIZES)
            factors = four_factors(random, row, t, T, H, j, p, grown, DROPS)
            _keep(kept_u, kept_w, kept, u_t, w_t, mask, ADAPTS, KEEP)
            kept += H
            u_t, w_t, s_t = _step(
                current, u_t, w_t, s_t, alpha_j, keep_j, beta_j, a_j, b_j, theta, ADAPTS
            )
            factor = one_of_four(factors, t % 4)
            count = store_spikes(spikes + at_t, s_t, factor, count, mask, DROPS, COUNTS)
        if COUNTS:
            tl.store(counts + at, count, mask)
    tl.store(new_u + at, u_t, mask)
    tl.store(new_s + at, s_t, mask)
    if ADAPTS:
        tl.store(new_w + at, w_t, mask)


@triton.jit
def _run_again(
    inputs, u, w, s, mean, slope, shift, alpha, keep, beta, a, b, theta,
    ADAPTS: tl.constexpr, NORMALIZES: tl.constexpr,
):  # fmt: skip
    """u before each of eight steps, and after the last."""
    us = (u,)
    for k in tl.static_range(_RUN):
        current = normalized(inputs[k], mean, slope, shift, NORMALIZES)
        u, w, s = _step(current, u, w, s, alpha, keep, beta, a, b, theta, ADAPTS)
        us = us + (u,)  # noqa: RUF005 (Triton knows no unpacking)
    return us


@triton.jit
def _adjoint(
    current, d_s, u, u_new, s, g_u, g_w, by_u, by_w, sum_alpha, sum_beta, sum_a, sum_b,
    alpha, keep, beta, a, b, theta,
    ADAPTS: tl.constexpr, SURROGATE: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One step back: the gradients of its current, of u and w before it, of s before it by way of
    the reset and of the adaptation, and the sums."""
    g_u = g_u + d_s * derivative(u_new - theta, SURROGATE, WIDTH)
    g_I = keep * g_u
    sum_alpha += g_u * ((u - s) - current)
    if ADAPTS:
        x = a * u + b * s
        sum_beta += x * by_w
        g_w = g_w - g_I
        by_u = g_u + beta * by_u
        by_w = g_w + beta * by_w
        sum_alpha += x * by_u
        sum_a += g_w * u
        sum_b += g_w * s
        reset, jump = -(alpha * g_u), b * g_w
        g_u = alpha * g_u + a * g_w
        g_w = beta * g_w
    else:
        g_u = alpha * g_u
        reset, jump = -g_u, g_u * 0.0
    return g_I, g_u, g_w, reset, jump, by_u, by_w, sum_alpha, sum_beta, sum_a, sum_b


@triton.jit(do_not_specialize=["step", "given", *SIZES])
def _backward(
    I, d_spikes, by_V, d_I, d_I_now, kept_u, kept_w, initial_w, initial_s, alpha, beta, a, b,
    d_u, d_w, by_reset, by_jump, filtered_u, filtered_w, d_alpha, d_beta, d_a, d_b,
    mean, slope, shift, seed, d_mean, d_slope, d_shift, p, grown, step, given, T, theta, H,
    ADAPTS: tl.constexpr, SURROGATE: tl.constexpr, WIDTH: tl.constexpr, RECURRENT: tl.constexpr,
    NORMALIZES: tl.constexpr, DROPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """All steps, or with recurrent weights this one.

    Gradients [B, H] go on from what the step behind it left in them; where there is none they
    start from 0, but those of the state, if they are ``given`` (1, else 0).

    What reaches a spike by its reset and by the jump of the adaptation is kept apart and summed in
    autograd's order. With recurrent weights what reaches the spikes through V is read from
    ``by_V``, and the gradient of the current written to ``d_I_now``, too.

    As in the forward pass, eight steps are loaded at once; the odd ones come first.
    """
    row = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = j < H
    at = row * H + j
    goes_on = tl.where(step + 1 < T, mask, j < 0) if RECURRENT else j < 0
    starts = tl.where(given > 0, mask, goes_on)
    g_u, reset = tl.load(d_u + at, starts, 0.0), tl.load(by_reset + at, starts, 0.0)
    jump, sum_alpha = tl.load(by_jump + at, goes_on, 0.0), tl.load(d_alpha + at, goes_on, 0.0)
    s_0 = tl.load(initial_s + at, mask, 0.0)
    alpha_j = tl.load(alpha + j, mask, 0.0)
    keep_j = 1.0 - alpha_j
    if ADAPTS:
        g_w = tl.load(d_w + at, starts, 0.0)
        by_u, by_w = tl.load(filtered_u + at, goes_on, 0.0), tl.load(filtered_w + at, goes_on, 0.0)
        sum_beta, sum_a = tl.load(d_beta + at, goes_on, 0.0), tl.load(d_a + at, goes_on, 0.0)
        sum_b = tl.load(d_b + at, goes_on, 0.0)
        beta_j, a_j = tl.load(beta + j, mask, 0.0), tl.load(a + j, mask, 0.0)
        b_j = tl.load(b + j, mask, 0.0)
    else:  # never looked at
        g_w, by_u, by_w, sum_beta, sum_a, sum_b = g_u, g_u, g_u, g_u, g_u, g_u
        beta_j, a_j, b_j = alpha_j, alpha_j, alpha_j
    if RECURRENT:
        at_t = (row * T + step) * H + j
        kept_u += row * H + at_t  # it has T + 1 steps
        u_t, u_new = tl.load(kept_u, mask, 0.0), tl.load(kept_u + H, mask, 0.0)
        current, d_spike = tl.load(I + at_t, mask, 0.0), tl.load(d_spikes + at_t, mask, 0.0)
        d_spike += tl.load(by_V + at, goes_on, 0.0)
        s_t = tl.where(step > 0, spike(u_t - theta), s_0)
        g_I, g_u, g_w, reset, jump, by_u, by_w, sum_alpha, sum_beta, sum_a, sum_b = _adjoint(
            current, d_spike + reset + jump, u_t, u_new, s_t, g_u, g_w, by_u, by_w, sum_alpha,
            sum_beta, sum_a, sum_b, alpha_j, keep_j, beta_j, a_j, b_j, theta, ADAPTS, SURROGATE,
            WIDTH,
        )  # fmt: skip
        tl.store(d_I + at_t, g_I, mask)
        tl.store(d_I_now + at, g_I, mask)
    else:
        mean_j, slope_j, shift_j, random = load_fold(
            mean, slope, shift, seed, j, mask, NORMALIZES, DROPS
        )
        sum_slope, sum_shift = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
        runs, odd = T // _RUN, T % _RUN
        I, d_I, d_spikes = I + row * T * H, d_I + row * T * H, d_spikes + row * T * H
        kept_u += row * (runs + odd) * H
        kept_w += row * (runs + odd) * H
        kept = (runs + odd) * H + j
        for done in range(odd):
            t = T - 1 - done
            at_t = t * H + j
            kept -= H
            u_t, w_t = tl.load(kept_u + kept, mask, 0.0), g_w
            if ADAPTS:
                w_t = tl.load(kept_w + kept, mask, 0.0)
            x, d_spike = tl.load(I + at_t, mask, 0.0), tl.load(d_spikes + at_t, mask, 0.0)
            s_t = tl.where(t > 0, spike(u_t - theta), s_0)
            if DROPS:
                factors = four_factors(random, row, t, T, H, j, p, grown, DROPS)
                d_spike = d_spike * one_of_four(factors, t % 4)
            current = normalized(x, mean_j, slope_j, shift_j, NORMALIZES)
            u_new, _, _ = _step(
                current, u_t, w_t, s_t, alpha_j, keep_j, beta_j, a_j, b_j, theta, ADAPTS
            )
            g_I, g_u, g_w, reset, jump, by_u, by_w, sum_alpha, sum_beta, sum_a, sum_b = _adjoint(
                current, d_spike + reset + jump, u_t, u_new, s_t, g_u, g_w, by_u, by_w, sum_alpha,
                sum_beta, sum_a, sum_b, alpha_j, keep_j, beta_j, a_j, b_j, theta, ADAPTS, SURROGATE,
                WIDTH,
            )  # fmt: skip
            sum_slope, sum_shift = store_gradient(
                d_I + at_t, g_I, x, mean_j, slope_j, sum_slope, sum_shift, mask, NORMALIZES
            )
        for done in range(runs):
            t = (runs - 1 - done) * _RUN
            first = t * H + j
            kept -= H
            u_t, w_t = tl.load(kept_u + kept, mask, 0.0), g_w
            if ADAPTS:
                w_t = tl.load(kept_w + kept, mask, 0.0)
            inputs, d_eight = load_eight(I + first, H, mask), load_eight(d_spikes + first, H, mask)
            factors = eight_factors(random, row, t, T, H, j, p, grown, DROPS)
            s_first = tl.where(t > 0, spike(u_t - theta), s_0)
            us = _run_again(
                inputs, u_t, w_t, s_first, mean_j, slope_j, shift_j, alpha_j, keep_j, beta_j, a_j,
                b_j, theta, ADAPTS, NORMALIZES,
            )  # fmt: skip
            for k in tl.static_range(_RUN - 1, -1, -1):
                s_t = s_first if k == 0 else spike(us[k] - theta)
                d_spike = d_eight[k]
                if DROPS:
                    d_spike = d_spike * factors[k]
                current = normalized(inputs[k], mean_j, slope_j, shift_j, NORMALIZES)
                g_I, g_u, g_w, reset, jump, by_u, by_w, sum_alpha, sum_beta, sum_a, sum_b = (
                    _adjoint(
                        current, d_spike + reset + jump, us[k], us[k + 1], s_t, g_u, g_w, by_u,
                        by_w, sum_alpha, sum_beta, sum_a, sum_b, alpha_j, keep_j, beta_j, a_j, b_j,
                        theta, ADAPTS, SURROGATE, WIDTH,
                    )
                )  # fmt: skip
                sum_slope, sum_shift = store_gradient(
                    d_I + first + k * H, g_I, inputs[k], mean_j, slope_j, sum_slope, sum_shift,
                    mask, NORMALIZES,
                )  # fmt: skip
        if NORMALIZES:
            tl.store(d_mean + at, -slope_j * sum_shift, mask)
            tl.store(d_slope + at, sum_slope, mask)
            tl.store(d_shift + at, sum_shift, mask)
    if ADAPTS:
        if step == 0:
            w_0 = tl.load(initial_w + at, mask, 0.0)
            sum_beta += w_0 * by_w
            sum_alpha += w_0 * (beta_j * by_u)
        if RECURRENT:
            tl.store(filtered_u + at, by_u, mask)
            tl.store(filtered_w + at, by_w, mask)
        tl.store(d_w + at, g_w, mask)
        tl.store(d_beta + at, sum_beta, mask)
        tl.store(d_a + at, sum_a, mask)
        tl.store(d_b + at, sum_b, mask)
    tl.store(d_u + at, g_u, mask)
    tl.store(by_reset + at, reset, mask)
    tl.store(by_jump + at, jump, mask)
    tl.store(d_alpha + at, sum_alpha, mask)


class _Adaptive(torch.autograd.Function):
    """Inputs [B, T, H], [H] and [B, H]; beta, a, b and w are None together, V may be None.

    So may mean, slope and shift [H], seed [1], and counts [B, H], which is written.
    """

    @staticmethod
    def forward(
        ctx, I, alpha, beta, a, b, u, w, s, V, mean, slope, shift, seed, counts, p, theta,
        surrogate, for_backward,
    ):  # fmt: skip
        ctx.set_materialize_grads(False)
        B, T, H = I.shape
        adapts = beta is not None
        normalizes, drops = mean is not None, p > 0
        fold = [_dense(x, alpha) for x in (mean, slope, shift)] + [_dense(seed, alpha)]
        I, *coefficients = (_dense(x, alpha) for x in (I, alpha, beta, a, b))
        initial_s = s.contiguous()
        initial_w = w.contiguous() if adapts else initial_s
        before = u.contiguous(), initial_w, initial_s
        u, w, s = after = [I.new_empty(B, H) for _ in before]
        spikes = torch.empty_like(I)
        kept_u = kept_w = initial_s  # a placeholder
        if for_backward and V is None:
            kept_u = I.new_empty(B, kept_states(T), H)
            kept_w = torch.empty_like(kept_u) if adapts else initial_s
        elif for_backward:
            kept_u = I.new_empty(B, T + 1, H)
        recurrent = initial_s if V is None else torch.empty_like(u)
        kept_I = torch.empty_like(I) if V is not None and for_backward else I

        def run(step):
            launch(
                _forward, B, H, I, recurrent, *coefficients, *(after if step else before), *after,
                spikes, kept_u, kept_w, kept_I, *fold, u if counts is None else counts, p,
                1 / (1 - p), step, T, theta, ADAPTS=adapts, RECURRENT=V is not None,
                KEEP=for_backward, NORMALIZES=normalizes, DROPS=drops, COUNTS=counts is not None,
            )  # fmt: skip

        if V is None:
            run(0)
        else:
            for t in range(T):
                torch.mm(s if t else initial_s, V, out=recurrent)
                run(t)
        if for_backward:
            kept_spikes = None if V is None else spikes
            ctx.save_for_backward(
                kept_I, *coefficients, kept_u, kept_w, initial_w, initial_s, V, kept_spikes, *fold
            )
            ctx.adapts, ctx.normalizes, ctx.p, ctx.theta = adapts, normalizes, p, theta
            ctx.surrogate = surrogate
        return spikes, u, w if adapts else None, s

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, d_u, d_w, d_s):
        I, alpha, beta, a, b, kept_u, kept_w, *rest = ctx.saved_tensors
        initial_w, initial_s, V, spikes, *fold = rest
        B, T, H = I.shape
        d_spikes = torch.zeros_like(I) if d_spikes is None else d_spikes.contiguous()
        d_I = torch.empty_like(I)
        given = any(x is not None for x in (d_u, d_w, d_s))
        of_state = (own_gradient(x, initial_s, given) for x in (d_u, d_w, d_s))
        d_u, d_w, by_reset = of_state
        by_jump, by_V = torch.empty_like(d_u), torch.empty_like(d_u)
        d_I_now = d_u if V is None else torch.empty_like(d_u)
        filtered = d_u[None].expand(2, B, H) if V is None else I.new_empty(2, B, H)
        # Of alpha, beta, a, b, mean, slope and shift; placeholders for those that do not exist.
        number = 4 if ctx.adapts else 1
        sums = I.new_empty(number + 3 * ctx.normalizes, B, H)
        by_row = [*sums[:number], *sums[:1].expand(4 - number, B, H)]
        by_row_of_fold = sums[number:] if ctx.normalizes else sums[:1].expand(3, B, H)

        def run(step):
            launch(
                _backward, B, H, I, d_spikes, by_V, d_I, d_I_now, kept_u, kept_w, initial_w,
                initial_s, alpha, beta, a, b, d_u, d_w, by_reset, by_jump, *filtered, *by_row,
                *fold, *by_row_of_fold, ctx.p, 1 / (1 - ctx.p), step, int(given), T, ctx.theta,
                ADAPTS=ctx.adapts, SURROGATE=ctx.surrogate.name, WIDTH=ctx.surrogate.width,
                RECURRENT=V is not None, NORMALIZES=ctx.normalizes, DROPS=ctx.p > 0,
            )  # fmt: skip

        d_V = None
        if V is None:
            run(0)
        else:
            for t in reversed(range(T)):
                run(t)
                torch.mm(d_I_now, V.T, out=by_V)
            if ctx.needs_input_grad[8]:
                before = torch.cat([initial_s[:, None], spikes[:, :-1]], dim=1)
                d_V = before.flatten(0, 1).T @ d_I.flatten(0, 1)
        if ctx.needs_input_grad[7]:
            d_s = by_reset + by_jump if V is None else by_V + by_reset + by_jump
        d_state = (d_u, d_w if ctx.adapts else None, d_s)
        by_neuron = sums.sum(dim=1)
        by_coefficient = [*by_neuron[:number], *[None] * (4 - number)]
        by_fold = by_neuron[number:] if ctx.normalizes else (None, None, None)
        return d_I, *by_coefficient, *d_state, d_V, *by_fold, *[None] * 6


def _dense(x: torch.Tensor | None, placeholder: torch.Tensor) -> torch.Tensor:
    return placeholder.contiguous() if x is None else x.contiguous()


def adaptive(I, alpha, beta, a, b, *, theta, state, V=None, fold=None, surrogate=BOXCAR):
    """See :func:`models.dynamics.adaptive`; float32 on a GPU, no second derivatives.

    Either ``V`` or ``fold`` is None.
    """
    B, _, H = I.shape
    coefficients = [None if x is None else x.expand(H) for x in (alpha, beta, a, b)]
    u, w, s = (x.expand(B, H) for x in state)
    spikes, u, new_w, s = _Adaptive.apply(
        I, *coefficients, u, None if beta is None else w, s, V, *fold_arguments(fold), theta,
        surrogate, torch.is_grad_enabled(),
    )  # fmt: skip
    return spikes, type(state)(u, state.w if beta is None else new_w, s)
