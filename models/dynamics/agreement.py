# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whether a compiled back end computes what the specification says, on the machine it runs on.

A kernel that a compiler or a device gets wrong trains to a wrong number without any error. So what
is written in Triton is tried on the GPU at hand, on small random inputs, before it is the default
there. The tests are stricter; this looks for kernels that are wrong, not for rounding.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from models import dynamics

# Neither whole blocks of neurons nor whole runs of unrolled steps; B * H is a multiple of 4, as
# arrays are in training, so that the same compiled kernels serve there.
B, T, H = 4, 29, 150
FLIPPED = 2e-3  # share of spikes that rounding may turn
RELATIVE = 1e-2  # distance of a gradient or state; rounding alone stays under 1e-5
SEED = 12
P = 0.25  # of dropout


def disagreement(operation: str, backend: str, device: torch.device) -> str:
    """What ``operation`` gets wrong under ``backend`` on ``device``, or "" where it agrees.

    Runs every variant of the recurrence forward and backward and compares spikes or scores, final
    states and the gradients of all inputs with those of ``naive``. "folded adaptive" and "folded
    resonate" are the recurrences with a ``Fold``, "batch statistics" those of ``gpu.folding``.
    Draws from no global generator.
    Any exception of the back end counts as a disagreement: it is told in the text returned.
    """
    # Gradients in full precision, whatever mode the first use happens to be in.
    full = torch.autocast(device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), full:
        return _first_difference(operation, backend, device)


def _first_difference(operation: str, backend: str, device: torch.device) -> str:
    for variant, inputs, run in _variants(operation):
        try:
            found = _outputs_and_gradients(run, inputs, backend, device)
        except Exception as error:  # compilers and drivers raise whatever they like
            return f"{variant}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        expected = _outputs_and_gradients(run, inputs, "naive", device)
        for name, value in expected.items():
            if not _close(found[name], value):
                return f"{variant}: {name} not as in plain PyTorch"
    return ""


def _close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or not found.isfinite().all():
        return False
    if ((expected == 0) | (expected == 1)).all():
        return (found != expected).float().mean().item() <= FLIPPED
    return (found - expected).norm().item() <= RELATIVE * expected.norm().item()


def _outputs_and_gradients(
    run: Callable, inputs: dict[str, Tensor | None], backend: str, device: torch.device
) -> dict[str, Tensor]:
    leaves = {
        name: None if x is None else x.detach().to(device).requires_grad_()
        for name, x in inputs.items()
    }
    outputs = run(backend=backend, **leaves)
    generator = torch.Generator().manual_seed(SEED)
    loss = 0.0
    for x in outputs.values():
        weights = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(device)
        loss = loss + (weights.conj() * x).real.sum()
    loss.backward()
    gradients = {f"the gradient of {k}": x.grad for k, x in leaves.items() if x is not None}
    return {name: x.detach() for name, x in (outputs | gradients).items()}


def _variants(operation: str) -> Iterator[tuple[str, dict, Callable]]:
    """(what it is, its inputs by name, a function that runs it) of an operation."""
    generator = torch.Generator().manual_seed(SEED)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) * (high - low) + low

    fold = {"mean": draw(-1, 1, H), "slope": draw(0.7, 1.3, H), "shift": draw(-1, 1, H)}
    fold = fold if operation.startswith("folded ") else {}
    operation = operation.removeprefix("folded ")
    if operation == "adaptive":
        state = {name: draw(0, 1, B, H) for name in ("u", "w", "s")}
        plain = {"I": draw(-1, 3.5, B, T, H), "alpha": draw(0.37, 0.96, H), **state}
        adapting = {"beta": draw(0.96, 0.99, H), "a": draw(0, 1, H), "b": draw(0, 2, H)}
        recurrent = {"V": draw(-1, 1, H, H) * (2 / H) ** 0.5}
        yield "LIF", plain | fold, _adaptive
        yield "adaptive LIF", plain | adapting | fold, _adaptive
        if not fold:
            yield "recurrent LIF", plain | recurrent, _adaptive
            yield "recurrent adaptive LIF", plain | adapting | recurrent, _adaptive
    elif operation == "resonate":
        u, s = torch.complex(draw(0, 1, B, H), draw(0, 1, B, H)), draw(0, 1, B, H)
        state = {"u": u, "s": s}
        discrete = torch.polar(draw(0.8, 0.99, H), draw(0.03, 1.5, H))
        continuous = torch.complex(draw(-10, -1, H), draw(5, 10, H))
        inside = {"I": draw(-1, 3, B, T, H), "A": discrete, "gain": draw(0, 1, H)}
        outside = {"I": draw(-20, 60, B, T, H), "A": continuous}
        yield "C-SiLIF", inside | state | fold, _reset_inside
        yield "Resonate-and-Fire", outside | state | fold, _reset_outside
    elif operation == "batch statistics":
        inputs = {"x": draw(-1, 3, B, T, H), "weight": draw(0.7, 1.3, H)}
        yield "batch normalisation", inputs, _batch_statistics
    else:
        inputs = {"I": draw(-3, 3, B, T, H), "alpha": draw(0.8, 0.96, H), "u": draw(0, 1, B, H)}
        yield "read-out", inputs, _readout


def _adaptive(I, alpha, u, w, s, beta=None, a=None, b=None, V=None, *, backend, **fold):
    spikes, state, counts = _folded(
        dynamics.adaptive, I, alpha, beta, a, b, theta=1.0, state=dynamics.AdaptiveState(u, w, s),
        V=V, backend=backend, **fold,
    )  # fmt: skip
    return {"the spikes": spikes, "u": state.u, "w": state.w, "s": state.s} | counts


def _reset_inside(I, A, gain, u, s, *, backend, **fold):
    return _resonate(I, A, 0.5, gain, 2.0, u, s, inside=True, backend=backend, **fold)


def _reset_outside(I, A, u, s, *, backend, **fold):
    return _resonate(I, A, 1.0, 0.004, 1.0, u, s, inside=False, backend=backend, **fold)


def _resonate(I, A, reset, gain, scale, u, s, *, inside, backend, **fold):
    spikes, state, counts = _folded(
        dynamics.resonate, I, A, reset, gain, scale=scale, theta=1.0,
        state=dynamics.ResonateState(u, s), reset_inside=inside, backend=backend, **fold,
    )  # fmt: skip
    return {"the spikes": spikes, "u": state.u, "s": state.s} | counts


def _folded(recurrence, I, *coefficients, backend, mean=None, slope=None, shift=None, **options):
    """The recurrence; within normalisation, dropout and counting, if ``mean`` is given."""
    if mean is None:
        return *recurrence(I, *coefficients, backend=backend, **options), {}
    seed = torch.full((1,), SEED, device=I.device)
    counts = I.new_empty(I.shape[0], I.shape[2])
    fold = dynamics.Fold(mean, slope, shift, P, seed, counts)
    if backend != "naive":
        folded = recurrence(I, *coefficients, backend=backend, **options, fold=fold)
        return *folded, {"the counts": counts}
    from models.dynamics.triton_support import dropout_factors

    spikes, state = recurrence(fold.current(I), *coefficients, backend=backend, **options)
    spikes = spikes * dropout_factors(I.shape, P, seed)
    return spikes, state, {"the counts": torch.count_nonzero(spikes, dim=1).float()}


def _batch_statistics(x, weight, *, backend):
    from models.gpu.folding import BatchStatistics

    norm = nn.BatchNorm1d(H, device=x.device)
    norm.weight = nn.Parameter(weight.detach())
    count = x[..., 0].numel()  # of values that share a mean's gradient: else it could hide in x's
    x, mean, slope = BatchStatistics.apply(x, weight, norm, backend != "naive")
    running = {"the running mean": norm.running_mean, "the running variance": norm.running_var}
    return {"x": x, "mean": mean * count, "slope": slope * count} | running


def _readout(I, alpha, u, *, backend):
    out, u = dynamics.readout(I, alpha, state=u, backend=backend)
    return {"the scores": out, "u": u}
