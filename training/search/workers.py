# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Processes that share the trials of a search on one machine.

Such a process is started by ``python -m training.search.workers``. Standard input brings it one
line of JSON: the folder of the search, the CUDA device, and where curves are logged. When standard
input ends, the program that started it is gone, and the process saves its trial and stops.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from parsers.load import Plan
from training.data.loading import DataCache
from training.device.choice import choose_device, determinism
from training.errors import ExperimentError
from training.grid.parallel import (
    POLL,
    REDRAW,
    environment,
    obey,
    start_process,
    thread_limit,
)
from training.search.folder import searched_in
from training.search.study import Record, Trials
from training.search.work import end_in_words, work_through
from training.terminal.console import (
    Stopped,
    log,
    percent,
    progress_bar,
    stop_request,
)

PROGRAM = "training.search.workers"


@dataclass
class Worker:
    """A process that makes trials, and the file with all that it prints."""

    process: subprocess.Popen
    output: Path

    def last_line(self) -> str:
        """The last that it printed."""
        lines = self.output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"


def share(plan: Plan, trials: Trials, folder: Path) -> None:
    """Let ``plan.jobs`` processes make all trials; say how each ends.

    Raises Stopped after a signal, when every trial under way has saved its state, and
    ExperimentError if a process failed.
    """
    left = [record for record in trials.records() if not record.has_ended]
    slots = min(plan.jobs, len(left))
    threads = thread_limit(slots)
    log.info(
        "%d trial%s, %d at a time, %d thread%s each; details in worker_*.log of %s",
        len(left),
        "" if len(left) == 1 else "s",
        slots,
        threads,
        "" if threads == 1 else "s",
        folder,
    )
    tracking = plan.points[0].training.tracking
    with ExitStack() as stack, stop_request() as stop:
        pool = []
        for slot in range(slots):
            order = {"folder": str(folder), "tracking": tracking}
            order["device"] = plan.devices[slot % len(plan.devices)]
            pool.append(start_worker(stack, order, folder / f"worker_{slot + 1}.log", threads))
        watch(pool, trials, {record.number for record in left}, stop)
        if stop.signum is not None:
            raise Stopped(stop.signum)
    for worker in pool:
        if status := worker.process.returncode:
            why = f"killed by {signal.Signals(-status).name}" if status < 0 else worker.last_line()
            raise ExperimentError(
                f"a process of the search ended early: {why} (all its output: {worker.output}); "
                "the same command again goes on"
            )


def start_worker(stack: ExitStack, order: dict, output: Path, threads: int) -> Worker:
    """A process that makes trials, which ends with ``stack``."""
    file = stack.enter_context(output.open("ab"))
    process = start_process(PROGRAM, order, file, environment(threads))
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return Worker(process, output)


def watch(pool: list[Worker], trials: Trials, awaited: set[int], stop) -> None:
    """Wait for the processes; say how each of the trials ``awaited`` ends. A signal stops all."""
    bar = progress_bar(len(awaited), "trials", unit=" trials")
    drawn, is_stopped = 0.0, False
    try:
        while any(worker.process.poll() is None for worker in pool):
            if stop.signum is not None and not is_stopped:
                is_stopped = True
                for worker in pool:
                    worker.process.terminate()
            if time.monotonic() - drawn > REDRAW:
                announce(trials.records(), awaited, bar)
                drawn = time.monotonic()
            time.sleep(POLL)
        announce(trials.records(), awaited, bar)
    finally:
        bar.close()


def announce(records: list[Record], awaited: set[int], bar) -> None:
    """Say how trials ended that were still ``awaited``, and show the best accuracy so far."""
    for record in records:
        if record.number in awaited and record.has_ended:
            awaited.remove(record.number)
            log.info("Trial %d: %s", record.number, end_in_words(record))
            bar.update(1)
    best = max((r.accuracy for r in records if r.is_complete), default=None)
    if best is not None:
        bar.set_postfix_str(f"best validation {percent(best)}")


def main() -> int:
    """Make trials of the search that standard input names, until none is left."""
    return obey(PROGRAM, work)


def work(order: dict) -> int:
    """Make trials of a search until none is left."""
    folder = Path(order["folder"])
    plan = searched_in(folder, tracking=order["tracking"], gpu_device=order["device"])
    device = choose_device(order["device"])
    trials = Trials(folder, plan.search)
    with determinism(plan.points[0].training.deterministic):
        work_through(plan, trials, range(1, plan.search.trials + 1), DataCache(device))
    return 0


if __name__ == "__main__":
    sys.exit(main())
