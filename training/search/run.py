# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A search from its first trial, or from where it was stopped, to its table."""

from collections.abc import Callable
from pathlib import Path

import torch

from datasets.registry import DATASETS
from parsers.load import Plan
from parsers.program import check_folder
from training.data.loading import DataCache
from training.errors import ExperimentError
from training.grid import parallel
from training.search import workers
from training.search.folder import clear, search_folder, settle
from training.search.report import report_trials
from training.search.study import Trials, need_optuna
from training.search.work import work_through
from training.terminal.console import log


def run_search(plan: Plan, device: torch.device, draw: Callable[[Path], None]) -> int:
    """Make all trials of a search, or the one that --only_point names; 1 if some did not end, or
    none was trained to its end.

    ``draw`` makes the pictures of the search in a folder.
    """
    need_optuna()
    folder = search_folder(plan)
    options = plan.points[0].training
    DATASETS[options.dataset_name].look_up(options)
    check_folder("--new_exp_folder", folder)
    if options.overwrite and plan.only_point is not None:
        raise ExperimentError("--overwrite starts a whole search again: remove --only_point")
    if options.overwrite:
        clear(folder)
    settle(plan, folder)
    trials = Trials(folder, plan.search)
    if plan.only_point is not None:
        work_through(plan, trials, [plan.only_point], DataCache(device))
        return 0
    numbers = range(1, plan.search.trials + 1)
    ended = sum(record.has_ended for record in trials.records()[: plan.search.trials])
    left = plan.search.trials - ended
    if ended:
        log.info("%d of %d trials have ended before, in %s", ended, plan.search.trials, folder)
    if left and plan.jobs > 1:
        parallel.make_caches(list(plan.points))
        workers.share(plan, trials, folder)
    elif left:
        work_through(plan, trials, numbers, DataCache(device))
    records = trials.records()  # another process may end a trial meanwhile
    report_trials(plan, records, folder)
    draw(folder)
    records = records[: plan.search.trials]
    left = sum(not record.has_ended for record in records)
    if left:
        log.info("%d trials have not ended: the same command again goes on with them", left)
    return int(left > 0 or not any(record.is_complete for record in records))
