# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Neurons among the layers of other networks."""

import pytest
import torch
from torch import nn

from models.readouts import ReadoutLayer
from models.snns import LAYERS, SNN, LIFLayer
from models.standalone import Spiking

ZERO = {"init_state": "zero"}


@pytest.mark.parametrize("neuron", LAYERS)
def test_it_gives_the_spikes_of_the_layer_alone(neuron):
    spiking = Spiking(neuron.upper(), 6, 5, **ZERO)
    assert type(spiking.layer) is LAYERS[neuron]
    x = 5 * torch.rand(3, 20, 6)
    spikes = spiking(x)
    assert torch.equal(spikes, spiking.layer(x).output)
    assert spikes.shape == (3, 20, 5)


def test_with_channels_first_it_takes_and_gives_what_convolutions_do():
    spiking = Spiking("silif", 6, 5, bidirectional=True, **ZERO)
    x = 5 * torch.rand(3, 20, 6)
    expected = spiking(x)
    spiking.channels_first = True
    spikes = spiking(x.mT.contiguous())
    assert spikes.shape == (3, spiking.output_size, 20)
    assert torch.equal(spikes.mT, expected)


def test_it_is_a_layer_of_the_network_as_it_is_of_snn():
    """The same weights, spikes and gradients in nn.Sequential as in SNN."""
    torch.manual_seed(1)
    net = SNN((None, None, 6), [8, 7, 4], ["SiLIF", "LIF"], **ZERO)
    torch.manual_seed(1)
    own = nn.Sequential(
        Spiking("SILIF", 6, 8, **ZERO), Spiking("lif", 8, 7, **ZERO), ReadoutLayer(7, 4, **ZERO)
    )
    x = 3 * torch.rand(5, 30, 6)
    scores = net(x)[0]
    assert torch.equal(own(x), scores)
    scores.square().sum().backward()
    own(x).square().sum().backward()
    for mine, theirs in zip(own.parameters(), net.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)


def test_a_surrogate_is_named():
    spiking = Spiking("LIF", 6, 5, surrogate="atan", surrogate_width=0.7)
    assert spiking.layer.surrogate == ("atan", 0.7)


def test_a_class_of_ones_own():
    class Own(LIFLayer):
        pass

    assert type(Spiking(Own, 6, 5).layer) is Own


@pytest.mark.parametrize(
    ("neuron", "options", "x", "message"),
    [
        ("SLIF", {}, None, "neuron_type 'SLIF' is not one of"),
        ("SiLIF+LIF", {}, None, "does not name 1 hidden layers"),
        ("LIF", {"surrogate": "box"}, None, "surrogate 'box' is not one of"),
        ("LIF", {}, torch.rand(2, 9, 5), "input must have 6 features"),
        ("LIF", {"channels_first": True}, torch.rand(2, 9, 6), "input must have 6 features"),
        ("LIF", {}, torch.rand(9, 6), r"input must be \[B, T, F\]"),
    ],
)
def test_mistakes_are_named(neuron, options, x, message):
    with pytest.raises(ValueError, match=message):
        Spiking(neuron, 6, 5, **options)(x)
