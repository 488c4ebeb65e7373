#!/usr/bin/env python
# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Train and evaluate spiking neural networks for speech; see ``python main.py --help``."""

import os
import sys


def main(argv: list[str] | None = None) -> int:
    """Run what the command line asks for; the exit status (2: something the user can mend)."""
    from parsers.load import ConfigError, load_plan

    try:
        plan = load_plan(argv)
    except ConfigError as error:
        return refuse(error)

    # PyTorch's idle threads spin by default; beside any other load that made epochs 8 times longer.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

    # Only now, so that a mistyped flag and --help answer at once.
    from datasets.errors import DataError
    from training import sweep
    from training.console import start_logging
    from training.errors import DivergedError, ExperimentError
    from training.stopping import Stopped

    start_logging()
    try:
        return sweep.run(plan)
    except (DataError, ExperimentError) as error:
        return refuse(error)
    except DivergedError as error:
        print(f"main.py: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return refuse(f"out of memory ({error}): lower batch_size, nb_steps or nb_hiddens")
    except OSError as error:
        # The disk or the network drive under a run gave way; nothing in the code is at fault.
        where = f" ({error.filename})" if error.filename else ""
        print(f"main.py: {error.strerror or error}{where}; the run ends here", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(
            "main.py: stopped, and the state is saved: the same command with --resume auto goes on",
            file=sys.stderr,
        )
        return 128 + stopped.signum
    except KeyboardInterrupt:
        print("main.py: interrupted; what was finished is kept", file=sys.stderr)
        return 130


def is_out_of_memory(error: Exception) -> bool:
    """Whether the machine, and not the code, is at its limit; PyTorch says it in several ways."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text


def refuse(error: Exception | str) -> int:
    """Tell a mistake of the user in one line."""
    print(f"main.py: error: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
