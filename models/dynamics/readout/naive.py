# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Read-out in plain PyTorch: the executable specification."""

import torch


def readout(I, alpha, *, state):
    """See :func:`models.dynamics.readout`; autograd gives the backward."""
    u = state
    out = torch.zeros_like(u)
    for I_t in I.unbind(dim=1):
        u = alpha * u + (1 - alpha) * I_t
        out = out + torch.softmax(u, dim=1)
    return out, u


def potentials(I, alpha, *, state):
    """See :func:`models.dynamics.potentials`; autograd gives the backward."""
    u, steps = state, []
    for I_t in I.unbind(dim=1):
        u = alpha * u + (1 - alpha) * I_t
        steps.append(u)
    return torch.stack(steps, dim=1), u
