# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How a program ends: exit status 2 and one line for what the user can mend."""

import re
import sys
from collections.abc import Callable

from datasets.errors import DataError
from training.errors import DivergedError, ExperimentError
from training.stopping import Stopped


def exit_status(program: str, work: Callable[[], int]) -> int:
    """The exit status of ``work``, with every fault that is not ours told in one line."""
    try:
        return work()
    except (DataError, ExperimentError) as error:
        return refuse(program, error)
    except DivergedError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        text = f"out of memory ({needed(error)}): lower batch_size, nb_steps or nb_hiddens"
        return refuse(program, text)
    except OSError as error:
        # The disk or the network drive under a run gave way; nothing in the code is at fault.
        where = f" ({error.filename})" if error.filename else ""
        print(f"{program}: {error.strerror or error}{where}; the run ends here", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(
            f"{program}: stopped, and the state is saved: the same command with --resume auto "
            "goes on",
            file=sys.stderr,
        )
        return 128 + stopped.signum
    except KeyboardInterrupt:
        print(f"{program}: interrupted; what was finished is kept", file=sys.stderr)
        return 130


def is_out_of_memory(error: Exception) -> bool:
    """Whether the machine, and not the code, is at its limit; PyTorch says it in several ways."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text


def refuse(program: str, error: Exception | str) -> int:
    """Tell a mistake of the user in one line."""
    print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def needed(error: Exception) -> str:
    """How much memory was asked for, as PyTorch says it, else all that it says."""
    text = str(error) or "PyTorch does not say how much was needed"
    amount = re.search(r"[Tt]ried to allocate ([\d.]+ ?\w+)", text)
    amount = amount or re.search(r"allocate memory: you tried to allocate (\d+ bytes)", text)
    return f"{amount[1]} more were needed" if amount else text
