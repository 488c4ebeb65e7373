#!/usr/bin/env python
# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Train and evaluate spiking neural networks for speech; see ``python main.py --help``."""

if __name__ == "__main__":
    from parsers.start import start

    start()

import sys


def main(argv: list[str] | None = None) -> int:
    """Run what the command line asks for; the exit status (2: something the user can mend)."""
    from parsers.load import load_plan
    from parsers.options import UserError
    from parsers.program import PROGRAM, refuse

    argv = sys.argv[1:] if argv is None else argv
    try:
        if any(".zip" in text.lower() or "://" in text for text in argv):
            from training.shared import with_local_runs

            argv = with_local_runs(argv)
        plan = load_plan(argv)
    except UserError as error:
        return refuse(PROGRAM, str(error))

    # Only now, so that a mistyped flag and --help answer at once.
    from training import sweep
    from training.terminal.console import exit_status, start_logging

    start_logging()
    if plan.search is None:
        return exit_status(PROGRAM, lambda: sweep.run(plan))
    from analysis.search import draw

    return exit_status(PROGRAM, lambda: sweep.run(plan, draw))


if __name__ == "__main__":
    sys.exit(main())
