# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What the terminal and the log file show, and how a training is stopped or ends by a fault."""

import contextlib
import errno
import logging
import os
import shutil
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from logging.handlers import MemoryHandler, WatchedFileHandler
from pathlib import Path

import tabulate
import torch
from tqdm import tqdm

from parsers.program import (
    coloured,
    flush,
    forget,
    is_terminal,
    run_command,
    tell,
    what_failed,
)
from training.errors import DivergedError
from training.metrics import Meter, Metrics, protocol, wilson

log = logging.getLogger("sprache")
# SIGUSR1 is what a batch system is asked to send some time before it ends a job, SIGHUP what comes
# when a terminal or its connection is closed.
NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
HANG_UP = getattr(signal, "SIGHUP", None)
ECHO = 1.0  # s within which a signal sent from outside may arrive twice, and means the same
tabulate.MIN_PADDING = 0  # headers no wider than they are: a table of results fits a terminal
WIDE = 132  # characters in a line of what is no terminal
NARROWEST = 16  # characters in a column of a table
RED, GREEN, YELLOW, BOLD = "31", "32", "33", "1"


def columns() -> int:
    """Characters in a line of the terminal."""
    return shutil.get_terminal_size((WIDE, 0)).columns


def wrapped(text: str, indent: str = "  ") -> str:
    """``text`` with its lines broken between words, where they are longer than the terminal's."""
    style = {"break_long_words": False, "break_on_hyphens": False, "subsequent_indent": indent}
    return "\n".join(
        textwrap.fill(line, columns(), **style) if len(line) > columns() else line
        for line in text.split("\n")
    )


class _BesideProgressBars(logging.Handler):
    """Prints records on stdout without tearing the progress bars of stderr.

    On a terminal long lines are broken between words; what a record ``marks`` (text, colour) is
    coloured, and so are warnings.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if is_terminal(sys.stdout):
            text = wrapped(text)
        marks = getattr(record, "marks", ())
        if record.levelno > logging.INFO:
            marks = ((text, RED if record.levelno > logging.WARNING else YELLOW),)
        for mark, colour in marks:
            text = text.replace(mark, coloured(mark, colour, sys.stdout))
        return text

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if sys.stdout is not None:
                tqdm.write(self.format(record), file=sys.stdout)
            flush()
        except BrokenPipeError:  # the reader of the output has seen enough
            raise
        except OSError as error:  # the training continues; its log file has every line
            closed = error.errno == errno.EIO  # the terminal, whose both streams are gone
            forget(sys.stdout, *([sys.stderr] if closed else []))


class _LogFile(WatchedFileHandler):
    """A log file that is opened again where it was deleted, and never ends or disturbs a run."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        """Say nothing: a full disk is reported by the files that matter more."""


# Keeps what is logged while no log file is open: the next one begins with it.
_unfiled = MemoryHandler(capacity=1000, flushLevel=logging.CRITICAL + 1)


def start_logging() -> None:
    """Send what the program says to the terminal; calling it again changes nothing."""
    log.setLevel(logging.DEBUG)
    log.propagate = False
    if not log.handlers:
        log.addHandler(_BesideProgressBars(logging.INFO))
        log.addHandler(_unfiled)


@contextlib.contextmanager
def log_file(path: Path | None) -> Iterator[None]:
    """Also append everything logged to ``path``, with the time; None: no file.

    That includes what was logged since the program began, or the last file was closed.
    """
    if path is None:
        yield
        return
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
    _unfiled.setTarget(handler)
    _unfiled.flush()
    _unfiled.setTarget(None)
    others = log.handlers
    log.handlers = [*(other for other in others if other is not _unfiled), handler]
    try:
        yield
    finally:
        log.handlers = others
        handler.close()


BAR_REFRESH = 0.3  # s between two figures on the bar


def progress_bar(total: int, label: str, unit: str = " clips") -> tqdm:
    """A bar that disappears when it is done; nothing where standard error is no terminal."""
    return tqdm(total=total, desc=label, unit=unit, leave=False, dynamic_ncols=True, disable=None)


class LiveBar:
    """A progress bar over the clips of a pass that shows what ``meter`` has summed so far.

    The figures are those of a moment ago: a copy to the host is asked for and shown when it is
    there, so that no step waits for one before it.
    """

    def __init__(self, total: int, label: str, meter: Meter):
        self.bar = progress_bar(total, label)
        self.meter = meter
        self.copy: tuple[int, torch.Tensor, torch.cuda.Event | None] | None = None
        self.last = 0.0

    def __enter__(self) -> "LiveBar":
        self.bar.update(self.meter.samples)
        return self

    def __exit__(self, *exception) -> None:
        self.bar.close()

    def advance(self, count: int) -> None:
        """Advance by ``count`` clips; the figures follow a few times a second."""
        if self.bar.disable:
            return
        if self.copy is None and time.monotonic() - self.last > BAR_REFRESH:
            self.last = time.monotonic()
            self.copy = self.meter.samples, *_host_copy(self.meter.sums)
        if self.copy is not None:
            samples, sums, event = self.copy
            if event is None or event.query():  # which asks, and does not wait
                loss, accuracy = (sums[:2] / max(samples, 1)).tolist()
                text = f"loss {loss:.3f} acc {percent(accuracy, 1)}"
                self.bar.set_postfix_str(text, refresh=False)
                self.copy = None
        self.bar.update(count)


def _host_copy(sums: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
    """The copy of a tensor on its way to the host, and the event that it has arrived."""
    # copy_ to pinned memory is queued like a kernel; it sees the sums of this moment.
    copy = torch.empty_like(sums, device="cpu", pin_memory=sums.is_cuda)
    copy.copy_(sums, non_blocking=True)
    if not sums.is_cuda:
        return copy, None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(sums.device))
    return copy, event


def table(
    rows: list[tuple],
    headers: list[str],
    *,
    numbers: int = 0,
    kind: str = "simple",
    fit: bool = True,
) -> str:
    """An aligned table, in a format of tabulate; the last ``numbers`` columns end flush.

    To ``fit`` the terminal, columns that it has no room for are broken between words.
    """
    align = ["left"] * (len(headers) - numbers) + ["right"] * numbers
    for _ in headers if fit else ():
        rows = _narrower(rows, headers)
    return tabulate.tabulate(rows, headers, tablefmt=kind, disable_numparse=True, colalign=align)


def _narrower(rows: list[tuple], headers: list[str]) -> list[tuple]:
    """The rows with their widest column as narrow as the terminal asks for."""
    cells = [list(map(str, column)) for column in zip(headers, *rows, strict=True)]
    widths = [max(map(len, "\n".join(column).split("\n"))) for column in cells]
    width, room = max(widths), columns() - sum(widths) - 2 * (len(widths) - 1)
    if room >= 0 or width <= NARROWEST:
        return rows
    widest = cells[widths.index(width)]
    style = {"width": max(NARROWEST, width + room), "break_on_hyphens": False}
    widest[1:] = [textwrap.fill(cell, **style) for cell in widest[1:]]
    return list(zip(*(column[1:] for column in cells), strict=True))


def percent(share: float, digits: int = 2) -> str:
    """0.1234 -> '12.34%'."""
    return f"{100 * share:.{digits}f}%"


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would use."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
    )


# The figures of an epoch, their widths, and which are left out first where there is no room.
_FIGURES = {"train": 7, "train acc": 7, "valid": 7, "valid acc": 7}
_FIGURES |= {"firing": 6, "lr": 8, "time": 11}
_SPARE = ("lr", "time", "firing")
_HEADERS = (
    {"train": "train", "valid": "valid"},
    {"train": "loss", "train acc": "acc", "valid": "loss", "valid acc": "acc"}
    | {name: name for name in _SPARE},
)


def _epoch_line(name: str, figures: dict[str, str], end: str = "") -> str:
    cells = {key: f"{figures.get(key, ''):>{width}}" for key, width in _FIGURES.items()}
    for spare in _SPARE:
        if len(" ".join([name, *cells.values(), "best"])) > columns():
            del cells[spare]
    return " ".join([name, *cells.values(), end]).rstrip()


def log_epoch(
    epoch: int,
    last: int,
    train: Metrics,
    valid: Metrics,
    lr: float,
    is_best: bool,
    *,
    with_header: bool,
) -> None:
    """Log one line about an epoch; the progress bars show clips per second."""
    name = f"epoch {epoch:>{len(str(last))}}/{last}"
    if with_header:
        header = "\n".join(_epoch_line(" " * len(name), names) for names in _HEADERS)
        log.info(header, extra={"marks": [(header, BOLD)]})
    figures = {
        "train": f"{train.loss:.4f}",
        "train acc": percent(train.accuracy),
        "valid": f"{valid.loss:.4f}",
        "valid acc": percent(valid.accuracy),
        "firing": percent(valid.mean_rate, 1) if valid.firing_rates else "",
        "lr": f"{lr:.3g}",
        "time": duration(train.seconds),
    }
    line = _epoch_line(name, figures, "best" if is_best else "")
    log.info(line, extra={"marks": [("best", GREEN)]})


def closing_table(summary: dict) -> str:
    """The figures of a finished run (the content of summary.json)."""
    test = summary["test"]
    rows = [
        ("test accuracy", f"{percent(test['accuracy'])} {interval_in_words(**test)}"),
        ("test loss", f"{test['loss']:.4f}"),
        (
            "validation accuracy",
            f"{percent(summary['valid']['accuracy'])} at epoch {summary['best_epoch']}",
        ),
        ("validated on", summary["validated_on"]),
        ("protocol", protocol(summary["validated_on"])),
        *activity_rows(test),
        ("trainable parameters", f"{summary['parameters']:,}"),
    ]
    if summary["state_variables"] is not None:
        rows.append(("state variables", f"{summary['state_variables']:,}"))
    rows += [
        ("time per epoch", duration(summary["seconds_per_epoch"])),
        ("time in all", duration(summary["seconds"])),
    ]
    return table(rows, ["result", "value"])


def log_summary(summary: dict) -> None:
    """Log the closing table of a run."""
    text = closing_table(summary)
    accuracy = next(line for line in text.splitlines() if line.startswith("test accuracy"))
    log.info("\n%s\n", text, extra={"marks": [(accuracy, BOLD)]})


def interval_in_words(accuracy: float, samples: int, **_) -> str:
    """The confidence interval of an accuracy: '(95%: 55.2 to 95.3%, 12 clips)'."""
    low, high = wilson(accuracy, samples)
    return f"(95%: {100 * low:.1f} to {percent(high, 1)}, {samples:,} clips)"


def activity_rows(figures: dict) -> list[tuple[str, str]]:
    """Firing rate per layer and synaptic operations of spikes; multiply-accumulates."""
    rows = [
        (f"firing rate, layer {i}", f"{percent(rate)} per time step")
        for i, rate in enumerate(figures.get("firing_rates", []), start=1)
    ]
    if "sop" in figures:
        rows.append(("synaptic operations", f"{figures['sop']:,.0f} per clip"))
        if figures["recurrent_sop"]:
            rows.append(("  and recurrent ones", f"{figures['recurrent_sop']:,.0f} per clip"))
    if "mac" in figures:
        rows.append(("multiply-accumulates", f"{figures['mac']:,.0f} per clip"))
    return rows


class Stopped(BaseException):
    """Training was asked to stop, by the signal ``signum``, and saved its state."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum


class StopRequest:
    """Set by one of ``NAMES``; a second signal acts at once, as if there were no handler.

    Except SIGHUP, which the system and the shell both send when a terminal is closed.

    A batch system signals a script and the program in it, and the script passes it on: what comes
    within ``ECHO`` seconds is the first signal again, except for Ctrl-C, which a person presses.
    """

    def __init__(self):
        self.signum: int | None = None
        self.since = 0.0

    def handle(self, signum: int, frame) -> None:
        """Note the first signal; a second one acts as it does without a handler."""
        now = time.monotonic()
        if self.signum is None:
            self.signum, self.since = signum, now
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            what = signal.strsignal(signum)
            with contextlib.suppress(RuntimeError):  # the signal came in the middle of a print
                log.info("%s: stopping after this step; once more stops at once", what)
        elif now - self.since > ECHO and signum != HANG_UP:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    def check(self) -> None:
        """Raise Stopped if a signal has come."""
        if self.signum is not None:
            raise Stopped(self.signum)


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Listen to these signals, in the main thread only.

    SIGHUP stays ignored where it is, as under nohup.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    heard = [s for s in SIGNALS if s != HANG_UP or signal.getsignal(s) != signal.SIG_IGN]
    before = {signum: signal.signal(signum, request.handle) for signum in heard}
    try:
        yield request
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def exit_status(program: str, work: Callable[[], int]) -> int:
    """The exit status of ``work``, one line for every fault that is not ours."""

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
                "stopped, and the state is saved: the same command continues, with --resume auto "
                "where it has no --resume",
            )

    kept = "interrupted; what was finished is kept"
    return run_command(program, train, kept, needs_output=False)  # the log file has all
