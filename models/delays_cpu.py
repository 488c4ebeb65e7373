# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Compiled CPU kernels for delays: filters over time, and shifts by whole steps.

A filter takes LANES features at a time, whose steps and taps stay in the nearest cache, and gives
four steps at once by eight taps at once. In the backward pass the gradient of a position is a sum
over time of the input and of a second filter of the gradient, by the derivatives of the taps;
nothing is kept for it but the input. Where few entries of the input are not zero, each of them adds
the taps of its feature to what comes out, and the gradient of a position is taken at these alone.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.dynamics.cpu_around import note_sums
from models.dynamics.numba_kept import contracting_kernel, kernel
from models.dynamics.numba_support import LOOKS, ZERO, arrays, room, run_rows
from models.events_cpu import NARROWEST, Events, find_events, write_events
from models.gaussians import gaussian, slopes
from models.linear_cpu import by_weights, multiplied

DENSEST = 0.2  # share of what comes out of a filter, above which it is multiplied as it is
SLIGHT = 1e-7  # weights of taps below change no product: together they are less than its rounding
LANES, STEPS, TAPS = 128, 4, 8
NEURONS = 64  # whose currents at the steps of a clip stay in the nearest cache


@contracting_kernel
def add_taps(out, g, m, v, t):
    """out_i += sum of g_{m+k} v_{t+i+k} over TAPS k, for STEPS i."""
    for j in range(LANES):
        g0, g1, g2, g3 = g[m, j], g[m + 1, j], g[m + 2, j], g[m + 3, j]
        g4, g5, g6, g7 = g[m + 4, j], g[m + 5, j], g[m + 6, j], g[m + 7, j]
        v3, v4, v5, v6 = v[t + 3, j], v[t + 4, j], v[t + 5, j], v[t + 6, j]
        v0, v1, v2, v7 = v[t, j], v[t + 1, j], v[t + 2, j], v[t + 7, j]
        v8, v9, v10 = v[t + 8, j], v[t + 9, j], v[t + 10, j]
        a = out[0, j] + g0 * v0 + g1 * v1 + g2 * v2 + g3 * v3
        b = out[1, j] + g0 * v1 + g1 * v2 + g2 * v3 + g3 * v4
        c = out[2, j] + g0 * v2 + g1 * v3 + g2 * v4 + g3 * v5
        d = out[3, j] + g0 * v3 + g1 * v4 + g2 * v5 + g3 * v6
        out[0, j] = a + g4 * v4 + g5 * v5 + g6 * v6 + g7 * v7
        out[1, j] = b + g4 * v5 + g5 * v6 + g6 * v7 + g7 * v8
        out[2, j] = c + g4 * v6 + g5 * v7 + g6 * v8 + g7 * v9
        out[3, j] = d + g4 * v7 + g5 * v8 + g6 * v9 + g7 * v10


@kernel
def load_block(x, f, lanes, lead, v):
    """Take ``lanes`` features of a clip x [T, F] from f on to the steps of v from ``lead`` on."""
    for t in range(len(x)):
        given, to = x[t, f : f + lanes], v[lead + t]
        for j in range(given.size):
            to[j] = given[j]


def _filter(in_place: bool):
    @kernel
    def filter_rows(first, end, x, g, lead, y, v, out):
        """Rows first to end of y_t = sum_k g_k x_{t-lead+k}: x, y [B, T, F], g [blocks, taps,
        LANES]. In place, y takes the memory of x, and nothing is written to its own.

        ``v`` [T + room, LANES] is 0 but for the steps of a block, which begin at ``lead``; ``out``
        [STEPS, LANES].
        """
        T, size = x.shape[1:]
        result = x if in_place else y
        for row in range(first, end):
            for block in range(len(g)):
                f = block * LANES
                lanes = min(LANES, size - f)
                load_block(x[row], f, lanes, lead, v)
                for t in range(0, T, STEPS):
                    for i in range(STEPS):
                        for j in range(LANES):
                            out[i, j] = 0
                    for m in range(0, g.shape[1], TAPS):
                        add_taps(out, g[block], m, v, t + m)
                    for i in range(min(STEPS, T - t)):
                        made, to = out[i], result[row, t + i, f : f + lanes]
                        for j in range(to.size):
                            to[j] = made[j]

    return filter_rows


filter_rows, filter_in_place = _filter(False), _filter(True)


@kernel
def pull_back(first, end, x, g, slope, d_y, d_x, d_P, v, out, by):
    """Gradients of x, unless ``d_x`` is empty, and of the positions, d_P [B, F], by the rows.

    ``g`` and ``slope`` are reversed; ``by`` is a second ``out``.
    """
    T, size = x.shape[1:]
    for row in range(first, end):
        d_P[row, :] = 0
        for block in range(len(slope)):
            f = block * LANES
            lanes = min(LANES, size - f)
            total = d_P[row, f : f + lanes]
            load_block(d_y[row], f, lanes, 0, v)
            for t in range(0, T, STEPS):
                for i in range(STEPS):
                    for j in range(LANES):
                        out[i, j] = 0
                        by[i, j] = 0
                for m in range(0, slope.shape[1], TAPS):
                    if len(d_x) > 0:
                        add_taps(out, g[block], m, v, t + m)
                    add_taps(by, slope[block], m, v, t + m)
                for i in range(min(STEPS, T - t)):
                    seen, weight = x[row, t + i, f : f + lanes], by[i]
                    for j in range(total.size):
                        total[j] += seen[j] * weight[j]
                    if len(d_x) > 0:
                        made, to = out[i], d_x[row, t + i, f : f + lanes]
                        for j in range(to.size):
                            to[j] = made[j]


@kernel
def shift_rows(first, end, x, delay, y):
    """Rows first to end of y_t = x_{t - delay}, y being 0 before: x, y [B, T, F], delay [F]."""
    T = x.shape[1]
    for row in range(first, end):
        for t in range(T):
            now = x[row, t]
            for j in range(now.size):
                if now[j] != 0 and t + delay[j] < T:
                    y[row, t + delay[j], j] = now[j]


@kernel
def scatter_clip(row, starts, columns, values, g, lag, y):
    """y [T, F] of a clip: an event adds tap i of g [F, W] ``lag - i`` steps later."""
    T = len(y)
    y[:] = 0
    for t in range(T):
        for event in range(starts[row * T + t], starts[row * T + t + 1]):
            f, value = columns[event], values[event]
            taps, due = g[f], t + lag[f]
            for i in range(taps.size):
                if due - i < T:
                    y[due - i, f] += value * taps[i]


@kernel
def scatter_taps(first, end, starts, columns, values, g, lag, y):
    """Clips first to end of y [B, T, F]."""
    for row in range(first, end):
        scatter_clip(row, starts, columns, values, g, lag, y[row])


@kernel
def delay_events(
    first, end, starts, columns, values, g, lag, begins, y_columns, y_values, counts, y, marks
):  # fmt: skip
    """What ``scatter_taps`` makes, as events of each clip from ``begins`` on, and their number in
    each row; ``y`` [T, F] and ``marks`` are scratch."""
    T = len(y)
    for row in range(first, end):
        scatter_clip(row, starts, columns, values, g, lag, y)
        place = begins[row]
        for t in range(T):
            end_of_row = write_events(y[t], marks, place, y_columns, y_values)
            counts[row * T + t], place = end_of_row - place, end_of_row


@kernel
def join_clips(first, end, begins, starts, columns, values, to_columns, to_values):
    """Move the events of clips first to end from ``begins`` to ``starts`` [B + 1]."""
    for row in range(first, end):
        begin, to, until = begins[row], starts[row], starts[row + 1]
        end_of_row = begin + until - to
        to_columns[to:until] = columns[begin:end_of_row]
        to_values[to:until] = values[begin:end_of_row]


@kernel
def pull_positions(first, end, starts, columns, values, slope, lag, d_y, d_P):
    """Gradients d_P [B, F] of the positions by rows first to end, at the events alone."""
    T = d_y.shape[1]
    for row in range(first, end):
        d_P[row, :] = 0
        for t in range(T):
            for event in range(starts[row * T + t], starts[row * T + t + 1]):
                f, total = columns[event], ZERO
                taps, due = slope[f], t + lag[f]
                for i in range(taps.size):
                    if due - i < T:
                        total += taps[i] * d_y[row, due - i, f]
                d_P[row, f] += values[event] * total


@kernel
def count_columns(first, end, x, counts):
    """How many entries of each feature of clips first to end of x [B, T, F] are not 0."""
    for row in range(first, end):
        counts[row, :] = 0
        for t in range(x.shape[1]):
            for f in range(x.shape[2]):
                counts[row, f] += x[row, t, f] != 0


@kernel
def gather_columns(first, end, x, places, steps, values):
    """Steps and values of these entries, by clip, feature and step; they begin at ``places``."""
    for row in range(first, end):
        for t in range(x.shape[1]):
            for f in range(0, x.shape[2], 16):
                given, place = x[row, t, f : f + 16], places[row, f : f + 16]
                found = np.int32(0)
                for j in range(given.size):
                    found |= np.int32(given[j] != 0)
                for j in range(given.size if found else 0):
                    if given[j] != 0:
                        steps[place[j]], values[place[j]] = t, given[j]
                        place[j] += 1


@kernel
def split_lanes(first, end, weight, delay, weights, places):
    """Blocks first to end of weight [H, F] and of where it leads: delays times lanes, plus lane."""
    H, lanes = len(weight), NEURONS
    for block in range(first, end):
        for f in range(weight.shape[1]):
            for j in range(lanes):
                h = block * lanes + j
                weights[block, f, j] = weight[h, f] if h < H else ZERO
                places[block, f, j] = j + (delay[h, f] * lanes if h < H else 0)


@kernel
def scatter_lanes(first, end, ends, steps, values, weights, places, y, work):
    """Currents of clips first to end of y [B, T, H] of events sorted by clip, feature and step.

    An event adds the weights of a block [blocks, F, NEURONS] to ``places`` of ``work``, which begin
    at its step. Two of a feature read them once: adding in memory is what takes the time.
    """
    T, lanes, F = y.shape[1], NEURONS, weights.shape[1]
    for row in range(first, end):
        for block in range(len(weights)):
            work[:] = 0
            for f in range(F):
                i, stop = ends[row * F + f], ends[row * F + f + 1]
                given, at = weights[block, f], places[block, f]
                while i + 2 <= stop:
                    now, later = work[steps[i] * lanes :], work[steps[i + 1] * lanes :]
                    value, another = values[i], values[i + 1]
                    for j in range(lanes):
                        now[at[j]] += value * given[j]
                        later[at[j]] += another * given[j]
                    i += 2
                if i < stop:
                    now, value = work[steps[i] * lanes :], values[i]
                    for j in range(lanes):
                        now[at[j]] += value * given[j]
            for t in range(T):
                made, to = work[t * lanes :], y[row, t, block * lanes : (block + 1) * lanes]
                for j in range(to.size):
                    to[j] = made[j]


def in_blocks(g: Tensor) -> Tensor:
    """g [F, D] as blocks of LANES features [blocks, taps, LANES], 0 beyond F and D."""
    size, taps = g.shape
    padded = F.pad(g, (0, -taps % TAPS, 0, -size % LANES))
    return padded.view(-1, LANES, padded.shape[1]).transpose(1, 2).contiguous()


def working(x: Tensor, taps: int, results: int = 1):
    """Makes the working arrays of threads for x [B, T, F] and filters of so many taps."""
    rows = x.shape[1] + 2 * (taps + TAPS + STEPS)
    sizes = rows, *[STEPS] * results
    return lambda threads: tuple(room(threads, size, LANES, zero=True) for size in sizes)


def filtered(x: Tensor, g: Tensor, lead: int, in_place: bool = False) -> Tensor:
    """y_t = sum_k g_k x_{t-lead+k} of every feature of x [B, T, F]; g [F, D]."""
    y = x.new_empty(0, *x.shape[1:]) if in_place else torch.empty_like(x)
    given = *arrays(x, in_blocks(g)), lead, *arrays(y)
    compiled = filter_in_place if in_place else filter_rows
    run_rows(compiled, len(x), x[0].numel(), *given, scratch=working(x, g.shape[1]))
    return x if in_place else y


def used_taps(g: Tensor) -> tuple[Tensor, Tensor]:
    """Which taps [F, W] of g [F, D] hold all that are not 0, and the delay [F] of the first."""
    used = g != 0
    width = int(used.sum(1).max())
    first = used.int().argmax(1).clamp(max=g.shape[1] - width)
    return first[:, None] + torch.arange(width), g.shape[1] - 1 - first


def apply(x: Tensor, g: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """y_t = sum_k g_k x_{t-(D-1)+k} of every feature of x [B, T, F]; g [F, D].

    And what the gradients need of x: x, or its events if those are few.
    """
    events = find_events(x.view(-1, x.shape[2]), NARROWEST)
    if events is not None:
        at, lag = used_taps(g)
        if len(events.values) * at.shape[1] < x.numel():
            y = torch.empty_like(x)
            given = arrays(*events, g.gather(1, at), lag, y)
            run_rows(scatter_taps, len(x), x[0].numel(), *given)
            return y, events
    return filtered(x, g, g.shape[1] - 1), (x,)


def gradients(
    kept: tuple[Tensor, ...], g: Tensor, slope: Tensor, d_y: Tensor, of_x: bool, own: bool = False
) -> tuple[Tensor | None, Tensor]:
    """Those of x [B, T, F], if they are asked for, and of the positions [F].

    ``kept`` is what ``apply`` gave; ``slope`` [F, D] is the derivative of ``g`` by the position.
    Of events, the gradient of x takes the memory of ``d_y`` where that is the caller's ``own``.
    """
    d_P = d_y.new_empty(len(d_y), d_y.shape[2])
    if len(kept) == 1:
        (x,) = kept
        d_x = torch.empty_like(x) if of_x else x.new_empty(0, *x.shape[1:])
        blocks = (in_blocks(values.flip(1)) for values in (g, slope))
        given, scratch = arrays(x, *blocks, d_y, d_x, d_P), working(x, g.shape[1], 2)
        run_rows(pull_back, len(x), 2 * x[0].numel(), *given, scratch=scratch)
    else:
        at, lag = used_taps(g)
        given = arrays(*kept, slope.gather(1, at), lag, d_y, d_P)
        run_rows(pull_positions, len(d_y), d_y[0].numel(), *given)
        d_x = filtered(d_y, g.flip(1), 0, in_place=own) if of_x else None
    return d_x if of_x else None, d_P.sum(0)


def _delayed_events(events: Events, g: Tensor, B: int, size: int) -> Events:
    """Those of the filtered input, from those of the input [B, T, F]; g [F, D], T F is ``size``."""
    (at, lag), T = used_taps(g), size // len(g)
    begins = events.starts[::T] * at.shape[1]  # as many as there can be
    columns, values = torch.empty(int(begins[-1]), dtype=torch.int32), torch.empty(int(begins[-1]))
    counts = torch.empty(B * T, dtype=torch.int64)
    given = arrays(*events, g.gather(1, at), lag, begins, columns, values, counts)

    def scratch(threads):
        marks = room(threads, len(g) + -len(g) % 64, dtype=torch.uint8, zero=True)
        return room(threads, T, len(g)), marks

    run_rows(delay_events, B, size, *given, scratch=scratch)
    starts = F.pad(counts.cumsum(0), (1, 0))
    joined = columns.new_empty(int(starts[-1])), values.new_empty(int(starts[-1]))
    given = arrays(begins, starts[::T].contiguous(), columns, values, *joined)
    run_rows(join_clips, B, size // LOOKS, *given)
    return Events(starts, *joined)


class _Currents(torch.autograd.Function):
    """Currents of delayed events, which are never written as a dense input."""

    @staticmethod
    def forward(ctx, x, P, sigma, weight, events, g):
        B, (T, size) = len(x), x.shape[1:]
        made = _delayed_events(events, g.masked_fill(g < SLIGHT, 0), B, T * size)
        ctx.save_for_backward(P, sigma, weight, g)
        ctx.lists, ctx.shape = (events, made), x.shape
        y, sums = multiplied(made, weight.T.contiguous())
        ctx.mark_non_differentiable(sums)
        return y.view(B, T, -1), sums

    @staticmethod
    @once_differentiable
    def backward(ctx, d_I, _):
        (P, sigma, weight, g), (events, made) = ctx.saved_tensors, ctx.lists
        d_I = d_I.flatten(0, 1).contiguous()
        d_weight = by_weights(made, d_I, weight.shape[1]) if ctx.needs_input_grad[3] else None
        d_y = (d_I @ weight).view(ctx.shape)
        slope = slopes(g, P, sigma)
        d_x, d_P = gradients(events, g, slope, d_y, ctx.needs_input_grad[0], own=True)
        return d_x, d_P, None, d_weight, None, None


def currents(x: Tensor, P: Tensor, sigma: Tensor, taps: int, weight: Tensor) -> Tensor | None:
    """Currents [B, T, H] by ``weight`` [H, F] of x [B, T, F], filtered; None where so much comes
    out of the filter that it is better multiplied as it is."""
    x = x.contiguous()
    events = find_events(x.detach().flatten(0, 1), len(weight))
    if events is None:
        return None
    g = gaussian(P.detach(), sigma, taps)
    if len(events.values) * int((g >= SLIGHT).sum()) > DENSEST * x.numel() * len(g):
        return None
    return note_sums(*_Currents.apply(x, P, sigma, weight, events, g))


def shifted(x: Tensor, delay: Tensor) -> Tensor:
    """x [B, T, F] of every feature, ``delay`` [F] whole steps later; without gradients."""
    y = torch.zeros_like(x, memory_format=torch.contiguous_format)
    run_rows(shift_rows, len(x), x[0].numel(), *arrays(x.contiguous(), delay, y))
    return y


def delayed(x: Tensor, weight: Tensor, delay: Tensor) -> Tensor:
    """Currents [B, T, H] of x [B, T, F], ``delay`` [H, F] whole steps later; without gradients."""
    (B, T, inputs), H = x.shape, len(weight)
    x, weight, longest = x.contiguous(), weight.contiguous(), int(delay.max())
    counts = torch.empty(B, inputs, dtype=torch.int64)
    run_rows(count_columns, B, x[0].numel(), *arrays(x, counts))
    ends = F.pad(counts.flatten().cumsum(0), (1, 0))
    steps = np.empty(int(ends[-1]), np.uint32)  # an index that cannot be negative takes less time
    values, begins = torch.empty(len(steps)), ends[:-1].clone().view(B, inputs)
    run_rows(gather_columns, B, x[0].numel(), *arrays(x, begins), steps, *arrays(values))
    shape = -(-H // NEURONS), inputs, NEURONS
    weights = np.empty(shape, np.float32)
    places = np.empty(shape, np.uint16 if longest < (1 << 16) // NEURONS else np.uint32)
    run_rows(split_lanes, len(weights), weights[0].size, *arrays(weight, delay), weights, places)
    y = x.new_empty(B, T, H)
    given = *arrays(ends), steps, *arrays(values), weights, places, *arrays(y)
    scratch = lambda n: (room(n, (T + longest) * NEURONS),)  # noqa: E731
    run_rows(scatter_lanes, B, T * H, *given, scratch=scratch)
    return y
