# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Which implementation of a recurrence runs."""

import importlib
import logging
from collections.abc import Callable
from functools import cache

import torch

log = logging.getLogger("sprache")

BACKENDS = ("auto", "naive")


@cache
def _say_once(operation: str, backend: str, device: str) -> None:
    log.debug("%s on %s: %s back end", operation, device, backend)


def implementation(operation: str, backend: str, tensor: torch.Tensor) -> Callable:
    """The function that computes ``operation`` under ``backend`` for data like ``tensor``.

    ``auto`` takes the fastest back end that can run here. Raises ValueError for an unknown name
    and for a back end, asked for by name, that cannot run here.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend '{backend}' is not one of {', '.join(BACKENDS)}")
    chosen = "naive" if backend == "auto" else backend
    _say_once(operation, chosen, tensor.device.type)
    module = importlib.import_module(f"models.dynamics.{operation}.{chosen}")
    return getattr(module, operation)
