# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Exact means over the samples of an epoch."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from models.snns import Activity

CONFIDENCE_Z = 1.96  # standard deviations of a 95% interval


def wilson(share: float, samples: int) -> tuple[float, float]:
    """95% confidence interval of a ``share`` of ``samples`` (Wilson 1927), as of an accuracy."""
    square = CONFIDENCE_Z**2 / samples
    centre = (share + square / 2) / (1 + square)
    margin = (square * (share * (1 - share) + square / 4)) ** 0.5 / (1 + square)
    return max(0.0, centre - margin), min(1.0, centre + margin)


@dataclass
class Metrics:
    """Figures of one pass over a split; every mean is over its samples.

    Firing rates are spikes per neuron and time step; synaptic operations are per sample.
    """

    samples: int
    loss: float
    accuracy: float
    seconds: float
    firing_rates: list[float] = field(default_factory=list)  # per hidden layer; empty for an ANN
    input_rate: float | None = None
    sop: float | None = None
    recurrent_sop: float | None = None
    mac: float | None = None  # multiply-accumulates per sample, see `Network.macs`
    regularization: float | None = None

    @property
    def mean_rate(self) -> float:
        """Firing rate averaged over the hidden layers."""
        return sum(self.firing_rates) / len(self.firing_rates)

    def to_dict(self) -> dict:
        """Plain values, without what the model does not have."""
        return {k: v for k, v in vars(self).items() if v is not None and v != []}


class Meter:
    """Sums batch figures on the device, so that no batch waits for the host."""

    def __init__(self, device: torch.device, layer_sizes: list[int], counts_macs: bool = False):
        self.layer_sizes = layer_sizes  # input features, then hidden units, of the rates vector
        self.counts_macs = counts_macs
        self.samples = 0  # counted by whoever adds a batch
        self.sums = torch.zeros(6, dtype=torch.float64, device=device)
        self.rates = torch.zeros(len(layer_sizes), dtype=torch.float64, device=device)
        self.zero = torch.zeros((), device=device)

    def reset(self) -> None:
        """Empty the meter; its tensors keep their memory."""
        self.samples = 0
        self.sums.zero_()
        self.rates.zero_()

    @torch.no_grad()
    def add(
        self,
        output: Tensor,
        y: Tensor,
        loss: Tensor,
        activity: Activity | None = None,
        penalty: Tensor | None = None,
        macs: int | None = None,
    ) -> None:
        """Add a batch: scores [B, C], labels [B], its mean loss, and the activity of an SNN,
        and the multiply-accumulates of each of its clips.

        All but ``samples``: the host counts them, as a captured step repeats nothing there.
        """
        means = [
            loss.float(),
            self.zero,  # no mean: the number of clips that are right
            activity.sop if activity else self.zero,
            activity.recurrent_sop if activity else self.zero,
            self.zero if penalty is None else penalty,
        ]
        self.sums[:5].add_(torch.stack(means), alpha=len(y))
        if macs is not None:
            self.sums[5] += macs * len(y)
        self.sums[1] += (output.argmax(dim=1) == y).sum()
        if activity is not None:
            layers = activity.firing_rates.split(self.layer_sizes)
            self.rates.add_(torch.stack([rates.mean() for rates in layers]), alpha=len(y))

    def state(self) -> dict:
        """The sums so far, as a checkpoint holds them."""
        copies = {name: getattr(self, name).to("cpu", copy=True) for name in ("sums", "rates")}
        return {"samples": self.samples, **copies}

    def restore(self, state: dict) -> None:
        """Go on from sums that ``state`` gave."""
        self.samples = state["samples"]
        self.sums[: len(state["sums"])] = state["sums"]  # earlier versions have one less
        self.rates.copy_(state["rates"])

    def result(self, seconds: float, *, regularized: bool = False) -> Metrics:
        """The means over all batches added."""
        loss, accuracy, sop, recurrent_sop, penalty, mac = (self.sums / self.samples).tolist()
        metrics = Metrics(self.samples, loss, accuracy, seconds)
        if self.layer_sizes:
            metrics.input_rate, *metrics.firing_rates = (self.rates / self.samples).tolist()
            metrics.sop, metrics.recurrent_sop = sop, recurrent_sop
        if self.counts_macs:
            metrics.mac = mac
        if regularized:
            metrics.regularization = penalty
        return metrics


def count_parameters(model: nn.Module) -> int:
    """Trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def protocol(validated_on: str) -> str:
    """What the epoch of a reported test accuracy was chosen on, by ``validated_on``."""
    if "test split" in validated_on:
        return "published: epoch chosen on the test split"
    clean = {"held-out speaker": "held-out speakers", "of the training split": "held-out clips"}
    words = (kind for mark, kind in clean.items() if mark in validated_on)
    return f"clean: {next(words, 'validation split of the data')}"
