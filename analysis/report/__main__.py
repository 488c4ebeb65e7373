# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Look inside a trained network: ``python -m analysis.report EXP_FOLDER``.

Writes one HTML page that needs no other file, the pictures on it as PNG files, and the numbers
behind them as report.json.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.command import add_run
from parsers.program import Parser, numeric, run_command

PROGRAM = "analysis.report"


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ConfigError for a mistake in it."""
    parser = Parser(
        PROGRAM,
        description="Learning curves, confusion matrix, spikes, membrane traces, firing rates, "
        "learned time constants, operations and energy of a trained network, as one HTML page "
        "with pictures.",
    )
    parser.add_argument("--output", type=Path, help="folder to write [default: EXP_FOLDER/report]")
    parser.add_argument(
        "--clips",
        nargs="+",
        type=numeric(int, 0),
        default=[],
        metavar="N",
        help="test clips to show, from 0",
    )
    parser.add_argument(
        "--neurons",
        nargs="+",
        type=neuron,
        default=[],
        metavar="LAYER:N",
        help="neurons to trace in the first of the clips, such as 1:0 1:17 2:5; layers are "
        "counted from 1, neurons from 0",
    )
    add_run(parser)
    return parser.parse_args(argv)


def neuron(text: str) -> tuple[int, int]:
    """'2:17' -> (2, 17)."""
    if not re.fullmatch(r"[0-9]{1,9}:[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not LAYER:N, such as 2:17")
    layer, number = text.split(":")
    return int(layer), int(number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status (2: something the user can mend)."""

    def command() -> None:
        arguments = read_arguments(argv)

        # Only now, so that a mistyped flag and --help answer at once.
        from analysis.report.write import write_report
        from training.terminal.console import start_logging

        start_logging()
        write_report(arguments)

    return run_command(PROGRAM, command)


if __name__ == "__main__":
    sys.exit(main())
