# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Non-spiking recurrences in plain PyTorch.

Matrices are transposed before the loop: one view, and one gradient of it, instead of one per step.

All take feed-forward currents [B, T, H] and recurrent matrices [H, H] as ``nn.Linear`` stores them
(to, from), start from y = 0 and return the outputs [B, T, H].
"""

import torch


def _start(current):
    return torch.zeros_like(current[:, 0])


def summed(steps):
    """Sum over time [B, H] of [B, T, H]; on a CPU one step after another, as published code rounds.

    Batch normalisation over the few rows of a batch magnifies the last digits of such sums.
    """
    if steps.device.type != "cpu":
        return steps.sum(dim=1)
    total = _start(steps)
    for step in steps.unbind(dim=1):
        total = total + step
    return total


def rnn(I, V):
    """y = sigmoid(I_t + V y)."""
    y, outputs, V = _start(I), [], V.T
    for I_t in I.unbind(dim=1):
        y = torch.sigmoid(torch.addmm(I_t, y, V))
        outputs.append(y)
    return torch.stack(outputs, dim=1)


def ligru(I, Iz, V, Vz):
    """Li-GRU (Ravanelli et al. 2018): z = sigmoid(Iz + Vz y), y = z y + (1 - z) relu(I + V y)."""
    y, outputs, V, Vz = _start(I), [], V.T, Vz.T
    for I_t, Iz_t in zip(I.unbind(dim=1), Iz.unbind(dim=1), strict=True):
        z = torch.sigmoid(torch.addmm(Iz_t, y, Vz))
        candidate = torch.relu(torch.addmm(I_t, y, V))
        y = z * y + (1 - z) * candidate
        outputs.append(y)
    return torch.stack(outputs, dim=1)


def gru(I, Iz, Ir, V, Vz, Vr):
    """GRU (Cho et al. 2014), the reset gate applied before V: c = tanh(I + V (r y))."""
    y, outputs, V, Vz, Vr = _start(I), [], V.T, Vz.T, Vr.T
    for I_t, Iz_t, Ir_t in zip(I.unbind(dim=1), Iz.unbind(dim=1), Ir.unbind(dim=1), strict=True):
        z = torch.sigmoid(torch.addmm(Iz_t, y, Vz))
        r = torch.sigmoid(torch.addmm(Ir_t, y, Vr))
        candidate = torch.tanh(torch.addmm(I_t, r * y, V))
        y = z * y + (1 - z) * candidate
        outputs.append(y)
    return torch.stack(outputs, dim=1)
