# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What every spiking network promises: counts, parameters, states, activity and errors."""

import itertools
import math

import pytest
import torch
from snn_cases import (
    RECURRENT,
    SIZES,
    B,
    F,
    T,
    all_neurons,
    make_input,
    make_layer,
    make_net,
    make_state,
)  # fmt: skip
from torch.nn import functional

from models.dynamics import AdaptiveState
from models.snns import ALIASES, LAYERS, SNN
from parsers.model_config import SNN_TYPES, ModelConfig
from parsers.options import options_of


@all_neurons
@pytest.mark.parametrize(("batch", "steps"), [(1, 5), (3, 1), (1, 1)])
def test_single_clips_and_single_steps(neuron, batch, steps):
    net = make_net(neuron).eval()
    output, _, _ = net(make_input((batch, steps, F)))
    assert output.shape == (batch, SIZES[-1])
    torch.testing.assert_close(output.sum(1), torch.full((batch,), float(steps)))


@all_neurons
def test_mixed_precision_reaches_no_further_than_the_currents(neuron):
    net = make_net(neuron)
    with torch.autocast("cpu", torch.bfloat16):
        activity = net.activity(make_input())
    assert activity.output.dtype == torch.float32
    assert all(layer.spikes.dtype == torch.float32 for layer in activity.layers)


# Checkpoints and counts


@pytest.mark.parametrize(
    ("neuron", "inputs", "hidden", "classes", "parameters", "states"),
    [
        ("LIF", 140, 512, 35, 354_921, 1024),
        ("ResonateFire", 140, 512, 35, 355_945, 2048),
        ("CSiLIF", 140, 512, 35, 357_993, 2048),
        ("adLIF", 140, 512, 35, 357_993, 2048),
        ("CadLIF", 140, 512, 35, 357_993, 2048),
        ("SiLIF", 140, 512, 35, 359_017, 2048),
        ("RLIF", 140, 512, 35, 879_209, 1024),
        ("RadLIF", 140, 512, 35, 882_281, 2048),
        ("CSiLIF", 140, 128, 20, 38_460, 512),
        ("SiLIF", 140, 128, 20, 38_716, 512),
        ("CSiLIF", 140, 512, 20, 350_268, 2048),
        ("SiLIF", 40, 512, 35, 307_817, 2048),
        ("SiLIF", 40, 1024, 35, 1_139_817, 4096),
    ],
)
def test_published_counts(neuron, inputs, hidden, classes, parameters, states):
    net = SNN((None, None, inputs), [hidden, hidden, classes], neuron)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == parameters
    assert net.nb_state_variables() == states


@all_neurons
def test_state_variables_count_both_directions_and_spiking_outputs(neuron):
    per_neuron = LAYERS[neuron].states_per_neuron
    both = make_net(neuron, bidirectional=True)
    assert both.nb_state_variables() == 2 * per_neuron * sum(SIZES[:-1])
    spiking = make_net(neuron, use_readout_layer=False)
    assert spiking.nb_state_variables() == per_neuron * sum(SIZES)


def test_the_command_line_knows_every_neuron():
    only_here, only_there = set(LAYERS) - set(SNN_TYPES), set(SNN_TYPES) - set(LAYERS)
    assert not only_here, "missing from SNN_TYPES in parsers/model_config.py"
    assert not only_there, "missing from LAYERS in models/snns.py"
    assert tuple(LAYERS) == SNN_TYPES
    assert options_of(ModelConfig)["model_type"].rules.aliases == ALIASES


# Parameters as they are used


BOUNDS = {
    "LIF": {"alpha": (math.exp(-1 / 5), math.exp(-1 / 25))},
    "adLIF": {
        "alpha": (math.exp(-1 / 5), math.exp(-1 / 25)),
        "beta": (math.exp(-1 / 30), math.exp(-1 / 120)),
        "a": (-1, 1),
        "b": (0, 2),
    },
    "CadLIF": {"alpha": (0.36, 0.96), "beta": (0.96, 0.99), "a": (0, 1), "b": (0, 2)},
    "SiLIF": {"a": (0, 1), "b": (0, 2)},
}
BOUNDS |= {"RLIF": BOUNDS["LIF"], "RadLIF": BOUNDS["adLIF"]}
bounded = pytest.mark.parametrize(
    ("neuron", "name"), [(neuron, name) for neuron in BOUNDS for name in BOUNDS[neuron]]
)


@bounded
def test_parameters_are_clamped_at_use_only(neuron, name):
    layer = make_layer(neuron)
    low, high = BOUNDS[neuron][name]
    parameter = getattr(layer, name)
    outside = torch.tensor([low - 1, low, high, high + 1, (low + high) / 2, low])
    parameter.data.copy_(outside)
    used = getattr(layer.coefficients(), name)
    expected = torch.tensor([low, low, high, high, (low + high) / 2, low])
    torch.testing.assert_close(used, expected, rtol=0, atol=0)
    assert torch.equal(parameter.data, outside)


def test_the_time_step_of_silif_learns_from_each_decay_by_itself():
    """The published sum of its gradient, to the last bit: a threshold makes a bit a spike."""
    layer = make_layer("SiLIF")
    weights = torch.rand(2, layer.hidden_size)

    def gradient(of_alpha, of_beta):
        coefficients = layer.coefficients()
        total = (coefficients.alpha * of_alpha + coefficients.beta * of_beta).sum()
        return torch.autograd.grad(total, layer.dt)[0]

    zeros = torch.zeros(2, layer.hidden_size)
    alone = gradient(weights[0], zeros[0]) + gradient(zeros[1], weights[1])
    assert torch.equal(gradient(*weights), alone)


def test_resonate_and_fire_always_decays():
    layer = make_layer("ResonateFire")
    layer.alpha_real.data[:3] = torch.tensor([0.5, -0.05, -3.0])
    used = layer.coefficients()
    assert used.A.real[:3].tolist() == pytest.approx([-0.1, -0.1, -3.0])
    assert torch.equal(used.A.imag, layer.alpha_im)
    assert used._replace(A=None) == (None, 1.0, 0.004, 1.0, False)


@pytest.mark.parametrize("neuron", RECURRENT)
def test_recurrent_weights_connect_from_row_to_column(neuron):
    layer = make_layer(neuron, threshold=0.5)
    H = layer.hidden_size
    zero = torch.zeros(1, H)
    spike = torch.zeros(1, H)
    spike[0, 2] = 1.0
    silent = torch.zeros(1, 1, F)
    state = layer(silent, AdaptiveState(zero, zero, spike)).state
    alpha, *adaptation = layer.coefficients()
    b = adaptation[-1] if neuron == "RadLIF" else torch.zeros(H)
    for j in range(H):
        weight = 0.0 if j == 2 else layer.V.weight[2, j].item()
        own = 1.0 if j == 2 else 0.0
        expected = -alpha[j] * own + (1 - alpha[j]) * (weight - b[j] * own)
        assert state.u[0, j].item() == pytest.approx(expected.item(), rel=1e-5)
    assert layer.V.weight.diagonal().any()


@pytest.mark.parametrize("neuron", [name for name in LAYERS if name != "BRF"])
def test_recurrent_weights_start_orthogonal(neuron):
    V = LAYERS[neuron](F, 20, recurrent="dense").V.weight
    torch.testing.assert_close(V @ V.T, torch.eye(20), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("plain", "named"), [("LIF", "RLIF"), ("adLIF", "RadLIF"), ("RLIF",) * 2])
def test_named_recurrent_neurons_are_plain_ones_with_recurrent_weights(plain, named):
    nets = make_net(plain, recurrent="dense"), make_net(named)
    states = [net.state_dict() for net in nets]
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(x, states[1][name]) for name, x in states[0].items())


@all_neurons
def test_recurrent_weights_are_alike_under_both_back_ends(neuron):
    """They learn, and a spiking readout has them too."""
    found = []
    for backend in ("naive", "auto"):
        net = make_net(neuron, recurrent="dense", readout="spike_count", backend=backend)
        torch.manual_seed(3)
        activity = net.activity(make_input())
        (activity.output.sum() + activity.firing_rates.sum()).backward()
        found.append([activity.output, *(layer.V.weight.grad for layer in net.snn)])
    assert float(activity.recurrent_sop) > 0
    for ours, reference in zip(*found, strict=True):
        assert reference.any()
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)


@all_neurons
def test_thresholds_learn(neuron, tmp_path):
    """Alike under both back ends, from where the fixed threshold stays; a value per neuron."""
    fixed, found = make_net(neuron, bidirectional=True), []
    for backend in ("naive", "auto"):
        net = make_net(neuron, bidirectional=True, learn_threshold=True, backend=backend)
        weights = {name: x.clone() for name, x in net.state_dict().items()}
        assert weights["snn.0.threshold"].shape == (SIZES[0],)
        torch.manual_seed(1)
        output, rates, _ = net(make_input())
        (output.square().sum() + rates.square().sum()).backward()
        gradients = [layer.threshold.grad for layer in net.hidden_layers]
        assert all(gradient.any() for gradient in gradients)
        found.append([output, rates, *gradients])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    torch.manual_seed(1)
    assert torch.equal(fixed(make_input())[0], found[1][0])
    with torch.no_grad():
        net.snn[0].threshold[0] = 7.0
    torch.save(net.state_dict(), tmp_path / "model.pth")
    net.load_state_dict(weights)
    net.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    assert net.snn[0].threshold[0] == 7


def test_a_threshold_may_be_a_tensor_or_a_parameter():
    values = torch.linspace(0.1, 0.2, SIZES[0])
    fixed = make_layer("SiLIF", threshold=values)
    assert torch.equal(fixed.state_dict()["threshold"], values)
    assert fixed.double().threshold.dtype == torch.float64
    shared = torch.nn.Parameter(torch.tensor(0.15))
    net = make_net("RadLIF", threshold=shared)
    net(make_input())[0].square().sum().backward()
    assert shared.grad != 0
    assert sum(parameter is shared for parameter in net.parameters()) == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threshold": torch.ones(3)}, ValueError, r"or \[6\], got a float32 tensor \[3\]"),
        ({"threshold": torch.ones(6).requires_grad_()}, TypeError, "must be an nn.Parameter"),
        ({"surrogate_width": torch.nn.Parameter(torch.ones(()))}, ValueError, "cannot learn"),
    ],
)
def test_what_cannot_learn_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        make_net("LIF", **options)


# Initial states


@all_neurons
def test_random_states_are_uniform(neuron):
    layer = make_layer(neuron)
    for field in make_state(layer, batch=2000):
        parts = torch.view_as_real(field).unbind(-1) if field.is_complex() else [field]
        for part in parts:
            assert part.shape == (2000, layer.hidden_size)
            if part.any():  # the w of a neuron without adaptation is 0
                assert 0 <= part.min() < 0.01
                assert 0.99 < part.max() < 1
    assert make_state(layer).s.unique().numel() > 2
    assert not torch.equal(*(layer(make_input()).state.u for _ in range(2)))  # drawn in each pass


@all_neurons
def test_zero_initial_states_draw_nothing(neuron):
    net = make_net(neuron, init_state="zero").eval()
    assert not any(field.any() for field in make_state(net.snn[0]))
    before = torch.get_rng_state()
    first, second = net(make_input())[0], net(make_input())[0]
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@all_neurons
@pytest.mark.parametrize("cut", [1, 4, T - 1])
def test_two_halves_with_the_carried_state_make_the_whole(neuron, cut):
    layer = make_layer(neuron)
    x, state = make_input(), make_state(layer)
    whole = layer(x, state)
    early = layer(x[:, :cut], state)
    late = layer(x[:, cut:], early.state)
    assert whole.spikes.any()
    assert torch.equal(torch.cat([early.output, late.output], dim=1), whole.output)
    for ours, expected in zip(late.state, whole.state, strict=True):
        assert torch.equal(ours, expected)


# Both directions


@all_neurons
def test_the_second_half_of_a_bidirectional_layer_hears_time_backwards(neuron):
    layer = make_layer(neuron, bidirectional=True)
    one_way = make_layer(neuron)
    one_way.load_state_dict(layer.state_dict())
    x, state = make_input(), make_state(layer, 2 * B)
    assert layer.output_size == 2 * one_way.output_size
    result = layer(x, state)
    forward = one_way(x, type(state)(*(field[:B] for field in state)))
    backward = one_way(x.flip(1), type(state)(*(field[B:] for field in state)))
    assert torch.equal(result.output[..., : SIZES[0]], forward.output)
    assert torch.equal(result.output[..., SIZES[0] :], backward.output.flip(1))
    assert torch.equal(result.spikes, torch.cat([forward.spikes, backward.spikes]))
    assert not torch.equal(forward.output, backward.output)


@all_neurons
def test_dropout_follows_the_concatenation(neuron):
    layer = make_layer(neuron, bidirectional=True, dropout=0.5)
    x, state = make_input(), make_state(layer, 2 * B)
    joined = layer(x, state).output
    layer.train()
    torch.manual_seed(4)
    dropped = layer(x, state).output
    torch.manual_seed(4)
    assert torch.equal(dropped, functional.dropout(joined, 0.5))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}


# Activity


@all_neurons
@pytest.mark.parametrize(
    ("bidirectional", "dropout", "training"),
    [(False, 0.4, True), (True, 0.4, False), (True, 0.0, True)],
)
def test_activity_counted_spike_by_spike(neuron, bidirectional, dropout, training):
    net = make_net(neuron, bidirectional=bidirectional, dropout=dropout).train(training)
    seen = []
    for layer in net.snn:
        layer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x = make_input() * torch.tensor([1.0, 0.5, 0.1, 0.9, 0.95, 2.0, 0.0])
    _, rates, sop = net(x)

    expected = [
        sum(1.0 if v > 0.9 else v for v in x[:, :, f].flatten().tolist()) / (B * T)
        for f in range(F)
    ]
    for events in seen[1:]:
        for unit in range(events.shape[2]):
            spikes = sum(v != 0 for v in events[:, :, unit].flatten().tolist())
            expected.append(spikes / (B * T))
    assert rates.tolist() == pytest.approx(expected, abs=1e-6)
    assert max(expected[F:]) > 0

    operations = 0
    for events, layer in zip(seen, net.snn, strict=True):
        operations += sum(v != 0 for v in events.flatten().tolist()) * layer.hidden_size / B
    assert sop.item() == pytest.approx(operations, rel=1e-6)


@all_neurons
@pytest.mark.parametrize("kind", ["auto", "none", "dense"])
def test_recurrent_operations_are_counted_apart(neuron, kind):
    net = make_net(neuron, dropout=0.5, bidirectional=True, recurrent=kind)
    activity = net.activity(make_input())
    expected = 0
    for result in activity.layers:
        H = result.spikes.shape[2]
        for n, t, i in itertools.product(range(2 * B), range(T - 1), range(H)):
            # What fires at t reaches every other neuron at t + 1, itself in some layers.
            itself = LAYERS[neuron].self_connections
            expected += sum(result.spikes[n, t, i].item() for j in range(H) if itself or j != i) / B
    assert expected > 0
    recurrent = kind == "dense" or (kind == "auto" and LAYERS[neuron].recurrent)
    assert activity.recurrent_sop.item() == pytest.approx(expected if recurrent else 0)


@all_neurons
def test_the_rate_regulariser_reaches_the_weights(neuron):
    net = make_net(neuron, dropout=0.2)
    _, rates, sop = net(make_input())
    hidden = rates[F:]
    loss = functional.relu(0.5 - hidden).sum() + functional.relu(hidden - 0.6).sum()
    loss.backward()
    for layer in net.hidden_layers:
        assert layer.W.weight.grad.any()
    assert not sop.requires_grad


# Errors


def test_an_unknown_initial_state_lists_the_choices():
    with pytest.raises(ValueError, match="'mine' is not one of rand, zero"):
        make_net("LIF", init_state="mine")


def test_misspelt_extra_features_are_refused():
    for neuron in ("CSiLIF", "LIF"):
        make_net(neuron, extra_features={"dt_min": 0.1})
        with pytest.raises(TypeError, match=r"no neuron asks for 'dtmin' .*did you mean 'dt_min'"):
            make_net(neuron, extra_features={"dtmin": 0.1})


@pytest.mark.parametrize("name", ["dt_min", "dt_max"])
@pytest.mark.parametrize("step", [0, -0.1, float("nan"), float("inf")])
def test_impossible_time_steps_are_refused(name, step):
    with pytest.raises(ValueError, match=f"{name} must be a positive number"):
        make_net("CSiLIF", extra_features={name: step})
