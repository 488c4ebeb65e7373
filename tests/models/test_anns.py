# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What every non-spiking network promises: equations, both directions and errors."""

import math

import pytest
import torch
from torch import nn

from models.anns import ANN, LAYERS, ANNLayer
from models.dynamics import summed
from parsers.model_config import ANN_TYPES

B, T, F = 2, 3, 5
SIZES = [4, 3, 6]
MEMORY = ("RNN", "LiGRU", "GRU")

all_models = pytest.mark.parametrize("model", LAYERS)


def make_input(shape=(B, T, F)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def make_net(model: str, seed: int = 0, **options) -> ANN:
    torch.manual_seed(seed)
    return ANN((B, T, F), SIZES, model, **options)


def make_layer(model: str, **options):
    torch.manual_seed(0)
    return LAYERS[model](F, SIZES[0], **({"normalization": "none", "use_bias": True} | options))


# Equations, written out number by number


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def affine(linear: nn.Linear, x: list[float]) -> list[float]:
    y = [sum(w * v for w, v in zip(row, x, strict=True)) for row in linear.weight.tolist()]
    if linear.bias is None:
        return y
    return [v + c for v, c in zip(y, linear.bias.tolist(), strict=True)]


def step_by_hand(model: str, layer, x: list[float], y: list[float]) -> list[float]:
    """y_t of x_t and y_{t-1} by the equations of the models' definition."""

    def gate(function, name: str, previous: list[float]) -> list[float]:
        forward = affine(getattr(layer, f"W{name}"), x)
        recurrent = affine(getattr(layer, f"V{name}"), previous)
        return [function(i + v) for i, v in zip(forward, recurrent, strict=True)]

    if model == "MLP":
        return [sigmoid(i) for i in affine(layer.W, x)]
    if model == "RNN":
        return gate(sigmoid, "", y)
    z = gate(sigmoid, "z", y)
    if model == "LiGRU":
        candidate = gate(lambda v: max(v, 0.0), "", y)
    else:
        r = gate(sigmoid, "r", y)
        candidate = gate(math.tanh, "", [a * b for a, b in zip(r, y, strict=True)])
    return [k * old + (1 - k) * new for k, old, new in zip(z, y, candidate, strict=True)]


@all_models
@pytest.mark.parametrize("use_bias", [False, True])
def test_equations(model, use_bias):
    layer = make_layer(model, use_bias=use_bias)
    x = make_input()
    output = layer(x)
    for n in range(B):
        y = [0.0] * SIZES[0]
        for t in range(T):
            y = step_by_hand(model, layer, x[n, t].tolist(), y)
            assert output[n, t].tolist() == pytest.approx(y, abs=1e-6)


def test_steps_are_summed_one_after_another():
    steps = make_input((B, 200, 40)) * 1e3
    total = torch.zeros(B, 40)
    for t in range(200):
        total += steps[:, t]
    assert torch.equal(summed(steps), total)
    on_a_gpu = summed(steps.to("meta"))
    assert on_a_gpu.shape == total.shape


# Both directions and dropout


@pytest.mark.parametrize("model", MEMORY)
def test_the_second_half_of_a_bidirectional_layer_hears_time_backwards(model):
    layer = make_layer(model, bidirectional=True)
    one_way = make_layer(model)
    one_way.load_state_dict(layer.state_dict())
    x = make_input()
    output = layer(x)
    assert layer.output_size == output.shape[2] == 2 * SIZES[0]
    torch.testing.assert_close(output[..., : SIZES[0]], one_way(x))
    torch.testing.assert_close(output[..., SIZES[0] :], one_way(x.flip(1)).flip(1))


# Errors


def test_the_command_line_knows_every_model():
    assert tuple(LAYERS) == ANN_TYPES


def test_an_mlp_has_no_second_direction():
    with pytest.raises(ValueError, match="MLP has no memory, so bidirectional=True"):
        make_net("MLP", bidirectional=True)


def test_a_layer_without_a_recurrence_says_so():
    with pytest.raises(TypeError, match="ANNLayer"):
        ANNLayer(F, 3)(make_input())
