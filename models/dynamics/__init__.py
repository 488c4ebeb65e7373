# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The functional core: every loop over time of this project lives below this package.

Each recurrence is one pure function, state in and state out, with one implementation per back end.
``naive`` is the executable specification that all others are tested against.
"""

import torch

from models.dynamics.adaptive import ADAPTIVE, AdaptiveState, adaptive
from models.dynamics.backends import BACKENDS, Choice, choose
from models.dynamics.fold import Fold
from models.dynamics.readout import POTENTIALS, READOUT, potentials, readout
from models.dynamics.recurrent import gru, ligru, rnn, summed
from models.dynamics.resonate import RESONATE, ResonateState, resonate

__all__ = [
    "BACKENDS",
    "AdaptiveState",
    "Fold",
    "ResonateState",
    "adaptive",
    "describe",
    "gru",
    "ligru",
    "potentials",
    "readout",
    "resonate",
    "rnn",
    "summed",
]

OPERATIONS = {
    "adaptive": ADAPTIVE,
    "resonate": RESONATE,
    "readout": READOUT,
    "potentials": POTENTIALS,
}


def describe(network: torch.nn.Module) -> str:
    """What computes the dynamics of ``network``, a ``models.network.Network``, on its device.

    A layer says by its attribute ``operation`` which of ``OPERATIONS`` it runs; None, or no such
    attribute: one of its own in plain PyTorch. On a GPU the kernels are tried now if they have not
    been yet.
    """
    chosen: dict[Choice, list[str]] = {}
    for number, layer in enumerate(network.layers, start=1):
        choice = Choice("naive")
        if name := getattr(layer, "operation", None):
            numbers = torch.empty(0, device=next(layer.parameters()).device)
            surrogate = getattr(layer, "surrogate", None)
            choice = choose(OPERATIONS[name], layer.backend, numbers, surrogate=surrogate)
        chosen.setdefault(choice, []).append(str(number))
    if len(chosen) == 1:
        return f"Dynamics: {next(iter(chosen))}"
    return "Dynamics: " + "; ".join(
        f"{choice} in layer {', '.join(layers)}" for choice, layers in chosen.items()
    )
