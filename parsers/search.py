# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A search over options, as a config in wandb's sweep layout describes it.

Beyond that layout, which `parsers.distributions` names the source of, a search has `enqueue`, the
points of its first trials, and `early_terminate: {type: median}`.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from parsers.distributions import Dimension, number_in, read_dimension
from parsers.options import ConfigError, Option, near, show

METHODS = ("random", "bayes")
METRICS = ("valid acc", "best valid acc")  # as they are logged
GOAL = "maximize"
SEARCH_KEYS = {"run_cap", "enqueue"}
# What wandb's layout has for its other programs.
ELSEWHERE = {
    "controller": "is for `wandb controller`",
    "scheduler": "is for `wandb sweep-scheduler`",
    "metrics": "is for several objectives, of which a training here has none",
    **{key: "is for wandb launch" for key in ("job", "image_uri", "apiVersion", "kind")},
}
EARLY = {  # fields of early_terminate, and their defaults
    "hyperband": {"min_iter": None, "max_iter": None, "s": None, "eta": 3, "strict": "true"},
    "median": {"min_iter": 1},
}
MOST_TRIALS = 10_000
WITHOUT_SEED = 13  # of every trial, where a config names none


@dataclass(frozen=True)
class Early:
    """When a trial that does worse than others is stopped.

    Attributes:
        kind: `hyperband`, which keeps the best 1/eta of the trials after the epochs first,
            first * eta, first * eta^2, ...; `median`, which keeps the better half after every epoch
            from the first on.
        first: epoch.
        eta: see above.
        strict: whether a trial is judged by its accuracy of that epoch, and not by its best so far.
        entry: as the config has it.
    """

    kind: str
    first: int
    entry: dict[str, Any]
    eta: int = 3
    strict: bool = False


@dataclass(frozen=True)
class Search:
    """What a search tries.

    Attributes:
        method: `random` or `bayes`.
        trials: how many.
        space: the searched options by name.
        early: None: every trial is trained to its end.
        enqueued: values of searched options in the first trials.
        seeds: with each of which every trial is trained.
    """

    method: str
    trials: int
    space: dict[str, Dimension]
    early: Early | None = None
    enqueued: tuple[dict[str, Any], ...] = ()
    seeds: tuple[int, ...] = (WITHOUT_SEED,)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user may not expect."""
        return tuple(
            f"{name}: only whole numbers are drawn; write the ends as in "
            f"{float(dimension.numbers['min'])} for others"
            for name, dimension in self.space.items()
            if dimension.distribution == "int_uniform" and dimension.option.kind is float
        )

    def first_point(self) -> dict[str, Any]:
        """The values of the first trial; in the middle of what it draws."""
        middle = {name: dimension.middle for name, dimension in self.space.items()}
        return middle | (self.enqueued[0] if self.enqueued else {})

    def narrowed(self, typed: Mapping[str, tuple]) -> "Search":
        """The search where the command line gives values: one is fixed, several are choices."""
        space = {name: found for name, found in self.space.items() if name not in typed}
        enqueued = tuple(
            {name: value for name, value in point.items() if name in space}
            for point in self.enqueued
        )
        return replace(self, space=space, enqueued=tuple(filter(None, enqueued)))

    def with_choices(self, option: Option, values: tuple) -> "Search":
        """The search with several values of an option as choices."""
        where = f"--{option.name}"
        dimension = read_dimension(option, {"values": list(values)}, where)
        return replace(self, space={**self.space, option.name: dimension})

    def layout(self, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """The search in wandb's layout, with the values of ``fixed`` options."""
        early = {"early_terminate": self.early.entry} if self.early else {}
        return {
            "method": self.method,
            "metric": {"name": METRICS[0], "goal": GOAL},
            "run_cap": self.trials,
            **early,
            "parameters": {
                **{name: {"value": value} for name, value in fixed.items()},
                **{name: dimension.entry for name, dimension in self.space.items()},
                "seed": {"values": list(self.seeds)},
            },
        }


def read_search(
    content: dict, place: str, options: Mapping[str, Option]
) -> tuple[Search, dict[str, Any]]:
    """The search that a config describes, and the entries of the parameters that it leaves to it.

    Raises ConfigError, with the ``place``.
    """
    method = content["method"]
    if method not in METHODS:
        hint = near(str(method), METHODS) or f"; there are grid, {' and '.join(METHODS)}"
        raise ConfigError(f"{place}: unknown method {show(method)}{hint}")
    check_metric(content.get("metric", {}), f"{place}: metric")
    space, left = {}, {}
    for name, entry in content["parameters"].items():
        where = f"{place}: {name}"
        if isinstance(entry, list):
            entry = {"values": entry}
        searched = name in options and isinstance(entry, dict)
        if searched and name == "seed" and not {"value", "values"} & entry.keys():
            raise ConfigError(f"{where}: takes values, with each of which a trial is trained")
        if searched and name != "seed" and (found := read_dimension(options[name], entry, where)):
            space[name] = found
        else:
            left[name] = undistributed(entry)
    if not space and left.keys() <= options.keys():  # a mistyped name is said to be one
        raise ConfigError(f"{place}: no option has several values or a range: nothing to search")
    if "run_cap" not in content:
        raise ConfigError(f"{place}: run_cap is missing, the number of trials")
    trials = whole(content["run_cap"], f"{place}: run_cap")
    if trials > MOST_TRIALS:
        raise ConfigError(f"{place}: run_cap {trials} is more than {MOST_TRIALS}")
    early = content.get("early_terminate")
    return (
        Search(
            method,
            trials,
            space,
            None if early is None else read_early(early, f"{place}: early_terminate"),
            read_enqueued(content.get("enqueue", []), space, f"{place}: enqueue"),
        ),
        left,
    )


def undistributed(entry: Any) -> Any:
    """The entry of a constant without the name of its distribution."""
    if isinstance(entry, dict):
        return {key: value for key, value in entry.items() if key != "distribution"}
    return entry


def check_metric(metric: Any, where: str) -> None:
    """ConfigError for a metric that is not the validation accuracy."""
    if not isinstance(metric, dict):
        raise ConfigError(f"{where} must hold name and goal")
    for key in metric:
        if key not in ("name", "goal"):
            raise ConfigError(f"{where}: {key} is for wandb's server alone; remove it")
    if metric.get("name", METRICS[0]) not in METRICS:
        raise ConfigError(f"{where}: name {show(metric['name'])} is not one of {METRICS}")
    if metric and metric.get("goal") != GOAL:
        raise ConfigError(f"{where}: goal must be {GOAL}; without one wandb would minimise")


def read_early(entry: Any, where: str) -> Early:
    """The rule that stops trials."""
    kind = entry.get("type") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or kind not in EARLY:
        raise ConfigError(f"{where}: type must be {' or '.join(EARLY)}")
    for key in entry:
        if key not in {"type", *EARLY[kind]}:
            raise ConfigError(f"{where}: {kind} takes {', '.join(EARLY[kind])}, not {show(key)}")
    given = {name: text for name, text in (EARLY[kind] | entry).items() if name != "type"}
    strict = str(given.pop("strict", "false")).lower()
    if strict not in ("true", "false"):
        raise ConfigError(f"{where}: strict must be true or false")
    numbers = {n: whole(v, f"{where}: {n}") for n, v in given.items() if v is not None}
    eta = numbers.get("eta", 3)
    if eta < 2:
        raise ConfigError(f"{where}: eta must be a whole number from 2")
    as_given = {name: number for name, number in numbers.items() if name in entry}
    as_given |= {"strict": strict == "true"} if "strict" in entry else {}
    return Early(
        kind, first_epoch(numbers, eta, where), {"type": kind, **as_given}, eta, strict == "true"
    )


def first_epoch(numbers: Mapping[str, int], eta: int, where: str) -> int:
    """The first epoch after which trials are stopped: min_iter, or max_iter / eta^s.

    Of the epochs max_iter / eta, max_iter / eta^2, ... those count that are 1 at least.
    """
    if "max_iter" not in numbers:
        if "min_iter" not in numbers:
            raise ConfigError(f"{where}: hyperband needs min_iter, or max_iter and s")
        return numbers["min_iter"]
    if "min_iter" in numbers or "s" not in numbers:
        raise ConfigError(f"{where}: hyperband needs either min_iter, or max_iter and s")
    all_epochs = (numbers["max_iter"] // eta**i for i in range(1, numbers["s"] + 1))
    epochs = list(itertools.takewhile(bool, all_epochs))
    if not epochs:
        raise ConfigError(f"{where}: max_iter {numbers['max_iter']} is below eta {eta}")
    return epochs[-1]


def read_enqueued(points: Any, space: Mapping[str, Dimension], where: str) -> tuple[dict, ...]:
    """The points of the first trials; what one leaves out is drawn."""
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
        raise ConfigError(f"{where} must be a list of points such as [{{lr: 0.01}}]")
    found = []
    for point in points:
        for name in point:
            if name not in space:
                raise ConfigError(f"{where}: {show(name)} is not searched{near(name, space)}")
        values = {
            name: space[name].option.read([v], f"{where}: {name}")[0] for name, v in point.items()
        }
        for name, value in values.items():
            try:
                space[name].drawn(value)
            except ValueError as error:
                raise ConfigError(f"{where}: {name}: {error}") from None
        found.append(values)
    return tuple(found)


def whole(value: Any, where: str) -> int:
    """A whole number from 1."""
    number = number_in(value, where)
    if not isinstance(number, int) or number < 1:
        raise ConfigError(f"{where}: {show(value)} is not a whole number from 1")
    return number
