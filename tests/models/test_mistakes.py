# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Mistakes in a neuron of one's own are named where they are made."""

import dataclasses

import pytest
import torch
from snn_cases import make_input
from torch import nn

from models.dynamics import AdaptiveState, ResonateState
from models.shell import SpikingLayer, clamped
from models.snns import (
    AdaptiveCoefficients,
    AdaptiveLayer,
    LIFLayer,
    RecurrentMixin,
    ResonateCoefficients,
    ResonateLayer,
    uniform,
)
from models.surrogate import spike
from parsers.load import Config
from parsers.model_config import ModelConfig
from training.build import build_model

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
        return spike(clamped(self, "alpha") * current - self.threshold), state


class MyResonate(ResonateLayer):
    """A complex neuron without a mistake."""

    def create_parameters(self):
        self.b = uniform(self.hidden_size, (0.5, 0.9))

    def coefficients(self):
        A = torch.polar(torch.full((H,), 0.9), torch.ones(H))
        return ResonateCoefficients(A, 1, self.b, 2, True)


def mistaken(kind: type, method: str, function) -> type:
    """``kind`` with another method, and the name Mistaken."""
    return type("Mistaken", (kind,), {method: function})


def refused(kind: type, *parts: str) -> None:
    """Making and running a layer ends in one line that has these parts."""
    with pytest.raises(TypeError) as error:
        kind(F, H)(make_input())
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def creating(change, kind: type = Mine):
    """``create_parameters`` of ``kind`` followed by ``change``."""

    def create_parameters(self):
        kind.create_parameters(self)
        change(self)

    return mistaken(kind, "create_parameters", create_parameters)


UNREGISTERED = {
    "Tensor": lambda layer: torch.rand(H),
    "Parameter in a list": lambda layer: [nn.Parameter(torch.rand(H))],
    "Parameter in a tuple": lambda layer: (1, nn.Parameter(torch.rand(H))),
    "Parameter in a dict": lambda layer: {"a": [nn.Parameter(torch.rand(H))]},
    "Linear in a list": lambda layer: [nn.Linear(H, H)],
}


@pytest.mark.parametrize("name", ["beta", "threshold"])
@pytest.mark.parametrize("what", UNREGISTERED)
def test_unregistered_parameters_are_refused(what, name):
    kind = creating(lambda layer: setattr(layer, name, UNREGISTERED[what](layer)))
    refused(kind, f"Mistaken.create_parameters() makes '{name}' a {what}, ", "register_buffer()")


def test_registered_tensors_may_also_lie_in_containers():
    def change(self):
        self.register_buffer("kernel", torch.rand(H), persistent=False)
        self.parts = nn.ParameterList([nn.Parameter(torch.rand(H))])
        self.names = {"alpha": self.alpha, "others": [self.parts[0], self.W, self.kernel]}

    assert creating(change)(F, H).names["others"]


@pytest.mark.parametrize("kind", [LIFLayer, MyOwn])
@pytest.mark.parametrize("value", [0.2, 1.5, float("nan")])
def test_first_values_outside_the_range_are_refused(kind, value):
    refused(
        creating(lambda layer: nn.init.constant_(layer.alpha[2:4], value), kind),
        f"Mistaken.create_parameters() gives 'alpha' values from {value} to {value}, outside its "
        "range {:g} to {:g}".format(*kind.ranges["alpha"]),
    )


def test_ranges_of_unknown_parameters_are_refused():
    refused(
        creating(lambda layer: delattr(layer, "alpha"), MyOwn),
        "Mistaken.ranges names 'alpha', but create_parameters() makes no nn.Parameter of that name",
    )


def test_later_values_may_leave_the_range():
    layer, other = MyOwn(F, H), MyOwn(F, H)
    nn.init.constant_(layer.alpha, 7.0)
    other.load_state_dict(layer.state_dict())
    assert other(make_input()).output.any()


def gives(kind: type, **fields):
    """``coefficients`` of ``kind`` with other fields."""
    return lambda self: kind.coefficients(self)._replace(**fields)


ALL = {"beta": torch.rand(H), "a": torch.rand(H), "b": torch.rand(H)}
SOUND = {
    "plain": (Mine, Mine.coefficients),
    "adaptive": (Mine, gives(Mine, **ALL)),
    "one for all": (Mine, gives(Mine, **ALL | {"a": torch.rand(1), "beta": torch.rand(())})),
    "resonate": (MyResonate, MyResonate.coefficients),
    "gain is a float": (MyResonate, gives(MyResonate, gain=0.5)),
    "learning limits": (MyResonate, gives(MyResonate, reset=torch.rand(H), scale=torch.rand(H))),
    "own": (MyOwn, None),
}


@pytest.mark.parametrize("backend", ["auto", "naive"])
@pytest.mark.parametrize("case", SOUND)
def test_sound_neurons_are_accepted(case, backend):
    kind, coefficients = SOUND[case]
    layer = mistaken(kind, "coefficients", coefficients)(F, H, backend=backend)
    assert layer(make_input()).output.shape == (B, T, H)


def state(u: object, kind: type = AdaptiveState):
    """``initial_state`` that gives ``u`` and zeros."""
    return lambda self, current: kind(u, *[torch.zeros(B, H)] * (len(kind._fields) - 1))


def result(change):
    """``dynamics`` that returns other things than spikes and state."""
    return lambda *arguments: change(*MyOwn.dynamics(*arguments))


REAL = "a real tensor [5]"
MISTAKES = [  # neuron, method, what it is instead, message
    *(
        (
            kind, "coefficients",
            gives(kind, **({field: value} if kind is MyResonate else ALL | {field: value})),
            f"must give '{field}' as {wanted}, and gave {shown}",
        )
        for kind, field, value, wanted, shown in (
            (Mine, "a", 0.5, f"{REAL} or None", "a float"),
            (Mine, "alpha", None, REAL, "None"),
            (Mine, "alpha", torch.rand(F), REAL, "a float32 tensor [7]"),
            (Mine, "alpha", torch.rand(1, H), REAL, "a float32 tensor [1, 5]"),
            (Mine, "alpha", torch.ones(H) * 1j, REAL, "a complex64 tensor [5]"),
            (MyResonate, "A", torch.rand(H), "a complex tensor [5]", "a float32 tensor [5]"),
            (MyResonate, "reset", None, f"{REAL} or float or int", "None"),
            (MyResonate, "gain", None, f"{REAL} or float or int", "None"),
        )
    ),
    (Mine, "coefficients", lambda self: self.alpha,
     "must return AdaptiveCoefficients, and returned a float32 tensor [5]"),
    (Mine, "coefficients", lambda self: None,
     "must return AdaptiveCoefficients, and returned None"),
    (MyResonate, "coefficients", lambda self: AdaptiveCoefficients(self.b),
     "must return ResonateCoefficients, and returned a"),
    (Mine, "initial_state", lambda self, current: None,
     "must return AdaptiveState, and returned None"),
    (Mine, "initial_state", state(torch.zeros(B, H), ResonateState),
     "must return AdaptiveState, and returned"),
    (Mine, "initial_state", state(0.0), "must give 'u' as a real tensor [3, 5], and gave a float"),
    (Mine, "initial_state", state(torch.zeros(H, B)), "and gave a float32 tensor [5, 3]"),
    (MyResonate, "initial_state", state(torch.zeros(B, H), ResonateState),
     "'u' as a complex tensor [3, 5]"),
    (MyOwn, "dynamics", result(lambda spikes, state: (spikes.transpose(0, 1), state)),
     f"need be, and returned a float32 tensor [{T}, {B}, {H}]"),
    (MyOwn, "dynamics", result(lambda spikes, state: [spikes, state]), "two things, as a tuple"),
    (MyOwn, "dynamics", result(lambda spikes, state: (list(spikes.unbind(dim=1)), state)),
     f"spikes as one tensor [B, T, H] = [{B}, {T}, {H}], by torch.stack(spikes, dim=1) if need "
     "be, and returned a list"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "method", "function", "message"), MISTAKES)
def test_wrong_coefficients_states_and_spikes_are_refused(kind, method, function, message):
    refused(mistaken(kind, method, function), f"Mistaken.{method}() ", message)


def test_a_state_is_checked_whenever_it_is_handed_in():
    layer = Mine(F, H)
    layer(make_input())
    with pytest.raises(TypeError, match=r"or the state handed to the layer.* must give 'u'"):
        layer(make_input(), AdaptiveState(*[torch.zeros(B, H + 1)] * 3))


def test_overridden_recurrent_weights_are_used():
    class Mirrored(RecurrentMixin, Mine):
        def recurrent_weights(self):
            return self.V.weight + self.V.weight.T

    assert Mirrored(F, H)(make_input()).output.shape == (B, T, H)


@pytest.mark.parametrize(
    "bases", [(RecurrentMixin, AdaptiveLayer), (AdaptiveLayer, RecurrentMixin)]
)
def test_a_recurrent_neuron_with_parameters_in_one_class(bases):
    methods = {name: vars(Mine)[name] for name in ("create_parameters", "coefficients")}
    layer = type("Recurrent", bases, methods)(F, H)
    layer(make_input()).output.sum().backward()
    assert layer.V.weight.grad.any()


def test_a_recurrence_of_its_own_takes_no_recurrent_weights():
    class Own(SpikingLayer):
        create_parameters = Mine.create_parameters

    with pytest.raises(ValueError, match=r"Own has a recurrence of its own.*--recurrent none"):
        Own(F, H, recurrent="dense")
    with pytest.raises(ValueError, match="recurrent 'sparse' is not one of auto, none, dense"):
        Mine(F, H, recurrent="sparse")


def test_options_are_read_by_their_names():
    (layer,) = build_model(Config(), 4, 3).hidden_layers[:1]
    assert layer.extra_features == dataclasses.asdict(ModelConfig())
    assert layer.option("dt_min", 7.0) == ModelConfig().dt_min
    with pytest.raises(TypeError, match="SiLIFLayer asks for the option 'dt_mni', which is not"):
        layer.option("dt_mni", 7.0)
    assert Mine(F, H).option("dt_min", 7.0) == 7.0
