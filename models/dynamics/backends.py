# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Which implementation of an operation runs."""

import importlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple

import torch

from models.dynamics.trial import Trial, disagreement, unfolded
from models.surrogate import Surrogate

log = logging.getLogger("sprache")

BACKENDS = ("auto", "naive", "cpu", "cuda")

_LIBRARIES = {"cpu": "numba", "cuda": "triton"}
_DESCRIPTIONS = {
    "naive": "plain PyTorch",
    "cpu": "compiled CPU kernels (numba)",
    "cuda": "fused GPU kernels (triton)",
}
# Compared with `naive` on the device itself before `auto` takes them.
_TRIED_FIRST = ("cuda",)
# Have room in their kernels for what surrounds a recurrence, see ``models.dynamics.Fold``.
_FOLDING = ("cuda",)
_SLOW = 1.0  # s of compilation, worth a line in the log
_SINGLE_PRECISION = (torch.float32, torch.complex64)


class Compilation:
    """The time that compiling kernels has taken since it was last reported."""

    seconds = 0.0

    @classmethod
    def report(cls) -> None:
        """One line for all kernels, where they took long."""
        if cls.seconds > _SLOW:
            log.info("Compiled kernels for this machine in %.1f s", cls.seconds)
        cls.seconds = 0.0


class Operation(NamedTuple):
    """What several back ends can compute."""

    name: str
    # load(back end): the function that computes it there
    load: Callable[[str], Callable]
    # trials(surrogate, learns), or trials() of what has none
    trials: Callable[..., Iterable[Trial]]
    # The same within a ``Fold``
    folded: "Operation | None" = None


def implementation(function: str, backend: str) -> Callable:
    """``function`` of the module that is named like the back end."""
    return getattr(importlib.import_module(f"models.dynamics.{backend}"), function)


class Choice(NamedTuple):
    """The back end that computes an operation."""

    backend: str
    obstacle: str = ""  # why it is plain PyTorch where a compiled one was looked for

    def __str__(self) -> str:
        why = f" ({self.obstacle})" if self.obstacle else ""
        return _DESCRIPTIONS[self.backend] + why


@cache
def _missing(library: str) -> str:
    """Why ``library`` cannot be used, "" where it can."""
    try:
        module = importlib.import_module(library)
    except ImportError as error:
        return f"{library} cannot be imported: {error}"
    # Its compiler is off, and what it leaves uncompiled lacks what kernels need.
    return "NUMBA_DISABLE_JIT is set" if library == "numba" and module.config.DISABLE_JIT else ""


def _obstacle(
    backend: str, tensors: tuple[torch.Tensor, ...], surrogate: Surrogate | None = None
) -> str:
    """Why the compiled ``backend`` cannot compute with ``tensors``, "" where it can."""
    # Triton's interpreter runs GPU kernels on the CPU, for tests.
    interpreted = backend == "cuda" and os.environ.get("TRITON_INTERPRET") == "1"
    for tensor in tensors:
        if tensor.device.type != backend and not interpreted:
            return f"it needs {backend} tensors, got {tensor.device.type}"
        if tensor.dtype not in _SINGLE_PRECISION:
            return f"it computes in float32, got {str(tensor.dtype).removeprefix('torch.')}"
    library = _LIBRARIES[backend]
    if missing := _missing(library):
        return missing
    if surrogate is not None:
        known = importlib.import_module(f"models.dynamics.{library}_support").SURROGATES
        if surrogate.name not in known:
            return f"{library} kernels have no surrogate '{surrogate.name}'"
    return ""


def why_not(backend: str, device: torch.device) -> str:
    """Why a network on ``device`` cannot run under ``backend``, "" where it can."""
    if backend not in _LIBRARIES:
        return ""
    return _obstacle(backend, (torch.empty(0, device=device),))


def compiled(kernels: str, backend: str, *tensors: torch.Tensor) -> bool:
    """Whether what surrounds the dynamics is computed by the ``kernels`` of a back end, too."""
    return backend in ("auto", kernels) and not _obstacle(kernels, tensors)


def try_kernels(operation: Operation, backend: str, device: torch.device, *variant) -> str:
    """What ``backend`` gets wrong on ``device``, "" where it agrees with ``naive``.

    ``variant`` is what the trials of the operation are made for.
    """
    expected = unfolded(operation.load("naive"))

    def kernels(*arguments, **options):  # whose import may fail, too
        return operation.load(backend)(*arguments, **options)

    return disagreement(operation.trials(*variant), kernels, expected, device)


@cache
def tried(operation: Operation, backend: str, device: torch.device, *variant) -> str:
    """The same, found once and logged."""
    start = time.perf_counter()
    found = try_kernels(operation, backend, device, *variant)
    Compilation.seconds += time.perf_counter() - start
    if found:
        log.warning(
            "The kernels of back end '%s' do not compute what they should here (%s). Plain PyTorch "
            "computes %s instead, with the same results, more slowly; please report this",
            backend,
            found,
            operation.name,
        )
    return found


def can_fold(
    choice: Choice, operation: Operation, asked: str, device: torch.device, *variant
) -> bool:
    """Whether the ``choice`` for the back end ``asked`` for takes a ``Fold``."""
    if choice.backend not in _FOLDING:
        return False
    return asked != "auto" or not tried(operation.folded, choice.backend, device, *variant)


def choose(
    operation: Operation,
    backend: str,
    *tensors: torch.Tensor | float | None,
    surrogate: Surrogate | None = None,
    learns: bool = False,
) -> Choice:
    """What computes ``operation`` under ``backend`` for data like ``tensors``.

    ``auto`` takes the fastest back end that can run here: the one written for the device of the
    tensors if they are single precision, its library is installed, it knows the surrogate and, for
    GPU kernels, a first trial on that device gives what ``naive`` gives; else ``naive``. Arguments
    that are not tensors are ignored. ``learns`` says whether theta, reset or scale need a gradient.

    Raises:
        ValueError: an unknown name, or a back end asked for by name that cannot run here.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend '{backend}' is not one of {', '.join(BACKENDS)}")
    if backend == "naive":
        return Choice("naive")
    data = tuple(x for x in tensors if isinstance(x, torch.Tensor))
    chosen = data[0].device.type if backend == "auto" else backend
    if chosen not in _LIBRARIES:
        return Choice("naive", f"device {chosen}")
    obstacle = _obstacle(chosen, data, surrogate)
    if obstacle and backend != "auto":
        raise ValueError(f"backend '{backend}' cannot run here: {obstacle}")
    if backend == "auto" and not obstacle and chosen in _TRIED_FIRST:
        variant = () if surrogate is None else (surrogate, learns)
        obstacle = tried(operation, chosen, data[0].device, *variant)
    return Choice("naive", obstacle) if obstacle else Choice(chosen)
