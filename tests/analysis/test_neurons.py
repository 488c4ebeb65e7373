# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Traces are what networks compute, and of neurons that users add, what can be known is shown."""

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from own_neuron import own_recurrence, python_blocks, run_block

from analysis import figure2
from analysis.eigenvalues import exact_eigenvalues
from analysis.figure2 import Spectrum, draw_spectra
from analysis.nir_graph import check_exportable
from analysis.observe import LayerTrace, named_states, traced
from analysis.operations import update_operations
from analysis.report.neurons import quantities
from models.readouts import READOUTS
from models.snns import LAYERS, SNN
from tests.analysis.conftest import write_run
from training.errors import ExperimentError


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("neuron", LAYERS)
@torch.no_grad()
def test_traces_are_what_the_network_did(neuron, bidirectional):
    torch.manual_seed(0)
    threshold = 0.02 if neuron == "ResonateFire" else 0.15
    options = {"bidirectional": bidirectional, "learn_threshold": bidirectional}
    model = SNN((4, 11, 7), [6, 5, 4], neuron, threshold=threshold, **options)
    for layer in model.hidden_layers if bidirectional else ():
        layer.threshold *= torch.linspace(0.5, 1, layer.hidden_size)
    model.eval()
    x = torch.poisson(torch.full((4, 11, 7), 1.5))
    torch.manual_seed(1)
    plain = model.activity(x)
    torch.manual_seed(1)
    activity, traces = traced(model, x, [0, 3])
    assert activity.sop == plain.sop
    torch.testing.assert_close(activity.output, plain.output)
    for result, trace in zip(plain.layers, traces[:-1], strict=True):
        assert trace.spikes.equal(result.output[[0, 3]])
        if trace.threshold is not None:
            assert 0 < trace.spikes.mean() < 1
            assert trace.spikes.equal((trace.drive > trace.threshold).float())
        assert trace.spikes.equal(trace.states["s"])
        assert all(values.shape == trace.spikes.shape for values in trace.states.values())
    scores = traces[-1].scores
    torch.testing.assert_close(scores.sum(dim=1), plain.output[[0, 3]])
    torch.testing.assert_close(torch.softmax(traces[-1].states["u"], dim=2), scores)
    assert not any("dynamics" in vars(layer) for layer in model.snn)


@pytest.mark.parametrize("readout", READOUTS)
@torch.no_grad()
def test_every_readout_is_traced(readout):
    torch.manual_seed(0)
    model = SNN((4, 11, 7), [6, 4], "LIF", threshold=0.15, readout=readout).eval()
    model.keep_potentials = not model.counts_spikes
    x = torch.poisson(torch.full((4, 11, 7), 1.5))
    torch.manual_seed(1)
    plain = model.activity(x)
    torch.manual_seed(1)
    activity, traces = traced(model, x, [0, 3])
    torch.testing.assert_close(activity.output, plain.output)
    values = plain.layers[-1].spikes if plain.potentials is None else plain.potentials.softmax(2)
    torch.testing.assert_close(traces[-1].scores, values[[0, 3]])
    assert model.keep_potentials is not model.counts_spikes


@pytest.fixture
def own(monkeypatch) -> type:
    """A neuron with a recurrence of its own, in the place of LIF, whose name parsers know."""
    layer = own_recurrence(monkeypatch)
    monkeypatch.setitem(LAYERS, "LIF", layer)
    return layer


def test_report_of_a_neuron_with_its_own_recurrence(own, make_run, report):
    status, folder, numbers, line = report(make_run(model_type="LIF", nb_hiddens=11))
    assert status == 0, line
    assert numbers["parameters"]["layer 1"].keys() == {"alpha", "rho", "gain"}
    assert "traces_layer1.png" in numbers["pictures"]
    text = (folder / "index.html").read_text()
    assert "whose updates are not counted here" in text
    assert "spikes where u is above" not in text


def test_states_of_a_new_recurrence_are_traced_by_name_and_not_exported(own):
    torch.manual_seed(0)
    net = SNN((None, None, 6), [5, 3], "LIF").eval()
    with pytest.raises(ExperimentError, match="it has one of its own"):
        check_exportable(net)
    activity, traces = traced(net, 5 * torch.rand(2, 9, 6), [0])
    assert traces[0].states.keys() == {"u", "m", "s"}
    assert traces[0].threshold is None
    assert torch.equal(traces[0].spikes[0], activity.layers[0].spikes[0])
    assert torch.equal(traces[0].states["s"], traces[0].spikes)


def test_states_without_names_are_numbered():
    u = torch.zeros(2, 3)
    assert list(named_states(u)) == ["u"]
    assert list(named_states((u, u))) == ["state 1", "state 2"]
    assert LayerTrace(named_states((u, u + 1))).drive is u


@pytest.mark.parametrize("neuron", ["LIF", "CSiLIF"])
def test_learned_thresholds_are_shown(neuron):
    layer = LAYERS[neuron](6, 5, threshold=0.3, learn_threshold=True)
    assert (quantities(layer, 0.01)["firing threshold"] == np.float32(0.3)).all()


def test_parameters_of_a_new_recurrence_are_shown_as_used(own):
    layer = own(6, 5)
    torch.nn.init.constant_(layer.gain, 7.0)
    found = quantities(layer, 0.01)
    assert list(found) == ["alpha", "rho", "gain"]
    assert (found["gain"] == 2).all()
    assert update_operations(layer) == (1, 0)  # batchnorm's addition
    assert update_operations(own(6, 5, normalization="none")) == (0, 0)


def test_a_new_neuron_of_a_known_recurrence_has_eigenvalues():
    layer = run_block(python_blocks()[0]).TauLIFLayer(6, 50)
    alpha, beta, a, _ = (value.detach().numpy() for value in layer.coefficients())
    values = exact_eigenvalues(layer)
    np.testing.assert_allclose(values.prod(axis=1), alpha * beta, rtol=1e-5)
    np.testing.assert_allclose(values.sum(axis=1), alpha + beta - (1 - alpha) * a, rtol=1e-5)
    figure = draw_spectra([Spectrum("TauLIF", "TauLIF, 4 ms", values)], "a new neuron")
    assert any("TauLIF" in text.get_text() for text in figure.findobj(Text))


def test_figure_2_says_that_it_cannot_draw_an_own_recurrence(own, tmp_path, capsys):
    run = write_run(tmp_path / "mine", model_type="LIF")
    assert figure2.main(["--models", str(run), "--output", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--models: mine is of LIF neurons, whose recurrence is their own" in line
