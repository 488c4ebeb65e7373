# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recurrences on the CPU one step at a time, with as little around the kernels as there can be."""

from functools import partial

from torch import Tensor

from models.dynamics import cpu
from models.dynamics.cpu_recurrent import by_clips


class Stepper:
    """A recurrence that takes step after step in the same memory, without gradients.

    It is the ``run`` of a function of ``cpu`` for a current [B, 1, H], and V without delays; that
    call takes no step.
    """

    def __call__(self, *inputs) -> tuple[Tensor, ...]:
        given, made = cpu._Inputs(*inputs), cpu._allocate(*inputs)
        self.spikes, self.current, run = made[0][:, 0], given.I[:, 0], cpu._steps(made, *inputs)
        self.run = partial(run, 0, 1) if given.V is None else by_clips(run, given, z=made[7])
        return made[: cpu.RECURRENCE.results]

    def step(self, I_t: Tensor) -> Tensor:
        """Spikes [B, H] of the step after the last, which the next one overwrites."""
        self.current.copy_(I_t)
        self.run()
        return self.spikes
