# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Feed-forward weights in less than float32, and compiled CPU kernels of weights and dropout."""

import importlib

import pytest
import torch
from torch import nn

from models.anns import ANN
from models.linear import PRECISIONS, Dropout, Linear, Pointwise, set_precision
from models.places import Places
from models.snns import SNN
from models.ssms import SSM

pytest.importorskip("numba")
cpu = importlib.import_module("models.linear_cpu")
events_cpu = importlib.import_module("models.events_cpu")
ordered = importlib.import_module("models.linear_ordered")
cpu_dropout = importlib.import_module("models.dynamics.cpu_around")


def results(linear, x, gradient):
    x = x.clone().requires_grad_()
    linear.zero_grad()
    y = linear(x)
    y.backward(gradient)
    # Copies: moving a network to a GPU takes its gradients along.
    return [y.detach(), x.grad, *(p.grad.clone() for p in linear.parameters())]


@pytest.fixture
def case():
    torch.manual_seed(0)
    return Linear(12, 7), torch.randn(3, 5, 12), torch.randn(3, 5, 7)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_all_precisions_compute_the_same_product(case, precision):
    linear, x, gradient = case
    expected = results(linear, x, gradient)
    set_precision(linear, precision)
    assert Linear(2, 2).precision == "fp32"
    tolerance = 2e-2 if precision == "bf16" else 1e-5
    for value, reference in zip(results(linear, x, gradient), expected, strict=True):
        assert value.dtype == torch.float32
        assert (value - reference).abs().max() < tolerance * reference.abs().max()


def test_bf16_rounds_operands_and_nothing_else(case):
    linear, x, gradient = case
    set_precision(linear, "bf16")
    rounded = [v.bfloat16().double() for v in (x, linear.weight.detach(), gradient)]
    y, d_x, d_weight, d_bias = results(linear, x, gradient)
    x64, w64, g64 = rounded
    assert torch.allclose(y.double(), x64 @ w64.T + linear.bias.detach().double(), atol=1e-6)
    assert torch.allclose(d_x.double(), g64 @ w64, atol=1e-6)
    assert torch.allclose(d_weight.double(), torch.einsum("bto,bti->oi", g64, x64), atol=1e-5)
    assert torch.allclose(d_bias, gradient.sum(dim=(0, 1)), atol=1e-6)


@pytest.mark.parametrize(
    "network",
    [
        SNN((None, None, 12), [8, 8, 4], "RadLIF"),
        ANN((None, None, 12), [8, 8, 4], "GRU"),
    ],
)
def test_only_feed_forward_weights_change_their_precision(network):
    set_precision(network, "bf16")
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            assert getattr(module, "precision", "fp32") == ("bf16" if ".W" in name else "fp32")


@pytest.mark.parametrize("name", ["S4D", "Mamba"])
def test_all_matrices_of_state_space_networks_change_their_precision(name):
    net = SSM((None, None, 12), [8, 8, 4], name, extra_features={"state_size": 4})
    set_precision(net, "bf16")
    matrices = [m for m in net.modules() if isinstance(m, nn.Linear) or is_pointwise(m)]
    assert len(matrices) > 3
    assert {getattr(module, "precision", "fp32") for module in matrices} == {"bf16"}


def is_pointwise(module):
    return isinstance(module, nn.Conv1d) and module.kernel_size == (1,)


def test_a_pointwise_convolution_is_pytorchs_in_every_precision():
    torch.manual_seed(0)
    conv, x, gradient = Pointwise(12, 7), torch.randn(3, 12, 5), torch.randn(3, 7, 5)
    usual = nn.Conv1d(12, 7, 1)
    usual.load_state_dict(conv.state_dict())
    expected = results(usual, x, gradient)
    for precision, tolerance in (("fp32", 1e-6), ("bf16", 2e-2)):
        set_precision(conv, precision)
        for value, reference in zip(results(conv, x, gradient), expected, strict=True):
            assert (value - reference).abs().max() < tolerance * reference.abs().max()


def test_float32_products_equal_pytorchs(case):
    linear, x, _ = case
    assert torch.equal(linear(x), nn.functional.linear(x, linear.weight, linear.bias))


def test_an_unknown_precision_is_refused(case):
    with pytest.raises(ValueError, match="fp32, tf32, bf16"):
        set_precision(case[0], "fp16")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", PRECISIONS)
def test_on_a_gpu(case, precision):
    linear, x, gradient = case
    if precision == "bf16":
        set_precision(linear, precision)
    expected = results(linear, x, gradient)
    set_precision(linear.cuda(), precision)
    tolerance = 2e-3 if precision == "tf32" else 1e-5
    for value, reference in zip(results(linear, x.cuda(), gradient.cuda()), expected, strict=True):
        assert (value.cpu() - reference).abs().max() < tolerance * reference.abs().max()
    assert torch.get_float32_matmul_precision() == "highest"


# Dropout


mersenne_twister = pytest.mark.skipif(
    not cpu_dropout.draws_alike(), reason="PyTorch draws from MKL's generator on this CPU"
)


def outcome(dropout: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, gradient and the generator's state of two calls."""
    torch.manual_seed(5)
    x = x.clone().requires_grad_()
    y = dropout(x) + dropout(x)
    y.backward(torch.linspace(-1, 1, y.numel()).view(y.shape))
    return [y.detach(), x.grad, torch.get_rng_state()]


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(1,), (7, 3), (5, 40, 33), (0, 4)])
def test_dropout_equals_pytorchs(p, shape):
    x = torch.rand(shape) - 0.5
    for ours, expected in zip(outcome(Dropout(p), x), outcome(nn.Dropout(p), x), strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize(
    "x", [torch.rand(6, 5).T, torch.rand(6, 5).double(), torch.rand(6, 5).bfloat16()]
)
def test_unsupported_inputs_use_pytorchs_dropout(x):
    for ours, expected in zip(outcome(Dropout(0.5), x), outcome(nn.Dropout(0.5), x), strict=True):
        assert torch.equal(ours, expected)


def test_nothing_is_dropped_in_evaluation():
    x = torch.rand(4, 3)
    assert torch.equal(Dropout(0.5).eval()(x), x)


@mersenne_twister
@pytest.mark.parametrize(("backend", "compiled"), [("auto", True), ("cpu", True), ("naive", False)])
def test_the_back_end_decides_which_dropout_runs(backend, compiled, monkeypatch):
    calls = []
    monkeypatch.setattr(cpu_dropout, "dropout", lambda x, p: calls.append(p) or x)
    Dropout(0.25, backend=backend)(torch.rand(4, 3))
    assert calls == [0.25] * compiled


# Products


def sparse(rows: int, columns: int, share: float) -> torch.Tensor:
    """Entries of both signs, a share of them not zero."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(rows, columns, generator=generator) - 0.5
    return values * (torch.rand(rows, columns, generator=generator) < share)


def of_a_product(multiply, x, weight, gradient) -> list[torch.Tensor]:
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    y = multiply(x, weight)
    y.backward(gradient)
    return [y.detach(), x.grad, weight.grad]


def of_events(x, weight):
    found = events_cpu.find_events(x.detach(), len(weight))
    assert found is not None
    return cpu.product(x, weight, found)[0]


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    monkeypatch.setattr(events_cpu, "WORTH_A_SEARCH", 0)
    monkeypatch.setattr(events_cpu, "NARROWEST", 1)


SHAPES = [(1, 1, 1), (3, 300, 5), (700, 40, 33), (2500, 90, 64), (5, 1000, 7)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.1])
def test_the_product_and_its_gradients(shape, share):
    N, K, H = shape
    x, weight, gradient = sparse(N, K, share), torch.randn(H, K), torch.randn(N, H)
    ours = of_a_product(of_events, x, weight, gradient)
    doubles = (value.double() for value in (x, weight, gradient))
    expected = of_a_product(lambda a, b: a @ b.T, *doubles)
    for value, reference in zip(ours, expected, strict=True):
        assert value.dtype == torch.float32
        assert (value - reference).abs().max() <= 1e-6 * reference.abs().max()


def test_results_are_identical_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr("models.dynamics.numba_support._WORTH_A_THREAD", 1)
    before = torch.get_num_threads()
    case = sparse(1500, 70, 0.1), torch.randn(48, 70), torch.randn(1500, 48)
    results = []

    def of_all_places(x, weight):  # else the gradient of x is PyTorch's
        found = events_cpu.find_events(x.detach(), len(weight))
        return cpu.product(x, weight, found, Places(found.starts, found.columns))[0]

    for threads in (1, 3, 8, 19):  # up to PARTS, and more
        torch.set_num_threads(threads)
        results.append(of_a_product(of_all_places, *case))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_frozen_weights_and_inputs_that_need_no_gradient():
    x, weight = sparse(50, 30, 0.1), torch.randn(20, 30)
    found = events_cpu.find_events(x, 20)
    learning = x.clone().requires_grad_()
    cpu.product(learning, weight, found)[0].sum().backward()
    assert torch.allclose(learning.grad, weight.sum(0).expand(50, 30), atol=1e-5)
    weight.requires_grad_()
    cpu.product(x, weight, found)[0].sum().backward()
    assert torch.allclose(weight.grad, x.sum(0).expand(20, 30), atol=1e-5)


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_dense_inputs_use_a_dense_product(share):
    assert events_cpu.find_events(sparse(400, 100, share), 64) is None


def test_inputs_that_are_dense_outside_the_sample_use_a_dense_product():
    x = torch.zeros(640, 20)
    x[torch.arange(640) % 10 != 0] = 1.0
    assert events_cpu.find_events(x, 64) is None


@pytest.mark.parametrize(("constant", "value"), [("WORTH_A_SEARCH", 10**6), ("NARROWEST", 65)])
def test_small_and_narrow_products_are_dense(constant, value, monkeypatch):
    x = sparse(100, 100, 0.05)
    assert events_cpu.find_events(x, 64) is not None
    monkeypatch.setattr(events_cpu, constant, value)
    assert events_cpu.find_events(x, 64) is None


def test_nan_and_inf_count_as_events():
    x = torch.zeros(10, 10)
    x[3, 4], x[5, 6] = float("nan"), float("inf")
    found = events_cpu.find_events(x, 64)
    assert found.columns.tolist() == [4, 6]
    assert found.starts.diff().tolist() == [0, 0, 0, 1, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("backend", "precision", "uses"),
    [("auto", "fp32", 1), ("cpu", "fp32", 1), ("naive", "fp32", 0), ("auto", "bf16", 0)],
)
def test_which_products_look_for_events(backend, precision, uses, monkeypatch):
    looked = []
    find = events_cpu.find_events
    monkeypatch.setattr(events_cpu, "find_events", lambda *given: looked.append(1) or find(*given))
    linear = Linear(30, 20, backend=backend)
    set_precision(linear, precision)
    x = sparse(50, 30, 0.1).view(5, 10, 30)
    y = linear(x)
    assert len(looked) == uses
    assert torch.allclose(y, x @ linear.weight.T + linear.bias, atol=1e-2)


@pytest.mark.parametrize("outputs", [1, 6, 8, 137])
def test_in_evaluation_a_row_gives_the_same_bits_whatever_the_others_are(outputs):
    linear = Linear(300, outputs).eval()
    linear.streams = True
    x = torch.randn(29, 300) * (torch.rand(29, 300) < 0.4)
    whole = linear(x)
    for size in (1, 2, ordered.FEW_ROWS, ordered.FEW_ROWS + 1, 16):
        parts = torch.cat([linear(part) for part in x.split(size)])
        assert torch.equal(parts, whole)
    expected = nn.functional.linear(x.double(), linear.weight.double(), linear.bias.double())
    torch.testing.assert_close(whole.double(), expected, rtol=1e-5, atol=1e-5)
    in_order = torch.zeros(29, outputs)
    for k in range(300):  # float64 holds a product of two float32 exactly
        terms = x[:, k : k + 1].double() * linear.weight[:, k].double()
        in_order = (in_order.double() + terms).float()
    assert ((whole - in_order - linear.bias).abs() <= 1e-6).all()


def test_gradients_of_products_in_order():
    linear, x, gradient = Linear(12, 7), torch.randn(3, 5, 12), torch.randn(3, 5, 7)
    expected = results(linear, x, gradient)
    linear.streams = True
    for found, reference in zip(results(linear.eval(), x, gradient), expected, strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-5, atol=1e-5)


def test_training_multiplies_as_before():
    linear, x = Linear(300, 8), torch.randn(29, 300)
    expected = nn.functional.linear(x, linear.weight, linear.bias)
    linear.streams = True
    assert torch.equal(linear(x), expected)
