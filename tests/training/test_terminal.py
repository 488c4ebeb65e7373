# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What the terminal shows, and what becomes of a training when it is gone, or memory is short."""

import errno
import io
import logging
import os
import signal
import sys
from unittest.mock import Mock

import pytest
import torch

from training.metrics import Meter, Metrics
from training.terminal import console
from training.terminal.console import (
    LiveBar,
    Stopped,
    exit_status,
    log,
    log_epoch,
    log_file,
    log_summary,
    start_logging,
    stop_request,
    table,
)

METRICS = Metrics(1000, 12.3456, 1.0, 754.2, firing_rates=[0.123, 0.4], sop=123456.0)
SUMMARY = {
    "test": {**METRICS.to_dict(), "recurrent_sop": 0},
    "valid": METRICS.to_dict(),
    "best_epoch": 100,
    "validated_on": "held-out speakers 2, 9, 14, 23, 31, 40, 47, 55, 63 of the training split",
    "parameters": 1234567,
    "state_variables": 2048,
    "seconds_per_epoch": 754.2,
    "seconds": 75420.0,
}


class Refusing:
    """A standard output that refuses every line."""

    def __init__(self, error):
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        """There is nothing to flush."""


@pytest.fixture
def saying(monkeypatch):
    """Set what printing raises, and say a line."""
    start_logging()

    def say(error):
        monkeypatch.setattr(sys, "stdout", Refusing(error))
        monkeypatch.setattr(sys, "stderr", Refusing(error))  # else it would be closed for real
        log.info("a line")

    return say


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_closed_terminal_and_a_full_disk_under_the_output_end_no_training(saying, number):
    saying(OSError(number, os.strerror(number)))


def test_a_closed_pipe_ends_it(saying):
    with pytest.raises(BrokenPipeError):
        saying(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))


def test_a_signal_in_the_middle_of_a_print_still_stops(monkeypatch):
    """Python refuses to print while it prints: the handler runs inside of the first one."""

    def refuse(self, record):
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stdout>'>")

    start_logging()
    monkeypatch.setattr(logging.Logger, "handle", refuse)
    with stop_request() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            stop.check()


def test_figures_are_those_of_the_clips_so_far(monkeypatch):
    shown = Mock(disable=False)
    monkeypatch.setattr(console, "progress_bar", lambda total, label: shown)
    monkeypatch.setattr(console, "BAR_REFRESH", -1.0)
    meter = Meter(torch.device("cpu"), [])

    def add(label):
        scores = torch.tensor([[2.0, 0.0]] * 4)
        meter.add(scores, torch.full((4,), label), torch.tensor(0.5))
        meter.samples += 4

    add(0)
    with LiveBar(12, "train", meter) as bar:
        for label in (1, 0):
            add(label)
            bar.advance(4)
    # An interrupted pass resumes where it was.
    assert [call.args[0] for call in shown.update.call_args_list] == [4, 4, 4]
    texts = [call.args[0] for call in shown.set_postfix_str.call_args_list]
    assert texts == ["loss 0.500 acc 50.0%", "loss 0.500 acc 66.7%"]
    shown.close.assert_called_once()


class Terminal(io.StringIO):
    """A standard output that a person reads."""

    def isatty(self):
        return True


def say_all(width, monkeypatch):
    """What a run says on a terminal of this width."""
    monkeypatch.setenv("COLUMNS", str(width))
    start_logging()
    for epoch in (1, 100):
        best = epoch == 100
        log_epoch(epoch, 100, METRICS, METRICS, 1.23e-5, best, with_header=epoch == 1)
    log_summary(SUMMARY)
    log.warning("Layer 2 fires at nearly every step: %s", "and so on " * 20)


@pytest.mark.parametrize("width", [60, 80])
def test_what_is_said_fits_the_terminal_and_breaks_no_word(width, monkeypatch, capsys):
    monkeypatch.setenv("NO_COLOR", "1")
    say_all(300, monkeypatch)
    whole = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdout", Terminal())
    say_all(width, monkeypatch)
    said = sys.stdout.getvalue()
    assert max(map(len, said.splitlines())) <= width
    assert {*said.replace("-", "").split()} <= {*whole.replace("-", "").split()}
    assert ("12 min 34 s" in said.split("result")[0]) == (width == 80)


def test_a_table_breaks_its_widest_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    rows = [("run", "a long text " * 4, "another " * 6), ("b", "short", "shorter")]
    text = table(rows, ["name", "first", "second"])
    assert max(map(len, text.splitlines())) <= 70
    assert text.split().count("another") == 6


@pytest.mark.parametrize("refused", [False, True])
def test_only_a_terminal_gets_colours(refused, monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    say_all(300, monkeypatch)
    assert "\x1b" not in capsys.readouterr().out
    if refused:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", Terminal())
    with log_file(tmp_path / "log"):
        say_all(300, monkeypatch)
    assert "\x1b" not in (tmp_path / "log").read_text()
    said = sys.stdout.getvalue()
    assert ("\x1b[32mbest\x1b[0m\n" in said) is not refused
    assert ("\x1b[33mLayer 2" in said) is not refused
    assert refused == ("\x1b" not in said)


CUDA = (
    "CUDA out of memory. Tried to allocate 12.50 GiB. GPU 0 has a total capacity of 79.11 GiB of "
    "which 3.02 GiB is free.\nIncluding non-PyTorch memory ..."
)


def out_of(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "amount"),
    [
        (torch.OutOfMemoryError(CUDA), "(12.50 GiB more were needed)"),
        (
            RuntimeError(
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 400 bytes."
            ),
            "(400 bytes more were needed)",
        ),
        (MemoryError(), "does not say"),
    ],
)
def test_a_lack_of_memory_names_its_causes_and_size(error, amount, capsys):
    assert exit_status("main.py", out_of(error)) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert amount in line
    for name in ("batch_size", "nb_steps", "nb_hiddens"):
        assert name in line


def test_other_errors_are_not_hidden():
    with pytest.raises(RuntimeError, match="mat1"):
        exit_status("main.py", out_of(RuntimeError("mat1 and mat2 shapes")))
