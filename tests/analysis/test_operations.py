# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Operations and energy, against counting by hand and against the operations PyTorch runs."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from analysis.operations import OperationCounter, energy_nj, update_operations
from models.anns import ANN
from models.anns import LAYERS as ANN_LAYERS
from models.snns import LAYERS, SNN
from models.ssms import SSM

T, F, H, C = 9, 7, 6, 4


class Multiplications(TorchDispatchMode):
    """Counts the real multiplications of element-wise products, complex ones by their parts."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func._schema.name == "aten::mul":
            factors = [isinstance(x, torch.Tensor) and x.is_complex() for x in args]
            self.count += {0: 1, 1: 2, 2: 4}[sum(factors)] * result.numel()
        return result


@pytest.mark.parametrize("neuron", LAYERS)
def test_multiplications_of_a_neuron_are_those_of_its_recurrence(neuron):
    layer = LAYERS[neuron](F, 1, normalization="none", backend="naive").eval()
    if not any(update_operations(layer)):
        pytest.skip("the updates of a recurrence of its own are not counted")
    current = torch.rand(1, 1, 1)
    counts = []
    with torch.no_grad():
        for steps in (1, 2):  # the difference leaves out what is done once
            state = layer.initial_state(current)
            with Multiplications() as seen:
                layer.dynamics(current.expand(1, steps, 1), state)
            counts.append(seen.count)
    # A product with a spike only adds: b s, and the reset of complex neurons. One takes u to 0.
    resets = neuron in ("CSiLIF", "ResonateFire", "LIFNode", "SEadLIF", "EFadLIF")
    spikes = resets + (neuron not in ("CSiLIF", "ResonateFire") and layer.states_per_neuron == 2)
    # The factor of u at the threshold; real times real.
    threshold = int(neuron in ("CSiLIF", "ResonateFire"))
    _, mac = update_operations(layer)
    assert counts[1] - counts[0] - spikes - threshold == mac


def network(neuron="SiLIF", **options):
    torch.manual_seed(0)
    return SNN((2, T, F), [H, 5, C], neuron, threshold=0.1, **options).eval()


def counted(model, *inputs):
    counter = OperationCounter(model)
    with torch.no_grad():
        for x in inputs:
            counter.add(x, model.activity(x) if model.is_snn else None)
    return counter.per_clip()


def test_operations_are_those_counted_by_hand():
    model = network(normalization="none")
    x = torch.zeros(2, T, F)
    x[0, 0, :3] = 1
    x[1, 4, 2] = 5
    x[1, 5, 2] = 0.5
    first, second, last = counted(model, x)
    assert first.sop == (3 + 2) * H / 2
    assert first.ac == 3 * H / 2
    assert first.mac == 2 * H / 2
    assert first.dense_mac == T * F * H
    assert second.dense_mac == T * H * 5
    assert last.dense_mac == T * 5 * C
    assert first.update_mac == T * H * 4
    assert first.update_ac == T * H * 3
    assert last.update_mac == T * C * 2
    assert second.mac == last.mac == 0
    assert first.connections_nj == pytest.approx((9 * 0.9 + 6 * 4.6) / 1000)
    assert energy_nj(1000, 1000) == pytest.approx(5.5)


@pytest.mark.parametrize("taps", [5, 2 * T + 1])
@pytest.mark.parametrize("kind", ["axonal", "dendritic", "synaptic"])
def test_operations_that_delays_push_out_of_the_clip_are_not_made(kind, taps):
    """Those that are made: the steps and neurons at which a weight of 1 adds to a current."""
    model = network("LIF", normalization="none", delay=kind, delay_taps=taps, delay_layers=[1])
    layer = model.snn[0]
    with torch.no_grad():
        layer.W.weight.fill_(1)
    x = torch.poisson(torch.full((2, T, F), 0.3)).clamp(max=1)
    with torch.no_grad():
        made = float(layer.delay(x, layer.W).sum()) / 2
    first = counted(model, x)[0]
    assert (first.sop, first.ac, first.mac) == (made, made, 0)
    assert 0 < made < float(x.sum()) * H / 2
    lines = {"axonal": F, "dendritic": H, "synaptic": F}[kind]
    plain = network("LIF", normalization="none")
    assert model.nb_state_variables() - plain.nb_state_variables() == (taps - 1) * lines


@pytest.mark.parametrize(
    ("neuron", "delay"),
    [
        *((name, "none") for name in LAYERS),
        ("SiLIF", "axonal"),
        ("LIF", "dendritic"),
        ("adLIF", "synaptic"),
    ],
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_add_up_to_the_activity(neuron, delay, bidirectional):
    model = network(neuron, bidirectional=bidirectional, delay=delay, delay_taps=5)
    x = torch.poisson(torch.full((3, T, F), 1.5))
    with torch.no_grad():
        counter, activity = OperationCounter(model), model.activity(x)
        counter.add(x, activity)
    layers = counter.per_clip()
    assert sum(o.sop for o in layers) == pytest.approx(float(activity.sop))
    assert sum(o.recurrent_sop for o in layers) == pytest.approx(float(activity.recurrent_sop))
    directions = 2 if bidirectional else 1
    everything = sum(o.ac + o.mac for o in layers)
    if delay != "none" and bidirectional:  # another number is pushed out of its other end
        return
    sop = [o.sop * directions for o in layers[:-1]] + [layers[-1].sop]
    assert everything == pytest.approx(sum(sop) + float(activity.recurrent_sop))


def test_batches_of_different_sizes_weigh_by_their_clips():
    model = network("LIF", init_state="zero")
    x = torch.poisson(torch.full((5, T, F), 1.5))
    once, twice = counted(model, x), counted(model, x[:4], x[4:])
    assert [vars(o) for o in once] == [pytest.approx(vars(o)) for o in twice]


@pytest.mark.parametrize(("normalization", "extra"), [("batchnorm", (1, 0)), ("layernorm", (2, 3))])
def test_normalisation_is_counted(normalization, extra):
    with_norm = update_operations(network(normalization=normalization).snn[0])
    without = update_operations(network(normalization="none").snn[0])
    assert tuple(a - b for a, b in zip(with_norm, without, strict=True)) == extra
    biased = update_operations(network(normalization="none", use_bias=True).snn[0])
    assert biased == (without[0] + 1, without[1])


@pytest.mark.parametrize("name", ANN_LAYERS)
def test_networks_without_spikes_use_every_weight(name):
    model = ANN((2, T, F), [H, C], name, normalization="none").eval()
    hidden, last = counted(model, torch.rand(2, T, F))
    gates = {"MLP": 1, "RNN": 1, "LiGRU": 2, "GRU": 3}[name]
    recurrent = 0 if name == "MLP" else H * H
    assert hidden.mac == hidden.dense_mac == T * gates * (F * H + recurrent)
    assert last.mac == H * C
    assert hidden.sop == hidden.ac == hidden.update_mac == 0


def state_space(name, **options):
    torch.manual_seed(0)
    features = {"extra_features": {"state_size": 4}, "threshold": 0.1}
    return SSM((2, T, F), [H, H, C], name, **features, **options).eval()


@pytest.mark.parametrize("name", ["S4D", "SpikingS4D"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_state_space_models_are_counted_as_recurrences(name, bidirectional):
    model, ways = state_space(name, bidirectional=bidirectional), 1 + bidirectional
    x = torch.zeros(2, T, F)
    x[0, 0, :3] = 1
    x[1, 4, 2] = 5
    first, second, last = counted(model, x)
    # Two complex modes: 4 products of the decay and 2 of C each; D, GLU. Two biases, norm, sum.
    assert first.update_mac == second.update_mac == ways * T * H * (2 * 4 + 2 * 2 + 1 + 1)
    assert first.update_ac == ways * T * H * 4
    assert last.update_ac == ways * T * H
    assert last.mac == last.dense_mac == ways * H * C
    again = ways * T * ways * H * H * bidirectional  # the encoder of a second layer of 2 H inputs
    dense = [ways * T * (F * H + 2 * H * H), ways * T * 2 * H * H + again]
    assert [first.dense_mac, second.dense_mac] == dense
    states = first.update_mac + second.update_mac
    if name == "S4D":
        assert [first.mac, second.mac] == dense
        assert (first.ac, first.sop) == (0, 0)
        assert model.macs(T) == sum(dense) + states + last.mac
        return
    activity = model.activity(x)
    spikes = [int(layer.spikes.sum()) * 2 * H / 2 for layer in activity.layers]
    assert 0 < spikes[0] < dense[0]
    assert [first.ac, second.ac] == [spikes[0] + ways * 3 * H / 2, spikes[1]]
    assert [first.mac, second.mac] == [ways * H / 2, again]
    assert first.sop + second.sop == float(activity.sop) == sum(spikes) + 4 * H / 2
    assert model.macs(T) == again + states + last.mac
    assert sum(o.recurrent_sop for o in (first, second, last)) == 0


def test_mamba_is_counted_by_its_matrices_and_states():
    model = state_space("Mamba")
    first, second, last = counted(model, torch.rand(2, T, F))
    rank, states = math.ceil(H / 16), 4
    matrices = 2 * H * H + H * (rank + 2 * states) + rank * H + H * H
    assert [first.mac, second.mac] == [T * (F * H + matrices), T * matrices]
    # delta A, a h, delta u B and C h; four taps; delta u, D u, two SiLU and the gate.
    assert first.update_mac == second.update_mac == T * H * (4 * states + 4 + 5)
    assert first.update_ac == T * H * 4
    total = first.mac + second.mac + first.update_mac + second.update_mac + last.mac
    assert model.macs(T) == total


def test_layernorm_of_a_state_space_model_is_counted():
    normed, plain = (
        update_operations(state_space("S4D", normalization=kind).snn[0])
        for kind in ("layernorm", "none")
    )
    assert tuple(a - b for a, b in zip(normed, plain, strict=True)) == (2, 3)
