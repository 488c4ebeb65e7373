# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a training step minimises: a loss (``--loss``), and a penalty on firing rates.

A loss takes the class scores [B, C] of the readout, the potentials [B, T, C] of the output
neurons, the labels y [B] and the options of the training, and gives a mean [] over the clips. The
potentials are None unless the loss is marked by `of_potentials`. Tests and validations use it too.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from parsers.load import Config
from parsers.model_config import NEURONS
from parsers.training_config import TrainingConfig
from training.errors import ExperimentError

Loss = Callable[[Tensor, Tensor | None, Tensor, TrainingConfig], Tensor]


def of_potentials(loss: Loss) -> Loss:
    """Mark a loss that needs the potentials."""
    loss.needs_potentials = True
    return loss


def cross_entropy(
    output: Tensor, potentials: Tensor | None, y: Tensor, options: TrainingConfig
) -> Tensor:
    """Cross-entropy of the scores, as published for the summed softmax (Bittar & Garner 2022)."""
    return functional.cross_entropy(output, y, label_smoothing=options.label_smoothing)


@of_potentials
def mean_potential(
    output: Tensor, potentials: Tensor, y: Tensor, options: TrainingConfig
) -> Tensor:
    """Cross-entropy of the potentials' mean over time."""
    return cross_entropy(potentials.mean(dim=1), None, y, options)


@of_potentials
def last_potential(
    output: Tensor, potentials: Tensor, y: Tensor, options: TrainingConfig
) -> Tensor:
    """Cross-entropy of the potentials after the last step."""
    return cross_entropy(potentials[:, -1], None, y, options)


@of_potentials
def max_potential(output: Tensor, potentials: Tensor, y: Tensor, options: TrainingConfig) -> Tensor:
    """Cross-entropy of each class's highest potential (Zenke & Vogels 2021, "max over time")."""
    return cross_entropy(potentials.amax(dim=1), None, y, options)


@of_potentials
def nll_steps(output: Tensor, potentials: Tensor, y: Tensor, options: TrainingConfig) -> Tensor:
    """Negative log-likelihood under the softmax of every step, summed over the steps."""
    steps = potentials.shape[1]
    every_step = potentials.flatten(0, 1)  # [B * T, C]
    return steps * cross_entropy(every_step, None, y.repeat_interleave(steps), options)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "mean_potential": mean_potential,
    "last_potential": last_potential,
    "max_potential": max_potential,
    "nll_steps": nll_steps,
}


def needs_potentials(name: str) -> bool:
    """Whether the loss of that name is computed from potentials."""
    return getattr(LOSSES[name], "needs_potentials", False)


def check_loss(config: Config) -> None:
    """ExperimentError if the network of ``config`` has no potentials, and its loss needs them."""
    name, model = config.training.loss, config.model
    if not needs_potentials(name):
        return
    if not NEURONS.are_met(vars(model)):
        raise ExperimentError(
            f"--loss {name} needs the potentials of a spiking network, and {model.model_type} has "
            "none: use --loss cross_entropy"
        )
    if model.readout == "spike_count":
        raise ExperimentError(
            f"--loss {name} needs output neurons that do not spike: use --loss cross_entropy with "
            "--readout spike_count"
        )


def rate_penalty(rates: Tensor, options: TrainingConfig) -> Tensor | None:
    """The regulariser: firing rates [units] of hidden units outside [reg_fmin, reg_fmax].

    reg_factor * (sum relu(reg_fmin - r) + sum relu(r - reg_fmax)); None where it is off.
    """
    if not options.use_regularizers:
        return None
    too_low = functional.relu(options.reg_fmin - rates).sum()
    too_high = functional.relu(rates - options.reg_fmax).sum()
    return options.reg_factor * (too_low + too_high)
