# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The spike and its surrogate gradients.

``x`` is the distance of the drive to the threshold. A spike is 1 where x > 0, or x >= 0 of neurons
that spike at the threshold, else 0; the surrogate is what the backward pass takes for its
derivative. ``models/dynamics/README.md`` lists the formulas and their sources, and CONTRIBUTING.md
says how to add one.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Surrogate(NamedTuple):
    """A derivative in ``SURROGATES`` by its name, and its width in units of the drive."""

    name: str = "boxcar"
    width: float = 0.5


BOXCAR = Surrogate()


def _normal(x: Tensor, mean: float, deviation: float) -> Tensor:
    """Density of the normal distribution."""
    return torch.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))


def _multi_gaussian(x: Tensor, w: float) -> Tensor:
    return 1.15 * _normal(x, 0, w) - 0.15 * (_normal(x, w, 6 * w) + _normal(x, -w, 6 * w))


# name -> (derivative of the spike by x, its default width w)
SURROGATES = {
    "boxcar": (lambda x, w: (x > -w) & (x <= w), BOXCAR.width),
    "triangle": (lambda x, w: (1 - x.abs() / w).clamp_min(0), 1.0),
    "atan": (lambda x, w: w / (w**2 + (math.pi * x) ** 2), 1.0),
    "slayer": (lambda x, w: 0.2 / w * torch.exp(-x.abs() / w), 0.2),
    "gaussian": (lambda x, w: _normal(x, 0, w), 0.5),
    "double_gaussian": (lambda x, w: 0.575 * _normal(x, 0, w) - 0.15 * _normal(x, 0, 6 * w), 0.5),
    "multi_gaussian": (_multi_gaussian, 0.5),
}


def surrogate(name: str, width: float | None = None) -> Surrogate:
    """The surrogate called ``name``; ``width`` None: its default.

    Raises:
        ValueError: an unknown name, or a width that is not a positive number, or is to learn.
    """
    if name not in SURROGATES:
        raise ValueError(f"surrogate '{name}' is not one of {', '.join(SURROGATES)}")
    if getattr(width, "requires_grad", False):
        raise ValueError("the width of a surrogate gets no gradient and cannot learn: give a float")
    width = SURROGATES[name][1] if width is None else width
    if not 0 < width < math.inf:
        raise ValueError(f"the width of a surrogate must be a positive number, got {width}")
    return Surrogate(name, float(width))


class _Spike(torch.autograd.Function):
    """Heaviside step forward, the surrogate backward."""

    @staticmethod
    def forward(ctx, x, surrogate, at_threshold):
        ctx.save_for_backward(x)
        ctx.surrogate = surrogate
        return (x.ge(0) if at_threshold else x.gt(0)).to(x.dtype)

    @staticmethod
    def backward(ctx, grad_spike):
        (x,) = ctx.saved_tensors
        derivative, _ = SURROGATES[ctx.surrogate.name]
        return grad_spike * derivative(x, ctx.surrogate.width), None, None


def spike(x: Tensor, surrogate: Surrogate = BOXCAR, at_threshold: bool = False) -> Tensor:
    """Spikes (0 or 1, any shape) of ``x``, the distance of the drive to the threshold; whether
    there is one ``at_threshold``, too, where x is 0."""
    return _Spike.apply(x, surrogate, at_threshold)


def boxcar(x: Tensor) -> Tensor:
    """Spikes whose gradient passes where -0.5 < x <= 0.5 (Bittar & Garner 2022, eq. 15)."""
    return spike(x)
