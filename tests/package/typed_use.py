# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a user writes with the public names; pyright checks it, strictly."""

from pathlib import Path
from typing import Any, assert_type

from torch import Tensor, nn

import sprache
from sprache.dynamics import (
    AdaptiveState,
    BalancedState,
    ResonateState,
    adaptive,
    balanced,
    describe,
    resetting,
    resonate,
)
from sprache.layers import (
    LAYERS,
    READOUTS,
    AdaptiveCoefficients,
    AdaptiveLayer,
    ANNReadoutLayer,
    BRFLayer,
    CadLIFLayer,
    CSiLIFLayer,
    EFadLIFLayer,
    LayerOutput,
    LIFLayer,
    LIFNodeLayer,
    ParameterGroup,
    RadLIFLayer,
    ReadoutLayer,
    RecurrentMixin,
    ResonateCoefficients,
    ResonateFireLayer,
    ResonateLayer,
    RLIFLayer,
    SEadLIFLayer,
    SiLIFLayer,
    Spiking,
    SpikingLayer,
    adLIFLayer,
    uniform,
)


def networks(x: Tensor) -> None:
    """Networks, their output, and what is inside."""
    shape = (None, None, 140)
    net = sprache.SNN(shape, [64, 64, 20], ["SiLIF", "LIF"], dropout=0.1)
    scores, firing_rates, operations = net.forward(x)
    assert_type(scores, Tensor)
    assert_type(firing_rates, Tensor)
    assert_type(operations, Tensor)
    activity = net.activity(x)
    assert_type(activity, sprache.Activity)
    *_, state = net.forward(x, net.initial_state(len(x)))
    assert_type(net.step(x[:, 0], state), tuple[Tensor, sprache.NetworkState])
    assert_type(activity.layers[0].spikes, Tensor)
    assert_type(activity.potentials, Tensor | None)
    assert_type(net.hidden_layers, list[SpikingLayer])
    assert_type(net.parameter_groups(weight_decay=0.01), list[dict[str, Any]])
    net.clamp_parameters()
    assert_type(sprache.ANN(shape, [64, 20], "gru").forward(x)[0], Tensor)
    assert_type(sprache.SSM(shape, [64, 20], "s4d").forward(x)[0], Tensor)
    assert_type(describe(net), str)


def trained(folder: Path) -> list[str]:
    """Trained networks, data and runs."""
    net = sprache.load(folder)
    assert_type(net, sprache.Network)
    net.classes = ["yes", "no"]
    data = sprache.load_data(["test"], dataset_name="demo", nb_steps=100)
    assert_type(data.nb_features, int)
    try:
        assert_type(sprache.run(["--config=demo.yaml"]), int)
    except sprache.UserError as error:
        print(error)
    return data.classes


def layers(x: Tensor) -> nn.Module:
    """Layers in networks of other kinds."""
    layer = Spiking("silif", 140, 64, channels_first=False, threshold=0.9)
    assert_type(layer.forward(x), Tensor)
    assert_type(layer.output_size, int)
    result = SiLIFLayer(140, 64).forward(x)
    assert_type(result, LayerOutput)
    assert_type(result.output, Tensor)
    assert_type(ReadoutLayer(64, 20).forward(x), Tensor)
    assert_type(ANNReadoutLayer(64, 20).forward(x), Tensor)
    assert_type(LAYERS["SiLIF"], type[SpikingLayer])
    assert_type(READOUTS["mean"].scores(x), Tensor)
    kinds: list[type[SpikingLayer]] = [
        *(LIFLayer, RLIFLayer, adLIFLayer, RadLIFLayer, CadLIFLayer, ResonateFireLayer),
        *(SiLIFLayer, CSiLIFLayer, LIFNodeLayer, SEadLIFLayer, EFadLIFLayer, BRFLayer),
        *(AdaptiveLayer, ResonateLayer),
    ]
    return nn.Sequential(*(Spiking(kind, 64, 64) for kind in kinds), layer)


class OwnLayer(RecurrentMixin, AdaptiveLayer):
    """A neuron of one's own."""

    groups = {"alpha": ParameterGroup(clamp=(0.0, 0.99))}  # noqa: RUF012

    def create_parameters(self) -> None:
        self.alpha = uniform(self.hidden_size, (0.5, 0.9))

    def coefficients(self) -> AdaptiveCoefficients:
        return AdaptiveCoefficients(self.alpha)


def recurrences(current: Tensor, u: Tensor, A: Tensor) -> None:
    """The recurrences by themselves."""
    state = AdaptiveState(u, u, u)
    spikes, state = adaptive(current, 0.9 * u[0], theta=1.0, state=state, backend="naive")
    assert_type(spikes, Tensor)
    assert_type(state, AdaptiveState)
    assert_type(resetting(current, u[0], theta=1.0, state=state)[0], Tensor)
    coefficients = ResonateCoefficients(A, 1.0, 1.0, 1.0, False)
    resonant = ResonateState(A.expand_as(u), u)
    assert_type(
        resonate(current, **coefficients._asdict(), theta=1.0, state=resonant)[1], ResonateState
    )
    balance = BalancedState(u, u, u, u)
    found = balanced(current, u[0], -u[0], step=0.01, decay=0.9, theta=1.0, state=balance)
    assert_type(found[1], BalancedState)
