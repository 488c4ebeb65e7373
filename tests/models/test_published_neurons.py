# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""SE-adLIF, BRF and the LIF of delay networks against what their published programs computed."""

import pytest
import torch

from models.snns import LAYERS
from models.surrogate import surrogate

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
