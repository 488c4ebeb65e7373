# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Learnable delays against loops over time in double precision, and the published numbers."""

import pytest
import torch
import torch.nn.functional as F

from models import delays_cpu, delays_spectral, events_cpu
from models.delays import Delay, taps_of
from models.dynamics import numba_support
from models.dynamics.naive import KEPT, WANTED
from models.gaussians import gaussian
from models.linear import Linear, hand_on
from tests.models.snn_cases import all_neurons, check_gradients, make_input, make_net

KINDS = ("axonal", "dendritic", "synaptic")
SIGMAS = (4.0, 1.0, 0.23)
TAPS = 7
CLOSE = {"rtol": 0, "atol": 1e-6}

every_kind = pytest.mark.parametrize("kind", KINDS)
every_backend = pytest.mark.parametrize("backend", ["naive", "auto"])
every_sigma = pytest.mark.parametrize("sigma", SIGMAS)


def make(kind, weight, P, taps, sigma, backend="auto", bias=None):
    """Delays with the weights they belong to, of given values."""
    W = Linear(*weight.shape[::-1], bias=bias is not None, backend=backend)
    delay = Delay(kind, taps, *weight.shape[::-1])
    with torch.no_grad():
        W.weight.copy_(weight)
        delay.P.copy_(P.view_as(delay.P))
        delay.sigma.fill_(sigma)
        if bias is not None:
            W.bias.copy_(bias)
    return delay, W


def draw(kind, width=1.0, shape=(2, 12), sizes=(5, 3)):
    """Sparse input, weights and positions, among them some at and between whole numbers."""
    x = (torch.rand(*shape, sizes[0]) < 0.3) * torch.rand(*shape, sizes[0])
    weight = torch.randn(sizes[::-1])
    P = Delay(kind, TAPS, *sizes).P.detach() * width
    P.view(-1)[:3] = torch.tensor([3.0, -3.0, 0.5])
    return x, weight, P


def in_loops(kind, x, weight, P, sigma, taps):
    """Currents by the equation, tap by tap; ``sigma`` None: as in evaluation."""
    (B, T, _), middle = x.shape, taps // 2
    if sigma is None:
        g = [(P.round() == k - middle).to(x) for k in range(taps)]
    else:
        g = [torch.exp(-(((k - middle - P) / (sigma + 0.27)) ** 2) / 2) for k in range(taps)]
        total = sum(g) + 1e-7
        g = [x / total for x in g]
    steps = []
    for t in range(T):
        current = torch.zeros(B, len(weight), dtype=x.dtype)
        for k in range(taps):
            seen = t - (taps - 1) + k
            if seen < 0:
                continue
            if kind == "axonal":
                current = current + (x[:, seen] * g[k]) @ weight.T
            elif kind == "dendritic":
                current = current + (x[:, seen] @ weight.T) * g[k]
            else:
                current = current + x[:, seen] @ (weight * g[k]).T
        steps.append(current)
    return torch.stack(steps, dim=1)


@every_kind
@every_backend
@every_sigma
def test_currents_and_gradients_are_those_of_loops_in_double_precision(kind, backend, sigma):
    x, weight, P = draw(kind)
    delay, W = make(kind, weight, P, TAPS, sigma, backend, bias=torch.randn(3))
    check_against_loops(kind, delay, W, x, sigma)


def check_against_loops(kind, delay, W, x, sigma):
    """Currents and gradients of ``x`` against those of loops in double precision."""
    exact = [v.detach().double().requires_grad_() for v in (x, W.weight, delay.P)]
    expected = in_loops(kind, *exact, sigma, TAPS) + (0 if W.bias is None else W.bias)
    x.requires_grad_()
    found = delay(x, W)
    torch.testing.assert_close(found.double(), expected, **CLOSE)
    cotangent = torch.randn(found.shape)
    for value, of in zip(
        torch.autograd.grad(found, [x, W.weight, delay.P], cotangent),
        torch.autograd.grad(expected, exact, cotangent.double()),
        strict=True,
    ):
        scale = float(of.abs().max().clamp(min=1))
        torch.testing.assert_close(value.double(), of, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("kind", ["axonal", "dendritic"])
@every_backend
def test_positions_in_large_batches_have_gradients_without_the_errors_of_long_sums(kind, backend):
    weight, taps, sigma = torch.rand(20, 64) - 0.5, 3, 0.23
    delay, W = make(kind, weight, Delay(kind, taps, 64, 20).P.detach(), taps, sigma, backend)
    x = (torch.rand(64, 100, 64) < 0.2).float()
    cotangent = torch.randn(64, 100, 20) + 1
    exact = delay.P.detach().double().requires_grad_()
    expected = in_loops(kind, x.double(), weight.double(), exact, sigma, taps)
    (expected,) = torch.autograd.grad(expected, exact, cotangent.double())
    (found,) = torch.autograd.grad(delay(x, W), delay.P, cotangent)
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < 1e-5


@every_sigma
def test_few_events_give_the_currents_and_gradients_of_loops(monkeypatch, sigma):
    monkeypatch.setattr(events_cpu, "WORTH_A_SEARCH", 0)
    x, weight, P = draw("axonal", shape=(3, 12), sizes=(150, 3))
    x *= torch.rand(x.shape) < 0.3
    delay, W = make("axonal", weight, P, TAPS, sigma)
    kept = delays_cpu.apply(x, gaussian(delay.P, delay.sigma, TAPS))[1]
    assert sum(values.numel() for values in kept) < x.numel() / 2  # events
    check_against_loops("axonal", delay, W, x, sigma)


@every_sigma
@pytest.mark.parametrize("bias", [None, torch.randn(70)])
def test_products_of_few_events_are_those_of_loops(monkeypatch, sigma, bias):
    monkeypatch.setattr(events_cpu, "WORTH_A_SEARCH", 0)
    x, weight, P = draw("axonal", shape=(3, 12), sizes=(150, 70))
    x *= torch.rand(x.shape) < 0.05
    delay, W = make("axonal", weight / 10, P, TAPS, sigma, bias=bias)
    assert delay.of_events(x, W) is not None
    check_against_loops("axonal", delay, W, x, sigma)
    monkeypatch.setattr(delays_cpu, "DENSEST", 0.01)
    assert delay.of_events(x, W) is None


@every_sigma
@pytest.mark.parametrize("most", [0.0, 9.0])  # the dense gradient, and that at places
@pytest.mark.parametrize("steps", [1, 12, 70])
def test_gradients_where_they_are_wanted_are_those_of_loops(monkeypatch, sigma, most, steps):
    monkeypatch.setattr(events_cpu, "WORTH_A_SEARCH", 0)
    monkeypatch.setattr(delays_cpu, "DENSEST", 9.0)
    monkeypatch.setattr(delays_cpu, "MOST_PULLED", most)
    x, weight, P = draw("axonal", shape=(3, steps), sizes=(150, 20))
    fired, wanted = torch.rand(2, *x.shape) < torch.tensor([0.04, 0.1]).view(2, 1, 1, 1)
    x = 1.5 * fired
    delay, W = make("axonal", weight, P, TAPS, sigma)
    exact = [y.double().requires_grad_() for y in (x, weight, P)]
    expected = in_loops("axonal", *exact, sigma, TAPS)
    cotangent = torch.randn(expected.shape)
    expected = torch.autograd.grad(expected, exact, cotangent.double())
    data, x = x.clone(), x.requires_grad_().view_as(x)
    for given in (data, x):
        hand_on(given, fired.byte() * KEPT | wanted.byte() * WANTED, 1.5)
    found = torch.autograd.grad(delay(x, W), [x, W.weight, delay.P], cotangent)
    for value, of in zip(found, [expected[0] * (wanted | (most == 0)), *expected[1:]], strict=True):
        scale = float(of.abs().max().clamp(min=1))
        torch.testing.assert_close(value.double(), of, rtol=0, atol=1e-5 * scale)
    of_data = torch.autograd.grad(delay(data, W), [W.weight, delay.P], cotangent)
    torch.testing.assert_close(of_data, found[1:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_gradients_at_places_have_the_same_bits_on_any_threads(monkeypatch, share):
    monkeypatch.setattr(numba_support, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(events_cpu, "WORTH_A_SEARCH", 0)
    wanted = torch.rand(9, 65, 70) < share
    marks = wanted.byte() * WANTED | (wanted & (torch.rand(wanted.shape) < 0.4)).byte() * KEPT
    events, places = events_cpu.marked_events(marks, 1.5, 20)
    g, slope = torch.rand(2, 70, 15)
    used, weight, d_I = delays_cpu.used_taps(g), torch.randn(70, 20), torch.randn(9, 65, 20)
    before, found = torch.get_num_threads(), []
    for count in (1, 2, 8):
        torch.set_num_threads(count)
        found.append(delays_cpu.gradients_at(places, events, used, g, slope, weight, d_I))
    torch.set_num_threads(before)
    for gradients in found[1:]:
        assert all(map(torch.equal, gradients, found[0]))
    assert found[0][0].any() == found[0][1].any() == (share > 0)


@pytest.mark.parametrize("steps", [12, 61])  # one piece, and three
@every_sigma
def test_spectra_give_the_currents_and_gradients_of_loops(monkeypatch, steps, sigma):
    monkeypatch.setattr(delays_spectral, "WORTH_IT", 0)
    x, weight, P = draw("synaptic", shape=(2, steps))
    delay, W = make("synaptic", weight, P, TAPS, sigma)
    check_against_loops("synaptic", delay, W, x, sigma)


@every_kind
@every_backend
def test_evaluation_takes_whole_steps_of_a_copy(kind, backend):
    x, weight, P = draw(kind)
    delay, W = make(kind, weight, P, TAPS, 4.0, backend)
    delay.eval()
    expected = in_loops(kind, x.double(), weight.double(), P.double(), None, TAPS)
    torch.testing.assert_close(delay(x, W).double(), expected, **CLOSE)
    with torch.no_grad():
        torch.testing.assert_close(delay(x, W).double(), expected, **CLOSE)
    assert torch.equal(delay.P, P)


@every_kind
@every_backend
@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_seen_before_it_happens(kind, backend, training):
    x, weight, P = draw(kind)
    delay, W = make(kind, weight, P, TAPS, 4.0, backend)
    delay.train(training)
    later = x.clone()
    later[:, 6:] += 1
    assert torch.equal(delay(x, W)[:, :6], delay(later, W)[:, :6])


@every_kind
@every_backend
def test_no_copy_is_kept_for_every_tap(kind, backend):
    x, weight, P = draw(kind, shape=(8, 50))
    delay, W = make(kind, weight, P, TAPS, 4.0, backend)
    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        delay(x.requires_grad_(), W)
    assert sum(kept.values()) < 4 * 4 * x.numel()


@pytest.mark.parametrize("name", ["dcls_kernel_k25", "dcls_kernel_k9_count2"])
def test_published_taps(original_goldens, name):
    golden = torch.load(original_goldens / "beyond" / f"{name}.pt", weights_only=True)
    weight, taps = golden["weight"], golden["config"]["K"]
    for run in golden["runs"].values():
        if run["version"] != "gauss":
            continue
        P = golden["P"][0].clone().requires_grad_()
        g = gaussian(P, torch.tensor(run["sigma"]), taps)
        kernel = (weight[..., None] * g).sum(-2)
        torch.testing.assert_close(kernel, run["kernel"], **CLOSE)
        (kernel * golden["cot"]).sum().backward()
        scale = float(run["grad_P"].abs().max())
        torch.testing.assert_close(P.grad, run["grad_P"][0], rtol=0, atol=1e-5 * scale)
    longest = taps // 2
    torch.testing.assert_close(
        golden["P_out_of_range"].clamp(-longest, longest), golden["P_clamped"], rtol=0, atol=0
    )


@every_kind
@every_backend
@every_sigma
def test_published_currents(original_goldens, kind, backend, sigma):
    """Theirs are longer by what they pad on the right; ours are the first of these steps."""
    name = f"dcls_conv_{kind}.pt"
    golden = torch.load(original_goldens / "beyond" / name, weights_only=True)
    run, config = golden["runs"][f"sigma_{sigma}"], golden["config"]
    weight = golden["weight"][..., 0] if kind == "synaptic" else golden["W"]
    delay, W = make(kind, weight, golden["P"], config["K"], sigma, backend)
    x, T = golden["x"].clone().requires_grad_(), config["T"]
    longer = delay(F.pad(x, (0, 0, 0, config["right_padding"])), W)
    torch.testing.assert_close(longer, run["out"], **CLOSE)
    check_published_gradients(longer, golden["cot"], run["grad"], x, W, delay)
    same = delay(x, W)
    torch.testing.assert_close(same, run["out"][:, :T], **CLOSE)
    if kind == "synaptic":
        check_published_gradients(same, golden["cot"][:, :T], run["grad_same"], x, W, delay)
    delay.eval()
    torch.testing.assert_close(delay(x, W), golden["eval_out"][:, :T], **CLOSE)


def check_published_gradients(output, cotangent, expected, x, W, delay):
    found = torch.autograd.grad(output, [x, W.weight, delay.P], cotangent)
    for value, of in zip(found, expected.values(), strict=True):
        scale = float(of.abs().max())
        torch.testing.assert_close(value, of.view_as(value), rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("name", ["shd_150", "ssc_60", "gsc_100"])
def test_published_widths(original_goldens, name):
    golden = torch.load(original_goldens / "beyond" / "dcls_schedule.pt", weights_only=True)[name]
    delay = Delay("axonal", golden["K"], 1, 1)
    for epoch, sigma in enumerate(golden["sigma"]):
        delay.set_progress(epoch, golden["epochs"])
        assert delay.sigma == sigma, epoch


@pytest.mark.parametrize("epochs", [1, 3, 8])
def test_the_width_ends_as_published_however_few_epochs(epochs):
    delay = Delay("axonal", 31, 2, 2)
    widths = []
    for epoch in range(epochs):
        delay.set_progress(epoch, epochs)
        widths.append(float(delay.sigma))
    assert widths[0] == 15
    assert widths[1:] == sorted(widths[1:], reverse=True)
    if epochs > 1:
        assert widths[-1] == pytest.approx(0.23)


@pytest.mark.parametrize(
    ("delay_ms", "step_ms", "taps"), [(250, 10, 25), (300, 10, 31), (300, 14, 21), (250, 4, 63)]
)
def test_taps_follow_from_the_longest_delay(delay_ms, step_ms, taps):
    assert taps_of(delay_ms, step_ms) == taps


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("axonal", {"bidirectional": True}),
        ("dendritic", {"readout": "last", "use_bias": True}),
        ("synaptic", {"readout": "spike_count", "bidirectional": True}),
    ],
)
@all_neurons
def test_every_network_takes_delays(neuron, kind, options):
    net = make_net(neuron, delay=kind, delay_taps=5, **options)
    plain = make_net(neuron, **options)
    own, weights = net.state_dict(), plain.state_dict()
    assert own.keys() - weights.keys() == {
        f"snn.{i}.delay.{name}" for i in range(3) for name in ("P", "sigma")
    }
    assert all(torch.equal(own[name], values) for name, values in weights.items())  # drawn first
    net.train()
    check_gradients(net, net(make_input())[0], "batchnorm")
    positions = [layer.delay.P for layer in net.snn]
    (group,) = [group for group in net.parameter_groups() if group["kind"] == "delay"]
    assert {id(p) for p in group["params"]} == {id(p) for p in positions}
    with torch.no_grad():
        for P in positions:
            P.fill_(9.0)
    net.clamp_parameters()
    assert all((P == 2).all() for P in positions)  # no delay at all
    plain.load_state_dict(net.state_dict(), strict=False)
    outputs = []
    for network in (net, plain):
        torch.manual_seed(3)
        outputs.append(network.eval()(make_input())[0])
    assert torch.equal(*outputs)


@every_kind
def test_networks_with_delays_are_exported(kind):
    net = make_net("SiLIF", delay=kind, delay_taps=5, init_state="zero").eval()
    x = make_input()
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(net, (x,)).module()(x)[0], net(x)[0])


def test_chosen_layers_alone_have_delays():
    net = make_net("LIF", delay="axonal", delay_taps=5, delay_layers=[1, 3])
    assert [layer.delay is not None for layer in net.snn] == [True, False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delay": "somatic"}, "delay 'somatic' is not one of none, axonal, dendritic, synaptic"),
        ({"delay_taps": 4}, "odd number of taps from 3 on, got 4"),
        ({"delay_layers": [4]}, "delay_layers names 4 of 3 layers"),
    ],
)
def test_impossible_delays_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_net("LIF", **({"delay": "axonal"} | options))
