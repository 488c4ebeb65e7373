# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The small random inputs on which kernels are tried before they are the default on a device."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from models.dynamics.fold import Fold

# Neither whole blocks of neurons nor whole runs of unrolled steps; B * H is a multiple of 4, as
# arrays are in training, so that the same compiled kernels serve there.
B, T, H = 4, 29, 150
SEED = 12
P = 0.25  # of dropout


class Trial(NamedTuple):
    """One variant of an operation, and what it is tried on."""

    name: str
    inputs: dict[str, Tensor]
    # run(function, **inputs): what an implementation makes of the inputs, tensors by name
    run: Callable[..., dict[str, Tensor]]


def uniform() -> Callable[..., Tensor]:
    """A function that draws uniform numbers: ``draw(low, high, *shape)``."""
    generator = torch.Generator().manual_seed(SEED)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) * (high - low) + low

    return draw


def normalisation(draw: Callable[..., Tensor]) -> dict[str, Tensor]:
    """Mean, slope and shift [H] of a fold."""
    return {"mean": draw(-1, 1, H), "slope": draw(0.7, 1.3, H), "shift": draw(-1, 1, H)}


def within_fold(function, I, *coefficients, mean=None, slope=None, shift=None, **options):
    """Spikes, state and counts of a recurrence; if ``mean`` is given within a ``Fold``."""
    if mean is None:
        return *function(I, *coefficients, **options), {}
    seed = torch.full((1,), SEED, device=I.device)
    counts = I.new_empty(I.shape[0], I.shape[2])
    fold = Fold(mean, slope, shift, P, seed, counts)
    return *function(I, *coefficients, fold=fold, **options), {"the counts": counts}


def unfolded(naive: Callable) -> Callable:
    """The recurrence ``naive`` with a fold around it, whose mask of dropout is that of kernels."""

    def run(I, *coefficients, fold=None, **options):
        if fold is None:
            return naive(I, *coefficients, **options)
        from models.dynamics.triton_loops import dropout_factors

        spikes, state = naive(fold.current(I), *coefficients, **options)
        spikes = spikes * dropout_factors(I.shape, fold.p, fold.seed)
        fold.counts.copy_(torch.count_nonzero(spikes, dim=1))
        return spikes, state

    return run
