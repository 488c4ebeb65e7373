# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Every readout, what else a spiking network can be asked for, and groups of parameters."""

import pytest
import torch
from snn_cases import SIZES, B, F, T, check_gradients, make_input, make_net

from models.anns import ANN, ANNLayer
from models.network import ParameterGroup
from models.readouts import READOUTS
from models.shell import SpikingLayer
from models.snns import LAYERS, SNN, LIFLayer, neuron_types
from models.surrogate import surrogate
from parsers.model_config import ModelConfig
from parsers.options import options_of

OF_POTENTIALS = [name for name, readout in READOUTS.items() if not readout.of_spikes]
BY_HAND = {
    "softmax_sum": lambda u: torch.stack([row.softmax(0) for row in u]).sum(0),
    "mean": lambda u: sum(u) / len(u),
    "sum": sum,
    "max": lambda u: torch.stack([max(column) for column in u.T]),
    "last": lambda u: u[-1],
}


def activity(net):
    """What the usual input does to a network from the usual initial states."""
    torch.manual_seed(3)
    return net.activity(make_input())


def test_the_command_line_knows_every_readout():
    assert options_of(ModelConfig)["readout"].rules.choices == tuple(READOUTS)


@pytest.mark.parametrize("name", OF_POTENTIALS)
def test_scores_are_made_of_the_potentials(name):
    kept = make_net("LIF", readout=name, keep_potentials=True).eval()
    found = activity(kept)
    assert found.potentials.shape == (B, T, SIZES[-1])
    expected = torch.stack([BY_HAND[name](u) for u in found.potentials])
    torch.testing.assert_close(found.output, expected)
    kept.keep_potentials = False
    assert torch.equal(activity(kept).output, found.output)
    assert activity(kept).potentials is None


@pytest.mark.parametrize("name", READOUTS)
def test_every_parameter_learns(name):
    net = make_net("RadLIF", readout=name)
    check_gradients(net, net(make_input())[0], "batchnorm")


@pytest.mark.parametrize("neuron", ["LIF", "RadLIF", "CSiLIF"])
def test_spikes_of_the_output_neurons_are_counted(neuron):
    net = make_net(neuron, readout="spike_count", dropout=0.4, bidirectional=True)
    output = net.snn[-1]
    assert type(output) is LAYERS[neuron]
    assert not output.bidirectional
    found = activity(net)
    spikes = found.layers[-1].spikes
    assert spikes.shape == (B, T, SIZES[-1])
    assert set(spikes.unique().tolist()) == {0, 1}  # dropout would make them 5/3
    assert torch.equal(found.output, spikes.sum(dim=1))
    hidden = 2 * sum(SIZES[:-1])
    assert found.firing_rates.shape == (F + hidden,)
    assert net.nb_state_variables() == output.states_per_neuron * (hidden + SIZES[-1])
    inputs = [make_input(), *(layer.output for layer in found.layers[:-1])]
    counted = zip(inputs, SIZES, strict=True)
    assert found.sop * B == sum(torch.count_nonzero(x) * size for x, size in counted)
    reached = [(x.spikes[:, :-1], x.spikes.shape[2] - 1) for x in found.layers]
    recurrent = [torch.count_nonzero(spikes) * others for spikes, others in reached]
    assert found.recurrent_sop * B == sum(recurrent) * output.recurrent
    assert [layer.hidden_size for layer in net.hidden_layers] == SIZES[:-1]


@pytest.mark.parametrize("name", OF_POTENTIALS[1:])
def test_networks_without_spikes_score_every_step(name):
    torch.manual_seed(0)
    net = ANN((B, T, F), SIZES, "RNN", readout=name)
    seen = []
    net.ann[-1].norm.register_forward_hook(lambda _m, _i, steps: seen.append(steps))
    output = net(make_input())[0]
    expected = [BY_HAND[name](steps) for steps in seen[0].view(B, T, -1)]
    torch.testing.assert_close(output, torch.stack(expected))
    check_gradients(net, output, "batchnorm")


REFUSED = {
    "unknown": (SNN, {"readout": "median"}, r"readout 'median' is not one of softmax_sum, mean"),
    "no potentials": (
        SNN,
        {"readout": "spike_count", "keep_potentials": True},
        "readout 'spike_count' has no potentials",
    ),
    "no spikes": (ANN, {"readout": "spike_count"}, "for spiking networks, not for MLP"),
    "surrogate": (SNN, {"surrogate": "step"}, "surrogate 'step' is not one of boxcar, "),
    "width": (SNN, {"surrogate_width": 0.0}, "width of a surrogate must be a positive number"),
    "few": (
        SNN,
        {"neuron_type": ["LIF", "SiLIF", "LIF"]},
        r"neuron_type LIF\+SiLIF\+LIF does not name 2 hidden layers",
    ),
    "part": (SNN, {"neuron_type": "LIF+GIF"}, "neuron_type 'GIF' is not one of LAYERS"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_options_are_refused(case):
    kind, options, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as error:
        kind((B, T, F), SIZES, **options)
    assert "\n" not in str(error.value)


# Layers of several kinds, and surrogates


@pytest.mark.parametrize("neuron_type", ["SiLIF+RadLIF", "silif+RADLIF", ["SiLIF", "radlif"]])
def test_each_layer_can_have_its_own_neuron(neuron_type):
    net = make_net(neuron_type, readout="spike_count")
    kinds = [type(layer).__name__ for layer in net.snn]
    assert kinds == ["SiLIFLayer", "RadLIFLayer", "RadLIFLayer"]
    assert net.neuron_type == "SiLIF+RadLIF"
    check_gradients(net, net(make_input())[0], "batchnorm")


def test_a_single_type_applies_to_all_layers():
    assert make_net(["rf"]).neuron_type == "ResonateFire"
    assert neuron_types("C-SiLIF", 3) == ["CSiLIF"] * 3
    assert make_net("LIF+lif").neuron_type == "LIF"


def test_mixed_layers_draw_what_each_kind_draws():
    mixed, plain = make_net("SiLIF+LIF"), make_net("SiLIF")
    for name, value in plain.snn[0].state_dict().items():
        assert torch.equal(mixed.snn[0].state_dict()[name], value)


@pytest.mark.parametrize("neuron", LAYERS)
def test_the_surrogate_reaches_every_layer(neuron):
    """And changes gradients, but no spike."""
    common = {"readout": "spike_count", "backend": "naive"}
    options = {"surrogate": "triangle", "surrogate_width": 2.0}
    nets = [make_net(neuron, **common), make_net(neuron, **common, **options)]
    found = [activity(net) for net in nets]
    assert all(layer.surrogate == surrogate("triangle", 2.0) for layer in nets[1].snn)
    assert torch.equal(found[0].output, found[1].output)
    for seen in found:
        seen.output.square().sum().backward()
    assert not torch.allclose(*(net.snn[0].W.weight.grad for net in nets))


@pytest.mark.parametrize("backend", ["naive", "cpu"])
@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("readout", OF_POTENTIALS)
def test_a_fixed_decay_and_a_late_start(readout, start, backend):
    """Against the equation, step by step in float64; clips that are too short count by the end."""
    options = {"readout_decay": 0.9, "readout_start": start, "readout_normalization": "none"}
    net = make_net("LIF", readout=readout, init_state="zero", backend=backend, **options)
    layer, x = net.snn[-1], torch.randn(B, T, SIZES[-2])
    assert "alpha" in layer.state_dict()
    assert [name for name, _ in layer.named_parameters()] == ["W.weight"]
    assert isinstance(net.snn[0].norm, torch.nn.BatchNorm1d)
    u, kept = torch.zeros(B, SIZES[-1], dtype=torch.float64), []
    for t in range(T):
        u = 0.9 * u + 0.1 * (x[:, t].double() @ layer.W.weight.double().T)
        kept.append(u)
    expected = torch.stack([BY_HAND[readout](late) for late in torch.stack(kept[start:], dim=1)])
    torch.testing.assert_close(layer(x).double(), expected, atol=1e-5, rtol=1e-5)
    net.keep_potentials = True
    assert net.activity(torch.ones(B, T, F)).potentials.shape == (B, T - start, SIZES[-1])
    assert net.activity(torch.ones(B, 1, F)).potentials.shape == (B, 1, SIZES[-1])


@pytest.mark.parametrize("backend", ["naive", "cpu"])
@pytest.mark.parametrize("options", [{"readout_tau": 20.0}, {"readout_decay": 0.5}, {}])
def test_a_gain_takes_the_place_of_the_scale(options, backend):
    """Against the equation, step by step in float64; time constants learn."""
    options |= {"readout_gain": 1.5, "normalization": "none", "init_state": "zero"}
    net = make_net("LIF", sizes=[6, 400], backend=backend, readout="last", **options)
    layer, x = net.snn[-1], torch.randn(B, T, 6)
    u, W, decay = torch.zeros(B, 400).double(), layer.W.weight.detach().double(), layer.decay()
    if "readout_tau" in options:
        assert layer.tau.mean().item() == pytest.approx(20, abs=1)
        assert layer.tau.std().item() == pytest.approx(5, abs=1)
        torch.testing.assert_close(decay, torch.exp(-1 / layer.tau.abs()))
    for t in range(T):
        u = decay.detach().double() * u + 1.5 * (x[:, t].double() @ W.T)
    scores = layer(x)
    torch.testing.assert_close(scores.double(), u, atol=1e-5, rtol=1e-5)
    scores.square().sum().backward()
    assert all(p.grad.any() for p in layer.parameters())


def test_a_decay_is_fixed_or_a_time_constant_learned():
    with pytest.raises(ValueError, match="give one of them"):
        make_net("LIF", readout_decay=0.5, readout_tau=20.0)


@pytest.mark.parametrize("option", [{"readout_decay": 0.9}, {"readout_start": 1}])
def test_what_acts_on_potentials_needs_them(option):
    with pytest.raises(ValueError, match="has no potentials: its output neurons spike"):
        make_net("LIF", readout="spike_count", **option)


# Groups of parameters


class Grouped(LIFLayer):
    groups = {  # noqa: RUF012
        "alpha": ParameterGroup(lr_factor=0.1, clamp=(0.85, 0.9)),
        "W.weight": ParameterGroup(weight_decay=0.01),
    }


@pytest.mark.parametrize("kind", [SNN, ANN])
def test_without_names_there_is_one_group(kind):
    net = kind((B, T, F), SIZES)
    (group,) = net.parameter_groups()
    assert [id(p) for p in group["params"]] == [id(p) for p in net.parameters()]
    assert (group["lr_factor"], group["weight_decay"]) == (1.0, 0.0)


def test_named_parameters_are_trained_in_their_own_way(monkeypatch):
    monkeypatch.setitem(LAYERS, "Grouped", Grouped)
    net = make_net("Grouped+LIF", normalization="none")
    first, *others = net.snn
    rest, alpha, weight = net.parameter_groups()
    assert (alpha["lr_factor"], alpha["weight_decay"]) == (0.1, 0.0)
    assert alpha["params"] == [first.alpha]
    assert (weight["lr_factor"], weight["weight_decay"]) == (1.0, 0.01)
    assert weight["params"] == [first.W.weight]
    assert [id(p) for p in rest["params"]] == [id(p) for x in others for p in x.parameters()]
    torch.nn.init.constant_(first.alpha, 0.95)
    torch.nn.init.constant_(others[0].alpha, 0.95)
    net.clamp_parameters()
    assert (first.alpha == 0.9).all()
    assert (others[0].alpha == 0.95).all()


def test_kinds_have_groups_of_their_own(monkeypatch):
    monkeypatch.setattr(LIFLayer, "groups", {"alpha": ParameterGroup(kind="delay")})
    rest, delays = make_net("LIF").parameter_groups()
    assert (rest["kind"], delays["kind"], len(delays["params"])) == ("", "delay", 2)


def test_a_clamp_alone_needs_no_group(monkeypatch):
    monkeypatch.setattr(ANNLayer, "groups", {"V.weight": ParameterGroup(clamp=(-0.1, 0.1))})
    net = ANN((B, T, F), SIZES, "RNN")
    assert len(net.parameter_groups()) == 1
    net.clamp_parameters()
    assert net.ann[0].V.weight.abs().max() <= 0.1


def test_groups_that_name_no_parameter_are_refused(monkeypatch):
    monkeypatch.setattr(SpikingLayer, "groups", {"tau": ParameterGroup()})
    with pytest.raises(TypeError, match=r"LIFLayer\.groups names 'tau', .* W\.weight, alpha|alpha"):
        make_net("LIF").parameter_groups()
