# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What is done with one batch: learn from it, or be tested on it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.snns import Activity
from parsers.training_config import TrainingConfig
from training.device.watch import Watch
from training.loss import LOSSES, needs_potentials, rate_penalty
from training.metrics import Meter

Step = Callable[[Tensor, Tensor, Meter], None]


class Backward(NamedTuple):
    """Results of a forward and backward pass."""

    output: Tensor  # [B, C] class scores
    activity: Activity | None  # of a spiking network
    loss: Tensor  # [] without the penalty
    penalty: Tensor | None  # [] of the regulariser, where it is on


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
            return Meter(self.device, [])
        units = [layer.output_size for layer in self.model.hidden_layers]
        return Meter(self.device, [self.nb_features, *units])

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
        meter.accumulate(output, y, loss, activity, penalty)

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
            *self.watch.tensors(),
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
    def evaluate(self, x: Tensor, y: Tensor, meter: Meter) -> None:
        """Measure the network on a batch."""
        output, activity = self.forward(x)
        meter.add(output, y, self.loss(output, activity, y), activity)

    def forward(self, x: Tensor) -> tuple:
        """(class scores [B, C], Activity or None)."""
        if self.model.is_snn:
            activity = self.model.activity(x)
            return activity.output, activity
        return self.model(x)[0], None
