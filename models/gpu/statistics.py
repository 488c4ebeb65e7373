# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The gradient of batch statistics in one pass: PyTorch's operations would take two."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from models.dynamics.triton_support import RUN, SIZES, launch, load_eight

_RUN = tl.constexpr(RUN)


@triton.jit(do_not_specialize=SIZES)
def _add_scaled(g, x, slope, offset, out, T, H, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = j < H
    slope_j, offset_j = tl.load(slope + j, mask, 0.0), tl.load(offset + j, mask, 0.0)
    g, x, out = g + row * T * H, x + row * T * H, out + row * T * H
    whole = T // _RUN * _RUN
    for t in range(0, whole, _RUN):
        first = t * H + j
        gradients, inputs = load_eight(g + first, H, mask), load_eight(x + first, H, mask)
        for k in tl.static_range(_RUN):
            total = gradients[k] + inputs[k] * slope_j + offset_j
            tl.store(out + first + k * H, total, mask)
    for t in range(whole, T):
        at = t * H + j
        total = tl.load(g + at, mask, 0.0) + tl.load(x + at, mask, 0.0) * slope_j + offset_j
        tl.store(out + at, total, mask)


def add_scaled(g: Tensor, x: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """g + x * slope + offset of g and x [B, T, H], slope and offset [H], all float32."""
    B, T, H = x.shape
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    launch(_add_scaled, B, H, *(v.contiguous() for v in (g, x, slope, offset)), out, T)
    return out
