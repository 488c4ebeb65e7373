# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What every program does first, before imports that take seconds.

A program begins with it, above its imports::

    if __name__ == "__main__":
        from parsers.start import start

        start()
"""

import contextlib
import errno
import gc
import io
import os
import signal
import sys
import warnings
from typing import NoReturn, TextIO


def start() -> None:
    """Set up the environment, the standard streams and Ctrl-C of a program."""
    # Until `parsers.program.run_command`: what is imported stays, and looking through it again and
    # again for what could be freed takes a sixth of the time to a first step.
    gc.disable()
    # PyTorch's idle threads spin by default; beside any other load that made epochs 8 times longer.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Pictures go into files; a notebook's back end may not even be installed here.
    os.environ["MPLBACKEND"] = "agg"
    # Where the font of pictures lacks the letters of a name, boxes stand for them, and the page
    # beside them has the name.
    warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
    find_room_for_caches()
    plug_closed_numbers()
    ready_streams()
    sys.stdout, sys.stderr = (lasting(stream) for stream in (sys.stdout, sys.stderr))
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)
    try:
        os.getcwd()
    except OSError:
        end("error: the working directory is gone: cd to one that exists", 2)


def find_room_for_caches() -> None:
    """Let libraries keep what they compile in /tmp where the user, as in many containers, has no
    home to write to: Numba would make a folder named ~ here, or end with an error."""
    home = os.path.expanduser("~")
    if os.name == "nt" or any(os.access(f"{home}{below}", os.W_OK) for below in ("", "/.cache")):
        return
    folder = f"{os.environ.get('TMPDIR') or '/tmp'}/sprache-{os.getuid()}"
    with contextlib.suppress(OSError):
        os.mkdir(folder, 0o700)
    with contextlib.suppress(OSError):
        if os.lstat(folder).st_uid == os.getuid():  # nobody else's, who could put code there
            os.environ.setdefault("XDG_CACHE_HOME", folder)
            os.environ.setdefault("MPLCONFIGDIR", folder)


def leave(signum: int, frame: object) -> NoReturn:
    """End at Ctrl-C while there is nothing to tidy up: until `parsers.program.run_command`."""
    end("interrupted", 128 + signum)


def end(line: str, status: int) -> NoReturn:
    """End the program at once, with one line."""
    spec = sys.modules["__main__"].__spec__
    name = os.path.basename(sys.argv[0]) if spec is None else spec.name.removesuffix(".__main__")
    with contextlib.suppress(OSError):
        os.write(2, f"{name}: {line}\n".encode())
    os._exit(status)


def plug_closed_numbers() -> None:
    """Let the numbers of streams that were closed (``2>&-``) lead nowhere: otherwise the next file
    that is opened gets one, and what a library prints goes into it."""
    number = os.open(os.devnull, os.O_RDWR)
    while number <= 2:
        os.set_inheritable(number, True)
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)


def ready_streams() -> None:
    """Let lines be printed where there is no standard stream, or one of few characters: ? stands
    for others."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper) and not stream.errors.endswith("replace"):
            stream.reconfigure(errors="replace")


class Lasting(io.FileIO):
    """A stream that takes what a full disk or a closed terminal refuses; a pipe still breaks."""

    fault: OSError | None = None  # why something was lost

    def write(self, data: bytes) -> int | None:
        """As the method of `io.FileIO`."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            self.fault = error
            return len(data)


def lasting(stream: TextIO) -> TextIO:
    """``stream`` so that no disk or terminal that refuses a line ends the program."""
    if type(raw_of(stream)) is not io.FileIO or stream not in (sys.__stdout__, sys.__stderr__):
        return stream  # not the system's, or replaced already
    stream.flush()
    file = Lasting(stream.fileno(), "w", closefd=False)
    buffer = file if stream.write_through else io.BufferedWriter(file)
    options = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
    return io.TextIOWrapper(buffer, stream.encoding, stream.errors, **options)


def fault_of(stream: TextIO) -> OSError | None:
    """Why something that was printed on ``stream`` was lost; None if nothing was."""
    return getattr(raw_of(stream), "fault", None)


def raw_of(stream: TextIO) -> io.RawIOBase | None:
    """The unbuffered file under ``stream``, if there is one."""
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)  # no buffer with ``python -u``
