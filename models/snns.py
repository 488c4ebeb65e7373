# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Spiking neural networks: neuron models, the readout, and the network of layers.

A layer is a parametrisation of one of the recurrences (``models.dynamics``): it creates its
parameters and turns them into the coefficients of the recurrence. Everything around that (weights,
normalisation, both directions, initial state, dropout) is written once, in ``shell.SpikingLayer``.

The order in which parameters are created is the order in which random numbers are drawn, so a seed
gives the weights that the published code starts from.
"""

import math
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor, nn

from models.delays import add_delay
from models.dynamics import AdaptiveCoefficients, AdaptiveState, ResonateState, adaptive, resonate
from models.linear import takes_counts
from models.network import (
    Activity,
    Network,
    NetworkState,
    chosen,
    events,
    input_activity,
    recurrent_operations,
    spike_activity,
)
from models.neurons import BRFLayer, EFadLIFLayer, LIFNodeLayer, SEadLIFLayer
from models.readouts import ReadoutLayer, find_readout
from models.shell import ALPHA_BOUNDS, CompiledLayer, RecurrentMixin, SpikingLayer, clamped, uniform
from models.streaming import activity_of, advance, initial_state
from models.surrogate import surrogate as find_surrogate
from parsers.model_config import ModelConfig
from parsers.options import near

BETA_BOUNDS = (math.exp(-1 / 30), math.exp(-1 / 120))
NOT_RECURRENT = {"recurrent": "none", "recurrent_delay": "none", "recurrent_dropout": 0.0}
RF_STEP = 0.004  # s, the published integration step of Resonate-and-Fire


class AdaptiveLayer(CompiledLayer):
    """A layer of the adaptive recurrence, whose coefficients are ``AdaptiveCoefficients``."""

    operation = "adaptive"
    recurrence = staticmethod(adaptive)
    kinds = AdaptiveCoefficients, AdaptiveState

    def initial_state(self, current):
        u = self.draw(current)
        w = self.draw(current) if self.states_per_neuron == 2 else torch.zeros_like(u)
        return AdaptiveState(u, w, self.draw(current))


class LIFLayer(AdaptiveLayer):
    """Leaky integrate-and-fire (Bittar & Garner 2022, eq. 5)."""

    states_per_neuron = 1
    ranges = {"alpha": ALPHA_BOUNDS}  # noqa: RUF012

    def create_parameters(self):
        self.alpha = uniform(self.hidden_size, ALPHA_BOUNDS)

    def coefficients(self):
        return AdaptiveCoefficients(clamped(self, "alpha"))


class RLIFLayer(RecurrentMixin, LIFLayer):
    """LIF with recurrent weights (Bittar & Garner 2022)."""


class adLIFLayer(AdaptiveLayer):  # noqa: N801 (the field's spelling)
    """Adaptive LIF (Bittar & Garner 2022, eqs. 6-8)."""

    ranges = {"alpha": ALPHA_BOUNDS, "beta": BETA_BOUNDS, "a": (-1.0, 1.0), "b": (0.0, 2.0)}  # noqa: RUF012

    def create_parameters(self):
        for name, bounds in self.ranges.items():
            setattr(self, name, uniform(self.hidden_size, bounds))

    def coefficients(self):
        return AdaptiveCoefficients(**{name: clamped(self, name) for name in self.ranges})


class RadLIFLayer(RecurrentMixin, adLIFLayer):
    """Adaptive LIF with recurrent weights (Bittar & Garner 2022)."""


class CadLIFLayer(adLIFLayer):
    """adLIF constrained to stable, resonating parameters (Deckers et al. 2024)."""

    ranges = {"alpha": (0.36, 0.96), "beta": (0.96, 0.99), "a": (0.0, 1.0), "b": (0.0, 2.0)}  # noqa: RUF012

    def create_parameters(self):
        nn.init.xavier_uniform_(self.W.weight)
        super().create_parameters()


class SiLIFLayer(AdaptiveLayer):
    """SSM-inspired LIF (Fabre et al. 2025): adLIF with decays exp(-exp(alpha) * exp(dt)).

    alpha and beta are logarithms of rates in 1/s, dt the logarithm of a time step in s.
    """

    ranges = {"a": (0.0, 1.0), "b": (0.0, 2.0)}  # noqa: RUF012

    def create_parameters(self):
        nn.init.xavier_uniform_(self.W.weight)
        self.dt = nn.Parameter(torch.full((self.hidden_size,), math.log(0.004)))
        self.alpha = uniform(self.hidden_size, (math.log(10), math.log(250)))
        self.beta = uniform(self.hidden_size, (math.log(2.5), math.log(10)))
        self.a = uniform(self.hidden_size, self.ranges["a"])
        self.b = uniform(self.hidden_size, self.ranges["b"])

    def coefficients(self):
        # dt twice, so that its gradient is summed as in the published code.
        rates, steps = torch.stack([self.alpha, self.beta, self.dt, self.dt]).exp().chunk(2)
        alpha, beta = torch.exp(-rates * steps)
        return AdaptiveCoefficients(alpha, beta, clamped(self, "a"), clamped(self, "b"))


class ResonateCoefficients(NamedTuple):
    """Coefficients of the resonate recurrence, see ``models.dynamics.resonate``."""

    A: Tensor
    reset: Tensor | float | int
    gain: Tensor | float | int
    scale: Tensor | float | int
    reset_inside: bool


class ResonateLayer(CompiledLayer):
    """A layer of the resonate recurrence, whose coefficients are ``ResonateCoefficients``."""

    operation = "resonate"
    recurrence = staticmethod(resonate)
    kinds = ResonateCoefficients, ResonateState
    complex_fields = "A", "u"

    def initial_state(self, current):
        u = self.draw(current, torch.cfloat)
        return ResonateState(u, self.draw(current))


class CSiLIFLayer(ResonateLayer):
    """Complex-valued SSM-inspired LIF (Fabre et al. 2025): A = exp(dt * (-exp(x) + i y)).

    x is ``log_log_alpha``, y ``alpha_img``, dt = exp(``log_dt``) drawn log-uniformly from
    [dt_min, dt_max].
    """

    def create_parameters(self):
        low, high = (self.log_step(*option) for option in (("dt_min", 0.01), ("dt_max", 0.5)))
        size = self.hidden_size
        self.log_log_alpha = nn.Parameter(torch.full((size,), math.log(0.5)))
        self.log_dt = nn.Parameter(torch.rand(size) * (high - low) + low)
        self.alpha_img = nn.Parameter(torch.full((size,), math.pi))
        self.b = nn.Parameter(torch.rand(size))

    def log_step(self, name: str, default: float) -> float:
        """Logarithm of a time step among the extra features; ValueError unless it is positive."""
        self.asked.add(name)
        step = self.extra_features.get(name, default)
        if not 0 < step < math.inf:
            raise ValueError(f"{name} must be a positive number, got {step}")
        return math.log(step)

    def coefficients(self):
        eigenvalue = torch.complex(-self.log_log_alpha.exp(), self.alpha_img)
        return ResonateCoefficients(
            A=torch.exp(self.log_dt.exp() * eigenvalue),
            reset=0.5,
            gain=self.b,
            scale=2.0,
            reset_inside=True,
        )


class ResonateFireLayer(ResonateLayer):
    """Resonate-and-Fire (Izhikevich 2001; trained as in Higuchi et al. 2024)."""

    ranges = {"alpha_real": (-math.inf, -0.1)}  # noqa: RUF012

    def create_parameters(self):
        self.alpha_real = uniform(self.hidden_size, (-10.0, -1.0))
        self.alpha_im = uniform(self.hidden_size, (5.0, 10.0))

    def coefficients(self):
        return ResonateCoefficients(
            A=torch.complex(clamped(self, "alpha_real"), self.alpha_im),
            reset=1.0,
            gain=RF_STEP,
            scale=1.0,
            reset_inside=False,
        )


LAYERS: dict[str, type[SpikingLayer]] = {
    "LIF": LIFLayer,
    "RLIF": RLIFLayer,
    "adLIF": adLIFLayer,
    "RadLIF": RadLIFLayer,
    "CadLIF": CadLIFLayer,
    "ResonateFire": ResonateFireLayer,
    "SiLIF": SiLIFLayer,
    "CSiLIF": CSiLIFLayer,
    "LIFNode": LIFNodeLayer,
    "SEadLIF": SEadLIFLayer,
    "EFadLIF": EFadLIFLayer,
    "BRF": BRFLayer,
}
ALIASES = {"RF": "ResonateFire", "C-SiLIF": "CSiLIF"}


def neuron_types(neuron_type: str | Sequence[str], count: int) -> list[str]:
    """The names in ``LAYERS`` of ``count`` hidden layers.

    ``neuron_type`` is one name for all of them, or one for each, joined by + or in a list: names of
    ``LAYERS`` and ``ALIASES`` in any case. ValueError for unknown ones, or another number of them.
    """
    given = neuron_type.split("+") if isinstance(neuron_type, str) else neuron_type
    known = {name.lower(): name for name in LAYERS}
    known |= {alias.lower(): name for alias, name in ALIASES.items()}
    for name in given:
        if name.lower() not in known:
            raise ValueError(
                f"neuron_type '{name}' is not one of LAYERS in models/snns.py: {', '.join(LAYERS)}"
            )
    names = [known[name.lower()] for name in given]
    if len(names) not in (1, count):
        raise ValueError(f"neuron_type {'+'.join(names)} does not name {count} hidden layers")
    return names if len(names) == count else names * count


class SNN(Network):
    """A stack of spiking layers, and a readout.

    Args:
        input_shape: (B, T, F) or (B, T, F, K) of a batch; B and T may be None.
        layer_sizes: neurons of each layer, the last being the classes if there is a readout.
        neuron_type: of the hidden layers, see :func:`neuron_types`.
        threshold, learn_threshold, dropout, normalization, use_bias, bidirectional, init_state,
            recurrent, recurrent_delay, recurrent_dropout, backend: see ``SpikingLayer``.
        use_readout_layer: end in a readout; otherwise the spikes of the last layer.
        extra_features: options of single neuron models, such as dt_min and dt_max of C-SiLIF.
        surrogate, surrogate_width: derivative of a spike, see ``models.surrogate.surrogate``.
        readout: a name of ``models.readouts.READOUTS``: a ``ReadoutLayer``, or, for those of
            spikes, a layer like the last hidden one, with a neuron per class and no dropout.
        readout_decay, readout_tau, readout_gain, readout_start: see ``ReadoutLayer``.
        readout_normalization: of the last layer; None: as of the others.
        device: where the parameters are made, for torch.nn.utils.skip_init as well.
        weight_init: "kaiming": uniform for ReLU; "default": as each neuron's code draws W.
        recurrent_layers: the hidden layers that are ``recurrent``, from 1; None: all.
        keep_potentials: let ``activity`` return the potentials of a ``ReadoutLayer``.
        delay, delay_taps: kind and length of the learnable delays in front of the neurons, see
            ``models.delays.Delay``; their positions are drawn after everything else.
        delay_layers: the layers that have them, from 1, the readout included; None: all.

    Raises:
        ValueError: unknown neurons, normalisation, surrogate or readout, impossible sizes, or
            potentials that the readout does not have.
        TypeError: an extra feature that no neuron asks for.
    """

    is_snn = True  # it spikes, and reports firing rates and synaptic operations

    def __init__(
        self,
        input_shape: tuple,
        layer_sizes: list[int],
        neuron_type: str | Sequence[str] = "LIF",
        threshold: Tensor | float = 1.0,
        dropout: float = 0.0,
        normalization: str = "batchnorm",
        use_bias: bool = False,
        bidirectional: bool = False,
        use_readout_layer: bool = True,
        extra_features: dict | None = None,
        *,
        init_state: str = "rand",
        backend: str = "auto",
        surrogate: str = "boxcar",
        surrogate_width: float | None = None,
        readout: str = "softmax_sum",
        readout_decay: float | None = None,
        readout_tau: float | None = None,
        readout_gain: float | None = None,
        readout_normalization: str | None = None,
        readout_start: int = 0,
        keep_potentials: bool = False,
        learn_threshold: bool = False,
        weight_init: str = "default",
        recurrent: str = "auto",
        recurrent_layers: Sequence[int] | None = None,
        recurrent_delay: str = "none",
        recurrent_dropout: float = 0.0,
        delay: str = "none",
        delay_taps: int = 25,
        delay_layers: Sequence[int] | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__(input_shape, layer_sizes, use_readout_layer)
        names = neuron_types(neuron_type, len(self.hidden_sizes))
        self.neuron_type = "+".join(names if len(set(names)) > 1 else names[:1])
        self.readout = readout
        self.counts_spikes = find_readout(readout).of_spikes and use_readout_layer
        integrator = {"readout_decay": readout_decay, "readout_tau": readout_tau}
        integrator["readout_gain"] = readout_gain
        given = any(x is not None for x in integrator.values())
        if (keep_potentials or readout_start or given) and self.counts_spikes:
            raise ValueError(f"readout '{readout}' has no potentials: its output neurons spike")
        self.keep_potentials = keep_potentials
        self.dropout = dropout
        common = {"normalization": normalization, "use_bias": use_bias}
        common |= {"init_state": init_state, "backend": backend}
        spiking = common | {"threshold": threshold, "learn_threshold": learn_threshold}
        spiking |= {"recurrent": recurrent, "recurrent_delay": recurrent_delay}
        spiking |= {"recurrent_dropout": recurrent_dropout, "extra_features": extra_features}
        spiking["surrogate"] = find_surrogate(surrogate, surrogate_width)
        hidden = {"dropout": dropout, "bidirectional": bidirectional} | spiking
        integrator["readout_start"] = readout_start
        own_norm = {"normalization": readout_normalization or normalization}
        last = partial(ReadoutLayer, readout=readout, **common | own_norm, **integrator)
        if self.counts_spikes:
            last = partial(LAYERS[names[-1]], **spiking | own_norm)
        kinds = [partial(LAYERS[name], **hidden | NOT_RECURRENT) for name in names]
        for number in chosen("recurrent_layers", recurrent_layers, len(names)):
            kinds[number - 1] = partial(LAYERS[names[number - 1]], **hidden)
        self.snn = self.stack(kinds, last, device)
        for layer in self.snn if weight_init == "kaiming" else []:
            nn.init.kaiming_uniform_(layer.W.weight, nonlinearity="relu")
        if delay != "none":
            for number in chosen("delay_layers", delay_layers, len(self.snn)):
                add_delay(self.snn[number - 1], delay, delay_taps)
        known = {name for layer in self.hidden_layers for name in layer.asked}
        known |= {field.name for field in fields(ModelConfig)}
        for name in extra_features or {}:
            if name not in known:
                raise TypeError(f"no neuron asks for '{name}' of extra_features{near(name, known)}")

    @property
    def hidden_layers(self) -> list[SpikingLayer]:
        """The spiking layers before the readout, in order."""
        layers = list(self.snn)
        return layers[:-1] if self.use_readout_layer else layers

    def nb_state_variables(self) -> int:
        """Values that a chip must hold for spiking neurons and delays between two steps."""
        count = 0
        for layer in self.snn:
            directions = 1 + getattr(layer, "bidirectional", False)
            if isinstance(layer, SpikingLayer):
                count += layer.states_per_neuron * layer.output_size
                if layer.recurrent_delay is not None:
                    count += layer.recurrent_delay.nb_state_variables() * directions
            if layer.delay is not None:
                count += layer.delay.nb_state_variables() * directions
        return count

    @overload
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...

    @overload
    def forward(
        self, x: Tensor, state: NetworkState
    ) -> tuple[Tensor, Tensor, Tensor, NetworkState]: ...

    def forward(self, x: Tensor, state: NetworkState | None = None) -> tuple[Any, ...]:
        """Run on ``x`` [B, T, F] or [B, T, F, K].

        Returns:
            ``output`` [B, C] (or spikes [B, T, H] without a readout), ``firing_rates`` per unit
            of the input and of the hidden layers [F + units], and ``sop``, the feed-forward
            synaptic operations per sample.

            With a ``state``, ``x`` is the next chunk of a stream, of any number of steps:
            ``output`` is that of all steps so far (without a readout of these), rates and
            operations are those of these steps, and the state after them comes last. In evaluation
            mode chunks give what a pass over all of them gives that starts from the same state: to
            the last bit where compiled kernels run on a CPU, else but for rounding
            (docs/streaming.md).

        Raises ValueError for a state in training mode, or for a bidirectional network.
        """
        activity = self.activity(x, state)
        found = activity.output, activity.firing_rates, activity.sop
        return found if state is None else (*found, activity.state)

    def initial_state(self, batch_size: int) -> NetworkState:
        """The state before the first step of ``batch_size`` streams."""
        return initial_state(self, batch_size)

    def step(self, x: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Class scores [B, C] of all steps so far, the last being ``x`` [B, F] or [B, F, K] (or its
        spikes [B, H] without a readout), and the state after it, in evaluation mode."""
        output, state, _ = advance(self, self.as_input(x[:, None]), state)
        return (output if self.use_readout_layer else output[:, 0]), state

    def activity(self, x: Tensor, state: NetworkState | None = None) -> Activity:
        """As ``forward``, with the recurrent synaptic operations and every layer's spikes."""
        if state is not None:
            return activity_of(self, self.as_input(x), state)
        x = self.as_input(x, counts=isinstance(x, Tensor) and takes_counts(self.snn[0], x))
        found, counts = input_activity(x, self.snn[0].backend)  # counts of what the layer sees
        rates = [found]
        sop = torch.zeros((), dtype=torch.int64, device=x.device)  # of the whole batch
        recurrent_sop = torch.zeros_like(sop)
        layers, potentials = [], None
        for layer in self.snn:
            sop = torch.add(sop, events(x, counts), alpha=layer.hidden_size)
            if layer.delay is not None:
                sop = sop - layer.delay.lost(x)
            if isinstance(layer, SpikingLayer):
                result = layer(x)
                layers.append(result)
                x, (found, counts) = result.output, spike_activity(layer, result)
                rates.append(found)
                if layer.recurrent:
                    recurrent_sop = recurrent_sop + recurrent_operations(result.spikes, layer)
            elif self.keep_potentials:
                potentials = layer.potentials(x)
                x, potentials = layer.scores(potentials), layer.counted(potentials)
            else:
                x = layer(x)
        if self.counts_spikes:
            x = find_readout(self.readout).scores(x)
            rates.pop()  # only those of the hidden layers are reported, and regularised
        clips = x.shape[0]  # not len(x), which graphs would take for a constant
        sop, recurrent_sop = sop / clips, recurrent_sop / clips
        return Activity(x, torch.cat(rates), sop, recurrent_sop, layers, potentials)

    def take_statistics(self, x: Tensor) -> None:
        if type(self).activity is not SNN.activity:  # a derived class has a pass of its own
            return super().take_statistics(x)
        x = self.as_input(x, counts=isinstance(x, Tensor) and takes_counts(self.snn[0], x))
        for layer in self.snn:
            if isinstance(layer, SpikingLayer):
                x = layer(x).output
            else:  # its state is drawn as in a whole pass, which those after it depend on
                layer.start(x, None)
