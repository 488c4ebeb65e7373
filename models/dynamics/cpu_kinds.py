# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The steps of all recurrences, their adjoints, and the derivatives of spikes, for CPU kernels."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from models.dynamics.numba_kept import inlined
from models.dynamics.numba_support import ONE, ZERO, F, Kernels, firing, make_kernels

# Names of the options of ``resetting_kernels``
FORM = ("adapts", "scales", "hard", "detached", "symplectic")
PI, ROOT = F(math.pi), F(math.sqrt(2 * math.pi))


@inlined
def bell(x, mean, deviation):
    """Density of the normal distribution."""
    z = (x - mean) / deviation
    return np.exp(F(-0.5) * z * z) / (deviation * ROOT)


# Derivatives of the spike, see models.surrogate. Double precision would be slow.
SURROGATES = {
    "boxcar": lambda x, w: ONE if (x > -w) & (x <= w) else ZERO,
    "triangle": lambda x, w: max(ONE - abs(x) / w, ZERO),
    "atan": lambda x, w: w / (w * w + PI * PI * x * x),
    "slayer": lambda x, w: F(0.2) / w * np.exp(-abs(x) / w),
    "gaussian": lambda x, w: bell(x, ZERO, w),
    "double_gaussian": lambda x, w: F(0.575) * bell(x, ZERO, w) - F(0.15) * bell(x, ZERO, F(6) * w),
    "multi_gaussian": lambda x, w: F(1.15) * bell(x, ZERO, w)
    - F(0.15) * (bell(x, w, F(6) * w) + bell(x, -w, F(6) * w)),
}  # fmt: skip


@cache
def derivative(surrogate: str) -> Callable:
    """Derivative of the spike by the distance to the threshold, to be called in kernels."""
    return inlined(SURROGATES[surrogate])


@cache
def adaptive_kernels(adapts: bool, surrogate: str, each: bool, folds: bool) -> Kernels:
    """Those of neurons with or without adaptation; ``keep`` is 1 - alpha, reset and scale are 1."""
    window = derivative(surrogate)

    @inlined
    def step(current, u, w, s, alpha, beta, a, b, keep, theta, reset, scale):
        """One neuron, one step, in the operation order of the specification."""
        if adapts:
            w = beta * w + a * u + b * s
            current = current - w
        u = alpha * (u - s) + keep * current
        return u, w, u - theta

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

    return make_kernels(step, adjoint, window, has_y=adapts, jumps=adapts, each=each, folds=folds)


@cache
def resonate_kernels(reset_inside: bool, surrogate: str, each: bool, folds: bool) -> Kernels:
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
        return x, y, scale * x - theta

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

    return make_kernels(step, adjoint, window, has_y=True, jumps=False, each=each, folds=folds)


@cache
def resetting_kernels(
    adapts: bool, scales: bool, hard: bool, detached: bool, symplectic: bool, surrogate: str,
    each: bool, folds: bool,
) -> Kernels:  # fmt: skip
    """Those of neurons that are reset at once; ``keep`` is 1 - alpha or 1, reset and scale are 1.

    A reset hides the potential at which a neuron fired, so that the adjoint computes it again.
    """
    window, fires = derivative(surrogate), firing(not adapts)

    @inlined
    def step(current, u, w, s, alpha, beta, a, b, keep, theta, reset, scale):
        """One neuron, one step, in the operation order of the specification."""
        drift = a * u + b * s
        fired = alpha * u + keep * (current - w if adapts else current)
        above = fired - theta
        s = ONE if fires(above) else ZERO
        u = fired * (ONE - s) if hard else fired - s * theta
        if adapts:
            w = beta * w + (a * u + b * s if symplectic else drift)
        return u, w, above

    @inlined
    def adjoint(
        d_s, d_u, d_w, current, u, w, s, new_u, new_w, alpha, beta, a, b, keep, theta, reset, scale,
        width,
    ):  # fmt: skip
        """Gradients of one step, summed in the order of autograd."""
        current = current - w if adapts else current
        fired = alpha * u + keep * current
        gone = ONE if fires(fired - theta) else ZERO
        seen, jump, early, by_jump = u, s, ZERO, ZERO
        if adapts:
            if symplectic:
                seen, jump = new_u, gone
                d_u, d_s = d_u + a * d_w, d_s + b * d_w
            else:
                early, by_jump = a * d_w, b * d_w
        d_theta = ZERO
        if not hard:
            d_theta = -(d_u * gone)
        if not detached:
            d_s = d_s - d_u * (fired if hard else theta)
        drive = d_s * window(fired - theta, width)
        d_fired = (d_u * (ONE - gone) if hard else d_u) + drive
        d_current = keep * d_fired
        d_alpha = d_fired * (u - current if scales else u)
        return (
            d_current, d_alpha, d_w * w, d_w * seen, d_w * jump, d_theta - drive, ZERO, ZERO,
            alpha * d_fired + early, beta * d_w - d_current, ZERO, by_jump,
        )  # fmt: skip

    return make_kernels(
        step, adjoint, window, has_y=adapts, jumps=adapts, each=each, folds=folds,
        at_threshold=not adapts,
    )  # fmt: skip


@cache
def balanced_kernels(surrogate: str, each: bool, folds: bool) -> Kernels:
    """Those of BRF, whose coefficients are ``turn`` and ``damping``; reset is the decay of q, scale
    the time step."""
    window = derivative(surrogate)

    @inlined
    def step(current, u, v, q, s, turn, damping, _0, _1, _2, theta, decay, dt):
        """One neuron, one step, in the operation order of the specification."""
        b = dt * (damping - q)
        u, v = u + (b * u - turn * v + dt * current), v + (turn * u + b * v)
        above = u - theta - q
        return u, v, decay * q + (ONE if above > ZERO else ZERO), above

    @inlined
    def adjoint(
        d_s, d_u, d_v, d_q, current, u, v, q, new_u, new_v, turn, damping, _0, _1, _2, theta,
        decay, dt, width,
    ):  # fmt: skip
        """Gradients of one step, summed in the order of autograd."""
        drive = d_s * window(new_u - theta - q, width)
        d_u = d_u + drive
        b = dt * (damping - q)
        d_b = dt * (d_v * v + d_u * u)
        return (
            dt * d_u, d_v * u - d_u * v, d_b, ZERO, ZERO, -drive, ZERO, ZERO,
            (turn * d_v + d_u) + b * d_u, (d_v + b * d_v) - turn * d_u, ZERO,
            (decay * d_q - drive) - d_b,
        )  # fmt: skip

    return make_kernels(
        step, adjoint, window, has_y=True, has_q=True, jumps=False, each=each, folds=folds
    )
