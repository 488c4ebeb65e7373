# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a network does on the test split, and what its neurons do between two spikes.

Networks only return spikes. For the states at every time step, a copy of the network runs its own
forward pass with every call of a layer's recurrence cut into single steps, and the state is passed
from one to the next; nothing is computed a second way.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.listening import watching
from analysis.operations import LayerOperations, OperationCounter
from analysis.trained import OpenedRun
from datasets.interface import Batch, Split
from models.dynamics import Delayed
from models.network import join_directions
from models.shell import SpikingLayer
from models.snns import SNN, AdaptiveLayer, ResonateLayer
from models.ssms import MeanReadout, ResidualLayer
from training.data.loading import order_of_batches
from training.device.choice import random_state, restore_random_state
from training.metrics import Metrics
from training.steps import Steps
from training.terminal.console import progress_bar


@dataclass
class LayerTrace:
    """States of some rows of a batch in one layer, [rows, T, H] each; a bidirectional layer has
    [rows, T, 2H], the reversed direction second and turned back in time.

    ``states`` maps the fields of the layer's state to their values after each step; ``spikes`` are
    0 or 1. A neuron spikes where ``drive`` of a state is above ``threshold``, a number or that of
    each neuron; one with a recurrence of its own has None there, since it may move. A readout has
    its potential ``u`` and no spikes; its ``scores`` [rows, T, C] are its softmax at each step, or
    the spikes of a readout that counts them.
    """

    states: dict[str, Tensor] = field(default_factory=dict)
    spikes: Tensor | None = None
    scores: Tensor | None = None
    threshold: float | Tensor | None = None

    @property
    def drive(self) -> Tensor:
        """What is compared with the threshold: the potential, or its real part."""
        u = self.states[self.potential]
        return u.real if u.is_complex() else u

    @property
    def potential(self) -> str:
        """Name of the membrane potential among ``states``: u, or the first of them."""
        return "u" if "u" in self.states else next(iter(self.states))


def named_states(state: tuple | Tensor) -> dict[str, Tensor]:
    """The states of a layer [B, H] by their names; those of a plain tuple are numbered."""
    if isinstance(state, Tensor):
        return {"u": state}
    state = state.neurons if isinstance(state, Delayed) else state
    names = getattr(state, "_fields", [f"state {i}" for i in range(1, len(state) + 1)])
    return dict(zip(names, state, strict=True))


@torch.no_grad()
def traced(model: SNN, x: Tensor, rows: list[int]) -> tuple[Any, list[LayerTrace]]:
    """Run ``model`` on the batch ``x`` [B, T, F]; its Activity, and a trace of every layer.

    ``rows`` are the clips of the batch that are kept. Initial states are drawn as always, so with
    the same random state the spikes are those of an ordinary forward pass. ``model`` itself stays
    as it is.
    """
    model = copy.deepcopy(model)
    model.keep_potentials = False  # the readout's own recurrence is watched
    traces = [watch(layer, rows, len(x)) for layer in model.snn]
    activity = model.activity(x)
    if model.counts_spikes:
        traces[-1].scores = traces[-1].spikes
    return activity, traces


def watch(layer: nn.Module, rows: list[int], batch_size: int) -> LayerTrace:
    """Cut the recurrence of ``layer`` into steps; the trace fills while it runs."""
    if isinstance(layer, ResidualLayer | MeanReadout):
        return listen(layer, rows, batch_size)
    trace, run = LayerTrace(), layer.dynamics

    def spike_through(current, state, fold=None):
        """All steps of a spiking layer; spikes [B, T, H] and the state after the last one."""
        spikes, kept = [], []
        for t in range(current.shape[1]):
            fired, state = run(current[:, t : t + 1], state)
            spikes.append(fired)
            states = named_states(state)
            kept.append([select(values, rows, batch_size) for values in states.values()])
        for name, values in zip(states, zip(*kept, strict=True), strict=True):
            trace.states[name] = side_by_side(torch.stack(values, dim=1), len(rows))
        spikes = torch.cat(spikes, dim=1)
        trace.spikes = side_by_side(select(spikes, rows, batch_size), len(rows))
        return spikes, state

    def read_out(current, state):
        """All steps of a readout; class scores [B, C] and the potential after the last step."""
        steps = []
        for t in range(current.shape[1]):
            _, state = run(current[:, t : t + 1], state)
            steps.append(state)
        potentials = torch.stack(steps, dim=1)
        trace.states["u"] = potentials[rows]
        trace.scores = torch.softmax(potentials[rows], dim=2)
        return layer.scores(potentials), state

    layer.dynamics = spike_through if isinstance(layer, SpikingLayer) else read_out
    if isinstance(layer, AdaptiveLayer | ResonateLayer):
        threshold = layer.threshold / getattr(layer.coefficients(), "scale", 1.0)
        if isinstance(threshold, Tensor):
            threshold = threshold.detach().expand(layer.hidden_size)
            threshold = threshold.repeat(1 + layer.bidirectional)
        trace.threshold = threshold
    return trace


def listen(layer: nn.Module, rows: list[int], batch_size: int) -> LayerTrace:
    """The trace of a layer of a state-space network that spikes, which has all steps at once."""
    trace = LayerTrace()
    if isinstance(layer, MeanReadout):

        def read_out(_, given):
            trace.states["u"] = layer.linear(given[0][rows])
            trace.scores = torch.softmax(trace.states["u"], dim=2)

        layer.register_forward_pre_hook(read_out)
        return trace
    activation = layer.block.activation

    def spike_all(u):
        spikes = activation(u)
        trace.states["u"], trace.spikes = (
            side_by_side(select(values.mT, rows, batch_size), len(rows)) for values in (u, spikes)
        )
        return spikes

    layer.block.activation, trace.threshold = spike_all, layer.block.threshold
    return trace


def select(values: Tensor, rows: list[int], batch_size: int) -> Tensor:
    """The ``rows`` of values [B, ...], or of both directions of [2B, ...]."""
    both = rows + [row + batch_size for row in rows] if len(values) > batch_size else rows
    return values[both]


def side_by_side(values: Tensor, count: int) -> Tensor:
    """[count, T, H] as it is; both directions [2 count, T, H] -> [count, T, 2H]."""
    return values if len(values) == count else join_directions(values)


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
    # [T] clips that are right if they must be decided after each step; those that have ended before
    # keep their class. None for a network that hears clips from their end
    right_by_step: Tensor | None = None

    @property
    def predictions(self) -> Tensor:
        """The class with the highest score of each clip [N]."""
        return self.scores.argmax(dim=1)

    def confusion(self) -> Tensor:
        """Clips [C, C] of each class (row) that were classified as each class (column)."""
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
        self.scores, self.random_states, self.decided = [], [], []
        self.rates, self.seen = 0, 0
        self.counter = OperationCounter(self.model)
        self.experiment.steps = self
        metrics = self.experiment.test(self.options.seed)
        rates = []
        if self.model.is_snn:
            sizes = [layer.output_size for layer in self.model.hidden_layers]
            hidden = (self.rates / self.seen)[self.nb_features :]
            rates = [part.cpu() for part in hidden.split(sizes)]
        labels = self.experiment.data.test.labels.cpu()
        return Observation(
            metrics=metrics,
            scores=torch.cat(self.scores),
            labels=labels,
            rates=rates,
            operations=self.counter.per_clip(),
            right_by_step=right_by_step(self.decided, labels),
        )

    def forward(self, x: Tensor) -> tuple:
        """As in every test, recording what passes by."""
        self.random_states.append(random_state(self.device))
        with watching(self.model) as steps:
            output, activity = super().forward(x)
        self.scores.append(output.cpu())
        running, first = steps()
        if running is not None:  # whoever has no score yet guesses the first class
            classes = running.argmax(dim=2)
            self.decided.append(functional.pad(classes, (first, 0)).cpu())
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


def right_by_step(decided: list[Tensor], labels: Tensor) -> Tensor | None:
    """How many clips of the batches, whose classes [B, T] after each step are given, are right."""
    if not decided:
        return None
    longest = max(classes.shape[1] for classes in decided)
    whole = [
        torch.cat([classes, classes[:, -1:].expand(-1, longest - classes.shape[1])], dim=1)
        for classes in decided
    ]
    return (torch.cat(whole) == labels[:, None]).sum(dim=0)


class Clips:
    """The first ``count`` clips of a split in batches, with a progress bar, as NeuroBench wants its
    data: an iterable with a length and a data set."""

    def __init__(self, split: Split, batch_size: int, label: str, count: int):
        self.dataset = split
        self.label = label
        self.count = min(count, len(split))
        self.order = order_of_batches(self.count, batch_size, shuffle=False)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        with progress_bar(self.count, self.label) as bar:
            for indices in self.order:
                yield self.dataset.batch(indices)
                bar.update(len(indices))
