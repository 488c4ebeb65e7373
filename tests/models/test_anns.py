# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What every non-spiking network promises beside the numbers of the goldens."""

import pytest
import torch

from models.anns import ANN, LAYERS, ANNLayer
from models.dynamics import summed
from parsers.model_config import ANN_TYPES

B, T, F = 2, 3, 5
SIZES = [4, 3, 6]
MEMORY = ("RNN", "LiGRU", "GRU")


def make_input(shape=(B, T, F)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def make_net(model: str, **options) -> ANN:
    torch.manual_seed(0)
    return ANN((B, T, F), SIZES, model, **options)


def make_layer(model: str, **options):
    torch.manual_seed(0)
    return LAYERS[model](F, SIZES[0], **({"normalization": "none", "use_bias": True} | options))


def test_steps_are_summed_one_after_another():
    steps = make_input((B, 200, 40)) * 1e3
    total = torch.zeros(B, 40)
    for t in range(200):
        total += steps[:, t]
    assert torch.equal(summed(steps), total)
    on_a_gpu = summed(steps.to("meta"))
    assert on_a_gpu.shape == total.shape


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


def test_the_command_line_knows_every_model():
    assert tuple(LAYERS) == ANN_TYPES


def test_an_mlp_has_no_second_direction():
    with pytest.raises(ValueError, match="MLP has no memory, so bidirectional=True"):
        make_net("MLP", bidirectional=True)


def test_a_layer_without_a_recurrence_says_so():
    with pytest.raises(TypeError, match="ANNLayer"):
        ANNLayer(F, 3)(make_input())
