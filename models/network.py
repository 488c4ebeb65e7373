# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What networks have in common: sizes, inputs, and parameter groups; and how much they spike."""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.dynamics.backends import compiled


class ParameterGroup(NamedTuple):
    """How a parameter that a layer names in its ``groups`` is trained."""

    lr_factor: float = 1.0  # times the learning rate of the run; 0: it is not trained
    weight_decay: float = 0.0  # of the optimiser
    clamp: tuple[float, float] | None = None  # its range, restored after every step
    # "delay": positions of delays, whose rate and schedule are options of the run; "ssm": steps
    # dt and A of state-space models, see --s4_opt
    kind: str = ""


def as_input(x: Tensor, size: int, dtype: torch.dtype, *, counts: bool = False) -> Tensor:
    """[B, T, F] of ``dtype`` as it is, [B, T, F, K] -> [B, T, F*K], whole numbers as ``dtype``, but
    uint8 as it is where ``counts`` are wanted.

    Raises ValueError for another rank, no step, or other than ``size`` features, TypeError for what
    is no dense tensor of the ``dtype`` of the weights, or weights in half precision.
    """
    if not isinstance(x, Tensor):
        raise TypeError(
            f"input must be a tensor, got {type(x).__name__}: "
            "torch.as_tensor(x, dtype=torch.float32) makes one"
        )
    if x.layout != torch.strided:
        raise TypeError(f"input must be dense, got {x.layout}: x.to_dense() makes it so")
    if dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"weights and neurons compute in float32 or float64, got {dtype}: call float() of the "
            "network; for products in half precision use set_precision (--precision) or autocast"
        )
    real = x.is_floating_point() or x.is_complex()
    if real and x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(f"input must be {dtype}, as the weights are, got {x.dtype}: x.to({dtype})")
    if x.ndim not in (3, 4):
        raise ValueError(f"input must be [B, T, F] or [B, T, F, K], got {list(x.shape)}")
    if 0 in x.shape[:2]:
        raise ValueError(f"input must have clips and time steps, got {list(x.shape)}")
    if math.prod(x.shape[2:]) != size:
        raise ValueError(f"input must have {size} features, got {list(x.shape)}")
    x = x.flatten(start_dim=2)
    return x if real or (counts and x.dtype == torch.uint8) else x.to(dtype)


def input_size(input_shape: tuple) -> int:
    """Features per time step of a batch shaped (B, T, F) or (B, T, F, K); B and T are not used."""
    if not isinstance(input_shape, Sequence):
        raise TypeError(
            "input_shape must be (B, T, F) or (B, T, F, K), of which B and T may be None, such as "
            f"(None, None, 140), got {input_shape}"
        )
    if len(input_shape) not in (3, 4):
        raise ValueError(f"input_shape must be (B, T, F) or (B, T, F, K), got {input_shape}")
    features = input_shape[2:]
    if not all(isinstance(extent, Integral) and extent > 0 for extent in features):
        raise ValueError(f"the features in input_shape must be positive numbers, got {input_shape}")
    return math.prod(features)


def chosen(option: str, numbers: Sequence[int] | None, count: int) -> Sequence[int]:
    """The numbers, from 1, of the layers, of ``count``, that ``option`` names; None: all."""
    numbers = range(1, count + 1) if numbers is None else numbers
    for number in numbers:
        if not 1 <= number <= count:
            raise ValueError(f"{option} names {number} of {count} layers")
    return numbers


def named(option: str, name: str, known: Iterable[str]) -> str:
    """The one among ``known`` that is ``name`` in any case; ValueError, for ``option``, if none."""
    names = {each.lower(): each for each in known}
    if name.lower() not in names:
        raise ValueError(f"{option} '{name}' is not one of {', '.join(names.values())}")
    return names[name.lower()]


class Network(nn.Module):
    """A stack of layers: see ``models.snns.SNN``, ``models.anns.ANN``, ``models.ssms.SSM``.

    ``classes`` are the names of the outputs, where they are known.
    """

    classes: Sequence[str] | None = None

    def __init__(self, input_shape: tuple, layer_sizes: list[int], use_readout_layer: bool):
        super().__init__()
        if not isinstance(layer_sizes, Sequence):
            raise TypeError(f"layer_sizes must be a list such as [512, 512, 35], got {layer_sizes}")
        least = 2 if use_readout_layer else 1
        fit = all(isinstance(size, Integral) and size > 0 for size in layer_sizes)
        if len(layer_sizes) < least or not fit:
            last = " (the last is the readout)" if use_readout_layer else ""
            raise ValueError(
                f"layer_sizes needs at least {least} whole numbers above 0{last}, got {layer_sizes}"
            )
        self.input_size = input_size(input_shape)
        self.layer_sizes = list(layer_sizes)
        self.hidden_sizes = self.layer_sizes[:-1] if use_readout_layer else self.layer_sizes
        self.use_readout_layer = use_readout_layer

    def stack(
        self, kinds: Sequence[Callable], readout: Callable, device: torch.device | str | None
    ) -> nn.ModuleList:
        """The layers that ``kinds``, and ``readout`` if any, make of their inputs and units.

        Parameters are made on ``device``; None: on the default one.
        """
        layers, size = nn.ModuleList(), self.input_size
        with nullcontext() if device is None else torch.device(device):
            for kind, units in zip(kinds, self.hidden_sizes, strict=True):
                layers.append(kind(size, units))
                size = layers[-1].output_size
            if self.use_readout_layer:
                layers.append(readout(size, self.layer_sizes[-1]))
        return layers

    def as_input(self, x: Tensor, *, counts: bool = False) -> Tensor:
        """``x`` as the first layer takes it, see :func:`as_input`."""
        return as_input(x, self.input_size, next(self.parameters()).dtype, counts=counts)

    @property
    def layers(self) -> nn.ModuleList:
        """All layers, in order; the last is the readout if there is one."""
        return next(self.children())  # the only child

    def nb_state_variables(self) -> int | None:
        """Values that a chip must hold between two steps; None where nobody has counted them."""
        return None

    def macs(self, steps: int) -> int | None:
        """Multiply-accumulates of a clip of ``steps`` steps that come on top of synaptic
        operations; None for neurons, of which only those are reported."""
        return None

    def own_weights(self, weights: dict) -> dict:
        """``weights`` of a checkpoint without what published networks hold, and never use."""
        return weights

    def named_groups(self) -> list[tuple[nn.Parameter, ParameterGroup]]:
        """The parameters that layers name in their ``groups``.

        Raises TypeError if a layer has no such parameter.
        """
        found = []
        for layer in self.layers:
            for name, group in getattr(layer, "groups", {}).items():
                try:
                    found.append((layer.get_parameter(name), group))
                except AttributeError:
                    raise TypeError(
                        f"{type(layer).__name__}.groups names '{name}', which is not among its "
                        f"parameters: {', '.join(name for name, _ in layer.named_parameters())}"
                    ) from None
        return found

    def parameter_groups(self, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """All parameters for an optimiser: dictionaries of params, lr_factor, weight_decay, kind.

        The first group holds what no layer names, with factor 1 and no decay; where no layer names
        any, it is the only one, in the order of ``parameters()``. ``weight_decay`` is that of the
        weights and biases of linear maps, 1x1 convolutions included, that no layer names.
        """
        linear = [m for m in self.modules() if isinstance(m, nn.Linear | nn.Conv1d)]
        decayed = ParameterGroup(weight_decay=weight_decay)
        known = {id(p): decayed for module in linear for p in module.parameters(recurse=False)}
        known |= {id(parameter): group for parameter, group in self.named_groups()}
        groups: dict[ParameterGroup, list] = {ParameterGroup(): []}
        for parameter in self.parameters():
            group = known.get(id(parameter), ParameterGroup())._replace(clamp=None)
            groups.setdefault(group, []).append(parameter)
        return [
            {
                "params": parameters,
                "lr_factor": group.lr_factor,
                "weight_decay": group.weight_decay,
                "kind": group.kind,
            }
            for group, parameters in groups.items()
        ]

    @torch.no_grad()
    def clamp_parameters(self) -> None:
        """Bring parameters back into the range of their group; called after every step."""
        for parameter, group in self.named_groups():
            if group.clamp is not None:
                parameter.clamp_(*group.clamp)

    def take_statistics(self, x: Tensor) -> None:
        """Run on ``x`` [B, T, F] for the sake of the statistics that norms in training take."""
        self(x)

    def set_progress(self, epoch: int, nb_epochs: int) -> None:
        """Set what follows a schedule, such as the width of delays, to its value in ``epoch``.

        ``epoch`` counts from 0, of ``nb_epochs``. Called at the start of every epoch, and of what
        is left of one. A module that has such a value has a method of this name; it computes from
        the two numbers alone, and writes into a buffer in place, as captured steps read it there.
        """
        for module in self.scheduled():
            module.set_progress(epoch, nb_epochs)

    def scheduled(self) -> list[nn.Module]:
        """The modules that have a method ``set_progress``."""
        return [m for m in self.modules() if m is not self and hasattr(m, "set_progress")]


def append_flipped(x: Tensor) -> Tensor:
    """[B, T, F] -> [2B, T, F]: the time-reversed batch behind the batch."""
    return torch.cat([x, x.flip(1)], dim=0)


def join_directions(y: Tensor) -> Tensor:
    """[2B, T, H] -> [B, T, 2H]: the reversed half is turned back and set beside the forward one."""
    forward, backward = y.chunk(2, dim=0)
    return torch.cat([forward, backward.flip(1)], dim=2)


def apart(x: Tensor) -> Tensor:
    """The reverse of :func:`join_directions`."""
    forward, backward = x.chunk(2, dim=2)
    return torch.cat([forward, backward.flip(1)], dim=0)


def in_full(x: Tensor) -> Tensor:
    """Results of half-precision products as float32; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


class LayerOutput(NamedTuple):
    """What a spiking layer passes on."""

    output: Tensor  # [B, T, H] or [B, T, 2H] spikes after dropout
    # [B, T, H] or [2B, T, H] as fired, the reversed direction behind; in training steps of layers
    # without recurrent weights after dropout, unless plain PyTorch computes
    spikes: Tensor
    state: tuple[Any, ...]  # after the last step
    counts: Tensor | None = None  # [B, H] or [B, 2H] spikes of `output`, where known


class LayerState(NamedTuple):
    """What a layer of a spiking network leaves to its next step."""

    # As `dynamics` of a `SpikingLayer` leaves it; of a `ReadoutLayer` the potential [B, C]
    neurons: tuple | Tensor
    # What delays of D taps in front of it hold: the last inputs [B, D - 1, F], or, of dendritic
    # ones, what these gave through W [B, D - 1, H]; None: it has no delays
    line: Tensor | None = None


class NetworkState(NamedTuple):
    """What a spiking network leaves to its next step."""

    layers: tuple[LayerState, ...]
    steps: Tensor  # [] int64, how many there were
    total: Tensor | None  # [B, C] what the readout has gathered; None: there is none


class Activity(NamedTuple):
    """Everything that one forward pass reveals about a spiking network."""

    output: Tensor  # [B, C] class scores, or [B, T, H] spikes without a readout
    firing_rates: Tensor  # [F + hidden units] mean over (B, T)
    sop: Tensor  # [] feed-forward synaptic operations per sample
    recurrent_sop: Tensor  # [] synaptic operations through V per sample; 0 without V
    layers: list[LayerOutput]  # one per spiking layer, a spiking readout's included
    potentials: Tensor | None = None  # [B, T, C] of a network with ``keep_potentials``
    state: NetworkState | None = None  # after the last step, of a pass that was given one


@torch.no_grad()
def input_rates(x: Tensor) -> Tensor:
    """Mean activity [F] of the input [B, T, F], entries above 0.9 counted as 1."""
    return x.masked_fill(x > 0.9, 1.0).mean(dim=(0, 1))


@torch.no_grad()
def input_activity(x: Tensor, backend: str) -> tuple[Tensor, Tensor | None]:
    """:func:`input_rates` of x [B, T, F], and the number of its entries [B, F] that are not 0.

    None for the latter where no compiled kernel counts along the way.
    """
    if x.dtype == torch.uint8:
        from models.events_cpu import sum_counts

        counts = sum_counts(x)
        return counts.sum(dim=0) / (x.shape[0] * x.shape[1]), counts
    if not compiled("cpu", backend, x):
        return input_rates(x), None
    from models.dynamics.cpu_around import sum_inputs

    totals, counts = sum_inputs(x.contiguous())
    return totals.sum(dim=0) / (x.shape[0] * x.shape[1]), counts


def spike_activity(layer: nn.Module, result: LayerOutput) -> tuple[Tensor, Tensor | None]:
    """The share of steps [H] at which ``layer`` passes a spike on, and how many these are [B, H],
    None where no compiled kernel counts them along the way."""
    x, counts, p = result.output, result.counts, layer.drop.p if layer.drop.training else 0.0
    if counts is not None:
        return _CountedRates.apply(x, counts, 1 - p), counts
    if p == 0 and not x.requires_grad and compiled("cpu", layer.backend, x):
        return input_activity(x, layer.backend)
    return x.mean(dim=(0, 1)) * (1 - p), None


def events(x: Tensor, counts: Tensor | None = None) -> Tensor:
    """Number of non-zero entries of ``x`` [B, ...]; ``counts`` [B, H] if they are known already."""
    return nonzero(x) if counts is None else counts.sum(dtype=torch.int64)


def nonzero(x: Tensor) -> Tensor:
    """How many entries of ``x`` are not 0; ONNX knows no `torch.count_nonzero`."""
    return (x != 0).sum() if torch.onnx.is_in_onnx_export() else torch.count_nonzero(x)


@torch.no_grad()
def recurrent_operations(spikes: Tensor, layer: nn.Module, all_arrive: bool = False) -> Tensor:
    """Operations through V of ``layer``: each of ``spikes`` [B, T, H] before the last step reaches
    all of its neurons, or all others; one that is spread over several steps does so several times.
    In a stream they ``all_arrive``.
    """
    if layer.recurrent_delay is not None:
        arriving = layer.recurrent_delay.arrivals(spikes, all_arrive)
    else:
        arriving = nonzero(spikes if all_arrive else spikes[:, :-1])
    return arriving * recurrent_fan_out(layer)


def recurrent_fan_out(layer: nn.Module) -> int:
    """Neurons that a spike of ``layer`` reaches through V."""
    return layer.hidden_size - (not layer.self_connections)


class _CountedRates(torch.autograd.Function):
    """Firing rates [H] of spikes x [B, T, H] whose ``counts`` [B, H] are known.

    ``kept`` is the share that dropout left, whose reciprocal it multiplied spikes by; the gradient
    is that of ``x.mean(dim=(0, 1)) * kept``.
    """

    @staticmethod
    def forward(ctx, x, counts, kept):
        ctx.shape, ctx.kept = x.shape, kept
        return counts.sum(dim=0) / (x.shape[0] * x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx, d_rates):
        B, T, _ = ctx.shape
        return (d_rates * (ctx.kept / (B * T))).expand(ctx.shape), None, None
