# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What every layer, spiking or not, does around its recurrence."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, get_args

import torch
from torch import Tensor, nn

from models.dynamics import Delayed, Feedback, Fold
from models.dynamics.backends import compiled, recorded
from models.folding import fold_of
from models.linear import (
    Dropout,
    Linear,
    current_of,
    fold_on_cpu,
    make_norm,
    normalize,
    output_of,
    resumed,
    rounded,
    weighted,
)
from models.network import LayerOutput, LayerState, ParameterGroup, append_flipped, in_full
from models.surrogate import BOXCAR, Surrogate, spike

INIT_STATES = ("rand", "zero")
RECURRENT = ("auto", "none", "dense")
RECURRENT_DELAYS = ("none", "axonal")
ALPHA_BOUNDS = (math.exp(-1 / 5), math.exp(-1 / 25))  # decay of a potential per step


def initial_values(
    current: Tensor, init_state: str, dtype: torch.dtype = torch.float32, backend: str = "auto"
) -> Tensor:
    """One initial state [B, H] for ``current`` [B, T, H]: uniform in [0, 1) ("rand") or 0; the
    float32 or complex64 numbers are converted to double precision for a float64 current."""
    if init_state == "rand" and compiled("cpu", backend, current):
        from models.dynamics.cpu_around import rand

        return rand((current.shape[0], current.shape[2]), dtype)
    create = torch.rand if init_state == "rand" else torch.zeros
    values = create(current.shape[0], current.shape[2], dtype=dtype, device=current.device)
    return values.to(torch.promote_types(dtype, current.dtype))


def uniform(size: int, bounds: tuple[float, float]) -> nn.Parameter:
    """One parameter per neuron [size], drawn uniformly from ``bounds``."""
    return nn.Parameter(torch.empty(size).uniform_(*bounds))


def clamped(layer: nn.Module, name: str) -> Tensor:
    """Parameter ``name`` [H] of ``layer`` within its range, as the recurrence uses it."""
    return getattr(layer, name).clamp(*layer.ranges[name])


class SpikingLayer(nn.Module):
    """Shell of all spiking layers: flip? -> W, delays -> norm -> dynamics -> unflip? -> dropout.

    A neuron model fills in ``create_parameters``, ``initial_state`` and ``dynamics``.

    Args:
        input_size, hidden_size: features in, neurons H.
        threshold: firing threshold theta, of each neuron [H] or one for all.
        learn_threshold: learn it, for each neuron; an nn.Parameter learns in any case.
        dropout: probability of dropping a spike in training.
        normalization: "batchnorm", "layernorm" or "none".
        use_bias: whether W has a bias.
        bidirectional: also run on the time-reversed input; outputs 2H features.
        init_state: "rand" (uniform in [0, 1), drawn at every forward pass) or "zero".
        backend: implementation of the recurrence, see ``models.dynamics``.
        surrogate: derivative of a spike in the backward pass.
        recurrent: "dense": with recurrent weights V between the neurons; "auto": as the class has.
        recurrent_delay: "axonal": spikes return through V after delays that are learned, see
            ``models.recurrent_delays``; "none": after one step.
        recurrent_dropout: probability of dropping in training, for all steps of a clip, what
            arrives at a neuron through V.
        extra_features: options of single neuron models, such as dt_min and dt_max of C-SiLIF.
    """

    states_per_neuron = 2
    recurrent = False  # whether spikes reach the neurons of the layer through V
    self_connections = False  # whether V has a diagonal
    operation: ClassVar[str | None] = None  # of `models.dynamics.OPERATIONS`; None: its own
    # Whether `dynamics` has an argument `fold`, and does all that it asks for. A class derived from
    # one that folds, with a `dynamics` of its own, takes it too, or says `folds = False`.
    folds = False
    ranges: ClassVar[dict[str, tuple[float, float]]] = {}  # of the parameters clamped at use
    groups: ClassVar[dict[str, ParameterGroup]] = {}  # of parameters trained in another way

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        threshold: Tensor | float = 1.0,
        learn_threshold: bool = False,
        dropout: float = 0.0,
        normalization: str = "batchnorm",
        use_bias: bool = False,
        bidirectional: bool = False,
        init_state: str = "rand",
        backend: str = "auto",
        surrogate: Surrogate = BOXCAR,
        recurrent: str = "auto",
        recurrent_delay: str = "none",
        recurrent_dropout: float = 0.0,
        extra_features: dict | None = None,
    ):
        super().__init__()
        if init_state not in INIT_STATES:
            raise ValueError(f"init_state '{init_state}' is not one of {', '.join(INIT_STATES)}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.set_threshold(threshold, learn_threshold)
        self.bidirectional = bidirectional
        self.init_state = init_state
        self.backend = backend
        self.surrogate = surrogate
        self.extra_features = dict(extra_features or {})
        self.asked = set()  # names of extra features that the neuron knows
        self.checked = False  # whether a pass has shown that states and spikes fit
        self.create_weights(use_bias)
        self.W.streams = True
        self.add_recurrence(recurrent, recurrent_delay, recurrent_dropout)
        self.delay = None  # or a module, see `models.delays.add_delay`
        before = dict(vars(self))
        self.create_parameters()
        if self.recurrent:
            self.draw_recurrent_weights()
        if recurrent_delay != "none":
            from models.recurrent_delays import add_recurrent_delay  # most networks have none

            add_recurrent_delay(self)
        check_parameters(self, before)
        self.norm = make_norm(normalization, hidden_size)
        self.drop = Dropout(dropout, backend=backend)

    def set_threshold(self, threshold: Tensor | float, learn: bool) -> None:
        """Keep ``threshold``: a tensor as a buffer, if it is to ``learn`` a parameter [H]."""
        values, size = torch.as_tensor(threshold, dtype=torch.get_default_dtype()), self.hidden_size
        if values.shape not in ((), (1,), (size,)):
            raise ValueError(f"threshold must be one number or [{size}], got {_shown(values)}")
        if isinstance(threshold, nn.Parameter) or (
            isinstance(threshold, int | float) and not learn
        ):
            self.threshold = threshold
        elif values.requires_grad:
            raise TypeError("a threshold that is to learn must be an nn.Parameter, not a Tensor")
        elif learn:
            self.threshold = nn.Parameter(values.expand(size).clone())
        else:
            self.register_buffer("threshold", values)

    def add_recurrence(self, kind: str, delay: str, dropout: float) -> None:
        """Add the recurrent weights V, to be drawn later, that the class has or ``kind`` asks for.

        ValueError for what there is not, or what the layer cannot have.
        """
        if kind not in RECURRENT:
            raise ValueError(f"recurrent '{kind}' is not one of {', '.join(RECURRENT)}")
        if delay not in RECURRENT_DELAYS:
            raise ValueError(f"recurrent_delay '{delay}' is not one of none, axonal")
        self.recurrent = kind == "dense" or (kind == "auto" and isinstance(self, RecurrentMixin))
        self.recurrent_dropout, self.recurrent_delay = dropout, None
        if not self.recurrent:
            if delay != "none" or dropout:
                name = "delay" if delay != "none" else "dropout"
                raise ValueError(
                    f"--recurrent_{name} is for recurrent weights, which {type(self).__name__} "
                    "does not have: --recurrent dense adds them"
                )
            return
        self.self_connections = self.self_connections or delay != "none"  # as published
        if not isinstance(self, CompiledLayer):
            raise ValueError(
                f"{type(self).__name__} has a recurrence of its own, to which no recurrent weights "
                "can be added (--recurrent none)"
            )
        self.V = nn.Linear(self.hidden_size, self.hidden_size, bias=False)

    def draw_recurrent_weights(self) -> None:
        """Draw V, after all other parameters."""
        nn.init.orthogonal_(self.V.weight)

    @property
    def output_size(self) -> int:
        """Features that the next layer sees."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def create_weights(self, use_bias: bool) -> None:
        """Create W; a neuron overrides it whose published code draws other numbers first."""
        self.W = Linear(self.input_size, self.hidden_size, use_bias, backend=self.backend)

    def create_parameters(self) -> None:
        """Create the neuron's own parameters; W exists already."""
        if type(self).create_parameters is not SpikingLayer.create_parameters:
            return  # called by super()
        raise TypeError(f"{type(self).__name__} has no create_parameters()")

    def option(self, name: str, default: Any) -> Any:
        """Option ``name`` among the extra features.

        Networks that a config describes have all options of ``ModelConfig``, so that a misspelt
        name is a TypeError; ``default`` is for layers that are made without any.
        """
        self.asked.add(name)
        if self.extra_features and name not in self.extra_features:
            raise TypeError(
                f"{type(self).__name__} asks for the option '{name}', which is not among "
                f"{', '.join(self.extra_features)}"
            )
        return self.extra_features.get(name, default)

    def initial_state(self, current: Tensor) -> tuple:
        """State before the first step of ``current`` [B, T, H]."""
        raise TypeError(f"{type(self).__name__} has no initial_state(current)")

    def dynamics(
        self, current: Tensor, state: tuple, fold: Fold | None = None
    ) -> tuple[Tensor, tuple]:
        """Spikes [B, T, H] of ``current`` [B, T, H], and the state after the last step.

        A class with ``folds = False`` needs no argument ``fold``. Unless that is None, ``current``
        is not normalised yet, and the spikes go through dropout here: ``models.folding``.
        """
        raise TypeError(f"{type(self).__name__} has no dynamics(current, state)")

    def spike(self, x: Tensor) -> Tensor:
        """Spikes (0 or 1, any shape) of ``x``, the distance of the drive to the threshold."""
        return spike(x, self.surrogate)

    def draw(self, current: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """One initial state [B, H] on the device of ``current`` [B, T, H]."""
        return initial_values(current, self.init_state, dtype, self.backend)

    def forward(self, x: Tensor, state: tuple[Any, ...] | None = None) -> LayerOutput:
        """Run the layer on ``x`` [B, T, F]; ``state`` None: a fresh initial state.

        From a ``LayerState`` it goes on as one that heard all steps at once, in evaluation mode.
        """
        self.checked = recorded() or (self.checked and state is None)
        if isinstance(state, LayerState):
            current, line = resumed(self, x, state.line)
            current = in_full(normalize(self.norm, current))
            spikes, neurons = self.run(current, state.neurons)
            return LayerOutput(spikes, spikes, LayerState(neurons, line))
        x = append_flipped(x) if self.bidirectional else x
        folds = self.folds and self.training and self.drop.p < 1
        current, fold = weighted(self, x) if folds else current_of(self, x), None
        # Recurrent dropout draws its numbers before the other.
        on_cpu = folds and not self.recurrent_dropout and compiled("cpu", self.backend, current)
        if folds and not self.recurrent and compiled("cuda", self.backend, current):
            (current, fold), on_cpu = fold_of(self, current), False
        elif folds and not on_cpu:
            current = in_full(normalize(self.norm, current))
        if state is None:
            state = self.initial_state(current)
        if on_cpu:
            current, fold = fold_on_cpu(self, current)
        return output_of(self, *self.run(current, state, fold), fold)

    def run(self, current: Tensor, state: tuple, fold: Fold | None = None) -> tuple[Tensor, tuple]:
        """``dynamics``, whose result is checked where it has not been."""
        result = self.dynamics(current, state, **({"fold": fold} if self.folds else {}))
        if not self.checked:
            check_result(self, result, current)
            self.checked = True
        return result


class CompiledLayer(SpikingLayer):
    """A layer of a recurrence that is compiled; a neuron model gives its ``coefficients``.

    A class says which ``recurrence`` of ``models.dynamics`` it runs, and what its coefficients and
    its state are: ``kinds``, and the fields of these that are complex.
    """

    folds = True
    recurrence: ClassVar[Callable]
    kinds: ClassVar[tuple[type[tuple], type[tuple]]]
    complex_fields: ClassVar[tuple[str, ...]] = ()
    to_from = False  # whether V is kept as `nn.Linear` would use it, else as the recurrence does

    def form(self) -> dict[str, Any]:
        """Options of the recurrence that are those of no other."""
        return {}

    def dynamics(self, current, state, fold=None):
        batch, _, size = current.shape
        coefficients = self.coefficients()
        if not self.checked:
            found = ("coefficients", coefficients, (size,)), ("initial_state", state, (batch, size))
            for (method, values, shape), kind in zip(found, self.kinds, strict=True):
                check_fields(self, method, values, kind, shape, self.complex_fields)
        return self.recurrence(
            current,
            **coefficients._asdict(),
            **self.form(),
            theta=self.threshold,
            surrogate=self.surrogate,
            state=state,
            V=self.feedback(current),
            fold=fold,
            backend=self.backend,
        )

    def coefficients(self) -> NamedTuple:
        """Coefficients as the recurrence uses them."""
        raise TypeError(f"{type(self).__name__} has no coefficients()")

    def recurrent_weights(self) -> Tensor | None:
        """Matrix [H, H] from neuron to neuron, None for a feed-forward layer."""
        if not self.recurrent:
            return None
        for hook in self.V._forward_pre_hooks.values():  # V is not called, but may be pruned
            hook(self.V, ())
        V = self.V.weight.T if self.to_from else self.V.weight
        if not self.self_connections:
            V = V.masked_fill(torch.eye(V.shape[0], dtype=torch.bool, device=V.device), 0)
        return V if self.W.bits is None else rounded(V.T, self.W.bits).T

    def feedback(self, current: Tensor) -> Feedback | None:
        """Recurrent weights as the recurrence takes them for ``current`` [B, T, H]."""
        V, mask = self.recurrent_weights(), None
        if V is None:
            return None
        if self.training and self.recurrent_dropout > 0:
            ones = torch.ones_like(current[:, 0], requires_grad=False)
            mask = nn.functional.dropout(ones, self.recurrent_dropout)
        delay = self.recurrent_delay
        found = Feedback(V, mask) if delay is None else delay.feedback(V, mask)
        return found._replace(in_order=not self.training)


class RecurrentMixin:
    """Marks a neuron model that has recurrent weights V between its neurons unless told otherwise.

    It is named first among the bases of a class.
    """

    recurrent = True


# Checks of a user's own neuron: a TypeError names the class, the method and the way out. Unnoticed,
# most of these mistakes would let a network train on something other than what was meant.


def check_parameters(layer: nn.Module, before: dict) -> None:
    """Check what ``create_parameters`` of ``layer``, a ``SpikingLayer``, made.

    ``before`` are the attributes (``vars``) that the layer had until then. A value outside its
    range is clamped, gets no gradient, and never comes back. What PyTorch does not know of is not
    trained, saved, or moved to a GPU.
    """
    kind = type(layer).__name__
    for name, (low, high) in layer.ranges.items():
        if name not in layer._parameters:
            raise TypeError(
                f"{kind}.ranges names '{name}', but create_parameters() makes no nn.Parameter of "
                "that name"
            )
        values = layer._parameters[name].detach()
        if values.is_meta:  # it has none
            continue
        outside = values[values != values.clamp(low, high)]
        if outside.numel():
            raise TypeError(
                f"{kind}.create_parameters() gives '{name}' values from {outside.min():g} to "
                f"{outside.max():g}, outside its range {low:g} to {high:g}, where they are clamped "
                "and never learn: draw them within the range"
            )
    known = {id(x) for x in (*layer.parameters(), *layer.buffers(), *layer.modules())}
    for name, value in vars(layer).items():
        for part in [] if value is before.get(name) else _parts(value):
            if isinstance(part, Tensor | nn.Module) and id(part) not in known:
                inside = "" if part is value else f" in a {type(value).__name__}"
                raise TypeError(
                    f"{kind}.create_parameters() makes '{name}' a {type(part).__name__}{inside}, "
                    "which is neither trained nor saved: use nn.Parameter, register_buffer() for "
                    "constants, or nn.ParameterList, nn.ParameterDict or nn.ModuleList for several"
                )


def _parts(value: object) -> list:
    """``value``, or what it contains if it is a list, tuple or dictionary, or one of these."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return [value]
    return [part for item in value for part in _parts(item)]


def check_result(layer: nn.Module, result: tuple[Tensor, tuple], current: Tensor) -> None:
    """Check what ``dynamics`` returned; other shapes might go through the next layer unnoticed.

    ``current`` [B, T, H] is what it was given.
    """
    name = f"{type(layer).__name__}.dynamics()"
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"{name} must return two things, as a tuple: spikes and the state after them"
        )
    if not isinstance(result[0], Tensor) or result[0].shape != current.shape:
        raise TypeError(
            f"{name} must return spikes as one tensor [B, T, H] = {list(current.shape)}, by "
            f"torch.stack(spikes, dim=1) if need be, and returned {_shown(result[0])}"
        )


def check_fields(
    layer: nn.Module,
    method: str,
    found: tuple,
    kind: type[tuple],
    shape: tuple[int, ...],
    complex_fields: tuple[str, ...] = (),
) -> None:
    """Check coefficients or a state, about which back ends would complain less clearly.

    ``found``, by ``method`` of ``layer``, should be of ``kind``, a NamedTuple, with fields of the
    types that are written there. Tensors expand to ``shape``; ``complex_fields`` are complex.
    """
    name = f"{type(layer).__name__}.{method}()"
    found = found.neurons if isinstance(found, Delayed) else found
    if method == "initial_state":
        name += " (or the state handed to the layer)"
    if not isinstance(found, kind):
        raise TypeError(f"{name} must return {kind.__name__}, and returned {_shown(found)}")
    for (field, types), value in zip(kind.__annotations__.items(), found, strict=True):
        is_complex = field in complex_fields
        fits = isinstance(value, types)
        if fits and isinstance(value, Tensor):
            sizes = zip(value.shape[::-1], shape[::-1], strict=False)
            fits = value.ndim <= len(shape) and all(size in (1, full) for size, full in sizes)
            fits = fits and value.is_complex() == is_complex
        if not fits:
            tensor = f"a {'complex' if is_complex else 'real'} tensor {list(shape)}"
            names = {Tensor: tensor, type(None): "None"}
            wanted = " or ".join(names.get(x, x.__name__) for x in get_args(types) or (types,))
            raise TypeError(f"{name} must give '{field}' as {wanted}, and gave {_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor {list(value.shape)}"
    return "None" if value is None else f"a {type(value).__name__}"
