# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The selective scan in compiled CPU kernels, with a hand-written backward pass.

The N states of a channel are independent of each other, so each is scanned over a run of
STEPS_KEPT steps by itself, all channels at once: one row of it, and the rows of its inputs, stay in
the L1 cache. Kept for the backward pass: the inputs, and the state before every run, from which
those between are computed again.

Nothing here ends in a threshold, so sums over channels may be taken in another order, and a product
and a sum contracted, as the specification's last digits do not matter.
"""

import math

import numpy as np
import torch
from torch import Tensor

from models.dynamics.backends import Differentiable
from models.dynamics.numba_kept import inlined, summing_kernel
from models.dynamics.numba_support import ONE, STEPS_KEPT, ZERO, F, arrays, room, run_rows

_LN_2 = F(np.log(2))
_LOWEST = F(-126)  # exponent of the smallest float32 that is stored with all its digits
# Coefficients of (2^f - 1) / f: 2^f for |f| <= 1/2, to 1e-7. Exact at 0, where slow states decay.
_C = 0.693147004, 0.240222424, 0.0555073395, 0.00967151485, 0.00132647005
_C_0, _C_1, _C_2, _C_3, _C_4 = map(F, _C)


@inlined
def power_of_2(x):
    """2^x for x <= 0, of which a compiler makes vector instructions."""
    x = max(x, _LOWEST)
    whole = np.int32(x - F(0.5))  # the nearest, as numbers below 0 are cut towards it
    f = x - F(whole)
    p = ONE + f * (_C_0 + f * (_C_1 + f * (_C_2 + f * (_C_3 + f * _C_4))))
    return np.int32(np.float32(p).view(np.int32) + (whole << np.int32(23))).view(np.float32)


@summing_kernel
def forward(first, end, keeps, x, delta, A, B, C, h, y, kept, u):
    """Outputs y [B, T, D] and the state h [B, N, D], written in place; A [N, D] is of base 2."""
    for row in range(first, end):
        for start in range(0, x.shape[1], STEPS_KEPT):
            stop = min(start + STEPS_KEPT, x.shape[1])
            for t in range(start, stop):
                for d in range(x.shape[2]):
                    u[t - start, d] = delta[row, t, d] * x[row, t, d]
                    y[row, t, d] = ZERO
            for n in range(A.shape[0]):
                if keeps:
                    for d in range(x.shape[2]):
                        kept[row, start // STEPS_KEPT, n, d] = h[row, n, d]
                for t in range(start, stop):
                    b, c = B[row, t, n], C[row, t, n]
                    for d in range(x.shape[2]):
                        a = power_of_2(delta[row, t, d] * A[n, d])
                        h[row, n, d] = a * h[row, n, d] + b * u[t - start, d]
                        y[row, t, d] += c * h[row, n, d]


@summing_kernel
def backward(
    first, end, x, delta, A, B, C, kept, d_y, d_h, d_x, d_delta, d_A, d_B, d_C, u, by_u, by_a, H, a
):  # fmt: skip
    """Gradients; d_h [B, N, D] goes back in time in place, and to d_A [B, N, D] is added."""
    for row in range(first, end):
        for run in range(kept.shape[1] - 1, -1, -1):
            start = run * STEPS_KEPT
            stop = min(start + STEPS_KEPT, x.shape[1])
            for t in range(start, stop):
                for d in range(x.shape[2]):
                    u[t - start, d] = delta[row, t, d] * x[row, t, d]
                    by_u[t - start, d], by_a[t - start, d] = ZERO, ZERO
            for n in range(A.shape[0]):
                for d in range(x.shape[2]):
                    H[0, d] = kept[row, run, n, d]
                for t in range(start, stop):
                    k, b = t - start, B[row, t, n]
                    for d in range(x.shape[2]):
                        a[k, d] = power_of_2(delta[row, t, d] * A[n, d])
                        H[k + 1, d] = a[k, d] * H[k, d] + b * u[k, d]
                for t in range(stop - 1, start - 1, -1):
                    k, b, c, of_b, of_c = t - start, B[row, t, n], C[row, t, n], ZERO, ZERO
                    for d in range(x.shape[2]):
                        of_c += d_y[row, t, d] * H[k + 1, d]
                        g = d_h[row, n, d] + c * d_y[row, t, d]
                        of_b += g * u[k, d]
                        by_u[k, d] += g * b
                        d_h[row, n, d] = g * a[k, d]
                        of_exponent = d_h[row, n, d] * H[k, d]
                        by_a[k, d] += of_exponent * A[n, d]
                        d_A[row, n, d] += of_exponent * delta[row, t, d]
                    d_B[row, t, n], d_C[row, t, n] = of_b, of_c
            for t in range(start, stop):
                k = t - start
                for d in range(x.shape[2]):
                    d_x[row, t, d] = delta[row, t, d] * by_u[k, d]
                    d_delta[row, t, d] = x[row, t, d] * by_u[k, d] + _LN_2 * by_a[k, d]


def _allocate(x, delta, A, B, C, h, for_backward):
    """y, the state after the last step, and those before every run."""
    (rows, T, D), N = x.shape, A.shape[1]
    runs = -(-T // STEPS_KEPT) if for_backward else 0
    return tuple(x.new_empty(shape) for shape in ((rows, T, D), (rows, D, N), (rows, runs, N, D)))


def _dense(x, delta, A, B, C) -> tuple[np.ndarray, ...]:
    """The same as kernels read them: A [N, D], to base 2."""
    given = x, delta, A.detach().T / math.log(2), B, C
    return arrays(*(tensor.contiguous() for tensor in given))


def _by_state(x: Tensor) -> Tensor:
    """A dense [B, N, D] of ``x`` [B, D, N], for a kernel to write to."""
    return x.detach().mT.clone(memory_format=torch.contiguous_format)


def _run(made, x, delta, A, B, C, h, for_backward):
    (y, last, kept), h, (rows, T, D) = made, _by_state(h), x.shape
    given = *_dense(x, delta, A, B, C), *arrays(h, y, kept)
    run_rows(
        forward, rows, T * A.numel(), for_backward, *given,
        scratch=lambda n: (room(n, STEPS_KEPT, D),),
    )  # fmt: skip
    last.copy_(h.mT)


def _backward(inputs, kept, gradients, needed):
    (x, delta, A, B, C, h, _), (d_y, d_h) = inputs, gradients
    rows, T, D = x.shape
    d_y = torch.zeros_like(x) if d_y is None else d_y
    d_h = _by_state(torch.zeros_like(h) if d_h is None else d_h)
    d_x, d_delta, d_B, d_C = (torch.empty(z.shape) for z in (x, delta, B, C))
    d_A = torch.zeros_like(d_h)
    found = arrays(d_y.contiguous(), d_h, d_x, d_delta, d_A, d_B, d_C)
    run_rows(
        backward, rows, T * A.numel(), *_dense(x, delta, A, B, C), *arrays(*kept), *found,
        scratch=lambda n: tuple(room(n, STEPS_KEPT + 1, D) for _ in range(5)),
    )  # fmt: skip
    return d_x, d_delta, d_A.sum(dim=0).T, d_B, d_C, d_h.mT


SCAN = Differentiable(
    "cpu_scan",
    "Tensor x, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor h, bool for_backward",
    results=2, made=3, kept=1, allocate=_allocate, run=_run,
    saved=lambda made, *inputs: (inputs, made[2:]), backward=_backward,
)  # fmt: skip


def selective_scan(x, delta, A, B, C, *, state):
    """See :func:`models.dynamics.selective_scan`; float32 on the CPU, no second derivatives."""
    return SCAN(x, delta, A, B, C, state, torch.is_grad_enabled())
