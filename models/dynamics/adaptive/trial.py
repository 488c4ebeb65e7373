# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The variants of the adaptive recurrence on which its kernels are tried."""

from collections.abc import Iterator
from functools import partial

from models.dynamics.adaptive.naive import AdaptiveState
from models.dynamics.trial import B, H, T, Trial, normalisation, uniform, within_fold
from models.surrogate import Surrogate


def trials(surrogate: Surrogate, folded: bool = False) -> Iterator[Trial]:
    """With and without adaptation, and recurrent weights unless it is ``folded``."""
    draw = uniform()
    run = partial(_run, surrogate=surrogate)
    fold = normalisation(draw)
    fold = fold if folded else {}
    state = {name: draw(0, 1, B, H) for name in ("u", "w", "s")}
    plain = {"I": draw(-1, 3.5, B, T, H), "alpha": draw(0.37, 0.96, H), **state, **fold}
    adapting = {"beta": draw(0.96, 0.99, H), "a": draw(0, 1, H), "b": draw(0, 2, H)}
    recurrent = {"V": draw(-1, 1, H, H) * (2 / H) ** 0.5}
    yield Trial("LIF", plain, run)
    yield Trial("adaptive LIF", plain | adapting, run)
    if not folded:
        yield Trial("recurrent LIF", plain | recurrent, run)
        yield Trial("recurrent adaptive LIF", plain | adapting | recurrent, run)


def _run(function, I, alpha, u, w, s, beta=None, a=None, b=None, V=None, **options):
    spikes, state, counts = within_fold(
        function, I, alpha, beta, a, b, theta=1.0, state=AdaptiveState(u, w, s), V=V, **options
    )
    return {"the spikes": spikes, "u": state.u, "w": state.w, "s": state.s} | counts
