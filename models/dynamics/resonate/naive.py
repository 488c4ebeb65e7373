# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Resonate recurrence in plain PyTorch: the executable specification."""

from typing import NamedTuple

import torch
from torch import Tensor

from models.surrogate import BOXCAR, spike


class ResonateState(NamedTuple):
    """State of a layer of resonating neurons between two time steps; each field is [B, H]."""

    u: Tensor  # complex membrane potential
    s: Tensor  # spikes of the last step


def resonate(I, A, reset, gain, *, scale, theta, state, reset_inside, surrogate=BOXCAR):
    """See :func:`models.dynamics.resonate`; autograd gives the backward."""
    u, s = state
    spikes = []
    for I_t in I.unbind(dim=1):
        u = (
            A * (u - reset * s) + gain * I_t
            if reset_inside
            else u + gain * (A * u + I_t) - reset * s
        )
        s = spike(scale * u.real - theta, surrogate)
        spikes.append(s)
    return torch.stack(spikes, dim=1), ResonateState(u, s)
