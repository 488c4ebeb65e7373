# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Networks within torch.compile, torch.export, torch.jit.trace and torch.func, and without data."""

import io
import shutil

import pytest
import torch
from snn_cases import SIZES, B, F, T, make_input, make_net
from torch.nn.utils import prune, skip_init

from models.dynamics import AdaptiveState, _module_in_graph, adaptive
from models.dynamics.backends import say_plain
from models.snns import SNN
from models.surrogate import BOXCAR
from tests.dynamics.cases import adaptive_inputs, run_adaptive

pytest.importorskip("numba")


def step(net, run):
    """What a training step gives: outputs, and the gradients of all parameters."""
    torch.manual_seed(1)
    output, rates, sop = run(make_input())
    (output.square().sum() + rates.square().sum()).backward()
    return [output, rates, sop, *(parameter.grad for parameter in net.parameters())]


@pytest.mark.parametrize("neuron", ["SiLIF", "RLIF", "CSiLIF"])
def test_compiled_networks_train_with_the_same_numbers(neuron):
    torch.compiler.reset()
    nets = [make_net(neuron, dropout=0.2, learn_threshold=neuron == "CSiLIF") for _ in range(2)]
    compiled = torch.compile(nets[1], backend="aot_eager", fullgraph=True)
    found, expected = step(nets[1], compiled), step(nets[0], nets[0])
    assert torch.equal(found[0], expected[0])
    for ours, theirs in zip(
        found, expected, strict=True
    ):  # sums with dropout differ in their order
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler needs another for C++")
def test_the_default_compiler_trains_alike():
    torch.compiler.reset()
    nets = [make_net("SiLIF", init_state="zero") for _ in range(2)]
    found = step(nets[1], torch.compile(nets[1]))
    torch.testing.assert_close(found, step(nets[0], nets[0]), rtol=1e-3, atol=1e-5)


def exported(net, x):
    program = torch.export.export(net, (x,))
    return program.module(), [str(node.target) for node in program.graph.nodes]


def traced(net, x):
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(net, (x,)), file)
    file.seek(0)
    loaded = torch.jit.load(file)
    return loaded, [node.kind() for node in loaded.inlined_graph.nodes()]


@pytest.mark.parametrize("record", [exported, traced])
@pytest.mark.parametrize("neuron", ["SiLIF", "RLIF", "CSiLIF", "BRF"])
def test_recorded_networks_compute_the_same(neuron, record):
    net = make_net(neuron, init_state="zero").eval()
    x = make_input()
    module, operators = record(net, x)
    for found, expected in zip(module(x), net(x), strict=True):
        assert torch.equal(found, expected)
    assert sum("sprache" in name for name in operators) == len(SIZES) + 1  # two of the readout


@pytest.mark.parametrize("record", [exported, traced])
def test_recorded_networks_take_batches_of_another_size(record):
    net = make_net("RLIF", init_state="zero").eval()
    x = make_input()
    if record is exported:
        sizes = {"x": {0: torch.export.Dim("clips", min=1, max=64)}}
        module = torch.export.export(net, (x,), dynamic_shapes=sizes).module()
    else:
        module, _ = record(net, x)
    for found, expected in zip(module(x[:2]), net(x[:2]), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("neuron", ["RadLIF", "SEadLIF", "BRF"])
def test_pruned_recurrent_weights_learn(neuron):
    net = make_net(neuron)
    prune.l1_unstructured(net.snn[0].V, "weight", 0.5)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        before = net.snn[0].recurrent_weights().detach()
        optimizer.zero_grad()
        step(net, net)
        optimizer.step()
    assert not torch.equal(net.snn[0].recurrent_weights(), before)


def test_onnx_has_no_complex_neurons(monkeypatch):
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    with pytest.raises(TypeError, match="ONNX has no complex numbers"):
        torch.jit.trace(make_net("CSiLIF", init_state="zero").eval(), (make_input(),))


def test_graphs_of_standard_operators_are_made_by_plain_pytorch(monkeypatch, caplog):
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    net = make_net("SiLIF+RLIF", init_state="zero").eval()
    with caplog.at_level("INFO", logger="sprache"):
        _, operators = exported(net, make_input())
    for missing in ("sprache", "count_nonzero", "as_strided", "diagonal"):
        assert not any(missing in name for name in operators)
    assert [record.getMessage() for record in caplog.records] == [
        "Plain PyTorch computes the recurrences for ONNX, which knows standard operators only"
    ]


def test_graphs_on_gpus_are_made_by_plain_pytorch(caplog):
    say_plain.cache_clear()
    with caplog.at_level("INFO", logger="sprache"):
        kinds = ((torch.device("cuda"), torch.float32),)
        assert _module_in_graph("adaptive", "auto", kinds, BOXCAR) == "models.dynamics.naive"
    (record,) = caplog.records
    assert "within graphs on a GPU" in record.getMessage()


@pytest.mark.parametrize("neuron", ["SiLIF", "RLIF", "CSiLIF", "SEadLIF", "BRF"])
def test_gradients_of_single_clips(neuron):
    """By torch.func, mapped over clips, against one backward pass for each."""
    net = make_net(neuron, init_state="zero", normalization="layernorm", learn_threshold=True)
    weights = {name: x.detach() for name, x in net.named_parameters()}

    def loss(weights, clip):
        return torch.func.functional_call(net, weights, (clip[None],))[0].square().sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, make_input())
    for i, clip in enumerate(make_input()):
        net.zero_grad()
        net(clip[None])[0].square().sum().backward()
        for name, parameter in net.named_parameters():
            torch.testing.assert_close(found[name][i], parameter.grad, rtol=1e-4, atol=1e-6)


def test_second_derivatives_are_refused():
    inputs = adaptive_inputs(1, 3, 2)

    def total(I):
        return run_adaptive("cpu", **inputs | {"I": I})[0].square().sum()

    def slope(I):
        return torch.func.grad(total)(I).sum()

    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.func.grad(slope)(inputs["I"])


@pytest.mark.parametrize("neuron", ["SiLIF", "RLIF", "CSiLIF", "SEadLIF", "BRF"])
def test_networks_without_data(neuron):
    for net in (make_net(neuron).to("meta"), make_net(neuron, dropout=0.2).to("meta").eval()):
        output, _, _ = net(make_input().to("meta"))
        assert output.shape == (B, SIZES[-1])
        output.sum().backward()
    empty = skip_init(SNN, (B, T, F), SIZES, neuron)
    empty.load_state_dict(make_net(neuron).state_dict())
    assert empty(make_input())[0].isfinite().all()


def test_states_keep_their_type_within_graphs():
    state = AdaptiveState(*torch.zeros(3, B, F))
    run = torch.compile(adaptive, backend="eager", fullgraph=True)
    _, after = run(make_input(), torch.full((F,), 0.9), theta=1.0, state=state)
    assert isinstance(after, AdaptiveState)
