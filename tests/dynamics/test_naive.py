# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The executable specification against scalar loops."""

import functools
import math

import pytest
import torch

from models.dynamics import AdaptiveState, ResonateState, adaptive, resonate
from models.surrogate import spike
from tests.dynamics.cases import (
    RESETTING,
    adaptive_inputs,
    coarse,
    random,
    readout_inputs,
    resetting_inputs,
    resonate_inputs,
    run_adaptive,
    run_inside,
    run_outside,
    run_readout,
    run_resetting,
    run_resonate,
)

B, T, H = 3, 12, 5
STEP = 0.004  # s, of Resonate-and-Fire
DOUBLE = {"dtype": torch.float64}

shapes = pytest.mark.parametrize(("batch", "steps"), [(B, T), (1, T), (B, 1), (1, 1)])


# The spike


def test_a_spike_needs_more_than_the_threshold():
    x = torch.tensor([-1.0, -1e-7, 0.0, 1e-7, 1.0])
    assert spike(x).tolist() == [0, 0, 0, 1, 1]
    assert spike(x, at_threshold=True).tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("case", "at_threshold"), [("LIF, hard", True), ("LIF, soft", True), ("SE-adLIF", False)]
)
def test_lif_that_is_reset_at_once_spikes_at_the_threshold(case, at_threshold):
    adapts, form = RESETTING[case]
    inputs = coarse(resetting_inputs(3, 9, 40, adapts=adapts))
    below, at, above = (
        run_resetting("naive", **inputs, theta=1 + shift, **form)[0] for shift in (-1e-6, 0.0, 1e-6)
    )
    assert torch.equal(at, below) == at_threshold
    assert torch.equal(at, above) != at_threshold


def test_the_surrogate_window_is_open_below_and_closed_above():
    edge = torch.tensor(0.5)
    up, down = torch.tensor(9.0), torch.tensor(-9.0)
    inside = [torch.nextafter(-edge, up), torch.tensor(0.0), torch.nextafter(edge, down), edge]
    outside = [-edge, torch.nextafter(-edge, down), torch.nextafter(edge, up), up, down]
    x = torch.stack(inside + outside).requires_grad_()
    spike(x).backward(torch.full_like(x, 3.0))
    assert x.grad.tolist() == [3.0] * 4 + [0.0] * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spikes_keep_the_precision_of_the_potential(dtype):
    assert spike(torch.ones(2, dtype=dtype)).dtype == dtype


# Forward, number by number


@shapes
@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize("recurrent", [False, True])
def test_adaptive_recurrence(adapts, recurrent, batch, steps):
    inputs = adaptive_inputs(batch, steps, H, adapts=adapts, recurrent=recurrent, **DOUBLE)
    spikes, *state = run_adaptive("naive", **inputs)
    given = {name: None if x is None else x.tolist() for name, x in inputs.items()}
    alpha, beta, a, b, V = (given[name] for name in ("alpha", "beta", "a", "b", "V"))
    fired = 0
    for n in range(batch):
        u, w, s = given["u"][n], given["w"][n], given["s"][n]
        for t in range(steps):
            new_u, new_w = [], []
            for h in range(H):
                current = given["I"][n][t][h]
                if recurrent:
                    current += sum(s[i] * V[i][h] for i in range(H))
                adapted = w[h]
                if adapts:
                    adapted = beta[h] * w[h] + a[h] * u[h] + b[h] * s[h]
                    current -= adapted
                new_w.append(adapted)
                new_u.append(alpha[h] * (u[h] - s[h]) + (1 - alpha[h]) * current)
            u, w = new_u, new_w
            s = [float(potential > 1.0) for potential in u]
            assert spikes[n, t].tolist() == s
            fired += sum(s)
        for found, expected in zip(state, (u, w, s), strict=True):
            assert found[n].tolist() == pytest.approx(expected)
    assert steps == 1 or 0 < fired < batch * steps * H


@shapes
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("recurrent", [False, True])
def test_resonate_recurrence(inside, recurrent, batch, steps):
    inputs = resonate_inputs(batch, steps, H, inside=inside, recurrent=recurrent, **DOUBLE)
    spikes, *state = run_resonate("naive", **inputs, inside=inside)
    given = {name: x.tolist() for name, x in inputs.items()}
    fired = 0
    for n in range(batch):
        us, s = given["u"][n], given["s"][n]
        for t in range(steps):
            currents = given["I"][n][t]
            if recurrent:
                currents = [
                    current + sum(s[i] * given["V"][i][h] for i in range(H))
                    for h, current in enumerate(currents)
                ]
            neurons = zip(us, s, currents, given["A"], given["gain"], strict=True)
            if inside:
                us = [
                    A * (u - 0.5 * spike) + gain * current for u, spike, current, A, gain in neurons
                ]
            else:
                us = [
                    u + gain * (A * u + current) - spike for u, spike, current, A, gain in neurons
                ]
            s = [float((2 if inside else 1) * u.real > 1.0) for u in us]
            assert spikes[n, t].tolist() == s
            fired += sum(s)
        assert state[0][n].tolist() == pytest.approx(us)
        assert state[1][n].tolist() == s
    assert steps == 1 or 0 < fired < batch * steps * H


@shapes
def test_readout_recurrence(batch, steps):
    inputs = readout_inputs(batch, steps, H, **DOUBLE)
    out, state = run_readout("naive", **inputs)
    given = {name: x.tolist() for name, x in inputs.items()}
    for n in range(batch):
        u, summed = given["u"][n], [0.0] * H
        for current in given["I"][n]:
            mixed = zip(given["alpha"], u, current, strict=True)
            u = [alpha * before + (1 - alpha) * now for alpha, before, now in mixed]
            exponentials = [math.exp(potential) for potential in u]
            summed = [
                total + e / sum(exponentials) for total, e in zip(summed, exponentials, strict=True)
            ]
        assert out[n].tolist() == pytest.approx(summed)
        assert state[n].tolist() == pytest.approx(u)


def test_zero_coefficients_equal_no_adaptation_bit_for_bit():
    inputs = adaptive_inputs(B, T, H, adapts=False) | {"w": torch.zeros(B, H)}
    plain, *_ = run_adaptive("naive", **inputs)
    zeros = dict.fromkeys(("beta", "a", "b"), torch.zeros(H))
    with_zeros, _, w, _ = run_adaptive("naive", **inputs | zeros)
    assert torch.equal(plain, with_zeros)
    assert not w.any()


def test_the_gradient_of_a_spike_is_summed_in_the_published_order():
    """Recurrent and reset path first, then b: unstable neurons make a last bit a whole spike."""
    inputs = adaptive_inputs(50, 1, H, recurrent=True, **DOUBLE)
    inputs["beta"] = torch.ones(H, dtype=torch.float64)  # the gradient of w is then that of b s
    weights = random(10, torch.float64)(-1, 1, 50, H)

    def gradients(b):
        s, w = (inputs[name].clone().requires_grad_() for name in ("s", "w"))
        _, u, *_ = run_adaptive("naive", **inputs | {"b": b, "s": s, "w": w})
        return torch.autograd.grad((u * weights).sum(), (s, w))

    of_s, of_w = gradients(inputs["b"])
    assert torch.equal(of_s, gradients(torch.zeros_like(inputs["b"]))[0] + of_w * inputs["b"])


def test_without_adaptation_w_is_returned_unchanged():
    inputs = adaptive_inputs(B, T, H, adapts=False)
    assert run_adaptive("naive", **inputs)[2] is inputs["w"]


@pytest.mark.parametrize("missing", ["beta", "a", "b"])
def test_partial_adaptation_is_refused(missing):
    with pytest.raises(ValueError, match="together"):
        run_adaptive("naive", **adaptive_inputs(B, T, H) | {missing: None})


RUNS = {
    "adaptive": (run_adaptive, functools.partial(adaptive_inputs, recurrent=True)),
    "inside": (run_inside, functools.partial(resonate_inputs, inside=True)),
    "outside": (run_outside, functools.partial(resonate_inputs, inside=False)),
}


@pytest.mark.parametrize("cut", [1, 5, T - 1])
@pytest.mark.parametrize("case", RUNS)
def test_two_pieces_with_the_state_carried_over_equal_one_run(case, cut):
    """Two pieces, the state handed on, give what one run gives: spikes and every gradient."""
    run, make = RUNS[case]
    inputs = make(B, T, H, **DOUBLE)
    weights = random(11, torch.float64)(0, 1, B, T, H)

    def in_two(backend, I, **others):
        early, *state = run(backend, I=I[:, :cut], **others)
        names = ("u", "w", "s") if len(state) == 3 else ("u", "s")
        late, *state = run(backend, I=I[:, cut:], **others | dict(zip(names, state, strict=True)))
        return [torch.cat([early, late], dim=1), *state]

    results = []
    for function in (run, in_two):
        leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
        outputs = function("naive", **leaves)
        (outputs[0] * weights).sum().backward()
        results.append((outputs, [x.grad for x in leaves.values()]))
    (whole, gradients), (pieces, of_pieces) = results
    assert all(torch.equal(a, b) for a, b in zip(whole, pieces, strict=True))
    for ours, expected in zip(of_pieces, gradients, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


def test_the_readout_continues_from_its_state():
    inputs = readout_inputs(B, T, H, **DOUBLE)
    out, state = run_readout("naive", **inputs)
    early, middle = run_readout("naive", **inputs | {"I": inputs["I"][:, :5]})
    late, end = run_readout("naive", **inputs | {"I": inputs["I"][:, 5:], "u": middle})
    torch.testing.assert_close(early + late, out, rtol=1e-9, atol=1e-12)
    assert torch.equal(end, state)


# Stability


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
    coefficients = [torch.tensor([x], **DOUBLE) for x in (alpha, beta, a, 0.0)]
    u, w = torch.eye(2, **DOUBLE)[:, :, None]
    silent, state = torch.zeros(2, 1, 1, **DOUBLE), AdaptiveState(u, w, torch.zeros_like(u))
    _, state = adaptive(silent, *coefficients, theta=1e9, state=state, backend="naive")
    return torch.linalg.eigvals(torch.cat([state.u, state.w], dim=1)).abs().max().item()


@pytest.mark.parametrize(
    ("real", "imag", "stable"),
    [
        (-1, 10, True), (-10, 5, True), (-10, 10, True), (-0.1, 7.05, True),
        (-0.1, 7.1, False), (-1, 23, False), (-501, 0, False),
    ],
)  # fmt: skip
def test_euler_steps_of_resonate_and_fire_are_stable_in_a_disc(real, imag, stable):
    zero = torch.zeros(1, 1, **DOUBLE)
    _, state = resonate(
        zero[None], torch.tensor([complex(real, imag)]), reset=1.0, gain=STEP, scale=1.0, theta=1e9,
        state=ResonateState(zero + 1 + 0j, zero), reset_inside=False, backend="naive",
    )  # fmt: skip
    assert (state.u.abs().item() < 1) is stable
