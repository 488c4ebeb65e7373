# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

"""From argv and a YAML config to the runs to make: default < YAML < command line."""

import dataclasses
import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parsers.command_line import CommandLine, one_too_many, read_command_line
from parsers.consistency import check_together, without_effect
from parsers.control import OF_THE_COMMAND, check_only_point, take_control
from parsers.model_config import ModelConfig
from parsers.options import ConfigError, Option, near, options_of, show
from parsers.training_config import TrainingConfig
from parsers.yaml_file import find_config, read_by_model, read_config

__all__ = ["Config", "ConfigError", "Plan", "check", "load_plan", "resolve_pretrained"]

REPOSITORY = Path(__file__).resolve().parents[1]
OPTIONS = options_of(ModelConfig, TrainingConfig)
DEBUG_SEED = 13
MOST_RUNS = 10_000
RESUME_AUTO = "auto"
AUTHORS = "ref_SSC_"
MOST_NAMED = 5
# Of the model and its data, what acts on a training alone.
ONLY_IN_TRAINING = frozenset(
    {"pdrop", "dt_min", "dt_max", "state_size", "shd_validation", "num_workers", "data_placement"}
)


@dataclass(frozen=True)
class Config:
    """One run: the network and its training, every value resolved and single."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def to_dict(self) -> dict[str, bool | int | float | str | None]:
        """Every value by option name, in types that YAML and JSON know; a valid flat config."""
        values = dataclasses.asdict(self.model) | dataclasses.asdict(self.training)
        return {
            name: str(value) if isinstance(value, Path) else value for name, value in values.items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """The config whose `to_dict` is `values`; what is missing takes its default.

        Raises ConfigError for an unknown name, a wrong type, or a value out of range.
        """
        converted = {}
        for name, value in values.items():
            if name not in OPTIONS:
                raise ConfigError(f"unknown option {show(name)}{near(str(name), OPTIONS)}")
            converted[name] = _convert(OPTIONS[name], [value], name)[0]
        config = _build(converted)
        check(config)
        return config


@dataclass(frozen=True)
class Plan:
    """All the runs that one command asks for.

    points: the grid, seed varying fastest, the other axes in the order of `--help`; of points that
        by_model makes equal, the first.
    axes: the options with more than one value, and these values.
    notes: lines that the user should see before the first run.
    devices, jobs: the CUDA devices, and how many runs go on at a time.
    only_point: the number, from 1, of the one run to make; None: all of them.
    list_points: only print the runs.
    typed: what the command line gives, values by option name.
    grid: a point for every combination of the axes, equal ones too.
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
    grid: tuple[Config, ...] = ()


def load_plan(
    argv: Sequence[str] | None = None, *, configs_folder: Path = REPOSITORY / "configs"
) -> Plan:
    """Read `argv` (sys.argv[1:] if None) and the config it names into the runs to make.

    Raises ConfigError, with one line, for everything that a user can get wrong.
    """
    repository = Path(configs_folder).absolute().parent
    typed = read_command_line(argv, OPTIONS)
    config_file = None
    from_yaml: dict[str, tuple] = {}
    by_model: dict[str, dict[str, Any]] = {}
    if typed.config is not None:
        config_file = find_config(typed.config, Path(configs_folder))
        for name, raw in read_config(config_file, OPTIONS).items():
            from_yaml[name] = _convert(OPTIONS[name], raw, f"{config_file}: {name}")
        by_model = _options_by_model(config_file)
    from_argv = _typed_values(typed)
    recorded, recorded_notes = _recorded_options(typed, from_argv, repository)
    from_yaml |= recorded

    values = {name: option.default_values for name, option in OPTIONS.items()}
    values |= from_yaml | from_argv
    _require_pretrained(values, typed)
    values = _locate_folders(values, from_argv, repository)
    for model in values["model_type"]:
        _locate_in_section(by_model.get(model, {}), values, from_argv, repository)
    keeps_seed = "seed" in from_argv or len(from_yaml.get("seed", ())) == 1
    notes = _keep_first_values(values, keeps_seed) if values["debug"][0] else ()
    control = take_control(values, OPTIONS)
    _refuse_endless(values, config_file)
    grid = tuple(
        _build(point | _for_its_model(point, by_model, from_argv)) for point in _grid(values)
    )
    points = tuple(dict.fromkeys(grid))
    for point in points:
        try:
            check(point)
        except ConfigError as error:
            source = f" (config: {config_file})" if config_file else ""
            raise ConfigError(f"{error}{source}") from None
    check_only_point(control["only_point"], len(points))
    merged = _merged_points(len(grid), len(points), config_file, values["only_createsweep"][0])
    axes = {name: axis for name, axis in values.items() if len(axis) > 1}
    config_file = config_file and config_file.absolute()
    typed_values = {name: values[name] for name in from_argv}
    notes = recorded_notes + _not_as_trained(points) + notes + merged
    notes += _idle_options(points, from_argv)
    return Plan(points, axes, config_file, notes, **control, typed=typed_values, grid=grid)


def check(config: Config) -> None:
    """Raise ConfigError if options that are valid one by one cannot go together."""
    check_together(config.model, config.training)


def resolve_pretrained(
    name: str | Path, *, relative_to: Path | None = None, repository: Path = REPOSITORY
) -> Path:
    """The folder of a trained model: a path relative to `relative_to` (by default the working
    directory), else one in the repository, else a name in its reference_models/.

    Raises ConfigError with the names in reference_models/ if there is no such folder.
    """
    shelf = repository / "reference_models"
    typed = os.path.expanduser(name)
    places = [Path(base, typed) for base in (relative_to or Path.cwd(), repository, shelf)]
    for place in places:
        if os.path.isdir(place):
            return Path(os.path.abspath(place))
    if os.path.exists(places[0]):
        raise ConfigError(f"pretrained model {name} is a file; name its experiment folder")
    names = (
        sorted(entry.name for entry in shelf.iterdir() if entry.is_dir()) if shelf.is_dir() else ()
    )
    if Path(typed).name.startswith(AUTHORS) and not any(n.startswith(AUTHORS) for n in names):
        raise ConfigError(
            f"pretrained model {name} is not a folder: the authors' models are not here, and "
            f"{shelf / 'README.md'} says how to add them"
        )
    has = f"has {', '.join(names)}" if names else "has no models"
    raise ConfigError(
        f"pretrained model {name} is not a folder{near(Path(typed).name, names)}; {shelf} {has}"
    )


def _typed_values(typed: CommandLine) -> dict[str, tuple]:
    """Convert what the command line gives; the positional folder overrides --load_exp_folder."""
    values = {}
    for name, raw in typed.values.items():
        try:
            values[name] = _convert(OPTIONS[name], raw, f"--{name}")
        except ConfigError as error:
            swallowed = (
                len(raw) > 1
                and typed.pretrained is None
                and any(letter.isalpha() for letter in raw[-1])
            )
            if not swallowed or _is_valid(OPTIONS[name], raw[-1]):
                raise
            raise ConfigError(
                f"{error}; if {show(raw[-1])} is a pretrained folder, put it before the flags or "
                "use --load_exp_folder"
            ) from None
    if typed.pretrained is not None:
        values["load_exp_folder"] = _convert(
            OPTIONS["load_exp_folder"], [typed.pretrained], "pretrained folder"
        )
    return values


def _options_by_model(path: Path) -> dict[str, dict[str, Any]]:
    """The options that a config gives to one model, each with a single value."""
    options = {}
    for model, section in read_by_model(path, OPTIONS).items():
        options[model] = {}
        for name, raw in section.items():
            place = f"{path}: by_model: {model}: {name}"
            if name in OF_THE_COMMAND:
                raise ConfigError(f"{place}: is the same for all models; move it out of by_model")
            values = _convert(OPTIONS[name], raw, place)
            if len(values) > 1 or name in ("model_type", "seed"):
                raise ConfigError(f"{place}: takes one value, of an option other than the grid's")
            options[model][name] = values[0]
    return options


def _for_its_model(
    point: Mapping[str, Any], by_model: Mapping[str, dict], from_argv: Mapping[str, tuple]
) -> dict[str, Any]:
    """What the config says for the model of a point; the command line comes before it."""
    section = by_model.get(point["model_type"], {})
    return {name: value for name, value in section.items() if name not in from_argv}


def _recorded_options(
    typed: CommandLine, from_argv: Mapping[str, tuple], repository: Path
) -> tuple[dict[str, tuple], tuple[str, ...]]:
    """The options in the folder of a run that is resumed, or tested without a config."""
    resumed = from_argv.get("resume", (None,))[0]
    if resumed is not None and str(resumed) != RESUME_AUTO:
        return _options_of_the_resumed(typed, from_argv, Path(os.path.abspath(resumed)))
    evaluates = from_argv.get("evaluate_pretrained") == (True,)
    if typed.config is not None or not evaluates or "load_exp_folder" not in from_argv:
        return {}, ()
    folder = resolve_pretrained(from_argv["load_exp_folder"][0], repository=repository)
    recorded = folder / "config.yaml"
    if not recorded.is_file():
        return {}, ()
    values = {
        name: value for name, value in _read_recorded(recorded).items() if _is_of_the_network(name)
    }
    return values, (f"options of the model and its data: those recorded in {recorded}",)


def _is_of_the_network(name: str) -> bool:
    # The initial states of a test are drawn batch by batch.
    return OPTIONS[name].rules.group in ("model", "data") or name == "batch_size"


def _not_as_trained(points: tuple[Config, ...]) -> tuple[str, ...]:
    """A note if a network is tested under other options than those recorded beside it."""
    training = points[0].training
    if not training.evaluate_pretrained or training.load_exp_folder is None:
        return ()
    path = training.load_exp_folder / "config.yaml"
    try:
        recorded = _read_recorded(path)
    except ConfigError:  # nothing to compare with
        return ()
    now = [vars(point.model) | vars(point.training) for point in points]
    others = []
    for name in OPTIONS:  # in the order of --help
        if name not in recorded or not _is_of_the_network(name) or name in ONLY_IN_TRAINING:
            continue
        values = recorded[name]
        if other := dict.fromkeys(options[name] for options in now if options[name] not in values):
            others.append(f"{name} {_listed(other)} ({_listed(values)})")
    if not others:
        return ()
    more = len(others) - MOST_NAMED
    shown = ", ".join(others[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return (f"tested with other options than recorded (in brackets) in {path}: {shown}",)


def _listed(values: Iterable) -> str:
    return " ".join(map(str, values))


def _options_of_the_resumed(
    typed: CommandLine, from_argv: Mapping[str, tuple], folder: Path
) -> tuple[dict[str, tuple], tuple[str, ...]]:
    """All options of an interrupted run, which goes on in its own folder."""
    recorded = folder / "config.yaml"
    elsewhere = from_argv.get("new_exp_folder", (folder,))[0]
    if elsewhere is None or Path(os.path.abspath(elsewhere)) != folder:
        raise ConfigError(
            f"--resume {folder} goes on in that folder: leave out --new_exp_folder (to go on apart "
            "from it, copy the folder and resume the copy)"
        )
    several = [name for name, values in from_argv.items() if len(values) > 1]
    if several:
        raise ConfigError(
            f"--resume {folder} goes on with one run: give --{several[0]} one value, or repeat the "
            "whole command with --resume auto"
        )
    if typed.config is not None:
        raise ConfigError(
            f"--resume {folder} brings the options of that run; leave out --config, or repeat the "
            "whole command with --resume auto"
        )
    if not recorded.is_file():
        raise ConfigError(
            f"--resume {folder}: no config.yaml there; name the folder of one run, or repeat the "
            "whole command with --resume auto"
        )
    values = _read_recorded(recorded)
    if values.get("debug") == (True,):  # which is not tracked
        values["tracking"] = ("none",)
    values |= {"new_exp_folder": (folder,), "debug": (False,), "overwrite": (False,)}
    return values, (f"options of the run: those recorded in {recorded}",)


def _read_recorded(path: Path) -> dict[str, tuple]:
    return {
        name: _convert(OPTIONS[name], raw, f"{path}: {name}")
        for name, raw in read_config(path, OPTIONS).items()
    }


def _convert(option: Option, raw: list, place: str) -> tuple:
    try:
        return option.convert_all(raw)
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from None


def _is_valid(option: Option, text: str) -> bool:
    try:
        option.convert(text)
    except ValueError:
        return False
    return True


def _require_pretrained(values: Mapping[str, tuple], typed: CommandLine) -> None:
    if values["evaluate_pretrained"][0]:
        if values["load_exp_folder"][0] is None:
            raise ConfigError(
                "--evaluate_pretrained True needs a model: the folder of an experiment or a name "
                "in reference_models/, as an argument or as --load_exp_folder"
            )
    elif typed.pretrained is not None:
        if typed.overfull is not None:
            raise ConfigError(one_too_many(typed.overfull, typed.pretrained))
        raise ConfigError(
            f"unexpected argument {show(typed.pretrained)}; write --config {typed.pretrained} to "
            "name a config, or add --evaluate_pretrained True to test a pretrained model"
        )


def _locate_folders(
    values: Mapping[str, tuple], from_argv: Mapping[str, tuple], repository: Path
) -> dict[str, tuple]:
    """Make every folder absolute: from the command line it is relative to the working directory,
    from a config to the repository. A model that is only trained need not be there."""
    tests = values["evaluate_pretrained"][0]
    located = dict(values)
    for name, option in OPTIONS.items():
        if option.kind is Path:
            base = Path.cwd() if name in from_argv else repository
            located[name] = (_locate(name, values[name][0], base, repository, tests),)
    return located


def _locate_in_section(
    section: dict[str, Any],
    values: Mapping[str, tuple],
    from_argv: Mapping[str, tuple],
    repository: Path,
) -> None:
    """Make the folders of one model in by_model absolute, as those of the config beside it."""
    tests = values["evaluate_pretrained"][0]
    for name, folder in section.items():
        if OPTIONS[name].kind is Path and name not in from_argv:
            section[name] = _locate(name, folder, repository, repository, tests)


def _locate(
    name: str, folder: Path | None, base: Path, repository: Path, tests: bool
) -> Path | None:
    if folder is None or (name == "resume" and str(folder) == RESUME_AUTO):
        return folder
    if name == "load_exp_folder" and tests:
        return resolve_pretrained(folder, relative_to=base, repository=repository)
    return Path(os.path.abspath(base / os.path.expanduser(folder)))


def _refuse_endless(values: Mapping[str, tuple], config_file: Path | None) -> None:
    """Raise ConfigError for a grid that nobody can run, before its points fill the memory."""
    runs = math.prod(map(len, values.values()))
    if runs > MOST_RUNS:
        longest = max(values, key=lambda name: len(values[name]))
        source = f" (config: {config_file})" if config_file else ""
        raise ConfigError(
            f"the grid has {runs} runs, where {MOST_RUNS} are the most: give {longest} fewer "
            f"values than {len(values[longest])}{source}"
        )


def _keep_first_values(values: dict[str, tuple], keeps_seed: bool) -> tuple[str, ...]:
    """Reduce every axis of `values` to one value for --debug; return a note for each."""
    notes = []
    for name, axis in values.items():
        kept = DEBUG_SEED if name == "seed" and not keeps_seed else axis[0]
        dropped = ", ".join(str(value) for value in axis if value != kept)
        if dropped:
            values[name] = (kept,)
            notes.append(f"debug: {name} {kept} only; left out: {dropped}")
    return tuple(notes)


def _merged_points(
    combinations: int, runs: int, config_file: Path | None, for_a_sweep: bool
) -> tuple[str, ...]:
    """A note if by_model gives an axis one value, and so several combinations are one run.

    Raises ConfigError for a sweep on a server, which counts combinations.
    """
    if runs == combinations:
        return ()
    cause = f"by_model in {config_file} makes runs of the grid equal"
    if for_a_sweep:
        raise ConfigError(
            f"--only_createsweep True: {cause}, and a sweep would give them out twice; leave out "
            "of by_model what has several values"
        )
    return (f"{cause}: {runs} of {combinations} are left, each made once",)


def _idle_options(points: tuple[Config, ...], typed: Mapping[str, tuple]) -> tuple[str, ...]:
    """A note for the typed options that do nothing in any run, by what they are for."""
    idle = [without_effect(point.model, point.training) for point in points]
    names: dict[str, list[str]] = {}
    for name in typed:
        if all(name in options for options in idle):
            names.setdefault(idle[0][name], []).append(f"--{name}")
    return tuple(
        f"{', '.join(flags)} {'have' if flags[1:] else 'has'} no effect here: "
        f"{'they are' if flags[1:] else 'it is'} for {purpose}"
        for purpose, flags in names.items()
    )


def _grid(values: Mapping[str, tuple]) -> list[dict[str, Any]]:
    names = [name for name in values if name != "seed"] + ["seed"]
    return [
        dict(zip(names, point, strict=True))
        for point in itertools.product(*(values[name] for name in names))
    ]


def _build(values: Mapping[str, Any]) -> Config:
    parts = []
    for config_class in (ModelConfig, TrainingConfig):
        fields = {field.name for field in dataclasses.fields(config_class)}
        parts.append(config_class(**{name: values[name] for name in fields & values.keys()}))
    return Config(*parts)
