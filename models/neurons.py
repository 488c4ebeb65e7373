# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Neurons of further published work: SE-adLIF, BRF, and the LIF of networks with learned delays.

See ``models.snns`` for the others and for ``LAYERS``.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.dynamics import (
    AdaptiveCoefficients,
    AdaptiveState,
    BalancedState,
    balanced,
    resetting,
)
from models.network import ParameterGroup
from models.shell import CompiledLayer, RecurrentMixin, uniform

RESETS = ("hard", "soft")
TAU_U, TAU_W = (5.0, 25.0), (60.0, 300.0)  # of SE-adLIF, in steps
BRF_STEP = 0.01  # s, the published time step of BRF
BRF_DECAY = 0.9  # of its refractoriness per step
SLOWEST, FASTEST = (5.0, 10.0)  # rad/s, between which BRF draws its frequencies


def _option(layer: CompiledLayer, name: str, default: Any) -> Any:
    """Option ``name`` among the extra features of ``layer``, which may hold some of them only."""
    layer.asked.add(name)
    return layer.extra_features.get(name, default)


class ResettingLayer(CompiledLayer):
    """A layer of the recurrence ``resetting``, whose coefficients are ``AdaptiveCoefficients``."""

    operation = "resetting"
    recurrence = staticmethod(resetting)
    kinds = AdaptiveCoefficients, AdaptiveState

    def initial_state(self, current):
        u = self.draw(current)
        w = self.draw(current) if self.states_per_neuron == 2 else torch.zeros_like(u)
        return AdaptiveState(u, w, self.draw(current))


class LIFNodeLayer(ResettingLayer):
    """LIF of a fixed time constant ``tau``, in steps, that spikes reset at once, and that spikes at
    the threshold, too.

    That of SpikingJelly (Fang et al. 2023) with ``decay_input=False``, by which networks with
    learned delays are published; they differ in ``tau`` and in the reset.
    """

    states_per_neuron = 1

    def create_parameters(self):
        tau, reset = _option(self, "tau", 2.0), _option(self, "reset", "hard")
        if not 1 <= tau < math.inf:
            raise ValueError(f"tau must be a number of steps, 1 or more, got {tau}")
        if reset not in RESETS:
            raise ValueError(f"reset '{reset}' is not one of {', '.join(RESETS)}")
        self.alpha = 1 - 1 / tau
        self.hard = reset == "hard"
        self.detached = _option(self, "detach_reset", True)

    def coefficients(self):
        return AdaptiveCoefficients(self.W.weight.new_full((self.hidden_size,), self.alpha))

    def form(self):
        return {"scales": False, "hard": self.hard, "detached": self.detached}


class SEadLIFLayer(RecurrentMixin, ResettingLayer):
    """Recurrent adaptive LIF, discretised by symplectic Euler (Baronig et al. 2024).

    Its time constants are between the ends of ``TAU_U`` and ``TAU_W``, where ``m_u`` and ``m_w``
    put them. V is kept as in ``nn.Linear``: to, from.
    """

    self_connections = True
    to_from = True
    symplectic = True
    gain = 120.0  # of the adaptation, called q in the publication
    groups = {  # noqa: RUF012
        "m_u": ParameterGroup(clamp=(0.0, 1.0)),
        "m_w": ParameterGroup(clamp=(0.0, 1.0)),
        "a": ParameterGroup(clamp=(0.0, 1.0)),
        "b": ParameterGroup(clamp=(0.0, 2.0)),
    }

    def create_weights(self, use_bias):
        self.m_u = uniform(self.hidden_size, (0.0, 1.0))
        self.m_w = uniform(self.hidden_size, (0.0, 1.0))
        with torch.device("meta"):  # where nothing is drawn
            super().create_weights(use_bias)
        self.W.to_empty(device=self.m_u.device)
        nn.init.uniform_(self.W.weight, -(self.input_size**-0.5), self.input_size**-0.5)
        if use_bias:
            nn.init.zeros_(self.W.bias)

    def add_recurrence(self, *options):
        with torch.device("meta"):
            super().add_recurrence(*options)
        if self.recurrent:
            self.V.to_empty(device=self.m_u.device)
            nn.init.orthogonal_(self.V.weight)

    def draw_recurrent_weights(self):
        """They are drawn already."""

    def create_parameters(self):
        size = self.hidden_size
        self.a = uniform(size, (0.0, 1.0))
        self.b = uniform(size, (0.0, 2.0))
        gain = _option(self, "adaptation_gain", None)
        self.gain = type(self).gain if gain is None else gain

    def coefficients(self):
        alpha, beta = (
            torch.exp(-1 / (m * high + (1 - m) * low))
            for m, (low, high) in ((self.m_u, TAU_U), (self.m_w, TAU_W))
        )
        gain = (1 - beta) * self.gain
        return AdaptiveCoefficients(alpha, beta, gain * self.a, gain * self.b)

    def form(self):
        return {"symplectic": self.symplectic}


class EFadLIFLayer(SEadLIFLayer):
    """The same discretised by Euler-forward (Baronig et al. 2024), its gain that for SHD."""

    symplectic = False
    gain = 60.0


class BalancedCoefficients(NamedTuple):
    """Coefficients [H] of ``models.dynamics.balanced``."""

    omega: Tensor
    damping: Tensor


class BRFLayer(RecurrentMixin, CompiledLayer):
    """Recurrent balanced resonate-and-fire (Higuchi et al. 2024).

    The damping p(omega) - |b| - q keeps it stable at every omega below 1 / ``BRF_STEP``. V is kept
    as in ``nn.Linear``: to, from.
    """

    operation = "balanced"
    recurrence = staticmethod(balanced)
    kinds = BalancedCoefficients, BalancedState
    states_per_neuron = 3
    self_connections = True
    to_from = True
    groups = {"omega": ParameterGroup(clamp=(-0.999 / BRF_STEP, 0.999 / BRF_STEP))}  # noqa: RUF012

    def create_parameters(self):
        # As published, the weights of inputs and spikes are one matrix.
        weights = [self.W.weight, *([self.V.weight] if self.recurrent else [])]
        size, sizes = self.hidden_size, [weight.shape[1] for weight in weights]
        drawn = nn.init.xavier_uniform_(self.W.weight.new_empty(size, sum(sizes)))
        with torch.no_grad():
            for weight, part in zip(weights, drawn.split(sizes, dim=1), strict=True):
                weight.copy_(part)
        self.omega = uniform(size, (SLOWEST, FASTEST))
        self.b = uniform(size, (2.0, 3.0))

    def draw_recurrent_weights(self):
        """They are drawn already."""

    def coefficients(self):
        omega = self.omega.abs()
        border = (torch.sqrt(1 - (BRF_STEP * omega) ** 2) - 1) / BRF_STEP
        return BalancedCoefficients(omega, border - self.b.abs())

    def initial_state(self, current):
        return BalancedState(*(self.draw(current) for _ in range(4)))

    def form(self):
        return {"step": BRF_STEP, "decay": BRF_DECAY}
