# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What the neurons have learned: time constants, frequencies and couplings, and what is clamped."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from analysis.eigenvalues import exact_eigenvalues
from models.shell import SpikingLayer, clamped
from models.snns import AdaptiveLayer, ResonateLayer

MEMBRANE = "membrane time constant"
ADAPTATION = "adaptation time constant"
DECAY = "decay time constant"
FREQUENCY = "frequency"
UNITS = {MEMBRANE: "ms", ADAPTATION: "ms", DECAY: "ms", FREQUENCY: "Hz"}


@dataclass(frozen=True)
class Clamped:
    """How many of a layer's values of one parameter lie at or outside its bounds.

    ``before`` and ``after`` are shares of its neurons, before and after training.
    """

    parameter: str
    low: float
    high: float
    before: float
    after: float


@torch.no_grad()
def quantities(layer: nn.Module, step_seconds: float) -> dict[str, np.ndarray]:
    """What characterises the neurons of a layer, as they are in use, each [H].

    Time constants in ms and frequencies in Hz, for a step of ``step_seconds``; couplings a and b
    and the input gain b are pure numbers. A neuron that does not decay has an infinite time
    constant. Of a neuron with a recurrence of its own these are its parameters [H], clamped.
    """
    if isinstance(layer, ResonateLayer):
        turn = exact_eigenvalues(layer)[:, 0]
        found = {
            DECAY: time_constants(np.abs(turn), step_seconds),
            FREQUENCY: np.abs(np.angle(turn)) / (2 * math.pi * step_seconds),
        }
        gain = layer.coefficients().gain
        return found | ({"input gain b": gain.cpu().numpy()} if isinstance(gain, Tensor) else {})
    if isinstance(layer, AdaptiveLayer):
        alpha, beta, a, b = layer.coefficients()
        found = {MEMBRANE: time_constants(alpha.cpu().numpy(), step_seconds)}
        if beta is not None:
            found[ADAPTATION] = time_constants(beta.cpu().numpy(), step_seconds)
            found["sub-threshold coupling a"] = a.cpu().numpy()
            found["spike-triggered coupling b"] = b.cpu().numpy()
        return found
    if isinstance(layer, SpikingLayer):
        return own_parameters(layer)
    return {MEMBRANE: time_constants(layer.decay().cpu().numpy(), step_seconds)}


def own_parameters(layer: SpikingLayer) -> dict[str, np.ndarray]:
    """The real parameters [H] of the neurons of ``layer`` by name, within their ranges."""
    found = {
        name: clamped(layer, name) if name in layer.ranges else values
        for name, values in layer.named_parameters(recurse=False)
        if values.shape == (layer.hidden_size,) and not values.is_complex()
    }
    return {name: values.detach().cpu().numpy() for name, values in found.items()}


def time_constants(decay: np.ndarray, step_seconds: float) -> np.ndarray:
    """Time constants in ms of decays per step [H]; infinite for 1 and more, 0 for 0 and less."""
    with np.errstate(divide="ignore"):
        rate = -np.log(np.clip(decay.astype(float), 0.0, 1.0))
        return 1000 * step_seconds / rate


@torch.no_grad()
def clamped_shares(before: nn.Module, after: nn.Module) -> list[Clamped]:
    """The clamped parameters of a layer, ``before`` and ``after`` its training."""
    return [
        Clamped(name, low, high, share_at_bound(before, name), share_at_bound(after, name))
        for name, (low, high) in after.ranges.items()
    ]


def share_at_bound(layer: nn.Module, name: str) -> float:
    """Share of the values of a parameter at or outside its bounds, where clamping stops it."""
    low, high = layer.ranges[name]
    values = getattr(layer, name)
    return float(((values <= low) | (values >= high)).double().mean())
