# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What the commands that draw figures have in common: arguments, and faults told in one line."""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from datasets.errors import DataError
from parsers.options import ConfigError
from training.errors import ExperimentError

REPO = Path(__file__).resolve().parents[1]
FIGURES = REPO / "figs"


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, without the usage."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message.removeprefix('argument ')}; --help tells more")


def add_output(parser: argparse.ArgumentParser, formats: tuple[str, ...]) -> None:
    """The two arguments that say where the pictures go."""
    parser.add_argument(
        "--output", type=Path, default=FIGURES, help="folder to write [default: figs/ of the code]"
    )
    parser.add_argument(
        "--format", choices=formats, default=formats[0], help=f"[default: {formats[0]}]"
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a run; ``analysis.run.open_named`` takes them."""
    parser.add_argument(
        "folder", metavar="EXP_FOLDER", help="folder of a run, or a name in reference_models/"
    )
    parser.add_argument(
        "--config", metavar="NAME", help="options of a folder without a config.yaml"
    )
    parser.add_argument("--data_folder", help="where the data lie, if they have moved")
    parser.add_argument("--gpu_device", type=int, default=0, help="CUDA device [default: 0]")


def need(packages: Sequence[str]) -> None:
    """ConfigError, with the command that installs it, for an optional package that is not there."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"{package} is not installed; it is optional: pip install --no-deps -r "
                "requirements-analysis.txt"
            )


def positive(text: str) -> int:
    """An argument that counts from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def run(name: str, command: Callable[[], None]) -> int:
    """Call ``command``; the exit status, 2 with one line for what the user can mend."""
    try:
        command()
    except (ConfigError, DataError, ExperimentError) as error:
        return refuse(name, str(error))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return refuse(name, f"{error.strerror or error}{where}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    return 0


def refuse(name: str, message: str) -> int:
    """Tell a mistake in one line."""
    print(f"{name}: error: {' '.join(message.split())}", file=sys.stderr)
    return 2
