# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""From the options of a run to its network and what trains it."""

from dataclasses import asdict

import torch

from models.anns import ANN
from models.anns import LAYERS as ANN_LAYERS
from models.linear import set_precision
from models.network import Network
from models.snns import SNN
from parsers.load import Config
from parsers.training_config import TrainingConfig
from training.errors import ExperimentError

MIN_LR = 1e-6


def build_model(config: Config, nb_features: int, nb_classes: int) -> Network:
    """The network that ``config`` describes, its weights drawn from torch's generator.

    Raises ExperimentError for options that no network can have.
    """
    options = config.model
    shape = (None, None, nb_features)
    sizes = [options.nb_hiddens] * (options.nb_layers - 1) + [nb_classes]
    common = {
        "dropout": options.pdrop,
        "normalization": options.normalization,
        "use_bias": options.use_bias,
        "bidirectional": options.bidirectional,
        "readout": options.readout,
        "backend": config.training.backend,
    }
    try:
        if options.model_type in ANN_LAYERS:
            model = ANN(shape, sizes, options.model_type, **common)
        else:
            model = SNN(
                shape,
                sizes,
                options.model_type,
                extra_features=asdict(options),
                init_state=options.init_state,
                surrogate=options.surrogate,
                surrogate_width=options.surrogate_width,
                **common,
            )
    except ValueError as error:
        raise ExperimentError(str(error)) from None
    set_precision(model, config.training.precision)
    return model


def build_optimizer(model: Network, options: TrainingConfig) -> torch.optim.Adam:
    """Adam over the parameter groups of ``model``, which is on its device; fused on a GPU."""
    groups = [
        {
            "params": group["params"],
            "lr": options.lr * group["lr_factor"],
            "weight_decay": group["weight_decay"],
        }
        for group in model.parameter_groups()
    ]
    return torch.optim.Adam(groups, fused=next(model.parameters()).is_cuda)


def build_scheduler(
    optimizer: torch.optim.Optimizer, options: TrainingConfig
) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
    """Lowers the learning rates when the validation accuracy stops rising."""
    return torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="max",
        factor=options.scheduler_factor,
        patience=options.scheduler_patience,
        min_lr=[MIN_LR * (group["lr"] / options.lr) for group in optimizer.param_groups],
    )
