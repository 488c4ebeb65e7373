# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Trials one after another: each trains its options with every seed, unless it is stopped early."""

import statistics
from collections.abc import Iterable
from pathlib import Path

from parsers.load import RESUME_AUTO, Config, Plan
from parsers.options import ConfigError
from parsers.program import lack_of_memory
from training.build import check_batches, check_options
from training.data.loading import DataCache
from training.errors import ExperimentError, StoppedEarlyError
from training.run import train_point
from training.search.study import Record, TakenTrial, Trials
from training.terminal.console import log, percent


def work_through(plan: Plan, trials: Trials, numbers: Iterable[int], cache: DataCache) -> None:
    """Make those of the trials ``numbers`` that have not ended and that no other process makes.

    Raises what a training raises; the trial is then taken up again by the next process.
    """
    for number in numbers:
        with trials.take(number) as trial:
            if trial is None:
                continue
            log.info("\nTrial %d of %d: %s", number, plan.search.trials, in_words(trial.values))
            train(plan, trial, trials.folder, number, cache)
        log.info("Trial %d: %s", number, end_in_words(trials.records()[number - 1]))


def train(plan: Plan, trial: TakenTrial, folder: Path, number: int, cache: DataCache) -> None:
    """Train a trial with every seed, and note its end.

    Of several seeds, the first is the one that may be stopped early.
    """
    strict = plan.search.early is not None and plan.search.early.strict

    def judge(accuracies: list[float], is_last: bool) -> bool:
        return trial.is_hopeless(accuracies, strict=strict) and not is_last

    accuracies = []
    for seed in plan.search.seeds:
        place = run_folder(folder, number, seed)
        try:
            point = checked(plan.points[0], {**trial.values, "seed": seed}, place, cache)
            first = judge if not accuracies else None
            result = train_point(point, place, cache, alone=False, judge=first)
        except StoppedEarlyError:
            return trial.stop()
        except (ConfigError, CannotTrainError) as error:
            return trial.stop(refused=str(error))
        except (MemoryError, RuntimeError) as error:
            if (lack := lack_of_memory(error)) is None:
                raise
            return trial.stop(refused=f"out of memory ({lack})")
        if "error" in result:  # it diverged
            return trial.stop(refused=result["error"])
        if lost := result.get("unwritten"):
            raise ExperimentError(f"{place} lacks {', '.join(lost)}, which could not be written")
        accuracies.append(result["valid"]["accuracy"])
    return trial.end(statistics.fmean(accuracies))


class CannotTrainError(ExperimentError):
    """A network or data do not go with the values of a trial."""


def checked(base: Config, values: dict, place: Path, cache: DataCache) -> Config:
    """The run of a trial in its folder ``place``, resumed where it was begun before.

    Raises ConfigError or CannotTrainError for values that do not go together.
    """
    resume = Path(RESUME_AUTO) if (place / "config.yaml").exists() else None
    point = Config.of(base.values() | values | {"resume": resume, "overwrite": False})
    point.check()
    data = cache.get(point.training)
    try:
        check_options(point, cache.device)
        check_batches(point, data, cache.device)
    except ExperimentError as error:
        raise CannotTrainError(str(error)) from None
    return point


def run_folder(folder: Path, number: int, seed: int) -> Path:
    """Where a trial is trained with a seed."""
    return folder / f"trial_{number:04d}_seed{seed}"


def in_words(values: dict) -> str:
    """'lr 0.0123, pdrop 0.25'."""
    return ", ".join(f"{name} {short(value)}" for name, value in values.items())


def short(value: object) -> str:
    """A value as it is read by people: floats with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def end_in_words(record: Record) -> str:
    """How a trial ended."""
    if record.reason:
        return f"refused: {record.reason}"
    reached = "no accuracy" if record.accuracy is None else percent(record.accuracy)
    how = {"complete": "", "pruned": f", stopped early after epoch {record.epochs}"}
    return f"validation {reached}{how.get(record.state, f', {record.state}')}"
