# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recurrences on the CPU one step at a time, with as little around the kernels as there can be."""

import torch
from torch import Tensor

from models.dynamics import cpu


class Stepper:
    """A recurrence that takes step after step in the same memory, without gradients.

    It is the ``run`` of a function of ``cpu`` for a current [B, 1, H], and V without delays; that
    call takes no step.
    """

    def __call__(self, *inputs) -> tuple[Tensor, ...]:
        given, made = cpu._Inputs(*inputs), cpu._allocate(*inputs)
        self.V, self.spikes, self.s = given.V, made[0][:, 0], made[3]
        self.current = (given.I if self.V is None else made[8])[:, 0]
        self.run = cpu._steps(made, *inputs)
        return made[: cpu.RECURRENCE.results]

    def step(self, I_t: Tensor) -> Tensor:
        """Spikes [B, H] of the step after the last, which the next one overwrites."""
        if self.V is None:
            self.current.copy_(I_t)
        else:
            torch.add(I_t, torch.mm(self.s, self.V), out=self.current)
        self.run(0, 1)
        return self.spikes
