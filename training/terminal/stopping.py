# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How a training ends: stopped from outside without losing a step, or by a fault, in one line."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

from parsers.program import run_command, tell, what_failed
from training.errors import DivergedError
from training.terminal.console import log

# SIGUSR1 is what a batch system is asked to send some time before it ends a job, SIGHUP what comes
# when a terminal or its connection is closed.
NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
HANG_UP = getattr(signal, "SIGHUP", None)
ECHO = 1.0  # s within which a signal sent from outside may arrive twice, and means the same


class Stopped(BaseException):
    """Training was asked to stop, and saved its state; ``signum`` says by what."""

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
        """Note the signal, or give a second one its own force."""
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
    """Listen to these signals (in the main thread; elsewhere nothing is listened to).

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
                "stopped, and the state is saved: the same command with --resume auto continues",
            )

    return run_command(program, train, interrupted="interrupted; what was finished is kept")
