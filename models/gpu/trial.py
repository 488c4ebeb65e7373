# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What the kernels of batch normalisation are tried on."""

from collections.abc import Iterator

from torch import nn

from models.dynamics.trial import B, H, T, Trial, uniform


def trials() -> Iterator[Trial]:
    """Statistics of a batch, their gradients, and what a norm remembers of them."""
    draw = uniform()
    inputs = {"x": draw(-1, 3, B, T, H), "weight": draw(0.7, 1.3, H)}
    yield Trial("batch normalisation", inputs, _run)


def _run(standardized, x, weight):
    norm = nn.BatchNorm1d(H, device=x.device)
    norm.weight = nn.Parameter(weight.detach())
    count = x[..., 0].numel()  # of values that share a mean's gradient: else it could hide in x's
    x, mean, slope = standardized(x, weight, norm)
    running = {"the running mean": norm.running_mean, "the running variance": norm.running_var}
    return {"x": x, "mean": mean * count, "slope": slope * count} | running
