# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a network takes: shapes, whole numbers, double precision."""

import copy

import pytest
import torch

from models.anns import ANN
from models.anns import LAYERS as ANN_LAYERS
from models.snns import LAYERS, SNN

MODELS = [*LAYERS, *ANN_LAYERS]


def network(name, **options):
    torch.manual_seed(1)
    kind = SNN if name in LAYERS else ANN
    return kind((None, None, 6), [8, 7, 4], name, **options).eval()


def scores(net, x):
    torch.manual_seed(2)
    return net(x)[0]


@pytest.mark.parametrize("name", ["SiLIF", "GRU"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_whole_numbers_are_numbers(name, dtype):
    net, x = network(name), torch.rand(3, 5, 6) < 0.4
    assert torch.equal(scores(net, x.to(dtype)), scores(net, x.float()))


@pytest.mark.parametrize("name", ["SiLIF", "GRU"])
@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((3, 5, 7), r"6 features, got \[3, 5, 7\]"),
        ((3, 5, 2, 2), "6 features"),
        ((3, 0, 6), "clips and time steps"),
        ((0, 5, 6), "clips and time steps"),
        ((5, 6), r"\[B, T, F\]"),
    ],
)
def test_other_shapes_are_named(name, shape, told):
    with pytest.raises(ValueError, match=told):
        network(name)(torch.ones(shape))


@pytest.mark.parametrize("name", MODELS)
def test_double_precision_is_computed_in(name):
    single = network(name, normalization="layernorm")
    double = copy.deepcopy(single).double()
    x = torch.rand(3, 9, 6, dtype=torch.float64)
    seen = []
    for module in list(double.modules())[1:]:
        module.register_forward_hook(lambda _m, _i, output: seen.extend(tensors(output)))
    found = scores(double, x)
    found.sum().backward()
    assert {t.dtype for t in seen} <= {torch.float64, torch.complex128}
    assert len(seen) > 6
    assert all(p.grad is None or p.grad.dtype == torch.float64 for p in double.parameters())
    assert (found - scores(single, x.float())).abs().max() < 0.5  # a spike may turn


def tensors(output):
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, tuple):
        for part in output:
            yield from tensors(part)
