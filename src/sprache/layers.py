# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The parts of networks: layers of neurons, readouts, and what a neuron of your own derives from.

``Spiking`` stands in ``nn.Sequential``. The classes of the neurons themselves, such as
``SiLIFLayer``, give a ``LayerOutput`` with their spikes and states; ``LAYERS`` has them
by the names that networks know.
"""

from sprache.models.dynamics import AdaptiveCoefficients
from sprache.models.network import LayerOutput, ParameterGroup
from sprache.models.neurons import BRFLayer, EFadLIFLayer, LIFNodeLayer, SEadLIFLayer
from sprache.models.readouts import READOUTS, ANNReadoutLayer, ReadoutLayer
from sprache.models.shell import RecurrentMixin, SpikingLayer, uniform
from sprache.models.snns import (
    LAYERS,
    AdaptiveLayer,
    CadLIFLayer,
    CSiLIFLayer,
    LIFLayer,
    RadLIFLayer,
    ResonateCoefficients,
    ResonateFireLayer,
    ResonateLayer,
    RLIFLayer,
    SiLIFLayer,
    adLIFLayer,
)
from sprache.models.standalone import Spiking

__all__ = [
    "LAYERS",
    "READOUTS",
    "ANNReadoutLayer",
    "AdaptiveCoefficients",
    "AdaptiveLayer",
    "BRFLayer",
    "CSiLIFLayer",
    "CadLIFLayer",
    "EFadLIFLayer",
    "LIFLayer",
    "LIFNodeLayer",
    "LayerOutput",
    "ParameterGroup",
    "RLIFLayer",
    "RadLIFLayer",
    "ReadoutLayer",
    "RecurrentMixin",
    "ResonateCoefficients",
    "ResonateFireLayer",
    "ResonateLayer",
    "SEadLIFLayer",
    "SiLIFLayer",
    "Spiking",
    "SpikingLayer",
    "adLIFLayer",
    "uniform",
]
