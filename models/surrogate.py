# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The spike and its surrogate gradient."""

import torch

HALF_WIDTH = 0.5


class Boxcar(torch.autograd.Function):
    """Heaviside step forward, boxcar backward (SpArch, Bittar & Garner 2022, eq. 15).

    ``spike = 1 if x > 0 else 0``; the gradient passes unchanged where ``-0.5 < x <= 0.5``.
    """

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.gt(0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad_spike):
        (x,) = ctx.saved_tensors
        inside = (x > -HALF_WIDTH) & (x <= HALF_WIDTH)
        return grad_spike * inside


def boxcar(x: torch.Tensor) -> torch.Tensor:
    """Spikes (0 or 1, any shape) of ``x``, the distance of the drive to the threshold."""
    return Boxcar.apply(x)
