# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Non-finite gradients, noticed before they reach the weights.

On a GPU nobody can look at the gradient of every step without making the device wait. So the
device looks itself: from the first step whose loss or gradient is not finite, all updates are
skipped, by the flag with which mixed precision skips single ones. When the host asks, at the end of
the epoch and before a checkpoint, the weights are still those that met the bad batch; the batch
follows from the order of clips, and its random state was noted. On the CPU looking costs nothing,
and the step raises at once.
"""

import torch
from torch import Tensor, nn


class BadStepError(Exception):
    """The gradient of the step under way is not finite; the weights are as they were before it."""


class Watch:
    """Clips gradients, and guards the weights against non-finite ones.

    Args:
        parameters: what is trained.
        optimizer: fused on a GPU, so that it can skip an update on the device's word.
        max_norm: length to which the gradient is cut (`torch.nn.utils.clip_grad_norm_`), or None.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        max_norm: float | None,
    ):
        self.parameters = parameters
        self.optimizer = optimizer
        self.max_norm = max_norm
        self.device = parameters[0].device
        self.on_host = self.device.type != "cuda"
        self.bad = torch.zeros((), device=self.device)  # 1 from the first bad step on
        self.good_steps = torch.zeros((), device=self.device)
        self.random_states: list[Tensor] = []  # before every step since the last look

    def begin_step(self) -> None:
        """Note the random state that dropout and initial states are drawn from."""
        self.random_states.append(device_random_state(self.device))

    def step(self, loss: Tensor) -> None:
        """Update the weights from their gradients, if these and ``loss`` are finite.

        Raises BadStepError on the CPU; a GPU keeps it to itself until `first_bad_step`.
        """
        norm = self.norm()
        bad = ((loss.detach() - loss.detach()) + (norm - norm)) != 0  # non-finite gives nan
        if self.on_host:
            if bad:
                raise BadStepError
            self.random_states.clear()
            self.optimizer.step()
            return
        # In place: a captured step (`training.device.graphs`) goes on with the same memory.
        self.bad.logical_or_(bad)
        self.good_steps += 1 - self.bad
        self.optimizer.found_inf = self.bad
        self.optimizer.step()

    def tensors(self) -> list[Tensor]:
        """What a step changes here on the device."""
        return [self.bad, self.good_steps]

    @torch.no_grad()
    def norm(self) -> Tensor:
        """Euclidean norm [] of the whole gradient, which is clipped if that is asked for."""
        if self.max_norm is not None:
            return nn.utils.clip_grad_norm_(self.parameters, self.max_norm)
        return nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])

    def first_bad_step(self) -> int | None:
        """Of the steps since the last look the index of the first bad one (waits for a GPU)."""
        if self.on_host:
            return None
        bad, good_steps = torch.stack([self.bad, self.good_steps]).tolist()
        if bad:
            return int(good_steps)
        self.good_steps.zero_()
        self.random_states.clear()
        return None


def device_random_state(device: torch.device) -> Tensor:
    """The state of the generator that steps on ``device`` draw from."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.get_rng_state()


def set_device_random_state(state: Tensor, device: torch.device) -> None:
    """Set that generator."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
