# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""All recurrences in plain PyTorch: the executable specification; autograd gives the backward.

Non-spiking ones take feed-forward currents [B, T, H] and recurrent matrices [H, H] as ``nn.Linear``
stores them (to, from), start from y = 0 and return the outputs [B, T, H]. Their matrices are
transposed before the loop: one view, and one gradient of it, instead of one per step.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.surrogate import BOXCAR, spike

KEPT, WANTED, FIRED = 1, 2, 4  # the marks of a ``Fold``


class Fold(NamedTuple):
    """Normalisation before, and dropout after a recurrence of H neurons.

    The current is ``(I - mean) * slope + shift``, each [H], or ``I`` where they are None. A spike
    is dropped with probability ``p``, else multiplied by ``1 / (1 - p)``; 0 <= p < 1. ``seed`` [1],
    int64, on the device of the current, decides which; it is needed where p > 0. If there is
    ``counts`` [B, H], float32 and contiguous, it is overwritten with the number of spikes of each
    neuron that are left.

    On a CPU, ``stays`` [B, T, H], uint8, is 1 where a spike would not be dropped, instead of
    ``seed``, and ``marks``, of the same shape and type, is overwritten: KEPT for a spike that is
    left, plus WANTED where its gradient reaches the neuron, as the surrogate's window is open and
    it stays, plus FIRED for a spike that is left or not. There ``gain`` is what a spike is
    multiplied by, and ``mean`` and ``rate`` are statistics of I, the latter one over its deviation
    with ``eps``, with which batch normalisation makes a current of the learned ``weight`` and
    ``shift``. No gradient reaches the statistics: the recurrence gives I what it gets by way of
    them.
    """

    mean: Tensor | None = None
    slope: Tensor | None = None
    shift: Tensor | None = None
    p: float = 0.0
    seed: Tensor | None = None
    counts: Tensor | None = None
    stays: Tensor | None = None
    marks: Tensor | None = None
    gain: float = 1.0
    rate: Tensor | None = None
    weight: Tensor | None = None
    eps: float = 0.0

    def current(self, I: Tensor) -> Tensor:
        """The current of ``I`` [B, T, H], in plain PyTorch."""
        if self.rate is not None:
            learned = self.weight, self.shift
            rows = functional.batch_norm(I.flatten(0, 1), None, None, *learned, True, 0.0, self.eps)
            return rows.view_as(I)
        return I if self.mean is None else (I - self.mean) * self.slope + self.shift

    def dropped(self, spikes: Tensor) -> Tensor:
        """Spikes [B, T, H] after dropout, in plain PyTorch: by its generator, not ``seed``.

        All windows count as open.
        """
        if self.stays is not None:
            fired, spikes = spikes, spikes * (self.stays * self.gain)
            self.marks.copy_(KEPT * (spikes != 0) + WANTED * self.stays + FIRED * fired)
        elif self.p > 0:
            spikes = functional.dropout(spikes, self.p)
        if self.counts is not None:
            self.counts.copy_(torch.count_nonzero(spikes, dim=1))
        return spikes


class Feedback(NamedTuple):
    """Recurrent weights, and what becomes of spikes on their way through them.

    A spike of neuron j returns ``first[j] + i`` steps later with the strength ``taps[j, i]``, for
    i = 0 ... W-1: what is multiplied by V at a step is z, the sum of all that returns then. Without
    taps it returns one step later.
    """

    V: Tensor  # [H, H] from neuron, to neuron
    mask: Tensor | None = None  # [B, H] what arrives is multiplied by it: dropout
    taps: Tensor | None = None  # [H, W]
    first: Tensor | None = None  # [H] int64, at least 1
    span: int = 0  # L, the longest way of a spike
    # [B, L - 1, H] spikes before those of the last step, the earliest first; None: there were none
    line: Tensor | None = None
    in_order: bool = False  # products round alike however many steps there are, where they can

    def dense(self) -> Tensor:
        """Strengths [L, H] of a spike after 1 ... L steps."""
        at = self.first[:, None] - 1 + torch.arange(self.taps.shape[1], device=self.taps.device)
        return self.taps.new_zeros(len(at), self.span).scatter(1, at, self.taps).T


class Delayed(NamedTuple):
    """State of a layer whose spikes return after delays."""

    neurons: NamedTuple  # the state of its neurons
    line: Tensor  # see ``Feedback``


class _Returning:
    """Adds to the current of a step what spikes bring back."""

    def __init__(self, V: Tensor | Feedback | None, I: Tensor):
        self.V = V
        self.delays = isinstance(V, Feedback) and V.taps is not None
        if self.delays:
            B, _, H = I.shape
            line = I.new_zeros(B, V.span - 1, H) if V.line is None else V.line
            self.taps, self.due = V.dense(), I.new_zeros(B, V.span, H)
            self.sent = []
            for earlier in line.unbind(dim=1):
                self.arriving(earlier)

    def arriving(self, s: Tensor) -> Tensor:
        """z [B, H] of a step behind spikes s [B, H]; the other steps wait in ``due`` [B, L, H]."""
        self.sent.append(s)
        due = self.due + s[:, None] * self.taps
        self.due = functional.pad(due[:, 1:], (0, 0, 0, 1))
        return due[:, 0]

    def __call__(self, I_t: Tensor, s: Tensor) -> Tensor:
        """The current [B, H] of a step behind spikes s [B, H]."""
        if self.V is None:
            return I_t
        if isinstance(self.V, Tensor):
            return I_t + s @ self.V
        returned = (self.arriving(s) if self.delays else s) @ self.V.V
        return I_t + (returned if self.V.mask is None else returned * self.V.mask)

    def state(self, neurons: NamedTuple) -> NamedTuple:
        """The state of the layer after the last step."""
        if not self.delays:
            return neurons
        steps = len(self.sent) + 1 - self.V.span
        return Delayed(neurons, torch.stack(self.sent, dim=1)[:, steps:])


class AdaptiveCoefficients(NamedTuple):
    """Coefficients [H] of adaptive neurons; without adaptation the last three are None."""

    alpha: Tensor
    beta: Tensor | None = None
    a: Tensor | None = None
    b: Tensor | None = None


class AdaptiveState(NamedTuple):
    """State of a layer of adaptive neurons between two time steps; each field is [B, H]."""

    u: Tensor  # membrane potential
    w: Tensor  # adaptation
    s: Tensor  # spikes of the last step


def adaptive(I, alpha, beta, a, b, *, theta, state, V=None, surrogate=BOXCAR):
    """See :func:`models.dynamics.adaptive`."""
    u, w, s = state
    spikes, returning = [], _Returning(V, I)
    for I_t in I.unbind(dim=1):
        if beta is not None:
            w = beta * w + a * u + b * s
        # In this order autograd sums the gradients of s as in the published code, to the last bit.
        decayed = alpha * (u - s)
        current = returning(I_t, s)
        if beta is not None:
            current = current - w
        u = decayed + (1 - alpha) * current
        s = spike(u - theta, surrogate)
        spikes.append(s)
    return torch.stack(spikes, dim=1), returning.state(AdaptiveState(u, w, s))


class ResonateState(NamedTuple):
    """State of a layer of resonating neurons between two time steps; each field is [B, H]."""

    u: Tensor  # complex membrane potential
    s: Tensor  # spikes of the last step


def resonate(I, A, reset, gain, *, scale, theta, state, reset_inside, V=None, surrogate=BOXCAR):
    """See :func:`models.dynamics.resonate`."""
    u, s = state
    spikes, returning = [], _Returning(V, I)
    for I_t in I.unbind(dim=1):
        # The reset first, as in ``adaptive``, for the order in which autograd sums.
        taken = reset * s
        decayed = A * (u - taken) if reset_inside else None
        current = returning(I_t, s)
        u = decayed + gain * current if reset_inside else u + gain * (A * u + current) - taken
        s = spike(scale * u.real - theta, surrogate)
        spikes.append(s)
    return torch.stack(spikes, dim=1), returning.state(ResonateState(u, s))


def resetting(
    I, alpha, beta, a, b, *, theta, state, V=None, scales=True, hard=True, detached=True,
    symplectic=True, surrogate=BOXCAR,
):  # fmt: skip
    """See :func:`models.dynamics.resetting`."""
    u, w, s = state
    spikes, returning = [], _Returning(V, I)
    for I_t in I.unbind(dim=1):
        adapts = beta is not None
        drift = a * u + b * s if adapts and not symplectic else None
        current = returning(I_t, s)
        current = current - w if adapts else current
        fired = alpha * u + ((1 - alpha) * current if scales else current)
        s = spike(fired - theta, surrogate, at_threshold=not adapts)
        taken = s.detach() if detached else s
        u = fired * (1 - taken) if hard else fired - taken * theta
        if adapts:
            w = beta * w + (a * u + b * s if symplectic else drift)
        spikes.append(s)
    return torch.stack(spikes, dim=1), returning.state(AdaptiveState(u, w, s))


class BalancedState(NamedTuple):
    """State of a layer of balanced resonators between two time steps; each field is [B, H]."""

    u: Tensor  # membrane potential
    v: Tensor  # the resonator's second part
    q: Tensor  # refractoriness
    s: Tensor  # spikes of the last step


def balanced(I, omega, damping, *, step, decay, theta, state, V=None, surrogate=BOXCAR):
    """See :func:`models.dynamics.balanced`."""
    u, v, q, s = state
    turn, spikes, returning = step * omega, [], _Returning(V, I)
    for I_t in I.unbind(dim=1):
        current = returning(I_t, s)
        b = step * (damping - q)
        u, v = u + (b * u - turn * v + step * current), v + (turn * u + b * v)
        s = spike(u - theta - q, surrogate)
        q = decay * q + s
        spikes.append(s)
    return torch.stack(spikes, dim=1), returning.state(BalancedState(u, v, q, s))


def readout(I, alpha, *, state):
    """See :func:`models.dynamics.readout`."""
    u = state
    out = torch.zeros_like(u)
    for I_t in I.unbind(dim=1):
        u = alpha * u + (1 - alpha) * I_t
        out = out + torch.softmax(u, dim=1)
    return out, u


def potentials(I, alpha, *, state):
    """See :func:`models.dynamics.potentials`."""
    u, steps = state, []
    for I_t in I.unbind(dim=1):
        u = alpha * u + (1 - alpha) * I_t
        steps.append(u)
    return torch.stack(steps, dim=1), u


def selective_scan(x, delta, A, B, C, *, state):
    """See :func:`models.dynamics.selective_scan`."""
    h, outputs = state, []
    steps = (z.unbind(dim=1) for z in (x, delta, B, C))
    for x_t, delta_t, B_t, C_t in zip(*steps, strict=True):
        decay = torch.exp(delta_t[:, :, None] * A)
        h = decay * h + (delta_t * x_t)[:, :, None] * B_t[:, None]
        outputs.append((h @ C_t[:, :, None]).squeeze(2))
    return torch.stack(outputs, dim=1), h


def _start(current):
    return torch.zeros_like(current[:, 0])


def summed(steps):
    """Sum over time [B, H] of [B, T, H]; on a CPU one step after another, as published code rounds.

    Batch normalisation over the few rows of a batch magnifies the last digits of such sums.
    """
    if steps.device.type != "cpu":
        return steps.sum(dim=1)
    total = _start(steps)
    for step in steps.unbind(dim=1):
        total = total + step
    return total


def rnn(I, V):
    """y = sigmoid(I_t + V y)."""
    y, outputs, V = _start(I), [], V.T
    for I_t in I.unbind(dim=1):
        y = torch.sigmoid(torch.addmm(I_t, y, V))
        outputs.append(y)
    return torch.stack(outputs, dim=1)


def ligru(I, Iz, V, Vz):
    """Li-GRU (Ravanelli et al. 2018): z = sigmoid(Iz + Vz y), y = z y + (1 - z) relu(I + V y)."""
    y, outputs, V, Vz = _start(I), [], V.T, Vz.T
    for I_t, Iz_t in zip(I.unbind(dim=1), Iz.unbind(dim=1), strict=True):
        z = torch.sigmoid(torch.addmm(Iz_t, y, Vz))
        candidate = torch.relu(torch.addmm(I_t, y, V))
        y = z * y + (1 - z) * candidate
        outputs.append(y)
    return torch.stack(outputs, dim=1)


def gru(I, Iz, Ir, V, Vz, Vr):
    """GRU (Cho et al. 2014), the reset gate applied before V: c = tanh(I + V (r y))."""
    y, outputs, V, Vz, Vr = _start(I), [], V.T, Vz.T, Vr.T
    for I_t, Iz_t, Ir_t in zip(I.unbind(dim=1), Iz.unbind(dim=1), Ir.unbind(dim=1), strict=True):
        z = torch.sigmoid(torch.addmm(Iz_t, y, Vz))
        r = torch.sigmoid(torch.addmm(Ir_t, y, Vr))
        candidate = torch.tanh(torch.addmm(I_t, r * y, V))
        y = z * y + (1 - z) * candidate
        outputs.append(y)
    return torch.stack(outputs, dim=1)
