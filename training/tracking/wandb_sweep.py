# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A grid as a wandb sweep: its configuration, and the agents that work on it here.

``wandb agent`` asks the server for jobs. Every job is a process of main.py: its command line is the
sweep's command and the job's values.
"""

import contextlib
import dataclasses
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from subprocess import PIPE, Popen
from typing import NamedTuple

import yaml

from parsers.load import OPTIONS, REPOSITORY, RESUME_AUTO, Config, ConfigError, Plan, load_plan
from parsers.search import Search
from parsers.training_config import TrainingConfig
from training.errors import ExperimentError
from training.record import files
from training.results.gather import read_run
from training.terminal.console import Stopped, log, stop_request
from training.tracking.wandb_run import (
    ONLINE,
    in_sweep,
    link,
    noted_run,
    one_line,
    project_name,
    server_settings,
)

METRIC = "valid acc"
CONFIGS = REPOSITORY / "configs"
LOCAL_FLAGS = "SPRACHE_LOCAL_FLAGS"  # JSON list of flags that replace the sweep's on one machine
OF_ONE_PROCESS = {n for n, option in OPTIONS.items() if option.rules.scope in ("process", "plan")}
MAY_CHANGE = {name for name, option in OPTIONS.items() if option.rules.may_change}
# What holds for the runs of one machine, whatever the sweep says.
LOCAL = (MAY_CHANGE - OF_ONE_PROCESS) | {"gpu_device", "tracking"}
SWEEP_FILE = Path("wandb_sweep.json")
# `python -m wandb`, which ends when this process is killed; else it would train the rest of the
# sweep unseen.
WANDB = """
from parsers.program import stop_with_parent
stop_with_parent()
from wandb.cli.cli import cli
cli()
"""
AGENT = (sys.executable, "-c", WANDB, "agent", "--forward-signals")
JOBS = "wandb/sweep-*/config-*.yaml"  # a file for each job, which the agent hands to main.py
POLL = 0.1  # s
NumberedRun = tuple[int, tuple[Config, Path]]


class SweepError(ExperimentError):
    """The server does not know a sweep, or refuses it."""


def describe(plan: Plan) -> dict:
    """The sweep's configuration: a grid over every listed value, or the search of the plan.

    ``command`` repeats what the user typed, so that every agent makes the same runs. main.py is
    called as a module, which Python finds from any working directory.
    """
    name = plan.points[0].training.sweep_name
    if plan.search is None:
        axes = plan.axes or {"seed": (plan.points[0].training.seed,)}
        parameters = {axis: {"values": list(values)} for axis, values in axes.items()}
        metric = {"name": METRIC, "goal": "maximize"}
        layout = {"method": "grid", "metric": metric, "parameters": parameters}
    else:
        layout = plan.search.layout({})
    flags = flags_of(plan, OPTIONS.keys() - OF_ONE_PROCESS - layout["parameters"].keys())
    return {
        "name": name or files.run_name(plan.points[0].to_dict(), with_seed=False),
        "program": "main.py",
        **layout,
        "command": ["${env}", "${interpreter}", "-m", "main", *config_of(plan), *flags, "${args}"],
    }


def config_of(plan: Plan) -> list[str]:
    """The flag that names the plan's config; one of the repository is found on any machine."""
    if plan.config_file is None:
        return []
    shipped = plan.config_file.parent == CONFIGS
    return [f"--config={plan.config_file.name if shipped else plan.config_file}"]


def flags_of(plan: Plan, names: Iterable[str]) -> list[str]:
    """What the user typed for those of the options ``names`` that have one value."""
    return [
        f"--{name}" if OPTIONS[name].rules.switch else f"--{name}={values[0]}"
        for name, values in plan.typed.items()
        if name in names and name not in plan.axes
    ]


def plan_with(flags: list[str], own: list[str]) -> Plan:
    """The plan of ``flags``, of which ``own`` replace those of the same options."""
    names = {flag.split("=")[0] for flag in own}
    return load_plan([flag for flag in flags if flag.split("=")[0] not in names] + own)


def create(plan: Plan) -> str:
    """Make a sweep of ``plan`` on the server; its entity/project/id.

    Raises SweepError if the server refuses it, and ExperimentError for what it does not know.
    """
    import wandb

    if plan.search is not None:
        check_search(plan.search)
    project = project_name(plan.points[0].training.dataset_name)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # announce() logs it
            sweep_id = wandb.sweep(describe(plan), project=project)
        api = wandb.Api()
        entity = api.settings["entity"] or api.default_entity
    except Exception as error:
        raise SweepError(f"wandb made no sweep ({one_line(error)})") from None
    return f"{entity}/{project}/{sweep_id}"


def check_search(search: Search) -> None:
    """ExperimentError for what the server does not know; say what it leaves out."""
    if search.early is not None and search.early.kind != "hyperband":
        raise ExperimentError(
            f"early_terminate: wandb's server knows hyperband, and no {search.early.kind}: search "
            "on this machine, by --tracking offline"
        )
    if search.enqueued:
        log.info("wandb's server draws all trials itself: enqueue is left out")


def announce(path: str) -> None:
    """Log the address of a sweep, and how others join it."""
    entity, project, sweep_id = path.split("/")
    app = server_settings().app_url
    log.info("Sweep ID: %s", path)
    log.info("Sweep page: %s/%s/%s/sweeps/%s", app, entity, project, sweep_id)
    log.info("To join it: python main.py --sweep_id %s, or: wandb agent %s", path, path)


def locate(sweep_id: str, dataset_name: str) -> tuple[str, dict]:
    """A sweep by its id or its entity/project/id: its full path, and its configuration.

    Raises SweepError if the server does not know it.
    """
    import wandb

    *where, name = sweep_id.strip("/").split("/")
    try:
        api = wandb.Api()
        project = where.pop() if where else project_name(dataset_name)
        entity = where.pop() if where else api.settings["entity"] or api.default_entity
        path = f"{entity}/{project}/{name}"
        return path, api.sweep(path).config
    except Exception as error:
        raise SweepError(
            f"--sweep_id {sweep_id}: no such sweep ({one_line(error)}); give its "
            "entity/project/id, as its creator printed it"
        ) from None


def joined(plan: Plan) -> tuple[str, Plan, list[str]]:
    """The sweep that ``--sweep_id`` names, the plan of its command, and the flags that replace the
    sweep's on this machine: all that the user typed, if the sweep was not made by main.py.

    Raises SweepError where there is no such sweep, and ExperimentError where the user's options
    contradict it.
    """
    options = plan.points[0].training
    path, config = locate(options.sweep_id, options.dataset_name)
    flags = [str(part) for part in config.get("command") or [] if str(part).startswith("--")]
    whole = [*config_of(plan), *flags_of(plan, OPTIONS.keys() - OF_ONE_PROCESS)]
    own = flags_of(plan, LOCAL) if flags else whole
    try:
        theirs = plan_with(flags, own)
    except ConfigError as error:
        raise ExperimentError(f"the command of sweep {path} cannot be run here: {error}") from None
    names = plan.typed.keys() if plan.config_file is None else OPTIONS.keys()
    free = MAY_CHANGE | OF_ONE_PROCESS | config["parameters"].keys() | plan.axes.keys()
    values, given = theirs.points[0].to_dict(), plan.points[0].to_dict()
    for name in sorted(names - free):
        if values[name] != given[name]:
            raise ExperimentError(
                f"sweep {path} was made with {name} {values[name]}, not {given[name]}: join it by "
                f"--sweep_id {path} alone, or repeat its options: {' '.join(flags)}"
            )
    return path, theirs, own


def plan_of_job(plan: Plan) -> Plan:
    """The plan of a process that ``wandb agent`` has started: one run, in a folder that is named
    after the sweep's parameters. A job that the server gives out again resumes where it stopped.

    Raises ExperimentError if the command line holds more than one run.
    """
    if own := json.loads(os.environ.get(LOCAL_FLAGS, "[]")):
        flags = [*config_of(plan), *flags_of(plan, OPTIONS.keys() - OF_ONE_PROCESS)]
        plan = plan_with(flags, own)
    for name, axis in plan.axes.items():
        raise ExperimentError(
            f"the sweep gives no value for {name}, which has {len(axis)} here: add it to the "
            "sweep's parameters, or give a single one"
        )
    job = yaml.safe_load(Path(os.environ["WANDB_SWEEP_PARAM_PATH"]).read_text(encoding="utf-8"))
    parameters = [name for name, entry in job.items() if isinstance(entry, dict)]
    plan = dataclasses.replace(plan, axes=dict.fromkeys(parameters, ()))
    (point,), (folder,) = plan.points, files.run_folders(plan)
    if noted_run(folder).get("id") == os.environ["WANDB_RUN_ID"] and not point.training.overwrite:
        training = dataclasses.replace(point.training, resume=Path(RESUME_AUTO))
        plan = dataclasses.replace(plan, points=(dataclasses.replace(point, training=training),))
    return plan


class Outcome(NamedTuple):
    """The work of a ``wandb agent``."""

    folders: list[Path]  # of its runs, in the order in which they began
    refused: int  # jobs that failed before they had a folder
    lost: bool  # whether the agent itself failed


def check_requested(options: TrainingConfig) -> None:
    """ExperimentError if the options ask for a sweep on the server that cannot be."""
    given = [name for name in ("sweep_id", "only_createsweep") if getattr(options, name)]
    if len(given) == 2:
        raise ExperimentError("--sweep_id joins a sweep and --only_createsweep makes one: choose")
    if options.evaluate_pretrained or options.debug:
        other = "evaluate_pretrained True" if options.evaluate_pretrained else "debug"
        raise ExperimentError(f"--{given[0]} is for training sweeps: remove --{other}")
    link.require(f"--{given[0]}", options)


def makes_sweep(plan: Plan, count: int) -> bool:
    """Whether ``count`` runs of ``plan`` become a sweep on the server."""
    several = count > 1 and plan.jobs == 1 and len(plan.points) == plan.combinations
    return several and not in_sweep() and link.mode(plan.points[0].training) == ONLINE


def train_as_sweep(
    plan: Plan, runs: list[NumberedRun], common: Path
) -> tuple[list[dict], list[NumberedRun]]:
    """Train a grid as a sweep that other machines may join.

    Returns the results of this machine, and the runs that are left to train without the sweep: all
    of them if the server refuses it; those that nobody began, if it is lost midway; those that were
    begun before and not given out again, if they are resumed.
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
    store_sweep(plan, path, common)
    announce(path)
    outcome = run_agent(path, flags_of(plan, LOCAL), len(runs))
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
            raise SweepError(f"sweep {path} gives no run: see the output of wandb agent above")
        log.error("Sweep %s is lost; the finished runs are kept", path)
    return [run.result() for run in runs], outcome.refused + len(outcome.folders) - len(runs)


def run_agent(
    path: str, flags: list[str], count: int | None = None, note: Path | None = None
) -> Outcome:
    """Have ``wandb agent`` work on the sweep ``path`` (entity/project/id), with ``count`` jobs at
    most, whose main.py takes ``flags`` beside the sweep's.

    The folders of runs are noted in ``note``, those of earlier agents before them. Raises Stopped
    after a signal, when the current run has saved its state.
    """
    limit = [] if count is None else ["--count", str(count)]
    with tempfile.TemporaryDirectory() as place, stop_request() as stop:
        note = note or Path(place) / "folders"
        before = noted_in(note)
        more = {"WANDB_DIR": place, files.NOTE: str(note), LOCAL_FLAGS: json.dumps(flags)}
        agent = Popen(
            [*AGENT, *limit, path],
            stdin=PIPE,  # whose end asks it to stop
            env=agent_environment(count) | more,
            start_new_session=True,  # Ctrl-C is for this process, which passes it on
        )
        try:
            while agent.poll() is None and stop.signum is None:
                time.sleep(POLL)
        finally:
            agent.stdin.close()
            agent.wait()
        if stop.signum is not None:
            raise Stopped(stop.signum)
        noted, jobs = noted_in(note), len(list(Path(place).glob(JOBS)))
    refused = max(0, jobs - len(noted) + len(before))
    return Outcome([Path(line) for line in noted], refused, agent.returncode != 0)


def noted_in(note: Path) -> list[str]:
    """The folders that `files.note` has written down."""
    return note.read_text(encoding="utf-8").splitlines() if note.exists() else []


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


def store_sweep(plan: Plan, path: str, common: Path) -> None:
    """Write down which sweep on the server has the grid or the search of ``plan``."""
    files.write_json(common / SWEEP_FILE, {"path": path, "axes": what_is_swept(plan)})


def stored_sweep(plan: Plan, common: Path) -> str | None:
    """The sweep that an earlier process made of the same grid; None if there is none."""
    try:
        stored = json.loads((common / SWEEP_FILE).read_text(encoding="utf-8"))
        return stored["path"] if stored["axes"] == what_is_swept(plan) else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or a damaged one
        return None


def what_is_swept(plan: Plan) -> dict:
    """The axes of a grid, or the layout of a search, as JSON has them."""
    return json.loads(json.dumps(plan.axes if plan.search is None else plan.search.layout({})))
