# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Several runs after one another, ending in one table of mean ± standard deviation over seeds."""

import os
import platform
from collections.abc import Callable
from pathlib import Path

import torch

from datasets.registry import DATASETS
from parsers.load import Plan
from training.build import check_options
from training.data.loading import DataCache
from training.device.choice import choose_device, determinism
from training.errors import ExperimentError
from training.evaluation import evaluate_all
from training.grid import parallel
from training.loss import check_loss
from training.record import files
from training.record.files import continuing_without
from training.results.groups import report
from training.run import train_point
from training.terminal.console import log
from training.tracking import wandb_sweep
from training.tracking.wandb_run import link
from training.tracking.wandb_sweep import announce, create, joined, plan_of_job


def run(plan: Plan, draw: Callable[[Path], None] = lambda folder: None) -> int:
    """Train and test every point of ``plan``, or evaluate a pretrained network; the exit status.

    ``draw`` makes the pictures of a search, in its folder. Raises ExperimentError and DataError for
    what the user can mend, before any training.
    """
    options = plan.points[0].training
    if plan.list_points and plan.search is not None:
        from training.search.folder import list_trials

        list_trials(plan)
        return 0
    if plan.list_points:
        for point in plan.points:
            check_loss(point)
        for number, folder in enumerate(files.run_folders(plan), start=1):
            print(number, folder, sep="\t")
        return 0
    device, *_ = map(choose_device, plan.devices)
    for note in plan.notes:
        log.info(note)
    for point in plan.points:
        check_options(point, device)
    if options.sweep_id or options.only_createsweep:
        wandb_sweep.check_requested(options)
    if plan.points[0].is_tracked and not options.evaluate_pretrained:
        link.mode(options)  # a login that is missing is reported before anything else
    if options.only_createsweep:
        announce(create(plan))
        return 0
    if options.sweep_id:
        return join_sweep(plan)
    with determinism(options.deterministic):
        if plan.search is not None:
            from training.search.online import is_online, search_online
            from training.search.run import run_search

            status = search_online(plan, draw) if is_online(plan) else None
            return run_search(plan, device, draw) if status is None else status
        return (evaluate_all if options.evaluate_pretrained else train_all)(plan, device)


def train_all(plan: Plan, device: torch.device) -> int:
    """Run every point in its own folder; 1 if one of several did not end."""
    if "WANDB_SWEEP_PARAM_PATH" in os.environ:  # an agent has started this process
        plan = plan_of_job(plan)
    runs = list(enumerate(zip(plan.points, files.run_folders(plan), strict=True), start=1))
    chosen = runs if plan.only_point is None else [runs[plan.only_point - 1]]
    targets = [folder for _, (_, folder) in chosen]
    common = files.sweep_folder(plan) if len(chosen) > 1 else None
    options = chosen[0][1][0].training
    may_exist = options.overwrite or options.resume is not None
    if options.resume is None:  # finished runs need no data
        for _, (point, _) in chosen:
            DATASETS[point.training.dataset_name].look_up(point.training)
    files.check_free(targets, may_exist)
    if common is not None:
        files.check_free_sweep(common, may_exist)
    else:
        files.note(targets[0])
    results, left = [], chosen
    if (
        common is not None
        and plan.points[0].is_tracked
        and wandb_sweep.makes_sweep(plan, len(chosen))
    ):
        parallel.make_caches(plan.points)  # a fault in the data is reported before there is a sweep
        results, left = wandb_sweep.train_as_sweep(plan, chosen, common)
    if left and common is not None and plan.jobs > 1:
        results = parallel.train_points(plan, targets, common)
    elif left:
        results += train_in_turn(left, len(runs), device, alone=common is None)
        results.sort(key=lambda result: targets.index(Path(result["folder"])))
    if common is not None:
        with continuing_without(files.SWEEP_SUMMARY, Exception, "the runs are in their folders"):
            report(plan, results, common, files.SWEEP_SUMMARY)
    return int(any("error" in result or result.get("unwritten") for result in results))


def train_in_turn(
    chosen: list[tuple[int, tuple]], count: int, device: torch.device, *, alone: bool
) -> list[dict]:
    """Train one run after another, of ``count`` that the plan has; their results."""
    cache, results = DataCache(device), []
    for number, (point, folder) in chosen:
        if count > 1:
            log.info("\nRun %d of %d: %s", number, count, folder.name)
        try:
            results.append(train_point(point, folder, cache, alone=alone))
        except ExperimentError as error:
            if not results:  # what is wrong with one is likely wrong with all
                raise
            log.error("This run ends here: %s", error)
            values = point.to_dict()
            results.append({"folder": str(folder), "values": values, "error": str(error)})
    return results


def join_sweep(plan: Plan) -> int:
    """Train runs of a sweep on the wandb server until it has no more; 1 if one did not end."""
    path, plan, flags = joined(plan)
    parallel.make_caches(plan.points)  # a fault in the data is reported before a job is taken
    results, failed = wandb_sweep.join(path, flags)
    if results:
        if plan.search is not None:
            from training.search.report import report_runs

            report_runs(plan, results, files.sweep_folder(plan))
            return int(failed > 0)
        name = f"sweep_summary_{platform.node()}_{os.getpid()}.json"  # one for each that joins
        with continuing_without(name, Exception, "the runs are in their folders"):
            report(plan, results, files.sweep_folder(plan), name)
    else:
        log.info("The sweep had no run for this machine")
    return int(failed or any("error" in result for result in results))
