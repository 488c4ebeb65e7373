# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Words of your own, a folder of recordings for each: ``python examples/own_data.py FOLDER``.

WAV, FLAC, MP3 or Ogg files of ``FOLDER/yes``, ``FOLDER/no`` and so on become log-mel features, and
are shared out to training, validation and test as docs/data.md says.
"""

import argparse
import sys

import torch
from torch.nn import functional

import sprache


def main(folder: str, epochs: int = 20, hidden: int = 128) -> sprache.Network:
    """Train a network of two kinds of neurons, and show what it takes the test clips for."""
    torch.manual_seed(13)
    data = sprache.load_data(dataset_name="sc", data_folder=folder)
    sizes = [hidden, hidden, data.nb_classes]
    # The mean of the output neurons' potentials: scores are logits, however long a clip is.
    net = sprache.SNN((None, None, data.nb_features), sizes, "SiLIF+LIF", readout="mean")
    net.classes = data.classes
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    for epoch in range(1, epochs + 1):
        net.train()
        losses = []
        for indices in torch.randperm(len(data.train)).split(16):
            x, y = data.train.batch(indices)  # as long as the longest of them, zeros behind others
            loss = functional.cross_entropy(net(x)[0], y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch}: loss {sum(losses) / len(losses):.3f}")
    net.eval()
    for number in range(len(data.test)):
        x, y = data.test.batch(torch.tensor([number]))
        with torch.no_grad():
            chances = torch.softmax(net(x)[0][0], dim=0)
        best = int(chances.argmax())
        print(f"{net.classes[int(y)]}: heard {net.classes[best]} ({chances[best]:.0%})")
    return net


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", metavar="FOLDER", help="a folder of recordings for each word")
    folder = parser.parse_args().folder
    try:
        main(folder)
    except sprache.UserError as error:
        print(f"own_data.py: error: {error}", file=sys.stderr)
        sys.exit(2)
