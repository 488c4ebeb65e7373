# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whole trainings on emulated devices, and what they launch; small steps consist of launches."""

import json

import pytest
import torch
from torch.nn import functional

import main
from benchmarks.measure import kept_mib
from models import linear
from models.snns import SNN
from tests.emulated_cuda import driver
from training import verify

pytestmark = pytest.mark.slow


def test_launched_graph_and_resumed_trainings_agree(train, tmp_path, capsys):
    """The same numbers launched and as a graph, in one go and in two."""

    def figures(name):
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        records = [{**json.loads(line), "seconds": None} for line in lines]
        return [record for record in records if record["split"] != "test"][:4]

    assert train("one", epochs=2) == 0
    said = capsys.readouterr().out
    assert "Running on Emulated GPU (cuda:0)" in said
    assert "it becomes a CUDA graph" in said
    assert [line for line in said.splitlines() if line.startswith("Dynamics: ")] == [
        "Dynamics: fused GPU kernels (triton)"
    ]
    device = json.loads((tmp_path / "one" / "summary.json").read_text())["device"]
    assert device["name"] == "Emulated GPU"
    options = ["--cuda_graph", "off", "--data_placement", "streamed", "--gpu_device", 1]
    assert train("two", *options) == 0
    assert "(cuda:1)" in capsys.readouterr().out
    assert main.main(["--resume", str(tmp_path / "two"), "--nb_epochs", "2"]) == 0
    assert "Resuming after epoch 1" in capsys.readouterr().out
    assert figures("two") == figures("one")
    assert verify.main([str(tmp_path / "one")]) == 0
    assert "All figures agree" in capsys.readouterr().out


def test_too_little_memory_is_reported_in_one_line(train, monkeypatch, capsys):
    set_available, enough = torch.ops.emulated_cuda.set_available, driver.MEMORY
    little = torch.ops.emulated_cuda.allocated() + 10_000
    monkeypatch.setattr(driver, "MEMORY", little)
    set_available(little)
    try:
        assert train("run") == 2
    finally:
        set_available(enough)
    error = capsys.readouterr().err
    assert "out of memory" in error
    assert "lower batch_size, nb_steps or nb_hiddens" in error


MOST = {"LIF": 26, "adLIF": 44, "SiLIF": 45, "CSiLIF": 35, "ResonateFire": 29}


def operations(neuron, layers):
    """The names of what a forward and backward pass does on the device."""
    torch.manual_seed(0)
    net = SNN((None, None, 8), [8] * layers + [4], neuron, dropout=0.2).cuda().train()
    x, y = torch.ones(2, 9, 8, device="cuda"), torch.tensor([0, 3], device="cuda")

    def step():
        net.zero_grad()
        functional.cross_entropy(net(x)[0], y).backward()

    step()  # tries the kernels
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return torch.ops.emulated_cuda.names_in_graph(graph.number)


@pytest.mark.parametrize("neuron", MOST)
def test_a_layer_takes_few_operations(neuron):
    two, three = operations(neuron, 2), operations(neuron, 3)
    assert three.count("our kernel") - two.count("our kernel") == 6
    assert len(three) - len(two) <= MOST[neuron]


def test_networks_are_exported_without_trying_kernels():
    torch.manual_seed(0)
    net = SNN((None, None, 8), [8, 4], "SiLIF", init_state="zero", surrogate="atan").cuda().eval()
    x = torch.ones(2, 9, 8, device="cuda")
    program = torch.export.export(net, (x,)).module()
    assert torch.equal(program(x)[0], net(x)[0])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_spikes_are_kept_as_bits(precision, monkeypatch):
    """For the gradient of the weights above them, which is the same to the last bit."""
    x = (torch.rand(3, 20, 12) < 0.2).float().cuda()
    found = []
    for known in (True, False):
        if not known:
            monkeypatch.setattr(linear, "handed", lambda x: None)
        torch.manual_seed(0)
        net = SNN((None, None, 12), [40, 24, 5], "SiLIF", dropout=0.3).cuda()
        linear.set_precision(net, precision)
        torch.manual_seed(1)
        net(x)[0].square().sum().backward()
        kept = kept_mib(lambda net=net: net(x))
        found.append(([p.grad.cpu() for p in net.parameters()], kept))
    (ours, few), (expected, many) = found
    assert all(torch.equal(a, b) and b.any() for a, b in zip(ours, expected, strict=True))
    size = {"fp32": 4, "bf16": 2}[precision]
    assert many - few == pytest.approx((size - 1 / 8) * 60 * (40 + 24) / 2**20, abs=0.01)


def test_a_fifth_of_the_memory_is_kept():
    """Of what plain PyTorch keeps for the backward pass, at the size of SSC at 4 ms."""
    x, kept = (torch.rand(32, 300, 140) < 0.05).float().cuda(), {}
    for backend in ("naive", "auto"):
        net = SNN((None, None, 140), [512, 512, 35], "SiLIF", dropout=0.25, backend=backend).cuda()
        net(x[:1, :2])  # tries the kernels
        kept[backend] = kept_mib(lambda net=net: net(x))
    assert kept["auto"] < 0.2 * kept["naive"]
