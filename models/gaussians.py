# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Gaussians over the taps of delays, and their derivatives by the position."""

import torch
from torch import Tensor

WIDTH = 0.27  # added to sigma
EPSILON = 1e-7  # added to the sum of the taps
# Weights of taps below are 0: together they are less than the rounding of the others, and most are
# smaller than normal numbers, with which processors are slow.
NEGLIGIBLE = 1e-9
SMALLEST = -60.0  # exponent, far below


def width_of(sigma: Tensor) -> Tensor:
    """Standard deviation in steps."""
    return sigma.abs() + WIDTH


def exponent(z: Tensor) -> Tensor:
    """Of a Gaussian ``z`` standard deviations away."""
    return (-0.5 * z**2).clamp(min=SMALLEST)


def gaussian(P: Tensor, sigma: Tensor, taps: int) -> Tensor:
    """Weights g [..., taps] of the taps around positions P [...], relative to the middle one."""
    g = torch.exp(exponent(distances(P, sigma, taps)))
    g = g / (g.sum(-1, keepdim=True) + EPSILON)
    return g.masked_fill(g < NEGLIGIBLE, 0)


def distances(P: Tensor, sigma: Tensor, taps: int) -> Tensor:
    """How many standard deviations the taps [..., taps] are away from positions P [...]."""
    return (torch.arange(taps, device=P.device) - taps // 2 - P[..., None]) / width_of(sigma)


def slopes(g: Tensor, P: Tensor, sigma: Tensor) -> Tensor:
    """Derivatives [..., taps] of the weights ``g`` [..., taps] by the positions P [...]."""
    z = distances(P, sigma, g.shape[-1])
    return g * (z - (g * z).sum(-1, keepdim=True)) / width_of(sigma)
