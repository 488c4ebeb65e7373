# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What all GPU kernels share: how they are launched, and the surrogate of the spike."""

import inspect
import re

import torch
import triton
import triton.language as tl

LARGEST_BLOCK = 128  # neurons of one program
RUN = 8  # steps whose states are computed again, in registers, from the state before the first
# Steps and neurons; a kernel made anew for every kind of number gains nothing by it.
SIZES = ["T", "H"]


@triton.jit
def place(H, BLOCK: tl.constexpr):
    """Row of the batch and neurons of this program, where there are such, and where in [B, H]."""
    row = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    return row, j, j < H, row * H + j


@triton.jit
def spike(x):
    """1 where the distance to the threshold is positive, else 0."""
    return tl.where(x > 0.0, 1.0, 0.0)


@triton.jit
def spike_at(x):
    """The same of neurons that spike at the threshold, too."""
    return tl.where(x >= 0.0, 1.0, 0.0)


@triton.jit
def normal(x, mean: tl.constexpr, deviation: tl.constexpr):
    """Density of the normal distribution."""
    z = (x - mean) * (1.0 / deviation)
    return tl.exp(-0.5 * (z * z)) * (0.3989422804014327 / deviation)


@triton.jit
def derivative(x, NAME: tl.constexpr, W: tl.constexpr):
    """The derivative of the spike that models.surrogate calls NAME, of width W."""
    return (
        tl.where((x > -W) & (x <= W), 1.0, 0.0) if NAME == "boxcar"
        else tl.maximum(1.0 - tl.abs(x) * (1.0 / W), 0.0) if NAME == "triangle"
        else W / (W * W + 9.869604401089358 * x * x) if NAME == "atan"
        else 0.2 / W * tl.exp(tl.abs(x) * (-1.0 / W)) if NAME == "slayer"
        else normal(x, 0.0, W) if NAME == "gaussian"
        else 0.575 * normal(x, 0.0, W) - 0.15 * normal(x, 0.0, 6.0 * W) if NAME == "double_gaussian"
        else 1.15 * normal(x, 0.0, W) - 0.15 * (normal(x, W, 6.0 * W) + normal(x, -W, 6.0 * W))
        if NAME == "multi_gaussian"
        else None
    )  # fmt: skip


# The names that `derivative` knows
SURROGATES = re.findall(r'NAME == "(\w+)"', inspect.getsource(derivative.fn))


@triton.jit
def load_eight(first, stride, mask):
    """What lies at ``first`` and at the next seven multiples of ``stride`` behind it.

    Loads of several steps before any is used: a load that follows a store waits for it.
    """
    return (
        tl.load(first, mask, 0.0),
        tl.load(first + stride, mask, 0.0),
        tl.load(first + 2 * stride, mask, 0.0),
        tl.load(first + 3 * stride, mask, 0.0),
        tl.load(first + 4 * stride, mask, 0.0),
        tl.load(first + 5 * stride, mask, 0.0),
        tl.load(first + 6 * stride, mask, 0.0),
        tl.load(first + 7 * stride, mask, 0.0),
    )


def launch(
    kernel,
    rows: int,
    neurons: int,
    *arguments,
    block: int | None = None,
    warps: int | None = None,
    **flags,
) -> None:
    """Run one program per batch row and block of neurons on the device of the first argument.

    Contraction to fused multiply-adds is off: it would round differently from the specification,
    and flip spikes.
    """
    if block is None:
        block = min(LARGEST_BLOCK, triton.next_power_of_2(neurons))
    warps = warps or max(1, min(4, block // 32))
    with torch.cuda.device_of(arguments[0]):
        kernel[(rows, triton.cdiv(neurons, block))](
            *arguments, neurons, **flags, BLOCK=block, num_warps=warps, enable_fp_fusion=False
        )


def own_gradient(x: torch.Tensor | None, of: torch.Tensor, given: bool) -> torch.Tensor:
    """The gradient ``x`` of an output that is shaped like ``of``, in memory that a kernel may use.

    Where there is none it is zeros, or if no output has one (not ``given``) left for the kernel to
    write. PyTorch would make zeros itself, which would then be copied.
    """
    if x is not None:
        return x.clone(memory_format=torch.contiguous_format)
    return (torch.zeros if given else torch.empty)(of.shape, dtype=of.dtype, device=of.device)
