# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Adaptive recurrence in compiled CPU kernels, with a hand-written backward pass.

Nothing is kept for the backward pass but the input and the state before every STEPS_KEPT-th step:
the steps between are computed again, exactly as before, while they fit the cache. With recurrent
weights the state before every step is kept instead.
"""

from functools import cache

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from models.dynamics.numba_support import (
    ONE,
    STEPS_KEPT,
    UNROLLED,
    ZERO,
    arrays,
    derivative,
    inlined,
    kernel,
    run_rows,
    working_arrays,
)
from models.surrogate import BOXCAR


@cache
def kernels(adapts: bool, surrogate: str):
    """Forward and backward kernel of neurons with or without adaptation.

    Without, whatever is passed for w, beta, a and b (and their gradients) is neither read nor
    written: the compiler drops what has no effect.
    """
    window = derivative(surrogate)

    @inlined
    def step(current, u, w, s, alpha, keep, beta, a, b, theta):
        """One neuron, one step, in the operation order of the specification."""
        if adapts:
            w = beta * w + a * u + b * s
            current = current - w
        u = alpha * (u - s) + keep * current
        s = ONE if u - theta > ZERO else ZERO
        return u, w, s

    @inlined
    def adjoint(d_s, d_u, d_w, u, new_u, s, current, alpha, keep, a, b, theta, width):
        """Gradients of one step: of its current, alpha and w, of the u before it, and of the s
        before it by way of the reset and of the adaptation."""
        d_u = d_u + d_s * window(new_u - theta, width)
        d_current = keep * d_u
        d_alpha = d_u * ((u - s) - current)
        decayed = alpha * d_u
        if adapts:
            d_w = d_w - d_current
            return d_current, d_alpha, d_w, decayed + a * d_w, -decayed, b * d_w
        return d_current, d_alpha, d_w, decayed, -decayed, ZERO

    @inlined
    def again(row, t, k, I, U, W, S, alpha, keep, beta, a, b, theta):
        """Step t once more, from row k of the history.

        Several steps per visit of a neuron, as below, would read several rows of I at once from
        memory, which is slower than one after another.
        """
        for j in range(I.shape[2]):
            U[k + 1, j], w, S[k + 1, j] = step(
                I[row, t, j], U[k, j], W[k, j], S[k, j],
                alpha[j], keep[j], beta[j], a[j], b[j], theta,
            )  # fmt: skip
            if adapts:
                W[k + 1, j] = w

    @inlined
    def back(
        n, row, t, k, I, d_spikes, d_I, U, W, S, d_u, d_w, by_reset, by_jump, d_alpha, d_beta,
        d_a, d_b, alpha, keep, beta, a, b, theta, width,
    ):  # fmt: skip
        """Gradients of steps t + n - 1 down to t, whose history starts at row k.

        What reaches s, as a spike, by its reset and by the jump of the adaptation, is kept apart
        and summed as autograd does, to the last bit.
        """
        for j in range(d_I.shape[2]):
            du, dw = d_u[row, j], d_w[row, j]
            reset, jump = by_reset[row, j], ZERO
            if adapts:
                jump = by_jump[row, j]
            sum_alpha, sum_beta, sum_a, sum_b = ZERO, ZERO, ZERO, ZERO
            for later in range(n):
                i = n - 1 - later
                u, w, s = U[k + i, j], W[k + i, j], S[k + i, j]
                current = I[row, t + i, j]
                if adapts:
                    current = current - W[k + i + 1, j]
                d_current, g_alpha, dw, du, reset, jump = adjoint(
                    d_spikes[row, t + i, j] + reset + jump, du, dw, u, U[k + i + 1, j], s,
                    current, alpha[j], keep[j], a[j], b[j], theta, width,
                )  # fmt: skip
                d_I[row, t + i, j] = d_current
                sum_alpha += g_alpha
                sum_beta += dw * w
                sum_a += dw * u
                sum_b += dw * s
                dw = beta[j] * dw
            d_u[row, j], by_reset[row, j] = du, reset
            d_alpha[row, j] += sum_alpha
            if adapts:
                d_w[row, j], by_jump[row, j] = dw, jump
                d_beta[row, j] += sum_beta
                d_a[row, j] += sum_a
                d_b[row, j] += sum_b

    @kernel
    def adaptive_forward(
        first, end, start, stop, every, I, u, w, s, spikes, kept_u, kept_w, kept_s,
        alpha, keep, beta, a, b, theta,
    ):  # fmt: skip
        for row in range(first, end):
            for t in range(start, stop):
                if every > 0 and t % every == 0:
                    for j in range(I.shape[2]):
                        kept_u[row, t // every, j] = u[row, j]
                        kept_s[row, t // every, j] = s[row, j]
                        if adapts:
                            kept_w[row, t // every, j] = w[row, j]
                for j in range(I.shape[2]):
                    new_u, new_w, new_s = step(
                        I[row, t, j], u[row, j], w[row, j], s[row, j],
                        alpha[j], keep[j], beta[j], a[j], b[j], theta,
                    )  # fmt: skip
                    u[row, j], s[row, j], spikes[row, t, j] = new_u, new_s, new_s
                    if adapts:
                        w[row, j] = new_w

    @kernel
    def adaptive_backward(
        first, end, start, stop, every, I, d_spikes, d_I, kept_u, kept_w, kept_s,
        d_u, d_w, by_reset, by_jump, d_alpha, d_beta, d_a, d_b,
        alpha, keep, beta, a, b, theta, width, U, W, S,
    ):  # fmt: skip
        for row in range(end - 1, first - 1, -1):  # the latest rows are still cached
            for kept in range((stop - 1) // every, start // every - 1, -1):
                begin = kept * every
                until = min(begin + every, stop)
                whole = until - (until - begin) % UNROLLED
                for j in range(I.shape[2]):
                    U[0, j], S[0, j] = kept_u[row, kept, j], kept_s[row, kept, j]
                    if adapts:
                        W[0, j] = kept_w[row, kept, j]
                for t in range(begin, until):
                    again(row, t, t - begin, I, U, W, S, alpha, keep, beta, a, b, theta)
                for t in range(until - 1, whole - 1, -1):
                    back(
                        1, row, t, t - begin, I, d_spikes, d_I, U, W, S, d_u, d_w, by_reset,
                        by_jump, d_alpha, d_beta, d_a, d_b, alpha, keep, beta, a, b, theta, width,
                    )  # fmt: skip
                for t in range(whole - UNROLLED, begin - 1, -UNROLLED):
                    back(
                        UNROLLED, row, t, t - begin, I, d_spikes, d_I, U, W, S, d_u, d_w, by_reset,
                        by_jump, d_alpha, d_beta, d_a, d_b, alpha, keep, beta, a, b, theta, width,
                    )  # fmt: skip

    return adaptive_forward, adaptive_backward


class _Adaptive(torch.autograd.Function):
    """Inputs [B, T, H], [H] and [B, H]; beta, a, b and w are None together, V may be None."""

    @staticmethod
    def forward(ctx, I, alpha, beta, a, b, u, w, s, V, theta, surrogate, for_backward):
        B, T, H = I.shape
        forward, backward = kernels(beta is not None, surrogate.name)
        I, coefficients = I.contiguous(), _coefficients(alpha, beta, a, b)
        u, s = _own(u), _own(s)
        w = u if w is None else _own(w)
        spikes = torch.empty_like(I)
        every = 0 if not for_backward else STEPS_KEPT if V is None else 1
        count = -(-T // every) if every else 0
        kept_u, kept_s = I.new_empty(B, count, H), I.new_empty(B, count, H)
        kept_w = kept_u if beta is None else I.new_empty(B, count, H)
        current = I if V is None else torch.empty_like(I)
        theta = np.float32(theta)
        arguments = arrays(current, u, w, s, spikes, kept_u, kept_w, kept_s, *coefficients)

        def run(start, stop):
            run_rows(forward, B, (stop - start) * H, start, stop, every, *arguments, theta)

        if V is None:
            run(0, T)
        else:
            recurrent = torch.empty_like(u)
            for t in range(T):  # the same product as the specification's, so that it rounds alike
                torch.mm(s, V, out=recurrent)
                torch.add(I[:, t], recurrent, out=current[:, t])
                run(t, t + 1)
        if for_backward:
            ctx.save_for_backward(current, *coefficients, kept_u, kept_w, kept_s, V)
            ctx.kernel, ctx.adapts, ctx.every = backward, beta is not None, every
            ctx.constants = theta, np.float32(surrogate.width)
        return spikes, u, None if beta is None else w, s

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, d_u, d_w, d_s):
        current, *coefficients, kept_u, kept_w, kept_s, V = ctx.saved_tensors
        B, T, H = current.shape
        d_spikes = d_spikes.contiguous() if V is None else _own(d_spikes)
        d_I, d_u, by_reset = torch.empty_like(current), _own(d_u), _own(d_s)
        d_w, by_jump = (_own(d_w), torch.zeros_like(d_u)) if ctx.adapts else (d_u, d_u)
        sums = d_u.new_zeros(4 if ctx.adapts else 1, B, H)
        d_alpha, d_beta, d_a, d_b = sums if ctx.adapts else sums.expand(4, B, H)
        # Without adaptation d_w, by_jump and the sums of beta, a and b are placeholders.

        arguments = arrays(
            current, d_spikes, d_I, kept_u, kept_w, kept_s,
            d_u, d_w, by_reset, by_jump, d_alpha, d_beta, d_a, d_b, *coefficients,
        )  # fmt: skip

        def run(start, stop):
            run_rows(
                ctx.kernel, B, (stop - start) * H, start, stop, ctx.every, *arguments,
                *ctx.constants,
                scratch=lambda: working_arrays(3, ctx.every + 1, H),
            )  # fmt: skip

        d_V, by_V = None, 0
        if V is None:
            run(0, T)
        else:
            for t in reversed(range(T)):
                run(t, t + 1)
                by_V = torch.mm(d_I[:, t].contiguous(), V.T)
                if t > 0:
                    d_spikes[:, t - 1] += by_V
            if ctx.needs_input_grad[8]:
                d_V = kept_s.flatten(0, 1).T @ d_I.flatten(0, 1)
        d_s = by_V + by_reset + by_jump if ctx.adapts else by_V + by_reset
        by_neuron = sums.sum(dim=1)
        if not ctx.adapts:
            return d_I, by_neuron[0], None, None, None, d_u, None, d_s, d_V, None, None, None
        return d_I, *by_neuron, d_u, d_w, d_s, d_V, None, None, None


def _own(x: torch.Tensor) -> torch.Tensor:
    """A dense copy that a kernel may write to."""
    return x.clone(memory_format=torch.contiguous_format)


def _coefficients(alpha, beta, a, b):
    """alpha, 1 - alpha, beta, a, b [H], dense; alpha stands in for what is missing."""
    alpha = alpha.contiguous()
    return alpha, 1 - alpha, *(alpha if x is None else x.contiguous() for x in (beta, a, b))


def adaptive(I, alpha, beta, a, b, *, theta, state, V=None, surrogate=BOXCAR):
    """See :func:`models.dynamics.adaptive`; float32 on the CPU, no second derivatives."""
    B, _, H = I.shape
    coefficients = [None if x is None else x.expand(H) for x in (alpha, beta, a, b)]
    u, w, s = (x.expand(B, H) for x in state)
    spikes, u, new_w, s = _Adaptive.apply(
        I, *coefficients, u, None if beta is None else w, s, V, theta, surrogate,
        torch.is_grad_enabled(),
    )  # fmt: skip
    return spikes, type(state)(u, state.w if beta is None else new_w, s)
