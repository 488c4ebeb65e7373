# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""NIR graphs do what the networks do, and what cannot be exported is refused."""

import re

import pytest
import torch

from analysis.deploy.agreement import in_double_precision
from analysis.export_nir import main
from analysis.nir_graph import build_graph, check_exportable, run_graph, to_torch
from models.anns import ANN
from models.snns import LAYERS, AdaptiveLayer
from tests.analysis.small_networks import B, F, T, clips, network
from training.errors import ExperimentError

ADAPTIVE = [name for name, layer in LAYERS.items() if issubclass(layer, AdaptiveLayer)]


@pytest.fixture
def export(tmp_path, capsys):
    """Run the command; (exit status, the file, what was printed)."""

    def call(folder, *flags):
        file = tmp_path / "model.nir"
        status = main([str(folder), str(file), *flags])
        said = capsys.readouterr()
        assert said.err.count("\n") == (status != 0)
        return status, file, said.err or said.out

    return call


@pytest.mark.optional
@pytest.mark.parametrize("discretization", ["euler", "exact"])
@pytest.mark.parametrize("normalization", ["batchnorm", "none"])
@pytest.mark.parametrize("neuron", ADAPTIVE)
@torch.no_grad()
def test_graphs_spike_as_their_networks(neuron, normalization, discretization, tmp_path):
    import nir

    model = network(neuron, normalization=normalization).double()
    nir.write(str(tmp_path / "net.nir"), build_graph(model, 0.004, discretization))
    graph = nir.read(str(tmp_path / "net.nir"))
    assert graph.metadata["discretization"] == discretization
    x = clips(torch.float64)
    scores, spikes = run_graph(to_torch(graph, torch.float64), x, layers=2)
    activity = in_double_precision(model).activity(x)
    for result, found in zip(activity.layers, spikes, strict=True):
        assert 0.01 < result.spikes.mean() < 0.99
        assert found.equal(result.spikes)
    torch.testing.assert_close(scores, activity.output.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: network("ResonateFire"), "ResonateFire cannot be exported: its potential is"),
        (lambda: network("LIF+CSiLIF"), r"LIF\+CSiLIF cannot be exported: its potential is"),
        (lambda: network("LIF", bidirectional=True), "bidirectional"),
        (lambda: network("LIF", delay="axonal", delay_layers=[2]), "--delay cannot be exported"),
        (lambda: network("LIF", readout="last"), "only networks with --readout softmax_sum"),
        (lambda: network("SiLIF", normalization="layernorm"), "layer normalisation"),
        (lambda: ANN((B, T, F), [5, 4], "GRU"), "only networks of spiking neurons"),
    ],
)
def test_what_nir_cannot_hold_is_refused(model, reason):
    with pytest.raises(ExperimentError, match=reason):
        check_exportable(model())


@pytest.mark.optional
def test_neurons_that_never_decay_are_refused():
    model = network("SiLIF")
    with torch.no_grad():
        model.snn[0].beta[2] = -90.0
    with pytest.raises(ExperimentError, match="1 neurons never decay"):
        build_graph(model, 0.004)


@pytest.mark.optional
def test_the_command_measures_the_mismatch(make_run, export):
    run = make_run(model_type="SiLIF")
    status, file, said = export(run)
    assert status == 0
    assert file.is_file()
    assert "18 nodes and 23 edges" in said
    counts = [
        int(n.replace(",", "")) for n in re.findall(r"layer \d: ([\d,]+) spikes differ", said)
    ]
    assert len(counts) == 2
    assert sum(counts) <= 2, "more than rounding"
    assert said.count("the network in double precision differs in") == 2
    assert "on 23 test clips" in said
    assert "starts from zero states" in said
    before = file.read_bytes()
    status, _, line = export(run)
    assert status == 2
    assert "exists already" in line
    assert file.read_bytes() == before
    assert export(run, "--overwrite", "--clips", "3", "--discretization", "exact")[0] == 0
    file.unlink()
    assert "CSiLIF cannot be exported" in export(make_run(model_type="CSiLIF"))[2]
    assert not file.exists()
