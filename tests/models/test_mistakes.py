# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Mistakes in a neuron of one's own are named where they are made."""


import pytest
import torch
from snn_cases import make_input
from torch import nn

from models.shell import SpikingLayer, clamped
from models.snns import AdaptiveCoefficients, AdaptiveLayer, LIFLayer, uniform
from models.surrogate import boxcar

B, T, F, H = *make_input().shape, 5


class Mine(AdaptiveLayer):
    """A neuron of a known recurrence, without a mistake."""

    states_per_neuron = 1

    def create_parameters(self):
        self.alpha = uniform(self.hidden_size, (0.5, 0.9))

    def coefficients(self):
        return AdaptiveCoefficients(self.alpha)


class MyOwn(SpikingLayer):
    """A neuron with a recurrence of its own, without a mistake."""

    ranges = {"alpha": (0.5, 0.9)}  # noqa: RUF012

    def create_parameters(self):
        self.alpha = uniform(self.hidden_size, self.ranges["alpha"])

    def initial_state(self, current):
        return (self.draw(current),)

    def dynamics(self, current, state):
        return boxcar(clamped(self, "alpha") * current - self.threshold), state


def mistaken(kind: type, method: str, function) -> type:
    """``kind`` with another method, and the name Mistaken."""
    return type("Mistaken", (kind,), {method: function})


def told(kind: type, *parts: str) -> None:
    """Making and running a layer ends in one line that has these parts."""
    with pytest.raises(TypeError) as error:
        kind(F, H)(make_input())
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("kind", [Mine, MyOwn])
def test_nothing_is_said_of_sound_neurons(kind):
    assert kind(F, H)(make_input()).output.shape == (B, T, H)


UNREGISTERED = {
    "Tensor": lambda layer: torch.rand(H),
    "Parameter in a list": lambda layer: [nn.Parameter(torch.rand(H))],
    "Parameter in a tuple": lambda layer: (1, nn.Parameter(torch.rand(H))),
    "Parameter in a dict": lambda layer: {"a": [nn.Parameter(torch.rand(H))]},
    "Linear in a list": lambda layer: [nn.Linear(H, H)],
}


@pytest.mark.parametrize("name", ["beta", "threshold"])
@pytest.mark.parametrize("what", UNREGISTERED)
def test_what_would_neither_learn_nor_be_saved(what, name):
    def create_parameters(self):
        Mine.create_parameters(self)
        setattr(self, name, UNREGISTERED[what](self))

    kind = mistaken(Mine, "create_parameters", create_parameters)
    told(kind, f"Mistaken.create_parameters() makes '{name}' a {what}, ", "register_buffer()")


def test_what_is_registered_may_be_named_twice():
    def create_parameters(self):
        Mine.create_parameters(self)
        self.register_buffer("kernel", torch.rand(H), persistent=False)
        self.parts = nn.ParameterList([nn.Parameter(torch.rand(H))])
        self.names = {"alpha": self.alpha, "others": [self.parts[0], self.W, self.kernel]}

    assert mistaken(Mine, "create_parameters", create_parameters)(F, H).names["others"]


@pytest.mark.parametrize("kind", [LIFLayer, MyOwn])
@pytest.mark.parametrize("value", [0.2, 1.5, float("nan")])
def test_first_values_outside_the_range(kind, value):
    def create_parameters(self):
        kind.create_parameters(self)
        nn.init.constant_(self.alpha[2:4], value)

    range_ = "{:g} to {:g}".format(*kind.ranges["alpha"])
    told(
        mistaken(kind, "create_parameters", create_parameters),
        f"Mistaken.create_parameters() gives 'alpha' values from {value} to {value}, outside its "
        f"range {range_}",
    )


def test_later_values_may_be_anywhere():
    layer, other = MyOwn(F, H), MyOwn(F, H)
    nn.init.constant_(layer.alpha, 7.0)
    other.load_state_dict(layer.state_dict())
    assert other(make_input()).output.any()
