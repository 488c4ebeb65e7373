# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Learning rates that are planned over all epochs of a run (``--scheduler``)."""

from typing import NamedTuple

import torch
from torch.optim import lr_scheduler

from parsers.training_config import TrainingConfig

PEAK = 5.0  # of onecycle, in initial learning rates, as published for learnable delays


class Rate(NamedTuple):
    """What Adam uses during an epoch."""

    lr: float
    beta1: float


def plan(name: str, lr: float, peak: float, nb_epochs: int, cycle_beta1: bool) -> list[Rate]:
    """The rates of every epoch, by PyTorch's scheduler of that name, stepped once an epoch.

    ``lr`` is the first rate of cosine and linear, ``peak`` the highest of onecycle.
    """
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=lr)
    if name == "onecycle":
        cycle = {"total_steps": nb_epochs, "cycle_momentum": cycle_beta1}
        scheduler = lr_scheduler.OneCycleLR(optimizer, peak, **cycle)
    elif name == "cosine":
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, nb_epochs)
    else:
        scheduler = lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 - epoch / nb_epochs)
    rates = []
    for _ in range(nb_epochs):
        (group,) = optimizer.param_groups
        rates.append(Rate(group["lr"], group["betas"][0]))
        optimizer.step()
        scheduler.step()
    return rates


def plans_of(optimizer: torch.optim.Optimizer, options: TrainingConfig) -> list[list[Rate] | None]:
    """The plan of each group of parameters; None where the rate waits for a plateau."""
    plans = []
    for group in optimizer.param_groups:
        name = options.delay_scheduler if group["kind"] == "delay" else options.scheduler
        factor = group["lr"] / options.lr
        peak = factor * (options.max_lr or PEAK * options.lr)
        last = options.start_epoch + options.nb_epochs
        plans.append(
            None if name == "plateau" else plan(name, group["lr"], peak, last, options.cycle_beta1)
        )
    return plans


class Planned(lr_scheduler.ReduceLROnPlateau):
    """Waits for plateaus, and gives the groups that have a plan the rates of their plan.

    Its state is that of waiting for plateaus, which counts epochs, and for how many the plans were
    made.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, options: TrainingConfig, **plateau):
        super().__init__(optimizer, **plateau)
        self.plans = plans_of(optimizer, options)
        self.start_epoch = options.start_epoch
        self.planned_epochs = options.nb_epochs
        self.follow_plans()

    def step(self, metrics: float) -> None:
        """Go on to the next epoch."""
        super().step(metrics)
        self.follow_plans()

    def follow_plans(self) -> None:
        """Give the optimiser the rates of the epoch that comes next, if there is one."""
        epoch = self.start_epoch + self.last_epoch
        for group, rates in zip(self.optimizer.param_groups, self.plans, strict=True):
            if rates is not None and epoch < len(rates):
                group["lr"] = rates[epoch].lr
                group["betas"] = (rates[epoch].beta1, *group["betas"][1:])

    def state_dict(self) -> dict:
        """Without the plans, which follow from the options."""
        return {name: value for name, value in super().state_dict().items() if name != "plans"}
