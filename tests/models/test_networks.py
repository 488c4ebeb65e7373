# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What spiking and non-spiking networks have in common: options, inputs, weights and errors."""

import copy
import pickle
import re

import pytest
import torch
from snn_cases import SIZES, B, F, T, check_gradients, make_input, make_net

from models import linear
from models.anns import ANN, ANNLayer
from models.anns import LAYERS as ANN_LAYERS
from models.dynamics import summed
from models.snns import LAYERS, SNN
from models.ssms import BLOCKS
from parsers.model_config import ANN_TYPES

MODELS = [*LAYERS, *ANN_LAYERS, *BLOCKS]
KINDS = {"SiLIF": SNN, "GRU": ANN}

all_models = pytest.mark.parametrize("name", MODELS)
both_kinds = pytest.mark.parametrize("name", KINDS)


def scores(net, x):
    torch.manual_seed(2)
    return net(x)[0]


# Every pair of values of two options is here.
@pytest.mark.parametrize(
    ("normalization", "bidirectional", "use_bias", "use_readout_layer"),
    [
        ("batchnorm", False, False, True),
        ("batchnorm", True, True, False),
        ("layernorm", False, True, True),
        ("layernorm", True, False, False),
        ("none", False, True, False),
        ("none", True, False, True),
    ],
)
@all_models
def test_every_parameter_learns(name, normalization, bidirectional, use_bias, use_readout_layer):
    net = make_net(
        name,
        normalization=normalization,
        bidirectional=bidirectional and name != "MLP",
        use_bias=use_bias,
        use_readout_layer=use_readout_layer,
    )
    output, rates, sop = net(make_input())
    hidden = net.layers[:-1] if use_readout_layer else net.layers
    assert output.shape == ((B, SIZES[-1]) if use_readout_layer else (B, T, hidden[-1].output_size))
    if net.is_snn:
        assert rates.shape == (F + sum(layer.output_size for layer in hidden),)
        assert sop.shape == ()
    else:
        assert (rates, sop) == (None, None)
    check_gradients(net, output, normalization)


@all_models
def test_four_dimensional_input_is_flattened(name):
    net = make_net(name, shape=(None, None, 4, 3)).eval()
    x = make_input((B, T, 4, 3))
    assert torch.equal(scores(net, x), scores(net, x.reshape(B, T, 12)))


@all_models
def test_saved_weights_load_strictly_and_compute_the_same(name, tmp_path):
    net = make_net(name)
    net(make_input())  # moves the running statistics of batchnorm
    torch.save(net.state_dict(), tmp_path / "model.pth")
    other = make_net(name, seed=99)
    other.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True), strict=True)
    expected = scores(net.eval(), make_input())
    for twin in (other.eval(), pickle.loads(pickle.dumps(net))):
        assert torch.equal(scores(twin, make_input()), expected)


@all_models
def test_double_precision_is_computed_in(name):
    single = make_net(name, normalization="layernorm").eval()
    double = copy.deepcopy(single).double()
    x = make_input().double()
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


@both_kinds
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_integer_inputs_equal_float_inputs(name, dtype):
    net, x = make_net(name).eval(), make_input() > 1
    assert torch.equal(scores(net, x.to(dtype)), scores(net, x.float()))


@both_kinds
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 5, 8), r"7 features, got \[3, 5, 8\]"),
        ((3, 5, 2, 2), "7 features"),
        ((3, 0, 7), "clips and time steps"),
        ((0, 5, 7), "clips and time steps"),
        ((5, 7), r"\[B, T, F\]"),
        ((3, 5, 7, 1, 1), r"\[B, T, F\]"),
    ],
)
def test_impossible_inputs_are_refused(name, shape, message):
    with pytest.raises(ValueError, match=message):
        make_net(name)(torch.ones(shape))


X = make_input()
UNFIT = {
    "NumPy": (X.numpy(), "input must be a tensor, got ndarray: torch.as_tensor"),
    "sparse": (X.to_sparse(), r"input must be dense, got torch.sparse_coo: x.to_dense\(\)"),
    "half": (X.half(), "input must be torch.float32, as the weights are, got torch.float16"),
    "double": (X.double(), "input must be torch.float32, as the weights are, got torch.float64"),
    "complex": (X * 1j, "input must be torch.float32, as the weights are, got torch.complex64"),
}


@both_kinds
@pytest.mark.parametrize("case", UNFIT)
def test_unfit_inputs_are_refused(name, case):
    x, message = UNFIT[case]
    with pytest.raises(TypeError, match=message):
        make_net(name)(x)


@both_kinds
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_in_half_precision_are_refused(name, dtype):
    for x in (X, X.to(dtype), X > 1):
        with pytest.raises(TypeError, match=f"float32 or float64, got {dtype}: call float()"):
            make_net(name).to(dtype)(x)


CHOICES = ", ".join(linear.NORMALIZATIONS)
IMPOSSIBLE = {
    **{f"sizes {s}": ({"sizes": s}, "layer_sizes") for s in ([], [4], [5, 0], [5, -1], [5, 2.5])},
    "no size": ({"sizes": [], "use_readout_layer": False}, "layer_sizes"),
    "size 0": ({"sizes": [0], "use_readout_layer": False}, "layer_sizes"),
    **{f"shape {s}": ({"shape": s}, "B, T, F") for s in ((B, F), (B, T, F, 2, 2), ())},
    **{
        f"shape {s}": ({"shape": s}, "positive numbers")
        for s in ((B, T, None), (B, T, 0), (B, T, F, 2.5))
    },
    "normalisation": ({"normalization": "mine"}, f"'mine' is not one of {CHOICES}"),
}


@both_kinds
@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_impossible_options_are_refused(name, case):
    options, message = IMPOSSIBLE[case]
    with pytest.raises(ValueError, match=message) as error:
        make_net(name, **options)
    assert "\n" not in str(error.value)


@both_kinds
@pytest.mark.parametrize(
    ("options", "form"),
    [({"shape": 140}, r"\(None, None, 140\), got 140"), ({"sizes": 5}, r"\[512, 512, 35\], got 5")],
)
def test_numbers_in_place_of_shapes_are_refused(name, options, form):
    with pytest.raises(TypeError, match=form):
        make_net(name, **options)


@pytest.mark.parametrize(("kind", "known"), [(SNN, LAYERS), (ANN, ANN_LAYERS)])
def test_an_unknown_type_lists_the_known_ones(kind, known):
    with pytest.raises(ValueError, match=re.escape("'GIF' is not one of")) as error:
        kind((B, T, F), SIZES, "GIF")
    assert str(error.value).endswith(", ".join(known))


@pytest.mark.parametrize("name", ["SiLIF", "MLP", "GRU"])
def test_backend_naive_reaches_every_module(name):
    parts = [part for part in make_net(name, backend="naive").modules() if hasattr(part, "backend")]
    assert len(parts) > 3
    assert {part.backend for part in parts} == {"naive"}


# Without spikes


def test_steps_are_summed_one_after_another():
    steps = torch.randn(2, 200, 40) * 1e3
    total = torch.zeros(2, 40)
    for step in steps.unbind(dim=1):
        total += step
    assert torch.equal(summed(steps), total)
    assert summed(steps.to("meta")).shape == total.shape  # as on a GPU


@pytest.mark.parametrize("name", ["RNN", "LiGRU", "GRU"])
def test_the_second_half_of_a_bidirectional_layer_hears_time_backwards(name):
    options = {"normalization": "none", "use_bias": True}
    layer, one_way = (
        ANN_LAYERS[name](F, 4, bidirectional=both, **options) for both in (True, False)
    )
    one_way.load_state_dict(layer.state_dict())
    x = torch.randn(B, T, F)
    output = layer(x)
    assert layer.output_size == output.shape[2] == 8
    torch.testing.assert_close(output[..., :4], one_way(x))
    torch.testing.assert_close(output[..., 4:], one_way(x.flip(1)).flip(1))


def test_the_command_line_knows_every_model():
    assert tuple(ANN_LAYERS) == ANN_TYPES


def test_a_bidirectional_mlp_is_refused():
    with pytest.raises(ValueError, match="MLP has no memory, so bidirectional=True"):
        make_net("MLP", bidirectional=True)


def test_a_layer_without_a_recurrence_says_so():
    with pytest.raises(TypeError, match="ANNLayer"):
        ANNLayer(F, 3)(make_input())
