# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A grid as a wandb sweep: what the server is told of it, and the run that a job of it stands for.

Every job is a process of main.py: its command line is the sweep's command and the job's values.
"""

import contextlib
import dataclasses
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path

import yaml

from parsers.load import OPTIONS, REPOSITORY, RESUME_AUTO, ConfigError, Plan, load_plan
from training.errors import ExperimentError
from training.record import files
from training.terminal.console import log
from training.tracking.link import project_name, server_settings
from training.tracking.run import noted_run, one_line

METRIC = "valid acc"
CONFIGS = REPOSITORY / "configs"
LOCAL_FLAGS = "SPRACHE_LOCAL_FLAGS"  # JSON list of flags that replace the sweep's on one machine
OF_ONE_PROCESS = {n for n, option in OPTIONS.items() if option.rules.scope in ("process", "plan")}
MAY_CHANGE = {name for name, option in OPTIONS.items() if option.rules.may_change}
LOCAL = (MAY_CHANGE - OF_ONE_PROCESS) | {"gpu_device", "tracking"}


class SweepError(ExperimentError):
    """The server does not have, or does not take, a sweep."""


def describe(plan: Plan) -> dict:
    """The sweep's configuration: a grid over every listed value.

    ``command`` repeats what the user typed, so that every agent makes the same runs. main.py is
    called as a module, which Python finds from any working directory.
    """
    name = plan.points[0].training.sweep_name
    axes = plan.axes or {"seed": (plan.points[0].training.seed,)}
    flags = flags_of(plan, OPTIONS.keys() - OF_ONE_PROCESS - axes.keys())
    return {
        "name": name or files.run_name(plan.points[0].to_dict(), with_seed=False),
        "program": "main.py",
        "method": "grid",
        "metric": {"name": METRIC, "goal": "maximize"},
        "parameters": {axis: {"values": list(values)} for axis, values in axes.items()},
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


def local_flags(plan: Plan) -> list[str]:
    """What the user typed that holds for the runs of this machine, whatever the sweep says."""
    return flags_of(plan, LOCAL)


def without(flags: list[str], others: list[str]) -> list[str]:
    """Those of ``flags`` whose options are not among the ``others``."""
    names = {flag.split("=")[0] for flag in others}
    return [flag for flag in flags if flag.split("=")[0] not in names]


def create(plan: Plan) -> str:
    """Make a sweep of ``plan`` on the server; its entity/project/id.

    Raises SweepError if the server takes none.
    """
    import wandb

    project = project_name(plan.points[0].training.dataset_name)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # announce() says it
            sweep_id = wandb.sweep(describe(plan), project=project)
        api = wandb.Api()
        entity = api.settings["entity"] or api.default_entity
    except Exception as error:
        raise SweepError(f"wandb made no sweep ({one_line(error)})") from None
    return f"{entity}/{project}/{sweep_id}"


def announce(path: str) -> None:
    """Say where a sweep is, and how others join it."""
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
    own = local_flags(plan) if flags else whole
    try:
        theirs = load_plan(without(flags, own) + own)
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
    after the sweep's parameters. A job that the server gives out again goes on where it stopped.

    Raises ExperimentError if the command line holds more than one run.
    """
    if own := json.loads(os.environ.get(LOCAL_FLAGS, "[]")):
        flags = [*config_of(plan), *flags_of(plan, OPTIONS.keys() - OF_ONE_PROCESS)]
        plan = load_plan(without(flags, own) + own)
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
