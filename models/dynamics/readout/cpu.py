# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Read-out in compiled CPU kernels, with a hand-written backward pass.

Kept for the backward pass: the input and the softmax of every step, both [B, T, C].
"""

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from models.dynamics.numba_support import arrays, kernel, run_rows, working_arrays

ZERO = np.float32(0.0)


@kernel
def readout_forward(first, end, I, u, out, softmax, alpha, keep):
    for row in range(first, end):
        for t in range(I.shape[1]):
            largest = np.float32(-np.inf)
            for j in range(I.shape[2]):
                u[row, j] = alpha[j] * u[row, j] + keep[j] * I[row, t, j]
                largest = max(largest, u[row, j])
            total = ZERO
            for j in range(I.shape[2]):
                softmax[row, t, j] = np.exp(u[row, j] - largest)
                total += softmax[row, t, j]
            for j in range(I.shape[2]):
                softmax[row, t, j] = softmax[row, t, j] / total
                out[row, j] += softmax[row, t, j]


@kernel
def readout_backward(first, end, I, initial, softmax, d_out, d_u, d_I, d_alpha, alpha, keep, u):
    T, C = I.shape[1], I.shape[2]
    for row in range(first, end):
        for j in range(C):
            u[0, j] = initial[row, j]
        for t in range(T):
            for j in range(C):
                u[t + 1, j] = alpha[j] * u[t, j] + keep[j] * I[row, t, j]
        for t in range(T - 1, -1, -1):
            mean = ZERO
            for j in range(C):
                mean += softmax[row, t, j] * d_out[row, j]
            for j in range(C):
                g = d_u[row, j] + softmax[row, t, j] * (d_out[row, j] - mean)
                d_I[row, t, j] = keep[j] * g
                d_alpha[row, j] += g * (u[t, j] - I[row, t, j])
                d_u[row, j] = alpha[j] * g


class _Readout(torch.autograd.Function):
    """I [B, T, C], alpha [C], u [B, C]."""

    @staticmethod
    def forward(ctx, I, alpha, u, for_backward):
        B, T, C = I.shape
        I, alpha, initial = I.contiguous(), alpha.contiguous(), u
        u = u.clone(memory_format=torch.contiguous_format)
        out, softmax = I.new_zeros(B, C), torch.empty_like(I)
        arguments = arrays(I, u, out, softmax, alpha, 1 - alpha)
        run_rows(readout_forward, B, T * C, *arguments)
        if for_backward:
            ctx.save_for_backward(I, alpha, initial, softmax)
        return out, u

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out, d_u):
        I, alpha, initial, softmax = ctx.saved_tensors
        B, T, C = I.shape
        d_I, d_alpha = torch.empty_like(I), I.new_zeros(B, C)
        d_u = d_u.clone(memory_format=torch.contiguous_format)
        arguments = arrays(
            I,
            initial.contiguous(),
            softmax,
            d_out.contiguous(),
            d_u,
            d_I,
            d_alpha,
            alpha,
            1 - alpha,
        )
        run_rows(
            readout_backward, B, T * C, *arguments, scratch=lambda: working_arrays(1, T + 1, C)
        )
        return d_I, d_alpha.sum(dim=0), d_u, None


def readout(I, alpha, *, state):
    """See :func:`models.dynamics.readout`; float32 on the CPU, no second derivatives."""
    B, _, C = I.shape
    return _Readout.apply(I, alpha.expand(C), state.expand(B, C), torch.is_grad_enabled())
