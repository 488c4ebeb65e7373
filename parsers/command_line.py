# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

"""The command line, derived from the declared options: `--help`, and argv into raw values."""

import argparse
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from parsers.options import BOOLEANS, RETIRED, ConfigError, Option, near, show
from parsers.program import Parser

USAGE = "python main.py [--config NAME] [pretrained] [--option VALUE ...]"
DESCRIPTION = (
    "Train or test a spiking neural network on speech. The value of an option is its default, "
    "unless the config gives one, unless the command line gives one. An option that may be a grid "
    "takes several values, and every combination is run; a list in a config does the same. "
    "A relative path in a config starts at the repository, one on the command line at the working "
    "directory."
)
EXAMPLES = """\
examples:
  python main.py --config=ssc_silif_4ms.yaml                 one run for each of five seeds
  python main.py --config ssc_silif_4ms.yaml --debug         one run, to try it
  python main.py --model_type adLIF --dataset_name shd --data_folder PATH --new_exp_folder OUT
  python main.py --config shd_silif --lr 0.01 0.005 --seed 13 42                    four runs
  python main.py --config=ssc_silif_4ms.yaml --gpu_device 0 1 2 3        one run on each device
  python main.py --config=ssc_silif_4ms.yaml ref_SSC_SiLIF --evaluate_pretrained True
"""


@dataclass(frozen=True)
class CommandLine:
    """What the user typed: raw values per given option, and the two arguments beside them."""

    values: Mapping[str, list[str]]
    config: str | None
    pretrained: str | None
    retired: tuple[str, ...]  # options of earlier versions


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=30, width=100)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        usual = super()._format_args(action, default_metavar)
        return action.metavar if action.nargs == "+" else usual


class _StoreOnce(argparse.Action):
    """Argparse lets the last of `--seed 13 --seed 42` win, but a user may well want both."""

    def __call__(self, parser, namespace, values, option_string=None):
        if getattr(namespace, self.dest) is not None:
            several = " (several values follow one flag)" if "..." in self.metavar else ""
            raise ConfigError(f"{option_string} is given twice; give it once{several}")
        setattr(namespace, self.dest, values)


def build_parser(options: Mapping[str, Option]) -> argparse.ArgumentParser:
    """The parser of main.py; it only collects text, which the options convert."""
    parser = Parser(
        "main.py",
        usage=USAGE,
        description=textwrap.fill(DESCRIPTION, width=100),
        epilog=EXAMPLES,
        formatter_class=_Formatter,
    )
    parser.add_argument(
        "pretrained",
        nargs="?",
        help="model to test with --evaluate_pretrained True, instead of load_exp_folder: an "
        "experiment folder, or a name in reference_models/",
    )
    parser.add_argument(
        "--config",
        metavar="NAME",
        action=_StoreOnce,
        help="YAML file: a path, or a name in configs/ (.yaml is optional)",
    )
    groups: dict[str, Any] = {}
    for option in options.values():
        name = option.rules.group
        group = groups[name] = groups.get(name) or parser.add_argument_group(name)
        _add_option(group, option)
    for name in RETIRED:
        parser.add_argument(f"--{name}", nargs="*", help=argparse.SUPPRESS)
    return parser


def read_command_line(argv: Sequence[str] | None, options: Mapping[str, Option]) -> CommandLine:
    """Parse `argv` (sys.argv[1:] if None). Raises ConfigError for flags that do not exist."""
    argv = [_plain_number(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    namespace, extras = build_parser(options).parse_known_args(argv)
    given = {name: value for name, value in vars(namespace).items() if value is not None}
    config, pretrained = given.pop("config", None), given.pop("pretrained", None)
    retired = tuple(name for name in RETIRED if given.pop(name, None) is not None)
    _refuse_extras(extras, [*options, "config", "help"])
    if pretrained is not None and pretrained.lower() in BOOLEANS:
        switches = [f"--{option.name}" for option in options.values() if option.rules.switch]
        raise ConfigError(
            f"unexpected argument {show(pretrained)}; {', '.join(switches)} take no value"
        )
    values = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
    pretrained = pretrained or _take_pretrained(values, options)
    return CommandLine(values, config, pretrained, retired)


def _take_pretrained(values: Mapping[str, list[str]], options: Mapping[str, Option]) -> str | None:
    """The argument that argparse counts to the values of the option before it, taken out of them:
    a second value of an option of one, unless both are numbers, or what is no value of a grid."""
    for name, raw in values.items():
        option = options[name]
        if len(raw) > 1 and not (option.kind in (int, float) and _is_valid(option, raw[-1])):
            several = option.rules.grid or option.rules.several
            if not several or ("evaluate_pretrained" in values and not _is_valid(option, raw[-1])):
                return raw.pop()
    return None


def _is_valid(option: Option, text: str) -> bool:
    try:
        option.convert(text)
    except ValueError:
        return False
    return True


def _plain_number(argument: str) -> str:
    """-1e-3 as -0.001: argparse mistakes the former for a flag."""
    if re.fullmatch(r"-(\d+\.?\d*|\.\d+)[eE][+-]?\d{1,3}", argument):
        return f"{Decimal(argument):f}"
    return argument


def _refuse_extras(extras: Sequence[str], names: Sequence[str]) -> None:
    for extra in extras:
        if extra.startswith("-") and extra != "--":
            flag = extra.split("=")[0]
            hint = near(flag.lstrip("-").replace("-", "_"), names, prefix="--")
            hint = hint or "; python main.py --help lists them"
            raise ConfigError(f"unknown flag {show(flag)}{hint}")
    if extras:
        raise ConfigError(
            f"unexpected argument {show(extras[0])}; only one pretrained folder can be named"
        )


def _add_option(group: Any, option: Option) -> None:
    text = _help_text(option).replace("%", "%%")
    flag = f"--{option.name}"
    if option.rules.switch:
        group.add_argument(flag, action="store_const", const=True, help=text)
    else:
        group.add_argument(
            flag,
            nargs="+",
            action=_StoreOnce,
            metavar=_metavar(option),
            help=text,
        )


def _metavar(option: Option) -> str:
    kinds = {bool: "BOOL", int: "INT", float: "FLOAT"}
    kind = kinds.get(option.kind, "PATH" if "folder" in option.name else "NAME")
    return f"{kind} ..." if option.rules.grid or option.rules.several else kind


def _help_text(option: Option) -> str:
    notes = []
    if option.rules.choices:
        notes.append("one of " + ", ".join(option.rules.choices))
    elif option.rules.within and option.name != "seed":
        notes.append(option.rules.within)
    if needs := option.rules.only_for or option.rules.needs:
        notes.append(f"for {needs}")
    if option.rules.switch:
        notes.append("default: off")
    elif option.default is not None:
        notes.append("default: " + " ".join(str(value) for value in option.default_values))
    several = " (several values = grid)" if option.rules.grid else ""
    return option.rules.help + (f" [{'; '.join(notes)}]" if notes else "") + several
