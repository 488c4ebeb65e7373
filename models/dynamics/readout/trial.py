# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What the kernels of the read-out are tried on."""

from collections.abc import Iterator

from models.dynamics.trial import B, H, T, Trial, uniform


def trials() -> Iterator[Trial]:
    """The read-out, or its potentials, of more classes than a warp has threads."""
    draw = uniform()
    inputs = {"I": draw(-3, 3, B, T, H), "alpha": draw(0.8, 0.96, H), "u": draw(0, 1, B, H)}
    yield Trial("read-out", inputs, _run)


def _run(function, I, alpha, u):
    scores, u = function(I, alpha, state=u)
    return {"the scores": scores, "u": u}
