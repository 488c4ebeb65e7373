# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How every program takes its arguments and ends: mistakes are one line, with exit status 2.

The command line of main.py is derived from the declared options: `--help`, and argv into raw
values.
"""

import argparse
import contextlib
import errno
import functools
import gc
import math
import os
import re
import signal
import stat
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn, TextIO

from parsers.options import (
    BOOLEANS,
    ConfigError,
    Option,
    UserError,
    near,
    parse_float,
    parse_int,
    show,
)
from parsers.start import fault_of, leave

ANY_WRITE_BIT = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
PROGRAM = "main.py"
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


class Parser(argparse.ArgumentParser):
    """A parser that raises ConfigError where argparse would print its usage and leave."""

    def __init__(self, program: str, **options):
        """``program`` is a script, or a module to run with ``python -m``."""
        prog = program if program.endswith(".py") else f"python -m {program}"
        super().__init__(prog=prog, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        message = message.replace("ignored explicit argument", "takes no value, but got")
        message, actions = message.removeprefix("argument "), self._option_string_actions
        hint = ""
        if unknown := re.match(r"unrecognized arguments: --([\w-]+)", message):
            names = [flag.removeprefix("--") for flag in actions]
            hint = near(unknown[1].replace("-", "_"), names, prefix="--")
        elif bare := re.match(r"(--\w+): expected one argument", message):
            metavar = actions[bare[1]].metavar
            message += f", {metavar}" if metavar else ""
        raise ConfigError(f"{message}{hint or '; see --help'}")


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


def stop_with_parent() -> None:
    """Stop this process, as SIGTERM does, when its parent closes its standard input or is gone.

    A signal that the system sends at the parent's end (PR_SET_PDEATHSIG) would come several times:
    once for each of its threads to which this process is handed on.
    """

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):  # sys.stdin itself must not be locked at exit
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def run_command(
    program: str,
    work: Callable[[], int | None],
    interrupted: str = "interrupted",
    *,
    needs_output: bool = True,
) -> int:
    """Do ``work``; the exit status, 2 with one line for what the user can mend.

    Args:
        program: named in that line.
        work: returns an exit status, or None for 0.
        interrupted: what an interruption from the keyboard says.
        needs_output: whether it is a fault, with status 1, that standard output takes no more.
    """
    if not gc.isenabled():  # as `parsers.start.start` left it
        gc.freeze()
        gc.enable()
    try:
        if signal.getsignal(signal.SIGINT) is leave:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = work() or 0
        flush()  # here, where a pipe that is closed can be met
        if needs_output and (fault := fault_of(sys.stdout)):
            tell(f"{program}: standard output is incomplete ({fault.strerror})")
            status = status or 1
        return status
    except UserError as error:
        return refuse(program, str(error))
    except (MemoryError, RuntimeError) as error:
        if (lack := lack_of_memory(error)) is None:
            raise
        text = f"out of memory ({lack}): lower batch_size, nb_steps or nb_hiddens"
        return refuse(program, text)
    except BrokenPipeError:  # a reader of the output, such as head, has seen enough
        forget(sys.stdout)
        return 0
    except OSError as error:
        return refuse(program, what_failed(error))
    except KeyboardInterrupt:
        tell(f"{program}: {interrupted}")
        return 130


@contextlib.contextmanager
def deaf_children() -> Iterator[None]:
    """Let processes that are started here ignore Ctrl-C, which a terminal sends to all of them: the
    program that started them ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
    tell(f"{program}: {coloured('error:', '31', sys.stderr)} {' '.join(message.split())}")
    return 2


def tell(line: str) -> None:
    """Print on stderr; where nobody reads any more nothing, now and later."""
    try:
        print(line, file=sys.stderr)
        flush()
    except OSError as error:
        if error.errno not in (errno.EIO, errno.EPIPE):
            raise
        forget(sys.stdout, sys.stderr)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person reads what is written to ``stream``."""
    return getattr(stream, "isatty", bool)()


def coloured(text: str, colour: str, stream: TextIO | None) -> str:
    """``text`` in an ANSI colour where ``stream`` is a terminal, unless NO_COLOR is set."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return f"\x1b[{colour}m{text}\x1b[0m" if is_terminal(stream) and not plain else text


def flush() -> None:
    """Print what is held back; a program that was started without standard output has none."""
    if sys.stdout is not None:
        sys.stdout.flush()


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


def lack_of_memory(error: Exception) -> str | None:
    """How much memory was needed, as PyTorch's message has it; None for any other error."""
    text = str(error) or "PyTorch does not say how much was needed"
    if not isinstance(error, MemoryError) and not re.search("(out of|allocate) memory", text, re.I):
        return None
    amount = re.search(r"[Tt]ried to allocate ([\d.]+ ?\w+)", text)
    return f"{amount[1]} more were needed" if amount else text


@dataclass(frozen=True)
class CommandLine:
    """What the user typed: raw values per given option, and the two arguments beside them."""

    values: Mapping[str, list[str]]
    config: str | None
    pretrained: str | None


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=30, width=100)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        usual = super()._format_args(action, default_metavar)
        return action.metavar if action.nargs == "*" else usual


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
        PROGRAM,
        usage=USAGE,
        description=textwrap.fill(DESCRIPTION, width=100),
        epilog=EXAMPLES,
        formatter_class=_Formatter,
    )
    parser.add_argument(
        "pretrained",
        nargs="?",
        help="model to test with --evaluate_pretrained True, instead of load_exp_folder: an "
        "experiment folder, a name in reference_models/, RUN.zip or https://HOST/RUN.zip#sha256=HEX",
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
    return parser


def read_command_line(argv: Sequence[str] | None, options: Mapping[str, Option]) -> CommandLine:
    """Parse `argv` (sys.argv[1:] if None). Raises ConfigError for flags that do not exist."""
    argv = [_plain_number(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    namespace, extras = build_parser(options).parse_known_args(argv)
    given = {name: value for name, value in vars(namespace).items() if value is not None}
    config, pretrained = given.pop("config", None), given.pop("pretrained", None)
    _refuse_extras(extras, [*options, "config", "help"])
    for name, values in given.items():
        if values == []:
            raise ConfigError(f"--{name} has no value; write {options[name].wanted} after it")
    if pretrained is not None and pretrained.lower() in BOOLEANS:
        switches = [f"--{option.name}" for option in options.values() if option.rules.switch]
        raise ConfigError(
            f"unexpected argument {show(pretrained)}; {', '.join(switches)} take no value"
        )
    values = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
    pretrained = pretrained or _take_pretrained(values, options)
    return CommandLine(values, config, pretrained)


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
    text = _help_text(option).replace("%", "%%") if option.rules.group else argparse.SUPPRESS
    flag = f"--{option.name}"
    if option.rules.switch:
        group.add_argument(flag, action="store_const", const=True, help=text)
    else:
        group.add_argument(
            flag,
            nargs="*",  # none is refused with a hint
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
