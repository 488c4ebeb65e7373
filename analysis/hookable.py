# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A spiking network whose spikes and recurrent weights pass through modules, where hooks see them.

Our layers pass spikes from function to function and multiply by V inside the recurrence. Tools that
measure networks by hooks on modules, such as NeuroBench, then see neither.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.shell import SpikingLayer
from models.snns import SNN


class Spikes(nn.Module):
    """Passes the spikes of a layer on unchanged; a forward hook on it sees them all."""

    def forward(self, spikes: Tensor) -> Tensor:
        return spikes


def hookable(model: SNN) -> SNN:
    """A copy of ``model`` that computes the same and can be watched by hooks.

    The spikes of hidden layer i pass through a ``Spikes`` module ``spikes_i`` of that layer. Where
    there are recurrent weights, ``V`` becomes an ``nn.Linear`` that is called once a step, with the
    spikes of the step before; its weight is the matrix in use, [to, from] and without
    self-connections. Feed-forward weights are modules anyway.
    """
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    for number, layer in enumerate(twin.hidden_layers, start=1):
        run = with_called_weights(layer) if layer.recurrent else layer.dynamics
        show_spikes(layer, f"spikes_{number}", run)
    return twin


def show_spikes(layer: SpikingLayer, name: str, run: Callable) -> None:
    """Let the spikes that ``run`` makes of a current pass through a module of ``layer``."""
    layer.add_module(name, Spikes())

    def dynamics(current, state, fold=None):
        spikes, state = run(current, state)
        return getattr(layer, name)(spikes), state

    layer.dynamics = dynamics


def with_called_weights(layer: SpikingLayer) -> Callable:
    """The recurrence of ``layer`` in single steps, to whose current a module V adds its output."""
    weight = layer.recurrent_weights().T  # a view: the product is the same to the last digit
    layer.V = nn.Linear(layer.hidden_size, layer.hidden_size, bias=False, device=weight.device)
    layer.V.weight = nn.Parameter(weight, requires_grad=False)
    layer.recurrent_weights = lambda: None
    step = layer.dynamics

    def run(current, state):
        spikes = []
        for I_t in current.unbind(dim=1):
            fired, state = step((I_t + layer.V(state.s))[:, None], state)
            spikes.append(fired)
        return torch.cat(spikes, dim=1), state

    return run
