# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What every spiking network promises: layout, counts, states, activity and errors."""

import itertools
import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from models import shell
from models.dynamics import AdaptiveState, ResonateState, adaptive, readout, resonate
from models.snns import ALIASES, LAYERS, SNN, ResonateLayer
from parsers.model_config import SNN_TYPES, ModelConfig
from parsers.options import options_of

B, T, F = 3, 9, 7
SIZES = [6, 5, 4]
# Batchnorm subtracts the mean, and with it this bias: its gradient is 0 but for rounding.
BIAS_OF_W = re.compile(r"W\w?\.bias$")
RECURRENT = ("RLIF", "RadLIF")
NORMS = shell.NORMALIZATIONS

all_neurons = pytest.mark.parametrize("neuron", LAYERS)

# The neuron's own parameters, as published checkpoints spell them.
OWN_KEYS = {
    "LIF": {"alpha"},
    "RLIF": {"alpha", "V.weight"},
    "adLIF": {"alpha", "beta", "a", "b"},
    "RadLIF": {"alpha", "beta", "a", "b", "V.weight"},
    "CadLIF": {"alpha", "beta", "a", "b"},
    "SiLIF": {"dt", "alpha", "beta", "a", "b"},
    "CSiLIF": {"log_log_alpha", "log_dt", "alpha_img", "b"},
    "ResonateFire": {"alpha_real", "alpha_im"},
}
NORM_KEYS = {
    "batchnorm": {
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    },
    "layernorm": {"norm.weight", "norm.bias"},
    "none": set(),
}


def make_input(shape=(B, T, F), seed: int = 1) -> torch.Tensor:
    """Counts of input spikes, dense enough that a fresh network fires."""
    generator = torch.Generator().manual_seed(seed)
    return torch.poisson(torch.full(shape, 1.5), generator=generator)


def make_net(neuron: str, *, sizes=SIZES, seed: int = 0, **options) -> SNN:
    """A network that fires: the threshold is low."""
    torch.manual_seed(seed)
    options = {"threshold": 0.02 if neuron == "ResonateFire" else 0.15} | options
    return SNN((B, T, F), sizes, neuron, **options)


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


# Every combination of options


@all_neurons
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("normalization", NORMS)
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("use_readout_layer", [False, True])
def test_every_parameter_learns(neuron, bidirectional, normalization, use_bias, use_readout_layer):
    net = make_net(
        neuron,
        bidirectional=bidirectional,
        normalization=normalization,
        use_bias=use_bias,
        use_readout_layer=use_readout_layer,
    )
    x = make_input()
    output, rates, sop = net(x)
    directions = 2 if bidirectional else 1
    hidden = SIZES[:-1] if use_readout_layer else SIZES
    assert output.shape == ((B, SIZES[-1]) if use_readout_layer else (B, T, directions * SIZES[-1]))
    assert rates.shape == (F + directions * sum(hidden),)
    assert sop.shape == ()
    (output * torch.rand(output.shape)).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if not (normalization == "batchnorm" and BIAS_OF_W.search(name)):
            assert parameter.grad.any(), name


@all_neurons
@pytest.mark.parametrize("bidirectional", [False, True])
def test_four_dimensional_input_is_flattened(neuron, bidirectional):
    x = make_input((B, T, 4, 3))
    torch.manual_seed(0)
    net = SNN((None, None, 4, 3), SIZES, neuron, bidirectional=bidirectional).eval()
    assert net.snn[0].W.weight.shape == (SIZES[0], 12)
    torch.manual_seed(1)
    output, rates, sop = net(x)
    torch.manual_seed(1)
    flat_output, flat_rates, flat_sop = net(x.reshape(B, T, 12))
    assert torch.equal(output, flat_output)
    assert torch.equal(rates, flat_rates)
    assert torch.equal(sop, flat_sop)


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


@pytest.mark.parametrize("neuron", OWN_KEYS)
@pytest.mark.parametrize("normalization", NORMS)
@pytest.mark.parametrize("use_bias", [False, True])
def test_published_state_dict_keys(neuron, normalization, use_bias):
    net = SNN((None, None, F), SIZES, neuron, normalization=normalization, use_bias=use_bias)
    shared = {"W.weight"} | ({"W.bias"} if use_bias else set()) | NORM_KEYS[normalization]
    expected = {f"snn.{i}.{key}" for i in (0, 1) for key in shared | OWN_KEYS[neuron]}
    expected |= {f"snn.2.{key}" for key in shared | {"alpha"}}
    assert net.state_dict().keys() == expected


@all_neurons
@pytest.mark.parametrize("bidirectional", [False, True])
def test_saved_weights_load_strictly_and_compute_the_same(neuron, bidirectional, tmp_path):
    net = make_net(neuron, bidirectional=bidirectional)
    net(make_input())  # moves the running statistics of batchnorm
    torch.save(net.state_dict(), tmp_path / "model.pth")
    other = make_net(neuron, bidirectional=bidirectional, seed=99)
    other.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True), strict=True)
    results = []
    for model in (net.eval(), other.eval()):
        torch.manual_seed(3)
        results.append(model(make_input())[0])
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("inputs", "sizes", "neuron", "count"),
    [
        (140, [512, 512, 35], "LIF", 354_921),
        (140, [512, 512, 35], "ResonateFire", 355_945),
        (140, [512, 512, 35], "CSiLIF", 357_993),
        (140, [512, 512, 35], "adLIF", 357_993),
        (140, [512, 512, 35], "CadLIF", 357_993),
        (140, [512, 512, 35], "SiLIF", 359_017),
        (140, [512, 512, 35], "RLIF", 879_209),
        (140, [512, 512, 35], "RadLIF", 882_281),
        (140, [128, 128, 20], "CSiLIF", 38_460),
        (140, [128, 128, 20], "SiLIF", 38_716),
        (140, [512, 512, 20], "CSiLIF", 350_268),
        (40, [512, 512, 35], "SiLIF", 307_817),
        (40, [1024, 1024, 35], "SiLIF", 1_139_817),
    ],
)
def test_published_parameter_counts(inputs, sizes, neuron, count):
    net = SNN((None, None, inputs), sizes, neuron)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == count


@pytest.mark.parametrize(
    ("neuron", "sizes", "count"),
    [
        ("SiLIF", [512, 512, 35], 2048),
        ("CSiLIF", [128, 128, 20], 512),
        ("SiLIF", [1024, 1024, 35], 4096),
        ("LIF", [512, 512, 35], 1024),
        ("RLIF", [512, 512, 35], 1024),
        ("ResonateFire", [512, 512, 35], 2048),
    ],
)
def test_published_state_variables(neuron, sizes, count):
    assert SNN((None, None, 40), sizes, neuron).nb_state_variables() == count


@all_neurons
def test_both_directions_and_a_spiking_end_hold_their_states(neuron):
    per_neuron = LAYERS[neuron].states_per_neuron
    both = make_net(neuron, bidirectional=True)
    assert both.nb_state_variables() == 2 * per_neuron * sum(SIZES[:-1])
    spiking = make_net(neuron, use_readout_layer=False)
    assert spiking.nb_state_variables() == per_neuron * sum(SIZES)


def test_the_command_line_knows_every_neuron():
    assert tuple(LAYERS) == SNN_TYPES
    assert options_of(ModelConfig)["model_type"].rules.aliases == ALIASES


@pytest.mark.parametrize(("alias", "name"), [("RF", "ResonateFire"), ("C-SiLIF", "CSiLIF")])
def test_other_spellings(alias, name):
    net = SNN((B, T, F), SIZES, alias)
    assert net.neuron_type == name
    assert type(net.snn[0]) is LAYERS[name]


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


@bounded
def test_parameters_start_within_their_bounds(neuron, name):
    torch.manual_seed(0)
    parameter = getattr(LAYERS[neuron](1, 2000), name)
    low, high = BOUNDS[neuron][name]
    assert low <= parameter.min() < low + 0.02 * (high - low)
    assert high - 0.02 * (high - low) < parameter.max() <= high


def test_silif_decays():
    layer = make_layer("SiLIF")
    used = layer.coefficients()
    for h in range(layer.hidden_size):
        step = math.exp(layer.dt[h].item())
        assert step == pytest.approx(0.004)
        for name in ("alpha", "beta"):
            rate = math.exp(getattr(layer, name)[h].item())
            assert getattr(used, name)[h].item() == pytest.approx(math.exp(-rate * step))


def test_csilif_transition():
    layer = make_layer("CSiLIF", extra_features={"dt_min": 0.3, "dt_max": 0.4})
    used = layer.coefficients()
    for h in range(layer.hidden_size):
        step = math.exp(layer.log_dt[h].item())
        assert 0.3 <= step <= 0.4
        size = math.exp(-step * math.exp(layer.log_log_alpha[h].item()))
        angle = step * layer.alpha_img[h].item()
        expected = complex(size * math.cos(angle), size * math.sin(angle))
        assert used.A[h].item() == pytest.approx(expected)
    assert used._replace(A=None, gain=None) == (None, 0.5, None, 2.0, True)
    assert used.gain is layer.b


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
    _, _, state = layer(silent, AdaptiveState(zero, zero, spike))
    alpha, *adaptation = layer.coefficients()
    b = adaptation[-1] if neuron == "RadLIF" else torch.zeros(H)
    for j in range(H):
        weight = 0.0 if j == 2 else layer.V.weight[2, j].item()
        own = 1.0 if j == 2 else 0.0
        expected = -alpha[j] * own + (1 - alpha[j]) * (weight - b[j] * own)
        assert state.u[0, j].item() == pytest.approx(expected.item(), rel=1e-5)
    assert layer.V.weight.diagonal().any()


@pytest.mark.parametrize("neuron", RECURRENT)
def test_recurrent_weights_start_orthogonal(neuron):
    V = LAYERS[neuron](F, 20).V.weight
    torch.testing.assert_close(V @ V.T, torch.eye(20), rtol=0, atol=1e-5)


# Initial states


@all_neurons
@pytest.mark.parametrize("training", [True, False])
def test_initial_states_are_drawn_as_published(neuron, training):
    """u, then w where there is one, then s, layer by layer; afresh in every pass."""
    net = make_net(neuron, bidirectional=True, dropout=0.0).train(training)
    reference = make_net(neuron, bidirectional=True, dropout=0.0).train(training)
    x = make_input()
    torch.manual_seed(8)
    outputs = [net(x)[0], net(x)[0]]
    assert not torch.equal(*outputs)
    torch.manual_seed(8)
    for output in outputs:
        assert torch.equal(output, forward_by_hand(reference, x))


def forward_by_hand(net: SNN, x: torch.Tensor) -> torch.Tensor:
    """The bidirectional ``net`` without the shell's code, initial states drawn here."""
    theta = net.snn[0].threshold
    for layer in net.snn[:-1]:
        H = layer.hidden_size
        turned = torch.cat([x, x.flip(1)])
        current = layer.norm(layer.W(turned).reshape(-1, H)).reshape(2 * B, T, H)
        if isinstance(layer, ResonateLayer):
            u = torch.rand(2 * B, H, dtype=torch.cfloat)
            state = ResonateState(u, torch.rand(2 * B, H))
            A, reset, gain, scale, inside = layer.coefficients()
            spikes, _ = resonate(
                current, A, reset, gain, scale=scale, theta=theta, state=state, reset_inside=inside
            )
        else:
            u = torch.rand(2 * B, H)
            w = (
                torch.zeros(2 * B, H)
                if net.neuron_type in ("LIF", "RLIF")
                else torch.rand(2 * B, H)
            )
            state = AdaptiveState(u, w, torch.rand(2 * B, H))
            V = None
            if layer.recurrent:
                V = layer.V.weight * (1 - torch.eye(H))
            spikes, _ = adaptive(current, *layer.coefficients(), theta=theta, state=state, V=V)
        x = torch.cat([spikes[:B], spikes[B:].flip(1)], dim=2)
    last = net.snn[-1]
    C = last.hidden_size
    current = last.norm(last.W(x).reshape(-1, C)).reshape(B, T, C)
    alpha = last.alpha.clamp(math.exp(-1 / 5), math.exp(-1 / 25))
    return readout(current, alpha, state=torch.rand(B, C))[0]


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


def test_the_readout_takes_a_state():
    last = make_net("LIF").eval().snn[-1]
    x = make_input((B, T, SIZES[1]))
    high = torch.zeros(B, SIZES[-1])
    high[:, 1] = 50.0
    assert (last(x, high)[:, 1] > last(x, torch.zeros_like(high))[:, 1]).all()
    assert torch.equal(last(x, high), last(x, high))


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
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("training", [True, False])
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
def test_forward_is_the_short_form_of_activity(neuron):
    net = make_net(neuron).eval()
    torch.manual_seed(2)
    output, rates, sop = net(make_input())
    torch.manual_seed(2)
    activity = net.activity(make_input())
    assert torch.equal(activity.output, output)
    assert torch.equal(activity.firing_rates, rates)
    assert torch.equal(activity.sop, sop)
    assert len(activity.layers) == len(net.hidden_layers) == 2
    assert net.is_snn


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


def test_descending_the_regulariser_wakes_a_quiet_network():
    net = make_net("LIF", threshold=0.5)
    optimizer = torch.optim.Adam(net.parameters(), 0.2)
    quiet = []
    for _ in range(30):
        torch.manual_seed(0)
        hidden = net(make_input())[1][F:]
        quiet.append(functional.relu(0.2 - hidden).sum().item())
        optimizer.zero_grad()
        functional.relu(0.2 - hidden).sum().backward()
        optimizer.step()
    assert quiet[-1] < 0.5 * quiet[0]


# Errors


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


def test_an_unknown_neuron_lists_the_known_ones():
    with pytest.raises(ValueError, match="'GIF'") as error:
        SNN((B, T, F), SIZES, "GIF")
    assert all(name in one_line(error) for name in LAYERS)


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("normalization", shell.NORMALIZATIONS),
        ("init_state", shell.INIT_STATES),
    ],
)
def test_an_unknown_option_lists_the_choices(option, choices):
    with pytest.raises(ValueError, match="'mine'") as error:
        SNN((B, T, F), SIZES, "LIF", **{option: "mine"})
    assert all(choice in one_line(error) for choice in choices)


def test_an_unknown_backend_lists_the_choices():
    with pytest.raises(ValueError, match="'mine'") as error:
        SNN((B, T, F), SIZES, "LIF", backend="mine")(make_input())
    assert "naive" in one_line(error)


@pytest.mark.parametrize(
    ("sizes", "use_readout_layer"),
    [([], True), ([4], True), ([5, 0], True), ([5, -1], True), ([], False), ([0], False)],
)
def test_impossible_sizes(sizes, use_readout_layer):
    with pytest.raises(ValueError, match="layer_sizes") as error:
        SNN((B, T, F), sizes, "LIF", use_readout_layer=use_readout_layer)
    one_line(error)


@pytest.mark.parametrize("shape", [(B, F), (B, T, F, 2, 2), ()])
def test_impossible_input_shapes(shape):
    with pytest.raises(ValueError, match="B, T, F") as error:
        SNN(shape, SIZES, "LIF")
    one_line(error)


@pytest.mark.parametrize("shape", [(T, F), (B, T, F, 1, 1)])
def test_impossible_inputs(shape):
    with pytest.raises(ValueError, match="B, T, F") as error:
        SNN((B, T, F), SIZES, "LIF")(torch.zeros(shape))
    one_line(error)


def test_a_neuron_that_is_not_filled_in_says_what_is_missing():
    class Unfinished(shell.SpikingLayer):
        def create_parameters(self):
            self.alpha = nn.Parameter(torch.ones(1))

    with pytest.raises(TypeError, match="Unfinished"):
        Unfinished(F, 3)(make_input())
    with pytest.raises(TypeError, match="SpikingLayer"):
        shell.SpikingLayer(F, 3)
