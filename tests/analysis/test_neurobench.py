# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""NeuroBench's figures are ours, or differ by what the program says."""

import importlib.util
import json

import pytest
import torch

from analysis import export_nir, neurobench
from analysis.neurobench import Spikes, hookable, main
from models.snns import LAYERS, SNN

H, C, F, T = 12, 20, 35, 15
COUNTS = {"model_type": "RadLIF+SiLIF", "readout": "spike_count"}


@pytest.fixture
def bench(tmp_path, capsys):
    """Run the command; (exit status, rows by name, what was printed)."""

    def call(folder, *flags):
        file = tmp_path / "found.json"
        status = main([str(folder), "--output", str(file), *flags])
        said = capsys.readouterr()
        if status:
            assert said.err.count("\n") == 1
            return status, {}, said.err
        rows = json.loads(file.read_text())["rows"]
        return status, {row["name"].strip(): row for row in rows}, said.out

    return call


@pytest.mark.optional
@pytest.mark.parametrize(
    ("model", "options"),
    [
        *((model, {}) for model in LAYERS),
        *((model, {"bidirectional": True}) for model in ("SiLIF", "RadLIF", "CSiLIF")),
        ("RLIF", {"init_state": "zero"}),
    ],
)
def test_what_both_count_is_the_same(make_run, bench, model, options):
    folder = make_run(model_type=model, **options)
    status, rows, said = bench(folder)
    assert status == 0, said
    summary = json.loads((folder / "summary.json").read_text())
    assert rows["accuracy"]["theirs"] == pytest.approx(summary["test"]["accuracy"])
    assert rows["parameters"]["theirs"] == summary["parameters"]
    for name in ("accuracy", "parameters", "activation sparsity", "layer 1", "layer 2"):
        assert rows[name]["agrees"], rows[name]
    found, ours = rows["ACs and MACs"]["theirs"], rows["ACs and MACs"]["ours"]
    directions = 2 if options.get("bidirectional") else 1
    recurrent, itself = LAYERS[model].recurrent, LAYERS[model].self_connections
    starts = recurrent and options.get("init_state") != "zero"
    first_step = 2 * directions * H * (H - (not itself)) if starts else 0
    assert found == pytest.approx(ours + first_step, rel=1e-5)
    assert ("random initial spikes" in said) == starts
    if directions == 1:
        test = summary["test"]
        assert ours == pytest.approx(test["sop"] + test["recurrent_sop"], rel=1e-5)
    dense = T * directions * (F * H + directions * H * H + H * C)
    dense += 2 * T * directions * H * H * recurrent
    diagonals = 2 * T * directions * H * (recurrent and not itself)
    assert rows["dense operations"]["theirs"] == pytest.approx(dense)
    assert rows["dense operations"]["ours"] == pytest.approx(dense - diagonals)
    buffers = 2 * (2 * H + C) * 4 + 3 * 8  # means and variances, and how many batches they saw
    assert rows["footprint (bytes)"]["theirs"] == 4 * summary["parameters"] + buffers


@pytest.mark.optional
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"model_type": "GRU"}, "holds a GRU, which is no network of spiking neurons"),
        ({"model_type": "SpikingS4D"}, "a SpikingS4D, which is no network of spiking neurons"),
        (COUNTS, "counts the spikes of its output neurons"),
        ({"delay": "axonal", "delay_layers": "3"}, "has learned delays"),
    ],
)
def test_networks_that_cannot_be_measured_are_refused(make_run, bench, options, reason):
    status, _, line = bench(make_run(**options))
    assert status == 2
    assert reason in line


@pytest.mark.parametrize(
    ("command", "package", "argv"),
    [(neurobench, "neurobench", ["run"]), (export_nir, "nir", ["run", "model.nir"])],
)
def test_without_the_package(monkeypatch, capsys, command, package, argv):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert command.main(argv) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"{command.PROGRAM}: error: {package} is not installed")
    assert "pip install --no-deps -r requirements-analysis.txt" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("neuron", LAYERS)
@torch.no_grad()
def test_a_hookable_network_computes_the_same(neuron, bidirectional):
    torch.manual_seed(0)
    threshold = 0.02 if neuron == "ResonateFire" else 0.15
    model = SNN((3, 12, 7), [6, 5, 4], neuron, threshold=threshold, bidirectional=bidirectional)
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.poisson(torch.full((3, 12, 7), 1.5))
    twin = hookable(model)
    seen = {}
    for name, module in twin.named_modules():
        if isinstance(module, Spikes):
            module.register_forward_hook(lambda m, args, out, name=name: seen.update({name: out}))
    torch.manual_seed(1)
    plain = model.activity(x)
    torch.manual_seed(1)
    watched = twin.activity(x)
    torch.testing.assert_close(watched.output, plain.output)
    assert list(seen) == ["snn.0.spikes_1", "snn.1.spikes_2"]
    for result, spikes in zip(plain.layers, seen.values(), strict=True):
        assert spikes.equal(result.spikes)
        assert spikes.sum() > 0
    assert {k: v.shape for k, v in twin.state_dict().items()} == {
        k: v.shape for k, v in before.items()
    }
    assert all(model.state_dict()[name].equal(value) for name, value in before.items())


@torch.no_grad()
def test_recurrent_weights_are_called_with_the_last_spikes():
    torch.manual_seed(0)
    model = SNN((3, 12, 7), [6, 4], "RadLIF", threshold=0.15, init_state="zero").eval()
    twin = hookable(model)
    calls = []
    twin.snn[0].V.register_forward_pre_hook(lambda m, args: calls.append(args[0]))
    x = torch.poisson(torch.full((3, 12, 7), 1.5))
    spikes = twin.activity(x).layers[0].spikes
    assert len(calls) == 12
    assert torch.stack(calls[1:], dim=1).equal(spikes[:, :-1])
    assert calls[0].count_nonzero() == 0
    assert twin.snn[0].V.weight.diagonal().count_nonzero() == 0
    assert twin.snn[0].V.weight.T.equal(model.snn[0].recurrent_weights())
