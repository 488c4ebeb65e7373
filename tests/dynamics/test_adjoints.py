# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What autograd computes of the recurrences against the adjoints, and plain calculus.

The functions ``..._adjoint`` are the derivations of models/dynamics/README.md, step by step; what
autograd computes must be the same.
"""

import functools

import pytest
import torch

from tests.dynamics.cases import (
    BRF_STEP,
    RESETTING,
    adaptive_inputs,
    balanced_inputs,
    outputs_and_gradients,
    readout_inputs,
    resetting_inputs,
    resonate_inputs,
    run_adaptive,
    run_balanced,
    run_readout,
    run_resetting,
    run_resonate,
    upstream,
)

B, T, H = 3, 12, 5

shapes = pytest.mark.parametrize(("batch", "steps"), [(B, T), (1, T), (B, 1), (1, 1)])


def window(x):
    return ((x > -0.5) & (x <= 0.5)).to(x.dtype)


def adaptive_adjoint(inputs: dict, grad_spikes, *grad_state) -> dict:
    """Gradient of every input, given those of the spikes [B, T, H] and of the last state."""
    I, alpha, V, theta = inputs["I"], inputs["alpha"], inputs["V"], inputs["theta"]
    adapts = inputs["beta"] is not None
    kept = []  # u, w, s before step t and u after it
    u, w, s = inputs["u"], inputs["w"], inputs["s"]
    for t in range(I.shape[1]):
        step = inputs | {"I": I[:, t : t + 1], "u": u, "w": w, "s": s}
        _, *after = run_adaptive("naive", **step)
        kept.append((u, w, s, after[0]))
        u, w, s = after

    grads = {name: None if x is None else torch.zeros_like(x) for name, x in inputs.items()}
    gu, gw, gs = grad_state
    for t in reversed(range(I.shape[1])):
        u, w, s, u_new = kept[t]
        gs = gs + grad_spikes[:, t]
        gu = gu + window(u_new - theta) * gs
        grads["theta"] -= (window(u_new - theta) * gs).sum(0)
        gc = (1 - alpha) * gu
        grads["I"][:, t] = gc
        grads["alpha"] += (gu * (u - s - u_new) / (1 - alpha)).sum(0)
        next_gu, next_gs = alpha * gu, -alpha * gu
        if adapts:
            gw = gw - gc
            grads["beta"] += (gw * w).sum(0)
            grads["a"] += (gw * u).sum(0)
            grads["b"] += (gw * s).sum(0)
            next_gu, next_gs = next_gu + inputs["a"] * gw, next_gs + inputs["b"] * gw
            gw = inputs["beta"] * gw
        if V is not None:
            grads["V"] += s.T @ gc
            next_gs = next_gs + gc @ V.T
        gu, gs = next_gu, next_gs
    return grads | {"u": gu, "w": gw, "s": gs}


def resonate_adjoint(inside: bool, inputs: dict, grad_spikes, *grad_state) -> dict:
    """As ``adaptive_adjoint``; a complex gradient is d/dRe + i d/dIm, torch's convention."""
    I, A, gain, theta, reset, scale, V = (
        inputs.get(name) for name in ("I", "A", "gain", "theta", "reset", "scale", "V")
    )
    kept = []  # u and s before step t, and u after it
    u, s = inputs["u"], inputs["s"]
    for t in range(I.shape[1]):
        step = inputs | {"I": I[:, t : t + 1], "u": u, "s": s}
        _, *after = run_resonate("naive", **step, inside=inside)
        kept.append((u, s, after[0]))
        u, s = after

    grads = {name: torch.zeros_like(x) for name, x in inputs.items()}
    gu, gs = grad_state
    for t in reversed(range(I.shape[1])):
        u, s, u_new = kept[t]
        current = I[:, t] if V is None else I[:, t] + s @ V
        gs = gs + grad_spikes[:, t]
        by_spike = window(scale * u_new.real - theta) * gs
        grads["theta"] -= by_spike.sum(0)
        grads["scale"] += (by_spike * u_new.real).sum(0)
        gu = gu + scale * by_spike
        grads["I"][:, t] = gain * gu.real
        if inside:
            grads["A"] += ((u - reset * s).conj() * gu).sum(0)
            grads["gain"] += (gu.real * current).sum(0)
            gu = A.conj() * gu
            grads["reset"] -= (s * gu.real).sum(0)
            gs = -reset * gu.real
        else:
            grads["A"] += (gain * u.conj() * gu).sum(0)
            grads["gain"] += ((A * u + current).conj() * gu).real.sum(0)
            grads["reset"] -= (s * gu.real).sum(0)
            gs = -reset * gu.real
            gu = gu + gain * A.conj() * gu
        if V is not None:
            grads["V"] += s.T @ grads["I"][:, t]
            gs = gs + grads["I"][:, t] @ V.T
    return grads | {"u": gu, "s": gs}


def resetting_adjoint(form: dict, inputs: dict, grad_spikes, *grad_state) -> dict:
    """As ``adaptive_adjoint``, of the recurrence with the options ``form``."""
    I, alpha, V, theta = (inputs[name] for name in ("I", "alpha", "V", "theta"))
    adapts, scales = inputs["beta"] is not None, form.get("scales", True)
    hard, detached = form.get("hard", True), form.get("detached", True)
    symplectic, keep = form.get("symplectic", True), 1 - alpha if scales else torch.ones_like(alpha)
    kept = []  # u, w, s before step t, the current, u as it fired, and u, s after the step
    u, w, s = inputs["u"], inputs["w"], inputs["s"]
    for t in range(I.shape[1]):
        current = I[:, t] if V is None else I[:, t] + s @ V
        current = current - w if adapts else current
        fired = alpha * u + keep * current
        step = inputs | {"I": I[:, t : t + 1], "u": u, "w": w, "s": s}
        _, *after = run_resetting("naive", **step, **form)
        kept.append((u, w, s, current, fired, after[0], after[2]))
        u, w, s = after

    grads = {name: None if x is None else torch.zeros_like(x) for name, x in inputs.items()}
    gu, gw, gs = grad_state
    for t in reversed(range(I.shape[1])):
        u, w, s, current, fired, u_new, s_new = kept[t]
        gs = gs + grad_spikes[:, t]
        next_gu, next_gs, next_gw = torch.zeros_like(gu), torch.zeros_like(gs), gw
        if adapts:
            seen, jump = (u_new, s_new) if symplectic else (u, s)
            for name, factor in (("beta", w), ("a", seen), ("b", jump)):
                grads[name] += (gw * factor).sum(0)
            if symplectic:
                gu, gs = gu + inputs["a"] * gw, gs + inputs["b"] * gw
            else:
                next_gu, next_gs = inputs["a"] * gw, inputs["b"] * gw
            next_gw = inputs["beta"] * gw
        if not detached:
            gs = gs - gu * (fired if hard else theta)
        if not hard:
            grads["theta"] -= (s_new * gu).sum(0)
        by_spike = window(fired - theta) * gs
        grads["theta"] -= by_spike.sum(0)
        g_fired = (gu * (1 - s_new) if hard else gu) + by_spike
        grads["alpha"] += (g_fired * (u - current if scales else u)).sum(0)
        gc = keep * g_fired
        grads["I"][:, t] = gc
        gu, gs, gw = next_gu + alpha * g_fired, next_gs, next_gw
        if adapts:
            gw = gw - gc
        if V is not None:
            grads["V"] += s.T @ gc
            gs = gs + gc @ V.T
    return grads | {"u": gu, "w": gw, "s": gs}


def balanced_adjoint(inputs: dict, grad_spikes, *grad_state) -> dict:
    I, omega, V, theta = (inputs[name] for name in ("I", "omega", "V", "theta"))
    step, decay = BRF_STEP, 0.9
    kept = []  # u, v, q, s before step t, and u after it
    state = [inputs[name] for name in "uvqs"]
    for t in range(I.shape[1]):
        now = inputs | {"I": I[:, t : t + 1]} | dict(zip("uvqs", state, strict=True))
        _, *after = run_balanced("naive", **now)
        kept.append((*state, after[0]))
        state = after

    grads = {name: torch.zeros_like(x) for name, x in inputs.items()}
    gu, gv, gq, gs = grad_state
    for t in reversed(range(I.shape[1])):
        u, v, q, s, u_new = kept[t]
        b = inputs["damping"] - q
        gs = gs + grad_spikes[:, t] + gq
        by_spike = window(u_new - theta - q) * gs
        grads["theta"] -= by_spike.sum(0)
        gu = gu + by_spike
        gb = step * (gu * u + gv * v)
        gc = step * gu
        grads["I"][:, t] = gc
        grads["omega"] += step * (gv * u - gu * v).sum(0)
        grads["damping"] += gb.sum(0)
        gq = decay * gq - by_spike - gb
        gu, gv = gu + step * (b * gu + omega * gv), gv + step * (b * gv - omega * gu)
        grads["V"] += s.T @ gc
        gs = gc @ V.T
    return grads | {"u": gu, "v": gv, "q": gq, "s": gs}


def readout_adjoint(inputs: dict, grad_out, grad_state) -> dict:
    I, alpha = inputs["I"], inputs["alpha"]
    kept = [inputs["u"]]
    for t in range(I.shape[1]):
        kept.append(alpha * kept[-1] + (1 - alpha) * I[:, t])
    grads = {name: torch.zeros_like(x) for name, x in inputs.items()}
    gu = grad_state
    for t in reversed(range(I.shape[1])):
        u, u_new = kept[t], kept[t + 1]
        p = torch.softmax(u_new, dim=1)
        gu = gu + p * (grad_out - (p * grad_out).sum(1, keepdim=True))
        grads["I"][:, t] = (1 - alpha) * gu
        grads["alpha"] += (gu * (u - u_new) / (1 - alpha)).sum(0)
        gu = alpha * gu
    return grads | {"u": gu}


CASES = {
    "readout": (run_readout, readout_inputs, readout_adjoint),
    "balanced": (run_balanced, functools.partial(balanced_inputs, learns=True), balanced_adjoint),
    **{
        f"{name}, recurrent {recurrent}": (
            functools.partial(run_resetting, **form),
            functools.partial(resetting_inputs, adapts=adapts, recurrent=recurrent, learns=True),
            functools.partial(resetting_adjoint, form),
        )
        for name, (adapts, form) in RESETTING.items()
        for recurrent in (True, False)
    },
    **{
        f"resonate, inside {inside}, recurrent {recurrent}": (
            functools.partial(run_resonate, inside=inside),
            functools.partial(resonate_inputs, inside=inside, recurrent=recurrent, learns=True),
            functools.partial(resonate_adjoint, inside),
        )
        for inside in (True, False)
        for recurrent in (True, False)
    },
    **{
        f"adapts {adapts}, recurrent {recurrent}": (
            run_adaptive,
            functools.partial(adaptive_inputs, adapts=adapts, recurrent=recurrent, learns=True),
            adaptive_adjoint,
        )
        for adapts in (True, False)
        for recurrent in (True, False)
    },
}


@shapes
@pytest.mark.parametrize("case", CASES)
def test_adjoints(case, batch, steps):
    run, make, adjoint = CASES[case]
    inputs = make(batch, steps, H, dtype=torch.float64)
    outputs, expected = outputs_and_gradients(run, "naive", inputs)
    with torch.no_grad():
        ours = adjoint(inputs, *upstream(outputs))
    for name, gradient in expected.items():
        if gradient is None:  # the spikes before the first step, where nothing sees them
            assert name == "s"
            assert not ours[name].any()
            continue
        torch.testing.assert_close(ours[name], gradient, rtol=1e-9, atol=1e-12, msg=name)
        assert gradient.any(), name


@pytest.mark.parametrize("theta", [1e9, -1e9])
@pytest.mark.parametrize("case", [x for x in CASES if x != "readout" and "soft" not in x])
def test_far_from_the_threshold_the_gradient_is_plain_calculus(case, theta):
    """There is no surrogate where neurons never or always fire: central differences agree.

    A soft reset, which takes theta from u, would bring u near it.
    """
    run, make, _ = CASES[case]
    inputs = make(B, T, H, dtype=torch.float64)

    def potential(values):
        spikes, u, *_ = run("naive", **values | {"theta": theta})
        assert (spikes == float(theta < 0)).all()
        return (torch.view_as_real(u) if u.is_complex() else u).sum()

    leaves = {k: None if x is None else x.clone().requires_grad_() for k, x in inputs.items()}
    potential(leaves).backward()
    moving = {
        name: x for name, x in inputs.items() if x is not None and leaves[name].grad is not None
    }
    for (name, x), direction in zip(moving.items(), upstream(moving.values()), strict=True):
        ends = [potential(inputs | {name: x + sign * 1e-5 * direction}) for sign in (1, -1)]
        slope = (ends[0] - ends[1]).item() / 2e-5
        ours = (leaves[name].grad.conj() * direction).real.sum().item()
        assert ours == pytest.approx(slope, rel=1e-5, abs=1e-8), name
