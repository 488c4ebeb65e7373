# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Resonate recurrence in compiled CPU kernels, with a hand-written backward pass.

Complex numbers are pairs of reals here, multiplied as PyTorch multiplies them:
``(a c - b d) + i (a d + b c)``, each product rounded. The gradient of a complex number is that of
its real plus i times that of its imaginary part. Nothing is kept for the backward pass but the
input and the state before every STEPS_KEPT-th step.
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
def kernels(reset_inside: bool, surrogate: str):
    """Forward and backward kernel with the reset inside (C-SiLIF) or outside (RF) of A."""
    window = derivative(surrogate)

    @inlined
    def step(I, x, y, s, A, B, gain, reset, scale, theta):
        """One neuron u = x + iy with A + iB, one step in the order of the specification."""
        if reset_inside:
            x = x - reset * s
            x, y = (A * x - B * y) + gain * I, A * y + B * x
        else:
            drift_x, drift_y = (A * x - B * y) + I, A * y + B * x
            x, y = (x + gain * drift_x) - reset * s, y + gain * drift_y
        s = ONE if scale * x - theta > ZERO else ZERO
        return x, y, s

    @inlined
    def adjoint(d_spike, d_x, d_y, d_s, I, x, y, s, new_x, A, B, gain, reset, scale, theta, width):
        """Gradients of one step: of I, A, B, gain and of the state before it."""
        d_x = d_x + scale * ((d_s + d_spike) * window(scale * new_x - theta, width))
        if reset_inside:
            x = x - reset * s
            d_gain = d_x * I
            d_A, d_B = d_x * x + d_y * y, d_y * x - d_x * y
            d_I = gain * d_x
            d_x, d_y = A * d_x + B * d_y, A * d_y - B * d_x
            return d_I, d_A, d_B, d_gain, d_x, d_y, -reset * d_x
        d_gain = d_x * ((A * x - B * y) + I) + d_y * (A * y + B * x)
        drift_x, drift_y = gain * d_x, gain * d_y
        d_A, d_B = drift_x * x + drift_y * y, drift_y * x - drift_x * y
        d_s = -reset * d_x
        d_x, d_y = d_x + (A * drift_x + B * drift_y), d_y + (A * drift_y - B * drift_x)
        return drift_x, d_A, d_B, d_gain, d_x, d_y, d_s

    @inlined
    def again(row, t, k, I, X, Y, S, A, B, gain, reset, scale, theta):
        """Step t once more, from row k of the history.

        Several steps per visit of a neuron, as below, would read several rows of I at once from
        memory, which is slower than one after another.
        """
        for j in range(I.shape[2]):
            X[k + 1, j], Y[k + 1, j], S[k + 1, j] = step(
                I[row, t, j], X[k, j], Y[k, j], S[k, j],
                A[j], B[j], gain[j], reset, scale, theta,
            )  # fmt: skip

    @inlined
    def back(
        n, row, t, k, I, d_spikes, d_I, X, Y, S, d_x, d_y, d_s, d_A, d_B, d_gain,
        A, B, gain, reset, scale, theta, width,
    ):  # fmt: skip
        """Gradients of steps t + n - 1 down to t, whose history starts at row k."""
        for j in range(I.shape[2]):
            dx, dy, ds = d_x[row, j], d_y[row, j], d_s[row, j]
            sum_A, sum_B, sum_gain = ZERO, ZERO, ZERO
            for later in range(n):
                i = n - 1 - later
                d_current, g_A, g_B, g_gain, dx, dy, ds = adjoint(
                    d_spikes[row, t + i, j], dx, dy, ds, I[row, t + i, j], X[k + i, j],
                    Y[k + i, j], S[k + i, j], X[k + i + 1, j],
                    A[j], B[j], gain[j], reset, scale, theta, width,
                )  # fmt: skip
                d_I[row, t + i, j] = d_current
                sum_A += g_A
                sum_B += g_B
                sum_gain += g_gain
            d_x[row, j], d_y[row, j], d_s[row, j] = dx, dy, ds
            d_A[row, j] += sum_A
            d_B[row, j] += sum_B
            d_gain[row, j] += sum_gain

    @kernel
    def resonate_forward(
        first, end, every, I, x, y, s, spikes, kept_x, kept_y, kept_s,
        A, B, gain, reset, scale, theta,
    ):  # fmt: skip
        for row in range(first, end):
            for t in range(I.shape[1]):
                if every > 0 and t % every == 0:
                    for j in range(I.shape[2]):
                        kept_x[row, t // every, j] = x[row, j]
                        kept_y[row, t // every, j] = y[row, j]
                        kept_s[row, t // every, j] = s[row, j]
                for j in range(I.shape[2]):
                    new_x, new_y, new_s = step(
                        I[row, t, j], x[row, j], y[row, j], s[row, j],
                        A[j], B[j], gain[j], reset, scale, theta,
                    )  # fmt: skip
                    x[row, j], y[row, j], s[row, j] = new_x, new_y, new_s
                    spikes[row, t, j] = new_s

    @kernel
    def resonate_backward(
        first, end, every, I, d_spikes, d_I, kept_x, kept_y, kept_s,
        d_x, d_y, d_s, d_A, d_B, d_gain, A, B, gain, reset, scale, theta, width, X, Y, S,
    ):  # fmt: skip
        T = I.shape[1]
        for row in range(end - 1, first - 1, -1):  # the latest rows are still cached
            for kept in range((T - 1) // every, -1, -1):
                begin = kept * every
                until = min(begin + every, T)
                whole = until - (until - begin) % UNROLLED
                for j in range(I.shape[2]):
                    X[0, j], Y[0, j] = kept_x[row, kept, j], kept_y[row, kept, j]
                    S[0, j] = kept_s[row, kept, j]
                for t in range(begin, until):
                    again(row, t, t - begin, I, X, Y, S, A, B, gain, reset, scale, theta)
                for t in range(until - 1, whole - 1, -1):
                    back(
                        1, row, t, t - begin, I, d_spikes, d_I, X, Y, S, d_x, d_y, d_s,
                        d_A, d_B, d_gain, A, B, gain, reset, scale, theta, width,
                    )  # fmt: skip
                for t in range(whole - UNROLLED, begin - 1, -UNROLLED):
                    back(
                        UNROLLED, row, t, t - begin, I, d_spikes, d_I, X, Y, S, d_x, d_y, d_s,
                        d_A, d_B, d_gain, A, B, gain, reset, scale, theta, width,
                    )  # fmt: skip

    return resonate_forward, resonate_backward


class _Resonate(torch.autograd.Function):
    """I [B, T, H]; A complex, gain [H]; u complex, s [B, H]; constants: reset, scale, theta."""

    @staticmethod
    def forward(ctx, I, A, gain, u, s, constants, reset_inside, surrogate, for_backward):
        batch, T, H = I.shape
        forward, backward = kernels(reset_inside, surrogate.name)
        I = I.contiguous()
        coefficients = (*_parts(A), gain.contiguous())
        constants = tuple(np.float32(x) for x in constants)
        (x, y), s = _parts(u), s.clone(memory_format=torch.contiguous_format)
        spikes = torch.empty_like(I)
        every = STEPS_KEPT if for_backward else 0
        kept = I.new_empty(3, batch, -(-T // every) if every else 0, H)
        arguments = arrays(I, x, y, s, spikes, *kept, *coefficients)
        run_rows(forward, batch, T * H, every, *arguments, *constants)
        if for_backward:
            ctx.save_for_backward(I, *coefficients, kept)
            ctx.kernel, ctx.constants = backward, (*constants, np.float32(surrogate.width))
        return spikes, torch.complex(x, y), s

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, d_u, d_s):
        I, *coefficients, kept = ctx.saved_tensors
        batch, T, H = I.shape
        d_I, (d_x, d_y) = torch.empty_like(I), _parts(d_u)
        d_s = d_s.clone(memory_format=torch.contiguous_format)
        sums = I.new_zeros(3, batch, H)
        arguments = arrays(
            I, d_spikes.contiguous(), d_I, *kept, d_x, d_y, d_s, *sums, *coefficients
        )
        run_rows(
            ctx.kernel, batch, T * H, STEPS_KEPT, *arguments, *ctx.constants,
            scratch=lambda: working_arrays(3, STEPS_KEPT + 1, H),
        )  # fmt: skip
        d_real, d_imaginary, d_gain = sums.sum(dim=1)
        d_A, d_u = torch.complex(d_real, d_imaginary), torch.complex(d_x, d_y)
        return d_I, d_A, d_gain, d_u, d_s, None, None, None, None


def _parts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Real and imaginary part, each a dense copy."""
    return tuple(part.clone(memory_format=torch.contiguous_format) for part in (x.real, x.imag))


def resonate(I, A, reset, gain, *, scale, theta, state, reset_inside, surrogate=BOXCAR):
    """See :func:`models.dynamics.resonate`; float32 on the CPU, no second derivatives."""
    B, _, H = I.shape
    gain = torch.as_tensor(gain, dtype=I.dtype).expand(H)
    u, s = (x.expand(B, H) for x in state)
    spikes, u, s = _Resonate.apply(
        I, A.expand(H), gain, u, s, (reset, scale, theta), reset_inside, surrogate,
        torch.is_grad_enabled(),
    )  # fmt: skip
    return spikes, type(state)(u, s)
