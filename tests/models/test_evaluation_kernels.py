# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""In evaluation on a CPU, kernels normalise and count what else PyTorch would, to the last bit."""

import pytest
import torch
from torch import nn

from models.linear import current_of
from models.network import spike_activity
from models.snns import SNN

numba = pytest.importorskip("numba")
linear_ordered = pytest.importorskip("models.linear_ordered")
NEURONS = ("LIF", "RadLIF", "SiLIF", "CSiLIF", "ResonateFire", "BRF")


def trained(neuron: str, **options) -> SNN:
    """A network in evaluation mode whose norms have learned something."""
    torch.manual_seed(0)
    net = SNN((None, None, 37), [70, 66, 5], neuron, dropout=0.2, **options).eval()
    for norm in norms_of(net):
        for x in (norm.running_mean, norm.weight.data, norm.bias.data):
            x.uniform_(-1, 2)
        norm.running_var.uniform_(0.1, 3)
    return net


def norms_of(net) -> list[nn.BatchNorm1d]:
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm1d)]


def frames(*shape: int) -> torch.Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.1).float()


def outcome(net, x):
    torch.manual_seed(2)
    activity = net.activity(x)
    spikes = [layer.spikes for layer in activity.layers]
    return activity.output, activity.firing_rates, activity.sop, activity.recurrent_sop, *spikes


def watched(net) -> list:
    """What the norms of ``net`` are called with from here on: with hooks they must be called."""
    seen = []
    for norm in norms_of(net):
        norm.register_forward_hook(lambda module, given, y: seen.append(module))
    return seen


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("shape", [(3, 20), (1, 2), (1, 1)])
def test_kernels_normalise_as_norms_do(neuron, bidirectional, shape, monkeypatch):
    net, x = trained(neuron, bidirectional=bidirectional), frames(*shape, 37)
    by_kernel, multiply = [], linear_ordered.normalized_in_order
    monkeypatch.setattr(
        linear_ordered,
        "normalized_in_order",
        lambda x, weight, norm: by_kernel.append(norm) or multiply(x, weight, norm),
    )
    with torch.no_grad():
        by_kernels = outcome(net, x)
        if shape == (3, 20) and linear_ordered.evaluates_alike():
            assert by_kernel == norms_of(net)
        seen = watched(net)
        by_norms = outcome(net, x)
    assert seen == norms_of(net)
    for ours, theirs in zip(by_kernels, by_norms, strict=True):
        assert torch.equal(ours, theirs)


def test_gradients_pass_through_norms_in_evaluation():
    net, x = trained("SiLIF"), frames(3, 20, 37).requires_grad_()
    with torch.no_grad():
        expected = outcome(net, x)
    found = outcome(net, x)
    found[0].var().backward()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert all(norm.weight.grad.any() for norm in norms_of(net))
    assert x.grad.any()


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(70, affine=False), nn.LayerNorm(70), None])
def test_other_norms_are_called(norm):
    layer, x = trained("SiLIF").snn[0], frames(3, 20, 37)
    layer.norm = None if norm is None else norm.eval()
    with torch.no_grad():
        plain = layer.W(x)
        expected = plain if norm is None else norm(plain.flatten(0, 1)).view_as(plain)
        assert torch.equal(current_of(layer, x), expected)


def test_a_norm_in_training_takes_statistics_in_a_network_that_is_not():
    net, x = trained("SiLIF"), frames(3, 20, 37)
    norm = net.snn[0].norm.train()
    before = norm.running_mean.clone()
    with torch.no_grad():
        plain = net.snn[0].W(x).flatten(0, 1)
        found = current_of(net.snn[0], x).flatten(0, 1)
    assert not torch.equal(norm.running_mean, before)
    torch.testing.assert_close(found.mean(dim=0), norm.bias.data, atol=1e-4, rtol=1e-4)
    assert plain.shape == found.shape


@pytest.mark.parametrize("training", [False, True])
def test_spikes_are_counted_by_clip_and_neuron(training):
    net, x = trained("SiLIF"), frames(3, 20, 37)
    layer = net.snn[0].train(training)
    with torch.no_grad():
        result = layer(x)
        rates, counts = spike_activity(layer, result)
    spikes = result.output != 0
    assert spikes.any()
    assert torch.equal(counts, spikes.sum(dim=1).float())
    assert torch.equal(rates, spikes.float().mean(dim=(0, 1)))


def test_without_kernels_nothing_is_counted_along_the_way():
    net = trained("SiLIF", backend="naive")
    result = net.snn[0](frames(3, 20, 37))
    rates, counts = spike_activity(net.snn[0], result)
    assert counts is None
    torch.testing.assert_close(rates, result.output.mean(dim=(0, 1)))
