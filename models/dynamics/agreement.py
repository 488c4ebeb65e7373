# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whether a compiled back end computes what the specification says, on the machine it runs on.

A kernel that a compiler or a device gets wrong trains to a wrong number without any error. So what
is written in Triton is tried on the GPU at hand, on small random inputs, before it is the default
there. The tests are stricter; this looks for kernels that are wrong, not for rounding.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from models.dynamics.trial import SEED, Trial

FLIPPED = 2e-3  # share of spikes that rounding may turn
RELATIVE = 1e-2  # distance of a gradient or state; rounding alone stays under 1e-5


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
        return _first_difference(trials, found, expected, device)


def _first_difference(trials, found, expected, device) -> str:
    for trial in trials:
        try:
            values = _outputs_and_gradients(trial, found, device)
        except Exception as error:  # compilers and drivers raise whatever they like
            return f"{trial.name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        for name, value in _outputs_and_gradients(trial, expected, device).items():
            if not _close(values[name], value):
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
    return {name: x.detach() for name, x in (outputs | gradients).items()}
