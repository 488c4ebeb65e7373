# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Train a network in a loop of your own: ``python examples/own_loop.py``."""

import torch
from torch.nn import functional

import sprache


def accuracy(net: sprache.Network, clips, device: str) -> float:
    """Share of ``clips``, a split of the data, whose word gets the highest score."""
    net.eval()
    with torch.no_grad():
        batches = map(clips.batch, torch.arange(len(clips)).split(64))
        right = [(net(x.to(device))[0].argmax(dim=1).cpu() == y).sum().item() for x, y in batches]
    return sum(right) / len(clips)


def main(epochs=5, hidden=128, name="demo", folder=None, steps=100) -> sprache.Network:
    """Train on the spoken digits that come with Sprache, and test."""
    torch.manual_seed(13)
    data = sprache.load_data(dataset_name=name, nb_steps=steps, data_folder=folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = [hidden, hidden, data.nb_classes]
    net = sprache.SNN((None, None, data.nb_features), sizes, "SiLIF", dropout=0.1).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for epoch in range(1, epochs + 1):
        net.train()
        for indices in torch.randperm(len(data.train)).split(32):
            x, y = data.train.batch(indices)
            scores, _firing_rates, _operations = net(x.to(device))
            loss = functional.cross_entropy(scores, y.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: validation accuracy {accuracy(net, data.valid, device):.1%}")
    print(f"test accuracy {accuracy(net, data.test, device):.1%}")
    return net


if __name__ == "__main__":
    main()
