# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Normalisation and dropout handed to the recurrence; the kernels that take them: test_triton."""

import copy

import pytest
import torch
from snn_cases import make_input, make_net
from torch import nn

from models import folding, linear, shell
from models.dynamics import Fold, adaptive
from models.snns import LIFLayer


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Layers are folded on the CPU, where the recurrence unfolds again."""
    monkeypatch.setattr(shell, "compiled", lambda *_: True)


def through(norm, x, *, standardized):
    """Output and gradients of a normalisation, and what it remembers."""
    x = x.clone().requires_grad_()
    if standardized:
        x_again, mean, slope, shift = folding._standardized(norm, x)
        y = (x_again - mean) * slope + shift
    else:
        y = linear.normalize(norm, x)
    (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y).sin()).sum().backward()
    gradients = [x.grad, norm.weight.grad, norm.bias.grad]
    return [y.detach(), *gradients, norm.running_mean, norm.running_var]


@pytest.mark.parametrize("offset", [0, 10])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_standardisation_equals_batch_normalisation(offset, dtype):
    torch.manual_seed(0)
    x = torch.randn(6, 20, 9, dtype=torch.float64) + offset
    norm = nn.BatchNorm1d(9, momentum=0.05, dtype=torch.float64)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    expected = through(copy.deepcopy(norm), x, standardized=False)
    found = through(norm.to(dtype), x.to(dtype), standardized=True)
    for value, right in zip(found, expected, strict=True):
        error = (value - right).abs().max() / right.abs().max()
        assert error < (1e-12 if dtype == torch.float64 else 1e-5)
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize("neuron", ["LIF", "SiLIF", "CSiLIF", "ResonateFire", "RadLIF"])
@pytest.mark.parametrize("normalization", linear.NORMALIZATIONS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_folding_does_not_change_a_training_step(neuron, normalization, bidirectional, monkeypatch):
    options = {"normalization": normalization, "bidirectional": bidirectional}
    net = make_net(neuron, learn_threshold=True, **options).train()
    x, results = make_input(), []
    for on_gpu in (False, True):
        twin = copy.deepcopy(net)
        monkeypatch.setattr(shell, "compiled", lambda *_, on_gpu=on_gpu: on_gpu)
        torch.manual_seed(1)
        output, rates, sop = twin(x)
        (output.var() + (rates * torch.linspace(-1, 1, len(rates))).sum()).backward()
        gradients = {n: p.grad for n, p in twin.named_parameters() if not n.endswith("W.bias")}
        results.append(
            {"output": output, "rates": rates, "sop": sop, **gradients} | dict(twin.named_buffers())
        )
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_dropout_is_folded(as_on_a_gpu, monkeypatch):
    folds = []
    monkeypatch.setattr(LIFLayer, "dynamics", keeping(folds, LIFLayer.dynamics))
    net = make_net("LIF", dropout=0.25).train()
    state = torch.get_rng_state()
    net(make_input())
    torch.set_rng_state(state)
    net(make_input())
    assert all(fold.p == 0.25 for fold in folds)
    seeds = [int(fold.seed) for fold in folds]
    count = len(net.hidden_layers)
    assert len(set(seeds[:count])) == count  # every layer has a mask of its own
    assert seeds[:count] == seeds[count:]  # and a seed gives it again


def keeping(folds, dynamics):
    def kept(self, current, state, fold=None):
        folds.append(fold)
        return dynamics(self, current, state, fold)

    return kept


@pytest.mark.parametrize("why", ["evaluation", "recurrent", "switched off", "plain PyTorch"])
def test_passes_that_are_not_folded(why, as_on_a_gpu, monkeypatch):
    net = make_net("RLIF" if why == "recurrent" else "LIF", dropout=0.25).train()
    layer = net.hidden_layers[0]
    if why == "evaluation":
        net.eval()
    elif why == "switched off":
        layer.folds = False
    elif why == "plain PyTorch":
        monkeypatch.undo()
        layer.backend = "naive"
    folds = []
    monkeypatch.setattr(layer, "dynamics", keeping(folds, type(layer).dynamics).__get__(layer))
    net(make_input())
    if why == "recurrent":  # dropout alone, as on a CPU
        assert [(fold.mean, fold.rate) for fold in folds] == [(None, None)]
        assert all(fold.stays is not None for fold in folds)
    else:
        assert folds == [None]


def unfolded(self, current, state):
    return adaptive(current, *self.coefficients(), theta=self.threshold, state=state)


def handing_on(self, current, state, fold=None):
    return LIFLayer.dynamics(self, current, state, fold)


OWN_DYNAMICS = {
    "own": (type("Own", (LIFLayer,), {"dynamics": unfolded, "folds": False}), False),
    "hands on": (type("Own", (LIFLayer,), {"dynamics": handing_on}), True),
}


@pytest.mark.parametrize("case", OWN_DYNAMICS)
def test_own_dynamics_are_folded_if_they_say_so(case, monkeypatch):
    kind, folds = OWN_DYNAMICS[case]
    torch.manual_seed(0)
    layer = kind(7, 16, threshold=0.15).train()
    outputs = []
    for on_gpu in (False, True):
        monkeypatch.setattr(shell, "compiled", lambda *_, on_gpu=on_gpu: on_gpu)
        torch.manual_seed(1)
        outputs.append(copy.deepcopy(layer)(make_input()))
    assert outputs[0].output.any()
    assert (outputs[1].counts is not None) is folds
    assert folds or torch.equal(outputs[0].output, outputs[1].output)


def test_dynamics_that_take_no_fold_fail_on_every_device():
    kind = type("Own", (LIFLayer,), {"dynamics": unfolded})
    with pytest.raises(TypeError, match="fold"):
        kind(7, 16)(make_input())


@pytest.mark.parametrize("change", ["frozen", "cumulative", "plain"])
def test_other_batch_normalisation_is_left_to_the_module(change, as_on_a_gpu):
    net = make_net("LIF").train()
    layer = net.hidden_layers[0]
    if change == "frozen":
        layer.norm.eval()
    elif change == "cumulative":
        layer.norm.momentum = None
    else:
        layer.norm = nn.BatchNorm1d(layer.hidden_size, affine=False)
    current = torch.randn(4, 5, layer.hidden_size)
    twin = copy.deepcopy(layer.norm)
    found, fold = folding.fold_of(layer, current)
    assert fold._replace(counts=None) == Fold()
    assert torch.equal(found, linear.normalize(twin, current))


def test_one_value_has_no_variance(as_on_a_gpu):
    net = make_net("LIF").train()
    with pytest.raises(ValueError, match="more than 1 value"):
        net(make_input()[:1, :1])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_spikes_are_counted_after_dropout(bidirectional, as_on_a_gpu):
    net = make_net("SiLIF", dropout=0.25, bidirectional=bidirectional).train()
    for layer in net.hidden_layers:
        nn.init.constant_(layer.norm.weight, 3.0)  # so that they fire
    activity = net.activity(make_input())
    operations = torch.count_nonzero(make_input()) * net.layer_sizes[0]
    for layer, rates, following in zip(
        activity.layers,
        activity.firing_rates[net.input_size :].split([x.output_size for x in net.hidden_layers]),
        net.layer_sizes[1:],
        strict=True,
    ):
        assert torch.equal(layer.counts, torch.count_nonzero(layer.output, dim=1).float())
        assert layer.counts.sum() > 0
        torch.testing.assert_close(rates, 0.75 * layer.output.mean(dim=(0, 1)))
        operations = operations + layer.counts.sum() * following
    torch.testing.assert_close(activity.sop, operations / len(make_input()))
