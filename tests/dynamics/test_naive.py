# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The executable specification against scalar loops."""

import math

import pytest
import torch

from models.dynamics import AdaptiveState, ResonateState, adaptive, readout, resonate
from models.surrogate import boxcar
from tests.dynamics.cases import (
    NEURONS,
    STEP,
    THETA,
    B,
    H,
    T,
    adaptive_arguments,
    close,
    random,
    resonate_arguments,
    resonate_constants,
    run_adaptive,
    run_resonate,
    shapes,
)

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


def test_the_gradient_of_a_spike_is_summed_in_the_published_order():
    """Recurrent and reset path first, then b: unstable neurons make a last bit a whole spike."""
    leaves = adaptive_arguments("adaptive recurrent", batch=50, steps=1)
    leaves["beta"] = torch.ones(H, dtype=torch.float64)  # the gradient of w is then that of b s

    def gradients(b):
        state = run_adaptive(leaves | {"b": b})[1]
        weights = random(*state.u.shape, low=-1, seed=10).detach()
        return torch.autograd.grad((state.u * weights).sum(), (leaves["s"], leaves["w"]))

    of_s, of_w = gradients(leaves["b"])
    assert torch.equal(of_s, gradients(torch.zeros_like(leaves["b"]))[0] + of_w * leaves["b"])


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
