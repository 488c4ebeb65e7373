# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Arguments and optional requirements that the commands for trained networks share."""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from parsers.options import ConfigError
from parsers.program import add_gpu_device

REPO = Path(__file__).resolve().parents[1]
FIGURES = REPO / "figs"


def add_models(parser: argparse.ArgumentParser, which: str, default: str) -> None:
    """The argument that names networks to draw; ``analysis.trained.open_all`` takes it."""
    what = f"{which}, or names in reference_models/ [default: {default}]"
    parser.add_argument("--models", nargs="+", metavar="FOLDER", help=what)


def add_output(parser: argparse.ArgumentParser, formats: tuple[str, ...]) -> None:
    """The two arguments that say where the pictures go."""
    folder = "folder to write [default: figs/ of the code]"
    parser.add_argument("--output", type=Path, default=FIGURES, help=folder)
    first = formats[0]
    parser.add_argument("--format", choices=formats, default=first, help=f"[default: {first}]")


def add_run(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a run; ``analysis.run.open_named`` takes them."""
    folder = "folder of a run, or a name in reference_models/"
    parser.add_argument("folder", metavar="EXP_FOLDER", help=folder)
    options = "options of a folder without a config.yaml"
    parser.add_argument("--config", metavar="NAME", help=options)
    parser.add_argument("--data_folder", help="where the data lie, if they have moved")
    add_gpu_device(parser)


def need(packages: Sequence[str]) -> None:
    """ConfigError, with the command that installs it, for a missing optional package."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"{package} is not installed; it is optional: pip install --no-deps -r "
                "requirements-analysis.txt"
            )
