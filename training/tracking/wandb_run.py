# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The curves of a run on wandb: online, offline or not at all. The training survives its failures.

Logged once an epoch: ``{train,valid} {loss,acc,sparsity,sop}``, ``best valid acc``, ``lr``,
``train clips/s`` and ``epoch``; at the end ``test {loss,acc,sparsity,sop}``. Accuracies are shares,
sparsity is one minus the firing rate of the hidden layers, sop counts synaptic operations per clip.
"""

import contextlib
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from parsers.load import Config
from parsers.training_config import TrainingConfig
from training.errors import ExperimentError, StoppedEarlyError
from training.record import files
from training.terminal.console import Stopped, log

RUN_FILE = Path("wandb_run.json")
ONLINE, OFFLINE = "online", "offline"
PROBE_SECONDS = 4.0
# wandb reads its settings from the environment; what a user sets there comes first.
DEFAULTS = {
    "WANDB_SILENT": "true",  # we say in one line of our own what matters
    "WANDB_INIT_TIMEOUT": "20",
    "WANDB_FINISH_TIMEOUT": "30",
    "WANDB_FINISH_TIMEOUT_RAISES": "true",
}
LATER = "`wandb sync` sends it later"


class Link:
    """The mode of wandb in this process, determined once, when it is first needed."""

    known = False
    found: str | None = None

    def mode(self, options: TrainingConfig) -> str | None:
        """``"online"``, ``"offline"``, or None for no tracking, under the training options.

        Raises ExperimentError if ``--tracking wandb`` cannot be.
        """
        if asked_mode() == "disabled":
            return None
        if not self.known:
            self.found, self.known = find_mode(options.tracking), True
        return self.found

    def require(self, flag: str, options: TrainingConfig) -> None:
        """ExperimentError, with what is missing, unless ``flag`` finds the server it needs."""
        if wants_server(options.tracking):
            missing = importable() or server_problem()
        else:
            missing = "--tracking or WANDB_MODE turns it off"
        if missing is not None:
            raise ExperimentError(f"{flag} needs a wandb server and a login: {missing}")
        self.known, self.found = True, ONLINE

    def lose(self, why: str) -> None:
        """Continue offline in this process."""
        self.known, self.found = True, OFFLINE
        log.warning("%s: logging offline from here on, %s", why, LATER)


link = Link()


def asked_mode() -> str:
    """The mode that the environment asks for; "" if none."""
    return os.environ.get("WANDB_MODE", "").lower()


def in_sweep() -> bool:
    """Whether an agent has started this process."""
    return bool(os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"))


def project_name(dataset_name: str) -> str:
    """The wandb project of a data set, unless WANDB_PROJECT names one."""
    return os.environ.get("WANDB_PROJECT") or f"SiLIF_{dataset_name.upper()}_runs"


def wants_server(tracking: str) -> bool:
    """Whether ``--tracking`` and the environment let this process look for a server."""
    if asked_mode() == "disabled":
        return False
    return tracking == "wandb" or (tracking == "auto" and asked_mode() not in ("offline", "dryrun"))


def find_mode(tracking: str) -> str | None:
    """Decide between online, offline and None, and log the reason in one line if not online.

    Raises ExperimentError if ``--tracking wandb`` finds no server.
    """
    absent = importable()
    missing = absent or (server_problem() if wants_server(tracking) else None)
    if missing is None and wants_server(tracking):
        return ONLINE
    if tracking == "wandb":
        raise ExperimentError(f"--tracking wandb: {missing}; --tracking auto continues without it")
    if absent:
        log.info("%s: running without it (pip install -r requirements.txt)", absent)
        return None
    # An offline run sends nothing, its own crash reports included.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    log.info("wandb: %slogging offline, %s", f"{missing}; " if missing else "", LATER)
    return OFFLINE


def importable() -> str | None:
    """None if the wandb package can be used, under our settings, else what is wrong."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if not asked_mode():  # wandb refuses an empty one
        os.environ.pop("WANDB_MODE", None)
    try:
        import wandb
    except Exception as error:  # a broken installation raises anything
        return f"wandb cannot be imported ({type(error).__name__}: {error})"
    # A folder of the name wandb in the working directory imports as an empty package.
    return None if hasattr(wandb, "init") else "wandb is not installed"


def server_problem() -> str | None:
    """None if there is a login and the server answers, else what is missing. No prompt."""
    from wandb.errors import AuthenticationError
    from wandb.sdk.lib import wbauth

    base = server_settings().base_url
    try:
        login = wbauth.authenticate_session(
            host=base, source="main.py", prompt=False, update_session=False
        )
    except AuthenticationError as error:
        return f"the login cannot be used ({error})"
    if login is None:
        return "no login (`wandb login` makes one)"
    return None if answers(base) else f"{base} cannot be reached"


def server_settings():
    """wandb's settings, which know the server's address."""
    from wandb.sdk import wandb_setup

    return wandb_setup.singleton().settings  # wandb.setup() would start a process, and may hang


def answers(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether a web server answers at ``url``, whatever it says, within ``seconds``."""
    answered = threading.Event()

    def ask():
        try:
            urllib.request.urlopen(url, timeout=seconds).close()
            answered.set()
        except (OSError, ValueError) as error:
            # A certificate that only wandb's own settings accept is an answer, too.
            if isinstance(error, urllib.error.HTTPError) or "CERTIFICATE" in str(error).upper():
                answered.set()

    # In a thread, because looking up a name has no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


class Tracker:
    """Hands figures to a wandb run; without one (``run`` None) it does nothing."""

    def __init__(self, folder: Path):  # of the run, where it is noted what wandb has
        self.folder = folder
        self.run = None
        self.sent = 0  # last epoch that wandb has
        self.best = 0.0

    @contextlib.contextmanager
    def surviving(self, what: str) -> Iterator[None]:
        """Give up the run, and say so once, if wandb fails."""
        try:
            yield
        except (Exception, SystemExit) as error:  # wandb leaves by SystemExit when its process died
            import wandb

            where = getattr(self.run, "dir", None)
            self.run = None
            with contextlib.suppress(Exception, SystemExit):  # it may be what is broken
                wandb.teardown()  # the next run starts a new service process
            kept = f"; `wandb sync {Path(where).parent}` sends what it has" if where else ""
            log.warning(
                "wandb failed while %s (%s); training continues, and metrics.jsonl has all%s",
                what,
                one_line(error),
                kept,
            )

    def epoch(self, records: list[dict]) -> None:
        """Log an epoch: its records of metrics.jsonl, train and valid."""
        if self.run is None:
            return
        with self.surviving("logging an epoch"):
            row = {"epoch": records[0]["epoch"], "lr": records[0]["lr"]}
            for name, rate in records[0].get("lr_groups", {}).items():
                row[f"lr {name}"] = rate
            for name, width in records[0].get("sigma", {}).items():
                row[f"sigma {name}"] = width
            for record in records:
                row |= named_figures(record)
            self.best = max(self.best, row["valid acc"])
            row["best valid acc"] = self.best
            if row["epoch"] > self.sent:
                self.run.log(row)
                self.sent = row["epoch"]
                self.note()

    def end(self, summary: dict) -> None:
        """Log the test figures and sizes (the content of summary.json)."""
        if self.run is None:
            return
        with self.surviving("logging the test"):
            figures = named_figures({"split": "test", **summary["test"]})
            self.run.log(figures)
            self.run.summary.update(
                {**figures, **{name: summary[name] for name in ("best_epoch", "parameters")}}
            )

    def is_unwanted(self) -> bool:
        """Whether the server has stopped the run: early_terminate, or a person on its page."""
        with contextlib.suppress(Exception):  # wandb has no public way to ask
            checker = self.run._run_status_checker._stop_checker
            return checker._asyncer.run(checker._impl._check_should_stop)
        return False

    def note(self) -> None:
        """Write down which wandb run belongs to the folder, and how far it is."""
        content = {name: getattr(self.run, name) for name in ("id", "project", "entity")}
        files.write_json(self.folder / RUN_FILE, {**content, "epoch": self.sent})

    def finish(self, exit_code: int, *, preempted: bool = False) -> None:
        """End the run and wait, within limits, until all has arrived."""
        if self.run is None:
            return
        with self.surviving("sending the last figures"):
            if preempted and self.run.sweep_id and not self.is_unwanted():
                self.run.mark_preempting()  # the server gives the same run to the next agent
            self.run.finish(exit_code=exit_code)


def named_figures(record: dict) -> dict:
    """The figures of a record of metrics.jsonl under their published names."""
    split = record["split"]
    figures = {f"{split} loss": record["loss"], f"{split} acc": record["accuracy"]}
    if rates := record.get("firing_rates"):
        figures[f"{split} sparsity"] = 1 - sum(rates) / len(rates)
        figures[f"{split} sop"] = record["sop"]
    if split == "train":
        figures["train clips/s"] = record["samples"] / max(record["seconds"], 1e-9)
    return figures


@contextlib.contextmanager
def tracked(config: Config, folder: Path, history: list[dict]) -> Iterator[Tracker]:
    """A tracker for the run in ``folder``, until that run ends.

    Of ``history``, the records of the epochs done so far, what the server lacks is sent.
    """
    tracker = start(config, folder)
    for train, valid in zip(history[::2], history[1::2], strict=False):
        tracker.epoch([train, valid])
    try:
        yield tracker
    except Stopped as stopped:
        tracker.finish(128 + stopped.signum, preempted=True)
        raise
    except StoppedEarlyError:
        tracker.finish(0)
        raise
    except BaseException:
        tracker.finish(1)
        raise
    tracker.finish(0)


def send_finished(config: Config, folder: Path, summary: dict) -> None:
    """Send a run that an earlier process ended to the server."""
    records = files.read_lines(folder / "metrics.jsonl")
    history = [record for record in records if record["split"] != "test"]
    with tracked(config, folder, history) as tracker:
        tracker.end(summary)


def start(config: Config, folder: Path) -> Tracker:
    """Begin a wandb run, or continue the one that is noted in ``folder``."""
    if config.training.resume is None:
        (folder / RUN_FILE).unlink(missing_ok=True)
    mode = link.mode(config.training)
    tracker = Tracker(folder)
    if mode is None:
        return tracker
    with tracker.surviving("starting"):
        if mode == ONLINE:
            try:
                tracker.run = begin(config, folder, mode)
            except Exception as error:
                link.lose(f"wandb did not start a run ({one_line(error)})")
        if tracker.run is None:
            tracker.run = begin(config, folder, link.mode(config.training))
        if tracker.run.resumed:  # the server said what it has
            tracker.sent = int(tracker.run.summary.get("epoch") or 0)
        elif tracker.run.offline:
            tracker.sent = noted_run(folder).get("epoch", 0)
        tracker.note()
    return tracker


def begin(config: Config, folder: Path, mode: str):
    """Call ``wandb.init`` for the run in ``folder``."""
    import wandb

    noted = noted_run(folder)
    values = config.to_dict()
    names = {}
    if not in_sweep():  # a sweep sets these itself
        project = project_name(config.training.dataset_name)
        names = {"project": project, "entity": None, "id": None, **noted}
        names.pop("epoch", None)
    group = config.training.sweep_name or files.run_name(values, with_seed=False)
    run = wandb.init(
        **names,
        name=folder.name,
        group=group,
        dir=folder,
        config=values,
        mode=mode,
        resume="allow" if noted or in_sweep() else None,
        reinit="finish_previous",
        save_code=False,
    )
    run.define_metric("*", step_metric="epoch")
    if mode == ONLINE:
        log.info("wandb: %s", run.url)
    return run


def noted_run(folder: Path) -> dict:
    """What ``Tracker.note`` wrote; empty if there is nothing, or nothing readable."""
    try:
        return dict(json.loads((folder / RUN_FILE).read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError):
        return {}


def one_line(error: BaseException) -> str:
    """The first line of an error's text, not too long."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]
