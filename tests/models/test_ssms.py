# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""State-space networks: against loops in double precision, and what published programs computed."""

import copy
import math

import numpy as np
import pytest
import torch
from snn_cases import SIZES, B, F, T, make_input, make_net
from torch.nn import functional

from models.network import events
from models.s4d import DT_MIN, S4DKernel
from models.ssms import BLOCKS, SSM, ResidualLayer
from parsers.model_config import S4D_TYPES, SSM_TYPES, ModelConfig
from parsers.training_config import TrainingConfig
from training.build import build_optimizer, build_scheduler
from training.errors import CheckpointError
from training.record.checkpoint import load_weights

all_blocks = pytest.mark.parametrize("name", BLOCKS)
of_s4d = pytest.mark.parametrize("name", S4D_TYPES)


def published(shared_folder, name):
    """A published case."""
    try:
        return torch.load(shared_folder / "goldens/beyond" / f"{name}.pt", weights_only=True)
    except FileNotFoundError:
        pytest.skip(f"{name} is kept back")


def distance(found, expected):
    """The largest difference, relative to the largest entry."""
    return ((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30)).item()


def network_of(config) -> SSM:
    """The network of a published case, drawn from its seed."""
    torch.manual_seed(config["seed"])
    features = {"state_size": config["state_size"], "dt_max": config["dt_max"], "dt_min": DT_MIN}
    return SSM(
        (None, None, config["F"]), config["layer_sizes"], "S4D", config["dropout"], config["norm"],
        config["bias"], config["bidir"], extra_features=features,
    )  # fmt: skip


# Against loops in double precision


def arrays(module) -> dict:
    """Parameters in double precision, by their last names."""
    return {
        name.split(".")[-1]: p.detach().double().numpy() for name, p in module.named_parameters()
    }


def step_by_step(x, D, C, log_dt, log_A_real, A_imag, **_):
    """y [T, H] of ``x`` [T, H] by the equation of the state, discretised for steps of dt."""
    A = -np.exp(log_A_real) + 1j * A_imag
    decay = np.exp(np.exp(log_dt)[:, None] * A)
    state, found = np.zeros_like(A), []
    for u in x:
        state = decay * state + (decay - 1) / A * u[:, None]
        found.append(2 * ((C[..., 0] + 1j * C[..., 1]) * state).sum(axis=1).real + D * u)
    return np.array(found)


def block_of(name, u, weight, bias, **_):
    """Output [T, H] of a block that has filtered its input to ``u`` [T, H]."""
    erf = np.vectorize(math.erf)
    a = u > 0.15 if name == "SpikingS4D" else 0.5 * u * (1 + erf(u / math.sqrt(2)))
    first, second = np.split(a @ weight[..., 0].T + bias, 2, axis=1)
    return first / (1 + np.exp(-second))


@pytest.mark.parametrize("length", [1, 2, 9, 50])
@of_s4d
def test_layers_are_the_published_equations(name, length):
    torch.manual_seed(3)
    options = {"state_size": 6, "threshold": 0.15}
    layer = ResidualLayer(F, 5, block=BLOCKS[name], normalization="none", options=options)
    x = torch.randn(2, length, F)
    output, activations, *_ = layer(x)
    for clip, found, activation in zip(x, output, activations, strict=True):
        z = clip.double().numpy() @ layer.encoder.weight.detach().double().numpy().T
        u = step_by_step(z, **arrays(layer.block))
        if layer.block.spikes:
            assert np.abs(u - 0.15).min() > 1e-5  # no spike hangs by rounding
            assert np.array_equal(activation.detach().numpy(), u > 0.15)
        expected = z + block_of(name, u, **arrays(layer.block))
        assert np.abs(found.detach().numpy() - expected).max() < 1e-6 * np.abs(expected).max()


@all_blocks
def test_gradients_are_those_of_the_steps(name):
    """The convolution and its kernel have a backward pass of their own."""
    torch.manual_seed(1)
    block = BLOCKS[name](4, options={"state_size": 6, "threshold": 0.15}).double()
    x, cotangent = torch.randn(2, B, T, 4, dtype=torch.double)
    results = []
    for state in (None, block.initial_state(x)):
        given = x.clone().requires_grad_()
        block.zero_grad()
        (block(given, state)[0] * cotangent).sum().backward()
        results.append([given.grad, *(p.grad for p in block.parameters())])
    for found, expected in zip(*results, strict=True):
        assert expected.any()
        assert distance(found, expected) < 1e-10


@pytest.mark.parametrize("normalization", ["batchnorm", "layernorm", "none"])
@all_blocks
def test_streaming_gives_the_scores_of_whole_clips(name, normalization):
    net, x = make_net(name, normalization=normalization), make_input((B, 60, F))
    net(x)  # moves the statistics of batchnorm
    state, scores = net.eval().initial_state(B), []
    for step in x.unbind(dim=1):
        found, state = net.step(step, state)
        scores.append(found)
    assert distance(torch.stack(scores).mean(dim=0), net(x)[0]) < 1e-5


def test_a_bidirectional_network_does_not_stream():
    with pytest.raises(ValueError, match="bidirectional network hears clips from their end"):
        make_net("S4D", bidirectional=True).initial_state(1)


@all_blocks
def test_the_second_half_of_a_bidirectional_layer_hears_time_backwards(name):
    options = {"block": BLOCKS[name], "normalization": "none", "options": {"threshold": 0.1}}
    layer, one_way = (ResidualLayer(F, 4, bidirectional=both, **options) for both in (True, False))
    one_way.load_state_dict(layer.state_dict())
    x = torch.randn(B, T, F)
    output = layer(x).output
    assert layer.output_size == output.shape[2] == 8
    torch.testing.assert_close(output[..., :4], one_way(x).output)
    torch.testing.assert_close(output[..., 4:], one_way(x.flip(1)).output.flip(1))


def test_time_steps_start_within_their_options():
    dt = S4DKernel(500, 2, dt_min=0.02, dt_max=0.3).log_dt.exp()
    assert 0.02 <= dt.min() < 0.025
    assert 0.25 < dt.max() <= 0.3


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"state_size": 5}, "state_size must be an even number above 0, got 5"),
        ({"dt_min": 0.2, "dt_max": 0.1}, "dt_min and dt_max must be positive numbers"),
    ],
)
def test_impossible_features_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        make_net("S4D", extra_features=features)


def test_a_misspelt_feature_is_refused():
    with pytest.raises(TypeError, match=r"no block asks for 'dt_mn' .*dt_min"):
        make_net("S4D", extra_features={"dt_mn": 0.1})


def test_an_unknown_type_lists_the_known_ones():
    with pytest.raises(ValueError, match="'S5' is not one of S4D, SpikingS4D, Mamba"):
        SSM((B, T, F), SIZES, "S5")


def test_the_command_line_knows_every_block():
    assert tuple(BLOCKS) == SSM_TYPES


@pytest.mark.parametrize("bidirectional", [False, True])
def test_rates_and_operations_are_those_of_the_spikes(bidirectional):
    net, x = make_net("SpikingS4D", bidirectional=bidirectional).eval(), make_input()
    activity, directions = net.activity(x), 1 + bidirectional
    spikes = [layer.spikes for layer in activity.layers]
    assert all(0 < s.mean() < 1 and set(s.unique().tolist()) == {0, 1} for s in spikes)
    widths = [SIZES[0] * directions, SIZES[1] * directions]
    assert activity.firing_rates.shape == (F + sum(widths),)
    for found, s in zip(activity.firing_rates[F:].split(widths), spikes, strict=True):
        torch.testing.assert_close(found.mean(), s.mean())
    sop = events(x) * SIZES[0]
    sop += sum(events(s) * 2 * size for s, size in zip(spikes, SIZES[:2], strict=True))
    assert activity.sop == sop / B
    assert net.nb_state_variables() == 64 * sum(widths)


# Against the published program


@pytest.mark.parametrize("name", ["s4d_kernel", "s4d_kernel_long"])
def test_published_kernel(shared_folder, name):
    golden = published(shared_folder, name)
    config = golden["config"]
    torch.manual_seed(config["seed"])
    kernel = S4DKernel(config["H"], config["N"], config.get("dt_min", DT_MIN), config["dt_max"])
    for key, drawn in kernel.state_dict().items():
        assert torch.equal(drawn, golden["state_dict"][key]), key
    found = kernel(config.get("L") or golden["kernel"].shape[1])
    assert distance(found, golden["kernel64"]) < 2e-5
    (found * golden["cot"]).sum().backward()
    for key, parameter in kernel.named_parameters():
        assert distance(parameter.grad, golden["grads"][key]) < 2e-5, key


@pytest.mark.parametrize("name", ["s4d_block", "s4d_block_dropout"])
def test_published_block(shared_folder, name):
    golden = published(shared_folder, name)
    config = golden["config"]
    torch.manual_seed(config["seed"])
    features = {"state_size": config["N"], "dt_max": config["dt_max"]}
    block = BLOCKS["S4D"](config["H"], dropout=config["dropout"], options=features)
    for key, drawn in block.state_dict().items():
        assert torch.equal(drawn, golden["state_dict"][key]), key
    x = golden["x"].clone().requires_grad_()
    torch.manual_seed(config["seed"] + 1)
    found, _, _ = block(x)
    assert distance(found, golden["out"]) < 1e-6
    (found * golden["cot"]).sum().backward()
    assert distance(x.grad, golden["grads"]["x"]) < 1e-5
    for key, parameter in block.named_parameters():
        assert distance(parameter.grad, golden["grads"][key]) < 1e-5, key
    if config["dropout"] == 0:
        assert distance(block(x, block.initial_state(x))[0], golden["out"]) < 1e-6


@pytest.mark.parametrize("name", ["s4d_net", "s4d_net_dropout", "s4d_net_layernorm_bias"])
def test_published_network(shared_folder, name):
    golden = published(shared_folder, name)
    config, x, y = golden["config"], golden["x"], golden["y"]
    net = network_of(config)
    for key, drawn in net.state_dict().items():
        assert torch.equal(drawn, golden["init"][key]), key
    net.load_state_dict(golden["init"])  # with the norms that nothing uses
    trained = copy.deepcopy(net)
    torch.manual_seed(config["seed"] + 1)
    found = net(x)[0]
    loss = functional.cross_entropy(found, y)
    loss.backward()
    assert distance(found, golden["logits"]) < 1e-6
    assert distance(loss, golden["loss"]) < 1e-6
    for key, parameter in net.named_parameters():
        assert distance(parameter.grad, golden["grads"][key]) < 1e-5, key
    for key, expected in golden["running"].items():
        assert distance(net.get_buffer(key), expected) < 1e-6, key
    assert distance(net.eval()(x)[0], golden["eval_logits"]) < 1e-6
    optimizer = build_optimizer(trained, TrainingConfig(lr=config["lr"], s4_opt=True))
    torch.manual_seed(config["seed"] + 3)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        losses.append(functional.cross_entropy(trained(x)[0], y))
        losses[-1].backward()
        optimizer.step()
    assert distance(torch.stack(losses), golden["adamw_losses"]) < 1e-5
    for key, value in trained.state_dict().items():
        assert distance(value.float(), golden["adamw_state"][key].float()) < 1e-4, key


def test_published_parameters(shared_folder):
    golden = published(shared_folder, "s4d_published_config")
    features = {"state_size": 64, "dt_max": 0.1}
    net = SSM((None, None, 40), [128] * 6 + [35], "S4D", extra_features=features)
    shapes = {name: list(p.shape) for name, p in net.named_parameters()}
    used = {n: shape for n, shape in golden["shapes"].items() if "out_norm" not in n}
    assert shapes == used
    count = sum(p.numel() for p in net.parameters())
    assert count == golden["total_parameters"] - golden["unused_out_norm_parameters"] == 309_155
    names = {id(p): name for name, p in net.named_parameters()}
    options = TrainingConfig(lr=0.005, s4_opt=True, scheduler_patience=0)
    optimizer = build_optimizer(net, options)
    assert isinstance(optimizer, torch.optim.AdamW)
    for found, expected in zip(optimizer.param_groups, golden["groups"], strict=True):
        assert {names[id(p)] for p in found["params"]} == {*expected["names"]} & {*used}
        assert (found["lr"], found["weight_decay"]) == (expected["lr"], expected["weight_decay"])
    scheduler = build_scheduler(optimizer, options, net)
    for _ in range(60):
        scheduler.step(0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-6, 1e-6]


def test_a_checkpoint_with_norms_that_nothing_uses_loads(tmp_path):
    net, other = make_net("S4D"), make_net("S4D", seed=1)
    unused = {
        f"snn.{i}.out_norm.{kind}": torch.ones(5) for i in (0, 1) for kind in ("weight", "bias")
    }
    torch.save(net.state_dict() | unused, tmp_path / "published.pth")
    load_weights(other, tmp_path / "published.pth")
    assert all(map(torch.equal, net.parameters(), other.parameters()))
    torch.save(net.state_dict() | {"snn.0.mine": torch.ones(5)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"'snn\.0\.mine' is not in the model"):
        load_weights(other, tmp_path / "other.pth")


def test_a_run_has_every_feature():
    assert {"state_size", "dt_min", "dt_max"} <= set(vars(ModelConfig()))
