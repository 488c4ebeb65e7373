# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The runs of a grid side by side on one machine, each in a process of its own.

Such a process is started by ``python -m training.grid.parallel``. Standard input brings it one line
of JSON: the options of its run and the folder. When standard input ends, the program that started
it is gone, and the run saves its state and stops.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from parsers.load import Config, Plan
from parsers.program import stop_with_parent
from training.data.loading import DataCache, data_key
from training.device.choice import choose_device, determinism
from training.record import files
from training.record.recorder import draw_missing
from training.run import train_point
from training.terminal.console import (
    Stopped,
    StopRequest,
    duration,
    exit_status,
    log,
    percent,
    progress_bar,
    start_logging,
    stop_request,
)

PROGRAM = __spec__.name
PLACE = Path(__file__).resolve().parents[PROGRAM.count(".")]  # from where it is imported
THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
POLL = 0.1  # s between checks of the processes
REDRAW = 1.0  # s between updates of the bar


@dataclass
class RunProcess:
    """A point of the grid, and its process once it has one."""

    number: int  # of the point, from 1
    name: str  # the options that distinguish it from the others
    values: dict  # its options
    folder: Path
    process: subprocess.Popen | None = None
    output: BinaryIO | None = None  # what the process prints

    def start(self, device: int, environment: dict[str, str]) -> None:
        """Begin the run on the CUDA device of that number, if there is any."""
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the run is over)
        order = {"values": {**self.values, "gpu_device": device}, "folder": str(self.folder)}
        self.process = start_process(PROGRAM, order, self.output, environment)

    def result(self, common: Path, *, stopped: bool) -> dict:
        """The summary of a process that has ended, or why there is none; ``common`` is where its
        output is kept if it ended unexpectedly, without being ``stopped``."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        status = self.process.returncode
        summary = files.finished(self.folder, self.values) if status == 0 else None
        if summary is None:
            reason = "stopped" if stopped else self.reason(common)
            summary = {"error": reason, "exit_status": status}
        self.output.close()
        return {"folder": str(self.folder), "values": self.values, **summary}

    def reason(self, common: Path) -> str:
        """Why the run has no summary, in one line; the output of an unexpected end is kept."""
        status, failure = self.process.returncode, self.folder / files.FAILURE
        if status == 1 and failure.is_file():
            return json.loads(failure.read_text(encoding="utf-8"))["diverged"]
        self.output.seek(0)
        printed = self.output.read().decode(errors="replace")
        last = printed.strip().splitlines()[-1] if printed.strip() else "it printed nothing"
        if status == 2:
            return last.removeprefix(f"{PROGRAM}: error: ")
        kept = common / f"{self.folder.name}.output.log"
        files.create_plain(common)
        files.write_text(kept, printed)
        if status < 0:
            last = f"killed by {signal.Signals(-status).name}"
            if status == -signal.SIGKILL:
                last += ", as systems do that run out of memory"
        return f"exit status {status}: {last} (all its output: {kept})"


def train_points(plan: Plan, targets: list[Path], common: Path) -> list[dict]:
    """Train and test every point of ``plan``, ``plan.jobs`` at a time; their results in order.

    A run that dies leaves the others alone; its result says why, and its output is kept in
    ``common``. Raises Stopped after SIGINT or SIGTERM, when every run has saved its state, and
    DataError for a fault in the data, before any run.
    """
    waiting: deque[RunProcess] = deque()
    results: dict[int, dict] = {}
    for number, (point, folder) in enumerate(zip(plan.points, targets, strict=True), start=1):
        run = RunProcess(number, run_label(plan, point), point.to_dict(), folder)
        resumes = run.values["resume"] is not None
        if resumes and (summary := files.finished(folder, run.values)):
            draw_missing(folder, summary)
            results[number] = {"folder": str(folder), "values": run.values, **summary}
            log.info("%s: already finished", run.name)
        else:
            waiting.append(run)
    make_caches([plan.points[run.number - 1] for run in waiting])
    if waiting:
        slots = min(plan.jobs, len(waiting))
        threads = thread_limit(slots)
        log.info(
            "%d run%s, %d at a time, %d thread%s each; details in log/exp.log of a run's folder",
            len(waiting),
            "" if len(waiting) == 1 else "s",
            slots,
            threads,
            "" if threads == 1 else "s",
        )
        pool = Pool(plan.devices, slots, environment(threads), common)
        with stop_request() as stop:
            results |= pool.work_through(waiting, stop)
            if stop.signum is not None:
                raise Stopped(stop.signum)
    return [results[number] for number in sorted(results)]


def run_label(plan: Plan, point: Config) -> str:
    """The options that distinguish a run from the others: 'SiLIF seed 13'."""
    values = point.to_dict()
    return " ".join(
        str(values[axis]) if axis == "model_type" else f"{axis} {values[axis]}"
        for axis in plan.axes
    )


def make_caches(points: list[Config]) -> None:
    """Read every data set that these points need once, so that no two processes compute it.

    Raises DataError for a fault in the files.
    """
    for point in {data_key(point.training): point for point in points}.values():
        DataCache(torch.device("cpu")).get(point.training)


def thread_limit(slots: int) -> int:
    """Threads of each of ``slots`` processes that share the processors."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = [int(v) for name in THREAD_LIMITS if (v := os.environ.get(name, "")).isdigit()]
    return max(1, min([(cores or 1) // slots, *limits]))


def environment(threads: int) -> dict[str, str]:
    """The environment of a run's process."""
    path = os.pathsep.join(filter(None, [str(PLACE), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **dict.fromkeys(THREAD_LIMITS, str(threads)), "PYTHONPATH": path}


class Pool:
    """Processes that work through a queue of runs.

    Args:
        devices: CUDA devices, dealt out to the slots.
        slots: how many processes run at a time.
        environment: of the processes.
        common: where the output of a process that dies is kept.
    """

    def __init__(
        self, devices: tuple[int, ...], slots: int, environment: dict[str, str], common: Path
    ):
        self.devices, self.environment, self.common = devices, environment, common
        self.free = list(range(slots))
        self.running: dict[int, RunProcess] = {}  # by slot

    def work_through(self, waiting: deque[RunProcess], stop: StopRequest) -> dict[int, dict]:
        """Make every run; results by number. After a signal no run is begun, and all are stopped.

        Whatever happens, no process is left behind.
        """
        results, stopped, count, drawn = {}, False, len(waiting), 0.0
        epochs = {run.number: run.values["nb_epochs"] for run in waiting}
        bar = progress_bar(sum(epochs.values()), f"0 of {count} runs", unit=" epochs")
        try:
            while self.running or (waiting and stop.signum is None):
                while waiting and self.free and stop.signum is None:
                    run = waiting.popleft()
                    self.start(run)
                    log.info("started %s, %d still waiting", run.name, len(waiting))
                if stop.signum is not None and not stopped:
                    self.terminate()
                    stopped = True
                if not bar.disable and time.monotonic() - drawn > REDRAW:
                    found = [accuracies(run.folder) for run in self.running.values()]
                    bar.n = sum(epochs[number] for number in results) + sum(map(len, found))
                    latest = ", ".join(percent(run[-1]) for run in found if run)
                    bar.set_postfix_str(latest and f"validation {latest}", refresh=False)
                    bar.set_description_str(f"{len(results)} of {count} runs")
                    drawn = time.monotonic()
                time.sleep(POLL)
                for slot, run in list(self.running.items()):
                    if run.process.poll() is not None:
                        results[run.number] = self.finish(slot, stopped=stopped)
        finally:
            bar.close()
            self.terminate()
            for run in self.running.values():
                run.process.wait()
        return results

    def start(self, run: RunProcess) -> None:
        """Begin a run in a free slot."""
        slot = self.free.pop(0)
        run.start(self.devices[slot % len(self.devices)], self.environment)
        self.running[slot] = run

    def terminate(self) -> None:
        """Ask every process to save its state and stop."""
        for run in self.running.values():
            run.process.send_signal(signal.SIGTERM)

    def finish(self, slot: int, *, stopped: bool) -> dict:
        """Free the slot of a process that has ended; its result, also printed in one line."""
        run = self.running.pop(slot)
        self.free = sorted([*self.free, slot])
        result = run.result(self.common, stopped=stopped)
        end = result.get("error") or (
            f"test accuracy {percent(result['test']['accuracy'])}, best epoch "
            f"{result['best_epoch']} of {result['epochs']}, {duration(result['seconds'])}"
        )
        log.info("%s: %s", run.name, end)
        return result


def accuracies(folder: Path) -> list[float]:
    """The validation accuracy of each epoch that the run in ``folder`` has done."""
    records = files.read_lines(folder / "metrics.jsonl")
    return [record["accuracy"] for record in records if record.get("split") == "valid"]


def main() -> int:
    """Make the run that standard input describes; 0 if it ended with a summary."""
    return obey(PROGRAM, train)


def train(order: dict) -> int:
    """Train and test one point in its folder; 1 if it diverged."""
    point = Config.from_dict(order["values"])
    cache = DataCache(choose_device(point.training.gpu_device))
    with determinism(point.training.deterministic):
        result = train_point(point, Path(order["folder"]), cache, alone=False)
    return int("error" in result or "unwritten" in result)


def start_process(
    program: str, order: dict, output: BinaryIO, environment: dict[str, str]
) -> subprocess.Popen:
    """A process of ``program`` that obeys an ``order``, and prints to ``output``."""
    process = subprocess.Popen(
        [sys.executable, "-m", program],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the parent, which passes it on
    )
    with contextlib.suppress(BrokenPipeError):  # poll() finds one that is dead already
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
    return process


def obey(program: str, work: Callable[[dict], int]) -> int:
    """Exit status of ``work`` by the order that standard input has; ends with the parent."""
    order = json.loads(sys.stdin.readline())
    stop_with_parent()
    start_logging()
    return exit_status(program, lambda: work(order))


if __name__ == "__main__":
    sys.exit(main())
