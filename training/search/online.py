# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A search as a sweep on the wandb server, which draws the trials and stops those that do worse."""

from collections.abc import Callable
from pathlib import Path

from parsers.load import Plan
from training.errors import ExperimentError
from training.grid import parallel
from training.results.gather import read_run
from training.search.folder import search_folder, settle
from training.search.report import report_runs
from training.terminal.console import log
from training.tracking.wandb_run import ONLINE, in_sweep, link
from training.tracking.wandb_sweep import (
    LOCAL,
    SweepError,
    announce,
    create,
    flags_of,
    run_agent,
    store_sweep,
    stored_sweep,
)

RUNS = "runs.txt"  # the folders of the runs that this machine has made


def is_online(plan: Plan) -> bool:
    """Whether the server makes the search: with a login, and no other wish.

    Raises ExperimentError in a run that a sweep has given out.
    """
    if in_sweep():
        name = next(iter(plan.search.space))
        raise ExperimentError(
            f"the sweep gives no value for {name}, which is searched here: add it to the sweep's "
            "parameters, or give a single one"
        )
    is_whole = plan.jobs == 1 and plan.only_point is None
    tracked = plan.points[0].is_tracked
    return is_whole and tracked and link.mode(plan.points[0].training) == ONLINE


def search_online(plan: Plan, draw: Callable[[Path], None]) -> int | None:
    """Make trials of the sweep until the server has no more; 1 if the sweep is lost before.

    None if the server refuses the sweep: then the search is made on this machine.
    """
    folder = search_folder(plan)
    parallel.make_caches(list(plan.points))  # a fault in the data is reported before a sweep
    settle(plan, folder)
    try:
        path = stored_sweep(plan, folder) or create(plan)
    except SweepError as error:
        link.lose(str(error))
        return None
    store_sweep(plan, path, folder)
    announce(path)
    outcome = run_agent(path, flags_of(plan, LOCAL), note=folder / RUNS)
    runs = [run for place in outcome.folders if (run := read_run(place)) and run.values]
    report_runs(plan, [run.result() for run in runs], folder)
    draw(folder)
    if outcome.lost:
        log.error("Sweep %s is lost; the same command again goes on with it", path)
    return int(outcome.lost)
