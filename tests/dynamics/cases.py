# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Inputs of the recurrences, and comparisons of a back end with the executable specification."""

import functools
import itertools

import torch

from models.dynamics import (
    AdaptiveState,
    BalancedState,
    Delayed,
    Feedback,
    ResonateState,
    adaptive,
    balanced,
    potentials,
    readout,
    resetting,
    resonate,
    selective_scan,
)
from models.surrogate import BOXCAR, surrogate

SHAPES = [(1, 1, 1), (2, 1, 500), (1, 63, 500), (3, 63, 17), (2, 20, 1024), (9, 48, 5)]
BRF_STEP = 0.01
# Forms of `resetting`: whether it adapts, and its options
RESETTING = {
    "SE-adLIF": (True, {}),
    "EF-adLIF": (True, {"symplectic": False}),
    "EF-adLIF, soft, attached": (True, {"symplectic": False, "hard": False, "detached": False}),
    "LIF, hard": (False, {"scales": False}),
    "LIF, soft": (False, {"scales": False, "hard": False}),
    "LIF, hard, attached": (False, {"scales": False, "detached": False}),
    "LIF, soft, attached": (False, {"scales": False, "hard": False, "detached": False}),
}
VECTOR = 16  # complex numbers that PyTorch multiplies at once on a CPU with AVX-512; 8 with AVX2


def random(seed: int, dtype=torch.float32):
    """A function that draws reproducible uniform tensors: ``draw(low, high, *shape)``."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high, *shape):
        return torch.rand(*shape, generator=generator, dtype=dtype) * (high - low) + low

    return draw


def adaptive_inputs(
    B, T, H, *, adapts=True, recurrent=False, learns=False, a_low=0.0, seed=0, dtype=torch.float32
):
    """Realistic inputs by name; those that the variant lacks are None; theta only if it learns."""
    draw = random(seed, dtype)
    inputs = {"I": draw(-1, 3.5, B, T, H), "alpha": draw(0.37, 0.96, H)}
    inputs["beta"] = draw(0.96, 0.99, H) if adapts else None
    inputs["a"] = draw(a_low, 1, H) if adapts else None
    inputs["b"] = draw(0, 2, H) if adapts else None
    inputs |= {name: draw(0, 1, B, H) for name in ("u", "w", "s")}
    inputs["V"] = draw(-1, 1, H, H) * (2 / H) ** 0.5 if recurrent else None
    return inputs | ({"theta": draw(0.6, 1.4, H)} if learns else {})


def run_adaptive(
    backend, I, alpha, beta, a, b, u, w, s, V, *, theta=1.0, fold=None, surrogate=BOXCAR
):
    """Spikes and final state."""
    spikes, state = adaptive(
        I, alpha, beta, a, b, theta=theta, state=AdaptiveState(u, w, s), V=V, fold=fold,
        surrogate=surrogate, backend=backend,
    )  # fmt: skip
    return [spikes, *state]


def resonate_inputs(
    B, T, H, *, inside, gain_is_tensor=True, recurrent=False, learns=False, seed=0,
    dtype=torch.float32,
):  # fmt: skip
    """C-SiLIF's coefficients with the reset inside, RF's outside; limits only if they learn."""
    draw = random(seed, dtype)
    decay, frequency, u = draw(-10, -1, H), draw(5, 10, H), draw(0, 1, B, H, 2)
    A = torch.complex(decay, frequency)
    inputs = {
        "I": draw(-1, 3, B, T, H) if inside else draw(-20, 60, B, T, H),
        "A": torch.exp(draw(0.01, 0.5, H) * torch.complex(draw(-0.7, -0.3, H), frequency / 2))
        if inside
        else A,
        "gain": draw(0, 1, H) if inside else draw(0.002, 0.006, H),
        "u": torch.view_as_complex(u),
        "s": draw(0, 1, B, H),
    }
    if learns:
        limits = {"theta": (0.6, 1.4), "reset": (0.4, 1.1), "scale": (0.9, 2)}
        inputs |= {name: draw(*bounds, H) for name, bounds in limits.items()}
    if recurrent:
        inputs["V"] = draw(-1, 1, H, H) * (2 / H) ** 0.5 * (1 if inside else 20)
    return inputs if gain_is_tensor else {**inputs, "gain": 0.5 if inside else 0.004}


def run_resonate(
    backend, I, A, gain, u, s, *, inside, V=None, theta=1.0, reset=None, scale=None, fold=None,
    surrogate=BOXCAR,
):  # fmt: skip
    """Spikes and final state.

    PyTorch's complex product rounds each real product, but not in the last H % VECTOR columns,
    where its scalar code contracts to fused multiply-adds. So that the specification rounds alike
    in all columns it runs on neurons padded to whole vectors.
    """
    H = I.shape[2]
    if reset is None:
        reset, scale = (0.5, 2.0) if inside else (1.0, 1.0)
    if backend == "naive":
        I, A, gain, u, s, theta, reset, scale = (
            torch.nn.functional.pad(x, (0, -H % VECTOR)) if isinstance(x, torch.Tensor) else x
            for x in (I, A, gain, u, s, theta, reset, scale)
        )
        V = V if V is None else torch.nn.functional.pad(V, (0, -H % VECTOR) * 2)
    spikes, state = resonate(
        I, A, reset, gain, scale=scale, theta=theta, state=ResonateState(u, s), reset_inside=inside,
        V=V, fold=fold, surrogate=surrogate, backend=backend,
    )  # fmt: skip
    return [x[..., :H] for x in (spikes, *state)]


def resetting_inputs(
    B, T, H, *, adapts=True, recurrent=False, learns=False, seed=0, dtype=torch.float32
):
    """As ``adaptive_inputs``; LIF of small currents, as they are not scaled."""
    inputs = adaptive_inputs(
        B, T, H, adapts=adapts, recurrent=recurrent, learns=learns, seed=seed, dtype=dtype
    )
    if not adapts:
        return inputs | {"I": inputs["I"] * 0.3}
    return inputs | {"a": inputs["a"] * 0.6, "b": inputs["b"] * 0.6}


def coarse(inputs):
    """Inputs of ``resetting`` of few bits, with which potentials are now and then 1, to the bit."""
    half = torch.full_like(inputs["alpha"], 0.5)
    found = {name: x if x is None else (4 * x).round() / 4 for name, x in inputs.items()}
    return found | {"alpha": half}


def run_resetting(
    backend, I, alpha, beta, a, b, u, w, s, V, *, theta=1.0, fold=None, surrogate=BOXCAR, **form
):
    """Spikes and final state."""
    spikes, state = resetting(
        I, alpha, beta, a, b, theta=theta, state=AdaptiveState(u, w, s), V=V, fold=fold,
        surrogate=surrogate, backend=backend, **form,
    )  # fmt: skip
    return [spikes, *state]


def balanced_inputs(B, T, H, *, recurrent=True, learns=False, seed=0, dtype=torch.float32):
    """Coefficients of BRF, at frequencies where some neurons fire often."""
    draw = random(seed, dtype)
    inputs = {"I": draw(-20, 60, B, T, H), "omega": draw(5, 40, H), "damping": draw(-6, -1, H)}
    inputs |= {name: draw(0, 1, B, H) for name in ("u", "v", "q", "s")}
    inputs["V"] = draw(-10, 10, H, H) * (2 / H) ** 0.5 if recurrent else None
    return inputs | ({"theta": draw(0.6, 1.4, H)} if learns else {})


def run_balanced(
    backend, I, omega, damping, u, v, q, s, V, *, theta=1.0, fold=None, surrogate=BOXCAR
):
    """Spikes and final state."""
    spikes, state = balanced(
        I, omega, damping, step=BRF_STEP, decay=0.9, theta=theta, state=BalancedState(u, v, q, s),
        V=V, fold=fold, surrogate=surrogate, backend=backend,
    )  # fmt: skip
    return [spikes, *state]


# Recurrences whose spikes may return after delays, and what makes their inputs
FEEDBACK = {
    "LIF": functools.partial(adaptive_inputs, adapts=False),
    "adaptive": adaptive_inputs,
    "inside": functools.partial(resonate_inputs, inside=True),
    "outside": functools.partial(resonate_inputs, inside=False),
    "resetting": resetting_inputs,
    "balanced": functools.partial(balanced_inputs, recurrent=False),
}


def feedback_inputs(
    neuron, B, T, H=VECTOR, *, taps=5, latest=7, dropout=True, carried=True, seed=7,
    dtype=torch.float32,
):  # fmt: skip
    """Inputs of a recurrence and of its ``Feedback``, without a line unless it is ``carried`` on.

    Delays begin after 1 to ``latest`` steps; where there are no ``taps``, spikes return after one.
    """
    draw, generator = random(seed, dtype), torch.Generator().manual_seed(seed)
    first = torch.randint(1, latest + 1, (H,), generator=generator)
    span, scale = latest + taps - 1 if taps else 0, {"outside": 20, "balanced": 10}.get(neuron, 1)
    return FEEDBACK[neuron](B, T, H, dtype=dtype) | {
        "V": draw(-1, 1, H, H) * (2 / H) ** 0.5 * scale,
        "taps": draw(0, 0.6, H, taps) if taps else None,
        "first": first if taps else None,
        "span": span,
        "line": draw(-0.2, 0.6, B, span - 1, H) if taps and carried else None,
        "mask": (draw(0, 1, B, H) > 0.2) / 0.8 if dropout else None,
    }


def run_feedback(
    backend, neuron, I, u, s, V, taps, first, span, line, mask, in_order=False, **coefficients
):
    """Spikes, and the state with its line."""
    mask = None if mask is None else mask.detach()
    given = Feedback(V, mask, taps, first, span, in_order=in_order)
    options = {"theta": 1.0}
    if neuron in ("inside", "outside"):
        run, state = resonate, ResonateState(u, s)
        options |= {"reset": 0.5, "scale": 2.0, "reset_inside": neuron == "inside"}
    elif neuron == "balanced":
        run, (v, q) = balanced, (coefficients.pop(name) for name in "vq")
        state, options = BalancedState(u, v, q, s), options | {"step": BRF_STEP, "decay": 0.9}
    else:
        run = resetting if neuron == "resetting" else adaptive
        state = AdaptiveState(u, coefficients.pop("w"), s)
    state = state if line is None else Delayed(state, line)
    spikes, state = run(I, **coefficients, **options, state=state, V=given, backend=backend)
    return [spikes, *((*state.neurons, state.line) if taps is not None else state)]


run_inside, run_outside = (functools.partial(run_resonate, inside=x) for x in (True, False))


def readout_inputs(B, T, C, *, seed=0, dtype=torch.float32):
    draw = random(seed, dtype)
    return {"I": draw(-3, 3, B, T, C), "alpha": draw(0.8, 0.96, C), "u": draw(0, 1, B, C)}


def run_readout(backend, I, alpha, u):
    return list(readout(I, alpha, state=u, backend=backend))


def run_potentials(backend, I, alpha, u):
    return list(potentials(I, alpha, state=u, backend=backend))


def scan_inputs(B, T, D, N, *, seed=0, dtype=torch.float32):
    """Steps and decays as Mamba starts from them; D is what passes by the states."""
    draw = random(seed, dtype)
    inputs = {"x": draw(-1, 1, B, T, D), "delta": torch.exp(draw(-6.9, -2.3, B, T, D))}
    inputs |= {"A": -torch.arange(1, N + 1) * draw(0.5, 1.5, D, N), "B": draw(-1, 1, B, T, N)}
    return inputs | {"C": draw(-1, 1, B, T, N), "D": draw(0, 1, D), "h": draw(-1, 1, B, D, N)}


def run_scan(backend, *, h, **tensors):
    """The outputs and the last state."""
    return list(selective_scan(**tensors, state=h, backend=backend))


def upstream(outputs):
    """Random gradients like ``outputs``, which favour no sign; those of both precisions agree."""
    generator = torch.Generator().manual_seed(99)
    outputs = list(outputs)
    single = [torch.complex64 if x.is_complex() else torch.float32 for x in outputs]
    return [
        torch.randn(x.shape, generator=generator, dtype=dtype).to(x)
        for x, dtype in zip(outputs, single, strict=True)
    ]


def outputs_and_gradients(run, backend, inputs, device="cpu"):
    """Outputs, and every input's gradient for the ``upstream`` gradients of all outputs."""
    leaves = {
        name: x.to(device).detach().requires_grad_(x.dtype != torch.int64)
        if isinstance(x, torch.Tensor)
        else x
        for name, x in inputs.items()
    }
    outputs = run(backend, **leaves)
    weighted = zip(outputs, upstream(outputs), strict=True)
    sum((x * weight.conj()).real.sum() for x, weight in weighted).backward()
    gradients = {name: x.grad for name, x in leaves.items() if isinstance(x, torch.Tensor)}
    return outputs, gradients


def assert_like_naive(
    run, backend, inputs, *, exact=True, exact_gradients=(), rtol=1e-5, device="cpu"
):
    """Outputs (``exact``) and some gradients equal in every bit, all within ``rtol``."""
    expected, expected_gradients = outputs_and_gradients(run, "naive", inputs, device)
    outputs, gradients = outputs_and_gradients(run, backend, inputs, device)
    for output, reference in zip(outputs, expected, strict=True):
        assert output.dtype == reference.dtype
        if exact:
            assert torch.equal(output, reference)
        else:
            assert largest_error(output, reference) < rtol
    for name, reference in expected_gradients.items():
        if reference is None:
            assert gradients[name] is None, name
        else:
            assert gradients[name].dtype == reference.dtype
            error = largest_error(gradients[name], reference)
            assert error < rtol, f"gradient of {name}: {error:.1e}"
            if name in exact_gradients:
                assert torch.equal(gradients[name], reference), f"gradient of {name}: {error:.1e}"


def assert_surrogate_like_double_precision(name, backend, device="cpu"):
    """Two widths of a surrogate against autograd in double precision; one in all recurrences."""
    cases = [(run_adaptive, adaptive_inputs(2, 9, 32, adapts=False))]
    if name == "triangle":
        cases.append((run_adaptive, adaptive_inputs(2, 9, 32, recurrent=True)))
        cases.append((run_outside, resonate_inputs(2, 9, 32, inside=False)))
    for width, (run, inputs) in itertools.product((None, 0.3), cases):
        run = functools.partial(run, surrogate=surrogate(name, width))
        in_double = {k: x if x is None else in_full(x) for k, x in inputs.items()}
        (spikes, *_), expected = outputs_and_gradients(run, "naive", in_double)
        found, gradients = outputs_and_gradients(run, backend, inputs, device)
        assert torch.equal(found[0].double().cpu(), spikes)
        for key, gradient in expected.items():
            if gradient is not None:
                assert largest_error(in_full(gradients[key].cpu()), gradient) < 1e-5, (run, key)


def in_full(x):
    return x.to(torch.promote_types(x.dtype, torch.float64))


def largest_error(x, reference):
    """Largest difference, relative to the largest reference value."""
    assert x.shape == reference.shape
    assert torch.isfinite(torch.view_as_real(x) if x.is_complex() else x).all()
    return ((x - reference).abs().max() / reference.abs().max().clamp_min(1e-30)).item()
