# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Which implementation of a recurrence runs."""

import importlib
import logging
import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache

import torch

log = logging.getLogger("sprache")

BACKENDS = ("auto", "naive", "cpu", "cuda")

_LIBRARIES = {"cpu": "numba", "cuda": "triton"}
_ANNOUNCEMENTS = {
    "naive": "Dynamics: plain PyTorch",
    "cpu": "Dynamics: compiled CPU kernels (numba)",
    "cuda": "Dynamics: fused GPU kernels (triton)",
}
# Compared with `naive` on the device at hand before `auto` takes them.
_TRIED_FIRST = ("cuda",)
# Have room in their kernels for what surrounds a recurrence, see ``models.dynamics.fold``.
_FOLDING = ("cuda",)
_SLOW_TRIAL = 1.0  # s, worth a line in the log
_OTHERWISE = {
    f"folded {operation}": f"normalisation and dropout around '{operation}'"
    for operation in ("adaptive", "resonate")
} | {"batch statistics": "the gradient of batch normalisation"}
_SINGLE_PRECISION = (torch.float32, torch.complex64)


_trying: ContextVar[bool] = ContextVar("trying", default=False)


def _announce(backend: str, why: str) -> None:
    """Say once what computes the dynamics; a trial uses `naive` for comparison only."""
    if not _trying.get():
        _say_once(backend, why)


@cache
def _say_once(backend: str, why: str) -> None:
    log.info("%s%s", _ANNOUNCEMENTS[backend], f" ({why})" if why else "")


def announce_again() -> None:
    """Let the next use say what computes the dynamics, as the first one did."""
    _say_once.cache_clear()


@cache
def _missing(library: str) -> str:
    """Why ``library`` cannot be imported, "" where it can."""
    try:
        importlib.import_module(library)
    except ImportError as error:
        return f"{library} cannot be imported: {error}"
    return ""


def _obstacle(backend: str, tensors: tuple[torch.Tensor, ...]) -> str:
    """Why the compiled ``backend`` cannot compute with ``tensors``, "" where it can."""
    # Triton's interpreter runs GPU kernels on the CPU, for tests.
    interpreted = backend == "cuda" and os.environ.get("TRITON_INTERPRET") == "1"
    for tensor in tensors:
        if tensor.device.type != backend and not interpreted:
            return f"it needs {backend} tensors, got {tensor.device.type}"
        if tensor.dtype not in _SINGLE_PRECISION:
            return f"it computes in float32, got {str(tensor.dtype).removeprefix('torch.')}"
    return _missing(_LIBRARIES[backend])


def why_not(backend: str, device: torch.device) -> str:
    """Why a network on ``device`` cannot run under ``backend``, "" where it can."""
    if backend not in _LIBRARIES:
        return ""
    return _obstacle(backend, (torch.empty(0, device=device),))


def compiled_on_cpu(backend: str, *tensors: torch.Tensor) -> bool:
    """Whether what surrounds the dynamics runs in compiled CPU kernels, too."""
    return backend in ("auto", "cpu") and not _obstacle("cpu", tensors)


def compiled_on_gpu(backend: str, *tensors: torch.Tensor) -> bool:
    """Whether what surrounds the dynamics may be part of their GPU kernels."""
    return backend in ("auto", "cuda") and not _obstacle("cuda", tensors)


@cache
def _disagreement(operation: str, backend: str, device: torch.device) -> str:
    """Why ``backend`` is not to be trusted with ``operation`` on ``device``, "" where it is."""
    from models.dynamics.agreement import disagreement

    start = time.perf_counter()
    trying = _trying.set(True)
    try:
        found = disagreement(operation, backend, device)
    finally:
        _trying.reset(trying)
    seconds = time.perf_counter() - start
    if seconds > _SLOW_TRIAL:
        log.info("Compiled and tried the kernels of '%s' in %.1f s", operation, seconds)
    if found:
        log.warning(
            "The kernels of back end '%s' do not do here what they should (%s). Plain PyTorch "
            "computes %s instead, with the same results, more slowly; please report this",
            backend,
            found,
            _OTHERWISE.get(operation, f"'{operation}'"),
        )
    return found


def agrees(operation: str, backend: str, device: torch.device) -> bool:
    """Whether a first trial of ``backend`` on ``device`` gave what ``naive`` gives."""
    return not _disagreement(operation, backend, device)


def can_fold(operation: str, backend: str, run: Callable, device: torch.device) -> bool:
    """Whether ``run``, chosen by ``implementation`` for ``backend``, takes a ``Fold``."""
    chosen = run.__module__.rpartition(".")[2]
    if chosen not in _FOLDING:
        return False
    return backend != "auto" or agrees(f"folded {operation}", chosen, device)


def implementation(operation: str, backend: str, *tensors: torch.Tensor | float | None) -> Callable:
    """The function that computes ``operation`` under ``backend`` for data like ``tensors``.

    ``auto`` takes the fastest back end that can run here: the one written for the device of the
    tensors if they are single precision, its library is installed and, for GPU kernels, a first
    trial on that device gives what ``naive`` gives; else ``naive``. The choice is logged once.
    Arguments that are not tensors are ignored.

    Raises:
        ValueError: an unknown name, or a back end asked for by name that cannot run here.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend '{backend}' is not one of {', '.join(BACKENDS)}")
    chosen, why = backend, ""
    if backend != "naive":
        data = tuple(x for x in tensors if isinstance(x, torch.Tensor))
        chosen = data[0].device.type if backend == "auto" else backend
        why = _obstacle(chosen, data) if chosen in _LIBRARIES else f"device {chosen}"
        if backend == "auto" and not why and chosen in _TRIED_FIRST:
            why = _disagreement(operation, chosen, data[0].device)
        if why and backend != "auto":
            raise ValueError(f"backend '{backend}' cannot run here: {why}")
        chosen = "naive" if why else chosen
    _announce(chosen, why)
    module = importlib.import_module(f"models.dynamics.{operation}.{chosen}")
    return getattr(module, operation)
