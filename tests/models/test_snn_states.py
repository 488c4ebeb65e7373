# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How spiking networks run: initial states, both directions and activity."""

import itertools

import pytest
import torch
from snn_cases import SIZES, B, F, T, all_neurons, make_input, make_layer, make_net, make_state
from torch.nn import functional

from models.snns import LAYERS

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
def test_recurrent_operations_are_counted_apart(neuron):
    net = make_net(neuron, dropout=0.5, bidirectional=True)
    activity = net.activity(make_input())
    expected = 0
    for result in activity.layers:
        H = result.spikes.shape[2]
        for n, t, i in itertools.product(range(2 * B), range(T - 1), range(H)):
            # What fires at t reaches every other neuron at t + 1.
            expected += sum(result.spikes[n, t, i].item() for j in range(H) if j != i) / B
    assert expected > 0
    recurrent = LAYERS[neuron].recurrent
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
