# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Dropout with the masks that PyTorch draws, kept in a byte per unit."""

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.cpu.mersenne import bernoulli
from models.dynamics.numba_support import arrays, kernel, run_rows

BLOCK = 1 << 12  # units that a thread takes at once


@kernel
def scale_kept(first, end, x, kept, scale, y):
    """y = x * scale where kept, else x * 0, in blocks first to end."""
    # Indices from 0 on: of others the compiler sees no sign, and makes no vector instructions.
    part = slice(first * BLOCK, min(end * BLOCK, x.size))
    x, kept, y = x[part], kept[part], y[part]
    for i in range(x.size):
        y[i] = x[i] * (np.float32(kept[i]) * scale)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, p):
        ctx.kept = bernoulli(x.numel(), 1 - p, torch.default_generator)
        # Divided by PyTorch, whose quotient it has to be.
        ctx.scale = np.float32(torch.ones(1).div_(1 - p).item())
        return _scaled(x, ctx.kept, ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y):
        return _scaled(d_y.contiguous(), ctx.kept, ctx.scale), None


def _scaled(x: Tensor, kept: Tensor, scale: np.float32) -> Tensor:
    y = torch.empty_like(x)
    flat = arrays(x.view(-1), kept), arrays(y.view(-1))
    run_rows(scale_kept, -(-x.numel() // BLOCK), BLOCK, *flat[0], scale, *flat[1])
    return y


def dropout(x: Tensor, p: float) -> Tensor:
    """As ``torch.nn.functional.dropout`` in training: float32, contiguous, 0 < p < 1."""
    return _Dropout.apply(x, p)
