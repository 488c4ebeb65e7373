# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Runs in folders, each with its figures or the reason why they do not count."""

import fnmatch
import json
import math
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from parsers.load import OPTIONS
from parsers.options import UserError
from training.errors import ExperimentError
from training.record import files
from training.results.groups import protocol_of

SWEEP_SUMMARIES = "sweep_summary*.json"  # processes that share a sweep write one each
MARKERS = ("config.yaml", "summary.json", "metrics.jsonl")
NOT_BEGUN = "no epoch is finished"
SKIPPED = {"checkpoints", "log", "wandb", "__pycache__"}


@dataclass
class GatheredRun:
    """One run: its options, the figures of summary.json, and what keeps it from being counted.

    ``trouble`` is None for a run that has ended as it should.
    """

    folder: Path
    values: dict
    summary: dict = field(default_factory=dict)
    trouble: str | None = None

    def result(self) -> dict:
        """As ``group_over_seeds`` takes it; without the figures of a run in trouble."""
        result = {"folder": str(self.folder), "values": self.values}
        return {**result, **({"error": self.trouble} if self.trouble else self.summary)}


def gather(places: Iterable[Path]) -> list[GatheredRun]:
    """Every run in these folders or below them, once each, in the order of their names.

    A folder with the table of a sweep stands for the runs of the sweep, wherever they are. Raises
    ExperimentError for a place that is no folder, or holds no run.
    """
    runs: dict[Path, GatheredRun] = {}
    for place in places:
        if not place.is_dir():
            problem = "is a file" if place.exists() else "does not exist"
            raise ExperimentError(f"{place} {problem}; name folders of runs or sweeps, or above")
        found = list(runs_below(place))
        if not found:
            raise ExperimentError(
                f"{place} holds no runs: no run has written a config.yaml in or below it"
            )
        for run in found:
            key = run.folder.resolve()
            if key not in runs or runs[key].trouble:
                runs[key] = run
    return list(runs.values())


def runs_below(place: Path) -> Iterable[GatheredRun]:
    """The runs in a folder and below it."""
    for root, names, content in os.walk(place):
        names[:] = sorted(n for n in names if n not in SKIPPED and not n.startswith("."))
        folder = Path(root)
        if any(marker in content for marker in MARKERS) and (run := read_run(folder)):
            yield run
        for name in sorted(fnmatch.filter(content, SWEEP_SUMMARIES)):
            yield from runs_of_sweep(folder / name)


def runs_of_sweep(path: Path) -> list[GatheredRun]:
    """The runs that a sweep names: from their own folders, or as the sweep recorded them."""
    try:
        records = json.loads(path.read_text(encoding="utf-8"))["runs"]
        return [run_of_record(record, path.parent) for record in records]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ExperimentError(
            f"{path} is damaged; remove it, or name the folders of its runs"
        ) from None


def run_of_record(record: dict, sweep: Path) -> GatheredRun:
    """One run as a sweep recorded it; its own folder, if found, takes precedence."""
    recorded = Path(record["folder"])
    for folder in (recorded, sweep / recorded.name, sweep.parent / recorded.name):
        if any((folder / marker).exists() for marker in MARKERS) and (run := read_run(folder)):
            return run
    values = {name: option.default for name, option in OPTIONS.items()} | record["values"]
    trouble = record.get("error")
    summary = {} if trouble else {**record, "values": values}
    return GatheredRun(recorded, values, summary, trouble or figures_trouble(summary, values))


def read_run(folder: Path) -> GatheredRun | None:
    """The run in a folder; None if its config.yaml belongs to some other program."""
    try:
        values = files.recorded_config(folder).to_dict()
    except UserError as error:
        ours = (folder / "summary.json").exists() or (folder / "metrics.jsonl").exists()
        trouble = f"cannot be read by this version of the code: {error}"
        return GatheredRun(folder, {}, trouble=trouble) if ours else None
    summary, trouble = read_summary(folder, values)
    return GatheredRun(folder, values, summary, trouble)


def read_summary(folder: Path, values: dict) -> tuple[dict, str | None]:
    """The figures of a run, and what is wrong with them."""
    path = folder / "summary.json"
    if not path.exists():
        return {}, why_unfinished(folder, values)
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        summary = None
    if not isinstance(summary, dict):
        return {}, "damaged: summary.json is not readable"
    trouble = figures_trouble(summary, values)
    tests = [record for record in history(folder) if record.get("split") == "test"]
    if trouble is None and tests and tests[-1].get("accuracy") != summary["test"]["accuracy"]:
        trouble = "damaged: summary.json and metrics.jsonl hold different test accuracies"
    return summary, trouble


def figures_trouble(summary: dict, values: dict) -> str | None:
    """Why the figures of a summary cannot be counted; None if they can."""
    try:
        accuracies = [summary[split]["accuracy"] for split in ("test", "valid")]
        numbers = [*accuracies, summary["test"]["loss"], summary["seconds"], summary["best_epoch"]]
        sound = all(math.isfinite(n) for n in numbers) and all(0 <= a <= 1 for a in accuracies)
        names = ("model_type", "dataset_name", "seed")
        other = next((name for name in names if summary[name] != values[name]), None)
        epochs = summary["epochs"]
    except (KeyError, TypeError):
        return "damaged: summary.json lacks figures"
    if not sound:
        return "damaged: summary.json holds impossible figures"
    if other:
        return f"damaged: config.yaml and summary.json hold different values of {other}"
    if epochs < values["nb_epochs"]:
        return f"unfinished: {epochs} of {values['nb_epochs']} epochs were asked for originally"
    return None


def why_unfinished(folder: Path, values: dict) -> str:
    """What is known of a run without a summary."""
    failure = folder / files.FAILURE
    if failure.exists():
        try:
            return json.loads(failure.read_text(encoding="utf-8"))["diverged"]
        except (OSError, ValueError, KeyError, TypeError):
            return f"damaged: {failure.name} is not readable"
    done = sum(record.get("split") == "valid" for record in history(folder))
    if is_running(folder):
        return f"still running: {done} of {values['nb_epochs']} epochs"
    return f"unfinished: {done} of {values['nb_epochs']} epochs" if done else NOT_BEGUN


def is_running(folder: Path) -> bool:
    """Whether the process that writes to ``folder`` is alive, as far as this machine can tell."""
    owner = folder / ".lock.owner"
    try:
        _, pid, _, host = owner.read_text(encoding="utf-8").split(maxsplit=3)
        if host != platform.node():
            return True
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def history(folder: Path) -> list[dict]:
    """The records of metrics.jsonl; none where it cannot be read."""
    try:
        return [r for r in files.read_lines(folder / "metrics.jsonl") if isinstance(r, dict)]
    except (OSError, UnicodeDecodeError):
        return []


def comparable(runs: list[GatheredRun], ignored: Iterable[str] = ()) -> list[str]:
    """Make the options of runs comparable, and name those that divide them into groups.

    Data are distinguished by their checksums, wherever they are, and a model that is named but not
    loaded makes no difference.
    """
    known: dict[str, str | None] = {}
    for run in runs:
        content = json.dumps(run.summary.get("data_checksums"), sort_keys=True)
        if content != "null":
            folder = run.values["data_folder"]
            if content not in known and folder in known.values():
                folder = f"{folder} (other content {len(known)})"
            run.values["data_folder"] = known.setdefault(content, folder)
        if run.values["start_epoch"] == 0:
            run.values["load_exp_folder"] = None
    return [name for name in OPTIONS if OPTIONS[name].rules.compared and name not in ignored]


def mark_repeated_seeds(runs: list[GatheredRun], axes: list[str]) -> None:
    """Count a seed once in each group: what comes later is in trouble."""
    first: dict[tuple, GatheredRun] = {}
    for run in runs:
        if run.trouble is None:
            key = (*(run.values[axis] for axis in axes), protocol_of(run.result()))
            key = (*key, run.values["seed"])
            same = first.setdefault(key, run)
            if same is not run:
                run.trouble = f"seed {run.values['seed']} is counted already, from {same.folder}"
