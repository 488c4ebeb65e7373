# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The loop over time with recurrent weights, and their delays, on the CPU.

Large layers, the backward pass of delays, and layers in evaluation go through ``cpu_clips``, whose
products round alike however many steps there are. Otherwise all clips are multiplied with V at
once, step by step, as by the specification: they round as it does.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.dynamics.cpu_clips import (
    GROUP,
    backward_room,
    clip_kernels,
    forward_room,
    spread,
)
from models.dynamics.numba_support import arrays, run_rows
from models.events_cpu import find_events, marked_events
from models.linear_cpu import parts_by_weights

MOST_SPIKES, MOST_OPEN = 0.4, 0.3  # shares of neurons, above which all rows of V are taken
SMALLEST, NARROWEST = 1 << 16, 32  # neuron steps and neurons, below which layers are small


def _delays(given) -> tuple[np.ndarray, np.ndarray]:
    """Taps [H, W], and the delay [H] of the first of them: without delays one step."""
    if given.taps is not None:
        return arrays(given.taps.contiguous(), given.first.contiguous())
    H = given.I.shape[2]
    return np.ones((H, 1), np.float32), np.ones(H, np.int64)


def _sent(given) -> Tensor:
    """Spikes [B, E, H] before the first step, as far as they are known, the earliest first."""
    s = given.s[:, None]
    return (s if given.line is None else torch.cat([given.line, s], dim=1)).contiguous()


def _way(given) -> tuple[np.ndarray, ...]:
    """V, the mask of what arrives, taps and delays."""
    mask = torch.ones_like(given.I[:1, 0]) if given.mask is None else given.mask
    return *arrays(given.V.contiguous(), mask.contiguous()), *_delays(given)


def _is_large(I: Tensor) -> bool:
    """Whether a current [B, T, H] is worth a search for spikes and open windows."""
    return I.numel() >= SMALLEST and I.shape[2] >= NARROWEST


def by_clips(run: Callable, given, z: Tensor) -> Callable[[], None]:
    """What takes all steps of the forward pass; z [B, T, H] is empty without delays."""
    _, T, H = given.I.shape
    way = *_way(given), MOST_SPIKES, *arrays(given.I.contiguous(), z)
    compiled = clip_kernels(given.kernels).forward
    return lambda: run(0, T, compiled, way, lambda n: forward_room(n, H), GROUP)


def forth(run: Callable, given, spikes, s, z, line, current) -> None:
    """All steps of ``run(start, stop, ...)``, which leaves its spikes in s [B, H] and in spikes.

    The current [B, T, H] is written, z [B, T, H] if there are delays, and the line behind the last
    step.
    """
    B, T, _ = current.shape
    sent, delays = _sent(given), _delays(given)

    def send(at: int, x: Tensor) -> None:
        run_rows(spread, B, x[0].numel(), at, *arrays(x), *delays, *arrays(z))

    if given.taps is not None:
        z.zero_()
        send(-sent.shape[1], sent)
    if _is_large(current) or given.in_order:
        by_clips(run, given, z)()
    else:
        for t in range(T):
            returned = (s if given.taps is None else z[:, t]) @ given.V
            returned = returned if given.mask is None else returned * given.mask
            torch.add(given.I[:, t], returned, out=current[:, t])
            run(t, t + 1)
            if given.taps is not None:
                send(t, s[:, None])
    if line.numel():
        known = torch.cat([sent, spikes[:, : T - 1]], dim=1)[:, -line.shape[1] :]
        line.copy_(functional.pad(known, (0, 0, line.shape[1] - known.shape[1], 0)))


def back(
    run: Callable, given, before, z, d_I, d_spikes, d_line, needed: Sequence[bool]
) -> tuple[Tensor | float, tuple]:
    """All steps of ``run(0, T, ..., d_spikes)``, which writes d_I; d_spikes [B, T, H] are those of
    spikes after each step, and ``before`` the spikes before it.

    Returns the gradient of the initial spikes by way of V, and those of V, mask, taps, first and
    line, as far as they are ``needed``: of s, V, mask, taps, first and line.
    """
    (B, T, H), delayed, sent = d_I.shape, given.taps is not None, _sent(given)
    needs_s, needs_V, _, needs_taps, _, needs_line = needed
    arrived = (lambda x: x) if given.mask is None else (lambda x: x * given.mask[:, None])
    if not delayed and not _is_large(d_I):
        d_spikes = d_spikes.clone()
        for t in reversed(range(T)):
            run(t, t + 1, pulled=d_spikes)
            # Where rows of a matrix lie apart, some processors' libraries round otherwise.
            by_s = arrived(d_I[:, t : t + 1])[:, 0].contiguous() @ given.V.T
            if t > 0:
                d_spikes[:, t - 1] += by_s
        d_V = before.flatten(0, 1).T @ arrived(d_I).flatten(0, 1) if needs_V else None
        return by_s, (d_V, None, None, None, None)
    wants_sent = needs_s or needs_line
    d_sent, E = torch.zeros_like(sent) if wants_sent else sent.new_zeros(0, 0, 0), sent.shape[1]
    d_taps = d_I.new_zeros(-(-B // GROUP) * needs_taps, *(given.taps.shape if delayed else (0, 0)))
    if d_line is not None:
        # Of what set out, the earliest first; the line holds all but the last.
        known = functional.pad(d_line, (0, 0, E + T - 1 - d_line.shape[1], 1))
        d_spikes = d_spikes + known[:, E:]
        d_sent += known[:, :E] if wants_sent else 0
    spiked = torch.zeros((0 if delayed else B, T, H), dtype=torch.uint8)
    way = *_way(given), MOST_OPEN, *arrays(spiked, sent), wants_sent, *arrays(d_sent, d_taps)
    compiled, more = clip_kernels(given.kernels).backward, lambda n: backward_room(n, H, T)
    run(0, T, compiled, way, more, GROUP, d_spikes)
    d_V = None
    if needs_V:
        d_V = _gradient_of_weights(given, spiked, z if delayed else before, arrived(d_I))
    by_s = d_sent[:, -1] if needs_s else 0.0
    by_line = d_sent[:, :-1] if needs_line else None
    return by_s, (d_V, None, d_taps.sum(0) if needs_taps else None, None, by_line)


def _gradient_of_weights(given, spiked: Tensor, returned: Tensor, arrived: Tensor) -> Tensor:
    """Gradient of V from that of what arrived [B, T, H], for what ``returned`` [B, T, H]."""
    returned, by_row, H = returned.flatten(0, 1), arrived.flatten(0, 1), arrived.shape[2]
    if given.taps is not None:
        events, first = find_events(returned, H), 0.0
    else:
        events, _ = marked_events(spiked, 1.0, H)
        first = 0.0 if events is None else given.s.T @ arrived[:, 0]
    if events is None:
        return returned.T @ by_row
    return parts_by_weights(events, by_row, H).sum(0) + first
