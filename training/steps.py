# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What is done with one batch: learn from it, or be tested on it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.snns import Activity
from parsers.training_config import TrainingConfig
from training.device.choice import generator_of
from training.loss import LOSSES, needs_potentials, rate_penalty
from training.metrics import Meter

RECALIBRATION_BATCHES = 20
Step = Callable[[Tensor, Tensor, Meter], None]


class Backward(NamedTuple):
    """Results of a forward and backward pass."""

    output: Tensor  # [B, C] class scores
    activity: Activity | None  # of a spiking network
    loss: Tensor  # [] without the penalty
    penalty: Tensor | None  # [] of the regulariser, where it is on


class BadStepError(Exception):
    """The gradient of the step under way is not finite; the weights are as they were before it."""


class Watch:
    """Clips gradients, and guards the weights against non-finite ones.

    On a GPU the host cannot look at the gradient of every step without making the device wait. So
    the device looks itself: from the first step whose loss or gradient is not finite, all updates
    are skipped, by the flag with which mixed precision skips single ones. When the host asks, at
    the end of the epoch and before a checkpoint, the weights are still those that met the bad
    batch; the batch follows from the order of clips, and its random state was noted. On the CPU
    looking costs nothing, and the step raises at once.

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
        self.random_states.append(generator_of(self.device).get_state())

    def step(self, loss: Tensor) -> None:
        """Update the weights from their gradients, if these and ``loss`` are finite.

        Raises BadStepError on the CPU; a GPU keeps it to itself until `first_bad_step`.
        """
        norm = self.norm()
        if self.on_host:
            if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
                raise BadStepError
            self.random_states.clear()
            self.optimizer.step()
            return
        bad = ((loss.detach() - loss.detach()) + (norm - norm)) != 0  # non-finite gives nan
        # In place: a captured step (`training.device.graphs`) keeps using the same memory.
        self.bad.logical_or_(bad)
        self.good_steps += 1 - self.bad
        self.optimizer.found_inf = self.bad
        self.optimizer.step()

    def norm(self) -> Tensor:
        """Euclidean norm [] of the whole gradient, clipped where `max_norm` is set."""
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


class Steps:
    """Steps of a network; none of them waits for the device.

    Args:
        model: an SNN or an ANN, in training mode for ``train``, in evaluation mode else.
        optimizer: of its parameters.
        options: of the training.
        nb_features: of the input.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        options: TrainingConfig,
        nb_features: int,
    ):
        self.model = model
        self.optimizer = optimizer
        self.options = options
        self.nb_features = nb_features
        if needs_potentials(options.loss):
            model.keep_potentials = True
        self.watch = Watch(list(model.parameters()), optimizer, options.max_grad_norm)
        self.training_meter = self.new_meter()

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.model.parameters()).device

    def new_meter(self) -> Meter:
        """An empty meter for this network."""
        if not self.model.is_snn:
            return Meter(self.device, [], counts_macs=True)
        units = [layer.output_size for layer in self.model.hidden_layers]
        counts_macs = self.model.macs(1) is not None
        return Meter(self.device, [self.nb_features, *units], counts_macs)

    def empty_training_meter(self) -> Meter:
        """The meter of training passes, emptied: always the same, as a captured step adds to it."""
        self.training_meter.reset()
        return self.training_meter

    def train(self, x: Tensor, y: Tensor, meter: Meter, learn: Step | None = None) -> None:
        """One gradient step on a batch x [B, T, F], y [B]; see `Watch.step` for a bad one.

        ``learn`` stands for `Steps.learn`, such as a launcher of CUDA graphs around it.
        """
        self.watch.begin_step()
        (learn or self.learn)(x, y, meter)
        meter.samples += len(y)

    def learn(self, x: Tensor, y: Tensor, meter: Meter) -> None:
        """The part of a gradient step that happens on the device."""
        output, activity, loss, penalty = self.backward(x, y)
        self.watch.step(loss)
        self.model.clamp_parameters()
        meter.add(output, y, loss, activity, penalty, self.model.macs(x.shape[1]))

    def backward(self, x: Tensor, y: Tensor) -> Backward:
        """Put the gradients of a batch into the parameters."""
        output, activity = self.forward(x)
        if activity is not None:  # no gradient needs the spikes before dropout
            activity = activity._replace(layers=[])
        loss = self.loss(output, activity, y)
        penalty = self.penalty(activity)
        self.optimizer.zero_grad(set_to_none=True)
        (loss if penalty is None else loss + penalty).backward()
        return Backward(output, activity, loss, penalty)

    def learning(self) -> list[Tensor]:
        """All tensors that a gradient step changes: parameters, statistics, the optimiser's."""
        states = (value for state in self.optimizer.state.values() for value in state.values())
        return [
            *self.model.parameters(),
            *self.model.buffers(),
            *(value for value in states if isinstance(value, Tensor)),
            self.watch.bad,
            self.watch.good_steps,
        ]

    def loss(self, output: Tensor, activity: Activity | None, y: Tensor) -> Tensor:
        """The loss [] of ``--loss``."""
        potentials = activity.potentials if needs_potentials(self.options.loss) else None
        return LOSSES[self.options.loss](output, potentials, y, self.options)

    def penalty(self, activity: Activity | None) -> Tensor | None:
        """What the regulariser adds to the loss; None where it is off, or nothing spikes."""
        if activity is None:
            return None
        return rate_penalty(activity.firing_rates[self.nb_features :], self.options)

    @torch.no_grad()
    def evaluate(self, x: Tensor, y: Tensor, meter: Meter) -> Tensor:
        """Measure the network on a batch; the classes [B] that it takes the clips for."""
        output, activity = self.forward(x)
        loss = self.loss(output, activity, y)
        meter.add(output, y, loss, activity, macs=self.model.macs(x.shape[1]))
        meter.samples += len(y)
        return output.argmax(dim=1)

    @torch.no_grad()
    def recalibrate(self, clips) -> None:
        """Replace running means and variances by those of the present weights (Wu & Johnson 2021).

        The running averages look back over 1 / momentum = 20 steps, in which the weights have
        moved; on small data sets that is an epoch. Here the statistics are averaged over up to
        ``RECALIBRATION_BATCHES`` batches of ``clips``, the training split, the same ones in every
        epoch, with dropout off as in evaluation. Training normalises by the batch, and the global
        random stream is left as it was, so a training step does not change; the learning rate may,
        as it follows validation. Leaves the network in evaluation mode.
        """
        norms = [module for module in self.model.modules() if isinstance(module, nn.BatchNorm1d)]
        if not norms:
            return
        before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
        self.model.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain average over the batches
            norm.train()
        size = self.options.batch_size
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self.options.seed)
            chosen = torch.randperm(len(clips))[: RECALIBRATION_BATCHES * size]
            for indices in chosen.split(size):
                # A smaller last batch would weigh as much as a full one.
                if len(indices) == min(size, len(chosen)):
                    self.model.take_statistics(clips.batch(indices)[0])
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
        self.model.eval()

    def forward(self, x: Tensor) -> tuple:
        """(class scores [B, C], Activity or None)."""
        if self.model.is_snn:
            activity = self.model.activity(x)
            return activity.output, activity
        return self.model(x)[0], None
