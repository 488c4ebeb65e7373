# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Dropout as PyTorch's, number for number, without waiting for its random numbers on a CPU."""

from torch import Tensor, nn

from models.dynamics.backends import compiled_on_cpu


class Dropout(nn.Dropout):
    """``nn.Dropout``; ``backend`` "naive" is PyTorch's own, see ``models.dynamics``."""

    def __init__(self, p: float = 0.5, *, backend: str = "auto"):
        super().__init__(p)
        self.backend = backend

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; the numbers, and what is left of the generator, are PyTorch's."""
        drops = self.training and 0 < self.p < 1
        if drops and x.is_contiguous() and compiled_on_cpu(self.backend, x):
            from models.cpu import dropout

            if dropout.draws_alike():
                return dropout.dropout(x, self.p)
        return super().forward(x)
