# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Leaky integrate-and-fire layers of other libraries, as their users run them over a sequence.

Each maker takes an input [B, T, H] and returns a function that computes the spikes of it. Time goes
first where the library wants it so; that view is part of what is measured. The neurons are not
identical to ours (surrogates and resets differ): what is compared is the cost of one spiking layer.
"""

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor


def _snntorch(I: Tensor) -> Callable[[], Tensor]:
    import snntorch

    neuron = snntorch.Leaky(beta=0.9).to(I.device)

    def run():
        potential, spikes = neuron.reset_mem(), []
        for I_t in I.unbind(dim=1):
            spike, potential = neuron(I_t, potential)
            spikes.append(spike)
        return torch.stack(spikes, dim=1)

    return run


def _spikingjelly(I: Tensor) -> Callable[[], Tensor]:
    from spikingjelly.activation_based import functional, neuron

    layer = neuron.LIFNode(tau=2.0, step_mode="m").to(I.device)

    def run():
        functional.reset_net(layer)
        return layer(I.transpose(0, 1))

    return run


def _norse(I: Tensor) -> Callable[[], Tensor]:
    import norse.torch

    layer = norse.torch.LIF().to(I.device)
    return lambda: layer(I.transpose(0, 1))[0]


def _sinabs(I: Tensor) -> Callable[[], Tensor]:
    import sinabs.layers

    layer = sinabs.layers.LIF(tau_mem=10.0).to(I.device)

    def run():
        layer.reset_states()
        return layer(I)

    return run


LAYERS = {
    "snntorch": ("snnTorch Leaky", _snntorch),
    "spikingjelly": ("SpikingJelly LIFNode, multi-step", _spikingjelly),
    "norse": ("Norse LIF", _norse),
    "sinabs": ("Sinabs LIF", _sinabs),
}


def installed(I: Tensor) -> dict[str, Callable[[], Tensor]]:
    """The layers of all peers that are installed, by name."""
    return {
        name: make(I)
        for package, (name, make) in LAYERS.items()
        if importlib.util.find_spec(package)
    }
