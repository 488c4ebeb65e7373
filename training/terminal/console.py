# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What the terminal and the log file see: lines, progress bars and tables."""

import contextlib
import errno
import logging
import sys
from collections import deque
from collections.abc import Iterator
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TextIO

import tabulate
from tqdm import tqdm

from parsers.program import flush, forget, forget_terminal
from training.metrics import Metrics

log = logging.getLogger("sprache")
tabulate.MIN_PADDING = 0  # headers no wider than they are: a table of results fits a terminal


class _BesideProgressBars(logging.Handler):
    """Prints records on stdout without tearing the progress bars of stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if sys.stdout is not None:
                tqdm.write(self.format(record), file=sys.stdout)
            flush()
        except BrokenPipeError:  # who reads the output has seen enough
            raise
        except OSError as error:  # a training goes on unheard; its log file tells
            if error.errno == errno.EIO:
                forget_terminal()
            else:
                forget(sys.stdout)


class _LogFile(WatchedFileHandler):
    """A log file that is opened anew where it was deleted, and never ends or disturbs a run."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        """Say nothing: a disk that is full is told by what matters more."""


class _BeforeTheFile(logging.Handler):
    """Keeps what is said while no log file is open: it is the beginning of the next one."""

    def __init__(self):
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=1000)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def add(self, records: list[logging.LogRecord]) -> None:
        """Keep what was said before, but for what is kept already."""
        self.records.extend(record for record in records if record not in self.records)

    def hand_over(self, handler: logging.Handler) -> None:
        """Empty into ``handler``."""
        while self.records:
            handler.handle(self.records.popleft())


_before = _BeforeTheFile()


def start_logging() -> None:
    """Send what the program says to the terminal; calling it again changes nothing."""
    log.setLevel(logging.INFO)
    log.propagate = False
    if not log.handlers:
        log.addHandler(_BesideProgressBars())
        log.addHandler(_before)


@contextlib.contextmanager
def log_file(path: Path | None) -> Iterator[None]:
    """Also append everything said to ``path``, with the time; None: no file.

    That includes what was said since the program began, or the last file was closed.
    """
    if path is None:
        yield
        return
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
    _before.hand_over(handler)
    others = log.handlers
    log.handlers = [*(other for other in others if other is not _before), handler]
    try:
        yield
    finally:
        log.handlers = others
        handler.close()


class Remembered:
    """What is said while something is made belongs into the log of every run that uses it.

    ``with remembered.making(): ...``, and ``remembered.repeat()`` before each run.
    """

    def __init__(self):
        self.records: list[logging.LogRecord] = []

    @contextlib.contextmanager
    def making(self) -> Iterator[None]:
        """Forget what was, and remember what is said now."""
        self.records = []
        handler = logging.Handler()
        handler.emit = self.records.append
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)

    def repeat(self) -> None:
        """Begin the next log file with it; the terminal has seen it."""
        _before.add(self.records)


_bars = {"disable": None, "dynamic_ncols": True}  # None: none where nobody looks


def send_progress(stream: TextIO, columns: int) -> None:
    """From now on draw progress bars to ``stream``, though it is no terminal."""
    _bars.clear()
    _bars.update(file=stream, ncols=columns, disable=False, ascii=False)


def progress_bar(total: int, label: str) -> tqdm:
    """A bar over ``total`` clips that disappears when it is done."""
    return tqdm(total=total, desc=label, unit=" clips", leave=False, **_bars)


def table(rows: list[tuple], headers: list[str], *, numbers: int = 0, kind: str = "simple") -> str:
    """An aligned table, in a format of tabulate; the last ``numbers`` columns end flush."""
    align = ["left"] * (len(headers) - numbers) + ["right"] * numbers
    return tabulate.tabulate(rows, headers, tablefmt=kind, disable_numparse=True, colalign=align)


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


_EPOCH = "{:<13}  {:>10} {:>7}  {:>10} {:>7}  {:>6}  {:>8}  {:>11}  {}"
EPOCH_HEADER = _EPOCH.format(
    "", "train loss", "acc", "valid loss", "acc", "firing", "lr", "training", ""
).rstrip()


def epoch_line(
    epoch: int, last: int, train: Metrics, valid: Metrics, lr: float, is_best: bool
) -> str:
    """One line that tells an epoch, under ``EPOCH_HEADER``; the progress bars tell clips per s."""
    return _EPOCH.format(
        f"epoch {epoch:>{len(str(last))}}/{last}",
        f"{train.loss:.4f}",
        percent(train.accuracy),
        f"{valid.loss:.4f}",
        percent(valid.accuracy),
        percent(valid.mean_rate, 1) if valid.firing_rates else "",
        f"{lr:.3g}",
        duration(train.seconds),
        "best" if is_best else "",
    ).rstrip()


def closing_table(summary: dict) -> str:
    """The figures of a finished run (the content of summary.json)."""
    test = summary["test"]
    rows = [
        ("test accuracy", percent(test["accuracy"])),
        ("test loss", f"{test['loss']:.4f}"),
        (
            "validation accuracy",
            f"{percent(summary['valid']['accuracy'])} at epoch {summary['best_epoch']}",
        ),
        ("validated on", summary["validated_on"]),
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


def activity_rows(figures: dict) -> list[tuple[str, str]]:
    """Firing rate per layer and synaptic operations; empty for a network without spikes."""
    rows = [
        (f"firing rate, layer {i}", f"{percent(rate)} per time step")
        for i, rate in enumerate(figures.get("firing_rates", []), start=1)
    ]
    if "sop" in figures:
        rows.append(("synaptic operations", f"{figures['sop']:,.0f} per clip"))
        if figures["recurrent_sop"]:
            rows.append(("  and recurrent ones", f"{figures['recurrent_sop']:,.0f} per clip"))
    return rows
