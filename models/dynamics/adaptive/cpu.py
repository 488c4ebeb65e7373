# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Adaptive recurrence in compiled CPU kernels, with a hand-written backward pass.

With recurrent weights each step is a matrix product and one call of the kernels, and the state
before every step is kept.
"""

from functools import cache

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from models.dynamics.naive import AdaptiveState
from models.dynamics.numba_support import (
    ONE,
    STEPS_KEPT,
    ZERO,
    arrays,
    derivative,
    inlined,
    make_kernels,
    run_rows,
    working_arrays,
)
from models.surrogate import BOXCAR


@cache
def kernels(adapts: bool, surrogate: str):
    """Forward and backward kernel of neurons with or without adaptation."""
    window = derivative(surrogate)

    @inlined
    def step(current, u, w, s, alpha, keep, beta, a, b, theta, reset, scale):
        """One neuron, one step, in the operation order of the specification."""
        if adapts:
            w = beta * w + a * u + b * s
            current = current - w
        u = alpha * (u - s) + keep * current
        s = ONE if u - theta > ZERO else ZERO
        return u, w, s

    @inlined
    def adjoint(
        d_s, d_u, d_w, current, u, w, s, new_u, new_w, alpha, keep, beta, a, b, theta, reset, scale,
        width,
    ):  # fmt: skip
        """Gradients of one step; that of s by way of the reset, and of the adaptation."""
        d_u = d_u + d_s * window(new_u - theta, width)
        d_current = keep * d_u
        decayed = alpha * d_u
        if adapts:
            d_alpha = d_u * ((u - s) - (current - new_w))
            d_w = d_w - d_current
            return (
                d_current, d_alpha, d_w * w, d_w * u, d_w * s,
                decayed + a * d_w, beta * d_w, -decayed, b * d_w,
            )  # fmt: skip
        d_alpha = d_u * ((u - s) - current)
        return d_current, d_alpha, ZERO, ZERO, ZERO, decayed, d_w, -decayed, ZERO

    return make_kernels(step, adjoint, adapts, adapts)


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
        constants = np.float32(theta), ONE, ONE
        arguments = arrays(current, u, w, s, spikes, kept_u, kept_w, kept_s, *coefficients)

        def run(start, stop):
            run_rows(forward, B, (stop - start) * H, start, stop, every, *arguments, *constants)

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
            ctx.constants = *constants, np.float32(surrogate.width)
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
    return spikes, AdaptiveState(u, state.w if beta is None else new_w, s)
