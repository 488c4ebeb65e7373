# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

"""Find a YAML config and read it, each value by its option."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from parsers.options import RETIRED, ConfigError, Option, near, show

BY_MODEL = "by_model"
WANDB_KEYS = (
    "program",
    "method",
    "metric",
    "name",
    "project",
    "entity",
    "description",
    "command",
    "early_terminate",
)


@dataclass(frozen=True)
class ConfigFile:
    """What a config says: the values of each option, the single values of options that it gives to
    one model only, by the model's name, and the options of earlier versions that it sets, other
    than to their defaults, as recorded runs do."""

    values: dict[str, tuple]
    by_model: dict[str, dict[str, Any]]
    retired: tuple[str, ...]


class _TextLoader(yaml.BaseLoader):
    """Reads every scalar as text: YAML 1.1 has its own ideas of numbers (1e-2 is a string, 010 is
    8, 1:30 is 90), and the options convert text anyway. Refuses a key that is given twice."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if "python" in node.tag:
            raise yaml.MarkedYAMLError(
                problem=f"the tag {show(node.tag)} asks for a Python object; write plain values",
                problem_mark=node.start_mark,
            )
        return super().construct_object(node, deep=deep)

    def construct_scalar(self, node: yaml.ScalarNode) -> str | None:
        text = super().construct_scalar(node)
        is_null = node.style is None and text in ("", "~", "null", "Null", "NULL")
        return None if is_null else text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        first_lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or self.construct_scalar(key_node) is None:
                raise yaml.MarkedYAMLError(
                    problem="a key must be a name", problem_mark=key_node.start_mark
                )
            line = key_node.start_mark.line + 1
            if key_node.value in first_lines:
                raise yaml.MarkedYAMLError(
                    problem=f"key {show(key_node.value)} is given twice, first on line "
                    f"{first_lines[key_node.value]}",
                    problem_mark=key_node.start_mark,
                )
            first_lines[key_node.value] = line
        return super().construct_mapping(node, deep=deep)


def find_config(name: str, configs_folder: Path) -> Path:
    """The file that `--config name` means: a path, else a file of `configs_folder`; the suffix
    .yaml is optional. Raises ConfigError with the places looked in and similar names."""
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


def read_config(path: Path, options: Mapping[str, Option]) -> ConfigFile:
    """Read a config in the flat or the wandb layout.

    Raises ConfigError, naming the file and the place, for what none of `options` takes.
    """
    content = _load(path)
    if content is None:
        raise ConfigError(f"{path} is empty; write one option per line, such as lr: 0.01")
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "a single value"
        raise ConfigError(f"{path} holds {kind}, not options such as lr: 0.01")
    if "parameters" in content:
        for key in content:
            if key != "parameters" and key not in WANDB_KEYS:
                way_out = "move it below parameters" if key in options else "remove it"
                raise ConfigError(f"{path}: key '{key}' is next to parameters; {way_out}")
        content = content["parameters"]
        if not isinstance(content, dict) or not content:
            raise ConfigError(f"{path}: parameters must hold options such as lr: {{value: 0.01}}")
        if BY_MODEL in content:
            raise ConfigError(
                f"{path}: {BY_MODEL} cannot be inside parameters; write a flat config"
            )
    sections = content.pop(BY_MODEL, {})
    if not isinstance(sections, dict):
        raise ConfigError(f"{path}: {BY_MODEL} must hold models, each with its options")
    by_model: dict[str, dict[str, Any]] = {}
    for name, section in sections.items():
        (model,) = options["model_type"].read([name], f"{path}: {BY_MODEL}")
        if model in by_model:
            raise ConfigError(f"{path}: {BY_MODEL}: {model} is given twice; merge its options")
        by_model[model] = _of_one_model(section, f"{path}: {BY_MODEL}: {model}", options)
    others = {name: default for name, (default, _) in RETIRED.items() if name in content}
    retired = tuple(name for name, default in others.items() if content[name] != default)
    return ConfigFile(_values(content, str(path), options), by_model, retired)


def _of_one_model(section: Any, place: str, options: Mapping[str, Option]) -> dict[str, Any]:
    """The options that a config gives to one model, each with a single value."""
    if not isinstance(section, dict):
        raise ConfigError(f"{place} must hold options such as lr: 0.01")
    for name in section:
        if name in options and options[name].rules.scope != "run":
            raise ConfigError(
                f"{place}: {name}: is the same for all models; move it out of {BY_MODEL}"
            )
    values = _values(section, place, options)
    for name, several in values.items():
        if len(several) > 1 or name in ("model_type", "seed"):
            raise ConfigError(
                f"{place}: {name}: takes one value, of an option other than the grid's"
            )
    return {name: value for name, (value,) in values.items()}


def _values(content: dict, place: str, options: Mapping[str, Option]) -> dict[str, tuple]:
    """The values of each option that `content` holds; those of earlier versions are skipped."""
    values = {}
    for key, entry in content.items():
        if key in RETIRED:
            continue
        if key not in options:
            hint = near(key, options) or "; python main.py --help lists the options"
            raise ConfigError(f"{place}: unknown key {show(key)}{hint}")
        where = f"{place}: {key}"
        raw = _raw_values(entry, where, may_join=bool(options[key].rules.joined))
        values[key] = options[key].read(raw, where)
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
