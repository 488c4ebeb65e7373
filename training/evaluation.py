# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Testing a network that was trained before: ``--evaluate_pretrained True``."""

from pathlib import Path

import torch
from torch import nn

from models.dynamics import describe
from parsers.load import Config, Plan
from training.data import same_data
from training.data.loading import DataCache
from training.device.choice import describe_device
from training.errors import ExperimentError
from training.experiment import Experiment
from training.metrics import count_parameters, wilson
from training.record import checkpoint, files
from training.results.groups import report
from training.terminal.console import (
    activity_rows,
    interval_in_words,
    log,
    log_file,
    percent,
    table,
)


def evaluate_all(plan: Plan, device: torch.device) -> int:
    """Test the pretrained network once per point (seed) and print the mean; exit status 0."""
    options = plan.points[0].training
    if options.load_exp_folder is None:
        raise ExperimentError(
            "--evaluate_pretrained True needs a pretrained network: name its folder behind the "
            "config or with --load_exp_folder"
        )
    path = checkpoint.find_weights(Path(options.load_exp_folder))
    name = f"{Path(options.load_exp_folder).resolve().name}_evaluation"
    folder = files.unused(Path(options.new_exp_folder or files.DEFAULT_ROOT / name))
    cache, results = DataCache(device, ("test",)), []
    for point in plan.points:
        experiment = open_trained(point, path, cache)
        if not results:
            files.create_plain(folder)
        results.append(evaluate_point(experiment, path, folder, number=len(results)))
        if plan.points[1:] and set(plan.axes) == {"seed"} and not draws_states(experiment.model):
            log.info("Nothing in this network is drawn at random: one seed stands for all")
            break
    report(plan, results, folder, "evaluation_summary.json")
    return 0


def draws_states(model: nn.Module) -> bool:
    """Whether neurons start from random states, and so every seed gives another accuracy."""
    return any(getattr(layer, "init_state", "zero") == "rand" for layer in model.modules())


def open_trained(config: Config, weights: Path, cache: DataCache) -> Experiment:
    """A network that was trained before, with its data, ready to be tested on the cache's device.

    Args:
        config: the options to test it with.
        weights: its checkpoint, in ``checkpoints/`` of a run's folder.
        cache: gives the data.

    Raises:
        CheckpointError, ExperimentError or DataError: weights or data do not fit, or are not there.
    """
    checkpoint.read(weights)  # a fault in it is reported before the data are read
    data = same_data.data_of(weights.parents[1], config.training, cache)
    experiment = Experiment(config, data, None, cache.device)
    checkpoint.load_weights(experiment.model, weights)
    return experiment


def evaluate_point(experiment: Experiment, path: Path, folder: Path, number: int) -> dict:
    """Test loaded weights under one seed."""
    options = experiment.options
    log_path = folder / "exp.log" if options.log_tofile else None
    with log_file(log_path), experiment.threads(experiment.data.test) as most:
        if number == 0:
            log.info(describe_device(experiment.device, most))
            log.info(describe(experiment.model))
            log.info("Evaluating %s on %s test clips", path, f"{len(experiment.data.test):,}")
        test = experiment.test(options.seed).to_dict()
        log.info(
            "seed %d  test loss %.4f acc %s %s",
            options.seed,
            test["loss"],
            percent(test["accuracy"]),
            interval_in_words(**test),
        )
        if number == 0 and activity_rows(test):
            log.info("\n%s\n", table(activity_rows(test), ["activity", "value"]))
    return {
        "checkpoint": str(path),
        "values": experiment.config.to_dict(),
        "test": test,
        "test_accuracy_interval": wilson(test["accuracy"], test["samples"]),
        "parameters": count_parameters(experiment.model),
        "classes": experiment.data.nb_classes,
        "validated_on": validated_on(path.parents[1]),
    }


def validated_on(folder: Path) -> str | None:
    """What the weights in ``folder`` were chosen on, if they are of a run that has ended."""
    try:
        return files.read_summary(folder).get("validated_on")
    except ExperimentError:
        return None
