# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What all GPU kernels share: how they are launched, and the surrogate of the spike."""

import torch
import triton
import triton.language as tl

from models.surrogate import HALF_WIDTH

LARGEST_BLOCK = 128  # neurons of one program
_HALF = tl.constexpr(HALF_WIDTH)


@triton.jit
def spike(x):
    """1 where the distance to the threshold is positive, else 0."""
    return tl.where(x > 0.0, 1.0, 0.0)


@triton.jit
def inside(x):
    """1 where the surrogate gradient passes, else 0."""
    return tl.where((x > -_HALF) & (x <= _HALF), 1.0, 0.0)


@triton.jit
def load_four(first, stride, mask):
    """What lies at ``first`` and at the next three multiples of ``stride`` behind it.

    Loads of several steps before any is used: a load that follows a store waits for it.
    """
    return (
        tl.load(first, mask, 0.0),
        tl.load(first + stride, mask, 0.0),
        tl.load(first + 2 * stride, mask, 0.0),
        tl.load(first + 3 * stride, mask, 0.0),
    )


def launch(kernel, rows: int, neurons: int, *arguments, block: int | None = None, **flags) -> None:
    """Run one program per batch row and block of neurons on the device of the first argument.

    Contraction to fused multiply-adds is off: it would round differently from the specification,
    and flip spikes.
    """
    if block is None:
        block = min(LARGEST_BLOCK, triton.next_power_of_2(neurons))
    warps = max(1, min(4, block // 32))
    with torch.cuda.device_of(arguments[0]):
        kernel[(rows, triton.cdiv(neurons, block))](
            *arguments, neurons, **flags, BLOCK=block, num_warps=warps, enable_fp_fusion=False
        )


def dense_copy(x: torch.Tensor) -> torch.Tensor:
    """A copy that a kernel may write to."""
    return x.clone(memory_format=torch.contiguous_format)
