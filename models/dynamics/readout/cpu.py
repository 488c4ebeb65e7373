# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Readout in compiled CPU kernels around PyTorch's softmax, over all steps at once.

Both loops over time round as the specification does, and the softmax is the same one: scores and
the gradient of the input equal those of ``naive`` to the last bit. Kept for the backward pass: the
input, the potentials and their softmax, each [B, T, C].
"""

import torch
from torch.autograd.function import once_differentiable

from models.dynamics.numba_support import arrays, inlined, kernel, run_rows


@kernel
def readout_forward(first, end, I, u, potentials, alpha, keep):
    for row in range(first, end):
        for t in range(I.shape[1]):
            for j in range(I.shape[2]):
                u[row, j] = alpha[j] * u[row, j] + keep[j] * I[row, t, j]
                potentials[row, t, j] = u[row, j]


@kernel
def readout_sum(first, end, steps, total):
    for row in range(first, end):
        for t in range(steps.shape[1]):
            for j in range(steps.shape[2]):
                total[row, j] += steps[row, t, j]


@inlined
def step_back(row, t, I, before, d_potentials, d_u, d_I, d_alpha, alpha, keep):
    """Step ``t``, before which the potentials [C] were ``before``."""
    for j in range(I.shape[2]):
        g = d_u[row, j] + d_potentials[row, t, j]
        d_I[row, t, j] = keep[j] * g
        d_alpha[row, j] += g * (before[j] - I[row, t, j])
        d_u[row, j] = alpha[j] * g


@kernel
def readout_backward(
    first, end, I, initial, potentials, d_potentials, d_u, d_I, d_alpha, alpha, keep
):  # fmt: skip
    for row in range(first, end):
        for t in range(I.shape[1] - 1, 0, -1):
            before = potentials[row, t - 1]
            step_back(row, t, I, before, d_potentials, d_u, d_I, d_alpha, alpha, keep)
        step_back(row, 0, I, initial[row], d_potentials, d_u, d_I, d_alpha, alpha, keep)


class _Potentials(torch.autograd.Function):
    """I [B, T, C], alpha [C], u [B, C] -> the potential after every step [B, T, C]."""

    @staticmethod
    def forward(ctx, I, alpha, u):
        B, T, C = I.shape
        I, alpha, initial = I.contiguous(), alpha.contiguous(), u.contiguous()
        u, potentials = initial.clone(), torch.empty_like(I)
        arguments = arrays(I, u, potentials, alpha, 1 - alpha)
        run_rows(readout_forward, B, T * C, *arguments)
        ctx.save_for_backward(I, alpha, initial, potentials)
        return potentials

    @staticmethod
    @once_differentiable
    def backward(ctx, d_potentials):
        I, alpha, initial, potentials = ctx.saved_tensors
        B, T, C = I.shape
        d_I, (d_u, d_alpha) = torch.empty_like(I), I.new_zeros(2, B, C)
        d_potentials = d_potentials.contiguous()
        given = arrays(I, initial, potentials, d_potentials)
        found = arrays(d_u, d_I, d_alpha)
        run_rows(readout_backward, B, T * C, *given, *found, *arrays(alpha, 1 - alpha))
        return d_I, d_alpha.sum(dim=0), d_u


class _Sum(torch.autograd.Function):
    """[B, T, C] -> its sum over time [B, C], step by step."""

    @staticmethod
    def forward(ctx, steps):
        B, T, C = ctx.shape = steps.shape
        total = steps.new_zeros(B, C)
        run_rows(readout_sum, B, T * C, *arrays(steps.contiguous(), total))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, d_total):
        return d_total[:, None].expand(ctx.shape)


def potentials(I, alpha, *, state):
    """See :func:`models.dynamics.potentials`; float32 on the CPU, no second derivatives."""
    B, _, C = I.shape
    steps = _Potentials.apply(I, alpha.expand(C), state.expand(B, C))
    return steps, steps[:, -1]


def readout(I, alpha, *, state):
    """See :func:`models.dynamics.readout`; float32 on the CPU, no second derivatives."""
    steps, u = potentials(I, alpha, state=state)
    return _Sum.apply(torch.softmax(steps, dim=2)), u
