# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Adaptive (two real states) recurrence: LIF, RLIF, adLIF, RadLIF, CadLIF and SiLIF."""

from functools import partial

from torch import Tensor

from models.dynamics.adaptive.naive import AdaptiveState
from models.dynamics.adaptive.trial import trials
from models.dynamics.backends import Operation, can_fold, choose, implementations
from models.dynamics.fold import Fold
from models.surrogate import BOXCAR, Surrogate

ADAPTIVE = Operation("'adaptive'", implementations(__name__, "adaptive"), trials)
FOLDED = ADAPTIVE._replace(
    name="normalisation and dropout around 'adaptive'", trials=partial(trials, folded=True)
)


def adaptive(
    I: Tensor,
    alpha: Tensor,
    beta: Tensor | None = None,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    theta: float,
    state: AdaptiveState,
    V: Tensor | None = None,
    fold: Fold | None = None,
    surrogate: Surrogate = BOXCAR,
    backend: str = "auto",
) -> tuple[Tensor, AdaptiveState]:
    """Run adaptive leaky integrate-and-fire neurons over time.

    Per step, in this order (Bittar & Garner 2022, eqs. 6-8; SiLIF: Fabre et al. 2025)::

        w = beta * w + a * u + b * s
        u = alpha * (u - s) + (1 - alpha) * (I_t + s @ V - w)
        s = 1 if u > theta else 0

    Args:
        I: input current [B, T, H].
        alpha: membrane decay per step [H].
        beta, a, b: adaptation decay, sub-threshold and spike-triggered coupling, each [H]. All
            three None: no adaptation (LIF), the ``w`` of ``state`` is handed back untouched.
        theta: firing threshold.
        state: u, w and s before the first step, each [B, H].
        V: recurrent weights [H, H] (from neuron, to neuron), or None.
        fold: normalisation and dropout to do on the way; with V, or under a back end whose kernels
            have no room for them, they are done apart.
        surrogate: what the backward pass takes for the derivative of a spike.
        backend: a name of ``models.dynamics.BACKENDS``.

    Returns:
        The spikes [B, T, H], after the dropout of ``fold``, and the state after the last step.

    Raises:
        ValueError: only some of beta, a and b are given, or the back end cannot run here.
    """
    given = [x is not None for x in (beta, a, b)]
    if any(given) and not all(given):
        raise ValueError("beta, a and b are given together or not at all")
    choice = choose(ADAPTIVE, backend, I, alpha, beta, a, b, *state, V, surrogate=surrogate)
    run = partial(ADAPTIVE.load(choice.backend), theta=theta, state=state, surrogate=surrogate)
    if fold is None:
        return run(I, alpha, beta, a, b, V=V)
    if V is None and can_fold(backend, choice, FOLDED, I.device, surrogate):
        return run(I, alpha, beta, a, b, fold=fold)
    spikes, state = run(fold.current(I), alpha, beta, a, b, V=V)
    return fold.dropped(spikes), state
