# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Streams: chunks of any size give what clips give, to the last bit."""

import pytest
import torch
from snn_cases import SIZES, B, F, T, all_neurons, make_input, make_net
from torch import Tensor
from torch.nn.utils import prune

from models.linear import set_precision
from models.readouts import READOUTS
from models.shell import SpikingLayer
from models.snns import LAYERS
from models.streaming import Stream, fold_batchnorm

STEPS = 23
DELAYED = {"recurrent": "dense", "recurrent_delay": "axonal", "recurrent_dropout": 0.3}
OPTIONS = {
    "plain": {"use_bias": True, "dropout": 0.2, "learn_threshold": True},
    "recurrent": {"recurrent": "dense", "recurrent_layers": [2]},
    "recurrent delays": DELAYED | {"extra_features": {"recurrent_sigma": 2.0}},
    "axonal": {"delay": "axonal", "delay_taps": 9},
    "dendritic": {"delay": "dendritic", "delay_taps": 9, "use_bias": True},
    "synaptic": {"delay": "synaptic", "delay_taps": 9, "use_bias": True},
    "synaptic, plain PyTorch": DELAYED | {
        "delay": "synaptic", "delay_taps": 5, "delay_layers": [1], "backend": "naive"
    },
    "layernorm": {"normalization": "layernorm", "readout_normalization": "none"},
    "no readout": {"use_readout_layer": False, "normalization": "none"},
    "counted": {"readout": "spike_count", "delay": "synaptic", "delay_taps": 5},
    "tau": {"readout": "mean", "readout_start": 4, "readout_tau": 10.0, "readout_gain": 0.5},
}  # fmt: skip


def make_stream(neuron: str, **options):
    """A network in evaluation mode that batch normalisation has seen something."""
    net = make_net(neuron, **options)
    net(make_input((B, T, F), seed=2))
    return net.eval()


def leaves(state) -> list[Tensor]:
    if state is None or isinstance(state, Tensor):
        return [] if state is None else [state]
    return [leaf for part in state for leaf in leaves(part)]


def hear(net, x: Tensor, sizes: list[int], state=None):
    """What ``forward`` gives for chunks of these sizes, over and over; and the state at last."""
    if state is None:
        torch.manual_seed(3)
        state = net.initial_state(len(x))
    outputs, start = [], 0
    while start < x.shape[1]:
        for size in sizes:
            chunk = x[:, start : start + size]
            start += size
            if chunk.shape[1]:
                output, _, _, state = net(chunk, state)
                outputs.append(output)
    return (outputs[-1] if net.use_readout_layer else torch.cat(outputs, dim=1)), state


def check_chunks(net, x: Tensor, sizes: list[int]):
    whole, end = hear(net, x, [x.shape[1]])
    chunked, last = hear(net, x, sizes)
    assert torch.equal(chunked, whole)
    assert all(map(torch.equal, leaves(last), leaves(end)))
    return whole


def check_clips(net, x: Tensor, whole: Tensor):
    """A pass without a state gives the ``whole`` to the last bit, in plain PyTorch but for
    rounding."""
    torch.manual_seed(3)
    fresh = net(x)[0]
    if net.layers[0].backend == "naive":
        torch.testing.assert_close(fresh, whole, rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(fresh, whole)


OF_THE_RECURRENCE = ("plain", "recurrent", "recurrent delays")  # the others are around it
CASES = [
    (neuron, name)
    for name in OPTIONS
    for neuron in (LAYERS if name in OF_THE_RECURRENCE else ("SiLIF", "ResonateFire", "BRF"))
]


@pytest.mark.parametrize(("neuron", "name"), CASES)
def test_chunks_give_what_the_whole_gives(neuron, name):
    net, x = make_stream(neuron, **OPTIONS[name]), make_input((B, STEPS, F))
    with torch.no_grad():
        whole = check_chunks(net, x, [1, 5, 2])
        check_clips(net, x, whole)
    assert whole.any()
    torch.manual_seed(3)
    assert torch.equal(Stream(net, B).step(x[:, 0]), net.step(x[:, 0], first_state(net))[0])


def first_state(net, batch: int = B):
    torch.manual_seed(3)
    return net.initial_state(batch)


@pytest.mark.parametrize("batch", [1, 9])
@pytest.mark.parametrize("name", ["plain", "synaptic", "recurrent", "recurrent delays"])
def test_chunks_of_wide_networks(name, batch):
    """Where matrix products of other numbers of rows do round in another way."""
    net = make_net("SiLIF", sizes=[200, 136, 20], shape=(None, None, 140), **OPTIONS[name])
    x = make_input((batch, 40, 140)) * (make_input((batch, 40, 140), seed=4) > 2)
    net(x)
    with torch.no_grad():
        check_chunks(net.eval(), x, [1])
        check_clips(net, x, check_chunks(net, x, [7, 16, 1]))


def test_clips_of_wide_networks_with_recurrent_weights_and_gradients():
    """In training so many neurons, few of whose spike, go through V clip by clip."""
    net = make_net("RadLIF", sizes=[128, 20], shape=(None, None, 140))
    x = make_input((16, 40, 140)) * (make_input((16, 40, 140), seed=4) > 1)
    net(x)
    check_clips(net.eval(), x, check_chunks(net, x, [19, 1]))


def test_a_clip_comes_out_alike_whatever_is_heard_beside_it():
    net = make_net("SiLIF", sizes=[200, 136, 20], shape=(None, None, 40), init_state="zero")
    x = make_input((40, 25, 40))
    net(x)
    with torch.no_grad():
        scores = net.eval()(x)[0]
        for n in (1, 5, 17):
            assert torch.equal(net(x[:n])[0], scores[:n])


@pytest.mark.parametrize("name", ["plain", "synaptic, plain PyTorch", "dendritic"])
def test_chunks_with_gradients_in_double_precision_and_in_half(name):
    net, x = make_stream("RadLIF", **OPTIONS[name]), make_input((B, STEPS, F))
    whole = check_chunks(net, x, [4, 1])
    check_clips(net, x, whole)
    whole.sum().backward()
    assert net.snn[0].W.weight.grad.any()
    check_chunks(net.double(), x.double(), [3, 2])
    set_precision(net.float(), "bf16")
    check_chunks(net, x, [3, 2])


@pytest.mark.parametrize("start", [0, 3, 100])
@pytest.mark.parametrize("name", READOUTS)
def test_every_readout_goes_on(name, start):
    start = 0 if READOUTS[name].of_spikes else start
    net, x = make_stream("LIF", readout=name, readout_start=start), make_input((B, STEPS, F))
    with torch.no_grad():
        for end in (1, 3, 4, STEPS):
            check_clips(net, x[:, :end], check_chunks(net, x[:, :end], [1]))


@all_neurons
@pytest.mark.parametrize("name", ["recurrent", "tau"])
def test_a_stream_says_what_steps_say(neuron, name):
    net, x = make_stream(neuron, **OPTIONS[name]), make_input((B, 8, F))
    torch.manual_seed(3)
    stream, state, start = Stream(net, B), first_state(net), []
    for x_t in x.unbind(dim=1):
        expected, state = net.step(x_t, state)
        start.append(stream.step(x_t))
        assert torch.equal(start[-1], expected)
    torch.manual_seed(3)
    stream.reset()
    assert torch.equal(stream.step(x[:, 0]), start[0])
    with pytest.raises(ValueError, match="a step of this stream is of 3 inputs, got 1"):
        stream.step(x[:1, 0])


def test_a_stream_of_a_pruned_network():
    """Whose weights are made at each call."""
    net, x = make_stream("SiLIF"), make_input((B, 5, F))
    prune.random_unstructured(net.snn[0].W, "weight", 0.5)
    with torch.no_grad():
        prune.random_unstructured(net.snn[0].W, "weight", 0.5)
    check_chunks(net, x, [2])
    torch.manual_seed(3)
    stream = Stream(net, B)
    said = [stream.step(x_t) for x_t in x.unbind(dim=1)]
    assert torch.equal(said[-1], hear(net, x, [5])[0])


class OwnLayer(SpikingLayer):
    """A neuron of a user's own, without a compiled recurrence."""

    def create_parameters(self):
        pass

    def initial_state(self, current):
        return (self.draw(current),)

    def dynamics(self, current, state):
        (u,), spikes = state, []
        for I_t in current.unbind(dim=1):
            u = 0.8 * u + I_t
            spikes.append(self.spike(u - 1))
        return torch.stack(spikes, dim=1), (u,)


def test_a_neuron_of_ones_own(monkeypatch):
    monkeypatch.setitem(LAYERS, "Own", OwnLayer)
    net, x = make_stream("Own"), make_input((B, STEPS, F))
    whole = check_chunks(net, x, [1, 3])
    torch.manual_seed(3)
    stream = Stream(net, B)
    assert torch.equal([stream.step(x_t) for x_t in x.unbind(dim=1)][-1], whole)


@pytest.mark.parametrize("name", ["plain", "recurrent delays", "axonal", "synaptic", "counted"])
def test_operations_and_rates_of_chunks_add_up(name):
    net, x = make_stream("RadLIF", **OPTIONS[name]), make_input((B, 6, F))
    with torch.no_grad():
        state = first_state(net)
        whole = net.activity(x, state)
        parts = []
        for chunk in x.split(2, dim=1):
            parts.append(net.activity(chunk, state))
            state = parts[-1].state
        longer = torch.cat([x, x.new_zeros(B, 100, F)], dim=1)
        torch.manual_seed(3)
        fresh = net.activity(longer)  # in which all of the input arrives
    for figure in ("sop", "recurrent_sop"):
        total = sum(getattr(part, figure) for part in parts)
        torch.testing.assert_close(total, getattr(whole, figure))
    rates = torch.stack([part.firing_rates for part in parts]).mean(dim=0)
    torch.testing.assert_close(rates, whole.firing_rates)
    spikes = [layer.spikes[:, :6] for layer in fresh.layers]
    for found, expected in zip(whole.layers, spikes, strict=True):
        assert torch.equal(found.spikes, expected)
    first = x.count_nonzero() * net.snn[0].hidden_size
    hidden = [s.count_nonzero() * n for s, n in zip(spikes, SIZES[1:], strict=False)]
    torch.testing.assert_close(whole.sop * B, (first + sum(hidden)).float())


def test_inputs_of_two_dimensions_a_step():
    net, x = make_net("LIF", shape=(None, None, 4, 2)).eval(), make_input((B, 5, 4, 2))
    whole = check_chunks(net, x, [2])
    state = first_state(net)
    for x_t in x.unbind(dim=1):
        scores, state = net.step(x_t, state)
    assert torch.equal(scores, whole)


def test_what_is_no_stream_is_refused():
    x = make_input()
    net = make_net("LIF")
    with pytest.raises(ValueError, match=r"takes chunks in evaluation mode, eval\(\)"):
        net.initial_state(B)
    state = net.eval().initial_state(B)
    with pytest.raises(ValueError, match="evaluation mode"):
        net.train()(x, state)
    with pytest.raises(TypeError, match=r"initial_state\(batch_size\).*got tuple"):
        net.eval()(x, (state,))
    with pytest.raises(
        TypeError, match=r"'u' as a real tensor \[3, 6\], and gave a float32 tensor \[2, 6\]"
    ):
        net(x, net.initial_state(2))
    with pytest.raises(ValueError, match="bidirectional network hears clips from their end"):
        make_net("LIF", bidirectional=True).eval().initial_state(B)


@all_neurons
@pytest.mark.parametrize("name", ["plain", "dendritic"])
def test_batch_normalisation_is_folded_into_weights(neuron, name):
    net, x = make_stream(neuron, **OPTIONS[name]), make_input((B, STEPS, F))
    folded = fold_batchnorm(net)
    assert not any(isinstance(m, torch.nn.BatchNorm1d) for m in folded.modules())
    assert not folded.training
    found, expected = (hear(n, x, [STEPS])[0] for n in (folded, net))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert any(isinstance(m, torch.nn.BatchNorm1d) for m in net.modules())


def test_a_network_of_another_copy_of_the_code_is_refused_as_one():
    with pytest.raises(TypeError, match="Linear is no network of"):
        fold_batchnorm(torch.nn.Linear(3, 3))


def test_weights_that_calls_make_take_no_batch_normalisation():
    net = make_stream("LIF")
    prune.random_unstructured(net.snn[1].W, "weight", 0.5)
    with pytest.raises(TypeError, match="layer 2 are made at each call"):
        fold_batchnorm(net)
