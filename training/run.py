# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One run of a plan: started, or resumed where it stopped, then trained and tested."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from datasets.interface import Data
from parsers.load import Config
from training.build import check_batches, check_options
from training.data import same_data
from training.data.loading import DataCache, data_record
from training.errors import DivergedError
from training.experiment import Experiment, Judge
from training.record import checkpoint, files
from training.record.files import continuing_without
from training.record.recorder import draw_missing
from training.terminal.console import log, percent
from training.tracking.wandb_run import in_sweep, send_finished


def train_point(
    point: Config, folder: Path, cache: DataCache, *, alone: bool, judge: Judge | None = None
) -> dict:
    """Train and test one point of a plan in ``folder``, unless that was done before.

    Args:
        point: the options of the run.
        folder: where it is written down.
        cache: gives the data; its device is where to train.
        alone: whether no other run depends on it: if not, one that diverges is noted, and its
            result says why.
        judge: decides after every epoch whether the run is a trial that has to stop, which raises
            StoppedEarlyError.
    """
    result = {"folder": str(folder), "values": point.to_dict()}
    if summary := finished_before(point, folder):
        return {**result, **summary}
    check_options(point, cache.device)
    is_resumed = point.training.resume is not None and (folder / checkpoint.LAST).exists()
    with (resume if is_resumed else begin)(point, folder, cache) as experiment:
        experiment.judge = judge
        return fit(experiment, result, alone=alone)


def finished_before(point: Config, folder: Path) -> dict | None:
    """The summary of a run that --resume finds at its end; None for any other."""
    if point.training.resume is None:
        return None
    summary = files.finished(folder, point.to_dict())
    if summary is not None:
        draw_missing(folder, summary)
        accuracy = percent(summary["test"]["accuracy"])
        log.info("Already finished, %d epochs: test accuracy %s", summary["epochs"], accuracy)
        if point.is_tracked and in_sweep():
            send_finished(point, folder, summary)
    return summary


@contextlib.contextmanager
def begin(point: Config, folder: Path, cache: DataCache) -> Iterator[Experiment]:
    """A run from its first step, in a folder that is made for it and locked."""
    options = point.training
    if options.resume is not None:
        files.check_nothing_lost(folder)
        log.info("Nothing to resume in %s: the training starts from scratch", folder)
    data = cache.get(options)
    check_batches(point, data, cache.device)
    experiment = Experiment(point, data, folder, cache.device)
    with files.claimed(folder):
        if options.resume is None:  # another program may have been here since the sweep began
            files.check_free([folder], options.overwrite)
        warm_start(experiment)
        say_settled(point, experiment.config, data)
        files.create(folder, experiment.config.to_dict(), data_record(options, data))
        yield experiment


@contextlib.contextmanager
def resume(point: Config, folder: Path, cache: DataCache) -> Iterator[Experiment]:
    """A run from the state that it has saved in ``folder``, which is locked."""
    point = point.settled(files.recorded_options(folder))
    data = same_data.data_of(folder, point.training, cache)
    check_batches(point, data, cache.device)
    experiment = Experiment(point, data, folder, cache.device)
    with files.claimed(folder):
        files.check_same_options(folder, point.to_dict())
        same_data.check_unchanged(folder, point.training, data)
        experiment.progress = experiment.recorder.resume(experiment.trained)
        files.record_epochs(folder, point.training.nb_epochs)
        yield experiment


def say_settled(asked: Config, config: Config, data: Data) -> None:
    """Say what a run on other than published data takes where nothing is asked for."""
    before = asked.values()
    idle = {*config.without_effect(), "feature_backend"}  # which no data decide, but what imports
    taken = [
        f"--{name} {value}"
        for name, value in config.values().items()
        if value != before[name] and name not in idle
    ]
    if taken and data.unpublished:
        log.info("Not the published data (%s): %s", data.unpublished, ", ".join(taken))


def fit(experiment: Experiment, result: dict, *, alone: bool) -> dict:
    """Train an experiment; its summary, or why there is none."""
    result = {**result, "values": experiment.config.to_dict()}
    failure = experiment.folder / files.FAILURE
    failure.unlink(missing_ok=True)
    try:
        return {**result, **experiment.fit()}
    except DivergedError as error:
        with continuing_without(files.FAILURE):
            files.write_json(failure, {"diverged": str(error)})
        if alone:
            raise
        log.error("This run ends here: %s", error)
        return {**result, "error": str(error)}
    finally:
        if experiment.launcher is not None:
            experiment.launcher.release()


def warm_start(experiment: Experiment) -> None:
    """Load the weights of load_exp_folder where --start_epoch asks for that."""
    options = experiment.options
    if options.load_exp_folder is None:
        return
    if options.start_epoch == 0:
        log.info(
            "Training from scratch: load_exp_folder is used with --evaluate_pretrained True, or "
            "with a --start_epoch above 0"
        )
        return
    path = checkpoint.find_weights(Path(options.load_exp_folder))
    checkpoint.load_weights(experiment.model, path)
    log.info("Starting from the weights in %s", path)
