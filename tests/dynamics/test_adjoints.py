# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What autograd computes of the recurrences against the adjoints, and plain calculus.

``adaptive_adjoint``, ``resonate_adjoint`` and ``readout_adjoint`` are the derivations of
models/dynamics/README.md, step by step; what autograd computes must be the same.
"""

import pytest
import torch

from models.dynamics import readout
from tests.dynamics.cases import (
    NEURONS,
    STEP,
    THETA,
    H,
    adaptive_arguments,
    close,
    random,
    random_complex,
    resonate_arguments,
    resonate_constants,
    run_adaptive,
    run_resonate,
    shapes,
)


def window(x):
    return ((x > -0.5) & (x <= 0.5)).to(x.dtype)


def adaptive_adjoint(leaves: dict, grad_spikes, grad_state) -> dict:
    """Gradient of every leaf, given those of the spikes [B, T, H] and of the last state."""
    I, alpha, V = leaves["I"], leaves["alpha"], leaves.get("V")
    adapts = "beta" in leaves
    kept = []  # u, w, s before step t and u after it
    u, w, s = leaves["u"], leaves["w"], leaves["s"]
    for t in range(I.shape[1]):
        _, after = run_adaptive(leaves | {"I": I[:, t : t + 1], "u": u, "w": w, "s": s})
        kept.append((u, w, s, after.u))
        u, w, s = after

    grads = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    gu, gw, gs = grad_state
    for t in reversed(range(I.shape[1])):
        u, w, s, u_new = kept[t]
        gs = gs + grad_spikes[:, t]
        gu = gu + window(u_new - THETA) * gs
        gc = (1 - alpha) * gu
        grads["I"][:, t] = gc
        grads["alpha"] += (gu * (u - s - u_new) / (1 - alpha)).sum(0)
        next_gu, next_gs = alpha * gu, -alpha * gu
        if adapts:
            gw = gw - gc
            grads["beta"] += (gw * w).sum(0)
            grads["a"] += (gw * u).sum(0)
            grads["b"] += (gw * s).sum(0)
            next_gu, next_gs = next_gu + leaves["a"] * gw, next_gs + leaves["b"] * gw
            gw = leaves["beta"] * gw
        if V is not None:
            grads["V"] += s.T @ gc
            next_gs = next_gs + gc @ V.T
        gu, gs = next_gu, next_gs
    return grads | {"u": gu, "w": gw, "s": gs}


def resonate_adjoint(leaves: dict, inside: bool, grad_spikes, grad_state) -> dict:
    """As ``adaptive_adjoint``; a complex gradient is d/dRe + i d/dIm, torch's convention."""
    I, A, gain = leaves["I"], leaves["A"], leaves.get("gain", STEP)
    constants = resonate_constants(inside)
    reset, scale = constants["reset"], constants["scale"]
    kept = []  # u and s before step t, and u after it
    u, s = leaves["u"], leaves["s"]
    for t in range(I.shape[1]):
        _, after = run_resonate(leaves | {"I": I[:, t : t + 1], "u": u, "s": s}, inside)
        kept.append((u, s, after.u))
        u, s = after

    grads = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    gu, gs = grad_state
    for t in reversed(range(I.shape[1])):
        u, s, u_new = kept[t]
        gs = gs + grad_spikes[:, t]
        gu = gu + scale * window(scale * u_new.real - THETA) * gs
        grads["I"][:, t] = gain * gu.real
        if inside:
            grads["A"] += ((u - reset * s).conj() * gu).sum(0)
            grads["gain"] += (gu.real * I[:, t]).sum(0)
            gu = A.conj() * gu
            gs = -reset * gu.real
        else:
            grads["A"] += (gain * u.conj() * gu).sum(0)
            gs = -reset * gu.real
            gu = gu + gain * A.conj() * gu
    return grads | {"u": gu, "s": gs}


def readout_adjoint(leaves: dict, grad_out, grad_state) -> dict:
    I, alpha = leaves["I"], leaves["alpha"]
    kept = [leaves["u"]]
    for t in range(I.shape[1]):
        kept.append(alpha * kept[-1] + (1 - alpha) * I[:, t])
    grads = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    gu = grad_state
    for t in reversed(range(I.shape[1])):
        u, u_new = kept[t], kept[t + 1]
        p = torch.softmax(u_new, dim=1)
        gu = gu + p * (grad_out - (p * grad_out).sum(1, keepdim=True))
        grads["I"][:, t] = (1 - alpha) * gu
        grads["alpha"] += (gu * (u - u_new) / (1 - alpha)).sum(0)
        gu = alpha * gu
    return grads | {"u": gu}


def upstream(tensor, seed):
    """A random gradient like ``tensor``, which does not favour any sign."""
    if tensor.is_complex():
        return random_complex(*tensor.shape, low=(-1, -1), high=(1, 1), seed=seed).detach()
    return random(*tensor.shape, low=-1, high=1, seed=seed).detach()


def autograd_of(outputs, leaves: dict) -> tuple[list, dict]:
    """Random gradients of ``outputs``, and what autograd makes of them for every leaf."""
    given = [upstream(output, seed) for seed, output in enumerate(outputs, start=20)]
    reached = [(o, g) for o, g in zip(outputs, given, strict=True) if o.requires_grad]
    torch.autograd.backward(*zip(*reached, strict=True))
    return given, {name: leaf.grad for name, leaf in leaves.items()}


@shapes
@pytest.mark.parametrize("neuron", NEURONS)
def test_adaptive_adjoint(neuron, batch, steps):
    leaves = adaptive_arguments(neuron, batch, steps)
    spikes, state = run_adaptive(leaves)
    (grad_spikes, *grad_state), expected = autograd_of([spikes, *state], leaves)
    with torch.no_grad():
        ours = adaptive_adjoint(leaves, grad_spikes, grad_state)
    for name, gradient in expected.items():
        close(ours[name], gradient)
        assert gradient.any(), name


@shapes
@pytest.mark.parametrize("inside", [True, False])
def test_resonate_adjoint(inside, batch, steps):
    leaves = resonate_arguments(inside, batch, steps)
    spikes, state = run_resonate(leaves, inside)
    (grad_spikes, *grad_state), expected = autograd_of([spikes, *state], leaves)
    with torch.no_grad():
        ours = resonate_adjoint(leaves, inside, grad_spikes, grad_state)
    for name, gradient in expected.items():
        close(ours[name], gradient)
        assert gradient.any(), name


@shapes
def test_readout_adjoint(batch, steps):
    leaves = {
        "I": random(batch, steps, H, low=-2, high=2, seed=1),
        "alpha": random(H, low=0.1, high=0.9, seed=2),
        "u": random(batch, H, seed=3),
    }
    outputs = readout(leaves["I"], leaves["alpha"], state=leaves["u"], backend="naive")
    given, expected = autograd_of(outputs, leaves)
    with torch.no_grad():
        ours = readout_adjoint(leaves, *given)
    for name, gradient in expected.items():
        close(ours[name], gradient)


@pytest.mark.parametrize("theta", [1e9, -1e9])
@pytest.mark.parametrize(
    ("make", "run"),
    [
        (lambda: adaptive_arguments("adaptive recurrent"), run_adaptive),
        (lambda: resonate_arguments(True), lambda leaves, theta: run_resonate(leaves, True, theta)),
        (
            lambda: resonate_arguments(False),
            lambda leaves, theta: run_resonate(leaves, False, theta),
        ),
    ],
)
def test_far_from_the_threshold_the_gradient_is_plain_calculus(make, run, theta):
    """There is no surrogate where neurons never or always fire: central differences agree."""

    def potential(leaves):
        spikes, state = run(leaves, theta)
        assert (spikes == float(theta < 0)).all()
        return (torch.view_as_real(state.u) if state.u.is_complex() else state.u).sum()

    leaves = make()
    potential(leaves).backward()
    for name, leaf in leaves.items():
        direction = upstream(leaf, 31)
        ends = []
        for sign in (1, -1):
            moved = leaf.detach() + sign * 1e-5 * direction
            ends.append(potential({k: v.detach() for k, v in leaves.items()} | {name: moved}))
        slope = (ends[0] - ends[1]).item() / 2e-5
        ours = (leaf.grad.conj() * direction).real.sum().item()
        assert ours == pytest.approx(slope, rel=1e-6, abs=1e-8)
