# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Resonate (one complex state) recurrence: C-SiLIF and Resonate-and-Fire."""

from functools import partial

from torch import Tensor

from models.dynamics.backends import Operation, can_fold, choose, implementations
from models.dynamics.fold import Fold
from models.dynamics.resonate.naive import ResonateState
from models.dynamics.resonate.trial import trials
from models.surrogate import BOXCAR, Surrogate

RESONATE = Operation("'resonate'", implementations(__name__, "resonate"), trials)
FOLDED = RESONATE._replace(
    name="normalisation and dropout around 'resonate'", trials=partial(trials, folded=True)
)


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
    choice = choose(RESONATE, backend, I, A, gain, *state, surrogate=surrogate)
    run = partial(
        RESONATE.load(choice.backend), scale=scale, theta=theta, state=state,
        reset_inside=reset_inside, surrogate=surrogate,
    )  # fmt: skip
    if fold is None:
        return run(I, A, reset, gain)
    if can_fold(backend, choice, FOLDED, I.device, surrogate):
        return run(I, A, reset, gain, fold=fold)
    spikes, state = run(fold.current(I), A, reset, gain)
    return fold.dropped(spikes), state
