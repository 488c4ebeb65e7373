# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a training step minimises."""

from torch import Tensor
from torch.nn import functional


def rate_penalty(rates: Tensor, low: float, high: float) -> Tensor:
    """sum relu(low - r) + sum relu(r - high) over the hidden units' firing rates [units]."""
    return functional.relu(low - rates).sum() + functional.relu(rates - high).sum()
