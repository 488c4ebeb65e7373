# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The executable specification against scalar loops, and its gradients against the adjoints.

``adaptive_adjoint``, ``resonate_adjoint`` and ``readout_adjoint`` are the derivations of
models/dynamics/README.md, step by step; what autograd computes must be the same.
"""

import math

import pytest
import torch

from models.dynamics import AdaptiveState, ResonateState, adaptive, readout, resonate
from models.surrogate import boxcar

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


# The spike


def test_a_spike_needs_more_than_the_threshold():
    x = torch.tensor([-1.0, -1e-7, 0.0, 1e-7, 1.0])
    assert boxcar(x).tolist() == [0, 0, 0, 1, 1]


def test_the_surrogate_window_is_open_below_and_closed_above():
    edge = torch.tensor(0.5)
    up, down = torch.tensor(9.0), torch.tensor(-9.0)
    inside = [torch.nextafter(-edge, up), torch.tensor(0.0), torch.nextafter(edge, down), edge]
    outside = [-edge, torch.nextafter(-edge, down), torch.nextafter(edge, up), up, down]
    x = torch.stack(inside + outside).requires_grad_()
    boxcar(x).backward(torch.full_like(x, 3.0))
    assert x.grad.tolist() == [3.0] * 4 + [0.0] * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spikes_keep_the_precision_of_the_potential(dtype):
    assert boxcar(torch.ones(2, dtype=dtype)).dtype == dtype


# Forward, number by number


@shapes
@pytest.mark.parametrize("neuron", NEURONS)
def test_adaptive_recurrence(neuron, batch, steps):
    leaves = adaptive_arguments(neuron, batch, steps)
    spikes, state = run_adaptive(leaves)
    values = {name: leaf.tolist() for name, leaf in leaves.items()}
    alpha = values["alpha"]
    fired = 0
    for n in range(batch):
        u, w, s = values["u"][n], values["w"][n], values["s"][n]
        for t in range(steps):
            new_u, new_w = [], []
            for h in range(H):
                current = values["I"][n][t][h]
                if "V" in values:
                    current += sum(s[i] * values["V"][i][h] for i in range(H))
                adapted = w[h]
                if "beta" in values:
                    adapted = (
                        values["beta"][h] * w[h] + values["a"][h] * u[h] + values["b"][h] * s[h]
                    )
                    current -= adapted
                new_w.append(adapted)
                new_u.append(alpha[h] * (u[h] - s[h]) + (1 - alpha[h]) * current)
            u, w = new_u, new_w
            s = [float(potential > THETA) for potential in u]
            assert spikes[n, t].tolist() == s
            fired += sum(s)
        assert state.u[n].tolist() == pytest.approx(u)
        assert state.w[n].tolist() == pytest.approx(w)
        assert state.s[n].tolist() == s
    assert steps == 1 or 0 < fired < batch * steps * H


@shapes
@pytest.mark.parametrize("inside", [True, False])
def test_resonate_recurrence(inside, batch, steps):
    leaves = resonate_arguments(inside, batch, steps)
    spikes, state = run_resonate(leaves, inside)
    values = {name: leaf.tolist() for name, leaf in leaves.items()}
    fired = 0
    for n in range(batch):
        for h in range(H):
            u, s, A = values["u"][n][h], values["s"][n][h], values["A"][h]
            for t in range(steps):
                current = values["I"][n][t][h]
                if inside:
                    u = A * (u - 0.5 * s) + values["gain"][h] * current
                    s = float(2 * u.real > THETA)
                else:
                    u = u + STEP * (A * u + current) - s
                    s = float(u.real > THETA)
                assert spikes[n, t, h].item() == s
                fired += s
            assert state.u[n, h].item() == pytest.approx(u)
            assert state.s[n, h].item() == s
    assert steps == 1 or 0 < fired < batch * steps * H


@shapes
def test_readout_recurrence(batch, steps):
    I, alpha = random(batch, steps, H, low=-2, high=2, seed=1), random(H, seed=2)
    start = random(batch, H, seed=3)
    out, state = readout(I, alpha, state=start, backend="naive")
    for n in range(batch):
        u, summed = start[n].tolist(), [0.0] * H
        for t in range(steps):
            u = [
                alpha[c].item() * u[c] + (1 - alpha[c].item()) * I[n, t, c].item() for c in range(H)
            ]
            exponentials = [math.exp(potential) for potential in u]
            summed = [
                total + e / sum(exponentials) for total, e in zip(summed, exponentials, strict=True)
            ]
        assert out[n].tolist() == pytest.approx(summed)
        assert state[n].tolist() == pytest.approx(u)


def test_coefficients_of_zero_are_no_adaptation_bit_for_bit():
    leaves = {name: leaf.detach().float() for name, leaf in adaptive_arguments("plain").items()}
    leaves["w"] = torch.zeros_like(leaves["w"])
    plain, _ = run_adaptive(leaves)
    zero = torch.zeros(H)
    with_zeros, state = run_adaptive(leaves | {"beta": zero, "a": zero, "b": zero})
    assert torch.equal(plain, with_zeros)
    assert not state.w.any()


def test_without_adaptation_w_is_handed_back():
    leaves = adaptive_arguments("plain")
    assert run_adaptive(leaves)[1].w is leaves["w"]


@pytest.mark.parametrize("missing", ["beta", "a", "b"])
def test_half_an_adaptation_is_an_error(missing):
    leaves = adaptive_arguments("adaptive")
    del leaves[missing]
    with pytest.raises(ValueError, match="together"):
        run_adaptive(leaves)


@pytest.mark.parametrize("cut", [1, 5, T - 1])
def test_the_state_carries_a_sequence_on(cut):
    """Two pieces, the state handed on, give what one run gives: spikes and every gradient."""
    for make, run in (
        (lambda: adaptive_arguments("adaptive recurrent"), run_adaptive),
        (lambda: resonate_arguments(True), lambda leaves: run_resonate(leaves, True)),
        (lambda: resonate_arguments(False), lambda leaves: run_resonate(leaves, False)),
    ):
        whole_leaves, leaves = make(), make()
        whole, whole_state = run(whole_leaves)
        early, state = run(leaves | {"I": leaves["I"][:, :cut]})
        late, state = run(leaves | {"I": leaves["I"][:, cut:]} | state._asdict())
        pieces = torch.cat([early, late], dim=1)
        assert torch.equal(pieces, whole)
        for ours, expected in zip(state, whole_state, strict=True):
            assert torch.equal(ours, expected)
        weights = random(*whole.shape, seed=11).detach()
        (whole * weights).sum().backward()
        (pieces * weights).sum().backward()
        for name, leaf in leaves.items():
            close(leaf.grad, whole_leaves[name].grad)


def test_the_readout_carries_a_sequence_on():
    I, alpha, start = random(B, T, H, seed=1), random(H, seed=2), random(B, H, seed=3)
    out, state = readout(I, alpha, state=start, backend="naive")
    early, middle = readout(I[:, :5], alpha, state=start, backend="naive")
    late, end = readout(I[:, 5:], alpha, state=middle, backend="naive")
    close(early + late, out)
    assert torch.equal(end, state)


@pytest.mark.parametrize("a_from_the_edge", [-0.01, 0.01])
def test_adaptive_neurons_are_stable_above_one_value_of_a(a_from_the_edge):
    """Below the threshold the state decays if and only if a > -(1 - beta), for 0 <= a <= 1 too."""
    for alpha in (0.4, 0.82, 0.96):
        for beta in (0.7, 0.97, 0.99):
            a = -(1 - beta) + a_from_the_edge
            assert (spectral_radius(alpha, beta, a) < 1) == (a_from_the_edge > 0)
            assert all(spectral_radius(alpha, beta, k / 10) < 1 for k in range(11))


def spectral_radius(alpha: float, beta: float, a: float) -> float:
    """Largest |eigenvalue| of one silent step, its matrix found by stepping two unit states."""
    columns = []
    for u, w in ((1.0, 0.0), (0.0, 1.0)):
        numbers = [torch.tensor([[x]], dtype=torch.float64) for x in (u, w, 0.0)]
        coefficients = [torch.tensor([x], dtype=torch.float64) for x in (alpha, beta, a, 0.0)]
        silent = torch.zeros(1, 1, 1, dtype=torch.float64)
        state = AdaptiveState(*numbers)
        _, state = adaptive(silent, *coefficients, theta=1e9, state=state, backend="naive")
        columns.append(torch.stack([state.u[0, 0], state.w[0, 0]]))
    return torch.linalg.eigvals(torch.stack(columns, dim=1)).abs().max().item()


@pytest.mark.parametrize(("real", "imag"), [(-1, 10), (-10, 5), (-10, 10), (-0.1, 7.05)])
def test_euler_steps_of_resonate_and_fire_are_stable_in_a_disc(real, imag):
    assert silent_growth(complex(real, imag)) < 1


@pytest.mark.parametrize(("real", "imag"), [(-0.1, 7.1), (-1, 23), (-501, 0)])
def test_euler_steps_of_resonate_and_fire_are_unstable_beyond(real, imag):
    assert silent_growth(complex(real, imag)) > 1


def silent_growth(A: complex) -> float:
    """|u'| / |u| of one silent step of Resonate-and-Fire."""
    zero = torch.zeros(1, 1, dtype=torch.float64)
    _, state = resonate(
        zero[None],
        torch.tensor([A], dtype=torch.complex128),
        gain=STEP,
        theta=1e9,
        state=ResonateState(torch.ones(1, 1, dtype=torch.complex128), zero),
        backend="naive",
        **resonate_constants(inside=False),
    )
    return state.u.abs().item()


# Adjoints, as derived in models/dynamics/README.md


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
