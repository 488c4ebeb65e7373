# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Eigenvalues of neurons between two spikes: how they decay and oscillate.

Two views of a layer. The *published* one takes the matrices by which Fabre et al. (2025, Figure 2)
draw their neurons, with the parameters as learned. The *exact* one takes the linear map
that the layer really iterates, with the parameters clamped as they are in use. Every function
returns the eigenvalues per time step, complex [H, n] for the n states of a neuron; complex neurons
have one state and its conjugate.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.dynamics import AdaptiveState, BalancedState, ResonateState
from models.neurons import BRFLayer, ResettingLayer
from models.shell import SpikingLayer
from models.snns import (
    RF_STEP,
    AdaptiveLayer,
    CadLIFLayer,
    CSiLIFLayer,
    ResonateFireLayer,
    ResonateLayer,
    SiLIFLayer,
)

SMALL = 2.0**-30  # of a state; products with it are exact


@torch.no_grad()
def exact_eigenvalues(layer: SpikingLayer) -> np.ndarray:
    """Eigenvalues of one step of ``layer``, without input and spikes.

    The step is the layer's own recurrence, in double precision, so nothing is restated here.
    Recurrent weights act through spikes only and have no part in it.

    Raises:
        ValueError: the layer runs a recurrence of its own.
    """
    layer = double_precision(layer)
    if isinstance(layer, ResonateLayer):
        current = torch.zeros(1, 1, layer.hidden_size, dtype=torch.float64)
        zero = torch.zeros(1, layer.hidden_size, dtype=torch.float64)
        state = ResonateState(torch.complex(zero + 1, zero), zero)
        return with_conjugates(layer.dynamics(current, state)[1].u[0])
    if not isinstance(layer, AdaptiveLayer | ResettingLayer | BRFLayer):
        raise ValueError(f"{type(layer).__name__} runs no recurrence with known eigenvalues")
    matrices = step_matrices(layer)
    if layer.states_per_neuron == 1:
        return matrices[:, :1, 0].numpy().astype(complex)
    return torch.linalg.eigvals(matrices).numpy()


@torch.no_grad()
def step_matrices(layer: AdaptiveLayer | ResettingLayer | BRFLayer) -> Tensor:
    """The matrix [H, 2, 2] that takes (u, w) of each neuron one step on, or (u, v) of BRF, by
    running that step.

    The two columns are where (1, 0) and (0, 1) go, as two clips of one batch, but far below the
    threshold: some neurons are reset in the step in which they reach it.
    """
    dtype = layer.W.weight.dtype
    current = torch.zeros(2, 1, layer.hidden_size, dtype=dtype)
    u = torch.zeros(2, layer.hidden_size, dtype=dtype)
    w = torch.zeros_like(u)
    u[0], w[1] = SMALL, SMALL
    rest = torch.zeros_like(u)
    balanced = isinstance(layer, BRFLayer)
    state = BalancedState(u, w, rest, rest) if balanced else AdaptiveState(u, w, rest)
    _, after = layer.dynamics(current, state)
    return (torch.stack(after[:2]) / SMALL).permute(2, 0, 1).contiguous()


def double_precision(layer: SpikingLayer) -> SpikingLayer:
    """A copy of ``layer`` that computes in double precision, in plain PyTorch, without V."""
    layer = copy.deepcopy(layer).cpu().double()
    layer.backend, layer.recurrent = "naive", False
    return layer


def with_conjugates(values: Tensor) -> np.ndarray:
    """Complex [H] -> [H, 2]: the state of a complex neuron moves by a pair of eigenvalues."""
    values = values.numpy()
    return np.stack([values, values.conj()], axis=1)


@torch.no_grad()
def published_eigenvalues(layer: SpikingLayer) -> np.ndarray:
    """Eigenvalues by the matrices of Fabre et al. (2025, Figure 2).

    NaN where a parameter as learned lies where the formula has no value (a decay of 0 or less).

    Raises:
        ValueError: the figure has no matrix for this neuron.
    """
    layer = double_precision(layer)
    if isinstance(layer, CSiLIFLayer):
        return with_conjugates(layer.coefficients().A)
    if isinstance(layer, ResonateFireLayer):
        eigenvalue = torch.complex(layer.alpha_real, layer.alpha_im)
        return with_conjugates(torch.exp(RF_STEP * eigenvalue))
    if isinstance(layer, SiLIFLayer):
        alpha, beta = layer.coefficients()[:2]
        return eigenvalues(alpha, alpha - 1, (1 - beta) * layer.a, beta)
    if isinstance(layer, CadLIFLayer):
        # The continuous system [[-1/tm, -1/tm], [a/tw, -1/tw]]. The figure calls a step 1 ms and
        # maps the system by exp(1 ms * .), so with steps as the unit of time the unit cancels.
        membrane, adaptation = -layer.alpha.log(), -layer.beta.log()
        return np.exp(eigenvalues(-membrane, -membrane, layer.a * adaptation, -adaptation))
    raise ValueError(f"the published figure has no matrix for {type(layer).__name__}")


def has_published_matrix(layer: SpikingLayer) -> bool:
    """Whether ``published_eigenvalues`` knows this neuron."""
    return isinstance(layer, CSiLIFLayer | ResonateFireLayer | SiLIFLayer | CadLIFLayer)


def eigenvalues(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> np.ndarray:
    """Eigenvalues [H, 2] of matrices [[a, b], [c, d]]; NaN where an entry [H] is not finite."""
    matrices = torch.stack([a, b, c, d], -1).unflatten(-1, (2, 2))
    finite = matrices.isfinite().all(-1).all(-1)
    values = np.full(matrices.shape[:2], complex(math.nan, math.nan))
    values[finite.numpy()] = torch.linalg.eigvals(matrices[finite]).numpy()
    return values


@dataclass(frozen=True)
class Timing:
    """What eigenvalues say about the neurons of a layer, in physical units.

    ``time_constants`` [m] in s, one for every decaying eigenvalue with a non-negative imaginary
    part; ``frequencies`` [k] in Hz, one for every oscillatory neuron. ``undefined`` neurons have no
    eigenvalues.
    """

    oscillatory: float
    time_constants: np.ndarray
    frequencies: np.ndarray
    spectral_radius: float
    undefined: int


def timing(values: np.ndarray, step: float) -> Timing:
    """Read eigenvalues [H, n] per time step of ``step`` seconds.

    An eigenvalue z decays with the time constant -step / ln|z| and, in a complex pair, turns with
    the frequency |arg z| / (2 pi step).
    """
    known = values[np.isfinite(values).all(axis=1)]
    pairs = known[np.abs(known.imag).max(axis=1, initial=0) > 0]
    upper = known[known.imag >= 0]
    sizes = np.abs(upper)
    decaying = sizes[(sizes > 0) & (sizes < 1)]
    return Timing(
        oscillatory=len(pairs) / len(known) if len(known) else math.nan,
        time_constants=-step / np.log(decaying),
        frequencies=np.abs(np.angle(pairs)).max(axis=1, initial=0) / (2 * math.pi * step),
        spectral_radius=float(np.abs(known).max()) if len(known) else math.nan,
        undefined=len(values) - len(known),
    )


def spread(values: np.ndarray) -> str:
    """'median (5th to 95th percentile)' of the values that are finite, '-' without any."""
    known = values[np.isfinite(values)]
    if not len(known):
        return "-"
    low, median, high = np.percentile(known, [5, 50, 95])
    low, median, high = (f"{v:,.0f}" if abs(v) >= 1000 else f"{v:.3g}" for v in (low, median, high))
    return f"{median} ({low} to {high})"
