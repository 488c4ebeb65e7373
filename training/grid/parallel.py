# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The runs of a grid side by side on one machine, each in a process of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import torch

from parsers.load import Config, Plan
from training.data.loading import DataCache, data_key
from training.grid.live_lines import LiveLines
from training.record import files, folders
from training.terminal.console import duration, log, percent
from training.terminal.stopping import Stopped, StopRequest, stop_request

REPOSITORY = Path(__file__).resolve().parents[2]
THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
POLL = 0.1  # s between two looks at the processes


@dataclass
class Run:
    """A point of the grid, and its process once it has one."""

    number: int  # from 1
    name: str
    values: dict
    folder: Path
    slot: int = 0
    process: subprocess.Popen | None = None
    output: BinaryIO | None = None  # what the process prints
    progress: int | None = None  # where it draws its progress bar
    started: float = field(default_factory=time.monotonic)


def train_points(plan: Plan, targets: list[Path], common: Path) -> list[dict]:
    """Train and test every point of ``plan``, ``plan.jobs`` at a time; their results in order.

    A run that dies leaves the others alone; its result says why, and its output is kept in
    ``common``. Raises Stopped after SIGINT or SIGTERM, when every run has saved its state, and
    DataError for a fault in the data, before any run.
    """
    waiting = deque(
        Run(number, run_label(plan, point), point.to_dict(), folder)
        for number, (point, folder) in enumerate(zip(plan.points, targets, strict=True), start=1)
    )
    results: dict[int, dict] = {}
    for run in [run for run in waiting if run.values["resume"] is not None]:
        if summary := folders.finished(run.folder, run.values):
            results[run.number] = {**result_of(run), **summary}
            log.info("%s: finished before", run.name)
            waiting.remove(run)
    make_caches([plan.points[run.number - 1] for run in waiting])
    slots = min(plan.jobs, len(waiting))
    if slots:
        environment = thread_limits(slots)
        threads = environment[THREAD_LIMITS[0]]
        log.info(
            "%d runs, %d at a time, %s thread%s each; log/exp.log in a run's folder tells more",
            len(waiting),
            slots,
            threads,
            "" if threads == "1" else "s",
        )
        names = [run.name for run in waiting]
        pool = Pool(plan.devices, environment, common, len(targets), LiveLines(slots, names))
        with stop_request() as stop:
            results |= pool.work_off(waiting, stop)
            if stop.signum is not None:
                raise Stopped(stop.signum)
    return [results[number] for number in sorted(results)]


def run_label(plan: Plan, point: Config) -> str:
    """What tells a run from the others: 'SiLIF seed 13'."""
    values = point.to_dict()
    return " ".join(
        str(values[axis]) if axis == "model_type" else f"{axis} {values[axis]}"
        for axis in plan.axes
    )


def result_of(run: Run) -> dict:
    """How the result of every run begins."""
    return {"folder": str(run.folder), "values": run.values}


def make_caches(points: list) -> None:
    """Read every data set that these points need once, so that no two processes compute it.

    Raises DataError for a fault in the files.
    """
    for point in {data_key(point.training): point for point in points}.values():
        DataCache(torch.device("cpu")).get(point.training)


def thread_limits(slots: int) -> dict[str, str]:
    """Environment variables that share the processors among ``slots`` processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = [int(v) for name in THREAD_LIMITS if (v := os.environ.get(name, "")).isdigit()]
    return dict.fromkeys(THREAD_LIMITS, str(max(1, min([(cores or 1) // slots, *limits]))))


class Pool:
    """Processes that work off a queue of runs.

    Args:
        devices: CUDA devices, dealt out to the slots.
        environment: variables of the processes beside the present ones.
        common: where the output of a process that dies is kept.
        count: runs of the whole grid.
        lines: what the terminal shows; it has one slot for each process.
    """

    def __init__(
        self,
        devices: tuple[int, ...],
        environment: dict[str, str],
        common: Path,
        count: int,
        lines: LiveLines,
    ):
        self.devices, self.common, self.count, self.lines = devices, common, count, lines
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        self.environment = {**os.environ, **environment, "PYTHONPATH": path}
        self.free = list(range(lines.slots))
        self.running: list[Run] = []

    def work_off(self, waiting: deque[Run], stop: StopRequest) -> dict[int, dict]:
        """Make every run; results by number. After a signal no run is begun, and all are stopped.

        Whatever happens here, no process is left behind.
        """
        results, told = {}, False
        try:
            while self.running or (waiting and stop.signum is None):
                while waiting and self.free and stop.signum is None:
                    self.start(waiting.popleft())
                if stop.signum is not None and not told:
                    self.tell(signal.SIGTERM)
                    told = True
                time.sleep(POLL)
                self.lines.show(self.running, len(waiting), self.count)
                for run in [run for run in self.running if run.process.poll() is not None]:
                    results[run.number] = self.finish(run, stopped=told)
        finally:
            self.lines.close()
            self.tell(signal.SIGTERM)
            for run in self.running:
                run.process.wait()
        return results

    def start(self, run: Run) -> None:
        """Begin a run in a free slot."""
        run.slot = self.free.pop(0)
        device = self.devices[run.slot % len(self.devices)]
        run.output = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the run is over)
        run.progress, drawn = self.lines.pipe()
        run.process = subprocess.Popen(
            [sys.executable, "-m", "training.grid.worker"],
            stdin=subprocess.PIPE,
            stdout=run.output,
            stderr=subprocess.STDOUT,
            env=self.environment,
            start_new_session=True,  # Ctrl-C is for this process, which passes it on
            pass_fds=() if drawn is None else (drawn,),
        )
        order = {
            "values": {**run.values, "gpu_device": device},
            "folder": str(run.folder),
            "progress": drawn,
            "columns": self.lines.columns(),
        }
        with contextlib.suppress(BrokenPipeError):  # one that is dead already is found so below
            run.process.stdin.write(json.dumps(order).encode() + b"\n")
            run.process.stdin.flush()
        if drawn is not None:
            os.close(drawn)
        run.started = time.monotonic()
        self.running.append(run)
        if not self.lines.live:
            log.info("started %s (run %d of %d)", run.name, run.number, self.count)

    def tell(self, signum: int) -> None:
        """Send a signal to every process."""
        for run in self.running:
            run.process.send_signal(signum)

    def finish(self, run: Run, *, stopped: bool) -> dict:
        """Take in a process that has ended: its result, told in one line."""
        self.running.remove(run)
        self.free = sorted([*self.free, run.slot])
        self.lines.forget(run)
        status = run.process.returncode
        with contextlib.suppress(BrokenPipeError):
            run.process.stdin.close()
        summary = folders.finished(run.folder, run.values) if status == 0 else None
        if summary is not None:
            log.info("%s: %s", run.name, success_line(summary))
            result = {**result_of(run), **summary}
        else:
            reason = "stopped" if stopped else self.reason(run, status)
            log.info("%s: %s", run.name, reason)
            result = {**result_of(run), "error": reason, "exit_status": status}
        run.output.close()
        return result

    def reason(self, run: Run, status: int) -> str:
        """Why a run has no summary, in one line; output that nobody foresaw is kept."""
        if status == 1 and (run.folder / folders.FAILURE).is_file():
            return json.loads((run.folder / folders.FAILURE).read_text(encoding="utf-8"))[
                "diverged"
            ]
        run.output.seek(0)
        said = run.output.read().decode(errors="replace")
        last = said.strip().splitlines()[-1] if said.strip() else "it said nothing"
        if status == 2:
            return last.removeprefix("training.grid.worker: error: ")
        kept = self.common / f"{run.folder.name}.output.log"
        folders.create_plain(self.common)
        files.write_text(kept, said)
        if status < 0:
            last = f"killed by {signal.Signals(-status).name}"
            if status == -signal.SIGKILL:
                last += ", as systems do that run out of memory"
        return f"exit status {status}: {last} (all it said: {kept})"


def success_line(summary: dict) -> str:
    """The end of a run in one line."""
    return (
        f"test accuracy {percent(summary['test']['accuracy'])}, best epoch "
        f"{summary['best_epoch']} of {summary['epochs']}, {duration(summary['seconds'])}"
    )
