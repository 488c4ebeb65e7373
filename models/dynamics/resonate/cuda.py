# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Resonate recurrence in fused GPU kernels, with a hand-written backward pass.

Complex numbers are pairs of reals ``u = x + iy`` and ``A + iB``, in memory side by side; the
gradient of a complex number is that of its real plus i times that of its imaginary part.
"""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from models.dynamics.naive import ResonateState
from models.dynamics.triton_loops import Kind, fold_arguments, run_backward, run_forward
from models.dynamics.triton_support import derivative, own_gradient
from models.surrogate import BOXCAR


@triton.jit
def _step(current, x, y, s, c, reset, RESET_INSIDE: tl.constexpr):
    """The state after a step; c: A, B and the gain."""
    if RESET_INSIDE:
        x = x - reset * s
        x_new, y_new = (c[0] * x - c[1] * y) + c[2] * current, c[0] * y + c[1] * x
    else:
        drift_x, drift_y = (c[0] * x - c[1] * y) + current, c[0] * y + c[1] * x
        x_new, y_new = (x + c[2] * drift_x) - reset * s, y + c[2] * drift_y
    return x_new, y_new


@triton.jit
def _adjoint(
    current, d_spike, x, x_new, y, s, g, sums, c, theta, reset, SCALE: tl.constexpr,
    RESET_INSIDE: tl.constexpr, SURROGATE: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One step back; g: of x, y and s."""
    window = derivative(SCALE * x_new - theta, SURROGATE, WIDTH)
    g_x, g_y = g[0] + SCALE * ((g[2] + d_spike) * window), g[1]
    A, B, gain = c[0], c[1], c[2]
    if RESET_INSIDE:
        x = x - reset * s
        g_I = gain * g_x
        sums = (
            sums[0] + (g_x * x + g_y * y), sums[1] + (g_y * x - g_x * y), sums[2] + g_x * current,
            sums[3],
        )  # fmt: skip
        g_x, g_y = A * g_x + B * g_y, A * g_y - B * g_x
        g_s = -reset * g_x
    else:
        drift_x, drift_y = (A * x - B * y) + current, A * y + B * x
        g_I, g_drift_y = gain * g_x, gain * g_y
        sums = (
            sums[0] + (g_I * x + g_drift_y * y), sums[1] + (g_drift_y * x - g_I * y),
            sums[2] + (g_x * drift_x + g_y * drift_y), sums[3],
        )  # fmt: skip
        g_s = -reset * g_x
        g_x, g_y = g_x + (A * g_I + B * g_drift_y), g_y + (A * g_drift_y - B * g_I)
    return g_I, (g_x, g_y, g_s, g[3], g[4], g[5]), sums


class _Resonate(torch.autograd.Function):
    """I [B, T, H]; A complex, gain [H]; u complex, s [B, H]; constants: theta and reset.

    mean, slope and shift [H] are a ``Fold``'s; they, seed [1] and counts [B, H], which is written,
    may be None.
    """

    @staticmethod
    def forward(
        ctx, I, A, gain, u, s, mean, slope, shift, seed, counts, p, constants, scale, reset_inside,
        surrogate, for_backward,
    ):  # fmt: skip
        ctx.set_materialize_grads(False)
        I, A, gain, u, s = (x.contiguous() for x in (I, _pairs(A), gain, _pairs(u), s))
        new_u, new_s = torch.empty_like(u), torch.empty_like(s)
        kind = Kind(_step, _adjoint, flag=reset_inside, scale=scale, stride=2)
        spikes = run_forward(
            ctx, kind, I, (*A.unbind(-1), gain, gain), (*u.unbind(-1), s),
            (*new_u.unbind(-1), new_s), (mean, slope, shift, seed, counts, p), constants,
            surrogate, for_backward,
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
        d_I, (d_A, d_B, d_gain, _), by_fold = run_backward(ctx, d_spikes, d_state, given)
        gradients = torch.complex(d_A, d_B), d_gain, torch.view_as_complex(d_u), d_s
        return d_I, *gradients, *by_fold, *[None] * 8


def _pairs(x: torch.Tensor) -> torch.Tensor:
    """Complex x [...] as real and imaginary parts [..., 2]."""
    return torch.view_as_real(x.resolve_conj())


def resonate(
    I, A, reset, gain, *, scale, theta, state, reset_inside, fold=None, surrogate=BOXCAR
):  # fmt: skip
    """See :func:`models.dynamics.resonate`; float32 on a GPU, no second derivatives."""
    B, _, H = I.shape
    # A number is written by the GPU: copied from the host it could not be part of a CUDA graph.
    gain = gain.expand(H) if isinstance(gain, torch.Tensor) else I.new_full((H,), gain)
    u, s = (x.expand(B, H) for x in state)
    spikes, u, s = _Resonate.apply(
        I, A.expand(H), gain, u, s, *fold_arguments(fold), (float(theta), float(reset)),
        float(scale), reset_inside, surrogate, torch.is_grad_enabled(),
    )  # fmt: skip
    return spikes, ResonateState(u, s)
