# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""All recurrences in compiled CPU kernels, with hand-written backward passes.

With recurrent weights each step is a matrix product and one call of the kernels, and the state
before every step is kept.

Complex numbers are pairs of reals here, multiplied as PyTorch multiplies them:
``(a c - b d) + i (a d + b c)``, each product rounded.

The readout surrounds PyTorch's softmax over all steps at once. Both of its loops over time round as
the specification does: scores and the gradient of the input equal those of ``naive`` to the last
bit. Kept for its backward pass: the input, the potentials and their softmax, each [B, T, C].
"""

from functools import cache, partial

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from models.dynamics.naive import AdaptiveState, ResonateState, per_neuron
from models.dynamics.numba_support import (
    ONE,
    STEPS_KEPT,
    ZERO,
    Kernels,
    arrays,
    derivative,
    inlined,
    kernel,
    make_kernels,
    run_rows,
)
from models.surrogate import BOXCAR


@cache
def adaptive_kernels(adapts: bool, surrogate: str, learns: bool) -> Kernels:
    """Those of neurons with or without adaptation; ``keep`` is 1 - alpha, reset and scale are 1."""
    window = derivative(surrogate)

    @inlined
    def step(current, u, w, s, alpha, beta, a, b, keep, theta, reset, scale):
        """One neuron, one step, in the operation order of the specification."""
        if adapts:
            w = beta * w + a * u + b * s
            current = current - w
        u = alpha * (u - s) + keep * current
        s = ONE if u - theta > ZERO else ZERO
        return u, w, s

    @inlined
    def adjoint(
        d_s, d_u, d_w, current, u, w, s, new_u, new_w, alpha, beta, a, b, keep, theta, reset, scale,
        width,
    ):  # fmt: skip
        """Gradients of one step; that of s by way of the reset, and of the adaptation."""
        drive = d_s * window(new_u - theta, width)
        d_u = d_u + drive
        d_current = keep * d_u
        decayed = alpha * d_u
        if adapts:
            d_alpha = d_u * ((u - s) - (current - new_w))
            d_w = d_w - d_current
            return (
                d_current, d_alpha, d_w * w, d_w * u, d_w * s, -drive, ZERO, ZERO,
                decayed + a * d_w, beta * d_w, -decayed, b * d_w,
            )  # fmt: skip
        d_alpha = d_u * ((u - s) - current)
        return (
            d_current, d_alpha, ZERO, ZERO, ZERO, -drive, ZERO, ZERO, decayed, d_w, -decayed, ZERO,
        )  # fmt: skip

    return make_kernels(step, adjoint, has_y=adapts, jumps=adapts, learns=learns)


@cache
def resonate_kernels(reset_inside: bool, surrogate: str, learns: bool) -> Kernels:
    """Those with the reset inside (C-SiLIF) or outside (RF) of A."""
    window = derivative(surrogate)

    @inlined
    def step(I, x, y, s, A, B, gain, _0, _1, theta, reset, scale):
        """One neuron u = x + iy with A + iB, one step in the order of the specification."""
        if reset_inside:
            x = x - reset * s
            x, y = (A * x - B * y) + gain * I, A * y + B * x
        else:
            drift_x, drift_y = (A * x - B * y) + I, A * y + B * x
            x, y = (x + gain * drift_x) - reset * s, y + gain * drift_y
        s = ONE if scale * x - theta > ZERO else ZERO
        return x, y, s

    @inlined
    def adjoint(
        d_s, d_x, d_y, I, x, y, s, new_x, new_y, A, B, gain, _0, _1, theta, reset, scale, width
    ):
        """Gradients of one step: of I, the coefficients, and of the state before it."""
        drive = d_s * window(scale * new_x - theta, width)
        d_x, d_scale = d_x + scale * drive, drive * new_x
        if reset_inside:
            x = x - reset * s
            d_A, d_B, d_gain = d_x * x + d_y * y, d_y * x - d_x * y, d_x * I
            d_I = gain * d_x
            d_x, d_y = A * d_x + B * d_y, A * d_y - B * d_x
            d_s, d_reset = -reset * d_x, -s * d_x
            return (
                d_I, d_A, d_B, d_gain, ZERO, -drive, d_reset, d_scale, d_x, d_y, d_s, ZERO,
            )  # fmt: skip
        d_gain = d_x * ((A * x - B * y) + I) + d_y * (A * y + B * x)
        drift_x, drift_y = gain * d_x, gain * d_y
        d_A, d_B = drift_x * x + drift_y * y, drift_y * x - drift_x * y
        d_s, d_reset = -reset * d_x, -s * d_x
        d_x, d_y = d_x + (A * drift_x + B * drift_y), d_y + (A * drift_y - B * drift_x)
        return (
            drift_x, d_A, d_B, d_gain, ZERO, -drive, d_reset, d_scale, d_x, d_y, d_s, ZERO,
        )  # fmt: skip

    return make_kernels(step, adjoint, has_y=True, jumps=False, learns=learns)


class _Recurrence(torch.autograd.Function):
    """I [B, T, H], coefficients [H], state x, y, s [B, H] and recurrent weights V [H, H] or None.

    Coefficients and a y that the kernels do not have are None, as are a reset and a scale of 1;
    ``keep`` follows from c_0 and gets no gradient. ``kernels`` is a function of whether theta,
    reset or scale need one.
    """

    @staticmethod
    def forward(
        ctx, I, c_0, c_1, c_2, c_3, keep, theta, reset, scale, x, y, s, V, kernels, width,
        for_backward,
    ):  # fmt: skip
        B, T, H = I.shape
        I = I.contiguous()
        # c_0 and x stand in for what is missing, and are never read in its place.
        given = (c_0, c_1, c_2, c_3, keep, theta, reset, scale)
        coefficients = [(c_0 if c is None else c).contiguous() for c in given]
        used = kernels(False)
        x, y, s = _own(x), _own(x if y is None else y), _own(s)
        spikes = torch.empty_like(I)
        every = 0 if not for_backward else STEPS_KEPT if V is None else 1
        count = -(-T // every) if every else 0
        kept = I.new_empty(2 + used.has_y, B, count, H)  # of x, s and y, or s instead
        current = I if V is None else torch.empty_like(I)
        arguments = arrays(current, x, y, s, spikes, kept[0], kept[-1], kept[1], *coefficients)

        def run(start, stop):
            run_rows(used.forward, B, (stop - start) * H, start, stop, every, *arguments)

        if V is None:
            run(0, T)
        else:
            recurrent = torch.empty_like(x)
            for t in range(T):  # the same product as the specification's, so that it rounds alike
                torch.mm(s, V, out=recurrent)
                torch.add(I[:, t], recurrent, out=current[:, t])
                run(t, t + 1)
        if for_backward:
            ctx.save_for_backward(current, *coefficients, kept, V)
            ctx.kernels, ctx.every, ctx.width = kernels, every, np.float32(width)
        return spikes, x, y if used.has_y else None, s

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, d_x, d_y, d_s):
        current, *coefficients, kept, V = ctx.saved_tensors
        learns = ctx.needs_input_grad[6:9]
        kernels, (B, T, H) = ctx.kernels(any(learns)), current.shape
        d_spikes = d_spikes.contiguous() if V is None else _own(d_spikes)
        d_I, d_x, d_s = torch.empty_like(current), _own(d_x), _own(d_s)
        # As in the forward pass, d_x and the first sum stand in for what is missing.
        d_y = _own(d_y) if kernels.has_y else d_x
        by_jump = torch.zeros_like(d_x) if kernels.jumps else d_x
        number = 1 + 2 * kernels.has_y + kernels.jumps
        sums = d_x.new_zeros(number + 3 * any(learns), B, H)
        by_coefficient = [*sums[:number], *sums[:1].expand(4 - number, B, H)]
        by_limit = sums[number:] if any(learns) else sums[:1].expand(3, B, H)
        arguments = arrays(
            current, d_spikes, d_I, kept[0], kept[-1], kept[1], d_x, d_y, d_s, by_jump,
            *by_coefficient, *by_limit, *coefficients,
        )  # fmt: skip

        def run(start, stop):
            run_rows(
                kernels.backward, B, (stop - start) * H, start, stop, ctx.every, *arguments,
                ctx.width,
                scratch=lambda: tuple(np.empty((3, ctx.every + 1, H), np.float32)),
            )  # fmt: skip

        d_V = None
        if V is None:
            run(0, T)
        else:
            for t in reversed(range(T)):
                run(t, t + 1)
                by_V = torch.mm(d_I[:, t].contiguous(), V.T)
                if t > 0:
                    d_spikes[:, t - 1] += by_V
            if ctx.needs_input_grad[12]:
                d_V = kept[1].flatten(0, 1).T @ d_I.flatten(0, 1)
            d_s = by_V + d_s
        d_s = d_s + by_jump if kernels.jumps else d_s
        by_neuron = sums.sum(dim=1)
        by_coefficient = [*by_neuron[:number], *[None] * (4 - number)]
        by_limit = [by_neuron[number + i] if needed else None for i, needed in enumerate(learns)]
        d_y = d_y if kernels.has_y else None
        return d_I, *by_coefficient, None, *by_limit, d_x, d_y, d_s, d_V, None, None, None


def _own(x: torch.Tensor) -> torch.Tensor:
    """A dense copy that a kernel may write to."""
    return x.clone(memory_format=torch.contiguous_format)


def adaptive(I, alpha, beta, a, b, *, theta, state, V=None, surrogate=BOXCAR):
    """See :func:`models.dynamics.adaptive`; float32 on the CPU, no second derivatives."""
    B, _, H = I.shape
    adapts = beta is not None
    coefficients = [None if x is None else x.expand(H) for x in (alpha, beta, a, b)]
    u, w, s = (x.expand(B, H) for x in state)
    spikes, u, new_w, s = _Recurrence.apply(
        I, *coefficients, 1 - coefficients[0].detach(), per_neuron(theta, I), None, None,
        u, w if adapts else None, s, V, partial(adaptive_kernels, adapts, surrogate.name),
        surrogate.width, torch.is_grad_enabled(),
    )  # fmt: skip
    return spikes, AdaptiveState(u, new_w if adapts else state.w, s)


def _parts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Real and imaginary part."""
    return torch.view_as_real(x.resolve_conj()).unbind(-1)


def resonate(I, A, reset, gain, *, scale, theta, state, reset_inside, surrogate=BOXCAR):
    """See :func:`models.dynamics.resonate`; float32 on the CPU, no second derivatives."""
    B, _, H = I.shape
    gain, theta, reset, scale = (per_neuron(x, I) for x in (gain, theta, reset, scale))
    u, s = (x.expand(B, H) for x in state)
    spikes, x, y, s = _Recurrence.apply(
        I, *_parts(A.expand(H)), gain, None, None, theta, reset, scale, *_parts(u), s, None,
        partial(resonate_kernels, reset_inside, surrogate.name), surrogate.width,
        torch.is_grad_enabled(),
    )  # fmt: skip
    return spikes, ResonateState(torch.complex(x, y), s)


@kernel
def readout_forward(first, end, I, u, potentials, alpha, keep):
    for row in range(first, end):
        for t in range(I.shape[1]):
            for j in range(I.shape[2]):
                u[row, j] = alpha[j] * u[row, j] + keep[j] * I[row, t, j]
                potentials[row, t, j] = u[row, j]


@kernel
def readout_sum(first, end, steps, total):
    for row in range(first, end):
        for t in range(steps.shape[1]):
            for j in range(steps.shape[2]):
                total[row, j] += steps[row, t, j]


@kernel
def readout_backward(
    first, end, I, initial, potentials, d_potentials, d_u, d_I, d_alpha, alpha, keep
):  # fmt: skip
    for row in range(first, end):
        for t in range(I.shape[1] - 1, -1, -1):
            before = potentials[row, t - 1] if t > 0 else initial[row]
            for j in range(I.shape[2]):
                g = d_u[row, j] + d_potentials[row, t, j]
                d_I[row, t, j] = keep[j] * g
                d_alpha[row, j] += g * (before[j] - I[row, t, j])
                d_u[row, j] = alpha[j] * g


class _Potentials(torch.autograd.Function):
    """I [B, T, C], alpha [C], u [B, C] -> the potential after every step [B, T, C]."""

    @staticmethod
    def forward(ctx, I, alpha, u):
        B, T, C = I.shape
        I, alpha, initial = I.contiguous(), alpha.contiguous(), u.contiguous()
        u, potentials = initial.clone(), torch.empty_like(I)
        arguments = arrays(I, u, potentials, alpha, 1 - alpha)
        run_rows(readout_forward, B, T * C, *arguments)
        ctx.save_for_backward(I, alpha, initial, potentials)
        return potentials

    @staticmethod
    @once_differentiable
    def backward(ctx, d_potentials):
        I, alpha, initial, potentials = ctx.saved_tensors
        B, T, C = I.shape
        d_I, (d_u, d_alpha) = torch.empty_like(I), I.new_zeros(2, B, C)
        d_potentials = d_potentials.contiguous()
        given = arrays(I, initial, potentials, d_potentials)
        found = arrays(d_u, d_I, d_alpha)
        run_rows(readout_backward, B, T * C, *given, *found, *arrays(alpha, 1 - alpha))
        return d_I, d_alpha.sum(dim=0), d_u


class _Sum(torch.autograd.Function):
    """[B, T, C] -> its sum over time [B, C], step by step."""

    @staticmethod
    def forward(ctx, steps):
        B, T, C = ctx.shape = steps.shape
        total = steps.new_zeros(B, C)
        run_rows(readout_sum, B, T * C, *arrays(steps.contiguous(), total))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, d_total):
        return d_total[:, None].expand(ctx.shape)


def potentials(I, alpha, *, state):
    """See :func:`models.dynamics.potentials`; float32 on the CPU, no second derivatives."""
    B, _, C = I.shape
    steps = _Potentials.apply(I, alpha.expand(C), state.expand(B, C))
    return steps, steps[:, -1]


def readout(I, alpha, *, state):
    """See :func:`models.dynamics.readout`; float32 on the CPU, no second derivatives."""
    steps, u = potentials(I, alpha, state=state)
    return _Sum.apply(torch.softmax(steps, dim=2)), u
