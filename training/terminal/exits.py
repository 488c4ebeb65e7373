# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How a training ends: exit status 2 and one line for what the user can mend."""

from collections.abc import Callable

from parsers.program import run_command, tell, what_failed
from training.errors import DivergedError
from training.terminal.stopping import Stopped


def exit_status(program: str, work: Callable[[], int]) -> int:
    """The exit status of ``work``, with every fault that is not ours told in one line."""

    def end(status: int, message: object) -> int:
        tell(f"{program}: {message}")
        return status

    def train() -> int:
        try:
            return work()
        except DivergedError as error:
            return end(1, error)
        except OSError as error:
            # The disk or the network drive under a run gave way; nothing in the code is at fault.
            return end(1, f"{what_failed(error)}; the run ends here")
        except Stopped as stopped:
            return end(
                128 + stopped.signum,
                "stopped, and the state is saved: the same command with --resume auto goes on",
            )

    return run_command(program, train, interrupted="interrupted; what was finished is kept")
