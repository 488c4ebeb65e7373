# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A grid as a wandb sweep: what the server is told of it, and which run a job of it stands for."""

import contextlib
import dataclasses
import io
import itertools
import os
from collections.abc import Container
from pathlib import Path
from typing import Any

import yaml

from parsers.load import OPTIONS, REPOSITORY, RESUME_AUTO, Config, ConfigError, Plan, load_plan
from training.errors import ExperimentError
from training.record import folders
from training.tracking.link import project_name
from training.tracking.run import noted_run, one_line

METRIC = "valid acc"
CONFIGS = REPOSITORY / "configs"
OF_ONE_PROCESS = {n for n, option in OPTIONS.items() if option.rules.scope in ("process", "plan")}


class SweepError(ExperimentError):
    """The server does not have, or does not take, a sweep."""


def describe(plan: Plan) -> dict:
    """The sweep's configuration: a grid over every listed value.

    ``command`` repeats what the user typed, so that ``wandb agent`` makes the same runs.
    """
    name = plan.points[0].training.sweep_name
    axes = plan.axes or {"seed": (plan.points[0].training.seed,)}
    return {
        "name": name or folders.run_name(plan.points[0].to_dict(), with_seed=False),
        "program": "main.py",
        "method": "grid",
        "metric": {"name": METRIC, "goal": "maximize"},
        "parameters": {axis: {"values": list(values)} for axis, values in axes.items()},
        "command": ["${env}", "${interpreter}", "${program}", *flags_of(plan, axes), "${args}"],
    }


def flags_of(plan: Plan, axes: Container[str] = ()) -> list[str]:
    """The command line of ``plan``, without its axes or ``axes`` and what is up to one process.

    A config of the repository is named, so that it is found on other machines too.
    """
    flags = []
    if plan.config_file is not None:
        shipped = plan.config_file.parent == CONFIGS
        flags.append(f"--config={plan.config_file.name if shipped else plan.config_file}")
    for name, values in plan.typed.items():
        if name in axes or name in plan.axes or name in OF_ONE_PROCESS:
            continue
        flags.append(f"--{name}" if OPTIONS[name].rules.switch else f"--{name}={values[0]}")
    return flags


def create(plan: Plan) -> str:
    """Make a sweep of ``plan`` on the server; its entity/project/id.

    Raises SweepError if the server takes none.
    """
    import wandb

    project = project_name(plan.points[0].training.dataset_name)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # told by us, in our words
            sweep_id = wandb.sweep(describe(plan), project=project)
        api = wandb.Api()
        entity = api.settings["entity"] or api.default_entity
    except Exception as error:
        raise SweepError(f"wandb made no sweep ({one_line(error)})") from None
    return f"{entity}/{project}/{sweep_id}"


def url_of(path: str) -> str:
    """The page of the sweep entity/project/id."""
    from wandb.sdk import wandb_setup

    entity, project, sweep_id = path.split("/")
    return f"{wandb_setup.singleton().settings.app_url}/{entity}/{project}/sweeps/{sweep_id}"


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
            "entity/project/id, which its creator was told"
        ) from None


def joined(plan: Plan, path: str, config: dict) -> Plan:
    """The plan under which the jobs of a sweep that was made elsewhere are run.

    With nothing but ``--sweep_id`` on the command line that is the plan of the sweep's own
    command. Raises ExperimentError where the user's options contradict that.
    """
    flags = [str(part) for part in config.get("command") or [] if str(part).startswith("--")]
    if not flags:
        return plan
    own = [name for name in plan.typed if name not in OF_ONE_PROCESS]
    free = all(OPTIONS[name].rules.may_change for name in own)
    if plan.config_file is None and free:
        flags = [flag for flag in flags if flag[2:].split("=")[0] not in own]
    try:
        theirs = load_plan(flags + (flags_of(plan) if plan.config_file is None and free else []))
    except ConfigError as error:
        raise ExperimentError(f"the command of sweep {path} cannot be run here: {error}") from None
    if plan.config_file is None and free:
        return theirs
    values = theirs.points[0].to_dict()
    for name, value in plan.points[0].to_dict().items():
        if name in config["parameters"] or name in plan.axes or OPTIONS[name].rules.may_change:
            continue
        if values[name] != value:
            raise ExperimentError(
                f"sweep {path} was made with {name} {values[name]}, not {value}: join it by "
                f"--sweep_id {path} alone, or repeat its options: {' '.join(flags)}"
            )
    return plan


def read_job(path: str) -> dict[str, Any]:
    """The values that the server gives to a run, by option name, from the agent's file."""
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return {name: entry["value"] for name, entry in content.items() if isinstance(entry, dict)}


def point_of(plan: Plan, values: dict[str, Any]) -> Config:
    """The run of ``plan`` with the sweep's ``values``.

    Raises ExperimentError for values that no run can have, and where some are missing.
    """
    names = [name for name in plan.axes if name != "seed"]
    names += [name for name in plan.axes if name == "seed"]
    grid = itertools.product(*(plan.axes[name] for name in names))
    for combination, point in zip(grid, plan.grid, strict=True):
        if values == dict(zip(names, combination, strict=True)):
            return point
    check_complete(plan, values)
    model = values.get("model_type")
    alike = [point for point in plan.points if point.model.model_type == model]
    try:
        return Config.from_dict({**(alike or plan.points)[0].to_dict(), **values})
    except ConfigError as error:
        raise ExperimentError(f"the sweep gives values that cannot be run: {error}") from None


def check_complete(plan: Plan, values: dict[str, Any]) -> None:
    """ExperimentError if the options leave more than one run to choose from."""
    for name, axis in plan.axes.items():
        if name not in values:
            raise ExperimentError(
                f"the sweep gives no value for {name}, which has {len(axis)} here: add it to the "
                "sweep's parameters, or give a single one"
            )


def run_of(plan: Plan, values: dict[str, Any], run_id: str) -> tuple[Config, Path]:
    """A job's run and folder. A job that the server gives out again goes on where it stopped."""
    point = point_of(plan, values)
    one = dataclasses.replace(plan, points=(point,), axes=dict.fromkeys(values, ()))
    (folder,) = folders.run_folders(one)
    if noted_run(folder).get("id") == run_id and not point.training.overwrite:
        training = dataclasses.replace(point.training, resume=Path(RESUME_AUTO))
        point = dataclasses.replace(point, training=training)
    return point, folder


def plan_of_agent(plan: Plan) -> Plan:
    """The plan of a process that ``wandb agent`` has started: the run of one job.

    Raises ExperimentError if the command line holds more than one.
    """
    values = read_job(os.environ["WANDB_SWEEP_PARAM_PATH"])
    check_complete(plan, values)
    point, _ = run_of(plan, values, os.environ["WANDB_RUN_ID"])
    return dataclasses.replace(plan, points=(point,), axes=dict.fromkeys(values, ()))
