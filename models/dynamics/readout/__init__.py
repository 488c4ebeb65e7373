# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Non-spiking read-out: a leaky integrator, alone or with its softmax summed over time."""

from torch import Tensor

from models.dynamics.backends import Operation, choose, implementations
from models.dynamics.readout.trial import trials

READOUT = Operation("'readout'", implementations(__name__, "readout"), trials)
POTENTIALS = Operation("'potentials'", implementations(__name__, "potentials"), trials)


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
    choice = choose(READOUT, backend, I, alpha, state)
    return READOUT.load(choice.backend)(I, alpha, state=state)


def potentials(
    I: Tensor, alpha: Tensor, *, state: Tensor, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Integrate as :func:`readout` does, for read-outs and losses other than the summed softmax.

    Arguments and errors are those of :func:`readout`.

    Returns:
        The potential after every step [B, T, C], and after the last [B, C].
    """
    choice = choose(POTENTIALS, backend, I, alpha, state)
    return POTENTIALS.load(choice.backend)(I, alpha, state=state)
