# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The variants of the resonate recurrence on which its kernels are tried."""

from collections.abc import Iterator
from functools import partial

import torch

from models.dynamics.resonate.naive import ResonateState
from models.dynamics.trial import B, H, T, Trial, normalisation, uniform, within_fold
from models.surrogate import Surrogate


def trials(surrogate: Surrogate, folded: bool = False) -> Iterator[Trial]:
    """Both places of the reset; ``folded``: within normalisation and dropout."""
    draw = uniform()
    run = partial(_run, surrogate=surrogate)
    fold = normalisation(draw)
    fold = fold if folded else {}
    u, s = torch.complex(draw(0, 1, B, H), draw(0, 1, B, H)), draw(0, 1, B, H)
    discrete = torch.polar(draw(0.8, 0.99, H), draw(0.03, 1.5, H))
    continuous = torch.complex(draw(-10, -1, H), draw(5, 10, H))
    inside = {"I": draw(-1, 3, B, T, H), "A": discrete, "gain": draw(0, 1, H)}
    outside = {"I": draw(-20, 60, B, T, H), "A": continuous}
    yield Trial("C-SiLIF", inside | {"u": u, "s": s} | fold, run)
    yield Trial("Resonate-and-Fire", outside | {"u": u, "s": s} | fold, run)


def _run(function, I, A, u, s, gain=None, **options):
    inside = gain is not None
    reset, gain, scale = (0.5, gain, 2.0) if inside else (1.0, 0.004, 1.0)
    spikes, state, counts = within_fold(
        function, I, A, reset, gain, scale=scale, theta=1.0, state=ResonateState(u, s),
        reset_inside=inside, **options,
    )  # fmt: skip
    return {"the spikes": spikes, "u": state.u, "s": state.s} | counts
