# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Work on a wandb sweep: ``wandb agent`` asks for jobs, and starts main.py for each of them."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

from parsers.load import REPOSITORY, Config, Plan
from parsers.training_config import TrainingConfig
from training.errors import ExperimentError
from training.record import files
from training.results.gather import read_run
from training.terminal.console import Stopped, log, stop_request
from training.tracking.link import ONLINE, in_sweep, link
from training.tracking.sweep import LOCAL_FLAGS, SweepError, announce, create, local_flags

SWEEP_FILE = Path("wandb_sweep.json")
AGENT = (sys.executable, "-m", "wandb", "agent", "--forward-signals")
JOBS = "wandb/sweep-*/config-*.yaml"  # a file for each job, which the agent hands to main.py
POLL = 0.1  # s
NumberedRun = tuple[int, tuple[Config, Path]]


class Outcome(NamedTuple):
    """What ``wandb agent`` has done: the folders of its runs, in the order in which they began; how
    many of its jobs failed without a folder; and whether the agent itself failed."""

    folders: list[Path]
    refused: int
    lost: bool


def check_requested(options: TrainingConfig) -> None:
    """ExperimentError if the options ask for a sweep on the server that cannot be."""
    given = [name for name in ("sweep_id", "only_createsweep") if getattr(options, name)]
    if len(given) == 2:
        raise ExperimentError("--sweep_id joins a sweep and --only_createsweep makes one: choose")
    if options.evaluate_pretrained or options.debug:
        other = "evaluate_pretrained True" if options.evaluate_pretrained else "debug"
        raise ExperimentError(f"--{given[0]} is about a sweep of trainings: leave out --{other}")
    link.require(f"--{given[0]}", options)


def makes_sweep(plan: Plan, count: int) -> bool:
    """Whether ``count`` runs of ``plan`` become a sweep on the server."""
    several = count > 1 and plan.jobs == 1 and len(plan.points) == len(plan.grid)
    return several and not in_sweep() and link.mode(plan.points[0].training) == ONLINE


def train_as_sweep(
    plan: Plan, runs: list[NumberedRun], common: Path
) -> tuple[list[dict], list[NumberedRun]]:
    """Train a grid as a sweep that other machines may join.

    Returns the results of this machine, and the runs that are left to train without the sweep: all
    of them if the server takes none; those that nobody began, if it is lost on the way; those that
    were begun before and not given out again, if they are resumed.
    """
    resumes = plan.points[0].training.resume is not None
    if resumes and all(files.finished(folder, point.to_dict()) for _, (point, folder) in runs):
        return [], runs
    files.create_plain(common)
    try:
        path = (resumes and stored_sweep(plan, common)) or create(plan)
    except SweepError as error:
        link.lose(str(error))
        return [], runs
    files.write_json(common / SWEEP_FILE, {"path": path, "axes": as_json(plan.axes)})
    announce(path)
    outcome = run_agent(path, local_flags(plan), len(runs))
    if outcome.lost:
        link.lose("The sweep is lost, the rest of the grid is trained here")
    results, rest = [], []
    for number, (point, folder) in runs:
        if folder.absolute() in outcome.folders:
            results.append(result_of(folder, point.to_dict()))
        elif resumes if (folder / "config.yaml").exists() else outcome.lost:
            rest.append((number, (point, folder)))
    if others := len(runs) - len(results) - len(rest):
        log.info("%d of %d runs were left to other agents", others, len(runs))
    return results, rest


def join(path: str, flags: list[str]) -> tuple[list[dict], int]:
    """Train runs of the sweep ``path`` until it has no more, with the options ``flags``.

    Returns the results, and how many jobs failed before there was anything to count. Raises
    SweepError if the sweep gave nothing because the agent failed.
    """
    outcome = run_agent(path, flags)
    runs = [run for folder in outcome.folders if (run := read_run(folder)) and run.values]
    if outcome.lost:
        if not runs:
            raise SweepError(f"sweep {path} gives no run: what wandb agent said stands above")
        log.error("Sweep %s is lost; what was finished is kept", path)
    return [run.result() for run in runs], outcome.refused + len(outcome.folders) - len(runs)


def run_agent(path: str, flags: list[str], count: int | None = None) -> Outcome:
    """Have ``wandb agent`` work on the sweep ``path`` (entity/project/id), with ``count`` jobs at
    most, whose main.py takes ``flags`` beside the sweep's.

    Raises Stopped after a signal, when the run at hand has saved its state.
    """
    limit = [] if count is None else ["--count", str(count)]
    with tempfile.TemporaryDirectory() as place, stop_request() as stop:
        note = Path(place) / "folders"
        more = {"WANDB_DIR": place, files.NOTE: str(note), LOCAL_FLAGS: json.dumps(flags)}
        agent = Popen(
            [*AGENT, *limit, path],
            env=agent_environment(count) | more,
            start_new_session=True,  # Ctrl-C is for this process, which passes it on
        )
        try:
            while agent.poll() is None and stop.signum is None:
                time.sleep(POLL)
        finally:
            agent.terminate()
            agent.wait()
        if stop.signum is not None:
            raise Stopped(stop.signum)
        noted = note.read_text(encoding="utf-8").splitlines() if note.exists() else []
        jobs = len(list(Path(place).glob(JOBS)))
    return Outcome([Path(line) for line in noted], jobs - len(noted), agent.returncode != 0)


def agent_environment(count: int | None) -> dict[str, str]:
    """The environment in which ``wandb agent`` finds this Python and main.py in any folder."""
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    for name, place in (("PATH", Path(sys.executable).parent), ("PYTHONPATH", REPOSITORY)):
        environment[name] = os.pathsep.join(filter(None, [str(place), os.environ.get(name)]))
    if count is not None:  # runs of a grid may diverge one after another
        environment.setdefault("WANDB_AGENT_DISABLE_FLAPPING", "true")
        environment.setdefault("WANDB_AGENT_MAX_INITIAL_FAILURES", str(count))
    return environment


def result_of(folder: Path, values: dict) -> dict:
    """The result of a run that another process made."""
    run = read_run(folder)
    if run is not None and run.values:
        return {**run.result(), "folder": str(folder)}
    return {"folder": str(folder), "values": values, "error": "it ended before it began to train"}


def stored_sweep(plan: Plan, common: Path) -> str | None:
    """The sweep that an earlier process made of the same grid; None if there is none."""
    try:
        stored = json.loads((common / SWEEP_FILE).read_text(encoding="utf-8"))
        return stored["path"] if stored["axes"] == as_json(plan.axes) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def as_json(axes: dict[str, tuple]) -> dict[str, list]:
    """The axes of a grid as a JSON file holds them."""
    return json.loads(json.dumps({name: list(values) for name, values in axes.items()}))
