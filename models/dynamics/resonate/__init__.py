# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Resonate (one complex state) recurrence: C-SiLIF and Resonate-and-Fire."""

from typing import NamedTuple

from torch import Tensor

from models.dynamics.backends import can_fold, implementation
from models.dynamics.fold import Fold
from models.surrogate import BOXCAR, Surrogate


class ResonateState(NamedTuple):
    """State of a layer of resonating neurons between two time steps; each field is [B, H]."""

    u: Tensor  # complex membrane potential
    s: Tensor  # spikes of the last step


def resonate(
    I: Tensor,
    A: Tensor,
    reset: float,
    gain: Tensor | float,
    *,
    scale: float,
    theta: float,
    state: ResonateState,
    reset_inside: bool,
    fold: Fold | None = None,
    surrogate: Surrogate = BOXCAR,
    backend: str = "auto",
) -> tuple[Tensor, ResonateState]:
    """Run resonating (complex) neurons over time.

    Per step, by ``reset_inside``::

        True:   u = A * (u - reset * s) + gain * I_t           (C-SiLIF, Fabre et al. 2025)
        False:  u = u + gain * (A * u + I_t) - reset * s       (RF, Higuchi et al. 2024)
        s = 1 if scale * Re(u) > theta else 0

    The two are kept apart because rewriting either as the other changes the rounding, and with it
    the spikes.

    Args:
        I: input current [B, T, H], real.
        A: complex [H]: the discrete transition (True), or the continuous eigenvalue (False).
        reset: how much a spike takes from u.
        gain: input gain [H], or the step size in seconds as a float.
        scale: factor of Re(u) before the threshold.
        theta: firing threshold.
        state: u (complex) and s before the first step, each [B, H].
        reset_inside: whether the reset passes through A.
        fold: normalisation and dropout to do on the way; under a back end whose kernels have no
            room for them, they are done apart.
        surrogate: what the backward pass takes for the derivative of a spike.
        backend: a name of ``models.dynamics.BACKENDS``.

    Returns:
        The spikes [B, T, H], after the dropout of ``fold``, and the state after the last step.

    Raises:
        ValueError: the back end cannot run here.
    """
    run = implementation("resonate", backend, I, A, gain, *state)
    options = {"scale": scale, "theta": theta, "state": state, "reset_inside": reset_inside}
    options["surrogate"] = surrogate
    if fold is None:
        return run(I, A, reset, gain, **options)
    if can_fold("resonate", backend, run, I.device):
        return run(I, A, reset, gain, **options, fold=fold)
    spikes, state = run(fold.current(I), A, reset, gain, **options)
    return fold.dropped(spikes), state
