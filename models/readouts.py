# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Read-outs of spiking networks: how the last layer gives one score per class."""

from typing import ClassVar

from torch import Tensor, nn

from models.dynamics import readout
from models.linear import Linear
from models.network import ParameterGroup
from models.shell import (
    ALPHA_BOUNDS,
    clamped,
    in_full,
    initial_values,
    make_norm,
    normalize,
    uniform,
)


class ReadoutLayer(nn.Module):
    """Non-spiking leaky integrator (Bittar & Garner 2022): [B, T, F] -> summed softmax [B, C]."""

    states_per_neuron = 1
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"alpha": ALPHA_BOUNDS}
    groups: ClassVar[dict[str, ParameterGroup]] = {}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        normalization: str = "batchnorm",
        use_bias: bool = False,
        init_state: str = "rand",
        backend: str = "auto",
    ):
        super().__init__()
        self.hidden_size = hidden_size
        self.init_state = init_state
        self.backend = backend
        self.W = Linear(input_size, hidden_size, use_bias, backend=backend)
        self.alpha = uniform(hidden_size, ALPHA_BOUNDS)
        self.norm = make_norm(normalization, hidden_size)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """Class scores [B, C]; ``state``: potential [B, C] before the first step."""
        current = in_full(normalize(self.norm, self.W(x)))
        if state is None:
            state = initial_values(current, self.init_state)
        return self.dynamics(current, state)[0]

    def dynamics(self, current: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Class scores [B, C] of ``current`` [B, T, C], and the potential after the last step."""
        return readout(current, self.decay(), state=state, backend=self.backend)

    def decay(self) -> Tensor:
        """Decay per step [C], as the recurrence uses it."""
        return clamped(self, "alpha")
