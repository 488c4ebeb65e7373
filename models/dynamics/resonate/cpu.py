# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Resonate recurrence in compiled CPU kernels, with a hand-written backward pass.

Complex numbers are pairs of reals here, multiplied as PyTorch multiplies them:
``(a c - b d) + i (a d + b c)``, each product rounded. The gradient of a complex number is that of
its real plus i times that of its imaginary part.
"""

from functools import cache

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from models.dynamics.naive import ResonateState
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
def kernels(reset_inside: bool, surrogate: str):
    """Forward and backward kernel with the reset inside (C-SiLIF) or outside (RF) of A."""
    window = derivative(surrogate)

    @inlined
    def step(I, x, y, s, A, B, gain, _0, _1, theta, reset, scale):
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
    def adjoint(
        d_s, d_x, d_y, I, x, y, s, new_x, new_y, A, B, gain, _0, _1, theta, reset, scale, width
    ):
        """Gradients of one step: of I, A, B, gain and of the state before it."""
        d_x = d_x + scale * (d_s * window(scale * new_x - theta, width))
        if reset_inside:
            x = x - reset * s
            d_A, d_B, d_gain = d_x * x + d_y * y, d_y * x - d_x * y, d_x * I
            d_I = gain * d_x
            d_x, d_y = A * d_x + B * d_y, A * d_y - B * d_x
            return d_I, d_A, d_B, d_gain, ZERO, d_x, d_y, -reset * d_x, ZERO
        d_gain = d_x * ((A * x - B * y) + I) + d_y * (A * y + B * x)
        drift_x, drift_y = gain * d_x, gain * d_y
        d_A, d_B = drift_x * x + drift_y * y, drift_y * x - drift_x * y
        d_s = -reset * d_x
        d_x, d_y = d_x + (A * drift_x + B * drift_y), d_y + (A * drift_y - B * drift_x)
        return drift_x, d_A, d_B, d_gain, ZERO, d_x, d_y, d_s, ZERO

    return make_kernels(step, adjoint, has_y=True, jumps=False)


class _Resonate(torch.autograd.Function):
    """I [B, T, H]; A complex, gain [H]; u complex, s [B, H]; constants: theta, reset, scale."""

    @staticmethod
    def forward(ctx, I, A, gain, u, s, constants, reset_inside, surrogate, for_backward):
        batch, T, H = I.shape
        forward, backward = kernels(reset_inside, surrogate.name)
        I = I.contiguous()
        coefficients = (*_parts(A), *[gain.contiguous()] * 3)  # two of them in no use
        constants = tuple(np.float32(x) for x in constants)
        (x, y), s = _parts(u), s.clone(memory_format=torch.contiguous_format)
        spikes = torch.empty_like(I)
        every = STEPS_KEPT if for_backward else 0
        kept = I.new_empty(3, batch, -(-T // every) if every else 0, H)
        arguments = arrays(I, x, y, s, spikes, *kept, *coefficients)
        run_rows(forward, batch, T * H, 0, T, every, *arguments, *constants)
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
            I, d_spikes.contiguous(), d_I, *kept, d_x, d_y, d_s, d_s, *sums, d_s, *coefficients
        )
        run_rows(
            ctx.kernel, batch, T * H, 0, T, STEPS_KEPT, *arguments, *ctx.constants,
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
        I, A.expand(H), gain, u, s, (theta, reset, scale), reset_inside, surrogate,
        torch.is_grad_enabled(),
    )  # fmt: skip
    return spikes, ResonateState(u, s)
