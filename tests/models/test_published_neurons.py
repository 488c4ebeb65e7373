# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""SE-adLIF, BRF and the LIF of delay networks against what their published programs computed."""

import math
from functools import partial

import pytest
import torch
from torch.nn import functional

from models.snns import LAYERS, SNN
from models.surrogate import surrogate
from parsers.training_config import TrainingConfig
from training.build import build_optimizer
from training.loss import nll_steps

BACKENDS = ("naive", "auto")
SLAYER, GAUSSIANS = surrogate("slayer", 0.2), surrogate("double_gaussian", 0.5)
SEADLIF = {
    **{"weight": "W.weight", "bias": "W.bias", "recurrent": "V.weight", "a": "a", "b": "b"},
    **{"tau_u_trainer.weight": "m_u", "tau_w_trainer.weight": "m_w"},
}


@pytest.fixture
def published(shared_folder):
    """A published case by its name."""
    return lambda name: torch.load(
        shared_folder / "goldens/beyond" / f"{name}.pt", weights_only=True
    )


def distance(found, expected, least=0.0):
    """The largest difference, relative to the largest entry or ``least``."""
    return ((found - expected).abs().max() / expected.abs().max().clamp_min(least)).item()


def step_by_step(layer, x):
    """Every field of the state [B, T, H] after each step of ``x``."""
    current = layer.W(x)
    state, found = layer.initial_state(current), []
    for t in range(x.shape[1]):
        _, state = layer.dynamics(current[:, t : t + 1], state)
        found.append(state)
    return [torch.stack(field, dim=1) for field in zip(*found, strict=True)]


def check(layer, x, expected, cotangents):
    """The states of ``layer``, spikes last, for ``x``; the gradient of x, others in the layer."""
    x = x.clone().requires_grad_()
    states = step_by_step(layer, x)
    assert torch.equal(states[-1], expected[-1])
    for found, state in zip(states[:-1], expected[:-1], strict=True):
        assert distance(found, state, 1.0) < 1e-6
    sum((s * c).sum() for s, c in zip(states, cotangents, strict=True)).backward()
    assert torch.equal(layer(x.detach()).spikes, expected[-1])
    return x.grad


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "name", ["seadlif_se_rec", "seadlif_se_norec", "seadlif_ef_rec", "seadlif_ef_norec"]
)
def test_seadlif(published, name, backend):
    try:
        golden = published(name)
    except FileNotFoundError:
        pytest.skip(f"{name} is kept back")
    config = golden["config"]
    kind = LAYERS["SEadLIF" if config["euler"] == "se" else "EFadLIF"]
    torch.manual_seed(config["seed"])
    layer = kind(
        config["F"], config["H"], normalization="none", use_bias=True, init_state="zero",
        surrogate=SLAYER, backend=backend, recurrent="auto" if config["use_recurrent"] else "none",
        extra_features={"adaptation_gain": config["q"]},
    )  # fmt: skip
    names = {ours: theirs for theirs, ours in SEADLIF.items() if theirs in golden["init"]}
    for ours, theirs in names.items():
        drawn = layer.get_parameter(ours).detach()
        assert (drawn - golden["init"][theirs]).abs().max() < 1e-6 * (theirs == "recurrent") + 1e-9
    layer.load_state_dict({k: golden["state_dict"][name] for k, name in names.items()})
    expected, cotangents = ([golden[f"{p}{x}"] for x in "uwz"] for p in ("", "cot_"))
    gradient = check(layer, golden["x"], expected, cotangents)
    assert distance(gradient, golden["grads"]["x"]) < 1e-5
    for ours, theirs in names.items():
        assert distance(layer.get_parameter(ours).grad, golden["grads"][theirs]) < 1e-5, ours


@pytest.mark.parametrize("backend", BACKENDS)
def test_brf(published, backend):
    golden = published("brf_brf")
    config, given = golden["config"], golden["state_dict"]
    F = config["F"]
    torch.manual_seed(config["seed"])
    layer = LAYERS["BRF"](
        F, config["H"], normalization="none", init_state="zero", surrogate=GAUSSIANS,
        backend=backend,
    )  # fmt: skip
    drawn = torch.cat([layer.W.weight, layer.V.weight], dim=1)
    assert torch.equal(drawn, golden["init"]["linear.weight"])
    # The case draws omega from 15 to 60 and b_offset from 0.1.
    share = (golden["init"]["omega"] - 15) / 45
    torch.testing.assert_close((layer.omega.detach() - 5) / 5, share)
    weights = given["linear.weight"]
    layer.load_state_dict(
        {
            **{"W.weight": weights[:, :F], "V.weight": weights[:, F:]},
            **{"omega": given["omega"], "b": given["b_offset"]},
        }
    )
    expected, cotangents = ([golden[kind][x] for x in "uvqz"] for kind in ("states", "cot"))
    gradient = check(layer, golden["x"], expected, cotangents)
    found = {
        "linear.weight": torch.cat([layer.W.weight.grad, layer.V.weight.grad], dim=1),
        **{"omega": layer.omega.grad, "b_offset": layer.b.grad, "x": gradient},
    }
    for name, value in found.items():
        assert distance(value, golden["grads"][name]) < 1e-5, name


@pytest.mark.parametrize("backend", BACKENDS)
def test_lif_node(published, backend):
    """Of a layer with recurrent delays, whose current is computed here from the spikes."""
    golden = published("delrec_layer_ssc")
    run, given = golden["runs"]["sigma_2"], golden["state_dict"]
    reach = 1 + 2 * run["sigma"] * torch.sigmoid(given["p_spread"])
    k = torch.arange(1.0, golden["x"].shape[1])[:, None]
    h = (reach - (k - 1 - given["recurrent_delays"]).abs()).clamp_min(0) / reach**2  # [T - 1, H]
    current = golden["x"].clone()
    for t in range(1, current.shape[1]):
        delayed = (run["spikes"][:, :t] * h[:t].flip(0)).sum(dim=1)
        current[:, t] += delayed @ given["recurrent_weights"].T
    node = {"tau": 2.0, "reset": "soft", "detach_reset": False}
    layer = LAYERS["LIFNode"](
        7, 7, normalization="none", init_state="zero", backend=backend, extra_features=node
    )
    torch.nn.init.eye_(layer.W.weight)
    u, _, s = step_by_step(layer, current)
    assert torch.equal(s, run["spikes"])
    assert distance(u, run["v"], 1.0) < 1e-6


class _Spike(torch.autograd.Function):
    """A step of x, and a derivative of its own."""

    @staticmethod
    def forward(ctx, x, derivative):
        ctx.save_for_backward(x)
        ctx.derivative = derivative
        return (x > 0).to(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.derivative(ctx.saved_tensors[0]), None


def seadlif_by_hand(p, x, y, forward):
    """Loss of the published network: two layers, softmax of the readout summed from step 10 on."""
    for name in ("0.", "1."):
        W, bias, V, m_u, m_w, a, b = (
            p[f"snn.{name}{k}"] for k in ("W.weight", "W.bias", "V.weight", "m_u", "m_w", "a", "b")
        )
        alpha = torch.exp(-1 / (25 * m_u + 5 * (1 - m_u)))
        beta = torch.exp(-1 / (300 * m_w + 60 * (1 - m_w)))
        u = w = z = torch.zeros(len(x), len(a), dtype=x.dtype)
        steps = []
        for x_t in x.unbind(1):
            fired = alpha * u + (1 - alpha) * (x_t @ W.T + bias + z @ V.T - w)
            old = u, z
            z = _Spike.apply(fired - 1, lambda d: torch.exp(-5 * d.abs()))
            u = fired * (1 - z.detach())
            q, (seen, jump) = (60, old) if forward else (120, (u, z))
            w = beta * w + (1 - beta) * q * (a * seen + b * jump)
            steps.append(z)
        x = torch.stack(steps, 1)
    u, score = 0, 0
    for t, z in enumerate(x.unbind(1)):
        u = math.exp(-1 / 15) * u + (1 - math.exp(-1 / 15)) * (
            z @ p["snn.2.W.weight"].T + p["snn.2.W.bias"]
        )
        score = score + (torch.softmax(u, 1) if t >= 10 else 0)
    return functional.cross_entropy(score, y), x


def brf_by_hand(p, x, y):
    """Loss of the published network: one layer, and the likelihood of every step."""
    W, V, omega, b_0 = (p[f"snn.0.{k}"] for k in ("W.weight", "V.weight", "omega", "b"))
    omega, d = omega.abs(), 0.01
    u = v = q = z = torch.zeros(len(x), len(omega), dtype=x.dtype)
    decay, out, loss, steps = torch.exp(-1 / p["snn.1.tau"].abs()), 0, 0, []

    def bell(d, deviation):
        return torch.exp(-0.5 * (d / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))

    for x_t in x.unbind(1):
        b = (-1 + torch.sqrt(1 - (d * omega) ** 2)) / d - b_0.abs() - q
        current = torch.cat([x_t, z], 1) @ torch.cat([W, V], 1).T
        u, v = u + b * u * d - omega * v * d + current * d, v + omega * u * d + b * v * d
        z = _Spike.apply(u - 1 - q, lambda d: 0.5 * (1.15 * bell(d, 0.5) - 0.3 * bell(d, 3)))
        q = 0.9 * q + z
        out = decay * out + (1 - decay) * (z @ p["snn.1.W.weight"].T)
        loss = loss + functional.nll_loss(functional.log_softmax(out, 1), y)
        steps.append(z)
    return loss, torch.stack(steps, 1)


PUBLISHED = {
    "SEadLIF": (partial(seadlif_by_hand, forward=False), 0.01, 1.5),
    "EFadLIF": (partial(seadlif_by_hand, forward=True), 0.01, 1.5),
    "BRF": (brf_by_hand, 0.075, None),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("neuron", PUBLISHED)
def test_published_networks(neuron, backend):
    """Losses, spikes and weights of five steps against a program in float64 of its own."""
    by_hand, lr, most = PUBLISHED[neuron]
    common = {"normalization": "none", "init_state": "zero", "backend": backend}
    if neuron == "BRF":
        options = {"readout_tau": 20.0, "surrogate": "double_gaussian", "surrogate_width": 0.5}
        sizes, scale = [7, 4], 60.0
    else:
        options = {"readout_decay": math.exp(-1 / 15), "readout_start": 10, "use_bias": True}
        options |= {"surrogate": "slayer", "surrogate_width": 0.2}
        sizes, scale = [7, 8, 4], 15.0
    torch.manual_seed(5)
    net = SNN((None, None, 6), sizes, neuron, **common, **options)
    net.keep_potentials = neuron == "BRF"
    with torch.no_grad():
        for layer in net.hidden_layers:
            layer.W.weight *= scale
    x, y = torch.poisson(torch.full((3, 40, 6), 0.7)), torch.tensor([0, 3, 1])
    names = [name for name, _ in net.named_parameters()]
    exact = {n: p.detach().double().requires_grad_() for n, p in net.named_parameters()}
    ours = build_optimizer(net, TrainingConfig(lr=lr))
    theirs = torch.optim.Adam(exact.values(), lr)
    for _ in range(5):
        expected, spikes = by_hand(exact, x.double(), y)
        activity = net.activity(x)
        loss = functional.cross_entropy(activity.output, y)
        if neuron == "BRF":
            loss = nll_steps(activity.output, activity.potentials, y, TrainingConfig())
        assert torch.equal(activity.layers[-1].spikes.double(), spikes)
        assert spikes.any()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        for optimizer, value in ((ours, loss), (theirs, expected)):
            optimizer.zero_grad()
            value.backward()
        for name, p in net.named_parameters():
            assert distance(p.grad.double(), exact[name].grad) < 1e-4, name
        for parameters in (net.parameters(), exact.values()) if most else ():
            torch.nn.utils.clip_grad_norm_(parameters, most)
        ours.step(), theirs.step()
        net.clamp_parameters()
        with torch.no_grad():
            for name in names if neuron != "BRF" else ():
                if name.rsplit(".")[-1] in ("m_u", "m_w", "a", "b"):
                    exact[name].clamp_(0, 2 if name.endswith(".b") else 1)


def test_ranges_are_kept_after_steps_and_not_at_use():
    layer = LAYERS["SEadLIF"](6, 5)
    net = SNN((None, None, 6), [5, 3], "SEadLIF")
    net.snn[0] = layer
    with torch.no_grad():
        layer.m_u.fill_(1.5)
        layer.b.fill_(3.0)
        expected = torch.full((5,), math.exp(-1 / 35))
        torch.testing.assert_close(layer.coefficients().alpha, expected)
    net.clamp_parameters()
    assert (layer.m_u == 1).all()
    assert (layer.b == 2).all()
