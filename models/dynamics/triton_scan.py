# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The selective scan in fused GPU kernels, with a hand-written backward pass.

A program holds all states of a block of channels, of one batch row, and walks through all steps.
Kept for the backward pass: the inputs, and the state before every STEPS_KEPT-th step. The states of
one run of steps at a time are computed again, into memory of that size. Programs write their parts
of the gradients of B and C, which are sums over channels, side by side: what adds them up rounds
alike at every run.
"""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from models.dynamics.triton_support import launch

STEPS_KEPT = 16
LARGEST_TILE = 2048  # states of one program


@triton.jit
def _place(N, H, STATES: tl.constexpr, BLOCK: tl.constexpr):
    """Row, channels and states of this program, which there are, and where in [H, N]."""
    row = tl.program_id(0).to(tl.int64)
    d, n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, STATES)
    tile = d[:, None] * N + n[None, :]
    return row, d, n, d < H, n < N, tile, (d < H)[:, None] & (n < N)[None, :]


@triton.jit(do_not_specialize=["T", "N", "H"])
def _forward(
    x, delta, A, into, out_of, h, last, y, kept, T, N, H, KEEP: tl.constexpr, RUN: tl.constexpr,
    STATES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """All steps from h [B, H, N]; ``into`` and ``out_of`` are B and C."""
    row, d, n, some_d, some_n, tile, some = _place(N, H, STATES, BLOCK)
    decay, state = tl.load(A + tile, some, 0.0), tl.load(h + row * H * N + tile, some, 0.0)
    x, delta, y = x + row * T * H + d, delta + row * T * H + d, y + row * T * H + d
    into, out_of = into + row * T * N + n, out_of + row * T * N + n
    kept += row * tl.cdiv(T, RUN) * H * N + tile
    for t in range(T):
        if KEEP and t % RUN == 0:
            tl.store(kept + t // RUN * H * N, state, some)
        step = tl.load(delta + t * H, some_d, 0.0)
        u = step * tl.load(x + t * H, some_d, 0.0)
        b, c = tl.load(into + t * N, some_n, 0.0), tl.load(out_of + t * N, some_n, 0.0)
        state = tl.exp(step[:, None] * decay) * state + u[:, None] * b[None, :]
        tl.store(y + t * H, tl.sum(state * c[None, :], axis=1), some_d)
    tl.store(last + row * H * N + tile, state, some)


@triton.jit(do_not_specialize=["rows", "T", "N", "H"])
def _backward(
    x, delta, A, into, out_of, kept, before, d_y, d_h, d_x, d_delta, d_A, d_into, d_out_of,
    rows, T, N, H, RUN: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """d_h [B, H, N] is read and then written; ``before`` [B, STEPS_KEPT, H, N] is working memory.

    d_A is [B, H, N]; d_into and d_out_of have a part [B, T, N] for every block of channels.
    """
    row, d, n, some_d, some_n, tile, some = _place(N, H, STATES, BLOCK)
    decay, g = tl.load(A + tile, some, 0.0), tl.load(d_h + row * H * N + tile, some, 0.0)
    sum_A = tl.zeros((BLOCK, STATES), tl.float32)
    x, delta, d_y = x + row * T * H + d, delta + row * T * H + d, d_y + row * T * H + d
    d_x, d_delta = d_x + row * T * H + d, d_delta + row * T * H + d
    into, out_of = into + row * T * N + n, out_of + row * T * N + n
    part = (tl.program_id(1) * rows + row) * T * N + n
    d_into, d_out_of = d_into + part, d_out_of + part
    runs = tl.cdiv(T, RUN)
    kept, before = (
        kept + row * runs * H * N + tile,
        before + row * tl.minimum(T, RUN) * H * N + tile,
    )
    for done in range(runs):
        first = (runs - 1 - done) * RUN
        steps = tl.minimum(T - first, RUN)
        state = tl.load(kept + first // RUN * H * N, some, 0.0)
        for k in range(steps):
            t = first + k
            tl.store(before + k * H * N, state, some)
            step = tl.load(delta + t * H, some_d, 0.0)
            u = step * tl.load(x + t * H, some_d, 0.0)
            b = tl.load(into + t * N, some_n, 0.0)
            state = tl.exp(step[:, None] * decay) * state + u[:, None] * b[None, :]
        tl.debug_barrier()  # what one thread has stored another may load
        for later in range(steps):
            k = steps - 1 - later
            t = first + k
            old = tl.load(before + k * H * N, some, 0.0)
            step, x_t = tl.load(delta + t * H, some_d, 0.0), tl.load(x + t * H, some_d, 0.0)
            b, c = tl.load(into + t * N, some_n, 0.0), tl.load(out_of + t * N, some_n, 0.0)
            g_y, u = tl.load(d_y + t * H, some_d, 0.0), step * x_t
            tl.store(d_out_of + t * N, tl.sum(g_y[:, None] * state, axis=0), some_n)
            g += g_y[:, None] * c[None, :]
            of_u = tl.sum(g * b[None, :], axis=1)
            tl.store(d_into + t * N, tl.sum(g * u[:, None], axis=0), some_n)
            g *= tl.exp(step[:, None] * decay)
            of_exponent = g * old
            sum_A += of_exponent * step[:, None]
            tl.store(d_x + t * H, step * of_u, some_d)
            of_step = x_t * of_u + tl.sum(of_exponent * decay, axis=1)
            tl.store(d_delta + t * H, of_step, some_d)
            state = old
        tl.debug_barrier()
    tl.store(d_h + row * H * N + tile, g, some)
    tl.store(d_A + row * H * N + tile, sum_A, some)


class _Scan(torch.autograd.Function):
    """x, delta [B, T, H], A [H, N], B, C [B, T, N], h [B, H, N]."""

    @staticmethod
    def forward(ctx, x, delta, A, B, C, h, for_backward):
        ctx.set_materialize_grads(False)
        inputs = tuple(tensor.contiguous() for tensor in (x, delta, A, B, C))
        (rows, T, H), N = x.shape, A.shape[1]
        y, last = x.new_empty(rows, T, H), h.new_empty(rows, H, N)
        kept = x.new_empty(rows, -(-T // STEPS_KEPT), H, N) if for_backward else last
        launch(
            _forward, rows, H, *inputs, h.contiguous(), last, y, kept, T, N, KEEP=for_backward,
            **_program(H, N),
        )  # fmt: skip
        ctx.save_for_backward(*inputs, kept)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y, d_h):
        x, delta, A, B, C, kept = ctx.saved_tensors
        (rows, T, H), N = x.shape, A.shape[1]
        program = _program(H, N)
        parts = triton.cdiv(H, program["block"])
        d_y = torch.zeros_like(x) if d_y is None else d_y.contiguous()
        d_h = torch.zeros_like(kept[:, 0]) if d_h is None else d_h.clone(memory_format=_DENSE)
        d_x, d_delta, d_A = torch.empty_like(x), torch.empty_like(x), torch.empty_like(d_h)
        d_B, d_C = x.new_empty(2, parts, rows, T, N)
        before = x.new_empty(rows, min(T, STEPS_KEPT), H, N)
        launch(
            _backward, rows, H, x, delta, A, B, C, kept, before, d_y, d_h, d_x, d_delta, d_A,
            d_B, d_C, rows, T, N, **program,
        )  # fmt: skip
        return d_x, d_delta, d_A.sum(dim=0), d_B.sum(dim=0), d_C.sum(dim=0), d_h, None


_DENSE = torch.contiguous_format


def _program(channels: int, states: int) -> dict[str, int]:
    """The size of a program."""
    padded = triton.next_power_of_2(states)
    block = min(triton.next_power_of_2(channels), max(1, LARGEST_TILE // padded))
    return {
        "block": block,
        "warps": max(1, min(8, block * padded // 256)),
        "STATES": padded,
        "RUN": STEPS_KEPT,
    }


def selective_scan(x, delta, A, B, C, *, state):
    """See :func:`models.dynamics.selective_scan`; float32 on a GPU, no second derivatives."""
    return _Scan.apply(x, delta, A, B, C, state, torch.is_grad_enabled())
