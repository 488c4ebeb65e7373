# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The options that earlier runs recorded, for a run that is resumed or a model that is tested."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from parsers.command_line import CommandLine
from parsers.config import OPTIONS, Config
from parsers.folders import RESUME_AUTO, resolve_pretrained
from parsers.options import ConfigError
from parsers.yaml_file import read_config

MOST_NAMED = 5
OR_ALL = ", or repeat the whole command with --resume auto"
NOTHING: tuple[dict[str, tuple], tuple[str, ...]] = ({}, ())


def recorded_options(
    typed: CommandLine, from_argv: Mapping[str, tuple], repository: Path
) -> tuple[dict[str, tuple], tuple[str, ...]]:
    """What a run that is resumed, or a model that is tested without a config, has recorded: its
    options, and a note on where they come from."""
    resumed = from_argv.get("resume", (None,))[0]
    if resumed is not None and str(resumed) != RESUME_AUTO:
        return _of_the_resumed(typed, from_argv, Path(os.path.abspath(resumed)))
    evaluates = from_argv.get("evaluate_pretrained") == (True,)
    if typed.config is not None or not evaluates or "load_exp_folder" not in from_argv:
        return NOTHING
    folder = resolve_pretrained(from_argv["load_exp_folder"][0], repository=repository)
    path = folder / "config.yaml"
    if not path.is_file():
        return NOTHING
    values = read_config(path, OPTIONS).values
    values = {name: value for name, value in values.items() if OPTIONS[name].rules.recalled}
    return values, (f"options of the model and its data: those recorded in {path}",)


def not_as_trained(points: Sequence[Config]) -> tuple[str, ...]:
    """A note if a network is tested under other options than those recorded beside it."""
    training = points[0].training
    if not training.evaluate_pretrained or training.load_exp_folder is None:
        return ()
    path = training.load_exp_folder / "config.yaml"
    try:
        recorded = read_config(path, OPTIONS).values
    except ConfigError:  # nothing to compare with
        return ()
    now = [point.values() for point in points]
    others = []
    for name, option in OPTIONS.items():
        rules, values = option.rules, recorded.get(name, (option.default,))
        other = dict.fromkeys(point[name] for point in now if point[name] not in values)
        if other and rules.recalled and rules.in_tests and rules.compared:
            others.append(f"{name} {_listed(other)} ({_listed(values)})")
    if not others:
        return ()
    more = len(others) - MOST_NAMED
    shown = ", ".join(others[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return (f"tested with options other than those recorded (in brackets) in {path}: {shown}",)


def _listed(values: Iterable) -> str:
    return " ".join(map(str, values))


def _of_the_resumed(
    typed: CommandLine, from_argv: Mapping[str, tuple], folder: Path
) -> tuple[dict[str, tuple], tuple[str, ...]]:
    """All options of an interrupted run, which is resumed in its own folder."""
    path = folder / "config.yaml"
    several = next((name for name, values in from_argv.items() if len(values) > 1), None)
    if from_argv.get("new_exp_folder", (folder,)) != (folder,):
        problem = (
            "continues in that folder: remove --new_exp_folder (to continue elsewhere, copy the "
            "folder and resume the copy)"
        )
    elif several:
        problem = f"continues one run: give --{several} one value{OR_ALL}"
    elif typed.config is not None:
        problem = f"uses the options of that run; remove --config{OR_ALL}"
    elif not path.is_file():
        problem = f"has no config.yaml; name the folder of one run{OR_ALL}"
    else:
        values = read_config(path, OPTIONS).values
        if values.get("debug") == (True,):  # which is not tracked
            values["tracking"] = ("none",)
        values |= {"new_exp_folder": (folder,), "debug": (False,), "overwrite": (False,)}
        return values, (f"options of the run: those recorded in {path}",)
    raise ConfigError(f"--resume {folder} {problem}")
