# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What neurons do between two spikes: their states at every time step.

Networks hand out spikes only. Here a network runs its own forward pass while every call of a
layer's recurrence is cut into single steps, with the state handed on from one to the next; nothing
is computed a second way.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from models.shell import SpikingLayer, join_directions
from models.snns import SNN, AdaptiveLayer, ResonateLayer


@dataclass
class LayerTrace:
    """States of some rows of a batch in one layer, [rows, T, H] each; a bidirectional layer has
    [rows, T, 2H], the reversed direction behind and turned back in time.

    ``states`` maps the fields of the layer's state to their values after each step; ``spikes`` are
    0 or 1. A neuron spikes where ``drive`` of a state is above ``threshold``; a neuron with a
    recurrence of its own has None there, since its threshold may move. A readout has its potential
    ``u`` and no spikes; its ``scores`` [rows, T, C] are its softmax at each step, or the spikes of
    a readout that counts them.
    """

    states: dict[str, Tensor] = field(default_factory=dict)
    spikes: Tensor | None = None
    scores: Tensor | None = None
    threshold: float | None = None

    @property
    def drive(self) -> Tensor:
        """What is held against the threshold: the potential, or its real part."""
        u = self.states[self.potential]
        return u.real if u.is_complex() else u

    @property
    def potential(self) -> str:
        """Name of the membrane potential among ``states``: u, or the first of them."""
        return "u" if "u" in self.states else next(iter(self.states))


def threshold_of_u(layer: SpikingLayer) -> float | None:
    """The value of u (or of its real part) above which a neuron of ``layer`` spikes.

    None for a neuron with a recurrence of its own.
    """
    if not isinstance(layer, AdaptiveLayer | ResonateLayer):
        return None
    return layer.threshold / getattr(layer.coefficients(), "scale", 1.0)


def named_states(state: tuple | Tensor) -> dict[str, Tensor]:
    """The states of a layer [B, H] by their names; those of a plain tuple are numbered."""
    if isinstance(state, Tensor):
        return {"u": state}
    names = getattr(state, "_fields", [f"state {i}" for i in range(1, len(state) + 1)])
    return dict(zip(names, state, strict=True))


@torch.no_grad()
def traced(model: SNN, x: Tensor, rows: list[int]) -> tuple[Any, list[LayerTrace]]:
    """Run ``model`` on the batch ``x`` [B, T, F]; its Activity, and a trace of every layer.

    ``rows`` are the clips of the batch that are kept. Initial states are drawn as always, so with
    the same random state the spikes are those of an ordinary forward pass.
    """
    with contextlib.ExitStack() as stack:
        traces = [stack.enter_context(watched(layer, rows, len(x))) for layer in model.snn]
        stack.callback(setattr, model, "keep_potentials", model.keep_potentials)
        model.keep_potentials = False  # the readout's own recurrence is watched
        activity = model.activity(x)
    if model.counts_spikes:
        traces[-1].scores = traces[-1].spikes
    return activity, traces


@contextlib.contextmanager
def watched(layer: nn.Module, rows: list[int], batch_size: int) -> Iterator[LayerTrace]:
    """Cut the recurrence of ``layer`` into steps as long as the context lasts, and keep them."""
    trace = LayerTrace()
    run = layer.dynamics
    if isinstance(layer, SpikingLayer):
        layer.dynamics = lambda current, state, fold=None: spike_through(
            run, current, state, trace, rows, batch_size
        )
        trace.threshold = threshold_of_u(layer)
    else:
        layer.dynamics = lambda current, state: read_out(layer, run, current, state, trace, rows)
    try:
        yield trace
    finally:
        del layer.dynamics  # the method of the class stands again


def spike_through(run, current, state, trace, rows, batch_size):
    """All steps of a spiking layer; spikes [B, T, H] and the state after the last one."""
    spikes, kept = [], []
    for t in range(current.shape[1]):
        fired, state = run(current[:, t : t + 1], state)
        spikes.append(fired)
        kept.append([select(values, rows, batch_size) for values in named_states(state).values()])
    for name, values in zip(named_states(state), zip(*kept, strict=True), strict=True):
        trace.states[name] = side_by_side(torch.stack(values, dim=1), len(rows))
    spikes = torch.cat(spikes, dim=1)
    trace.spikes = side_by_side(select(spikes, rows, batch_size), len(rows))
    return spikes, state


def read_out(layer, run, current, state, trace, rows):
    """All steps of a readout; class scores [B, C] and the potential after the last step."""
    steps = []
    for t in range(current.shape[1]):
        _, state = run(current[:, t : t + 1], state)
        steps.append(state)
    potentials = torch.stack(steps, dim=1)
    trace.states["u"] = potentials[rows]
    trace.scores = torch.softmax(potentials[rows], dim=2)
    return layer.scores(potentials), state


def select(values: Tensor, rows: list[int], batch_size: int) -> Tensor:
    """The ``rows`` of values [B, ...], or of both directions of [2B, ...]."""
    both = rows + [row + batch_size for row in rows] if len(values) > batch_size else rows
    return values[both]


def side_by_side(values: Tensor, count: int) -> Tensor:
    """[count, T, H] as it is; both directions [2 count, T, H] -> [count, T, 2H]."""
    return values if len(values) == count else join_directions(values)
