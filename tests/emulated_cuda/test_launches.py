# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How much a layer gives a GPU to do in a training step; small steps consist of launches."""

import pytest
import torch
from torch.nn import functional

from models.snns import SNN

MOST = {"LIF": 24, "adLIF": 42, "SiLIF": 43, "CSiLIF": 33, "ResonateFire": 27}


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
    assert three.count("our kernel") - two.count("our kernel") == 4
    assert len(three) - len(two) <= MOST[neuron]
