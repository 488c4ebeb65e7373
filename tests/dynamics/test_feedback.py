# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recurrent weights whose spikes return after delays, in plain PyTorch and on the CPU."""

import functools

import pytest
import torch

from models.dynamics import AdaptiveState, Feedback, adaptive
from tests.dynamics.cases import (
    FEEDBACK,
    VECTOR,
    adaptive_inputs,
    assert_like_naive,
    feedback_inputs,
    largest_error,
    outputs_and_gradients,
    run_feedback,
)


@pytest.mark.parametrize("neuron", FEEDBACK)
@pytest.mark.parametrize(("B", "T"), [(3, 41), (1, 1), (9, 4)])
@pytest.mark.parametrize("threads", [1, 2])
def test_cpu_like_naive(neuron, B, T, threads, monkeypatch):
    monkeypatch.setattr("models.dynamics.numba_support._WORTH_A_THREAD", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        run = functools.partial(run_feedback, neuron=neuron)
        assert_like_naive(run, "cpu", feedback_inputs(neuron, B, T))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "options", [{"taps": 1, "latest": 1}, {"taps": 0}, {"dropout": False}, {"latest": 30}]
)
def test_other_delays_on_the_cpu(options):
    inputs = feedback_inputs("LIF", 2, 7, carried=False, **options)
    assert_like_naive(functools.partial(run_feedback, neuron="LIF"), "cpu", inputs)


@pytest.mark.parametrize("backend", ["naive", "cpu"])
def test_spikes_return_when_and_where_they_should(backend):
    """LIF, number by number in double precision."""
    B, T, H = 2, 30, VECTOR
    given = feedback_inputs("LIF", B, T) | {"w": torch.zeros(B, H)}
    spikes, u, _, _, line = run_feedback(backend, "LIF", **given)
    x = {k: v.double().tolist() if isinstance(v, torch.Tensor) else v for k, v in given.items()}
    first, span = given["first"].tolist(), given["span"]
    for n in range(B):
        potential, fired = x["u"][n], {-1: x["s"][n]}
        fired |= {k - span: x["line"][n][k] for k in range(span - 1)}
        for t in range(T):
            s = fired[t - 1]
            z = [
                sum(
                    x["taps"][j][t - then - first[j]] * earlier[j]
                    for then, earlier in fired.items()
                    if 0 <= t - then - first[j] < given["taps"].shape[1]
                )
                for j in range(H)
            ]
            returned = [
                x["mask"][n][i] * sum(z[j] * x["V"][j][i] for j in range(H)) for i in range(H)
            ]
            potential = [
                x["alpha"][i] * (potential[i] - s[i])
                + (1 - x["alpha"][i]) * (x["I"][n][t][i] + returned[i])
                for i in range(H)
            ]
            fired[t] = [float(v > 1) for v in potential]
            assert spikes[n, t].tolist() == fired[t]
        assert u[n].tolist() == pytest.approx(potential, abs=1e-5)
        assert line[n].tolist() == [fired[t] for t in range(T - span, T - 1)]
    assert 0.02 < spikes.mean() < 0.6


@pytest.mark.parametrize("backend", ["naive", "cpu"])
def test_no_delay_is_the_plain_recurrence(backend):
    H = VECTOR
    inputs = adaptive_inputs(3, 40, H, recurrent=True)
    values = {k: v for k, v in inputs.items() if k not in ("u", "w", "s", "V")}
    state = AdaptiveState(*(inputs[name] for name in ("u", "w", "s")))
    taps = torch.tensor([1.0, 0.0, 0.0]).expand(H, 3)
    found = []
    for V in (inputs["V"], Feedback(inputs["V"], None, taps, torch.ones(H, dtype=torch.int64), 3)):
        I = values["I"].clone().requires_grad_()
        spikes, _ = adaptive(**values | {"I": I}, theta=1.0, state=state, V=V, backend=backend)
        (spikes * torch.arange(H).cos()).sum().backward()
        found.append((spikes, I.grad))
    (plain, by_I), (delayed, delayed_by_I) = found
    assert torch.equal(plain, delayed)
    assert largest_error(delayed_by_I, by_I) < (1e-12 if backend == "naive" else 1e-6)


@pytest.mark.parametrize("backend", ["naive", "cpu"])
def test_a_clip_in_two_parts_is_one_clip(backend):
    """The line carries spikes, and their gradients, from one part to the next."""

    def halves(backend, I, u, w, s, line, **rest):
        parts, fired = I.split([7, 6], dim=1), []
        for part in parts:
            state = {"u": u, "w": w, "s": s, "line": line}
            spikes, u, w, s, line = run_feedback(backend, "adaptive", part, **state, **rest)
            fired.append(spikes)
        return [torch.cat(fired, dim=1), u, w, s, line]

    whole = functools.partial(run_feedback, neuron="adaptive")
    inputs = feedback_inputs("adaptive", 2, 13)
    expected, gradients = outputs_and_gradients(whole, backend, inputs)
    found, ours = outputs_and_gradients(halves, backend, inputs)
    for x, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(x, reference, rtol=1e-5, atol=1e-6)
    for name in ("I", "V", "taps", "line", "alpha", "s"):
        torch.testing.assert_close(ours[name], gradients[name], rtol=1e-4, atol=1e-4)
        assert gradients[name].any(), name
