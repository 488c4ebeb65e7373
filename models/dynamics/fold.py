# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a GPU kernel can do around a recurrence while it holds the values anyway."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Fold(NamedTuple):
    """Normalisation before, and dropout after a recurrence of H neurons.

    The current is ``(I - mean) * slope + shift``, each [H], or ``I`` where they are None. A spike
    is dropped with probability ``p``, else multiplied by ``1 / (1 - p)``; 0 <= p < 1. ``seed`` [1],
    int64, on the device of the current, decides which; it is needed where p > 0. Where there is
    ``counts`` [B, H], float32 and contiguous, it is overwritten by how many spikes of a neuron are
    left.
    """

    mean: Tensor | None = None
    slope: Tensor | None = None
    shift: Tensor | None = None
    p: float = 0.0
    seed: Tensor | None = None
    counts: Tensor | None = None

    def current(self, I: Tensor) -> Tensor:
        """The current of ``I`` [B, T, H], in plain PyTorch."""
        return I if self.mean is None else (I - self.mean) * self.slope + self.shift

    def dropped(self, spikes: Tensor) -> Tensor:
        """Spikes [B, T, H] after dropout, in plain PyTorch: by its generator, not ``seed``."""
        spikes = functional.dropout(spikes, self.p) if self.p > 0 else spikes
        if self.counts is not None:
            self.counts.copy_(torch.count_nonzero(spikes, dim=1))
        return spikes
