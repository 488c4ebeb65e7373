# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The functional core: every loop over time of this project lives below this package.

Each recurrence is one pure function, state in and state out. ``naive`` is the executable
specification, against which the same functions of the other back ends, ``cpu`` and ``cuda``, are
tested.
"""

import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from models.dynamics.backends import (
    Choice,
    Differentiable,
    Operation,
    can_fold,
    choose,
    implementation,
    in_graph,
    say_plain,
)
from models.dynamics.naive import (  # noqa: F401
    AdaptiveCoefficients,
    AdaptiveState,
    BalancedState,
    Delayed,
    Feedback,
    Fold,
    ResonateState,
    gru,
    ligru,
    rnn,
    summed,
)
from models.dynamics.operators import constant, register
from models.dynamics.trial import (
    adaptive_trials,
    balanced_trials,
    readout_trials,
    resetting_trials,
    resonate_trials,
    scan_trials,
)
from models.surrogate import BOXCAR, Surrogate


def _operation(name: str, trials, folds: bool = False) -> Operation:
    """A recurrence; one that ``folds`` has kernels with room for a ``Fold``."""
    load = partial(implementation, name)
    around = f"normalisation and dropout around '{name}'"
    folded = Operation(around, load, partial(trials, folded=True)) if folds else None
    return Operation(f"'{name}'", load, trials, folded)


OPERATIONS = {
    "adaptive": _operation("adaptive", adaptive_trials, folds=True),
    "resonate": _operation("resonate", resonate_trials, folds=True),
    "resetting": _operation("resetting", resetting_trials),
    "balanced": _operation("balanced", balanced_trials),
    "readout": _operation("readout", readout_trials),
    "potentials": _operation("potentials", readout_trials),
    "selective_scan": _operation("selective_scan", scan_trials),
}


def _recur(name, backend, I, coefficients, limits, state, V, fold, **options):
    """Spikes and state of a recurrence; the fold is done by its kernels or around it."""
    operation, surrogate = OPERATIONS[name], options["surrogate"]
    given = [x for x in limits if isinstance(x, Tensor)]
    learns = torch.is_grad_enabled() and any(x.requires_grad for x in given)
    if isinstance(state, Delayed):
        state, V = state.neurons, V._replace(line=state.line)
    ways = V[:3] if isinstance(V, Feedback) else (V,)
    tensors = (I, *coefficients, *given, *state, *ways)
    variant = surrogate, learns
    if in_graph():
        run = partial(_in_graph(name, backend, tensors, *variant), state=state, **options)
    else:
        choice = choose(operation, backend, *tensors, surrogate=surrogate, learns=learns)
        run = partial(operation.load(choice.backend), state=state, **options)
        on_cpu = choice.backend == "cpu"
        folds = fold is not None and on_cpu == (fold.stays is not None) and (on_cpu or V is None)
        if folds and can_fold(choice, operation, backend, I.device, *variant):
            run, fold = partial(run, fold=fold), None
    if V is not None:
        run = partial(run, V=V)
    if fold is None:
        return run(I, *coefficients)
    spikes, state = run(fold.current(I), *coefficients)
    return fold.dropped(spikes), state


def _in_graph(name, backend, tensors, *variant) -> Callable:
    """What computes a recurrence of ``tensors`` within a graph."""
    kinds = tuple((x.device, x.dtype) for x in tensors if isinstance(x, Tensor))
    module = sys.modules[_module_in_graph(name, backend, kinds, *variant)]
    return getattr(module, name)


@constant
def _module_in_graph(name, backend, kinds, surrogate=None, learns=False) -> str:
    """Its module, whose operators are made."""
    where = ""
    if torch.onnx.is_in_onnx_export():
        if any(dtype.is_complex for _, dtype in kinds):
            raise TypeError("ONNX has no complex numbers, in which CSiLIF and RF compute")
        where = "for ONNX, which knows standard operators only"
    elif backend == "cuda" or (backend == "auto" and kinds[0][0].type == "cuda"):
        where = "within graphs on a GPU, for which its kernels are no operators"
    if where and backend != "naive":
        say_plain(where)
        choice = Choice("naive")
    else:
        tensors = [torch.empty(0, device=device, dtype=dtype) for device, dtype in kinds]
        choice = choose(OPERATIONS[name], backend, *tensors, surrogate=surrogate, learns=learns)
    module = implementation(name, choice.backend).__module__
    for value in vars(sys.modules[module]).values():
        if isinstance(value, Differentiable):
            register(value)
    return module


def _integrate(name, backend, *tensors, state):
    if in_graph():
        return _in_graph(name, backend, (*tensors, state))(*tensors, state=state)
    choice = choose(OPERATIONS[name], backend, *tensors, state)
    return implementation(name, choice.backend)(*tensors, state=state)


def check_adaptation(*coefficients: Tensor | None) -> None:
    """ValueError unless beta, a and b are given together or not at all."""
    given = [x is not None for x in coefficients]
    if any(given) and not all(given):
        raise ValueError("beta, a and b are given together or not at all")


def adaptive(
    I: Tensor,
    alpha: Tensor,
    beta: Tensor | None = None,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    theta: Tensor | float,
    state: AdaptiveState,
    V: Tensor | Feedback | None = None,
    fold: Fold | None = None,
    surrogate: Surrogate = BOXCAR,
    backend: str = "auto",
) -> tuple[Tensor, AdaptiveState]:
    """Run adaptive leaky integrate-and-fire neurons over time.

    Per step, in this order (Bittar & Garner 2022, eqs. 6-8; SiLIF: Fabre et al. 2025)::

        w = beta * w + a * u + b * s
        u = alpha * (u - s) + (1 - alpha) * (I_t + s @ V - w)
        s = 1 if u > theta else 0

    Args:
        I: input current [B, T, H].
        alpha: membrane decay per step [H].
        beta, a, b: adaptation decay, sub-threshold and spike-triggered coupling, each [H]. All
            three None: no adaptation (LIF), the ``w`` of ``state`` is returned unchanged.
        theta: firing threshold, [H] or one for all.
        state: u, w and s before the first step, each [B, H].
        V: recurrent weights [H, H] (from neuron, to neuron), a ``Feedback`` of such, or None.
        fold: normalisation and dropout around the recurrence, done by the kernels if they have room
            for them and there is no V, and otherwise apart.
        surrogate: what the backward pass uses as the derivative of a spike.
        backend: a name of ``models.dynamics.backends.BACKENDS``.

    Returns:
        The spikes [B, T, H], after the dropout of ``fold``, and the state after the last step.

    Raises:
        ValueError: only some of beta, a and b are given, or the back end cannot run here.
    """
    check_adaptation(beta, a, b)
    return _recur(
        "adaptive", backend, I, (alpha, beta, a, b), (theta,), state, V, fold, theta=theta,
        surrogate=surrogate,
    )  # fmt: skip


def resonate(
    I: Tensor,
    A: Tensor,
    reset: Tensor | float,
    gain: Tensor | float,
    *,
    scale: Tensor | float,
    theta: Tensor | float,
    state: ResonateState,
    reset_inside: bool,
    V: Tensor | Feedback | None = None,
    fold: Fold | None = None,
    surrogate: Surrogate = BOXCAR,
    backend: str = "auto",
) -> tuple[Tensor, ResonateState]:
    """Run resonating (complex) neurons over time.

    Per step, by ``reset_inside``::

        True:   u = A * (u - reset * s) + gain * I_t           (C-SiLIF, Fabre et al. 2025)
        False:  u = u + gain * (A * u + I_t) - reset * s       (RF, Higuchi et al. 2024)
        s = 1 if scale * Re(u) > theta else 0

    With recurrent weights ``I_t + s @ V`` takes the place of ``I_t``.

    The two are kept apart because rewriting either as the other changes the rounding, and with it
    the spikes.

    Args:
        I: input current [B, T, H], real.
        A: complex [H]: the discrete transition (True), or the continuous eigenvalue (False).
        reset: how much a spike takes from u, [H] or one for all.
        gain: input gain [H], or the step size in seconds as a float.
        scale: factor of Re(u) before the threshold, [H] or one for all.
        theta: firing threshold, [H] or one for all.
        state: u (complex) and s before the first step, each [B, H].
        reset_inside: whether the reset passes through A.
        V: recurrent weights [H, H] (from neuron, to neuron), a ``Feedback`` of such, or None.
        fold: normalisation and dropout around the recurrence, done by the kernels if they have room
            for them and there is no V, and otherwise apart.
        surrogate: what the backward pass uses as the derivative of a spike.
        backend: a name of ``models.dynamics.backends.BACKENDS``.

    Returns:
        The spikes [B, T, H], after the dropout of ``fold``, and the state after the last step.

    Raises:
        ValueError: the back end cannot run here.
    """
    return _recur(
        "resonate", backend, I, (A, reset, gain), (theta, reset, scale), state, V, fold,
        scale=scale, theta=theta, reset_inside=reset_inside, surrogate=surrogate,
    )  # fmt: skip


def resetting(
    I: Tensor,
    alpha: Tensor,
    beta: Tensor | None = None,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    theta: Tensor | float,
    state: AdaptiveState,
    scales: bool = True,
    hard: bool = True,
    detached: bool = True,
    symplectic: bool = True,
    V: Tensor | Feedback | None = None,
    fold: Fold | None = None,
    surrogate: Surrogate = BOXCAR,
    backend: str = "auto",
) -> tuple[Tensor, AdaptiveState]:
    """Run leaky neurons that are reset in the step in which they spike.

    Per step, in this order (SE-adLIF: Baronig et al. 2024; LIF: Fang et al. 2023)::

        u' = alpha * u + (1 - alpha) * (I_t + s @ V - w)
        s' = 1 if u' > theta else 0
        u = u' * (1 - s') if hard else u' - s' * theta
        w = beta * w + a * u + b * s'

    Neurons without adaptation spike where u' is theta, too, as published.

    Args:
        scales: whether the current is multiplied by ``1 - alpha``.
        hard: whether a spike takes u to 0, else by theta.
        detached: whether the reset, not the spike, is without gradient.
        symplectic: whether w sees u and s of this step, as above (symplectic Euler), or those
            before it (Euler-forward).

    The other arguments, what is returned and what is raised are those of :func:`adaptive`.
    """
    check_adaptation(beta, a, b)
    return _recur(
        "resetting", backend, I, (alpha, beta, a, b), (theta,), state, V, fold, theta=theta,
        scales=scales, hard=hard, detached=detached, symplectic=symplectic, surrogate=surrogate,
    )  # fmt: skip


def balanced(
    I: Tensor,
    omega: Tensor,
    damping: Tensor,
    *,
    step: float,
    decay: float,
    theta: Tensor | float,
    state: BalancedState,
    V: Tensor | Feedback | None = None,
    fold: Fold | None = None,
    surrogate: Surrogate = BOXCAR,
    backend: str = "auto",
) -> tuple[Tensor, BalancedState]:
    """Run balanced resonate-and-fire neurons over time.

    Per step, from the u, v and q before it (BRF: Higuchi et al. 2024)::

        b = step * (damping - q)
        u, v = u + b * u - step * omega * v + step * (I_t + s @ V), v + step * omega * u + b * v
        s = 1 if u > theta + q else 0
        q = decay * q + s

    Args:
        I: input current [B, T, H].
        omega: angular frequency [H], in 1/s.
        damping: what decays without spikes, [H], negative, in 1/s.
        step: the time step in seconds.
        decay: of the refractoriness q per step.
        theta: firing threshold, [H] or one for all.
        state: u, v, q and s before the first step, each [B, H].

    The other arguments, what is returned and what is raised are those of :func:`adaptive`.
    """
    return _recur(
        "balanced", backend, I, (omega, damping), (theta,), state, V, fold, theta=theta,
        step=step, decay=decay, surrogate=surrogate,
    )  # fmt: skip


def readout(
    I: Tensor, alpha: Tensor, *, state: Tensor, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Integrate class evidence over time (Bittar & Garner 2022, section 3.4).

    Per step ``u = alpha * u + (1 - alpha) * I_t; out = out + softmax(u over classes)``.

    Args:
        I: input current [B, T, C].
        alpha: decay per step [C].
        state: potential before the first step [B, C].
        backend: a name of ``models.dynamics.backends.BACKENDS``.

    Returns:
        The summed softmax ``out`` [B, C] and the potential after the last step [B, C].

    Raises:
        ValueError: the back end cannot run here.
    """
    return _integrate("readout", backend, I, alpha, state=state)


def potentials(
    I: Tensor, alpha: Tensor, *, state: Tensor, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Integrate as :func:`readout` does, for readouts and losses other than the summed softmax.

    Arguments and errors are those of :func:`readout`.

    Returns:
        The potential after every step [B, T, C], and after the last [B, C].
    """
    return _integrate("potentials", backend, I, alpha, state=state)


def selective_scan(
    x: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    state: Tensor,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Run linear states whose decay, input and output weights differ from step to step.

    Per step, for each channel d and its states n (Mamba: Gu & Dao 2023, algorithm 2)::

        h[d, n] = exp(delta_t[d] * A[d, n]) * h[d, n] + delta_t[d] * B_t[n] * x_t[d]
        y_t[d] = sum_n C_t[n] * h[d, n] + D[d] * x_t[d]

    Args:
        x: input [B, T, D].
        delta: step sizes [B, T, D], above 0.
        A: continuous decay [D, N], negative.
        B, C: input and output weights [B, T, N].
        D: what passes by the states, [D], or None.
        state: h before the first step [B, D, N].
        backend: a name of ``models.dynamics.backends.BACKENDS``.

    Returns:
        The output [B, T, D] and the state after the last step.

    Raises:
        ValueError: a shape does not fit, or the back end cannot run here.
    """
    rows, channels, states = x.shape[:2], x.shape[2:], A.shape[1:]
    shapes = {"delta": (delta, (*rows, *channels)), "A": (A, (*channels, *states))}
    shapes |= {"B": (B, (*rows, *states)), "C": (C, (*rows, *states))}
    shapes["state"] = state, (*rows[:1], *channels, *states)
    for name, (given, shape) in shapes.items():
        if given.shape != shape:
            raise ValueError(f"{name} of a selective scan is {list(given.shape)}, not {[*shape]}")
    y, state = _integrate("selective_scan", backend, x, delta, A, B, C, state=state)
    return y if D is None else y + D * x, state


def describe(network: torch.nn.Module) -> str:
    """What computes the dynamics of ``network``, a ``models.network.Network``, on its device.

    A layer says by its attribute ``operation`` which of ``OPERATIONS`` it runs; None: one of its
    own in plain PyTorch. On a GPU the kernels are tried now if they have not been yet.
    """
    chosen: dict[Choice, list[str]] = {}
    for number, layer in enumerate(network.layers, start=1):
        choice, name = Choice("naive"), getattr(layer, "operation", "")
        if name:
            numbers = torch.empty(0, device=next(layer.parameters()).device)
            kind = {"surrogate": getattr(layer, "surrogate", None)}
            kind["learns"] = getattr(getattr(layer, "threshold", None), "requires_grad", False)
            choice = choose(OPERATIONS[name], layer.backend, numbers, **kind)
        elif name is None:
            choice = Choice("naive", f"{type(layer).__name__} has a recurrence of its own")
        chosen.setdefault(choice, []).append(str(number))
    if len(chosen) == 1:
        return f"Dynamics: {next(iter(chosen))}"
    return "Dynamics: " + "; ".join(
        f"{choice} in layer {', '.join(layers)}" for choice, layers in chosen.items()
    )
