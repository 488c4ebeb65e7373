# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Traces are what the network computes anyway, step by step."""

import pytest
import torch

from analysis.observe import traced
from models.readouts import READOUTS
from models.snns import LAYERS, SNN

B, T, F = 4, 11, 7
ROWS = [0, 3]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("neuron", LAYERS)
@torch.no_grad()
def test_traces_are_what_the_network_did(neuron, bidirectional):
    torch.manual_seed(0)
    threshold = 0.02 if neuron == "ResonateFire" else 0.15
    model = SNN((B, T, F), [6, 5, 4], neuron, threshold=threshold, bidirectional=bidirectional)
    model.eval()
    x = torch.poisson(torch.full((B, T, F), 1.5))
    torch.manual_seed(1)
    plain = model.activity(x)
    torch.manual_seed(1)
    activity, traces = traced(model, x, ROWS)
    assert activity.sop == plain.sop
    torch.testing.assert_close(activity.output, plain.output)
    for result, trace in zip(plain.layers, traces[:-1], strict=True):
        assert trace.spikes.equal(result.output[ROWS])
        if trace.threshold is not None:
            assert 0 < trace.spikes.mean() < 1
            assert trace.spikes.equal((trace.drive > trace.threshold).float())
        assert trace.spikes.equal(trace.states["s"])
        assert all(values.shape == trace.spikes.shape for values in trace.states.values())
    scores = traces[-1].scores
    torch.testing.assert_close(scores.sum(dim=1), plain.output[ROWS])
    torch.testing.assert_close(torch.softmax(traces[-1].states["u"], dim=2), scores)
    assert not any("dynamics" in vars(layer) for layer in model.snn)


@pytest.mark.parametrize("readout", READOUTS)
@torch.no_grad()
def test_every_readout_is_traced(readout):
    torch.manual_seed(0)
    model = SNN((B, T, F), [6, 4], "LIF", threshold=0.15, readout=readout).eval()
    model.keep_potentials = not model.counts_spikes
    x = torch.poisson(torch.full((B, T, F), 1.5))
    torch.manual_seed(1)
    plain = model.activity(x)
    torch.manual_seed(1)
    activity, traces = traced(model, x, ROWS)
    torch.testing.assert_close(activity.output, plain.output)
    values = plain.layers[-1].spikes if plain.potentials is None else plain.potentials.softmax(2)
    torch.testing.assert_close(traces[-1].scores, values[ROWS])
    assert model.keep_potentials is not model.counts_spikes
