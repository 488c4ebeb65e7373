# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Non-spiking read-out: a leaky integrator whose softmax is summed over time."""

from torch import Tensor

from models.dynamics.backends import implementation
from models.dynamics.readout import naive


def readout(
    I: Tensor, alpha: Tensor, *, state: Tensor, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Integrate class evidence over time (Bittar & Garner 2022, section 3.4).

    Per step ``u = alpha * u + (1 - alpha) * I_t; out = out + softmax(u over classes)``.

    Args:
        I: input current [B, T, C].
        alpha: decay per step [C].
        state: potential before the first step [B, C].
        backend: a name of ``models.dynamics.BACKENDS``.

    Returns:
        The summed softmax ``out`` [B, C] and the potential after the last step [B, C].

    Raises:
        ValueError: the back end cannot run here.
    """
    return implementation("readout", backend, I, alpha, state)(I, alpha, state=state)


def potentials(
    I: Tensor, alpha: Tensor, *, state: Tensor, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """As :func:`readout`, but for the potential after every step [B, T, C] in place of the scores.

    Plain PyTorch under every back end.
    """
    return naive.potentials(I, alpha, state=state)
