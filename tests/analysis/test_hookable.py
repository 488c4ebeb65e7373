# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A network made for hooks computes the same, and hooks see everything."""

import pytest
import torch

from analysis.neurobench import Spikes, hookable
from models.snns import LAYERS, SNN

B, T, F = 3, 12, 7


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("neuron", LAYERS)
@torch.no_grad()
def test_it_computes_the_same(neuron, bidirectional):
    torch.manual_seed(0)
    threshold = 0.02 if neuron == "ResonateFire" else 0.15
    model = SNN((B, T, F), [6, 5, 4], neuron, threshold=threshold, bidirectional=bidirectional)
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.poisson(torch.full((B, T, F), 1.5))
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
    model = SNN((B, T, F), [6, 4], "RadLIF", threshold=0.15, init_state="zero").eval()
    twin = hookable(model)
    calls = []
    twin.snn[0].V.register_forward_pre_hook(lambda m, args: calls.append(args[0]))
    x = torch.poisson(torch.full((B, T, F), 1.5))
    spikes = twin.activity(x).layers[0].spikes
    assert len(calls) == T
    assert torch.stack(calls[1:], dim=1).equal(spikes[:, :-1])
    assert calls[0].count_nonzero() == 0
    assert twin.snn[0].V.weight.diagonal().count_nonzero() == 0
    assert twin.snn[0].V.weight.T.equal(model.snn[0].recurrent_weights())
