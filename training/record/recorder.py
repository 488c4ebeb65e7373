# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Writing down a run as it trains: what a disk refuses does not end the training."""

import contextlib
import csv
import io
import platform
import subprocess
import time
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

from datasets.interface import Data
from models.network import Network
from parsers.load import Config
from training.data.loading import data_record
from training.errors import ExperimentError
from training.metrics import Metrics, count_parameters, protocol, wilson
from training.record import checkpoint, files
from training.record.checkpoint import Best, Progress, Trained
from training.record.curves import draw_curves
from training.record.files import continuing_without
from training.terminal.console import log

REPOSITORY = Path(__file__).resolve().parents[2]
GIT_SECONDS = 10  # a git that waits for a network drive holds up no training
LIBRARIES = ("torch", "numpy", "scipy", "h5py", "soundfile", "numba", "triton")


class Recorder:
    """Keeps the files of a run up to date; a folder that was deleted meanwhile is made again.

    Args:
        folder: of the run, laid out before the first epoch.
        config: the options of the run.
        data: what it is trained on.
    """

    def __init__(self, folder: Path, config: Config, data: Data):
        self.folder = folder
        self.config = config
        self.data = data
        self.history: list[dict] = []  # of all epochs so far, as in metrics.jsonl
        self.best: Best | None = None
        self.lacks_best = False  # whether the disk refused the best weights
        self.last_saved = time.monotonic()
        code_version()  # before anyone edits the files

    def epoch(self, epoch: int, rates: dict, train: Metrics, valid: Metrics) -> None:
        """Write down the figures of an epoch, with its learning ``rates``."""
        self.restore_folder()
        for split, metrics in (("train", train), ("valid", valid)):
            record = {"epoch": epoch, "split": split, **rates, **metrics.to_dict()}
            self.history.append(record)
            with continuing_without("metrics.jsonl"):
                files.append_line(self.folder / "metrics.jsonl", record)

    @property
    def accuracies(self) -> list[float]:
        """The validation accuracy of every epoch."""
        return [record["accuracy"] for record in self.history if record["split"] == "valid"]

    def write_best(self) -> None:
        """Write the best weights, if they are to be kept."""
        if not self.config.training.save_best or self.best is None:
            return
        self.lacks_best = True
        with continuing_without("the best model"):
            files.write_torch(self.folder / checkpoint.BEST, self.best.weights)
            self.lacks_best = False

    def save(self, trained: Trained, progress: Progress) -> None:
        """Write the whole state of training, that ``resume`` reads."""
        with continuing_without("the state to resume from"):
            checkpoint.save_state(self.folder / checkpoint.LAST, trained, progress, self.best)
        self.last_saved = time.monotonic()

    def is_due(self, minutes: float) -> bool:
        """Whether the last state was saved more than ``minutes`` ago."""
        return time.monotonic() - self.last_saved > 60 * minutes

    def resume(self, trained: Trained) -> Progress:
        """Put ``trained`` into the state in the folder; how far the training had come.

        Raises CheckpointError if there is no state, or one that does not fit, and ExperimentError
        if more epochs are done than were requested.
        """
        path = self.folder / checkpoint.LAST
        state = checkpoint.load_state(path)
        progress, self.best = checkpoint.restore_state(state, path, trained)
        options = self.config.training
        planned = getattr(trained.scheduler, "planned_epochs", options.nb_epochs)
        if planned != options.nb_epochs:
            raise ExperimentError(
                f"cannot resume {self.folder}: its learning rates or widths of delays are planned "
                f"over {planned} epochs; leave --nb_epochs at that, or start a run over "
                f"{options.nb_epochs} in another folder (--new_exp_folder)"
            )
        self.write_best()  # the disk may have refused them before
        done = progress.epoch - options.start_epoch
        if done > options.nb_epochs:
            raise ExperimentError(
                f"cannot resume {self.folder}: {done} epochs are done, and --nb_epochs "
                f"{options.nb_epochs} asks for less"
            )
        records = files.read_lines(self.folder / "metrics.jsonl")
        self.history = [r for r in records if r["epoch"] <= progress.epoch and r["split"] != "test"]
        self.write_history()
        return progress

    def write_history(self) -> None:
        """Write metrics.jsonl as a whole."""
        lines = "".join(map(files.as_line, self.history))
        files.write_text(self.folder / "metrics.jsonl", lines)

    def restore_folder(self) -> None:
        """Make a folder that was deleted again, with all that is known of the run."""
        if (self.folder / checkpoint.BEST).parent.is_dir():
            return
        log.error("%s was deleted or moved away; it is created again", self.folder)
        with continuing_without("the folder again"):
            content = data_record(self.config.training, self.data)
            files.lay_out(self.folder, self.config.to_dict(), content)
            self.write_history()
            self.write_best()

    def summary(self, model: Network, test: Metrics, seconds: float) -> dict:
        """The content of summary.json, of a run that took ``seconds``."""
        options, device = self.config.training, next(model.parameters()).device
        passes = [record["seconds"] for record in self.history]
        return {
            "model_type": self.config.model.model_type,
            "dataset_name": options.dataset_name,
            "seed": options.seed,
            "best_epoch": self.best.epoch,
            "epochs": options.nb_epochs,
            "validated_on": self.data.validation,
            "protocol": protocol(self.data.validation),
            "valid": self.best.valid.to_dict(),
            "test": test.to_dict(),
            "test_accuracy_interval": wilson(test.accuracy, test.samples),
            **counts(model, self.data),
            "classes": self.data.nb_classes,
            "seconds": seconds,
            "seconds_per_epoch": sum(passes) / options.nb_epochs,
            "data_checksums": self.data.checksums,
            **self.data.facts,
            "device": device_facts(device),
            "code": code_version(),
            "versions": versions(device),
        }

    def finish(self, summary: dict, predicted: list[int]) -> dict:
        """Write ``summary`` and the classes ``predicted`` of the test clips, and draw the curves;
        the summary, with the files that are not there.

        Without the best weights there is no summary.json: the run is unfinished, and can be
        resumed.
        """
        self.restore_folder()
        if self.lacks_best:
            self.write_best()
        draw(self.folder, self.history, summary)
        record = {"epoch": summary["best_epoch"], "split": "test", **summary["test"]}
        writes = {
            "test_clips.csv": lambda path: files.write_text(path, self.test_clips(predicted)),
            "metrics.jsonl": lambda path: files.append_line(path, record),
            "summary.json": lambda path: files.write_json(path, summary),
        }
        unwritten = {*writes, *([str(checkpoint.BEST)] if self.lacks_best else [])}
        if self.lacks_best:
            log.error(
                "No summary.json without the best model: --resume auto writes both once it can"
            )
            del writes["summary.json"]
        for name, write in writes.items():
            with continuing_without(name):
                write(self.folder / name)
                unwritten.remove(name)
        return {**summary, "unwritten": sorted(unwritten)} if unwritten else summary

    def test_clips(self, predicted: list[int]) -> str:
        """Every test clip with its class and the one that it is taken for, as CSV."""
        names, labels = self.data.classes, self.data.test.labels.tolist()
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("clip", "class", "predicted"))
        for clip, label, found in zip(self.data.test.clip_names, labels, predicted, strict=True):
            rows.writerow((clip, names[label], names[found]))
        return text.getvalue()


def draw(folder: Path, history: list[dict], summary: dict) -> None:
    """Draw the curves of a run; a picture that fails for any reason is only missed."""
    with continuing_without(str(files.CURVES), Exception, "--resume auto draws it"):
        draw_curves(history, summary, folder / files.CURVES)


def draw_missing(folder: Path, summary: dict) -> None:
    """Draw the curves of a finished run that has none."""
    if not (folder / files.CURVES).exists():
        draw(folder, files.read_lines(folder / "metrics.jsonl"), summary)


def counts(model: Network, data: Data) -> dict:
    """How large the network and its data are."""
    clips = {name: len(getattr(data, name)) for name in ("train", "valid", "test")}
    return {
        "parameters": count_parameters(model),
        "state_variables": model.nb_state_variables(),
        "clips": clips,
    }


def device_facts(device: torch.device) -> dict:
    """Where the run computed; the number of CPU threads can change the last bits of a sum."""
    facts = {"type": device.type, "threads": torch.get_num_threads()}
    if device.type == "cuda":
        facts |= {"name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return facts


def versions(device: torch.device) -> dict:
    """What the run was computed with; libraries that are not installed are not listed."""
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    # The local part (+cpu, +cu130) says which build it is.
    found |= {"torch": torch.__version__, "device": processor, "platform": platform.platform()}
    return found


@cache
def code_version(folder: Path = REPOSITORY) -> dict | None:
    """Commit of the git checkout that the code lies in, and whether files differ from it.

    New Python files count as a difference too. None without git, or where the code lies in no
    checkout. It is asked once, early in a run: what is edited later is not what computes.
    """

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
        options = {"stderr": subprocess.DEVNULL, "text": True, "errors": "replace"}
        return subprocess.check_output(command, timeout=GIT_SECONDS, **options)

    try:
        git("ls-files", "--error-unmatch", "main.py")  # not a checkout around ours
        commit = git("rev-parse", "HEAD").strip()
        changed = git("status", "--porcelain", "--untracked-files=no").splitlines()
        new = git("ls-files", "--others", "--exclude-standard", "--", "*.py").splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    names = sorted([line[3:] for line in changed] + new)
    return {"commit": commit, "dirty": bool(names), "changed_files": names[:20]}
