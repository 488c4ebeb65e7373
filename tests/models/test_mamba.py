# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Mamba's block, against loops in double precision and, where it is installed, mamba-ssm."""

import numpy as np
import pytest
import torch
from snn_cases import make_input, make_net

from models.dynamics import describe
from models.mamba import Mamba

OPTIONS = {"state_size": 3}


def step_by_step(x, p):
    """The output [T, H] for ``x`` [T, H], one step and channel after another."""
    size, outputs = x.shape[1], []
    states, recent = np.zeros_like(p["A_log"]), np.zeros((4, size))
    for step in x:
        inner, gate = np.split(p["in_proj.weight"] @ step, 2)
        recent = np.vstack([recent[1:], inner])
        u = (recent.T * p["conv1d.weight"][:, 0]).sum(1) + p["conv1d.bias"]
        u = u / (1 + np.exp(-u))
        dt, B, C = np.split(p["x_proj.weight"] @ u, np.cumsum(sizes_of(p)))
        delta = np.log1p(np.exp(p["dt_proj.weight"] @ dt + p["dt_proj.bias"]))
        for channel in range(size):
            decay = np.exp(-delta[channel] * np.exp(p["A_log"][channel]))
            states[channel] = decay * states[channel] + delta[channel] * B * u[channel]
        y = (states @ C + p["D"] * u) * gate / (1 + np.exp(-gate))
        outputs.append(p["out_proj.weight"] @ y)
    return np.array(outputs)


def sizes_of(p):
    return p["dt_proj.weight"].shape[1], p["A_log"].shape[1]


@pytest.mark.parametrize("length", [1, 3, 50])
def test_the_block_is_the_published_equations(length):
    torch.manual_seed(4)
    block, x = Mamba(18, options=OPTIONS), torch.randn(2, length, 18)
    p = {name: value.double().numpy() for name, value in block.state_dict().items()}
    for clip, found in zip(x.double().numpy(), block(x)[0], strict=True):
        expected = step_by_step(clip, p)
        assert np.abs(found.detach().numpy() - expected).max() < 1e-5 * np.abs(expected).max()


def test_gradients_are_those_in_double_precision():
    torch.manual_seed(5)
    block, x = Mamba(18, options=OPTIONS), torch.randn(2, 40, 18)
    cotangent, found = torch.randn(2, 40, 18), []
    for dtype in (torch.float32, torch.float64):
        block.to(dtype).zero_grad()
        (block(x.to(dtype))[0] * cotangent.to(dtype)).sum().backward()
        found.append({name: p.grad.double() for name, p in block.named_parameters()})
    for name, expected in found[1].items():
        assert (found[0][name] - expected).abs().max() < 1e-5 * expected.abs().max(), name


def test_initial_values():
    torch.manual_seed(6)
    block = Mamba(64, options={"state_size": 5, "dt_min": 0.001, "dt_max": 0.1})
    assert {name: tuple(p.shape) for name, p in block.named_parameters()} == {
        "A_log": (64, 5), "D": (64,), "in_proj.weight": (128, 64), "conv1d.weight": (64, 1, 4),
        "conv1d.bias": (64,), "x_proj.weight": (14, 64), "dt_proj.weight": (64, 4),
        "dt_proj.bias": (64,), "out_proj.weight": (64, 64),
    }  # fmt: skip
    torch.testing.assert_close(block.A_log.exp(), torch.arange(1.0, 6).expand(64, 5))
    dt = torch.nn.functional.softplus(block.dt_proj.bias)
    assert 0.001 <= dt.min() < 0.0015
    assert 0.05 < dt.max() <= 0.1
    assert 0.4 < block.dt_proj.weight.abs().max() <= 0.5  # 1 / sqrt of the rank
    assert (block.D == 1).all()


def test_as_the_published_package_computes_it():
    published = pytest.importorskip("mamba_ssm.modules.mamba_simple")
    torch.manual_seed(7)
    theirs = published.Mamba(32, d_state=5, expand=1, use_fast_path=False)
    torch.manual_seed(7)
    ours = Mamba(32, options={"state_size": 5})
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    x = torch.randn(2, 20, 32)
    torch.testing.assert_close(ours(x)[0], theirs(x), rtol=1e-4, atol=1e-5)


def test_operations_are_counted():
    block = Mamba(18, options=OPTIONS)
    rows = sum(p.numel() for name, p in block.named_parameters() if "proj.weight" in name) / 18
    assert block.fan_out == rows
    assert block.update_operations == (2, 4 * 3 + 4 + 5)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"state_size": 0}, "state_size must be a whole number above 0, got 0"),
        ({"dt_min": 0.2, "dt_max": 0.1}, "dt_min and dt_max must be positive numbers"),
    ],
)
def test_impossible_features_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        make_net("Mamba", extra_features=features)


def test_the_back_end_is_that_of_the_run_and_described():
    pytest.importorskip("numba")
    nets = [make_net("Mamba", backend=backend).eval() for backend in ("auto", "naive")]
    x = make_input()
    torch.testing.assert_close(nets[0](x)[0], nets[1](x)[0], rtol=1e-4, atol=1e-6)
    said = [describe(net) for net in nets]
    assert "compiled CPU kernels (numba) in layer 1, 2" in said[0]
    assert said[1] == "Dynamics: plain PyTorch"
