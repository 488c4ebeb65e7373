# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""From host memory to the device without a wait.

A plain copy to a GPU makes the host wait until everything queued before it is done. From pinned
memory it is queued behind that instead.
"""

import torch
from torch import Tensor


def moved(x: Tensor, device: torch.device) -> Tensor:
    """``x`` on ``device``."""
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def gathered(rows: Tensor, indices: Tensor, device: torch.device) -> Tensor:
    """``rows`` [N, ...] at ``indices`` [B] int64, on ``device``, wherever the rows lie."""
    indices = moved(indices, rows.device)
    if device.type == "cuda" and rows.device.type == "cpu":
        staged = torch.empty(
            (len(indices), *rows.shape[1:]), dtype=rows.dtype, device="cpu", pin_memory=True
        )
        torch.index_select(rows, 0, indices, out=staged)
        return staged.to(device, non_blocking=True)
    return rows.index_select(0, indices).to(device)
