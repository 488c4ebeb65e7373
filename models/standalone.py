# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Neurons among the layers of other networks."""

from typing import Any

from torch import Tensor, nn

from models.network import as_input
from models.shell import SpikingLayer
from models.snns import LAYERS, neuron_types
from models.surrogate import surrogate as find_surrogate


class Spiking(nn.Module):
    """A layer of neurons that gives its spikes alone, as ``nn.Sequential`` wants them.

    [B, T, F] -> [B, T, H], or 2H features where it hears both directions. With ``channels_first``
    it takes [B, F, T] and gives [B, H, T], as ``nn.Conv1d`` does.

    Args:
        neuron: a name of ``LAYERS`` in any case, such as "SiLIF", or a class of your own.
        input_size, hidden_size: features in, neurons H.
        channels_first: whether time is the last dimension.
        surrogate, surrogate_width: derivative of a spike, see ``models.surrogate.surrogate``.
        options: see ``SpikingLayer``: threshold, dropout, normalization and so on.

    Raises:
        ValueError: an unknown neuron or surrogate, or options that the neuron cannot have.
    """

    def __init__(
        self,
        neuron: str | type[SpikingLayer],
        input_size: int,
        hidden_size: int,
        *,
        channels_first: bool = False,
        surrogate: str = "boxcar",
        surrogate_width: float | None = None,
        **options: Any,
    ):
        super().__init__()
        kind = LAYERS[neuron_types(neuron, 1)[0]] if isinstance(neuron, str) else neuron
        options["surrogate"] = find_surrogate(surrogate, surrogate_width)
        self.layer = kind(input_size, hidden_size, **options)
        self.channels_first = channels_first

    @property
    def output_size(self) -> int:
        """Features of the spikes."""
        return self.layer.output_size

    def extra_repr(self) -> str:
        """Shown by ``print``."""
        return "channels_first=True" if self.channels_first else ""

    def forward(self, x: Tensor) -> Tensor:
        """Spikes after dropout; ValueError or TypeError for an input that does not fit."""
        x = x.mT if self.channels_first else x
        x = as_input(x, self.layer.input_size, self.layer.W.weight.dtype)
        spikes = self.layer(x).output
        return spikes.mT if self.channels_first else spikes
