# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

"""From argv and a YAML config to the runs to make: default < YAML < command line."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from parsers.command_line import CommandLine, one_too_many, read_command_line
from parsers.config import OPTIONS, Config
from parsers.folders import REPOSITORY, RESUME_AUTO, locate, resolve_pretrained
from parsers.options import RETIRED, ConfigError, Option, show
from parsers.plan import DEBUG_SEED, Plan, make_plan
from parsers.recorded import recorded_options
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

    Raises ConfigError, with one line, for everything that a user can get wrong.
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
    values = {name: option.default_values for name, option in OPTIONS.items()}
    values |= from_yaml | from_argv
    _require_pretrained(values, typed)
    by_model = {
        model: {name: value for name, value in section.items() if name not in from_argv}
        for model, section in config.by_model.items()
    }
    by_model = {model: locate(own, repository, repository) for model, own in by_model.items()}
    keeps_seed = "seed" in from_argv or len(from_yaml.get("seed", ())) == 1
    return make_plan(
        values,
        typed=tuple(from_argv),
        by_model=by_model,
        debug_seed=values["seed"][0] if keeps_seed else DEBUG_SEED,
        config_file=path,
        notes=notes + _retired(dict.fromkeys(typed.retired + config.retired)),
    )


def _retired(names: Iterable[str]) -> tuple[str, ...]:
    """A note for each option of an earlier version that was given."""
    return tuple(f"--{name} has no effect here: it is for {RETIRED[name]}" for name in names)


def _typed_values(typed: CommandLine) -> dict[str, tuple]:
    """Convert what the command line gives; the positional folder overrides --load_exp_folder."""
    values = {}
    for name, raw in typed.values.items():
        try:
            values[name] = OPTIONS[name].read(raw, f"--{name}")
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
        folder = OPTIONS["load_exp_folder"].read([typed.pretrained], "pretrained folder")
        values["load_exp_folder"] = folder
    return values


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


def _is_valid(option: Option, text: str) -> bool:
    try:
        option.convert(text)
    except ValueError:
        return False
    return True
