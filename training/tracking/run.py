# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The curves of a run on wandb. Whatever fails there, the training goes on.

Logged once an epoch: ``{train,valid} {loss,acc,sparsity,sop}``, ``best valid acc``, ``lr``,
``train clips/s`` and ``epoch``; at the end ``test {loss,acc,sparsity,sop}``. Accuracies are shares,
sparsity is one minus the firing rate of the hidden layers, sop counts synaptic operations per clip.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from parsers.load import Config
from training.record import files
from training.terminal.console import Stopped, log
from training.tracking.link import ONLINE, in_sweep, link, project_name

RUN_FILE = Path("wandb_run.json")


class Tracker:
    """Hands figures to a wandb run; without one (``run`` None) it does nothing.

    Args:
        folder: of the run, where it is noted what wandb has got.
    """

    def __init__(self, folder: Path):
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
            where = getattr(self.run, "dir", None)
            self.run = None
            start_afresh()
            kept = f"; `wandb sync {Path(where).parent}` sends what it has" if where else ""
            log.warning(
                "wandb failed while %s (%s); the training goes on, and metrics.jsonl has all%s",
                what,
                one_line(error),
                kept,
            )

    def epoch(self, records: list[dict]) -> None:
        """Log an epoch: its records of metrics.jsonl, train and valid."""
        row = {"epoch": records[0]["epoch"], "lr": records[0]["lr"]}
        for record in records:
            row |= named_figures(record)
        self.best = max(self.best, row["valid acc"])
        row["best valid acc"] = self.best
        if self.run is None or row["epoch"] <= self.sent:
            return
        with self.surviving("logging an epoch"):
            self.run.log(row)
            self.sent = row["epoch"]
            self.note()

    def end(self, summary: dict) -> None:
        """Log the test figures and sizes (the content of summary.json)."""
        if self.run is None:
            return
        figures = named_figures({"split": "test", **summary["test"]})
        with self.surviving("logging the test"):
            self.run.log(figures)
            self.run.summary.update(
                {**figures, **{name: summary[name] for name in ("best_epoch", "parameters")}}
            )

    def note(self) -> None:
        """Write down which wandb run belongs to the folder, and how far it is."""
        content = {name: getattr(self.run, name) for name in ("id", "project", "entity")}
        files.write_json(self.folder / RUN_FILE, {**content, "epoch": self.sent})

    def finish(self, exit_code: int, *, preempted: bool = False) -> None:
        """End the run and wait, within limits, until all has arrived."""
        if self.run is None:
            return
        with self.surviving("sending the last figures"):
            if preempted and self.run.sweep_id:
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

    ``history`` holds the records of the epochs that are done already; those that the server lacks
    are sent.
    """
    tracker = start(config, folder)
    for train, valid in zip(history[::2], history[1::2], strict=False):
        tracker.epoch([train, valid])
    try:
        yield tracker
    except Stopped as stopped:
        tracker.finish(128 + stopped.signum, preempted=True)
        raise
    except BaseException:
        tracker.finish(1)
        raise
    tracker.finish(0)


def send_finished(config: Config, folder: Path, summary: dict) -> None:
    """Let the server have a run that an earlier process ended."""
    records = files.read_lines(folder / "metrics.jsonl")
    history = [record for record in records if record["split"] != "test"]
    with tracked(config, folder, history) as tracker:
        tracker.end(summary)


def start(config: Config, folder: Path) -> Tracker:
    """Begin a wandb run, or go on with the one that is noted in ``folder``."""
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
        if tracker.run.resumed:  # the server has told what it has
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
        names = {
            "project": noted.get("project") or project_name(config.training.dataset_name),
            "entity": noted.get("entity"),
            "id": noted.get("id"),
        }
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
        noted = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def start_afresh() -> None:
    """Let wandb's process go, so that the next run in this one has a new one."""
    import wandb

    with contextlib.suppress(Exception, SystemExit):  # it may be what is broken
        wandb.teardown()


def one_line(error: BaseException) -> str:
    """The first line of an error's text, not too long."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]
