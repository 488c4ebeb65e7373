# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""All recurrences in compiled CPU kernels, with hand-written backward passes.

With recurrent weights the state before every step is kept, see ``cpu_recurrent``. Complex numbers
are pairs of reals here, multiplied as PyTorch multiplies them: ``(a c - b d) + i (a d + b c)``,
each product rounded.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.dynamics.backends import (
    Differentiable,
    expanded,
    limits_of,
    per_neuron,
    state_of,
    way_of,
)
from models.dynamics.cpu_around import (
    line_of,
    pull_back,
    readout_backward,
    readout_forward,
    readout_sum,
)
from models.dynamics.cpu_kinds import (
    FORM,
    adaptive_kernels,
    balanced_kernels,
    resetting_kernels,
    resonate_kernels,
)
from models.dynamics.cpu_recurrent import GROUP, back, forth
from models.dynamics.cpu_scan import selective_scan  # noqa: F401
from models.dynamics.naive import AdaptiveState, BalancedState, Fold, ResonateState
from models.dynamics.numba_support import (
    STEPS_KEPT,
    UNROLLED,
    WANTED,
    Kernels,
    apart,
    arrays,
    nothing,
    room,
    run_rows,
)
from models.places import Scattered
from models.surrogate import BOXCAR


@cache
def _kernels(kind: str, *variant: str | bool) -> Kernels:
    """Those of LIF or adaptive neurons, of resonating ones with the reset inside or outside, of
    balanced ones, or of neurons that are reset at once, whose kind names the options that hold.

    ``variant`` is the surrogate, and what ``make_kernels`` calls each and folds.
    """
    if kind in ("LIF", "adaptive"):
        return adaptive_kernels(kind == "adaptive", *variant)
    if kind in ("inside", "outside"):
        return resonate_kernels(kind == "inside", *variant)
    if kind == "balanced":
        return balanced_kernels(*variant)
    return resetting_kernels(*(name in kind.split() for name in FORM), *variant)


class _Inputs(NamedTuple):
    """I [B, T, H], eight coefficients [H], state x, y, s [B, H], recurrent weights V [H, H], what
    else a ``Feedback`` has, a third state q [B, H], and what a ``Fold`` has.

    Those that the kernels do not have are None; ``keep`` follows from c_0 and gets no gradient.
    theta, reset and scale are None, and ``numbers`` instead, where they are the same for all
    neurons: kernels that read them of each are slower.
    """

    I: Tensor
    c_0: Tensor
    c_1: Tensor | None
    c_2: Tensor | None
    c_3: Tensor | None
    keep: Tensor
    theta: Tensor | None
    reset: Tensor | None
    scale: Tensor | None
    x: Tensor
    y: Tensor | None
    s: Tensor
    V: Tensor | None
    mask: Tensor | None
    taps: Tensor | None
    first: Tensor | None
    line: Tensor | None
    q: Tensor | None
    stays: Tensor | None
    marks: Tensor | None
    counts: Tensor | None
    mean: Tensor | None
    rate: Tensor | None
    weight: Tensor | None
    shift: Tensor | None
    gain: float
    span: int
    in_order: bool
    numbers: list[float]
    kind: str
    surrogate: str
    width: float
    for_backward: bool

    @property
    def kernels(self) -> Kernels:
        """What computes them."""
        folds = self.marks is not None and self.V is None
        return _kernels(self.kind, self.surrogate, not self.numbers, folds)

    @property
    def coefficients(self) -> list[np.ndarray]:
        """c_0 to scale; c_0 stands in for what is missing, and is never read in its place."""
        given = self[1:6] if self.numbers else self[1:9]
        tensors = [(self.c_0 if c is None else c).contiguous() for c in given]
        return [*arrays(*tensors), *np.array(self.numbers, np.float32)[:, None]]

    @property
    def normalisation(self) -> tuple[np.ndarray, ...]:
        """mean, slope and offset [H] of the current ``slope * I + offset``, rounded as by PyTorch.

        Without a norm they change nothing, not even the sign of a 0.
        """
        if self.rate is None:
            return tuple(np.full((3, self.I.shape[2]), ((0.0,), (1.0,), (-0.0,)), np.float32))
        mean, *others = arrays(self.mean, self.rate, self.weight, self.shift)
        return mean, *line_of(mean, *others)

    @property
    def every(self) -> int:
        """Steps from one that is kept to the next."""
        return STEPS_KEPT if self.V is None else 1


def _allocate(*inputs):
    """Spikes, state, delay line, q, what is kept (x, s, q and y, or s instead; z), the current."""
    given = _Inputs(*inputs)
    I, has_y, recurrent = given.I, given.y is not None, given.V is not None
    has_q = given.q is not None
    B, T, H = I.shape
    count = -(-T // given.every) if given.for_backward else 0
    shapes = (B, T, H), (B, H), (B, H * has_y), (B, H), (B, max(0, given.span - 1), H)
    kept = (2 + has_y + has_q, B, count, H), (B, T * (given.span > 0), H), (B, T * recurrent, H)
    return tuple(I.new_empty(shape) for shape in (*shapes, (B, H * has_q), *kept))


def _run(made, *inputs):
    given, run = _Inputs(*inputs), _steps(made, *inputs)
    if given.V is None:
        return run(0, given.I.shape[1])
    forth(run, given, spikes=made[0], s=made[3], z=made[7], line=made[4], current=made[8])


def _steps(made, *inputs):
    """What runs the steps from one to another, on the state (with V, the current) in ``made``."""
    given = _Inputs(*inputs)
    spikes, x, y, s, _, q, kept, _, current = made
    kernels = given.kernels
    B, _, H = given.I.shape
    x.copy_(given.x), s.copy_(given.s)
    y = y.copy_(given.y) if kernels.has_y else x
    q = q.copy_(given.q) if kernels.has_q else x
    current = given.I.contiguous() if given.V is None else current
    every = given.every * given.for_backward
    fold = given.stays, given.marks, given.counts
    if given.marks is None:
        marks = torch.empty(0, 0, 0, dtype=torch.uint8)
        fold = marks, marks.clone(), torch.empty(0, 0)
    else:
        given.counts.zero_()
    kept, stays, *written = arrays(kept, *fold)
    state = (
        *arrays(current, x, y, q, s, spikes), kept[0], kept[-1], kept[1 + kernels.has_q], kept[1],
        *given.coefficients, np.float32(given.width), *given.normalisation[1:], stays,
        np.float32(given.gain), *written,
    )  # fmt: skip

    def run(start, stop, compiled=kernels.forward, way=(), more=nothing, group=1):
        steps = -(-B // group), group * (stop - start) * H, start, stop, every, *way
        run_rows(compiled, *steps, *state, scratch=more)

    return run


def _saved(made, I, *inputs):
    current = I if inputs[11] is None else made[8]
    return (current, *inputs[:17], None, inputs[18], None, *inputs[20:]), made[6:8]


def _backward(inputs, kept, gradients, needed):
    given, (kept, z) = _Inputs(*inputs), kept
    kernels, V, each = given.kernels, given.V, not given.numbers
    current = given.I.contiguous()
    B, T, H = current.shape
    d_spikes, d_x, d_y, d_s, d_line, d_q = gradients
    places = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    if isinstance(d_spikes, Scattered):  # at the places that are WANTED
        places = arrays(*d_spikes.places, d_spikes.found)
        d_spikes = current.new_empty(0, 0, 0) if V is None else d_spikes.dense().mul_(given.gain)
    elif d_spikes is not None and V is not None and given.marks is not None:
        d_spikes = d_spikes * (given.marks & WANTED != 0) * given.gain
    d_spikes = _own(None, current) if d_spikes is None else d_spikes.contiguous()
    d_I, d_x, d_s = torch.empty_like(current), _own(d_x, given.x), _own(d_s, given.x)
    # As in the forward pass, d_x and the first sum stand in for what is missing.
    d_y = _own(d_y, given.x) if kernels.has_y else d_x
    by_jump = _own(d_q if kernels.has_q else None, d_x) if kernels.jumps or kernels.has_q else d_x
    number = 1 + 2 * kernels.has_y + kernels.jumps
    sums = apart(number + 3 * each, B, H)
    by_coefficient = [*sums[:number].numpy(), *[sums[0].numpy()] * (4 - number)]
    by_limit = sums[number:].numpy() if each else [sums[0].numpy()] * 3
    to_I, past, *others = arrays(d_I, kept, d_x, d_y, d_s, by_jump)
    before = past[0], past[-1], past[1 + kernels.has_q]
    arguments = to_I, *before, *others, *by_coefficient, *by_limit, *given.coefficients
    marks = given.marks if kernels.folds else torch.empty(0, 0, 0, dtype=torch.uint8)
    steps = given.every + 1 if V is None else 2 * GROUP
    sizes = *[(steps, H)] * 3, (1, UNROLLED, H)
    by_norm = apart(2, B * kernels.folds, H)

    def run(start, stop, compiled=kernels.backward, way=(), more=nothing, group=1, pulled=d_spikes):
        run_rows(
            compiled, -(-B // group), group * (stop - start) * H, start, stop, given.every, *way,
            *arrays(current, pulled), *arguments, np.float32(given.width), *arrays(marks),
            *places, np.float32(given.gain), *given.normalisation, *by_norm.numpy(),
            scratch=lambda n: (*(room(n, *size) for size in sizes), *more(n)),
        )  # fmt: skip

    by_way = None, None, None, None, None
    if V is None:
        run(0, T)
    else:
        by_V, by_way = back(run, given, kept[1], z, d_I, d_spikes, d_line, needed[11:17])
        d_s = by_V + d_s
    d_s = d_s + by_jump if kernels.jumps else d_s
    by_neuron = sums.sum(dim=1)
    by_coefficient = [*by_neuron[:number].unbind(), *[None] * (4 - number)]
    by_coefficient = [
        x if c is not None else None for x, c in zip(by_coefficient, inputs[1:5], strict=True)
    ]
    by_limit = by_neuron[number:] if each else [None] * 3
    d_y, d_q = d_y if kernels.has_y else None, by_jump if kernels.has_q else None
    by_fold = [None] * 7
    if given.rate is not None:
        d_I, *by_fold[5:] = pull_back(current, given.mean, given.rate, given.weight, by_norm, d_I)
    return d_I, *by_coefficient, None, *by_limit, d_x, d_y, d_s, *by_way, d_q, *by_fold


RECURRENCE = Differentiable(
    "cpu_recurrence",
    "Tensor I, Tensor c_0, Tensor? c_1, Tensor? c_2, Tensor? c_3, Tensor? keep, Tensor? theta, "
    "Tensor? reset, Tensor? scale, Tensor x, Tensor? y, Tensor s, Tensor? V, Tensor? mask, "
    "Tensor? taps, Tensor? first, Tensor? line, Tensor? q, Tensor? stays, Tensor? marks, "
    "Tensor? counts, Tensor? mean, Tensor? rate, Tensor? weight, "
    "Tensor? shift, float gain, int span, bool in_order, float[] numbers, str kind, "
    "str surrogate, float width, bool for_backward",
    results=6, made=9, kept=2, allocate=_allocate, run=_run, saved=_saved, backward=_backward,
)  # fmt: skip


def _own(x: Tensor | None, like: Tensor | None = None) -> Tensor:
    """A dense copy that a kernel may write to; zeros ``like`` another if there is nothing."""
    if x is None:
        return torch.zeros_like(like, memory_format=torch.contiguous_format)
    return x.clone(memory_format=torch.contiguous_format)


def _way(V, q: Tensor | None, fold: Fold | None) -> tuple:
    """What ``_Inputs`` has of V, q and a ``Fold``."""
    fold = Fold() if fold is None else fold
    norm = fold.mean, fold.rate, fold.weight, fold.shift
    folded = fold.stays, fold.marks, fold.counts, *norm, fold.gain
    return *way_of(V, q, *folded), getattr(V, "in_order", False)


def _limits(I, *limits: Tensor | float) -> tuple[list[Tensor | None], list[float]]:
    """theta, reset and scale of each neuron, and no numbers; where all are such, only them."""
    found = limits_of(I, *limits)
    return (found, []) if isinstance(found[0], Tensor) else ([None] * 3, found)


def adaptive(
    I, alpha, beta, a, b, *, theta, state, V=None, fold=None, surrogate=BOXCAR, run=RECURRENCE
):
    """See :func:`models.dynamics.adaptive`; float32 on the CPU, no second derivatives."""
    B, _, H = I.shape
    adapts = beta is not None
    coefficients = [None if x is None else expanded(x, H) for x in (alpha, beta, a, b)]
    limits, numbers = _limits(I, theta, 1.0, 1.0)
    u, w, s = (expanded(x, B, H) for x in state)
    spikes, u, new_w, s, line, _ = run(
        I, *coefficients, 1 - coefficients[0].detach(), *limits, u, w if adapts else None, s,
        *_way(V, None, fold), numbers, "adaptive" if adapts else "LIF",
        surrogate.name, surrogate.width, torch.is_grad_enabled(),
    )  # fmt: skip
    return spikes, state_of(AdaptiveState(u, new_w if adapts else state.w, s), V, line)


def resetting(
    I, alpha, beta, a, b, *, theta, state, V=None, fold=None, scales=True, hard=True,
    detached=True, symplectic=True, surrogate=BOXCAR, run=RECURRENCE,
):  # fmt: skip
    """See :func:`models.dynamics.resetting`; float32 on the CPU, no second derivatives."""
    B, _, H = I.shape
    adapts = beta is not None
    alpha, *adaptation = [None if x is None else expanded(x, H) for x in (alpha, beta, a, b)]
    keep = 1 - alpha.detach() if scales else torch.ones_like(alpha)
    limits, numbers = _limits(I, theta, 1.0, 1.0)
    u, w, s = (expanded(x, B, H) for x in state)
    if V is None and (symplectic or not adapts):
        s = s.detach()  # nothing sees it
    flags = zip(FORM, (adapts, scales, hard, detached, symplectic), strict=True)
    spikes, u, new_w, s, line, _ = run(
        I, alpha, *adaptation, keep, *limits, u, w if adapts else None, s,
        *_way(V, None, fold), numbers,
        " ".join(name for name, flag in flags if flag), surrogate.name, surrogate.width,
        torch.is_grad_enabled(),
    )  # fmt: skip
    return spikes, state_of(AdaptiveState(u, new_w if adapts else state.w, s), V, line)


def _parts(x: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part."""
    return torch.view_as_real(x.resolve_conj()).unbind(-1)


def resonate(
    I, A, reset, gain, *, scale, theta, state, reset_inside, V=None, fold=None, surrogate=BOXCAR,
    run=RECURRENCE,
):  # fmt: skip
    """See :func:`models.dynamics.resonate`; float32 on the CPU, no second derivatives."""
    B, _, H = I.shape
    limits, numbers = _limits(I, theta, reset, scale)
    u, s = (expanded(x, B, H) for x in state)
    spikes, x, y, s, line, _ = run(
        I, *_parts(expanded(A, H)), per_neuron(gain, I), None, None, *limits, *_parts(u), s,
        *_way(V, None, fold), numbers,
        "inside" if reset_inside else "outside", surrogate.name, surrogate.width,
        torch.is_grad_enabled(),
    )  # fmt: skip
    return spikes, state_of(ResonateState(torch.complex(x, y), s), V, line)


def balanced(
    I, omega, damping, *, step, decay, theta, state, V=None, fold=None, surrogate=BOXCAR,
    run=RECURRENCE,
):  # fmt: skip
    """See :func:`models.dynamics.balanced`; float32 on the CPU, no second derivatives."""
    B, _, H = I.shape
    turn, damping = (expanded(x, H) for x in (step * omega, damping))
    limits, numbers = _limits(I, theta, decay, step)
    u, v, q, s = (expanded(x, B, H) for x in state)
    s = s.detach() if V is None else s  # nothing sees it
    spikes, u, v, s, line, q = run(
        I, turn, damping, None, None, None, *limits, u, v, s, *_way(V, q, fold), numbers,
        "balanced", surrogate.name, surrogate.width, torch.is_grad_enabled(),
    )  # fmt: skip
    return spikes, state_of(BalancedState(u, v, q, s), V, line)


def _integrate(made, I, alpha, u, for_backward):
    """I [B, T, C], alpha [C], u [B, C] -> the potential after every step [B, T, C]."""
    B, T, C = I.shape
    I, alpha, u = I.contiguous(), alpha.contiguous(), u.clone(memory_format=torch.contiguous_format)
    run_rows(readout_forward, B, T * C, *arrays(I, u, *made, alpha, 1 - alpha))


def _integrate_back(inputs, kept, gradients, needed):
    I, alpha, initial = (x.contiguous() for x in inputs[:3])
    B, T, C = I.shape
    d_I, (d_u, d_alpha) = torch.empty_like(I), I.new_zeros(2, B, C)
    given = arrays(I, initial, *kept, gradients[0].contiguous())
    found = arrays(d_u, d_I, d_alpha)
    run_rows(readout_backward, B, T * C, *given, *found, *arrays(alpha, 1 - alpha))
    return d_I, d_alpha.sum(dim=0), d_u


POTENTIALS = Differentiable(
    "cpu_potentials", "Tensor I, Tensor alpha, Tensor u, bool for_backward", results=1, made=1,
    kept=1, allocate=lambda I, *_: (I.new_empty(I.shape),), run=_integrate,
    saved=lambda made, *inputs: (inputs, made), backward=_integrate_back,
)  # fmt: skip


def _sum(made, steps, for_backward):
    """[B, T, C] -> its sum over time [B, C], step by step."""
    B, T, C = steps.shape
    run_rows(readout_sum, B, T * C, *arrays(steps.contiguous(), made[0].zero_()))


SUM = Differentiable(
    "cpu_sum", "Tensor steps, bool for_backward", results=1, made=1, kept=0,
    allocate=lambda steps, _: (steps.new_empty(steps.shape[0], steps.shape[2]),), run=_sum,
    saved=lambda made, *inputs: (inputs, ()),
    backward=lambda inputs, kept, gradients, needed: (
        gradients[0][:, None].expand(inputs[0].shape),
    ),
)  # fmt: skip


def potentials(I, alpha, *, state):
    """See :func:`models.dynamics.potentials`; float32 on the CPU, no second derivatives."""
    B, _, C = I.shape
    given = expanded(alpha, C), expanded(state, B, C)
    (steps,) = POTENTIALS(I, *given, torch.is_grad_enabled())
    return steps, steps[:, -1]


def readout(I, alpha, *, state):
    """See :func:`models.dynamics.readout`; float32 on the CPU, no second derivatives."""
    steps, u = potentials(I, alpha, state=state)
    return *SUM(torch.softmax(steps, dim=2), torch.is_grad_enabled()), u
