# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Stopping a training from outside without losing a step."""

import contextlib
import signal
import threading
from collections.abc import Iterator

from training.console import log

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Training was asked to stop, and saved its state; ``signum`` says by what."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum


class StopRequest:
    """Set by SIGINT or SIGTERM; a second signal acts at once, as if nobody listened."""

    def __init__(self):
        self.signum: int | None = None

    def handle(self, signum: int, frame) -> None:
        """Note the signal, and give the next one back its own force."""
        self.signum = signum
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        log.info("%s: stopping after this step; once more stops at once", signal.strsignal(signum))

    def check(self) -> None:
        """Raise Stopped if a signal has come."""
        if self.signum is not None:
            raise Stopped(self.signum)


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Listen to SIGINT and SIGTERM (in the main thread; elsewhere nothing is listened to)."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {signum: signal.signal(signum, request.handle) for signum in SIGNALS}
    try:
        yield request
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
