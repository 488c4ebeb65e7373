# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a layer on a CPU hands on with its spikes: which there are, and whose gradient is wanted."""

import copy

import pytest
import torch
from snn_cases import make_input

from models.dynamics.naive import KEPT, WANTED
from models.linear import hand_on, handed
from models.snns import LAYERS, SNN

events_cpu = pytest.importorskip("models.events_cpu")
NEURONS = list(LAYERS)


def network(neuron, **options):
    torch.manual_seed(0)
    net = SNN((None, None, 7), [70, 64, 5], neuron, threshold=0.6, **options).train()
    for layer in net.hidden_layers:
        torch.nn.init.constant_(layer.norm.weight, 2.0)  # so that they fire
    return net


def step(net, x):
    """Output, spikes and gradients of a step with a loss that sees firing rates, too."""
    torch.manual_seed(3)
    activity = net.activity(x)
    rates = activity.firing_rates * torch.linspace(-1, 1, len(activity.firing_rates))
    (activity.output.var() + rates.sum()).backward()
    spikes = [layer.output for layer in activity.layers]
    gradients = {name: p.grad for name, p in net.named_parameters()}
    return activity, spikes, gradients, torch.get_rng_state()


@pytest.fixture
def always_sparse(monkeypatch):
    for name in ("DENSEST", "MOST_WANTED"):
        monkeypatch.setattr(events_cpu, name, 1.0)
    monkeypatch.setattr(events_cpu, "WORTH_A_SEARCH", 0)


# Every surrogate compiles kernels of its own.
CASES = [(case, neuron) for case in ("boxcar", "bidirectional", "no dropout") for neuron in NEURONS]
CASES += [("triangle", "CSiLIF"), ("atan", "SEadLIF")]


@pytest.mark.parametrize(("case", "neuron"), CASES)
def test_a_training_step_is_that_of_dense_products(neuron, case, always_sparse, monkeypatch):
    options = {"dropout": 0.0 if case == "no dropout" else 0.4}
    options |= {"surrogate": case} if case in ("triangle", "atan") else {}
    compare(neuron, monkeypatch, bidirectional=case == "bidirectional", **options)


def compare(neuron, monkeypatch, **options):
    """A step of sparse products with that of dense ones, of the same network."""
    net, x = network(neuron, **options), make_input()
    twin = copy.deepcopy(net)
    ours, spikes, gradients, state = step(net, x)
    for layer in twin.hidden_layers:
        layer.folds = False
    monkeypatch.setattr(events_cpu, "WORTH_A_SEARCH", 10**12)
    theirs, expected, right, state_after = step(twin, x)
    assert all(spikes[0].count_nonzero() for _ in spikes)
    for a, b in zip(spikes, expected, strict=True):
        assert torch.equal(a, b)  # the same spikes, and the same ones dropped
    assert torch.equal(state, state_after)
    assert torch.equal(ours.sop, theirs.sop)
    assert torch.equal(ours.recurrent_sop, theirs.recurrent_sop)
    torch.testing.assert_close(ours.firing_rates, theirs.firing_rates)
    for layer in ours.layers:
        assert torch.equal(layer.counts, torch.count_nonzero(layer.output, dim=1).float())
    for name, value in gradients.items():
        error = (value - right[name]).abs().max()
        assert error <= 1e-5 * right[name].abs().max().clamp_min(1e-6), name


def test_gradients_are_computed_where_they_are_wanted(always_sparse, monkeypatch):
    net, x, found = network("SiLIF", dropout=0.4), make_input(), []
    for sparse in (True, False):
        monkeypatch.setattr(events_cpu, "WORTH_A_SEARCH", 0 if sparse else 10**12)
        torch.manual_seed(3)
        activity = net.activity(x)
        spikes = activity.layers[0].output
        found += torch.autograd.grad(activity.output.var(), spikes)
        wanted = handed(spikes).marks & WANTED > 0
    assert 0 < wanted.sum() < wanted.numel() / 2
    assert not found[0][~wanted].any()
    assert found[1][~wanted].any()
    torch.testing.assert_close(found[0][wanted], found[1][wanted])


def test_marks_hold_for_the_very_tensor_alone():
    x, marks = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4, dtype=torch.uint8)
    hand_on(x, marks, 2.0)
    assert handed(x).marks is marks
    assert handed(x + 0) is None
    x[0, 0, 0] = 1.0
    assert handed(x) is None


@pytest.mark.parametrize("columns", [1, 8, 63, 64, 65, 200])
def test_marks_become_lists(columns, always_sparse):
    generator = torch.Generator().manual_seed(0)
    marks = torch.randint(0, 4, (3, 5, columns), dtype=torch.uint8, generator=generator)
    marks *= torch.rand(marks.shape, generator=generator) < 0.2
    hand_on(x := torch.zeros(marks.shape), marks, 2.5)
    events, wanted = events_cpu.marked_events(*handed(x)[:2], 4)
    rows = marks.flatten(0, 1)
    for places, bit in ((events, KEPT), (wanted, WANTED)):
        n, k = (rows & bit).nonzero(as_tuple=True)
        assert torch.equal(places.columns, k.int())
        assert torch.equal(places.starts.diff(), torch.bincount(n, minlength=len(rows)))
    assert torch.equal(events.values, torch.full((len(events.columns),), 2.5))


def test_dense_marks_give_no_lists(monkeypatch):
    monkeypatch.setattr(events_cpu, "WORTH_A_SEARCH", 0)
    hand_on(x := torch.zeros(4, 10, 64), torch.full((4, 10, 64), 3, dtype=torch.uint8), 1.0)
    assert events_cpu.marked_events(*handed(x)[:2], 8) == (None, None)


@pytest.mark.parametrize("way", [{}, {"recurrent_delay": "axonal"}])
@pytest.mark.parametrize("neuron", ["SiLIF", "CSiLIF", "BRF", "LIFNode"])
def test_so_is_that_of_layers_with_recurrent_weights(neuron, way, always_sparse, monkeypatch):
    compare(neuron, monkeypatch, recurrent="dense", dropout=0.4, **way)


def test_random_numbers_of_recurrent_dropout_come_first():
    spikes = []
    for folds in (True, False):
        net = network("RLIF", dropout=0.4, recurrent_dropout=0.3)
        for layer in net.hidden_layers:
            layer.folds = folds
        spikes.append(step(net, make_input())[1])
    assert all(map(torch.equal, *spikes))
