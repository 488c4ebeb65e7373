# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Writing down a run as it trains: what a disk refuses does not end the training."""

import time
from pathlib import Path

from training.errors import ExperimentError
from training.metrics import Metrics
from training.record import checkpoint, files, folders
from training.record.checkpoint import Best, Progress, Trained
from training.record.curves import draw_curves
from training.record.files import going_on_without
from training.terminal.console import log


class Recorder:
    """Keeps the files of a run up to date; a folder that was deleted meanwhile is made again.

    Args:
        folder: of the run, laid out before the first epoch.
        values: of all options, the content of config.yaml.
        data: the content of data.json.
        save_best: whether to write the best weights.
    """

    def __init__(self, folder: Path, values: dict, data: dict, *, save_best: bool):
        self.folder = folder
        self.values = values
        self.data = data
        self.save_best = save_best
        self.history: list[dict] = []  # of all epochs so far, as in metrics.jsonl
        self.best: Best | None = None
        self.lacks_best = False  # whether the disk refused the best weights
        self.last_saved = time.monotonic()

    def epoch(self, epoch: int, lr: float, train: Metrics, valid: Metrics) -> None:
        """Write down the figures of an epoch."""
        self.restore_folder()
        for split, metrics in (("train", train), ("valid", valid)):
            record = {"epoch": epoch, "split": split, "lr": lr, **metrics.to_dict()}
            self.history.append(record)
            with going_on_without("metrics.jsonl"):
                files.append_line(self.folder / "metrics.jsonl", record)

    def write_best(self) -> None:
        """Write the best weights, if that is asked for."""
        if not self.save_best or self.best is None:
            return
        self.lacks_best = True
        with going_on_without("the best model"):
            files.write_torch(self.folder / checkpoint.BEST, self.best.weights)
            self.lacks_best = False

    def save(self, trained: Trained, progress: Progress) -> None:
        """Write the whole state of training, that ``resume`` reads."""
        with going_on_without("the state to resume from"):
            checkpoint.save_state(self.folder / checkpoint.LAST, trained, progress, self.best)
        self.last_saved = time.monotonic()

    def is_due(self, minutes: float) -> bool:
        """Whether the last state was saved more than ``minutes`` ago."""
        return time.monotonic() - self.last_saved > 60 * minutes

    def resume(self, trained: Trained, start_epoch: int, nb_epochs: int) -> Progress:
        """Put ``trained`` into the state in the folder; how far the training had come.

        Raises CheckpointError if there is no state, or one that does not fit, and ExperimentError
        if more than ``nb_epochs`` epochs after ``start_epoch`` are done.
        """
        path = self.folder / checkpoint.LAST
        state = checkpoint.load_state(path)
        progress, self.best = checkpoint.restore_state(state, path, trained)
        self.write_best()  # the disk may have refused them before
        if progress.epoch - start_epoch > nb_epochs:
            raise ExperimentError(
                f"cannot resume {self.folder}: {progress.epoch - start_epoch} epochs are done, "
                f"and --nb_epochs {nb_epochs} asks for less"
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
        log.error("%s was deleted or moved away; it is made again", self.folder)
        with going_on_without("the folder again"):
            folders.lay_out(self.folder, self.values, self.data)
            self.write_history()
            self.write_best()

    def finish(self, summary: dict) -> dict:
        """Write ``summary`` and draw the curves; the summary, with what could not be written.

        Without the best weights there is no summary.json: the run is unfinished, and can be
        resumed.
        """
        self.restore_folder()
        if self.lacks_best:
            self.write_best()
        record = {"epoch": summary["best_epoch"], "split": "test", **summary["test"]}
        writes = {
            "metrics.jsonl": lambda path: files.append_line(path, record),
            "summary.json": lambda path: files.write_json(path, summary),
            "curves.png": lambda path: draw_curves(self.history, summary, path),
        }
        unwritten = {*writes, *([str(checkpoint.BEST)] if self.lacks_best else [])}
        if self.lacks_best:
            log.error(
                "No summary.json without the best model: --resume auto writes both once it can"
            )
            del writes["summary.json"]
        for name, write in writes.items():
            with going_on_without(name):
                write(self.folder / name)
                unwritten.remove(name)
        return {**summary, "unwritten": sorted(unwritten)} if unwritten else summary
