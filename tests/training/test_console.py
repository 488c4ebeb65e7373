# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What becomes of a training whose terminal is gone, or which is stopped while it prints."""

import errno
import logging
import os
import signal
import sys

import pytest

from training.terminal.console import log, start_logging
from training.terminal.stopping import Stopped, stop_request


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


def test_a_closed_terminal_ends_no_training(saying):
    saying(OSError(errno.EIO, os.strerror(errno.EIO)))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_under_the_output_ends_no_training(saying, number):
    saying(OSError(number, os.strerror(number)))


def test_a_closed_pipe_does(saying):
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
