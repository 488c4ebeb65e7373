# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Learnable delays of recurrent spikes: their taps, schedule, evaluation and counts."""

import pytest
import torch
from torch.nn import functional

from models.dynamics.naive import _Returning
from models.recurrent_delays import RecurrentDelay
from models.snns import LAYERS
from models.surrogate import surrogate
from tests.models.snn_cases import B, F, T, all_neurons, check_gradients, make_input, make_net

DELAYED = {"recurrent": "dense", "recurrent_delay": "axonal"}
SHORT = DELAYED | {"extra_features": {"recurrent_delay_width": 2.0, "recurrent_sigma": 1.0}}


def made(d, sigma, p=None):
    delay = RecurrentDelay(len(d), sigma=sigma, learn_spread=p is not None)
    delay.d.data.copy_(torch.as_tensor(d))
    if p is not None:
        delay.p.data.copy_(torch.as_tensor(p))
    return delay


@pytest.mark.parametrize("sigma", [0.0, 0.07, 1.5, 4.0])
@pytest.mark.parametrize("learned", [False, True])
def test_taps_are_a_triangle_around_the_delay(sigma, learned):
    d, p = [0.0, 0.3, 2.0, 5.75], [-1.0, 0.0, 0.5, 3.0]
    delay = made(d, sigma, p if learned else None).double()
    weights = torch.linspace(-1, 2, 15).double()
    dense = delay.feedback(None).dense()
    dense = functional.pad(dense, (0, 0, 0, 15))[:15]
    (dense * weights[:, None]).sum().backward()
    for j, (position, spread) in enumerate(zip(delay.d.tolist(), p, strict=True)):
        x = torch.tensor(spread, dtype=torch.float64, requires_grad=True)
        centre = torch.tensor(position, dtype=torch.float64, requires_grad=True)
        half = 1 + 2 * delay.sigma * x.sigmoid() if learned else 1 + delay.sigma + 0 * x
        k = torch.arange(1, 16, dtype=torch.float64)
        expected = (half - (k - 1 - centre).abs()).clamp(min=0) / half**2
        (expected * weights).sum().backward()
        torch.testing.assert_close(dense[:, j], expected)
        torch.testing.assert_close(delay.d.grad[j], centre.grad)
        if learned:
            torch.testing.assert_close(delay.p.grad[j], x.grad)


def test_corners_and_tip_of_the_triangle():
    """At the tip the gradient is 0, at an outer corner that of the inside."""
    delay = made([3.0], 1.0)  # taps at 2 ... 6 steps, corners included
    delay.feedback(None).dense()[1:6].sum(dim=1)[[0, 2, 4]].backward(torch.tensor([1.0, 10, 100]))
    assert delay.d.grad.item() == pytest.approx((-1 + 0 * 10 + 100) / 4)


def test_sigma_shrinks_with_the_epochs(original_goldens):
    golden = torch.load(original_goldens / "beyond" / "delrec_schedule.pt", weights_only=True)
    for name, epochs in (("equiparam_30", 30), ("e60", 60), ("ssc_100", 100), ("shd_150", 150)):
        expected = golden[name]
        expected = expected["sigma"] if isinstance(expected, dict) else expected
        delay, found = RecurrentDelay(2), []
        for epoch in range(epochs):
            delay.set_progress(epoch, epochs)
            found.append(delay.sigma.item())
        assert found == pytest.approx(torch.as_tensor(expected).tolist(), rel=1e-6)


@pytest.mark.parametrize("name", ["delrec_kernel", "delrec_current"])
def test_published_taps_and_currents(original_goldens, name):
    golden = torch.load(original_goldens / "beyond" / f"{name}.pt", weights_only=True)
    for run in golden["runs"].values():
        delay = made(golden["d"], run["sigma"], golden["p"] if run["use_p"] else None)
        leaves = {"d": delay.d, "p": delay.p}
        if name == "delrec_kernel":
            found, expected = functional.pad(delay.feedback(None).dense().T, (1, 24)), run["h"]
            found = found[:, : expected.shape[1]]
        else:
            V = leaves["W_rec"] = golden["W_rec"].clone().requires_grad_()
            spikes = leaves["spikes"] = golden["spikes"].clone().requires_grad_()
            silence = torch.zeros_like(spikes[:, 0])
            returning = _Returning(delay.feedback(V.T), spikes)
            before = [silence, *spikes.unbind(dim=1)[:-1]]
            found = torch.stack([returning(silence, s) for s in before], dim=1)
            expected = run["drive"]
        (found * golden["cot"]).sum().backward()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * expected.abs().max())
        for key, gradient in run["grad"].items():
            atol = 1e-5 * float(gradient.abs().max())
            torch.testing.assert_close(leaves[key].grad, gradient, rtol=0, atol=atol)


@all_neurons
def test_delays_learn_under_both_back_ends(neuron):
    found = []
    for backend in ("naive", "auto"):
        net = make_net(neuron, bidirectional=True, recurrent_dropout=0.3, backend=backend, **SHORT)
        torch.manual_seed(2)
        check_gradients(net, net(make_input())[0], "batchnorm")
        delays = [layer.recurrent_delay.d for layer in net.hidden_layers]
        found.append(
            [d.grad for d in delays] + [layer.V.weight.grad for layer in net.hidden_layers]
        )
    for ours, reference in zip(*found, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-3, atol=1e-5)


def test_delays_are_trained_as_such_and_stay_positive():
    net = make_net("LIF", **SHORT | {"extra_features": {"recurrent_spread": True}})
    kinds = {group["kind"]: len(group["params"]) for group in net.parameter_groups()}
    assert kinds["delay"] == 4
    net.snn[0].recurrent_delay.d.data.fill_(-0.5)
    net.clamp_parameters()
    assert not net.snn[0].recurrent_delay.d.any()
    net.set_progress(50, 100)
    assert net.snn[1].recurrent_delay.sigma.item() == pytest.approx(10 * 0.95**50)


def test_layers_can_be_recurrent_one_by_one():
    net = make_net("RadLIF", recurrent_layers=[2], recurrent_dropout=0.3, recurrent_delay="axonal")
    assert [layer.recurrent for layer in net.hidden_layers] == [False, True]
    assert [layer.recurrent_delay is None for layer in net.hidden_layers] == [True, False]
    with pytest.raises(ValueError, match="recurrent_layers names 3 of 2 layers"):
        make_net("RadLIF", recurrent_layers=[3])


def test_delays_start_as_asked():
    torch.manual_seed(0)
    near = RecurrentDelay(4000).d
    assert near.min() >= 0
    assert near.mean().item() == pytest.approx(12 * (2 / torch.pi) ** 0.5, rel=0.05)
    far = RecurrentDelay(4000, draw="uniform", mean=20, width=10).d
    assert 10 <= far.min() < 10.1 < 29.9 < far.max() <= 30


def test_evaluation_rounds_a_copy_of_the_delays():
    net = make_net("adLIF", **SHORT)
    delay = net.snn[0].recurrent_delay
    delay.d.data.copy_(torch.tensor([0.5, 1.5, 2.4, 2.6, 0.0, 7.0]))
    before = delay.d.detach().clone()
    delay.sigma.fill_(0.0)
    net.eval()(make_input())
    assert torch.equal(delay.d, before)
    assert delay.delays().tolist() == [0, 2, 2, 3, 0, 7]
    assert delay.ways().nonzero().tolist() == [[0, 0], [0, 4], [2, 1], [2, 2], [3, 3], [7, 5]]
    assert "snn.0.recurrent_delay.sigma" in net.state_dict()


def test_no_delay_is_a_recurrence_with_self_connections():
    plain, delayed = make_net("LIF", recurrent="dense"), make_net("LIF", **DELAYED)
    for layer, other in zip(plain.hidden_layers, delayed.hidden_layers, strict=True):
        layer.self_connections = True
        other.load_state_dict(layer.state_dict(), strict=False)
        other.recurrent_delay.sigma.zero_()
        other.recurrent_delay.d.data.zero_()
    plain.snn[-1].load_state_dict(delayed.snn[-1].state_dict())
    found = []
    for net in (plain, delayed):
        torch.manual_seed(4)
        found.append(net.activity(make_input()))
    for ours, other in zip(*found, strict=True):
        if isinstance(ours, torch.Tensor):
            assert torch.equal(ours, other)
    assert plain.nb_state_variables() == delayed.nb_state_variables()


def test_dropout_drops_for_all_steps():
    """What arrives through V is 0 or grown at every step of a clip alike, in training only."""
    net = make_net("LIF", recurrent="dense", recurrent_dropout=0.5)
    layer, current = net.snn[0], torch.zeros(4, T, 6)
    mask = layer.feedback(current).mask
    assert set(mask.flatten().tolist()) == {0.0, 2.0}
    assert not torch.equal(layer.feedback(current).mask, mask)
    assert layer.eval().feedback(current).mask is None


def test_operations_and_state_of_delayed_spikes():
    """Each tap of a spike that returns before the end reaches every neuron; a line has memory."""
    net = make_net("LIF", **SHORT).eval()
    layer = net.snn[0]
    layer.recurrent_delay.d.data.copy_(torch.tensor([0.0, 1.0, 3.0, 5.0, 2.2, 40.0]))
    layer.recurrent_delay.sigma.fill_(0.5)  # half width 1.5: one tap on each side of the middle
    spikes = net.activity(make_input()).layers[0].spikes
    expected = 0
    for t in range(T):
        for j, d in enumerate([0, 1, 3, 5, 2, 40]):
            ways = [k for k in (d, d + 1, d + 2) if k >= 1 and t + k < T]
            expected += len(ways) * int(spikes[:, t, j].sum()) * 6
    assert layer.recurrent_delay.arrivals(spikes).item() * 6 == expected > 0
    # The last of these steps, less the one that plain recurrent weights take
    assert layer.recurrent_delay.nb_state_variables() == sum([0, 1, 3, 5, 2, 40]) + 6


def test_export_refuses_delays():
    with pytest.raises(TypeError, match=r"torch.export takes no recurrent delays"):
        torch.export.export(make_net("LIF", **SHORT).eval(), (make_input(),))


def test_delays_need_recurrent_weights():
    with pytest.raises(ValueError, match=r"--recurrent_delay is for recurrent weights.*LIFLayer"):
        make_net("LIF", recurrent_delay="axonal")
    with pytest.raises(ValueError, match="--recurrent_dropout is for recurrent weights"):
        make_net("LIF", recurrent_dropout=0.1)
    with pytest.raises(ValueError, match="recurrent_delay 'dendritic' is not one of none, axonal"):
        make_net("RLIF", recurrent_delay="dendritic")
    assert make_net("RLIF", recurrent_delay="axonal")(make_input((B, T, F)))[0].shape[0] == B


@pytest.mark.parametrize("backend", ["naive", "cpu"])
@pytest.mark.parametrize("name", ["delrec_layer_shd", "delrec_layer_ssc"])
def test_published_layers(original_goldens, name, backend):
    """A step at a time: their potentials are known, and lines carry spikes and gradients on."""
    file = original_goldens / "beyond" / f"{name}.pt"
    if not file.exists():
        pytest.skip(f"{name} is not there")
    golden = torch.load(file, weights_only=True)
    config, trained = golden["config"], golden["state_dict"]
    soft = config["reset"] == "soft"
    features = {"tau": config["tau"], "reset": config["reset"], "detach_reset": not soft}
    features["recurrent_spread"] = config["use_sig_p"]
    layer = LAYERS["LIFNode"](
        F, config["N"], extra_features=features, init_state="zero", backend=backend,
        surrogate=surrogate(*(("triangle", 1.0) if soft else ("atan", 2 / 5))), **DELAYED,
    )  # fmt: skip
    delay = layer.recurrent_delay
    leaves = {"recurrent_delays": delay.d, "p_spread": delay.p}
    leaves = {key: x for key, x in leaves.items() if key in trained}
    for key, x in leaves.items():
        x.data.copy_(trained[key])
    for key, run in golden["runs"].items():
        leaves["recurrent_weights"] = trained["recurrent_weights"].clone().requires_grad_()
        leaves["x"] = golden["x"].clone().requires_grad_()
        delay.sigma.fill_(run["sigma"])
        delay.train(key != "eval_rounded")
        given = delay.feedback(leaves["recurrent_weights"].T, run.get("rec_dropout_mask"))
        layer.feedback = lambda current, given=given: given
        state, spikes, v = layer.initial_state(leaves["x"]), [], []
        for x in leaves["x"].split(1, dim=1):
            fired, state = layer.dynamics(x, state)
            spikes.append(fired)
            v.append(state.neurons.u)
        spikes, v = torch.cat(spikes, dim=1), torch.stack(v, dim=1)
        assert torch.equal(spikes, run["spikes"])
        torch.testing.assert_close(v, run["v"], rtol=1e-6, atol=2e-6)
        layer.zero_grad()
        if "grads" in run:
            (spikes * golden["cot_spikes"] + v * golden["cot_v"]).sum().backward()
        for parameter, gradient in run.get("grads", {}).items():
            atol = 1e-5 * float(gradient.abs().max())
            torch.testing.assert_close(leaves[parameter].grad, gradient, rtol=0, atol=atol)
