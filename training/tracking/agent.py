# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""wandb's sweep agent in this process: it gets the jobs, and the main thread trains them.

wandb would train in a thread of its own, where signals do not reach a training; so its thread only
waits there, and a stop, by a signal or from the sweep's page, saves the run as it always does.
"""

import contextlib
import dataclasses
import json
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from parsers.load import Config, Plan
from parsers.training_config import TrainingConfig
from training.device.choice import determinism
from training.errors import ExperimentError
from training.record import files, folders
from training.terminal.console import log
from training.terminal.stopping import Stopped
from training.tracking.link import ONLINE, answers, host, in_sweep, link
from training.tracking.run import one_line, start_afresh
from training.tracking.sweep import SweepError, create, joined, locate, read_job, run_of, url_of

SWEEP_FILE = Path("wandb_sweep.json")
PATIENCE = 60.0  # s without a server before the sweep is given up
POLL = 0.1  # s
OF_A_JOB = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")
Train = Callable[[Config, Path], dict]  # the result of a run in its folder


class SweepLostError(Exception):
    """The server no longer gives out jobs."""


@dataclasses.dataclass
class Job:
    """One run that the server gave to this process."""

    run_id: str
    values: dict
    done: threading.Event = dataclasses.field(default_factory=threading.Event)
    stopped: bool = False  # from the sweep's page


class Agent:
    """Jobs of the sweep ``path`` (entity/project/id), at most ``count`` of them."""

    def __init__(self, path: str, count: int | None = None):
        from wandb.agents import pyagent

        self.wandb_agent = pyagent.Agent(path, function=self.take, count=count)
        self.waiting: queue.Queue[Job] = queue.Queue()
        self.closed = False
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self.run, name="wandb agent", daemon=True)

    def run(self) -> None:
        """wandb's agent, until the server has no more jobs."""
        try:
            self.wandb_agent.run()
        except Exception as error:
            self.error = error

    def take(self) -> None:
        """Called by wandb for each job: have it done in the main thread."""
        job = Job(os.environ["WANDB_RUN_ID"], read_job(os.environ["WANDB_SWEEP_PARAM_PATH"]))
        self.waiting.put(job)
        while not job.done.is_set() and not self.closed:
            try:
                job.done.wait(POLL)
            except Exception:  # wandb's way of telling this thread to stop
                job.stopped = True
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        self.reconnect()

    def reconnect(self) -> None:
        """Give the agent a new connection: its own may have died with the run that used it."""
        import wandb

        if self.closed or not answers(host()):
            return
        with contextlib.suppress(Exception), self.wandb_agent._api_lock:
            self.wandb_agent._api = wandb.Api()

    def jobs(self) -> Iterator[Job]:
        """Every job, in the main thread; the next one is asked for when it is done.

        Raises SweepLostError if the server is gone, or refuses.
        """
        self.thread.start()
        base = host()
        heard = asked = time.monotonic()
        try:
            while self.thread.is_alive() or not self.waiting.empty():
                try:
                    job = self.waiting.get(timeout=POLL)
                except queue.Empty:
                    now = time.monotonic()
                    if now - asked > PATIENCE / 6:
                        asked = now
                        heard = now if answers(base) else heard
                    if now - heard > PATIENCE:
                        raise SweepLostError(f"{base} no longer answers") from None
                    continue
                yield job
                job.done.set()
                heard = asked = time.monotonic()
        finally:
            self.close()
        if self.error is not None:
            raise SweepLostError(one_line(self.error))

    def close(self) -> None:
        """Take no more jobs, not even when the server comes back."""
        # There is no public way. An agent without threads to look after also leaves alone the
        # wandb run that this process may begin next.
        self.wandb_agent._exit_flag = True
        getattr(self.wandb_agent, "_run_threads", {}).clear()
        self.closed = True
        self.thread.join(1.0)
        for name in OF_A_JOB:  # a run that is trained next is none of the sweep's
            os.environ.pop(name, None)
        start_afresh()


def check_asked(options: TrainingConfig) -> None:
    """ExperimentError if the options ask for a sweep on the server that cannot be."""
    asked = [name for name in ("sweep_id", "only_createsweep") if getattr(options, name)]
    if not asked:
        return
    if len(asked) == 2:
        raise ExperimentError("--sweep_id joins a sweep and --only_createsweep makes one: choose")
    if options.evaluate_pretrained or options.debug:
        other = "evaluate_pretrained True" if options.evaluate_pretrained else "debug"
        raise ExperimentError(f"--{asked[0]} is about a sweep of trainings: leave out --{other}")
    link.require(f"--{asked[0]}", options)


def makes_sweep(plan: Plan, count: int) -> bool:
    """Whether ``count`` runs of ``plan`` go through the server, and not over a local grid."""
    options = plan.points[0].training
    if options.sweep_id:
        return True
    several = count > 1 and plan.jobs == 1 and len(plan.points) == len(plan.grid)
    return several and not in_sweep() and link.mode(options) == ONLINE


def only_create(plan: Plan) -> int:
    """Make the sweep and say how to join it; exit status 0."""
    announce(create(plan))
    return 0


def announce(path: str) -> None:
    """Say where a sweep is, and how others join it."""
    log.info("Sweep ID: %s", path)
    log.info("Sweep page: %s", url_of(path))
    log.info("To join it: python main.py --sweep_id %s, or: wandb agent %s", path, path)


def join_sweep(plan: Plan, train: Train) -> tuple[Plan, list[dict]]:
    """Train runs (point, folder) that the sweep ``--sweep_id`` gives to this process.

    Returns the plan that was followed, and the results.

    Raises SweepError where there is no such sweep, and ExperimentError where the options contradict
    it.
    """
    options = plan.points[0].training
    path, config = locate(options.sweep_id, options.dataset_name)
    plan = joined(plan, path, config)
    results: dict[str, dict] = {}
    try:
        deterministic = determinism(plan.points[0].training.deterministic)
        with deterministic, files_in(folders.sweep_folder(plan)):
            work(plan, Agent(path), train, results)
    except SweepLostError as error:
        if not results:
            raise SweepError(f"sweep {path} gives no run ({error})") from None
        log.error("Sweep %s is lost (%s); what was finished is kept", path, error)
    return plan, list(results.values())


def train_sweep(
    plan: Plan, runs: list[tuple[Config, Path]], common: Path, train: Train
) -> list[dict] | None:
    """Train the runs (point, folder) as a sweep that other processes may share.

    Returns the results of this process; None if the server takes no sweep, and a local grid has to
    do. If the server is lost on the way, the rest of the grid is trained here.
    """
    resuming = plan.points[0].training.resume is not None
    if resuming and all(folders.finished(folder, point.to_dict()) for point, folder in runs):
        return None
    folders.create_plain(common)
    try:
        path = (resuming and stored_sweep(plan, common)) or create(plan)
    except SweepError as error:
        link.lose(str(error))
        return None
    files.write_json(common / SWEEP_FILE, {"path": path, "axes": as_json(plan.axes)})
    announce(path)
    results: dict[str, dict] = {}
    try:
        with files_in(common):
            work(plan, Agent(path, count=len(runs)), train, results)
    except SweepLostError as error:
        link.lose(f"The sweep is lost ({error}), the rest of the grid is trained here")
        finish_rest(runs, train, results, also_new=True)
    if resuming:
        finish_rest(runs, train, results, also_new=False)
    if others := len(runs) - len(results):
        log.info("%d of %d runs were left to other agents", others, len(runs))
    return in_order(results, runs)


@contextlib.contextmanager
def files_in(folder: Path) -> Iterator[None]:
    """Have wandb's agent write its files in ``folder``, and not in the working directory."""
    given = os.environ.get("WANDB_DIR")
    os.environ["WANDB_DIR"] = given or str(folder.absolute())
    try:
        yield
    finally:
        if given is None:
            del os.environ["WANDB_DIR"]


def work(plan: Plan, agent: Agent, train: Train, results: dict[str, dict]) -> None:
    """Train what ``agent`` gets, one after another; ``results`` by folder.

    Raises SweepLostError, see ``Agent.jobs``.
    """
    with contextlib.closing(agent.jobs()) as jobs:
        for job in jobs:
            point, folder = run_of(plan, job.values, job.run_id)
            options = point.training
            folders.check_free([folder], options.overwrite or options.resume is not None)
            log.info("\nRun %s of the sweep: %s", job.run_id, folder.name)
            try:
                results[str(folder)] = train(point, folder)
            except Stopped:
                if not job.stopped:
                    raise
                stopped = {"error": "stopped from the page of the sweep; --resume goes on"}
                stopped |= {"folder": str(folder), "values": point.to_dict()}
                results[str(folder)] = stopped


def finish_rest(
    runs: list[tuple[Config, Path]], train: Train, results: dict[str, dict], *, also_new: bool
) -> None:
    """Train, without the server's word, runs that were begun and, if ``also_new``, the others."""
    for point, folder in runs:
        begun = (folder / "config.yaml").exists()
        if str(folder) in results or (begun and point.training.resume is None):
            continue  # done, or another agent's
        if begun or also_new:
            log.info("\nRun %s", folder.name)
            try:
                results[str(folder)] = train(point, folder)
            except ExperimentError as error:  # at work in another process
                log.warning("left out: %s", error)


def in_order(results: dict[str, dict], runs: list[tuple[Config, Path]]) -> list[dict]:
    """The results in the order of the grid."""
    place = {str(folder): number for number, (_, folder) in enumerate(runs)}
    return [results[name] for name in sorted(results, key=lambda name: place.get(name, len(place)))]


def stored_sweep(plan: Plan, common: Path) -> str | None:
    """The sweep that an earlier process made of the same grid; None if there is none."""
    try:
        stored = json.loads((common / SWEEP_FILE).read_text(encoding="utf-8"))
        return stored["path"] if stored["axes"] == as_json(plan.axes) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def as_json(axes: dict[str, tuple]) -> dict[str, list]:
    """The axes of a grid as a JSON file holds them."""
    return json.loads(json.dumps({name: list(values) for name, values in axes.items()}))
