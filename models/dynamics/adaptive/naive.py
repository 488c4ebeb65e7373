# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Adaptive recurrence in plain PyTorch: the executable specification."""

from typing import NamedTuple

import torch
from torch import Tensor

from models.surrogate import BOXCAR, spike


class AdaptiveState(NamedTuple):
    """State of a layer of adaptive neurons between two time steps; each field is [B, H]."""

    u: Tensor  # membrane potential
    w: Tensor  # adaptation
    s: Tensor  # spikes of the last step


def adaptive(I, alpha, beta, a, b, *, theta, state, V=None, surrogate=BOXCAR):
    """See :func:`models.dynamics.adaptive`; autograd gives the backward."""
    u, w, s = state
    spikes = []
    for I_t in I.unbind(dim=1):
        if beta is not None:
            w = beta * w + a * u + b * s
        # In this order autograd sums the gradients of s as in the published code, to the last bit.
        decayed = alpha * (u - s)
        current = I_t if V is None else I_t + s @ V
        if beta is not None:
            current = current - w
        u = decayed + (1 - alpha) * current
        s = spike(u - theta, surrogate)
        spikes.append(s)
    return torch.stack(spikes, dim=1), AdaptiveState(u, w, s)
