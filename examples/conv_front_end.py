# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Neurons inside another network, behind convolutions: ``python examples/conv_front_end.py``."""

import torch
from torch import Tensor, nn
from torch.nn import functional

import sprache
from sprache.layers import ReadoutLayer, Spiking


class ConvSNN(nn.Module):
    """Convolutions over time and neurons of two kinds: x [B, T, F] -> class scores [B, C].

    The readout is that of ``sprache.SNN``: the scores are the softmax of its potentials, summed
    over the steps that pooling leaves.
    """

    def __init__(self, features: int, classes: int, hidden: int = 64):
        super().__init__()
        self.front = nn.Sequential(  # [B, F, T], as convolutions over time take it
            nn.Conv1d(features, hidden, kernel_size=5, padding=2, bias=False),
            Spiking("SiLIF", hidden, hidden, channels_first=True, dropout=0.1),
            nn.AvgPool1d(2),
            Spiking("LIF", hidden, hidden, channels_first=True, dropout=0.1),
        )
        self.readout = ReadoutLayer(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.front(x.mT).mT)


def main(epochs: int = 3, **options) -> ConvSNN:
    """Train on the spoken digits that come with Sprache, and say how the loss falls."""
    torch.manual_seed(13)
    data = sprache.load_data(("train",), **{"dataset_name": "demo", "nb_steps": 100} | options)
    net = ConvSNN(data.nb_features, data.nb_classes)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    for epoch in range(1, epochs + 1):
        losses = []
        for indices in torch.randperm(len(data.train)).split(32):
            x, y = data.train.batch(indices)
            loss = functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch}: loss {sum(losses) / len(losses):.3f}")
    return net


if __name__ == "__main__":
    main()
