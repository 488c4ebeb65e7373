# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Which implementation of an operation runs."""

import importlib
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.dynamics.naive import Delayed, Feedback
from models.dynamics.trial import Trial, disagreement, unfolded
from models.surrogate import Surrogate

log = logging.getLogger("sprache")

BACKENDS = ("auto", "naive", "cpu", "cuda")

_LIBRARIES = {"cpu": "numba", "cuda": "triton"}
_SURROGATES = {"numba": "cpu_kinds", "triton": "triton_support"}  # modules that list them
_DESCRIPTIONS = {
    "naive": "plain PyTorch",
    "cpu": "compiled CPU kernels (numba)",
    "cuda": "fused GPU kernels (triton)",
}
# Compared with `naive` on the device itself before `auto` takes them.
_TRIED_FIRST = ("cuda",)
_ROCM = "its kernels are for CUDA, and this PyTorch is for ROCm"
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
    kernels: tuple[str, ...] = tuple(_LIBRARIES)  # back ends that have any


def implementation(function: str, backend: str) -> Callable:
    """``function`` of the module that is named like the back end."""
    return getattr(importlib.import_module(f"{__package__}.{backend}"), function)


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


@cache
def _surrogates(library: str) -> Collection[str]:
    """Those that kernels written for ``library`` know."""
    return importlib.import_module(f"{__package__}.{_SURROGATES[library]}").SURROGATES


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
    if backend == "cuda" and torch.version.hip is not None:
        return _ROCM
    library = _LIBRARIES[backend]
    if missing := _missing(library):
        return missing
    if surrogate is not None and surrogate.name not in _surrogates(library):
        return f"{library} kernels have no surrogate '{surrogate.name}'"
    return ""


def why_not(backend: str, device: torch.device) -> str:
    """Why a network on ``device`` cannot run under ``backend``, "" where it can."""
    if backend not in _LIBRARIES:
        return ""
    return _obstacle(backend, (torch.empty(0, device=device),))


def compiled(kernels: str, backend: str, *tensors: torch.Tensor) -> bool:
    """Whether what surrounds the dynamics is computed by the ``kernels`` of a back end, too."""
    return backend in ("auto", kernels) and not in_graph() and not _obstacle(kernels, tensors)


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


@cache
def say_plain(where: str, level: int = logging.INFO) -> None:
    """Once for each place where plain PyTorch computes in spite of kernels."""
    log.log(level, "Plain PyTorch computes the recurrences %s", where)


def can_fold(
    choice: Choice, operation: Operation, asked: str, device: torch.device, *variant
) -> bool:
    """Whether the ``choice`` for the back end ``asked`` for takes a ``Fold``."""
    if choice.backend == "naive":
        return False
    if choice.backend not in _TRIED_FIRST:
        return True
    if operation.folded is None:
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
        if chosen != "meta":  # where nothing is computed
            say_plain(f"on {chosen} devices, for which there are no kernels", logging.WARNING)
        return Choice("naive", f"device {chosen}")
    if chosen not in operation.kernels:
        say_plain(f"of {operation.name}, for which '{chosen}' has no kernels")
        return Choice("naive", f"no {chosen} kernels")
    obstacle = _obstacle(chosen, data, surrogate)
    if obstacle and backend != "auto":
        raise ValueError(f"backend '{backend}' cannot run here: {obstacle}")
    if obstacle == _ROCM:
        say_plain(f"on this GPU: {obstacle}", logging.WARNING)
    if backend == "auto" and not obstacle and chosen in _TRIED_FIRST:
        variant = () if surrogate is None else (surrogate, learns)
        obstacle = tried(operation, chosen, data[0].device, *variant)
    return Choice("naive", obstacle) if obstacle else Choice(chosen)


def expanded(x: Tensor, *shape: int) -> Tensor:
    """``x.expand(shape)``; ``x`` itself, without a node of autograd's, where it has that shape."""
    return x if x.shape == shape else x.expand(shape)


def per_neuron(x: Tensor | float, I: Tensor) -> Tensor:
    """``x`` [H] for the neurons of ``I`` [B, T, H], as kernels read it.

    A number is written by the device: copied from the host it could not be part of a CUDA graph.
    """
    H = I.shape[2]
    return expanded(x, H) if isinstance(x, Tensor) else I.new_full((H,), x)


def limits_of(I: Tensor, *given: Tensor | float) -> list[Tensor] | list[float]:
    """``given`` [H] for each neuron of ``I``; where all are numbers, these, for faster kernels."""
    if any(isinstance(x, Tensor) for x in given):
        return [per_neuron(x, I) for x in given]
    return [float(x) for x in given]


def way_of(V: Tensor | Feedback | None, *more: Tensor | None) -> tuple:
    """V, mask, taps, first and line of recurrent weights, ``more`` tensors, and the span."""
    way = V if isinstance(V, Feedback) else Feedback(V)
    return way.V, way.mask, way.taps, way.first, way.line, *more, way.span


def state_of(neurons: NamedTuple, V: Tensor | Feedback | None, *line: Tensor) -> NamedTuple:
    """The state of a layer after the last step; ``line`` is there if there is V."""
    return Delayed(neurons, *line) if isinstance(V, Feedback) and V.span else neurons


# Functions with a backward pass of their own. Whatever records a network as a graph (torch.compile,
# torch.export, torch.jit.trace) or transforms it (torch.func) cannot look into compiled kernels. It
# sees each as one operator of ``torch.ops``, with a backward operator and the shapes of what it
# makes, see ``models.dynamics.operators``. A call of an operator costs more than one of an autograd
# function, so that plain training uses the latter, by the same code.


def recorded() -> bool:
    """Whether a graph is recorded."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def in_graph() -> bool:
    """Whether a graph is recorded, or a function transformed by torch.func."""
    return recorded() or torch._C._are_functorch_transforms_active()


class Differentiable(NamedTuple):
    """A function of tensors, and behind them of options, the last of which is ``for_backward``."""

    name: str
    inputs: str  # as in a schema of an operator
    results: int
    made: int  # tensors: the results, and what is kept for the backward pass
    kept: int  # of these
    # allocate(*inputs) -> all that is made, not filled
    allocate: Callable[..., tuple[Tensor, ...]]
    # run(what was allocated, *inputs), which it must not change
    run: Callable[..., None]
    # saved(what was made, *inputs) -> inputs as the backward pass wants them, and what was kept
    saved: Callable[..., tuple[Sequence, Sequence[Tensor]]]
    # backward(inputs, kept, gradients of the results, which inputs need one) -> those of the
    # tensors among the inputs, or None
    backward: Callable[..., Sequence[Tensor | None]]

    def __call__(self, *inputs) -> tuple[Tensor, ...]:
        """The results."""
        if not in_graph():
            return _Function.applied(self, *inputs)
        if torch.jit.is_tracing():  # without gradients, though the trace may be used with them
            inputs = *inputs[:-1], True
        if recorded():
            return self.operator(*inputs)[: self.results]
        return _Transformed.apply(self, *inputs)[: self.results]

    def operator(self, *inputs) -> tuple[Tensor, ...]:
        """What ``forward`` gives, by the operator."""
        made = getattr(torch.ops.sprache, self.name)(*inputs)
        return made if self.made > 1 else (made,)

    def operator_backward(self, *inputs) -> list[Tensor]:
        """Those gradients that are needed, by the operator."""
        return getattr(torch.ops.sprache, f"{self.name}_backward")(*inputs)

    def forward(self, *inputs) -> tuple[Tensor, ...]:
        """The results, and what is kept."""
        made = self.allocate(*inputs)
        self.run(made, *inputs)
        return made

    @property
    def tensors(self) -> int:
        """How many inputs are tensors."""
        return self.inputs.count("Tensor")


class _Function(torch.autograd.Function):
    @classmethod
    def applied(cls, *inputs):
        """``apply``, which also looks at every input for what torch.func has left behind."""
        return super(torch.autograd.Function, cls).apply(*inputs)

    @staticmethod
    def forward(ctx, of, *inputs):
        ctx.set_materialize_grads(False)
        made = of.forward(*inputs)
        if inputs[-1]:
            inputs, kept = of.saved(made, *inputs)
            ctx.save_for_backward(*inputs[: of.tensors], *kept)
            ctx.of, ctx.options = of, inputs[of.tensors :]
        return made[: of.results]

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        saved, n = ctx.saved_tensors, ctx.of.tensors
        needed = ctx.needs_input_grad[1 : n + 1]
        found = ctx.of.backward((*saved[:n], *ctx.options), saved[n:], gradients, needed)
        return None, *found, *[None] * len(ctx.options)


def set_up(ctx, of, inputs, made):
    """Keep what :func:`run_backward` needs."""
    inputs, kept = of.saved(made, *inputs)
    ctx.save_for_backward(*inputs[: of.tensors], *kept)
    ctx.options = inputs[of.tensors :]


def run_backward(ctx, of, gradients, needed, run):
    """Gradients of all inputs, by ``run``, which calls the operator."""
    saved, n = ctx.saved_tensors, of.tensors
    inputs = *saved[:n], *ctx.options, *saved[n:], *gradients[: of.results]
    found = iter(run(of, *inputs, list(needed)))
    return *(next(found) if x else None for x in needed), *[None] * len(ctx.options)


class _Transformed(torch.autograd.Function):
    """For torch.func: that of an operator is not made for several transforms at once."""

    generate_vmap_rule = True

    @staticmethod
    def forward(of, *inputs):
        return of.operator(*inputs)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.of, *inputs = inputs
        set_up(ctx, ctx.of, inputs, output)

    @staticmethod
    def backward(ctx, *gradients):
        needed = ctx.needs_input_grad[1 : ctx.of.tensors + 1]
        return None, *run_backward(ctx, ctx.of, gradients, needed, _Backward.apply)


class _Backward(torch.autograd.Function):
    """The backward pass of ``_Transformed``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(of, *inputs):
        return tuple(of.operator_backward(*inputs))

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *gradients):
        raise RuntimeError("compiled recurrences have no second derivatives: use backend 'naive'")
