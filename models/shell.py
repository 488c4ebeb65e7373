# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What every layer, spiking or not, does around its recurrence."""

import math
from numbers import Integral
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from models.dropout import Dropout
from models.dynamics.backends import compiled_on_gpu
from models.folding import can_fold, fold_of
from models.gpu.clamp import Clamp
from models.linear import Linear
from models.mistakes import check_initial_state, check_parameters, check_result

NORMALIZATIONS = ("batchnorm", "layernorm", "none")
BATCHNORM_MOMENTUM = 0.05
INIT_STATES = ("rand", "zero")


def make_norm(normalization: str, size: int) -> nn.Module | None:
    """Normalisation of ``size`` features, or None for "none"; ValueError for another name."""
    if normalization == "batchnorm":
        return nn.BatchNorm1d(size, momentum=BATCHNORM_MOMENTUM)
    if normalization == "layernorm":
        return nn.LayerNorm(size)
    if normalization == "none":
        return None
    raise ValueError(f"normalization '{normalization}' is not one of {', '.join(NORMALIZATIONS)}")


def normalize(norm: nn.Module | None, x: Tensor) -> Tensor:
    """Apply ``norm`` to [..., H], statistics over all leading dimensions; None: no change."""
    if norm is None:
        return x
    return norm(x.reshape(-1, x.shape[-1])).reshape(x.shape)


def append_flipped(x: Tensor) -> Tensor:
    """[B, T, F] -> [2B, T, F]: the time-reversed batch behind the batch."""
    return torch.cat([x, x.flip(1)], dim=0)


def join_directions(y: Tensor) -> Tensor:
    """[2B, T, H] -> [B, T, 2H]: the reversed half is turned back and set beside the forward one."""
    forward, backward = y.chunk(2, dim=0)
    return torch.cat([forward, backward.flip(1)], dim=2)


def as_input(x: Tensor, size: int) -> Tensor:
    """[B, T, F] of real numbers as it is, [B, T, F, K] -> [B, T, F*K], whole numbers as float32.

    Raises ValueError for another rank, no step, or other than ``size`` features.
    """
    if x.ndim not in (3, 4):
        raise ValueError(f"input must be [B, T, F] or [B, T, F, K], got {list(x.shape)}")
    if 0 in x.shape[:2]:
        raise ValueError(f"input must have clips and time steps, got {list(x.shape)}")
    if math.prod(x.shape[2:]) != size:
        raise ValueError(f"input must have {size} features, got {list(x.shape)}")
    x = x.flatten(start_dim=2)
    return x if x.is_floating_point() else x.float()


def input_size(input_shape: tuple) -> int:
    """Features per time step of a batch shaped (B, T, F) or (B, T, F, K); B and T are not used."""
    if len(input_shape) not in (3, 4):
        raise ValueError(f"input_shape must be (B, T, F) or (B, T, F, K), got {input_shape}")
    features = input_shape[2:]
    if not all(isinstance(extent, Integral) and extent > 0 for extent in features):
        raise ValueError(f"the features in input_shape must be positive numbers, got {input_shape}")
    return math.prod(features)


def check_sizes(layer_sizes: list[int], use_readout_layer: bool) -> None:
    """ValueError unless there is a hidden layer (before the read-out, if any) of positive size."""
    least = 2 if use_readout_layer else 1
    if len(layer_sizes) < least or min(layer_sizes) < 1:
        raise ValueError(
            f"layer_sizes needs at least {least} positive entries"
            f"{' (the last is the readout)' if use_readout_layer else ''}, got {list(layer_sizes)}"
        )


def in_full(x: Tensor) -> Tensor:
    """What products in half precision gave as float32; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def initial_values(current: Tensor, init_state: str, dtype=torch.float32) -> Tensor:
    """One initial state [B, H] for ``current`` [B, T, H]: uniform in [0, 1) ("rand") or 0.

    A float64 current gets the float32 or complex64 number in double precision.
    """
    create = torch.rand if init_state == "rand" else torch.zeros
    values = create(current.shape[0], current.shape[2], dtype=dtype, device=current.device)
    return values.to(torch.promote_types(dtype, current.dtype))


def clamped(layer: nn.Module, name: str) -> Tensor:
    """Parameter ``name`` [H] of ``layer`` within its range, as the recurrence uses it."""
    parameter, bounds = getattr(layer, name), layer.ranges[name]
    if compiled_on_gpu(layer.backend, parameter):
        return Clamp.apply(parameter, *bounds)
    return parameter.clamp(*bounds)


class LayerOutput(NamedTuple):
    """What a spiking layer hands on."""

    output: Tensor  # [B, T, H] or [B, T, 2H] spikes after dropout
    # [B, T, H] or [2B, T, H] as fired, the reversed direction behind; in training steps on a GPU
    # after dropout
    spikes: Tensor
    state: tuple  # after the last step

    counts = None  # not a field, see CountedOutput


class CountedOutput(LayerOutput):
    """What a layer hands on whose spikes were counted on the way.

    Attribute ``counts`` [B, H] or [B, 2H]: how many spikes of ``output`` a neuron has.
    """

    def __new__(cls, output: Tensor, spikes: Tensor, state: tuple, counts: Tensor | None = None):
        self = super().__new__(cls, output, spikes, state)
        self.counts = counts
        return self


class SpikingLayer(nn.Module):
    """Shell of all spiking layers: flip? -> W -> norm -> dynamics -> unflip? -> dropout.

    A neuron model fills in ``create_parameters``, ``initial_state`` and ``dynamics``.

    Args:
        input_size, hidden_size: features in, neurons H.
        threshold: firing threshold theta.
        dropout: probability of dropping a spike in training.
        normalization: "batchnorm", "layernorm" or "none".
        use_bias: whether W has a bias.
        bidirectional: also run on the time-reversed input; outputs 2H features.
        init_state: "rand" (uniform in [0, 1), drawn at every forward pass) or "zero".
        backend: implementation of the recurrence, see ``models.dynamics``.
        extra_features: options of single neuron models, such as dt_min and dt_max of C-SiLIF.
    """

    states_per_neuron = 2
    recurrent = False
    # Whether normalisation and dropout may be done within `dynamics`; a class that defines
    # `dynamics` says so itself, since only its author knows, and False is meant if it does not.
    folds = False
    ranges: ClassVar[dict[str, tuple[float, float]]] = {}  # of the parameters clamped at use

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        owner = next(base for base in cls.__mro__ if {"dynamics", "folds"} & vars(base).keys())
        if "folds" not in vars(owner):
            cls.folds = False

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        threshold: float = 1.0,
        dropout: float = 0.0,
        normalization: str = "batchnorm",
        use_bias: bool = False,
        bidirectional: bool = False,
        init_state: str = "rand",
        backend: str = "auto",
        extra_features: dict | None = None,
    ):
        super().__init__()
        if init_state not in INIT_STATES:
            raise ValueError(f"init_state '{init_state}' is not one of {', '.join(INIT_STATES)}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.threshold = threshold
        self.bidirectional = bidirectional
        self.init_state = init_state
        self.backend = backend
        self.extra_features = dict(extra_features or {})
        self.W = Linear(input_size, hidden_size, use_bias, backend=backend)
        before = dict(vars(self))
        self.create_parameters()
        check_parameters(self, before)
        self.norm = make_norm(normalization, hidden_size)
        self.drop = Dropout(dropout, backend=backend)

    @property
    def output_size(self) -> int:
        """Features that the next layer sees."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def create_parameters(self) -> None:
        """Create the neuron's own parameters; W exists already."""
        if type(self).create_parameters is not SpikingLayer.create_parameters:
            return  # called by super(), as RecurrentMixin needs it
        raise TypeError(f"{type(self).__name__} has no create_parameters()")

    def option(self, name: str, default: Any) -> Any:
        """Option ``name`` among the extra features.

        Networks that a config describes have all options of ``ModelConfig``, so that a misspelt
        name is a TypeError; ``default`` is for layers that are made without any.
        """
        if self.extra_features and name not in self.extra_features:
            raise TypeError(
                f"{type(self).__name__} asks for the option '{name}', which is not among "
                f"{', '.join(self.extra_features)}"
            )
        return self.extra_features.get(name, default)

    def initial_state(self, current: Tensor) -> tuple:
        """State before the first step of ``current`` [B, T, H]."""
        raise TypeError(f"{type(self).__name__} has no initial_state(current)")

    def dynamics(self, current: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        """Spikes [B, T, H] of ``current`` [B, T, H], and the state after the last step.

        In a class with ``folds = True`` it has an argument ``fold``, see ``models.folding``: unless
        that is None, ``current`` is not normalised yet, and the spikes go through dropout here.
        """
        raise TypeError(f"{type(self).__name__} has no dynamics(current, state)")

    def draw(self, current: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """One initial state [B, H] on the device of ``current`` [B, T, H]."""
        return initial_values(current, self.init_state, dtype)

    def forward(self, x: Tensor, state: tuple | None = None) -> LayerOutput:
        """Run the layer on ``x`` [B, T, F]; ``state`` None: a fresh initial state."""
        if self.bidirectional:
            x = append_flipped(x)
        current = self.W(x)
        folded = {}
        if can_fold(self, current):
            current, folded["fold"] = fold_of(self, current)
        else:
            current = in_full(normalize(self.norm, current))
        if state is None:
            state = self.initial_state(current)
            check_initial_state(self, state)
        result = self.dynamics(current, state, **folded)
        check_result(self, result, current)
        spikes, state = result
        joined = join_directions(spikes) if self.bidirectional else spikes
        if not folded:
            return LayerOutput(self.drop(joined), spikes, state)
        counts = folded["fold"].counts
        if self.bidirectional:
            counts = torch.cat(counts.chunk(2), dim=1)
        return CountedOutput(joined, spikes, state, counts)
