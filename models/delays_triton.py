# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""GPU kernels of delays: a filter over time of every feature by itself, and its gradients."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from models.dynamics.triton_support import launch

STEPS, BLOCK = 16, 64  # steps and features of a program
_STEPS = tl.constexpr(STEPS)


@triton.jit
def _weighed(x, g, t, j, mask, T, D, H, LATER: tl.constexpr, STEPS: tl.constexpr):
    """sum_m g_m x_{t+m}, or x_{t-m} unless LATER, of steps t and features j; g [D, H]."""
    total = tl.zeros([STEPS, j.shape[0]], tl.float32)
    for m in range(D):
        s = t + m if LATER else t - m
        inside = ((s >= 0) & (s < T))[:, None] & mask[None, :]
        seen = tl.load(x + s[:, None] * H + j[None, :], inside, 0.0)
        total += tl.load(g + m * H + j, mask, 0.0)[None, :] * seen
    return total


@triton.jit
def _place(T, H, STEPS: tl.constexpr, BLOCK: tl.constexpr):
    """Row of the batch, steps and features of this program, and where there are such."""
    parts = tl.cdiv(T, STEPS)
    row = (tl.program_id(0) // parts).to(tl.int64)
    t = tl.program_id(0) % parts * STEPS + tl.arange(0, STEPS)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    return row * T * H, t, j, j < H, (t < T)[:, None] & (j < H)[None, :]


@triton.jit(do_not_specialize=["T", "D", "H"])
def _filter(x, g, y, T, D, H, LATER: tl.constexpr, BLOCK: tl.constexpr):
    row, t, j, mask, inside = _place(T, H, _STEPS, BLOCK)
    total = _weighed(x + row, g, t, j, mask, T, D, H, LATER, _STEPS)
    tl.store(y + row + t[:, None] * H + j[None, :], total, inside)


@triton.jit(do_not_specialize=["T", "D", "H"])
def _slopes(x, slope, d_y, d_P, T, D, H, BLOCK: tl.constexpr):
    """d_P [programs, H]: what each row and part of the steps adds to the gradient."""
    row, t, j, mask, inside = _place(T, H, _STEPS, BLOCK)
    by = _weighed(d_y + row, slope, t, j, mask, T, D, H, True, _STEPS)
    seen = tl.load(x + row + t[:, None] * H + j[None, :], inside, 0.0)
    tl.store(d_P + tl.program_id(0).to(tl.int64) * H + j, tl.sum(seen * by, axis=0), mask)


def apply(x: Tensor, g: Tensor) -> tuple[Tensor, tuple[Tensor]]:
    """y_t = sum_k g_k x_{t-(D-1)+k} of every feature of x [B, T, F]; g [F, D].

    And what the gradients need of x.
    """
    return _filtered(x, g, LATER=False), (x,)


def gradients(
    kept: tuple[Tensor], g: Tensor, slope: Tensor, d_y: Tensor, of_x: bool
) -> tuple[Tensor | None, Tensor]:
    """Those of x [B, T, F], if they are asked for, and of the positions [F].

    ``kept`` is what ``apply`` gave; ``slope`` [F, D] is the derivative of ``g`` by the position.
    """
    (x,) = kept
    d_x = _filtered(d_y, g, LATER=True) if of_x else None
    B, T, H = x.shape
    d_P = x.new_empty(B * triton.cdiv(T, STEPS), H)
    values = slope.flip(1).T.contiguous()
    launch(_slopes, len(d_P), H, x, values, d_y, d_P, T, g.shape[1], block=BLOCK)
    return d_x, d_P.sum(0)


def _filtered(x: Tensor, g: Tensor, **flags: bool) -> Tensor:
    (B, T, H), y = x.shape, torch.empty_like(x)
    values = g.flip(1).T.contiguous()  # from the shortest delay on
    programs = B * triton.cdiv(T, STEPS)
    launch(_filter, programs, H, x, values, y, T, g.shape[1], block=BLOCK, **flags)
    return y
