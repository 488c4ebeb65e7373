# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Runs that give the same bits every time."""

import contextlib
import os
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def determinism(asked: bool) -> Iterator[None]:
    """Within it PyTorch computes the same from the same, or refuses an operation that cannot.

    A run with the same seed on the same machine and back end then repeats bit by bit, also on a
    GPU. It has to be entered before the first matrix product there: cuBLAS reads its workspace
    setting once (https://docs.pytorch.org/docs/stable/notes/randomness.html). PyTorch would also
    fill new memory, in case something reads what nobody has written; that takes time, and nothing
    here does.
    """
    if not asked:
        yield
        return
    cudnn, filling = torch.backends.cudnn, torch.utils.deterministic
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        filling.fill_uninitialized_memory,
    )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    filling.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory = before[2:]
