# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Mistakes in a neuron of one's own, named where they are made.

TypeErrors that name the class, its method and the way out. Unnoticed, most of these mistakes would
let a network train on something else than was meant.
"""

from collections.abc import Iterator
from typing import get_args

from torch import Tensor, nn


def check_parameters(layer: nn.Module, before: dict) -> None:
    """Check what ``create_parameters`` of ``layer``, a ``SpikingLayer``, made.

    ``before`` are the attributes (``vars``) that the layer had until then.
    """
    for name, bounds in layer.ranges.items():
        if name not in layer._parameters:
            raise TypeError(
                f"{type(layer).__name__}.ranges names '{name}', but create_parameters() makes "
                "no nn.Parameter of that name"
            )
        _check_first_values(layer, name, *bounds)
    _check_registered(layer, before)


def _check_first_values(layer: nn.Module, name: str, low: float, high: float) -> None:
    """A value outside its range is clamped, gets no gradient, and never comes back."""
    values = layer._parameters[name].detach()
    outside = values[values != values.clamp(low, high)]
    if outside.numel():
        raise TypeError(
            f"{type(layer).__name__}.create_parameters() gives '{name}' values from "
            f"{outside.min():g} to {outside.max():g}, outside its range {low:g} to {high:g}, "
            "where they are clamped and never learn: draw them within the range"
        )


def _check_registered(layer: nn.Module, before: dict) -> None:
    """What PyTorch does not know of is not trained, saved, or moved to a GPU."""
    known = {id(x) for x in (*layer.parameters(), *layer.buffers(), *layer.modules())}
    for name, value in vars(layer).items():
        if value is before.get(name):
            continue
        for part in _parts(value):
            if isinstance(part, Tensor | nn.Module) and id(part) not in known:
                inside = "" if part is value else f" in a {type(value).__name__}"
                raise TypeError(
                    f"{type(layer).__name__}.create_parameters() makes '{name}' a "
                    f"{type(part).__name__}{inside}, which is neither trained nor saved: use "
                    "nn.Parameter, register_buffer() for constants, or nn.ParameterList, "
                    "nn.ParameterDict or nn.ModuleList for several"
                )


def _parts(value: object) -> Iterator:
    """``value``, or what it contains if it is a list, tuple or dictionary, or one of these."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _parts(part)
    else:
        yield value


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
    """Check coefficients or a state, which back ends would refuse in words of their own.

    ``found``, by ``method`` of ``layer``, should be of ``kind``, a NamedTuple, with fields of the
    types that are written there. Tensors expand to ``shape``; ``complex_fields`` are complex.
    """
    name = f"{type(layer).__name__}.{method}()"
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
            raise TypeError(
                f"{name} must give '{field}' as {_described(types, shape, is_complex)}, and gave "
                f"{_shown(value)}"
            )


def _described(types: type, shape: tuple[int, ...], is_complex: bool) -> str:
    tensor = f"a {'complex' if is_complex else 'real'} tensor {list(shape)}"
    return " or ".join(
        tensor if kind is Tensor else "None" if kind is type(None) else kind.__name__
        for kind in get_args(types) or (types,)
    )


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor {list(value.shape)}"
    return "None" if value is None else f"a {type(value).__name__}"
