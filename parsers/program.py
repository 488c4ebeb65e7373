# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How every program here takes its arguments and tells a mistake: in one line, with status 2."""

import argparse
import contextlib
import errno
import functools
import math
import os
import re
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from parsers.errors import UserError
from parsers.options import ConfigError, Option, parse_float, parse_int, show

ANY_WRITE_BIT = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


class Parser(argparse.ArgumentParser):
    """A parser that raises ConfigError where argparse would print its usage and leave."""

    def __init__(self, program: str, **options):
        """``program`` is a script, or a module to run with ``python -m``."""
        prog = program if program.endswith(".py") else f"python -m {program}"
        super().__init__(prog=prog, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        message = message.replace("ignored explicit argument", "takes no value, but got")
        raise ConfigError(f"{message.removeprefix('argument ')}; --help tells more")


def numeric(
    kind: type[int] | type[float], lowest: float = -math.inf, highest: float = math.inf
) -> Callable[[str], float]:
    """A ``type`` for an argument that is a number from ``lowest`` to ``highest``, both included."""
    noun = "whole number" if kind is int else "number"
    limits = f" from {lowest}" if lowest > -math.inf else ""
    limits += f" to {highest}" if highest < math.inf else ""

    def convert(text: str) -> float:
        try:
            value = (parse_int if kind is int else parse_float)(text)
        except ValueError:
            value = math.nan
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{show(text)} is not a {noun}{limits}")
        return value

    return convert


def of_option(option: Option) -> Callable[[str], Any]:
    """A ``type`` for an argument that takes what the option of main.py takes."""

    def convert(text: str) -> Any:
        try:
            return option.convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def add_gpu_device(parser: argparse.ArgumentParser) -> None:
    """Where to compute; on a machine without a GPU there is only the CPU."""
    parser.add_argument(
        "--gpu_device", type=numeric(int, 0), default=0, help="CUDA device [default: 0]"
    )


def run_command(
    program: str, work: Callable[[], int | None], interrupted: str = "interrupted"
) -> int:
    """Do ``work``; the exit status, 2 with one line for what the user can mend.

    Args:
        program: named in that line.
        work: returns an exit status, or None for 0.
        interrupted: what an interruption from the keyboard says.
    """
    try:
        status = work() or 0
        flush()  # here, where a pipe that is closed can be met
        return status
    except UserError as error:
        return refuse(program, str(error))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        text = f"out of memory ({needed(error)}): lower batch_size, nb_steps or nb_hiddens"
        return refuse(program, text)
    except BrokenPipeError:  # a reader of the output, such as head, has seen enough
        forget(sys.stdout)
        return 0
    except OSError as error:
        return refuse(program, what_failed(error))
    except KeyboardInterrupt:
        tell(f"{program}: {interrupted}")
        return 130


def program(name: str) -> Callable[[Callable], Callable[..., int]]:
    """A decorator: ``main(argv=None)`` runs through `run_command`, and returns its exit status."""

    def decorate(command: Callable[[Sequence[str] | None], int | None]) -> Callable[..., int]:
        @functools.wraps(command)
        def main(argv: Sequence[str] | None = None) -> int:
            return run_command(name, lambda: command(argv))

        return main

    return decorate


def check_folder(flag: str, folder: Path) -> None:
    """ConfigError, before long work, for a folder that can be neither written to nor made.

    A folder without any write bit counts as read-only for the superuser too: someone meant it.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        fault = "is a file"
    elif not os.access(nearest, os.W_OK) or not nearest.stat().st_mode & ANY_WRITE_BIT:
        fault = "is read-only"
    else:
        return
    where = "" if nearest == folder else f", so nothing can be written to {folder}"
    raise ConfigError(f"{nearest} {fault}{where}: name another folder with {flag}")


def check_file(flag: str, file: Path) -> None:
    """ConfigError, before long work, for a file that cannot be written."""
    if file.is_dir():
        raise ConfigError(f"{file} is a folder: name a file with {flag}")
    check_folder(flag, file.parent)


def refuse(program: str, message: str) -> int:
    """Tell a mistake of the user in one line; the exit status."""
    tell(f"{program}: error: {' '.join(message.split())}")
    return 2


def tell(line: str) -> None:
    """Print on stderr; where nobody reads any more nothing, now and later."""
    try:
        print(line, file=sys.stderr)
        flush()
    except OSError as error:
        if error.errno not in (errno.EIO, errno.EPIPE):
            raise
        forget_terminal()


def flush() -> None:
    """Print what is held back; a program that was started without standard output has none."""
    if sys.stdout is not None:
        sys.stdout.flush()


def forget_terminal() -> None:
    """Print nothing any more: a terminal that was closed ends no training."""
    forget(sys.stdout, sys.stderr)


def forget(*streams: TextIO) -> None:
    """Let what is still written to ``streams`` go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with contextlib.suppress(AttributeError, OSError):  # a stream that is no file has no number
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def what_failed(error: OSError) -> str:
    """An error of the system in words, with the file."""
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"


def is_out_of_memory(error: Exception) -> bool:
    """Whether the machine, and not the code, is at its limit; PyTorch says it in several ways."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text


def needed(error: Exception) -> str:
    """How much memory was asked for, as PyTorch says it, else all that it says."""
    text = str(error) or "PyTorch does not say how much was needed"
    amount = re.search(r"[Tt]ried to allocate ([\d.]+ ?\w+)", text)
    amount = amount or re.search(r"allocate memory: you tried to allocate (\d+ bytes)", text)
    return f"{amount[1]} more were needed" if amount else text
