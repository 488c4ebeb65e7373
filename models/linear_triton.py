# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Spikes as bits, as a GPU keeps them for the gradient of the weights above them.

A byte takes one entry from each eighth of a tensor, so that neighbouring threads read neighbours.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 128  # bytes of one program, one for each of its threads


@triton.jit
def _pack(x, bits, size, count, BLOCK: tl.constexpr):
    byte = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    marks = tl.zeros((BLOCK,), tl.int32)
    for k in tl.static_range(8):
        at = k * size + byte
        marks |= tl.where(tl.load(x + at, at < count, 0.0) != 0.0, 1 << k, 0)
    tl.store(bits + byte, marks.to(tl.uint8))


@triton.jit
def _unpack(bits, x, gain, size, count, BLOCK: tl.constexpr):
    byte = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    marks = tl.load(bits + byte).to(tl.int32)
    for k in tl.static_range(8):
        at = k * size + byte
        value = tl.where(marks & (1 << k) != 0, gain, 0.0)
        tl.store(x + at, value.to(x.dtype.element_ty), at < count)


def pack(x: Tensor) -> Tensor:
    """Which entries of ``x``, contiguous, are not 0: a bit each, eight to a byte (uint8)."""
    programs = triton.cdiv(x.numel(), 8 * BLOCK)
    bits = torch.empty(programs * BLOCK, dtype=torch.uint8, device=x.device)
    with torch.cuda.device_of(x):
        _pack[(programs,)](x, bits, len(bits), x.numel(), BLOCK=BLOCK)
    return bits


def unpack(bits: Tensor, shape: torch.Size, gain: float, dtype: torch.dtype) -> Tensor:
    """A tensor of ``shape`` that is ``gain`` at these entries, and 0 elsewhere."""
    x = torch.empty(shape, dtype=dtype, device=bits.device)
    with torch.cuda.device_of(x):
        _unpack[(len(bits) // BLOCK,)](bits, x, gain, len(bits), x.numel(), BLOCK=BLOCK)
    return x
