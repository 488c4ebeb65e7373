# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Compiled CPU kernels for delays as filters over time.

A filter takes LANES features at a time, whose steps and taps stay in the nearest cache, and gives
four steps at once by eight taps at once. In the backward pass the gradient of a position is a sum
over time of the input and of a second filter of the gradient, by the derivatives of the taps;
nothing is kept for it but the input. Where few entries of the input are not zero, each of them adds
the taps of its feature to what comes out, and the gradient of a position is taken at these alone;
that of a spike is computed where it is wanted, see ``models.places``.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.dynamics.cpu_around import note_sums, plain
from models.dynamics.numba_kept import contracting_kernel, kernel
from models.dynamics.numba_support import LOOKS, WANTED, ZERO, arrays, room, run_rows
from models.events_cpu import (
    NARROWEST,
    Events,
    bits_of,
    find_events,
    marked_events,
    write_events,
    write_places,
)
from models.gaussians import gaussian, slopes
from models.linear import handed
from models.linear_cpu import by_weights, multiplied
from models.places import Places, Scattered, products

DENSEST = 0.4  # share of what comes out of a filter, above which it is multiplied as it is
MOST_PULLED = 1.0  # taps at wanted places, of all steps and features: above a dense product is used
SLIGHT = 1e-7  # weights of taps below change no product: together they are less than its rounding
LANES, STEPS, TAPS = 128, 4, 8


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
def sort_places(row, T, starts, columns, source, ends, steps, sources):
    """Append the places of a clip by their columns, whose next ones are at ``ends``: their steps,
    and their numbers or, with ``source`` -1, -1 minus these."""
    for t in range(T):
        for place in range(starts[row * T + t], starts[row * T + t + 1]):
            at = ends[columns[place]]
            steps[at], sources[at] = t, place if source >= 0 else -1 - place
            ends[columns[place]] = at + 1


@kernel
def pull_places(
    first, end, starts, columns, values, wanted_starts, wanted, g, slope, lag, weight, d_I,
    d_x, d_P, ends, steps, sources, marks, needed, found, line,
):  # fmt: skip
    """Gradients of the input at the ``wanted`` places of clips first to end, and of the positions,
    d_P [B, F], by d_I [B, T, H] and the weight [F, H].

    Feature by feature: of what comes out of its filter, the gradient is computed at the steps
    ``needed``, to which taps lead from its places. ``marks`` [T and more] are scratch of zeros.
    """
    T = d_I.shape[1]
    for row in range(first, end):
        ends[:] = 0
        for n in range(row * T, (row + 1) * T):
            for place in range(starts[n], starts[n + 1]):
                ends[columns[place] + 1] += 1
            for place in range(wanted_starts[n], wanted_starts[n + 1]):
                ends[wanted[place] + 1] += 1
        for f in range(len(weight)):
            ends[f + 1] += ends[f]
        sort_places(row, T, starts, columns, -1, ends, steps, sources)
        sort_places(row, T, wanted_starts, wanted, 1, ends, steps, sources)
        begin = np.int64(0)
        for f in range(len(weight)):
            stop, taps, count = ends[f], g.shape[1], np.int64(0)
            for i in range(begin, stop):
                due = steps[i] + lag[f]
                marks[due + 1 - taps : min(due + 1, T)] = WANTED
            for k in range(0, marks.size, 64):
                count = write_places(needed, count, k, bits_of(marks, k, WANTED))
            marks[:] = 0
            products(np.int64(0), count, needed, d_I[row], weight[f], found)
            for k in range(count):
                line[needed[k]] = found[k]
            by_position = ZERO
            for i in range(begin, stop):
                place, due, total = sources[i], steps[i] + lag[f], ZERO
                by = g[f] if place >= 0 else slope[f]
                for k in range(max(0, due + 1 - T), taps):
                    total += by[k] * line[due - k]
                if place >= 0:
                    d_x[place] = total
                else:
                    by_position += values[-1 - place] * total
            d_P[row, f], begin = by_position, stop


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

    And what the gradients need of x: x, or its events if those are few, and ``used_taps``.
    """
    events = find_events(x.view(-1, x.shape[2]), NARROWEST)
    if events is not None:
        at, lag = used_taps(g)
        if len(events.values) * at.shape[1] < x.numel():
            y = torch.empty_like(x)
            given = arrays(*events, g.gather(1, at), lag, y)
            run_rows(scatter_taps, len(x), x[0].numel(), *given)
            return y, (*events, at, lag)
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
        *events, at, lag = kept
        given = arrays(*events, slope.gather(1, at), lag, d_y, d_P)
        run_rows(pull_positions, len(d_y), d_y[0].numel(), *given)
        d_x = filtered(d_y, g.flip(1), 0, in_place=own) if of_x else None
    return d_x if of_x else None, d_P.sum(0)


def _delayed_events(
    events: Events, g: Tensor, at: Tensor, lag: Tensor, B: int, size: int
) -> Events:
    """Those of the filtered input, from those of the input [B, T, F]; g [F, D], of which ``at``
    and ``lag`` are used; T F is ``size``."""
    T = size // len(g)
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


def gradients_at(
    wanted: Places,
    events: Events,
    used: tuple[Tensor, Tensor],
    g: Tensor,
    slope: Tensor,
    weight: Tensor,
    d_I: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of the input [B, T, F] at the places that are wanted, and of the positions [F],
    from that of the currents d_I [B, T, H], by the weight [F, H]."""
    (B, T, _), size, (at, lag) = d_I.shape, len(weight), used
    most = int((wanted.starts[::T] + events.starts[::T]).diff().max())
    d_x, d_P = d_I.new_empty(wanted.columns.shape[0]), d_I.new_empty(B, size)
    taps = (x.gather(1, at) for x in (g, slope))
    given = arrays(*events, *wanted, *taps, lag, weight, d_I, d_x, d_P)

    def scratch(threads):
        kinds = (size + 1, torch.int64), (most, torch.int32), (most, torch.int32)
        marks = room(threads, T + -T % 64, dtype=torch.uint8, zero=True)
        lists = room(threads, T, dtype=torch.int32), room(threads, T), room(threads, T)
        return *(room(threads, n, dtype=kind) for n, kind in kinds), marks, *lists

    run_rows(pull_places, B, T * size, *given, scratch=scratch)
    return d_x, d_P.sum(0)


class _Currents(torch.autograd.Function):
    """Currents of delayed events, which are never written as a dense input."""

    @staticmethod
    def forward(ctx, x, P, sigma, weight, events, wanted, g):
        B, (T, size) = len(x), x.shape[1:]
        used = used_taps(g)
        made = _delayed_events(events, g.masked_fill(g < SLIGHT, 0), *used, B, T * size)
        given = weight.T.contiguous()
        ctx.save_for_backward(P, sigma, weight, given, g)
        ctx.lists, ctx.shape = (events, made, wanted, used), x.shape
        y, sums = multiplied(made, given)
        ctx.mark_non_differentiable(sums)
        return y.view(B, T, -1), sums

    @staticmethod
    @once_differentiable
    def backward(ctx, d_I, _):
        (P, sigma, weight, given, g), (events, made, wanted, used) = ctx.saved_tensors, ctx.lists
        slope, of_x, d_weight = slopes(g, P, sigma), ctx.needs_input_grad[0], None
        if ctx.needs_input_grad[3]:  # first, as it adds what a pending gradient lacks
            d_weight = by_weights(made, d_I, weight.shape[1])
        d_I = plain(d_I).contiguous()
        rows = d_I.flatten(0, 1)
        if not of_x:
            wanted = Places(torch.zeros_like(events.starts), events.columns[:0])
        if wanted is not None and is_worth_it(events, wanted, g, ctx.shape.numel()):
            d_x, d_P = gradients_at(wanted, events, used, g, slope, given, d_I)
            d_x = Scattered(wanted, d_x, ctx.shape) if of_x else None
        else:
            d_y = (rows @ weight).view(ctx.shape)
            d_x, d_P = gradients((*events, *used), g, slope, d_y, of_x, own=True)
        return d_x, d_P, None, d_weight, None, None, None


def is_worth_it(events: Events, wanted: Places, g: Tensor, size: int) -> bool:
    """Whether gradients of ``size`` inputs at some places take less time than all of them."""
    places = events.columns.shape[0] + wanted.columns.shape[0]
    return places * int(torch.count_nonzero(g)) <= MOST_PULLED * size * len(g)


def currents(x: Tensor, P: Tensor, sigma: Tensor, taps: int, weight: Tensor) -> Tensor | None:
    """Currents [B, T, H] by ``weight`` [H, F] of x [B, T, F], filtered; None where so much comes
    out of the filter that it is better multiplied as it is."""
    x, wanted = x.contiguous(), None
    if (marks := handed(x)) is not None:
        events, wanted = marked_events(*marks[:2], len(weight))
    else:
        events = find_events(x.detach().flatten(0, 1), len(weight))
    if events is None:
        return None
    g = gaussian(P.detach(), sigma, taps)
    if len(events.values) * int((g >= SLIGHT).sum()) > DENSEST * x.numel() * len(g):
        return None
    return note_sums(*_Currents.apply(x, P, sigma, weight, events, wanted, g))
