# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The options of one run, and the runs that a command asks for."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parsers.model_config import ANN_TYPES, S4D_TYPES, ModelConfig
from parsers.options import AUTO, ConfigError, near, options_of, parts, show
from parsers.search import Search
from parsers.training_config import SPIKES, TrainingConfig

OPTIONS = options_of(ModelConfig, TrainingConfig)
SHD_CHANNELS = 700
DEBUG_SEED = 13
MOST_RUNS = 10_000
# What may differ where a run is resumed, but makes another run of one that is not.
RUNS_APART = ("data_folder", "nb_epochs")


@dataclass(frozen=True)
class Config:
    """One run: the network and its training, every value resolved and single."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    @property
    def is_tracked(self) -> bool:
        """Whether curves are logged to wandb, where it is installed and turned on."""
        return self.training.tracking != "none" and not self.training.debug

    def values(self) -> dict[str, Any]:
        """Every value by option name."""
        return vars(self.model) | vars(self.training)

    def to_dict(self) -> dict[str, bool | int | float | str | None]:
        """Every value by option name, in types that YAML and JSON know; a valid flat config."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in self.values().items()
        }

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Config":
        """The config with these values, in their types; missing options take their defaults."""
        sections = (
            kind(**{name: values[name] for name in options_of(kind) if name in values})
            for kind in (ModelConfig, TrainingConfig)
        )
        return cls(*sections)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """The config whose `to_dict` is `values`; missing options take their defaults.

        Raises ConfigError for an unknown name, a wrong type, or a value out of range.
        """
        converted = {}
        for name, value in values.items():
            if name not in OPTIONS:
                raise ConfigError(f"unknown option {show(name)}{near(str(name), OPTIONS)}")
            (converted[name],) = OPTIONS[name].read([value], name)
        config = cls.of(converted)
        config.check()
        return config

    def settled(self, found: Mapping[str, Any]) -> "Config":
        """The same run with the values ``found`` where it has `auto` for its data to decide."""
        values = self.values()
        left = [n for n, option in OPTIONS.items() if option.rules.by_data and values[n] == AUTO]
        return Config.of(values | {name: found[name] for name in left if name in found})

    def check(self) -> None:
        """Raise ConfigError if options that are valid one by one contradict each other."""
        values = self.values()
        for name, option in OPTIONS.items():
            value, needs, limit = values[name], option.rules.only_for, option.rules.not_above
            matters = value not in (option.default, *option.rules.harmless)
            if needs and matters and not needs.are_met(values):
                other = f"--{needs.option} {values[needs.option]}"
                raise ConfigError(f"--{name} {value} is for {needs}, not for {other}")
            if limit and value > values[limit]:
                raise ConfigError(f"--{name} {value} is larger than --{limit} {values[limit]}")
        _check_layers(self.model)
        _check_command(self.training)
        if SPIKES.are_met(values):
            _check_spikes(self.training)

    def without_effect(self) -> dict[str, str]:
        """The options that have no effect in this run, and what they are for."""
        values, found = self.values(), {}
        for name, option in OPTIONS.items():
            needs = option.rules.needs
            if self.training.evaluate_pretrained and not option.rules.in_tests:
                found[name] = "training"
            elif needs and not needs.are_met(values):
                found[name] = str(needs)
        return found


@dataclass(frozen=True)
class Plan:
    """All the runs that one command asks for.

    points: the grid, seed varying fastest, the other axes in the order of `--help`; of points that
        by_model makes equal, the first.
    axes: the options with more than one value, and these values.
    notes: lines that the user should see before the first run.
    devices, jobs: the CUDA devices, and how many runs are made at a time.
    only_point: the number, from 1, of the one run to make; None: all of them.
    list_points: only print the runs.
    typed: what the command line gives, values by option name.
    usual: of each point, the values that it would have without the command line.
    search: what is searched, from the only point; None: the points are what is run.
    """

    points: tuple[Config, ...]
    axes: dict[str, tuple]
    config_file: Path | None
    notes: tuple[str, ...]
    devices: tuple[int, ...] = (0,)
    jobs: int = 1
    only_point: int | None = None
    list_points: bool = False
    typed: dict[str, tuple] = dataclasses.field(default_factory=dict)
    usual: tuple[dict[str, Any], ...] = ()
    search: Search | None = None

    def differences(self, number: int) -> list[str]:
        """The options that make the point of an index, from 0, another run than its config would:
        by the command line, and those of the grid left aside."""
        point = self.points[number]
        values, idle = point.values(), point.without_effect()
        if not point.training.start_epoch:
            idle["load_exp_folder"] = "a warm start"
        return [
            name
            for name, usual in self.usual[number].items()
            if values[name] != usual
            and (name in RUNS_APART or not OPTIONS[name].rules.may_change)
            and OPTIONS[name].rules.compared
            and name not in (*idle, *self.axes)
        ]

    @property
    def combinations(self) -> int:
        """How many there are of the values of the axes, those that by_model makes equal too."""
        return math.prod(map(len, self.axes.values()))


def make_plan(
    values: Mapping[str, tuple],
    *,
    typed: Sequence[str],
    by_model: Mapping[str, dict[str, Any]],
    debug_seed: int,
    config_file: Path | None,
    notes: tuple[str, ...],
    search: Search | None = None,
) -> Plan:
    """The plan of the `values` of every option, in the order of `--help`.

    Of the options `typed` on the command line, a note tells which do nothing. `by_model` are those
    of single models; `debug_seed` is the one that `--debug` keeps. Raises ConfigError.
    """
    values = dict(values)
    if values["debug"][0]:
        notes += _keep_first_values(values, debug_seed)
    spread = _take_spread(values)
    try:
        grid = (Config.of(point | by_model.get(point["model_type"], {})) for point in _grid(values))
        points = tuple(dict.fromkeys(grid))
        for point in points:
            point.check()
    except ConfigError as error:
        source = f" (config: {config_file})" if config_file else ""
        raise ConfigError(f"{error}{source}") from None
    runs = search.trials if search else len(points)
    if (spread["only_point"] or 0) > runs:
        count = "is 1 run" if runs == 1 else f"are {runs} {'trials' if search else 'runs'}"
        raise ConfigError(
            f"--only_point {spread['only_point']}: there {count}; --list_points prints them"
        )
    plan = Plan(
        points,
        axes={name: axis for name, axis in values.items() if len(axis) > 1},
        config_file=config_file,
        notes=notes,
        **spread,
        typed={name: values[name] for name in typed},
        search=search,
    )
    return dataclasses.replace(plan, notes=notes + _merged_points(plan) + _idle_options(plan))


def _grid(values: Mapping[str, tuple]) -> Iterator[dict[str, Any]]:
    """Every combination, seed varying fastest. Raises ConfigError for more than can be run."""
    runs = math.prod(map(len, values.values()))
    if runs > MOST_RUNS:
        longest = max(values, key=lambda name: len(values[name]))
        raise ConfigError(
            f"the grid has {runs} runs, more than the limit of {MOST_RUNS}: give {longest} fewer "
            f"values than {len(values[longest])}"
        )
    names = [name for name in values if name != "seed"] + ["seed"]
    for point in itertools.product(*(values[name] for name in names)):
        yield dict(zip(names, point, strict=True))


def _keep_first_values(values: dict[str, tuple], seed: int) -> tuple[str, ...]:
    """Reduce every axis of `values` to one value for --debug; return a note for each."""
    notes = []
    for name, axis in values.items():
        kept = seed if name == "seed" else axis[0]
        dropped = ", ".join(str(value) for value in axis if value != kept)
        if dropped:
            values[name] = (kept,)
            notes.append(f"debug: {name} {kept} only; dropped: {dropped}")
    return tuple(notes)


def _take_spread(values: dict[str, tuple]) -> dict[str, Any]:
    """The fields of a Plan that say how its runs are spread, taken out of `values`.

    `values` keeps the first device and the defaults, so that every run records the same options
    however it was started. Raises ConfigError where there is no training to spread.
    """
    of_plan = [name for name, option in OPTIONS.items() if option.rules.scope == "plan"]
    given = [name for name in of_plan if values[name][0]]
    given += [name for name, option in OPTIONS.items() if option.rules.several and values[name][1:]]
    if values["evaluate_pretrained"][0] and given:
        raise ConfigError(
            f"--{given[0]} {' '.join(map(str, values[given[0]]))} spreads trainings; "
            "--evaluate_pretrained True tests on one device, one seed after another"
        )
    devices = values["gpu_device"]
    taken = {name: values[name][0] for name in of_plan}
    values |= {name: OPTIONS[name].default_values for name in of_plan}
    values["gpu_device"] = devices[:1]
    return {**taken, "devices": devices, "jobs": taken["jobs"] or len(devices)}


def _merged_points(plan: Plan) -> tuple[str, ...]:
    """A note if by_model gives an axis one value, and so several combinations are one run.

    Raises ConfigError for a sweep on a server, which counts combinations.
    """
    if len(plan.points) == plan.combinations:
        return ()
    cause = f"by_model in {plan.config_file} makes runs of the grid equal"
    if plan.points[0].training.only_createsweep:
        raise ConfigError(
            f"--only_createsweep True: {cause}, and a sweep would hand them out twice; remove from "
            "by_model what has several values"
        )
    return (f"{cause}: {len(plan.points)} of {plan.combinations} remain, each made once",)


def _idle_options(plan: Plan) -> tuple[str, ...]:
    """A note for the typed options that do nothing in any run, by what they are for."""
    idle = [point.without_effect() for point in plan.points]
    names: dict[str, list[str]] = {}
    for name in plan.typed:
        if all(name in options for options in idle):
            names.setdefault(idle[0][name], []).append(f"--{name}")
    return tuple(
        f"{', '.join(flags)} {'have' if flags[1:] else 'has'} no effect here: "
        f"{'they are' if flags[1:] else 'it is'} for {purpose}"
        for purpose, flags in names.items()
    )


def _check_layers(model: ModelConfig) -> None:
    types, hidden = parts(model.model_type), model.nb_layers - 1
    if len(types) not in (1, hidden):
        raise ConfigError(
            f"--model_type {model.model_type} is for {len(types)} hidden layers, and --nb_layers "
            f"{model.nb_layers}, with the readout, makes {hidden}"
        )
    if model.readout == "spike_count" and types[0] in ANN_TYPES:
        raise ConfigError(
            f"--readout spike_count needs spiking neurons, not --model_type {model.model_type}: "
            "choose another readout"
        )
    if model.state_size % 2 and model.model_type in S4D_TYPES:
        raise ConfigError(
            f"--state_size {model.state_size} is odd: states of {model.model_type} come in pairs, "
            "the parts of complex modes"
        )
    try:
        model.delayed()
        model.with_recurrence()
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _check_command(training: TrainingConfig) -> None:
    if training.resume is not None and training.overwrite:
        raise ConfigError("--resume continues a run and --overwrite replaces it: choose one")
    if training.resume is not None and training.evaluate_pretrained:
        raise ConfigError("--resume continues training; --evaluate_pretrained True does not train")
    if training.start_epoch and training.load_exp_folder is None:
        raise ConfigError(
            f"--start_epoch {training.start_epoch} counts epochs that weights have behind them: "
            "say where these are with --load_exp_folder"
        )


def _check_spikes(training: TrainingConfig) -> None:
    units = training.nb_channels or SHD_CHANNELS
    channels = -(-units // training.spatial_bin)
    is_published = units == SHD_CHANNELS and training.data_folder is None  # others may have any
    if is_published and units % training.spatial_bin:
        raise ConfigError(
            f"--spatial_bin {training.spatial_bin} does not divide the {SHD_CHANNELS} channels of "
            f"--dataset_name {training.dataset_name}"
        )
    if training.augm_channel_shift >= channels:
        raise ConfigError(
            f"--augm_channel_shift {training.augm_channel_shift} moves clips out of the {channels} "
            f"channels that --spatial_bin {training.spatial_bin} leaves"
        )
    if training.augm_time_shift >= training.max_time:
        raise ConfigError(
            f"--augm_time_shift {training.augm_time_shift} moves clips out of --max_time "
            f"{training.max_time}"
        )
