# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How much a network spikes: firing rates and synaptic operations."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.shell import LayerOutput


class Activity(NamedTuple):
    """Everything that one forward pass tells about a spiking network."""

    output: Tensor  # [B, C] class scores, or [B, T, H] spikes without a read-out
    firing_rates: Tensor  # [F + hidden units] mean over (B, T)
    sop: Tensor  # [] feed-forward synaptic operations per sample
    recurrent_sop: Tensor  # [] synaptic operations through V per sample; 0 without V
    layers: list[LayerOutput]  # one per spiking layer, a spiking read-out's included
    potentials: Tensor | None = None  # [B, T, C] of a network with ``keep_potentials``


@torch.no_grad()
def input_rates(x: Tensor) -> Tensor:
    """Mean activity [F] of the input [B, T, F], entries above 0.9 counted as 1."""
    return x.masked_fill(x > 0.9, 1.0).mean(dim=(0, 1))


def firing_rates(x: Tensor, counts: Tensor | None, keep: float) -> Tensor:
    """Mean activity [H] of spikes ``x`` [B, T, H] of which dropout left the share ``keep``."""
    if counts is None:
        return x.mean(dim=(0, 1)) * keep
    return _CountedRates.apply(x, counts, keep)


@torch.no_grad()
def events(x: Tensor, counts: Tensor | None = None) -> Tensor:
    """Number of non-zero entries of ``x`` [B, ...]; ``counts`` [B, H] if they are known already."""
    return torch.count_nonzero(x) if counts is None else counts.sum(dtype=torch.int64)


@torch.no_grad()
def recurrent_operations(spikes: Tensor) -> Tensor:
    """Operations through V: each of ``spikes`` [B, T, H] before the last step reaches H - 1."""
    return torch.count_nonzero(spikes[:, :-1]) * (spikes.shape[2] - 1)


class _CountedRates(torch.autograd.Function):
    """Firing rates [H] of spikes x [B, T, H] whose ``counts`` [B, H] are known.

    ``kept`` is the share that dropout left, whose reciprocal it multiplied spikes by; the gradient
    is that of ``x.mean(dim=(0, 1)) * kept``.
    """

    @staticmethod
    def forward(ctx, x, counts, kept):
        ctx.shape, ctx.kept = x.shape, kept
        return counts.sum(dim=0) / (x.shape[0] * x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx, d_rates):
        B, T, _ = ctx.shape
        return (d_rates * (ctx.kept / (B * T))).expand(ctx.shape), None, None
