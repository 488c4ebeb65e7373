# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What the terminal shows, and what becomes of a training when it is gone, or memory is short."""

import errno
import logging
import os
import signal
import sys
from unittest.mock import Mock

import pytest
import torch

from training.metrics import Meter
from training.terminal import console
from training.terminal.console import (
    LiveBar,
    Stopped,
    exit_status,
    log,
    start_logging,
    stop_request,
)


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
