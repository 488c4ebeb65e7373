# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Readouts: how the last layer gives one score per class."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.dynamics import potentials, readout, summed
from models.linear import Linear, current_of, make_norm, normalize, resumed
from models.network import LayerState, in_full
from models.shell import ALPHA_BOUNDS, clamped, initial_values, uniform


class Readout(NamedTuple):
    """What makes class scores [B, C] of the output neurons' values [B, T, C]."""

    scores: Callable[[Tensor], Tensor]
    # The same one step after another: a total that begins at ``start``, and takes a step [B, C]
    add: Callable[[Tensor, Tensor], Tensor] = torch.add
    start: float = 0.0
    averages: bool = False  # the total is divided by the number of steps
    of_spikes: bool = False  # of output neurons that spike, else of their potentials
    sums: bool = False  # scores are the sum or mean: in evaluation added up as by a stream

    def running(self, steps: Tensor) -> Tensor:
        """Scores [B, T, C] after every one of the ``steps`` [B, T, C], as if it were the last."""
        total, found = torch.full_like(steps[:, 0], self.start), []
        for step in steps.unbind(dim=1):
            total = self.add(total, step)
            found.append(total)
        scores = torch.stack(found, dim=1)
        counts = torch.arange(1, len(found) + 1, device=steps.device)
        return scores / counts[:, None] if self.averages else scores


READOUTS = {
    "softmax_sum": Readout(  # Bittar & Garner 2022
        lambda u: summed(torch.softmax(u, dim=2)), lambda total, u: total + torch.softmax(u, dim=1)
    ),
    "mean": Readout(lambda u: u.mean(dim=1), averages=True, sums=True),
    "sum": Readout(lambda u: u.sum(dim=1), sums=True),
    "max": Readout(lambda u: u.amax(dim=1), torch.maximum, start=-math.inf),
    "last": Readout(lambda u: u[:, -1], lambda _, u: u),
    "spike_count": Readout(lambda s: s.sum(dim=1), of_spikes=True),
}


def gathered(
    name: str, steps: Tensor, total: Tensor, earlier: Tensor, first: int = 0
) -> tuple[Tensor, Tensor]:
    """Class scores [B, C], and the total, of the values ``steps`` [B, T, C] behind ``earlier`` ones
    of that ``total``; the ``first`` of all steps count for none, unless there are no others."""
    readout = find_readout(name)
    for t, step in enumerate(steps.unbind(dim=1)):
        before, total = total, readout.add(total, step)
        if first:
            total = torch.where(earlier + t < first, before, total)
    scores, count = total, earlier + steps.shape[1] - first
    if first:
        alone = readout.add(torch.full_like(total, readout.start), step)
        scores = torch.where(count > 0, total, alone)
    return (scores / count.clamp(min=1) if readout.averages else scores), total


def find_readout(name: str) -> Readout:
    """The readout of that name; ValueError where there is none."""
    if name not in READOUTS:
        raise ValueError(f"readout '{name}' is not one of {', '.join(READOUTS)}")
    return READOUTS[name]


class ANNReadoutLayer(nn.Module):
    """[B, T, F] -> class scores [B, C]: softmax over features, summed over time, W and norm.

    Another ``readout`` of ``READOUTS`` makes scores of W and norm at every step.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        readout: str = "softmax_sum",
        normalization: str = "batchnorm",
        use_bias: bool = False,
        backend: str = "auto",
    ):
        super().__init__()
        self.hidden_size = hidden_size
        self.readout = readout
        self.backend = backend
        self.W = Linear(input_size, hidden_size, use_bias, backend=backend)
        self.delay = None
        self.norm = make_norm(normalization, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        if self.readout == "softmax_sum":
            return self.current(summed(torch.softmax(x, dim=2)))
        return self.scores(self.current(x))

    def macs(self, steps: int) -> int:
        """Multiply-accumulates of a clip of ``steps`` steps, or of their sum."""
        return self.W.weight.numel() * (1 if self.readout == "softmax_sum" else steps)

    def current(self, x: Tensor) -> Tensor:
        """Normalised currents [..., C] of ``x`` [..., F]."""
        return self.scaled(current_of(self, x))

    def scaled(self, current: Tensor) -> Tensor:
        """Normalised currents [..., C] as the neurons take them."""
        return current

    def scores(self, steps: Tensor) -> Tensor:
        """Class scores [B, C] of potentials or currents [B, T, C]."""
        return find_readout(self.readout).scores(steps)


class ReadoutLayer(ANNReadoutLayer):
    """Non-spiking leaky integrator (Bittar & Garner 2022): [B, T, F] -> class scores [B, C].

    Args:
        readout_decay: decay per step of all potentials, which is fixed; None: one is learned for
            each.
        readout_tau: a time constant in steps is learned for each instead, which starts around this
            (deviation a quarter of it), and W by Xavier's rule, as published with BRF.
        readout_gain: factor of the input current, if it is not to be 1 minus the decay.
        readout_start: first steps that count for no class; the last one always counts.
    """

    states_per_neuron = 1
    ranges = {"alpha": ALPHA_BOUNDS}  # noqa: RUF012

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        init_state: str = "rand",
        readout_decay: float | None = None,
        readout_tau: float | None = None,
        readout_gain: float | None = None,
        readout_start: int = 0,
        **options,
    ):
        super().__init__(input_size, hidden_size, **options)
        sums = self.readout == "softmax_sum" and readout_start == 0
        self.operation = "readout" if sums else "potentials"
        self.W.streams = True
        self.init_state = init_state
        self.first, self.gain = readout_start, readout_gain
        if readout_tau is not None:
            if readout_decay is not None:
                raise ValueError("readout_decay is fixed and readout_tau learned: give one of them")
            nn.init.xavier_uniform_(self.W.weight)
            drawn = torch.empty(hidden_size).normal_(readout_tau, readout_tau / 4)
            self.tau, self.ranges = nn.Parameter(drawn), {}
        elif readout_decay is None:
            self.alpha = uniform(hidden_size, ALPHA_BOUNDS)
        else:
            self.register_buffer("alpha", torch.full((hidden_size,), float(readout_decay)))

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """Class scores [B, C]; ``state``: potential [B, C] before the first step."""
        return self.dynamics(*self.start(x, state))[0]

    def potentials(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """Potentials [B, T, C] after every step, of which ``scores`` makes class scores."""
        current, state = self.start(x, state)
        return potentials(current, self.decay(), state=state, backend=self.backend)[0]

    def resumed(self, x: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Potentials as of a layer that heard all steps at once, and what is left to the next."""
        current, line = resumed(self, x, state.line)
        current = self.scaled(in_full(normalize(self.norm, current)))
        steps, potential = potentials(
            current, self.decay(), state=state.neurons, backend=self.backend
        )
        return steps, LayerState(potential, line)

    def scaled(self, current: Tensor) -> Tensor:
        return current if self.gain is None else current * (self.gain / (1 - self.decay()))

    def start(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """The current [B, T, C] that ``x`` [B, T, F] makes, and the potential before it."""
        current = self.current(x)
        return current, self.initial_state(current) if state is None else state

    def initial_state(self, current: Tensor) -> Tensor:
        """The potential [B, C] before the first step of ``current`` [B, T, C]."""
        return initial_values(current, self.init_state, backend=self.backend)

    def dynamics(self, current: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Class scores [B, C] of ``current`` [B, T, C], and the potential after the last step."""
        if self.operation == "readout":
            return readout(current, self.decay(), state=state, backend=self.backend)
        found, state = potentials(current, self.decay(), state=state, backend=self.backend)
        return self.scores(found), state

    def scores(self, steps: Tensor) -> Tensor:
        """Class scores [B, C] of potentials [B, T, C]."""
        counted, readout = self.counted(steps), find_readout(self.readout)
        if self.training or not readout.sums:
            return readout.scores(counted)
        total = summed(counted)
        return total / counted.shape[1] if readout.averages else total

    def counted(self, steps: Tensor) -> Tensor:
        """Those of ``steps`` [B, T, C] that count for a class."""
        return steps[:, min(self.first, steps.shape[1] - 1) :]

    def decay(self) -> Tensor:
        """Decay per step [C], as the recurrence uses it."""
        if "tau" in self._parameters:
            return torch.exp(-1 / self.tau.abs())
        learned = isinstance(self.alpha, nn.Parameter)
        return clamped(self, "alpha") if learned else self.alpha
