# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

"""From argv and a YAML config to the runs to make: default < YAML < command line."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from parsers.command_line import CommandLine, read_command_line
from parsers.config import OPTIONS, Config
from parsers.folders import REPOSITORY, RESUME_AUTO, locate, resolve_pretrained
from parsers.options import RETIRED, ConfigError, show
from parsers.plan import DEBUG_SEED, Plan, make_plan
from parsers.recorded import recorded_options
from parsers.training_config import TrainingConfig
from parsers.yaml_file import ConfigFile, find_config, read_config

__all__ = [
    "OPTIONS",
    "REPOSITORY",
    "RESUME_AUTO",
    "Config",
    "ConfigError",
    "Plan",
    "load_plan",
    "resolve_pretrained",
]


def load_plan(
    argv: Sequence[str] | None = None, *, configs_folder: Path = REPOSITORY / "configs"
) -> Plan:
    """Read `argv` (sys.argv[1:] if None) and the config it names into the runs to make.

    Raises ConfigError, with one line, for every mistake of the user.
    """
    repository = Path(configs_folder).absolute().parent
    typed = read_command_line(argv, OPTIONS)
    path, config = None, ConfigFile({}, {}, ())
    if typed.config is not None:
        path = find_config(typed.config, Path(configs_folder)).absolute()
        config = read_config(path, OPTIONS)
    from_argv = locate(_typed_values(typed), Path.cwd(), repository)
    recorded, notes = recorded_options(typed, from_argv, repository)
    from_yaml = locate(config.values | recorded, repository, repository)
    by_model = {}
    for model, section in config.by_model.items():
        own = {name: value for name, value in section.items() if name not in from_argv}
        by_model[model] = locate(own, repository, repository)
    values = {name: option.default_values for name, option in OPTIONS.items()}
    values |= from_yaml | from_argv
    keeps_seed = "seed" in from_argv or len(from_yaml.get("seed", ())) == 1
    plan = make_plan(
        values,
        typed=tuple(from_argv),
        by_model=by_model,
        debug_seed=values["seed"][0] if keeps_seed else DEBUG_SEED,
        config_file=path,
        notes=notes + _retired(dict.fromkeys(typed.retired + config.retired)),
    )
    for point in plan.points:
        _check_pretrained(point.training, typed.pretrained, repository)
    return plan


def _retired(names: Iterable[str]) -> tuple[str, ...]:
    """A note for each option of an earlier version that was given."""
    return tuple(f"--{name} has no effect here: it is for {RETIRED[name][1]}" for name in names)


def _typed_values(typed: CommandLine) -> dict[str, tuple]:
    """Convert what the command line gives; the positional folder overrides --load_exp_folder."""
    values = {name: OPTIONS[name].read(raw, f"--{name}") for name, raw in typed.values.items()}
    if typed.pretrained is not None:
        folder = OPTIONS["load_exp_folder"].read([typed.pretrained], "pretrained folder")
        values["load_exp_folder"] = folder
    return values


def _check_pretrained(training: TrainingConfig, typed: str | None, repository: Path) -> None:
    """Raise ConfigError unless a test names an existing model, and a training none."""
    if training.evaluate_pretrained:
        if training.load_exp_folder is None:
            raise ConfigError(
                "--evaluate_pretrained True needs a model: the folder of an experiment or a name "
                "in reference_models/, as an argument or as --load_exp_folder"
            )
        resolve_pretrained(training.load_exp_folder, repository=repository)
    elif typed is not None:
        raise ConfigError(
            f"unexpected argument {show(typed)}; write --config {typed} to name a config, or add "
            "--evaluate_pretrained True to test a pretrained model"
        )
