# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A run of a grid and the process that makes it, see ``training.grid.worker``."""

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from training.record import files


@dataclass
class RunProcess:
    """A point of the grid, and its process once it has one.

    Args:
        number: of the point, from 1.
        name: what tells it from the others.
        values: its options.
        folder: where it is written down.
    """

    number: int
    name: str
    values: dict
    folder: Path
    process: subprocess.Popen | None = None
    output: BinaryIO | None = None  # what the process prints
    started: float = field(default_factory=time.monotonic)

    def start(self, device: int, environment: dict[str, str]) -> None:
        """Begin the run on the CUDA device of that number, if there is any."""
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the run is over)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "training.grid.worker"],
            stdin=subprocess.PIPE,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the parent, which passes it on
        )
        self.started = time.monotonic()
        order = {"values": {**self.values, "gpu_device": device}, "folder": str(self.folder)}
        with contextlib.suppress(BrokenPipeError):  # one that is dead already is found by poll()
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()

    def result(self, common: Path, *, stopped: bool) -> dict:
        """What has come of a process that has ended.

        Args:
            common: where its output is kept if it ended in an unforeseen way.
            stopped: whether it was asked to stop.
        """
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        result = {"folder": str(self.folder), "values": self.values}
        status = self.process.returncode
        summary = files.finished(self.folder, self.values) if status == 0 else None
        if summary is None:
            reason = "stopped" if stopped else self.reason(common)
            summary = {"error": reason, "exit_status": status}
        self.output.close()
        return {**result, **summary}

    def reason(self, common: Path) -> str:
        """Why the run has no summary, in one line; output that nobody foresaw is kept."""
        status, failure = self.process.returncode, self.folder / files.FAILURE
        if status == 1 and failure.is_file():
            return json.loads(failure.read_text(encoding="utf-8"))["diverged"]
        self.output.seek(0)
        printed = self.output.read().decode(errors="replace")
        last = printed.strip().splitlines()[-1] if printed.strip() else "it printed nothing"
        if status == 2:
            return last.removeprefix("training.grid.worker: error: ")
        kept = common / f"{self.folder.name}.output.log"
        files.create_plain(common)
        files.write_text(kept, printed)
        if status < 0:
            last = f"killed by {signal.Signals(-status).name}"
            if status == -signal.SIGKILL:
                last += ", as systems do that run out of memory"
        return f"exit status {status}: {last} (all its output: {kept})"
