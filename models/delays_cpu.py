# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Compiled CPU kernels for delays: filters over time, and shifts by whole steps.

A filter reads the steps before, which are in the cache, once for every tap, eight at a time. In the
backward pass the gradient of a position is a sum over time of the input and of a second filter of
the gradient, by the derivatives of the taps; nothing is kept for it but the input.
"""

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.dynamics.numba_support import arrays, kernel, run_rows


@kernel
def add_eight(out, g, m, x, t):
    """out += g[m] * x[t] + ... + g[m + 7] * x[t + 7]."""
    for j in range(out.size):
        total = out[j] + g[m, j] * x[t, j] + g[m + 1, j] * x[t + 1, j] + g[m + 2, j] * x[t + 2, j]
        total = total + g[m + 3, j] * x[t + 3, j] + g[m + 4, j] * x[t + 4, j]
        total = total + g[m + 5, j] * x[t + 5, j] + g[m + 6, j] * x[t + 6, j]
        out[j] = total + g[m + 7, j] * x[t + 7, j]


@kernel
def add_taps(out, g, begin, end, x, t):
    """out += g[begin] * x[t] + ... + g[end - 1] * x[t + end - 1 - begin]."""
    m = begin
    while m + 8 <= end:
        add_eight(out, g, m, x, t + m - begin)
        m += 8
    while m < end:
        row, at = g[m], x[t + m - begin]
        for j in range(out.size):
            out[j] += row[j] * at[j]
        m += 1


@kernel
def filter_rows(first, end, x, g, y):
    """Rows first to end of y_t = sum_k g_k x_{t-(D-1)+k}: x, y [B, T, F], g [D, F]."""
    taps = len(g)
    for row in range(first, end):
        for t in range(x.shape[1]):
            y[row, t, :] = 0
            begin = max(0, taps - 1 - t)
            add_taps(y[row, t], g, begin, taps, x[row], t - (taps - 1) + begin)


@kernel
def pull_back(first, end, x, g, slope, d_y, d_x, d_P, work):
    """Gradients of rows first to end of x, and of the positions by each row, d_P [B, F].

    ``g`` and ``slope`` [D, F], the derivatives of g by the position, from the shortest delay on.
    """
    taps, steps = len(g), x.shape[1]
    for row in range(first, end):
        d_P[row, :] = 0
        for t in range(steps):
            most = min(taps, steps - t)
            if len(d_x) > 0:
                d_x[row, t, :] = 0
                add_taps(d_x[row, t], g, 0, most, d_y[row], t)
            work[:] = 0
            add_taps(work, slope, 0, most, d_y[row], t)
            for j in range(work.size):
                d_P[row, j] += x[row, t, j] * work[j]


@kernel
def shift_rows(first, end, x, delay, y):
    """Rows first to end of y_t = x_{t - delay}: x, y [B, T, F], delay [F]."""
    for row in range(first, end):
        for t in range(x.shape[1]):
            for j in range(delay.size):
                y[row, t, j] = x[row, t - delay[j], j] if t >= delay[j] else np.float32(0)


class _Filtered(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, P, g, slope):
        ctx.save_for_backward(x, g, slope)
        y = torch.empty_like(x)
        run_rows(filter_rows, len(x), x[0].numel() * g.shape[1], *arrays(x, g.T.contiguous(), y))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y):
        x, g, slope = ctx.saved_tensors
        d_x = torch.empty_like(x) if ctx.needs_input_grad[0] else x.new_empty(0, *x.shape[1:])
        d_P = x.new_empty(len(x), x.shape[2])
        g, slope = (values.flip(1).T.contiguous() for values in (g, slope))
        run_rows(
            pull_back,
            len(x),
            2 * x[0].numel() * len(g),
            *arrays(x, g, slope, d_y.contiguous(), d_x, d_P),
            scratch=lambda: (np.empty(x.shape[2], np.float32),),
        )
        return d_x if ctx.needs_input_grad[0] else None, d_P.sum(0), None, None


def filtered(x: Tensor, P: Tensor, g: Tensor, slope: Tensor) -> Tensor:
    """y_t = sum_k g_k x_{t-(D-1)+k} of every feature of x [B, T, F].

    ``g`` [F, D] belongs to positions P [F], by which its derivative is ``slope``.
    """
    return _Filtered.apply(x.contiguous(), P, g, slope)


class _Shifted(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, delay):
        ctx.save_for_backward(delay)
        y = torch.empty_like(x)
        run_rows(shift_rows, len(x), x[0].numel(), *arrays(x, delay, y))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y):
        (delay,) = ctx.saved_tensors
        backwards, d_x = d_y.flip(1), torch.empty_like(d_y)
        run_rows(shift_rows, len(d_x), d_x[0].numel(), *arrays(backwards, delay, d_x))
        return d_x.flip(1), None


def shifted(x: Tensor, delay: Tensor) -> Tensor:
    """x [B, T, F] of every feature, ``delay`` [F] whole steps later."""
    return _Shifted.apply(x.contiguous(), delay)
