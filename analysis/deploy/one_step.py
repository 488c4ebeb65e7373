# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A trained network as one time step with explicit states, of standard operators on real numbers.

That is what ``.onnx`` and ``.pt2`` files hold, and what C code is written from. Batch normalisation
is folded into the weights, parameters have become coefficients, a complex potential is two real
states, and delays are a state line. What a neuron computes is the recurrence of
``models.dynamics.naive``, given a single step.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from analysis.deploy.weights import Weights, folded
from models.delays import Delay
from models.dynamics import naive
from models.readouts import READOUTS, ReadoutLayer, gathered
from models.shell import CompiledLayer, SpikingLayer, initial_values
from models.snns import SNN, ResonateLayer
from models.surrogate import spike
from training.errors import ExperimentError

SPIKES = "s"  # the field of a state that holds spikes
FRACTION_BITS = 11  # of a state in fixed point
INT16 = torch.iinfo(torch.int16)


class State(NamedTuple):
    """A state of a network: its name, its shape without the batch, and whether it is a number that
    may be held in fixed point."""

    name: str
    shape: tuple[int, ...]
    is_number: bool = False


def check_steps(model: nn.Module) -> None:
    """ExperimentError, with the reason, for a network that cannot compute step by step."""
    if not isinstance(model, SNN):
        raise ExperimentError("only networks of spiking neurons are exported, which this is not")
    if model.hidden_layers[0].bidirectional:
        raise ExperimentError(
            "a bidirectional network cannot be exported: it reads the clip backwards as well, and "
            "what is exported runs forward in time, step by step"
        )
    for layer in model.hidden_layers:
        if type(layer).dynamics is not CompiledLayer.dynamics:
            raise ExperimentError(
                f"{type(layer).__name__} cannot be exported: it has a recurrence of its own"
            )


class Line(nn.Module):
    """What keeps delayed values: the last steps of the inputs, or of the currents.

    The states are ``steps`` [B, L, F] of the longest delay L in use, the earliest first.
    """

    def __init__(self, delay: Delay):
        super().__init__()
        delays = delay.delays()
        self.kind, self.length = delay.kind, int(delays.max())
        self.index = nn.Buffer(self.length - delays)
        self.features = delay.outputs if delay.kind == "dendritic" else delay.inputs

    def window(self, x: Tensor, line: Tensor) -> tuple[Tensor, Tensor]:
        """The steps [B, L + 1, F] up to this one, and the line for the next one."""
        window = torch.cat([line, x[:, None]], dim=1)
        return window, window[:, 1:]

    def each(self, window: Tensor) -> Tensor:
        """Every feature [B, F] by its own delay."""
        index = self.index[None, None].expand(window.shape[0], 1, -1)
        return window.gather(1, index)[:, 0]

    def forward(self, x: Tensor, line: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        """Current [B, H] of the input x [B, F], and the line after it."""
        if self.kind == "dendritic":
            window, line = self.window(weights.product(x), line)
            return weights.finish(self.each(window)), line
        window, line = self.window(x, line)
        if self.kind == "axonal":
            return weights(self.each(window)), line
        index = self.index.T[None].expand(window.shape[0], -1, -1)
        arriving = window.mT.gather(2, index)  # [B, F, H]
        return weights.finish((arriving * weights.rows().T).sum(dim=1)), line


class RealNeurons(nn.Module):
    """One step of a recurrence of ``models.dynamics.naive`` whose states are real."""

    def __init__(self, layer: CompiledLayer):
        super().__init__()
        self.operation, self.kind = layer.operation, layer.kinds[1]
        self.form, self.names = layer.form(), []
        for name, value in (*layer.coefficients()._asdict().items(), ("theta", layer.threshold)):
            if isinstance(value, Tensor):
                setattr(self, name, nn.Buffer(value))
                self.names.append(name)
            else:
                self.form[name] = value
        self.adapts = "w" in self.kind._fields and "beta" in self.names
        self.fields = [name for name in self.kind._fields if name != "w" or self.adapts]

    def split(self, state: tuple) -> list[Tensor]:
        """The states [B, H] that are kept of a layer's."""
        return [getattr(state, name) for name in self.fields]

    def forward(self, current: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
        """States [B, H] after a step with the current [B, H]."""
        known = dict(zip(self.fields, states, strict=True))
        state = self.kind(*(known.get(name, known["u"]) for name in self.kind._fields))
        given = {name: getattr(self, name) for name in self.names} | self.form
        return self.split(getattr(naive, self.operation)(current[:, None], **given, state=state)[1])


class ResonatingNeurons(nn.Module):
    """One step of ``naive.resonate``, the two parts of whose potential are states of their own."""

    fields = ("re", "im", SPIKES)

    def __init__(self, layer: ResonateLayer):
        super().__init__()
        given = layer.coefficients()
        self.inside = given.reset_inside
        parts = {"A_re": given.A.real, "A_im": given.A.imag, "theta": layer.threshold}
        parts |= {name: getattr(given, name) for name in ("reset", "gain", "scale")}
        for name, value in parts.items():
            setattr(self, name, nn.Buffer(value) if isinstance(value, Tensor) else value)

    def split(self, state: tuple) -> list[Tensor]:
        """The states [B, H] of a layer's."""
        return [state.u.real, state.u.imag, state.s]

    def forward(self, current: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
        """States [B, H] after a step with the current [B, H]."""
        re, im, s = states
        taken = self.reset * s
        if self.inside:
            re = re - taken
        turned_re, turned_im = self.A_re * re - self.A_im * im, self.A_re * im + self.A_im * re
        if self.inside:
            re, im = turned_re + self.gain * current, turned_im
        else:
            re = re + self.gain * (turned_re + current) - taken
            im = im + self.gain * turned_im
        return [re, im, spike(self.scale * re - self.theta)]


class LayerStep(nn.Module):
    """One step of a spiking layer: weights, delays, norm, what spikes bring back, neurons."""

    def __init__(self, layer: CompiledLayer, bits: int | None):
        super().__init__()
        self.size = layer.hidden_size
        self.weights = folded(layer, bits)
        self.line = line_of(layer)
        self.norm = layer.norm if isinstance(layer.norm, nn.LayerNorm) else None
        kind = ResonatingNeurons if isinstance(layer, ResonateLayer) else RealNeurons
        self.neurons = kind(layer)
        V, taps = layer.feedback(torch.zeros(1, 1, self.size)), None
        if V is not None:
            V, taps = V.V, None if V.taps is None else V.dense()
        self.taps = None if taps is None else nn.Buffer(taps)  # of the latest spikes first
        self.recurrent = None if V is None else Weights(V.T, None, None, bits)

    def states(self) -> list[State]:
        """The states of the layer, in order."""
        found = [] if self.line is None else [State("line", (self.line.length, self.line.features))]
        found += [State(name, (self.size,), name != SPIKES) for name in self.neurons.fields]
        if self.taps is not None:  # and those of ``s``
            found.append(State("returning", (len(self.taps) - 1, self.size)))
        return found

    def initial(self, layer: CompiledLayer, batch: int) -> list[Tensor]:
        """The states in which ``layer`` starts, of ``batch`` clips; lines are empty."""
        drawn = self.neurons.split(layer.initial_state(torch.zeros(batch, 1, self.size)))
        known = dict(zip(self.neurons.fields, drawn, strict=True))
        empty = (torch.zeros(batch, *state.shape) for state in self.states())
        return [known.get(s.name, e) for s, e in zip(self.states(), empty, strict=True)]

    def forward(self, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Spikes [B, H] of the input x [B, F], and the states after the step."""
        current, lines = received(self, x, states)
        neurons = states[len(lines) : len(lines) + len(self.neurons.fields)]
        returning, after = neurons[self.neurons.fields.index(SPIKES)], []
        if self.taps is not None:
            window = torch.cat([returning[:, None], states[-1]], dim=1)
            returning, after = (window * self.taps).sum(dim=1), [window[:, :-1]]
        if self.recurrent is not None:
            current = current + self.recurrent(returning)
        neurons = self.neurons(current, neurons)
        return neurons[self.neurons.fields.index(SPIKES)], [*lines, *neurons, *after]


class ReadoutStep(nn.Module):
    """One step of the integrating readout, whose state is its potential."""

    def __init__(self, layer: ReadoutLayer, bits: int | None):
        super().__init__()
        self.size = layer.hidden_size
        self.weights = folded(layer, bits)
        self.line = line_of(layer)
        self.norm = layer.norm if isinstance(layer.norm, nn.LayerNorm) else None
        scaled = self.norm is not None and layer.gain is not None
        self.gain = nn.Buffer(layer.gain / (1 - layer.decay())) if scaled else None
        self.decay = nn.Buffer(layer.decay())

    def states(self) -> list[State]:
        """The states of the readout, in order."""
        found = [] if self.line is None else [State("line", (self.line.length, self.line.features))]
        return [*found, State("u", (self.size,), True)]

    def initial(self, layer: ReadoutLayer, batch: int) -> list[Tensor]:
        """The states in which ``layer`` starts, of ``batch`` clips."""
        lines = [torch.zeros(batch, *state.shape) for state in self.states()[:-1]]
        return [*lines, initial_values(torch.zeros(batch, 1, self.size), layer.init_state)]

    def forward(self, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Potential [B, C] after the input x [B, F], and the states after the step."""
        current, lines = received(self, x, states)
        if self.gain is not None:
            current = current * self.gain
        _, u = naive.potentials(current[:, None], self.decay, state=states[-1])
        return u, [*lines, u]


def line_of(layer: nn.Module) -> Line | None:
    """The delay line of ``layer``; None where no delay is in use."""
    if layer.delay is None or not layer.delay.delays().any():
        return None
    return Line(layer.delay)


def received(step: nn.Module, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The normalised current [B, H] of x [B, F], and the lines, if any, for the next step."""
    if step.line is None:
        current, lines = step.weights(x), []
    else:
        current, line = step.line(x, states[0], step.weights)
        lines = [line]
    return current if step.norm is None else step.norm(current), lines


class OneStep(nn.Module):
    """One time step of a trained network: frame and states in, class scores and states out.

    The scores after any step are those of a clip that ends there. Between two steps the states lie
    with the caller; ``states`` names them, in order, and ``initial`` makes those of a clip's start.

    Args:
        model: in evaluation mode, on the CPU; it stays as it is.
        bits: of the weights; None: those that the network was trained with.
        fraction_bits: states that are no spikes or lines are int16 between two steps, their value
            times 2**fraction_bits, rounded to the nearest, halves to even, and cut off at the ends
            of the range; None: float32.

    Raises:
        ExperimentError: a network that cannot compute step by step.
    """

    @torch.no_grad()
    def __init__(self, model: SNN, bits: int | None = None, fraction_bits: int | None = None):
        super().__init__()
        check_steps(model)
        self.model = [model]  # not a module of this one
        self.fraction_bits = fraction_bits
        self.inputs, self.classes = model.input_size, model.layer_sizes[-1]
        self.layers = nn.ModuleList()
        for layer in model.snn:
            kind = LayerStep if isinstance(layer, SpikingLayer) else ReadoutStep
            self.layers.append(kind(layer, bits or layer.W.bits))
        self.readout = model.readout
        self.of_spikes = READOUTS[self.readout].of_spikes
        self.first = getattr(model.snn[-1], "first", 0)
        averages = READOUTS[self.readout].averages
        self.counts = self.readout != "last" and (self.first > 0 or averages)

    @property
    def names(self) -> list[str]:
        """Names of the layers."""
        names = [f"layer{number}" for number in range(1, len(self.layers) + 1)]
        return names if self.of_spikes else [*names[:-1], "readout"]

    @property
    def states(self) -> list[State]:
        """All states, in order: those of the layers, the evidence, and the number of steps."""
        found = [
            state._replace(name=f"{name}_{state.name}")
            for name, layer in zip(self.names, self.layers, strict=True)
            for state in layer.states()
        ]
        if self.readout != "last":
            found.append(State("evidence", (self.classes,)))
        return [*found, State("steps", (1,))] if self.counts else found

    def initial(self, batch: int) -> list[Tensor]:
        """States before the first step, drawn as the network draws them, in the same order."""
        (model,) = self.model
        found = []
        for step, layer in zip(self.layers, model.snn, strict=True):
            found += step.initial(layer, batch)
        if self.readout != "last":
            found.append(torch.full((batch, self.classes), READOUTS[self.readout].start))
        if self.counts:
            found.append(torch.zeros(batch, 1))
        return self.held(found)

    def held(self, states: list[Tensor]) -> list[Tensor]:
        """States as they are kept between two steps."""
        if self.fraction_bits is None:
            return states
        unit, low, high = 2.0**self.fraction_bits, INT16.min, INT16.max
        return [
            (value * unit).round().clamp(low, high).to(torch.int16) if state.is_number else value
            for state, value in zip(self.states, states, strict=True)
        ]

    def taken(self, states: Sequence[Tensor]) -> list[Tensor]:
        """States in float32, as a step computes with them."""
        if self.fraction_bits is None:
            return list(states)
        unit = 2.0**-self.fraction_bits
        return [
            value.float() * unit if state.is_number else value
            for state, value in zip(self.states, states, strict=True)
        ]

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Class scores [B, C] after the frame x [B, F], and the states after it."""
        rest, after = self.taken(states), []
        for layer in self.layers:
            count = len(layer.states())
            x, own = layer(x, rest[:count])
            after += own
            rest = rest[count:]
        scores, counted = self.score(x, rest)
        return scores, *self.held([*after, *counted])

    def score(self, u: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Scores [B, C] of the output neurons u [B, C], and evidence and steps after them."""
        if self.readout == "last":
            return u, []
        evidence, *steps = states
        earlier = steps[0] if steps else 0
        scores, evidence = gathered(self.readout, u[:, None], evidence, earlier, self.first)
        return scores, [evidence, *(count + 1 for count in steps)]

    @torch.no_grad()
    def run(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Class scores [B, C] of clips x [B, T, F], and the spikes [B, T, H] of every layer."""
        return run_steps(self, self, x)


def run_steps(step, network: OneStep, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The same by any ``step`` (frame, states) -> (scores, states) of the form of ``network``."""
    states = network.initial(len(x))
    names = [state.name for state in network.states]
    places = [names.index(f"{n}_{SPIKES}") for n in network.names if f"{n}_{SPIKES}" in names]
    spikes = [[] for _ in places]
    for frame in x.unbind(dim=1):
        scores, *states = step(frame, *states)
        for seen, place in zip(spikes, places, strict=True):
            seen.append(states[place])
    return scores, [torch.stack(seen, dim=1) for seen in spikes]
