# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Small problems in double precision, every tensor a leaf, for the tests of the recurrences."""

import pytest
import torch

from models.dynamics import AdaptiveState, ResonateState, adaptive, resonate

B, T, H = 3, 12, 5
THETA = 0.4
STEP = 0.004

shapes = pytest.mark.parametrize(("batch", "steps"), [(B, T), (1, T), (B, 1), (1, 1)])
NEURONS = ("plain", "recurrent", "adaptive", "adaptive recurrent")


def random(*shape, low=0.0, high=1.0, seed=0):
    """Uniform numbers in double precision, all of them leaves of the graph."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low) + low
    return values.requires_grad_()


def random_complex(*shape, low, high, seed=0):
    parts = [random(*shape, low=low[k], high=high[k], seed=seed + k).detach() for k in (0, 1)]
    return torch.complex(*parts).requires_grad_()


def adaptive_arguments(neuron: str, batch=B, steps=T) -> dict:
    """Leaf tensors by name: I, alpha, [beta, a, b], [V], and the state's u, w, s."""
    leaves = {
        "I": random(batch, steps, H, low=-2, high=4, seed=1),
        "alpha": random(H, low=0.5, high=0.96, seed=2),
        "u": random(batch, H, seed=3),
        "w": random(batch, H, seed=4),
        "s": random(batch, H, seed=5),
    }
    if "adaptive" in neuron:
        leaves["beta"] = random(H, low=0.6, high=0.99, seed=6)
        leaves["a"] = random(H, low=-0.3, seed=7)
        leaves["b"] = random(H, high=2.0, seed=8)
    if "recurrent" in neuron:
        leaves["V"] = random(H, H, low=-1, seed=9)
    return leaves


def run_adaptive(leaves: dict, theta: float = THETA):
    state = AdaptiveState(leaves["u"], leaves["w"], leaves["s"])
    coefficients = [leaves.get(name) for name in ("alpha", "beta", "a", "b")]
    V = leaves.get("V")
    return adaptive(leaves["I"], *coefficients, theta=theta, state=state, V=V, backend="naive")


def resonate_arguments(inside: bool, batch=B, steps=T) -> dict:
    """Leaf tensors by name: I, A, [gain], and the state's u and s."""
    leaves = {
        "I": random(batch, steps, H, low=-1, high=2, seed=1),
        "u": random_complex(batch, H, low=(0, 0), high=(1, 1), seed=2),
        "s": random(batch, H, seed=4),
    }
    if inside:
        leaves["A"] = random_complex(H, low=(0.3, -0.7), high=(0.7, 0.7), seed=5)
        leaves["gain"] = random(H, seed=7)
    else:
        leaves["I"] = random(batch, steps, H, low=-50, high=120, seed=1)
        leaves["A"] = random_complex(H, low=(-10, 5), high=(-1, 10), seed=5)
    return leaves


def resonate_constants(inside: bool) -> dict:
    if inside:
        return {"reset": 0.5, "scale": 2.0, "reset_inside": True}
    return {"reset": 1.0, "scale": 1.0, "reset_inside": False}


def run_resonate(leaves: dict, inside: bool, theta: float = THETA):
    return resonate(
        leaves["I"],
        leaves["A"],
        gain=leaves.get("gain", STEP),
        theta=theta,
        state=ResonateState(leaves["u"], leaves["s"]),
        backend="naive",
        **resonate_constants(inside),
    )


def close(actual, expected, rtol=1e-9, atol=1e-12):
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)
