# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Small networks, layers and inputs that the tests of the networks share."""

import re

import pytest
import torch

from models.anns import ANN
from models.anns import LAYERS as ANN_LAYERS
from models.network import Network
from models.snns import LAYERS, SNN
from models.ssms import BLOCKS, SSM

B, T, F = 3, 9, 7
SIZES = [6, 5, 4]
RECURRENT = ("RLIF", "RadLIF")

all_neurons = pytest.mark.parametrize("neuron", LAYERS)


def make_input(shape=(B, T, F), seed: int = 1) -> torch.Tensor:
    """Counts of input spikes, dense enough that a fresh network fires."""
    generator = torch.Generator().manual_seed(seed)
    return torch.poisson(torch.full(shape, 1.5), generator=generator)


def make_net(name: str, *, sizes=SIZES, seed: int = 0, shape=(B, T, F), **options) -> Network:
    """A network of either kind; one that spikes fires, for the threshold is low."""
    torch.manual_seed(seed)
    if name in list(ANN_LAYERS):  # it may be a list
        return ANN(shape, sizes, name, **options)
    if name in list(BLOCKS):
        return SSM(shape, sizes, name, **{"threshold": 0.15} | options)
    options = {"threshold": 0.02 if name == "ResonateFire" else 0.15} | options
    return SNN(shape, sizes, name, **options)


def check_gradients(net, output, normalization):
    """Every parameter gets a finite gradient of ``output``, which is not 0 throughout."""
    (output * torch.rand(output.shape)).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # Batchnorm subtracts the mean, and with it a bias before it: its gradient is rounding.
        if not (normalization == "batchnorm" and re.search(r"W\w?\.bias$", name)):
            assert parameter.grad.any(), name


def make_layer(neuron: str, **options):
    """One layer whose currents are sums of exact binary fractions: equal in any order."""
    torch.manual_seed(0)
    options = {"threshold": 0.1, "normalization": "none"} | options
    layer = LAYERS[neuron](F, SIZES[0], **options)
    with torch.no_grad():
        layer.W.weight.mul_(128).round_().div_(64)
    return layer.eval()


def make_state(layer, batch: int = B, seed: int = 5):
    torch.manual_seed(seed)
    return layer.initial_state(torch.empty(batch, 1, layer.hidden_size))
