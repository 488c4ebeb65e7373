# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One searched option and its distribution, in the layout of wandb's sweeps.

Names, fields, defaults and meaning are those of `sweeps` 0.3.0, the package that wandb's server
runs (its `config/schema.json` and `params.py`): a distribution with a `q` is rounded to whole
multiples of it, and a range without a distribution is `int_uniform` where both ends are whole
numbers, else `uniform`.
"""

import bisect
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

from parsers.options import ConfigError, Option, near, parse_float, parse_int, show

RANGE = {"min": None, "max": None}  # fields, and their defaults; None: it must be given
NORMAL = {"mu": 0, "sigma": 1}
BETA = {"a": 1, "b": 1}
STEP = {"q": 1}
FIELDS: dict[str, dict[str, float | None]] = {
    "constant": {"value": None},
    "categorical": {"values": None},
    "categorical_w_probabilities": {"values": None, "probabilities": None},
    "int_uniform": RANGE,
    "uniform": RANGE,
    "q_uniform": RANGE | STEP,
    "log_uniform_values": RANGE,
    "inv_log_uniform_values": RANGE,  # 1/x is log-uniform, and so is x
    "q_log_uniform_values": RANGE | STEP,
    "normal": NORMAL,
    "q_normal": NORMAL | STEP,
    "log_normal": NORMAL,
    "q_log_normal": NORMAL | STEP,
    "beta": BETA,
    "q_beta": BETA | STEP,
}
# Their ends are exponents; wandb's server no longer takes them either.
OF_EXPONENTS = ("log_uniform", "inv_log_uniform", "q_log_uniform")
QUANTILES = (0.001, 0.999)  # of what has no ends, where we cut it off
WEIGHTED = "categorical_w_probabilities"
RESOLUTION = ("nb_steps", "max_time", "spatial_bin", "sample_rate")


class Draw(NamedTuple):
    """What a sampler draws for an option: a number from ``low`` to ``high``, or a choice."""

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    whole: bool = False
    choices: tuple = ()


@dataclass(frozen=True)
class Dimension:
    """A searched option and its distribution.

    Attributes:
        option: of main.py.
        distribution: one of `FIELDS`.
        numbers: its fields that are numbers.
        values: the choices of a categorical one.
        probabilities: of each of them.
    """

    option: Option
    distribution: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    values: tuple = ()
    probabilities: tuple[float, ...] = ()

    @property
    def draw(self) -> Draw:
        """What a sampler draws: the value before it is rounded, or else its quantile."""
        if self.distribution == "categorical":
            return Draw(choices=self.values)
        if "min" in self.numbers:
            ends = self.numbers["min"], self.numbers["max"]
            return Draw(*ends, "log" in self.distribution, self.distribution == "int_uniform")
        return Draw() if self.values else Draw(*QUANTILES)

    def value(self, drawn: Any) -> Any:
        """The value of the option for what was drawn; ValueError if it takes no such value."""
        if self.distribution == "categorical":
            return drawn
        if self.values:
            index = bisect.bisect_right(self.edges, drawn)
            return self.values[min(index, len(self.values) - 1)]
        x, q = self.quantile(drawn), self.numbers.get("q")
        if q is not None:
            x = round(x / q) * q
            x = x if isinstance(q, int) else float(f"{x:.12g}")  # 0.3, not 0.30000000000000004
        return self.option.convert(x)

    def drawn(self, value: Any) -> Any:
        """What is drawn for a value of the option; ValueError if it is never drawn."""
        if self.distribution == "categorical":
            drawn, is_drawn = value, value in self.values
        elif self.values:
            is_drawn = value in self.values
            spans = list(itertools.pairwise((0.0, *self.edges)))
            drawn = sum(spans[self.values.index(value)]) / 2 if is_drawn else None
        else:
            low, high, *_ = self.draw
            drawn = min(max(self.probability(value), low), high)  # a value is rounded past an end
            is_drawn = math.isclose(self.value(drawn), value)
        if not is_drawn:
            raise ValueError(f"{value} is never drawn by {self.distribution}")
        return drawn

    @property
    def middle(self) -> Any:
        """The value in the middle of the distribution, or the first choice."""
        if self.values:
            return self.values[0]
        low, high, log, whole, _ = self.draw
        between = math.sqrt(low * high) if log else (low + high) / 2
        return self.value(round(between) if whole else between)

    @property
    def edges(self) -> tuple[float, ...]:
        """The probabilities of the choices, summed up."""
        return tuple(itertools.accumulate(self.probabilities))

    def quantile(self, drawn: float) -> float:
        """The number, not yet rounded, for what was drawn."""
        if "min" in self.numbers:
            return drawn
        if "a" in self.numbers:
            from scipy.special import betaincinv

            return float(betaincinv(self.numbers["a"], self.numbers["b"], drawn))
        x = self.normal.inv_cdf(drawn)
        return math.exp(x) if "log" in self.distribution else x

    def probability(self, x: float) -> float:
        """What is drawn for a number: the inverse of `quantile`."""
        if "min" in self.numbers:
            return x
        if "a" in self.numbers:
            from scipy.special import betainc

            return float(betainc(self.numbers["a"], self.numbers["b"], x))
        if "log" in self.distribution:
            return self.normal.cdf(math.log(x)) if x > 0 else 0.0
        return self.normal.cdf(x)

    @property
    def normal(self) -> NormalDist:
        """The normal distribution of the number, or of its logarithm."""
        return NormalDist(self.numbers["mu"], self.numbers["sigma"])

    @property
    def entry(self) -> dict[str, Any]:
        """The dimension in wandb's layout, in types that YAML and JSON know."""
        if not self.values:
            return {"distribution": self.distribution, **self.numbers}
        weights = {"probabilities": list(self.probabilities)} if self.probabilities else {}
        return {"distribution": self.distribution, "values": list(self.values), **weights}


def read_dimension(option: Option, entry: dict, where: str) -> Dimension | None:
    """The dimension that ``entry`` of a config describes; None for a constant.

    Raises ConfigError, which begins with ``where``, for what neither wandb nor the option takes.
    """
    name = distribution_of(entry, where)
    missing = [key for key, default in FIELDS[name].items() if default is None and key not in entry]
    if missing:
        raise ConfigError(f"{where}: {name} needs {missing[0]}")
    for key in entry:
        if key not in {"distribution", *FIELDS[name]}:
            takes = " and ".join(FIELDS[name])
            raise ConfigError(f"{where}: {name} takes {takes}, not {show(key)}")
    if name == "constant":
        return None
    if "values" in entry:
        return of_choices(option, name, entry, where)
    check_searchable(option, where)
    if option.kind not in (int, float) or option.rules.choices:
        raise ConfigError(f"{where}: takes values such as [{option.default}], and no {name}")
    given = {key: entry.get(key, default) for key, default in FIELDS[name].items()}
    numbers = {key: number_in(value, f"{where}: {key}") for key, value in given.items()}
    check_numbers(name, numbers, where)
    if option.kind is int and name != "int_uniform" and not isinstance(numbers.get("q"), int):
        raise ConfigError(
            f"{where}: is a whole number, and {name} draws others: take int_uniform, or a "
            "distribution with a whole q such as q_log_uniform_values"
        )
    dimension = Dimension(option, name, numbers)
    for end in dimension.draw[:2]:
        try:
            dimension.value(end)
        except (ValueError, OverflowError) as error:
            cut = "" if "min" in numbers else f" ({name} at its quantile {end})"
            raise ConfigError(f"{where}: {error}{cut}") from None
    return dimension


def distribution_of(entry: dict, where: str) -> str:
    """The distribution that ``entry`` names, or that wandb infers from its fields."""
    if "parameters" in entry:
        raise ConfigError(f"{where}: nested parameters are for other programs; no option has parts")
    if "distribution" in entry:
        name = entry["distribution"]
        if not isinstance(name, str):
            raise ConfigError(f"{where}: distribution {show(name)} must be a name such as uniform")
        if name in OF_EXPONENTS:
            raise ConfigError(
                f"{where}: the ends of {name} are exponents, which wandb gave up: take "
                f"{name}_values and the ends themselves"
            )
        if name not in FIELDS:
            hint = near(name, FIELDS) or f"; there are {', '.join(FIELDS)}"
            raise ConfigError(f"{where}: unknown distribution {show(name)}{hint}")
        return name
    if "value" in entry:
        return "constant"
    if "values" in entry:
        return WEIGHTED if "probabilities" in entry else "categorical"
    if {"min", "max"} & entry.keys():
        ends = [number_in(entry[end], f"{where}: {end}") for end in RANGE if end in entry]
        return "int_uniform" if all(isinstance(end, int) for end in ends) else "uniform"
    raise ConfigError(
        f"{where} must hold value, values, min and max, or a distribution; it holds "
        f"{show(list(entry))}"
    )


def of_choices(option: Option, name: str, entry: dict, where: str) -> Dimension | None:
    """A categorical dimension; None for one of a single value."""
    values, probabilities = entry["values"], entry.get("probabilities")
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{where}: values must be a list such as [0.01, 0.005]")
    if len(values) == 1:
        return None
    check_searchable(option, where)
    values = tuple(option.read([value], where)[0] for value in values)
    if len({*values}) < len(values):
        raise ConfigError(f"{where}: lists a value more than once")
    if name != WEIGHTED:
        return Dimension(option, name, values=values)
    if not isinstance(probabilities, list) or len(probabilities) != len(values):
        raise ConfigError(f"{where}: probabilities must be a list as long as values")
    weights = tuple(number_in(weight, f"{where}: probabilities") for weight in probabilities)
    if min(weights) < 0 or not math.isclose(sum(weights), 1, rel_tol=1e-5):
        raise ConfigError(f"{where}: probabilities must not be negative, and their sum must be 1")
    return Dimension(option, name, values=values, probabilities=weights)


def check_searchable(option: Option, where: str) -> None:
    """ConfigError for an option that has to be the same in all trials."""
    rules = option.rules
    if rules.scope != "run" or not rules.compared or option.kind is Path:
        raise ConfigError(f"{where}: cannot be searched, as it does not belong to the training")
    if rules.loads and option.name not in RESOLUTION:
        raise ConfigError(f"{where}: cannot be searched: all trials are judged on the same data")


def check_numbers(name: str, numbers: Mapping[str, float], where: str) -> None:
    """ConfigError for numbers that are no distribution."""
    for key in ("q", "sigma", "a", "b"):
        if numbers.get(key, 1) <= 0:
            raise ConfigError(f"{where}: {key} {numbers[key]} must be above 0")
    if "min" in numbers:
        low, high = numbers["min"], numbers["max"]
        if low >= high:
            raise ConfigError(f"{where}: min {low} is not below max {high}")
        if "log" in name and low <= 0:
            raise ConfigError(f"{where}: min {low} of {name} must be above 0")
        if name == "int_uniform" and not (isinstance(low, int) and isinstance(high, int)):
            raise ConfigError(f"{where}: min and max of int_uniform must be whole numbers")


def number_in(value: Any, where: str) -> float:
    """The number in a field, whole if it is written so."""
    text = str(value)
    try:
        return parse_int(text)
    except ValueError:
        pass
    try:
        return parse_float(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
