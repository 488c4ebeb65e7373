# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One pass over the test split that keeps what the figures of a run leave out."""

from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.operations import LayerOperations, OperationCounter
from analysis.run import OpenedRun
from analysis.traces import LayerTrace, traced
from training.device.choice import random_state, restore_random_state
from training.metrics import Metrics
from training.steps import Steps


@dataclass(frozen=True)
class Observation:
    """What a network did on the test split of N clips.

    ``scores`` [N, C] and ``labels`` [N]; ``rates`` are the firing rates per neuron [units] of each
    hidden layer, spikes per time step; ``operations`` are per clip, one entry a layer.
    """

    metrics: Metrics
    scores: Tensor
    labels: Tensor
    rates: list[Tensor]
    operations: list[LayerOperations]

    @property
    def predictions(self) -> Tensor:
        """The class with the highest score of each clip [N]."""
        return self.scores.argmax(dim=1)

    def confusion(self) -> Tensor:
        """Clips [C, C] of each class (row) that were taken for each class (column)."""
        classes = self.scores.shape[1]
        pairs = self.labels * classes + self.predictions
        return pairs.bincount(minlength=classes**2).reshape(classes, classes)


class Observer(Steps):
    """Looks at every batch while the network of ``run`` is tested.

    The pass is that of the run's own test, with the same random initial states.
    """

    def __init__(self, run: OpenedRun):
        ordinary = run.experiment.steps
        super().__init__(run.model, ordinary.optimizer, ordinary.options, ordinary.nb_features)
        self.experiment = run.experiment

    def observe(self) -> Observation:
        """Test the network under the run's seed."""
        self.scores, self.random_states = [], []
        self.rates, self.seen = 0, 0
        self.counter = OperationCounter(self.model)
        metrics = self.test()
        rates = []
        if self.model.is_snn:
            sizes = [layer.output_size for layer in self.model.hidden_layers]
            hidden = (self.rates / self.seen)[self.nb_features :]
            rates = [part.cpu() for part in hidden.split(sizes)]
        return Observation(
            metrics=metrics,
            scores=torch.cat(self.scores),
            labels=self.experiment.data.test.labels.cpu(),
            rates=rates,
            operations=self.counter.per_clip(),
        )

    def test(self) -> Metrics:
        """The test of the experiment, batch by batch through this object."""
        ordinary = self.experiment.steps
        self.experiment.steps = self
        try:
            return self.experiment.test(self.options.seed)
        finally:
            self.experiment.steps = ordinary

    def forward(self, x: Tensor) -> tuple:
        """As in every test, and note what passes by."""
        self.random_states.append(random_state(self.device))
        output, activity = super().forward(x)
        self.scores.append(output.cpu())
        self.counter.add(x, activity)
        if activity is not None:
            self.rates = self.rates + activity.firing_rates.double() * len(x)
            self.seen += len(x)
        return output, activity

    @torch.no_grad()
    def trace(self, clip: int) -> tuple[Tensor, list[LayerTrace]]:
        """Input [T, F] of a test clip and the states [1, T, units] of every layer in ``observe``.

        The whole batch is run again from the same random state, so that the clip meets the same
        initial states.
        """
        test = self.experiment.data.test
        batch, row = divmod(clip, self.options.batch_size)
        first = batch * self.options.batch_size
        last = min(first + self.options.batch_size, len(test))
        x, _ = test.batch(torch.arange(first, last))
        restore_random_state(self.random_states[batch], self.device)
        _, traces = traced(self.model, x, [row])
        return x[row].cpu(), traces
