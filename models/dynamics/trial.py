# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whether a compiled back end computes what the specification says, on the machine it runs on.

A kernel that a compiler or a device gets wrong trains to a wrong number without any error. So the
Triton kernels are tried on the GPU they are to run on, with small random inputs, before they become
the default there. The tests are stricter; this looks for kernels that are wrong, not for rounding.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from models.dynamics.naive import (
    AdaptiveState,
    BalancedState,
    Delayed,
    Feedback,
    Fold,
    ResonateState,
)
from models.surrogate import Surrogate

# Neither whole blocks of neurons nor whole runs of unrolled steps; B * H is a multiple of 4, as
# arrays are in training, so that the same compiled kernels serve there.
B, T, H = 4, 29, 150
SEED = 12
P = 0.25  # of dropout
TAPS, SPAN = 3, 7  # of delays: their number per neuron, and the longest delay in steps
FLIPPED = 2e-3  # share of spikes that rounding may flip
RELATIVE = 1e-2  # distance of a gradient or state; rounding alone stays under 1e-5


class Trial(NamedTuple):
    """One variant of an operation, and what it is tried on."""

    name: str
    inputs: dict[str, Tensor]
    # run(function, **inputs): what an implementation makes of the inputs, tensors by name
    run: Callable[..., dict[str, Tensor]]


def uniform() -> Callable[..., Tensor]:
    """A function that draws uniform numbers: ``draw(low, high, *shape)``."""
    generator = torch.Generator().manual_seed(SEED)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) * (high - low) + low

    return draw


def normalisation(draw: Callable[..., Tensor], folded: bool) -> dict[str, Tensor]:
    """Mean, slope and shift [H] of a fold, drawn in any case."""
    drawn = {"mean": draw(-1, 1, H), "slope": draw(0.7, 1.3, H), "shift": draw(-1, 1, H)}
    return drawn if folded else {}


def within_fold(function, I, *coefficients, mean=None, slope=None, shift=None, **options):
    """Spikes, state and counts of a recurrence; if ``mean`` is given within a ``Fold``."""
    if mean is None:
        return *function(I, *coefficients, **options), {}
    seed = torch.full((1,), SEED, device=I.device)
    counts = I.new_empty(I.shape[0], I.shape[2])
    fold = Fold(mean, slope, shift, P, seed, counts)
    return *function(I, *coefficients, fold=fold, **options), {"the counts": counts}


def unfolded(naive: Callable) -> Callable:
    """The recurrence ``naive`` with a fold around it, whose mask of dropout is that of kernels."""

    def run(I, *coefficients, fold=None, **options):
        if fold is None:
            return naive(I, *coefficients, **options)
        from models.dynamics.triton_loops import dropout_factors

        spikes, state = naive(fold.current(I), *coefficients, **options)
        spikes = spikes * dropout_factors(I.shape, fold.p, fold.seed)
        fold.counts.copy_(torch.count_nonzero(spikes, dim=1))
        return spikes, state

    return run


def feedback(draw: Callable[..., Tensor]) -> dict[str, Tensor]:
    """What lets spikes return after delays, as a part of the inputs, and drops some."""
    taps, line = draw(0, 0.6, H, TAPS), draw(0, 1, B, SPAN - 1, H)
    return {"taps": taps, "line": line, "mask": (draw(0, 1, B, H) > P) / (1 - P)}


def returning(V=None, taps=None, line=None, mask=None, **options) -> dict:
    """Options of a recurrence, with recurrent weights as it takes them."""
    if taps is not None:
        first = torch.arange(V.shape[0], device=V.device) % (SPAN - TAPS + 1) + 1
        V = Feedback(V, mask.detach(), taps, first, SPAN, line)
    return {"V": V, **options}


def named(spikes: Tensor, state: NamedTuple) -> dict[str, Tensor]:
    """Outputs of a recurrence by name."""
    if isinstance(state, Delayed):
        return named(spikes, state.neurons) | {"the line": state.line}
    return {"the spikes": spikes, **state._asdict()}


def adaptive_trials(
    surrogate: Surrogate, learns: bool = False, folded: bool = False
) -> Iterator[Trial]:
    """With and without adaptation, and recurrent weights and delays unless it is ``folded``.

    ``learns``: theta is an input, which gets a gradient.
    """
    draw = uniform()
    run = partial(_run_adaptive, surrogate=surrogate)
    fold = normalisation(draw, folded)
    state = {name: draw(0, 1, B, H) for name in ("u", "w", "s")}
    plain = {"I": draw(-1, 3.5, B, T, H), "alpha": draw(0.37, 0.96, H), **state, **fold}
    adapting = {"beta": draw(0.96, 0.99, H), "a": draw(0, 1, H), "b": draw(0, 2, H)}
    recurrent = {"V": draw(-1, 1, H, H) * (2 / H) ** 0.5}
    plain |= {"theta": draw(0.8, 1.2, H)} if learns else {}
    yield Trial("LIF", plain, run)
    yield Trial("adaptive LIF", plain | adapting, run)
    if not folded:
        yield Trial("recurrent LIF", plain | recurrent, run)
        yield Trial("recurrent adaptive LIF", plain | adapting | recurrent, run)
        delayed = plain | adapting | recurrent | feedback(draw)
        yield Trial("adaptive LIF with recurrent delays", delayed, run)


def _run_adaptive(
    function, I, alpha, u, w, s, beta=None, a=None, b=None, theta=1.0, **options
):  # fmt: skip
    spikes, state, counts = within_fold(
        function, I, alpha, beta, a, b, theta=theta, state=AdaptiveState(u, w, s),
        **returning(**options),
    )  # fmt: skip
    return named(spikes, state) | counts


def resonate_trials(
    surrogate: Surrogate, learns: bool = False, folded: bool = False
) -> Iterator[Trial]:
    """Both places of the reset, and recurrent weights and delays unless it is ``folded``: within
    normalisation and dropout.

    ``learns``: theta, reset and scale are inputs, which get gradients.
    """
    draw = uniform()
    run = partial(_run_resonate, surrogate=surrogate)
    fold = normalisation(draw, folded)
    u, s = torch.complex(draw(0, 1, B, H), draw(0, 1, B, H)), draw(0, 1, B, H)
    discrete = torch.polar(draw(0.8, 0.99, H), draw(0.03, 1.5, H))
    continuous = torch.complex(draw(-10, -1, H), draw(5, 10, H))
    inside = {"I": draw(-1, 3, B, T, H), "A": discrete, "gain": draw(0, 1, H)}
    outside = {"I": draw(-20, 60, B, T, H), "A": continuous}
    state = {"u": u, "s": s} | fold
    if learns:
        state |= {"theta": draw(0.8, 1.2, H), "reset": draw(0.4, 1, H), "scale": draw(1, 2, H)}
    yield Trial("C-SiLIF", inside | state, run)
    yield Trial("Resonate-and-Fire", outside | state, run)
    if not folded:
        V = {"V": draw(-1, 1, H, H) * (2 / H) ** 0.5}
        yield Trial("recurrent C-SiLIF", inside | state | V, run)
        yield Trial("recurrent Resonate-and-Fire", outside | state | V, run)
        yield Trial("C-SiLIF with recurrent delays", inside | state | V | feedback(draw), run)


def _run_resonate(
    function, I, A, u, s, gain=None, theta=1.0, reset=None, scale=None, **options
):  # fmt: skip
    inside = gain is not None
    if reset is None:
        reset, scale = (0.5, 2.0) if inside else (1.0, 1.0)
    spikes, state, counts = within_fold(
        function, I, A, reset, gain if inside else 0.004, scale=scale, theta=theta,
        state=ResonateState(u, s), reset_inside=inside, **returning(**options),
    )  # fmt: skip
    return named(spikes, state) | counts


def resetting_trials(surrogate: Surrogate, learns: bool = False) -> Iterator[Trial]:
    """Both resets, with and without adaptation of both kinds, and recurrent weights and delays.

    ``learns``: theta is an input, which gets a gradient.
    """
    draw = uniform()
    state = {name: draw(0, 1, B, H) for name in ("u", "w", "s")}
    inputs = {"I": draw(-1, 3.5, B, T, H), "alpha": draw(0.37, 0.96, H), **state}
    adaptation = {"beta": draw(0.96, 0.99, H), "a": draw(0, 0.6, H), "b": draw(0, 1, H)}
    recurrent = {"V": draw(-1, 1, H, H) * (2 / H) ** 0.5}
    inputs |= {"theta": draw(0.8, 1.2, H)} if learns else {}
    for symplectic in (True, False):
        run = partial(_run_resetting, surrogate=surrogate, symplectic=symplectic)
        name = f"adaptive LIF, {'symplectic' if symplectic else 'forward'}"
        yield Trial(name, inputs | adaptation, run)
        yield Trial(f"recurrent {name}", inputs | adaptation | recurrent, run)
    for hard in (True, False):
        form = {"scales": False, "hard": hard, "detached": hard}
        run = partial(_run_resetting, surrogate=surrogate, **form)
        name = f"LIF, {'hard' if hard else 'soft'} reset"
        weak = inputs | {"I": inputs["I"] / 3}
        yield Trial(name, weak, run)
        yield Trial(f"recurrent {name}", weak | recurrent, run)
    yield Trial(f"{name}, with recurrent delays", weak | recurrent | feedback(draw), run)


def _run_resetting(
    function, I, alpha, u, w, s, beta=None, a=None, b=None, theta=1.0, **options
):  # fmt: skip
    state = AdaptiveState(u, w, s)
    return named(*function(I, alpha, beta, a, b, theta=theta, state=state, **returning(**options)))


def balanced_trials(surrogate: Surrogate, learns: bool = False) -> Iterator[Trial]:
    """With and without recurrent weights, and delays.

    ``learns``: theta is an input, which gets a gradient.
    """
    draw = uniform()
    inputs = {"I": draw(-20, 60, B, T, H), "omega": draw(5, 40, H), "damping": draw(-6, -1, H)}
    inputs |= {name: draw(0, 1, B, H) for name in ("u", "v", "q", "s")}
    recurrent = {"V": draw(-10, 10, H, H) * (2 / H) ** 0.5}
    inputs |= {"theta": draw(0.8, 1.2, H)} if learns else {}
    run = partial(_run_balanced, surrogate=surrogate)
    yield Trial("BRF", inputs, run)
    yield Trial("recurrent BRF", inputs | recurrent, run)
    yield Trial("BRF with recurrent delays", inputs | recurrent | feedback(draw), run)


def _run_balanced(function, I, omega, damping, u, v, q, s, theta=1.0, **options):
    state = BalancedState(u, v, q, s)
    return named(
        *function(
            I, omega, damping, step=0.01, decay=0.9, theta=theta, state=state,
            **returning(**options),
        )
    )  # fmt: skip


def readout_trials() -> Iterator[Trial]:
    """The readout, or its potentials, of more classes than a warp has threads."""
    draw = uniform()
    inputs = {"I": draw(-3, 3, B, T, H), "alpha": draw(0.8, 0.96, H), "u": draw(0, 1, B, H)}
    yield Trial("readout", inputs, _run_readout)


def _run_readout(function, I, alpha, u):
    scores, u = function(I, alpha, state=u)
    return {"the scores": scores, "u": u}


def scan_trials() -> Iterator[Trial]:
    """The selective scan, of more channels than a program has."""
    draw, N = uniform(), 13
    inputs = {"x": draw(-1, 1, B, T, H), "delta": draw(0.001, 0.1, B, T, H)}
    inputs |= {"A": draw(-16, -1, H, N), "B": draw(-1, 1, B, T, N), "C": draw(-1, 1, B, T, N)}
    yield Trial("selective scan", inputs | {"h": draw(-1, 1, B, H, N)}, _run_scan)


def _run_scan(function, *, h, **tensors):
    y, h = function(*tensors.values(), state=h)
    return {"the outputs": y, "h": h}


def disagreement(
    trials: Iterable[Trial], found: Callable, expected: Callable, device: torch.device
) -> str:
    """What ``found`` gets wrong on ``device``, or "" where it agrees with ``expected``.

    Runs both on every trial, forward and backward, and compares all outputs and the gradients of
    all inputs. Draws from no global generator. Any exception that ``found`` raises counts as a
    disagreement and is quoted in the text returned.
    """
    # Gradients in full precision, whatever mode the first use happens to be in.
    full = torch.autocast(device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), full:
        for trial in trials:
            try:
                values = _outputs_and_gradients(trial, found, device)
            except Exception as error:  # compilers and drivers raise whatever they like
                return f"{trial.name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            for name, value in _outputs_and_gradients(trial, expected, device).items():
                if name not in values or not _close(values[name], value):
                    return f"{trial.name}: {name} not as in plain PyTorch"
    return ""


def _close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or not found.isfinite().all():
        return False
    if ((expected == 0) | (expected == 1)).all():
        return (found != expected).float().mean().item() <= FLIPPED
    return (found - expected).norm().item() <= RELATIVE * expected.norm().item()


def _outputs_and_gradients(
    trial: Trial, function: Callable, device: torch.device
) -> dict[str, Tensor]:
    leaves = {name: x.detach().to(device).requires_grad_() for name, x in trial.inputs.items()}
    outputs = trial.run(function, **leaves)
    generator = torch.Generator().manual_seed(SEED)
    loss = 0.0
    for x in outputs.values():
        weights = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(device)
        loss = loss + (weights.conj() * x).real.sum()
    loss.backward()
    gradients = {f"the gradient of {name}": x.grad for name, x in leaves.items()}
    gradients = {name: x for name, x in gradients.items() if x is not None}
    return {name: x.detach() for name, x in (outputs | gradients).items()}
