# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The folder of a search, and what it says of the search in it."""

import shutil
from pathlib import Path
from typing import Any

from parsers.load import OPTIONS, Plan, load_plan
from parsers.plan import RUNS_APART
from training.errors import ExperimentError
from training.record import files
from training.search.study import JOURNAL, LOCKS, are_free
from training.search.work import run_folder

SEARCH_FILE = "search.yaml"
# What makes another search besides its space: fields, and their keys in a config.
KEYS = {"method": "method", "early": "early_terminate", "seeds": "seed", "enqueued": "enqueue"}


def search_folder(plan: Plan) -> Path:
    """Where a search is written, which is where the same command finds it again."""
    options = plan.points[0].training
    if options.new_exp_folder is not None:
        return options.new_exp_folder
    named = options.sweep_name or (plan.config_file.stem if plan.config_file else "search")
    return files.DEFAULT_ROOT / named


def list_trials(plan: Plan) -> None:
    """Print the number and the first folder of every trial."""
    seed = plan.search.seeds[0]
    for number in range(1, plan.search.trials + 1):
        print(number, run_folder(search_folder(plan), number, seed), sep="\t")


def clear(folder: Path) -> None:
    """Remove an earlier search; what else is in its folder stays.

    Raises ExperimentError while a process works on it.
    """
    if not (folder / SEARCH_FILE).exists():
        return
    if not are_free(folder):
        raise ExperimentError(f"another process works on the search in {folder}: wait for its end")
    with files.writing_to(folder):
        for path in folder.glob("trial_[0-9][0-9][0-9][0-9]_seed*"):
            shutil.rmtree(path)
        shutil.rmtree(folder / LOCKS, ignore_errors=True)
        for name in (JOURNAL, SEARCH_FILE, files.SWEEP_SUMMARY):
            (folder / name).unlink(missing_ok=True)


def settle(plan: Plan, folder: Path) -> None:
    """Write down what is searched; ExperimentError if the folder holds another search."""
    path = folder / SEARCH_FILE
    if path.exists():
        before = searched_in(folder)
        if other := difference(before, plan):
            raise ExperimentError(
                f"{folder} holds a search with another {other}: name another folder with "
                "--new_exp_folder, or replace it with --overwrite"
            )
    elif (folder / JOURNAL).exists():
        raise ExperimentError(
            f"{folder} has a {JOURNAL}, and no {SEARCH_FILE}: name another folder"
        )
    files.create_plain(folder)
    with files.writing_to(folder):
        files.write_yaml(path, description(plan))


def searched_in(folder: Path, **flags: Any) -> Plan:
    """The plan of the search in ``folder``, with ``flags`` of main.py.

    Raises ExperimentError if there is none, and ConfigError if it cannot be read.
    """
    path = folder / SEARCH_FILE
    if not path.is_file():
        raise ExperimentError(f"{folder} is not the folder of a search: it has no {SEARCH_FILE}")
    more = [f"--{name}={value}" for name, value in flags.items()]
    plan = load_plan(["--config", str(path), "--new_exp_folder", str(folder), *more])
    if plan.search is None:
        raise ExperimentError(f"{path} is not a search: method must be random or bayes")
    return plan


def description(plan: Plan) -> dict[str, Any]:
    """The search in wandb's layout, with every option that is not at its default."""
    values = plan.points[0].to_dict()
    fixed = {
        name: values[name]
        for name, option in OPTIONS.items()
        if (option.rules.scope == "run" or name == "deterministic")
        and values[name] != option.default
        and name not in (*plan.search.space, "seed")
    }
    points = {"enqueue": list(plan.search.enqueued)} if plan.search.enqueued else {}
    return plan.search.layout(fixed) | points


def difference(before: Plan, now: Plan) -> str | None:
    """What makes another search of two; None if nothing does. There may be more trials."""
    spaces = [
        {name: dimension.entry for name, dimension in plan.search.space.items()}
        for plan in (before, now)
    ]
    for name in {**spaces[0], **spaces[1]}:
        if spaces[0].get(name) != spaces[1].get(name):
            return f"space of {name}"
    for field, key in KEYS.items():
        if getattr(before.search, field) != getattr(now.search, field):
            return key
    values = before.points[0].to_dict(), now.points[0].to_dict()
    return next(
        (
            f"{name} ({values[0][name]}, not {values[1][name]})"
            for name, option in OPTIONS.items()
            if name not in now.search.space
            and values[0][name] != values[1][name]
            and (name in RUNS_APART or not option.rules.may_change)
        ),
        None,
    )
