# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""From argv, a YAML config and what earlier runs recorded to the runs to make.

What the command line says comes before what a config says, and that before the defaults.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from parsers.options import ConfigError, near, show
from parsers.plan import DEBUG_SEED, OPTIONS, Config, Plan, make_plan
from parsers.program import CommandLine, read_command_line
from parsers.search import ELSEWHERE, SEARCH_KEYS, WITHOUT_SEED, Search, read_search
from parsers.training_config import TrainingConfig

REPOSITORY = Path(__file__).resolve().parents[1]
RESUME_AUTO = "auto"
AUTHORS = "ref_SSC_"
OR_ALL = ", or repeat the whole command with --resume auto"
BY_MODEL = "by_model"
# What else a file in wandb's layout may hold.
SWEEP_KEYS = {"program", "method", "metric", "command", "early_terminate"}
WANDB_KEYS = SWEEP_KEYS | {"name", "project", "entity", "description", "parameters"}

NOT_EARLY = "early_terminate is for searches: every run of a grid is trained to its end"


@dataclass(frozen=True)
class ConfigFile:
    """What a config says.

    values: those of each option.
    by_model: by the name of a model, the options that only it gets, of one value each.
    search: over the options that have no values here.
    notes: what the user should see.
    """

    values: dict[str, tuple] = dataclasses.field(default_factory=dict)
    by_model: dict[str, dict[str, tuple]] = dataclasses.field(default_factory=dict)
    search: Search | None = None
    notes: tuple[str, ...] = ()


def load_plan(argv: Sequence[str] | None = None) -> Plan:
    """Read `argv` (sys.argv[1:] if None) and the config it names into the runs to make.

    Raises ConfigError, with one line, for every mistake of the user.
    """
    typed = read_command_line(argv, OPTIONS)
    path, config = None, ConfigFile()
    if typed.config is not None:
        path = find_config(typed.config).absolute()
        config = read_config(path)
    from_argv = _located(_typed_values(typed), Path.cwd())
    recorded, notes = _recorded_options(typed, from_argv)
    from_yaml = _located(config.values | recorded, REPOSITORY)
    by_model, sections = {}, {}
    for model, section in config.by_model.items():
        own = {name: value for name, (value,) in _located(section, REPOSITORY).items()}
        by_model[model] = {name: value for name, value in own.items() if name not in from_argv}
        sections[model] = own
    values = {name: option.default_values for name, option in OPTIONS.items()} | from_yaml
    usual = {name: several[0] for name, several in values.items()}
    values |= from_argv
    search = config.search
    if search is not None:
        search = _settled_search(search, values, from_argv, {*from_yaml, *from_argv})
    keeps_seed = "seed" in from_argv or len(from_yaml.get("seed", ())) == 1
    plan = make_plan(
        values,
        typed=tuple(from_argv),
        by_model=by_model,
        debug_seed=values["seed"][0] if keeps_seed else DEBUG_SEED,
        config_file=path,
        notes=notes + config.notes,
        search=search,
    )
    for point in plan.points:
        _check_pretrained(point.training, typed.pretrained)
    return dataclasses.replace(
        plan,
        notes=plan.notes + _not_as_trained(plan.points),
        usual=tuple(usual | sections.get(p.model.model_type, {}) for p in plan.points),
    )


def _settled_search(
    search: Search, values: dict[str, tuple], typed: Mapping[str, tuple], given: set[str]
) -> Search | None:
    """The search that the command line leaves, None for a single run or a test; ``values`` get the
    first point of the search, and the first of its seeds.

    Options of one value, in ``typed``, are no longer searched, and several are choices.
    """
    search = search.narrowed(typed)
    for name, several in typed.items():
        if len(several) > 1 and name != "seed" and not OPTIONS[name].rules.several:
            search = search.with_choices(OPTIONS[name], several)
    seeds = values["seed"] if "seed" in given else (WITHOUT_SEED,)
    values |= {name: (value,) for name, value in search.first_point().items()}
    values["seed"] = seeds
    if not search.space or values["debug"][0] or values["evaluate_pretrained"][0]:
        return None
    values["seed"] = seeds[:1]
    return dataclasses.replace(search, seeds=seeds)


def _typed_values(typed: CommandLine) -> dict[str, tuple]:
    """Convert what the command line gives; the positional folder overrides --load_exp_folder."""
    values = {name: OPTIONS[name].read(raw, f"--{name}") for name, raw in typed.values.items()}
    if typed.pretrained is not None:
        folder = OPTIONS["load_exp_folder"].read([typed.pretrained], "pretrained folder")
        values["load_exp_folder"] = folder
    return values


def _check_pretrained(training: TrainingConfig, typed: str | None) -> None:
    """Raise ConfigError unless a test names an existing model, and a training none."""
    if training.evaluate_pretrained:
        if training.load_exp_folder is None:
            raise ConfigError(
                "--evaluate_pretrained True needs a model: the folder of an experiment or a name "
                "in reference_models/, as an argument or as --load_exp_folder"
            )
        resolve_pretrained(training.load_exp_folder)
    elif typed is not None:
        raise ConfigError(
            f"unexpected argument {show(typed)}; write --config {typed} to name a config, or add "
            "--evaluate_pretrained True to test a pretrained model"
        )


def resolve_pretrained(name: str | Path) -> Path:
    """The folder of a trained model: a path relative to the working directory, else one in the
    repository, else a name in its reference_models/.

    Raises ConfigError with the names in reference_models/ if there is no such folder.
    """
    folder = _find_model(name, Path.cwd())
    if os.path.isdir(folder):
        return folder
    if os.path.exists(folder):
        raise ConfigError(f"pretrained model {name} is a file; name its experiment folder")
    shelf = REPOSITORY / "reference_models"
    names = sorted(entry.name for entry in shelf.glob("*") if entry.is_dir())
    if folder.name.startswith(AUTHORS) and not any(n.startswith(AUTHORS) for n in names):
        raise ConfigError(
            f"pretrained model {name} is not a folder: the authors' models are not here, and "
            f"{shelf / 'README.md'} says how to add them"
        )
    has = f"has {', '.join(names)}" if names else "has no models"
    raise ConfigError(
        f"pretrained model {name} is not a folder{near(folder.name, names)}; {shelf} {has}"
    )


def _recorded_options(
    typed: CommandLine, from_argv: Mapping[str, tuple]
) -> tuple[dict[str, tuple], tuple[str, ...]]:
    """What a run that is resumed, or a model that is tested without a config, has recorded: its
    options, and a note on where they come from."""
    resumed = from_argv.get("resume", (None,))[0]
    if resumed is not None and str(resumed) != RESUME_AUTO:
        return _of_the_resumed(typed, from_argv, Path(os.path.abspath(resumed)))
    evaluates = from_argv.get("evaluate_pretrained") == (True,)
    if typed.config is not None or not evaluates or "load_exp_folder" not in from_argv:
        return {}, ()
    folder = resolve_pretrained(from_argv["load_exp_folder"][0])
    path = folder / "config.yaml"
    if not path.is_file():
        return {}, ()
    values = read_config(path).values
    values = {name: value for name, value in values.items() if OPTIONS[name].rules.recalled}
    return values, (f"options of the model and its data: those recorded in {path}",)


def _not_as_trained(points: Sequence[Config]) -> tuple[str, ...]:
    """A note if a network is tested under other options than those recorded beside it."""
    training = points[0].training
    if not training.evaluate_pretrained or training.load_exp_folder is None:
        return ()
    path = training.load_exp_folder / "config.yaml"
    try:
        recorded = read_config(path).values
    except ConfigError:  # nothing to compare with
        return ()
    now = [point.values() for point in points]
    others = []
    for name, option in OPTIONS.items():
        rules, values = option.rules, recorded.get(name, (option.default,))
        other = dict.fromkeys(point[name] for point in now if point[name] not in values)
        if other and rules.recalled and rules.in_tests and rules.compared:
            others.append(f"{name} {' '.join(map(str, other))} ({' '.join(map(str, values))})")
    if not others:
        return ()
    note = f"tested with options other than those recorded (in brackets) in {path}"
    return (f"{note}: {', '.join(others)}",)


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
        values = read_config(path).values
        if values.get("debug") == (True,):  # which is not tracked
            values["tracking"] = ("none",)
        values |= {"new_exp_folder": (folder,), "debug": (False,), "overwrite": (False,)}
        return values, (f"options of the run: those recorded in {path}",)
    raise ConfigError(f"--resume {folder} {problem}")


def _located(values: Mapping[str, tuple], base: Path) -> dict[str, tuple]:
    """The `values` of each option, with every folder absolute."""
    return {
        name: tuple(_locate(name, value, base) for value in several)
        for name, several in values.items()
    }


def _locate(name: str, value: Any, base: Path) -> Any:
    if not isinstance(value, Path) or (name == "resume" and str(value) == RESUME_AUTO):
        return value
    if name == "load_exp_folder":
        return _find_model(value, base)
    return Path(os.path.abspath(base / os.path.expanduser(value)))


def _find_model(name: str | Path, base: Path) -> Path:
    """Where a trained model is, or where it would be relative to `base`."""
    typed = os.path.expanduser(name)
    places = [Path(place, typed) for place in (base, REPOSITORY, REPOSITORY / "reference_models")]
    found = next((place for place in places if os.path.isdir(place)), places[0])
    return Path(os.path.abspath(found))


class _TextLoader(yaml.BaseLoader):
    """Reads every scalar as text: YAML 1.1 has its own ideas of numbers (1e-2 is a string, 010 is
    8, 1:30 is 90), and the options convert text anyway. Refuses a key that is given twice."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if "python" in node.tag:
            raise _fault(
                node, f"the tag {show(node.tag)} asks for a Python object; write plain values"
            )
        return super().construct_object(node, deep=deep)

    def construct_scalar(self, node: yaml.ScalarNode) -> str | None:
        text = super().construct_scalar(node)
        is_null = node.style is None and text in ("", "~", "null", "Null", "NULL")
        return None if is_null else text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or self.construct_scalar(key) is None:
                raise _fault(key, "a key must be a name")
            if first := lines.get(key.value):
                raise _fault(key, f"key {show(key.value)} is given twice, first on line {first}")
            lines[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep=deep)


def _fault(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def find_config(name: str) -> Path:
    """The file that `--config name` means: a path, else a file in configs/; the suffix .yaml is
    optional. Raises ConfigError with the places looked in and similar names."""
    configs_folder = REPOSITORY / "configs"
    if not name.strip():
        raise ConfigError("--config is empty; give the name of a YAML file")
    path = Path(os.path.expanduser(name))
    for candidate in (path, configs_folder / path):
        for found in (candidate, Path(f"{candidate}.yaml"), Path(f"{candidate}.yml")):
            if os.path.exists(found) and not os.path.isdir(found):
                return found
    if os.path.isdir(path):
        raise ConfigError(f"--config {name} is a folder; give a YAML file")
    names = sorted(file.name for file in configs_folder.glob("*.y*ml"))
    hint = near(path.name, names) or near(f"{path.name}.yaml", names)
    hint = hint or f"; {configs_folder} has {', '.join(names) if names else 'no configs'}"
    places = "" if path.is_absolute() else f" in {Path.cwd()} or {configs_folder}"
    raise ConfigError(f"--config {name} is not a file{places}{hint}")


def read_config(path: Path) -> ConfigFile:
    """Read a config in the flat or the wandb layout.

    Raises ConfigError, naming the file and the place, for what no option takes.
    """
    content = _load(path)
    if content is None:
        raise ConfigError(f"{path} is empty; write one option per line, such as lr: 0.01")
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "a single value"
        raise ConfigError(f"{path} holds {kind}, not options such as lr: 0.01")
    notes: tuple[str, ...] = ()
    if "parameters" in content or "method" in content:
        _check_sweep(content, path)
        if content.get("method", "grid") != "grid":
            search, fixed = read_search(content, str(path), OPTIONS)
            return ConfigFile(_values(fixed, str(path)), search=search, notes=search.notes)
        notes = (NOT_EARLY,) if "early_terminate" in content else ()
        content = content["parameters"]
    sections = content.pop(BY_MODEL, {})
    if not isinstance(sections, dict):
        raise ConfigError(f"{path}: {BY_MODEL} must hold models, each with its options")
    by_model: dict[str, dict[str, tuple]] = {}
    for name, section in sections.items():
        (model,) = OPTIONS["model_type"].read([name], f"{path}: {BY_MODEL}")
        if model in by_model:
            raise ConfigError(f"{path}: {BY_MODEL}: {model} is given twice; merge its options")
        by_model[model] = _of_one_model(section, f"{path}: {BY_MODEL}: {model}")
    return ConfigFile(_values(content, str(path)), by_model, notes=notes)


def _check_sweep(content: dict, path: Path) -> None:
    """ConfigError for a file in wandb's layout with keys, or without options."""
    for key in content:
        if key in ELSEWHERE:
            raise ConfigError(f"{path}: {key} {ELSEWHERE[key]}; remove it")
        if key in SEARCH_KEYS and content.get("method", "grid") == "grid":
            raise ConfigError(f"{path}: {key} is for a search, method random or bayes; remove it")
        if key not in WANDB_KEYS | SEARCH_KEYS:
            way_out = "move it below parameters" if key in OPTIONS else "remove it"
            raise ConfigError(f"{path}: key '{key}' is next to parameters; {way_out}")
    parameters = content.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise ConfigError(f"{path}: parameters must hold options such as lr: {{value: 0.01}}")
    if BY_MODEL in parameters:
        raise ConfigError(f"{path}: {BY_MODEL} cannot be inside parameters; write a flat config")


def _of_one_model(section: Any, place: str) -> dict[str, tuple]:
    """The options that a config gives to one model, each with a single value."""
    if not isinstance(section, dict):
        raise ConfigError(f"{place} must hold options such as lr: 0.01")
    for name in section:
        if name in OPTIONS and OPTIONS[name].rules.scope != "run":
            raise ConfigError(
                f"{place}: {name}: is the same for all models; move it out of {BY_MODEL}"
            )
    values = _values(section, place)
    for name, several in values.items():
        if len(several) > 1 or name in ("model_type", "seed"):
            raise ConfigError(
                f"{place}: {name}: takes one value, of an option other than the grid's"
            )
    return values


def _values(content: dict, place: str) -> dict[str, tuple]:
    """The values of each option that `content` holds."""
    values = {}
    for key, entry in content.items():
        if key not in OPTIONS:
            hint = near(key, OPTIONS) or "; python main.py --help lists the options"
            raise ConfigError(f"{place}: unknown key {show(key)}{hint}")
        where = f"{place}: {key}"
        raw = _raw_values(entry, where, may_join=bool(OPTIONS[key].rules.joined))
        values[key] = OPTIONS[key].read(raw, where)
    return values


def _load(path: Path) -> Any:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error
    try:
        return yaml.load(text, Loader=_TextLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: {error.problem or 'invalid YAML'}") from error
    except yaml.reader.ReaderError as error:
        raise ConfigError(
            f"{path} is not valid YAML: character {show(chr(error.character))} is not allowed"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{path} is not valid YAML: it is nested too deeply") from error


def _raw_values(entry: Any, place: str, *, may_join: bool) -> list:
    """The values of one key: `v`, `[v, ...]`, `{value: v}` or `{values: [v, ...]}`."""
    if isinstance(entry, dict):
        if len(entry) != 1 or not {"value", "values"} & set(entry):
            raise ConfigError(f"{place} must hold either value or values, not {show(list(entry))}")
        key, entry = next(iter(entry.items()))
        if key == "values" and not isinstance(entry, list):
            raise ConfigError(f"{place}: values must be a list such as [0.01, 0.005]")
        if key == "value" and isinstance(entry, list):
            if not may_join:
                raise ConfigError(f"{place}: value must be a single value; write values for a list")
            return [entry]
    return entry if isinstance(entry, list) else [entry]
