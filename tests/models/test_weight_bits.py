# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Weights of few bits: the grid, the gradient, and where they are used."""

import pytest
import torch
from snn_cases import all_neurons, make_input, make_net

from models.linear import quantized, rounded, set_weight_bits

DELAYED = [{"delay": kind, "delay_taps": 5} for kind in ("axonal", "dendritic", "synaptic")]


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_rows_end_at_the_ends_of_the_range(bits):
    weight = torch.randn(5, 9) * torch.tensor([[1e-3], [1.0], [50.0], [1.0], [0.0]])
    whole, factor = quantized(weight, bits)
    most = 2 ** (bits - 1) - 1
    assert whole.equal(whole.round())
    assert whole[:4].abs().amax(dim=1).tolist() == [most] * 4
    assert not whole[4].any()
    assert ((whole * factor - weight).abs() <= factor / 2 * (1 + 1e-5)).all()
    assert quantized(-weight, bits)[0].equal(-whole)


def test_halves_are_rounded_to_even_and_grids_stay():
    weight = torch.tensor([[7.0, 0.5, 1.5, -2.5, 3.4]])
    assert rounded(weight, 4).tolist() == [[7, 0, 2, -2, 3]]
    assert rounded(rounded(weight / 3, 4), 4).equal(rounded(weight / 3, 4))
    assert rounded(weight, None) is weight


def test_the_gradient_passes_straight_through():
    weight = torch.randn(4, 6, requires_grad=True)
    factors = torch.randn(4, 6)
    (rounded(weight, 3) * factors).sum().backward()
    assert weight.grad.equal(factors)


@pytest.mark.parametrize("options", [{}, {"recurrent": "dense"}, *DELAYED], ids=str)
@pytest.mark.parametrize("backend", ["naive", "auto"])
def test_a_network_computes_with_rounded_weights(options, backend):
    """As one whose parameters lie on the grid, forwards and backwards, in steps as well."""
    nets = [make_net("adLIF", backend=backend, **options) for _ in range(2)]
    set_weight_bits(nets[0], 4)
    with torch.no_grad():
        for layer in nets[1].snn:
            layer.W.weight.copy_(rounded(layer.W.weight, 4))
            if getattr(layer, "recurrent", False):
                # What does not exist takes no part in the factor.
                layer.V.weight.copy_(rounded(layer.V.weight.fill_diagonal_(0).T, 4).T)
    gradients = []
    for net in nets:
        torch.manual_seed(3)
        output = net(make_input())[0]
        output.square().sum().backward()
        gradients.append([output, *(parameter.grad for parameter in net.parameters())])
    for ours, theirs in zip(*gradients, strict=True):
        assert ours.equal(theirs)
    assert not nets[0].snn[0].W.weight.equal(nets[1].snn[0].W.weight)
    with torch.no_grad():
        results = []
        for net in nets:
            torch.manual_seed(3)
            net.eval()
            results.append(net(make_input(), state=net.initial_state(3))[0])
    assert results[0].equal(results[1])


@all_neurons
def test_eight_bits_are_close_to_none_and_back_ends_agree(neuron):
    found = {}
    for bits, backend in ((None, "naive"), (8, "naive"), (8, "auto")):
        net = make_net(neuron, backend=backend, init_state="zero", threshold=0.01)
        set_weight_bits(net, bits)
        with torch.no_grad():
            activity = net.activity(make_input())
        found[bits, backend] = activity.output, [layer.spikes for layer in activity.layers]
    for ours, theirs in zip(found[8, "auto"][1], found[8, "naive"][1], strict=True):
        assert ours.equal(theirs)
        assert ours.any()
    assert not found[8, "naive"][0].equal(found[None, "naive"][0])
    torch.testing.assert_close(found[8, "naive"][0], found[None, "naive"][0], rtol=0.1, atol=0.3)


def test_checkpoints_hold_what_the_optimiser_moves():
    net, rounded_net = make_net("RadLIF"), make_net("RadLIF")
    set_weight_bits(rounded_net, 4)
    assert rounded_net.state_dict().keys() == net.state_dict().keys()
    assert all(a.equal(b) for a, b in zip(net.parameters(), rounded_net.parameters(), strict=True))
