# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

"""The options that spread runs over devices, processes and machines; they belong to no run."""

from collections.abc import Mapping
from typing import Any

from parsers.options import ConfigError, Option

NOT_OF_A_RUN = ("jobs", "only_point", "list_points")
# What a command settles for all its runs.
OF_THE_COMMAND = (
    *NOT_OF_A_RUN,
    "gpu_device",
    "debug",
    "evaluate_pretrained",
    "new_exp_folder",
    "overwrite",
    "resume",
    "deterministic",
    "tracking",
    "sweep_name",
    "sweep_id",
    "only_createsweep",
)
# What one start of a run did with its folder: a repetition must not do it with another.
NOT_RECORDED = {"overwrite": False, "resume": None}


def take_control(values: dict[str, tuple], options: Mapping[str, Option]) -> dict[str, Any]:
    """The fields of a Plan that say how its runs are made, taken out of `values`.

    `values` keeps the first device and the defaults, so that every run records the same options
    however it was started. Raises ConfigError where there is no training to spread.
    """
    devices, jobs = values["gpu_device"], values["jobs"][0]
    if values["evaluate_pretrained"][0]:
        _refuse_for_evaluation(values)
    taken = {
        "devices": devices,
        "jobs": len(devices) if jobs is None else jobs,
        "only_point": values["only_point"][0],
        "list_points": values["list_points"][0],
    }
    values["gpu_device"] = devices[:1]
    for name in NOT_OF_A_RUN:
        values[name] = options[name].default_values
    return taken


def check_only_point(number: int | None, count: int) -> None:
    """Raise ConfigError unless `number` is one of `count` runs, or None."""
    if number is not None and number > count:
        raise ConfigError(
            f"--only_point {number}: there {'is 1 run' if count == 1 else f'are {count} runs'}; "
            "--list_points prints them"
        )


def _refuse_for_evaluation(values: Mapping[str, tuple]) -> None:
    given = [name for name in NOT_OF_A_RUN if values[name][0]]
    if len(values["gpu_device"]) > 1:
        given.append("gpu_device")
    if given:
        shown = " ".join(map(str, values[given[0]]))
        raise ConfigError(
            f"--{given[0]} {shown} spreads trainings; --evaluate_pretrained True tests on one "
            "device, one seed after another"
        )
