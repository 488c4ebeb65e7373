# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A training step of the authors' own code, of which this repository has no copy."""

import importlib.util
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import libraries
from benchmarks.libraries import Batch, Library, learn
from parsers.options import ConfigError


class PublishedNetwork:
    """``SNN`` of the authors' code as it is: its decays learn, its states start anywhere, and its
    scores are sums of softmax."""

    def __init__(self, kind: type[nn.Module], weights: list[Tensor], batch: Batch):
        self.batch = batch
        B, _, inputs = batch.x.shape
        sizes = [len(W) for W in weights]
        self.net = kind((B, None, inputs), sizes, neuron_type="LIF", normalization="none")
        linear = [module for module in self.net.modules() if isinstance(module, nn.Linear)]
        for module, W in zip(linear, weights, strict=True):
            module.weight.data.copy_(W)
        self.optimizer = torch.optim.Adam(self.net.parameters(), libraries.LEARNING_RATE)

    def step(self) -> Tensor:
        """See ``Network``."""
        return learn(self.net, self.optimizer, self.net(self.batch.x)[0], self.batch.y)

    @torch.no_grad()
    def rates(self) -> list[float]:
        """Mean over all hidden layers."""
        return [self.net(self.batch.x)[1].mean().item()]


def published(file: Path) -> Library:
    """What ``file`` of the authors' code, which defines ``SNN``, makes; of layers, nothing.

    ConfigError if there is no such class in it.
    """
    spec = importlib.util.spec_from_file_location("published", file)
    if spec is None or not file.is_file():
        raise ConfigError(f"--published: {file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        kind = module.SNN
    except (OSError, ImportError, SyntaxError, AttributeError) as error:
        raise ConfigError(f"--published: {file} gives no class SNN ({error})") from error
    return Library(None, partial(PublishedNetwork, kind))
