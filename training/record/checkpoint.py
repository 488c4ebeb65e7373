# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Checkpoints: the weights of a run, and the whole state of training that --resume continues."""

import math
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from training.device.choice import random_state, restore_random_state
from training.errors import CheckpointError
from training.metrics import Metrics
from training.record import files
from training.record.files import BEST, LAST, previous
from training.terminal.console import log

FORMAT = 1
WRAPPINGS = ("model", "state_dict", "model_state_dict")  # keys under which code keeps weights
PREFIXES = ("module.", "_orig_mod.", "model.")  # before every name of a wrapped network
COUNTED = ("best", "num_bad_epochs", "last_epoch")  # by the scheduler


class Trained(NamedTuple):
    """The objects whose state a training changes, on their device."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.ReduceLROnPlateau

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.model.parameters()).device


@dataclass
class Progress:
    """How far a training has come.

    ``rng`` is the random state at the start of the epoch under way, from which its order of clips
    is drawn again; ``meter`` holds its sums so far.
    """

    epoch: int  # epochs that are finished
    step: int = 0  # batches done of the next one
    epoch_seconds: float = 0.0  # time spent on that one
    seconds: float = 0.0  # time spent on the run
    rng: dict = field(default_factory=dict)
    meter: dict = field(default_factory=dict)

    def __str__(self) -> str:
        done = f"epoch {self.epoch}"
        return f"{done} and {self.step} batches of the next" if self.step else done


@dataclass
class Best:
    """The best epoch so far by validation accuracy, and its weights on the CPU."""

    epoch: int
    valid: Metrics
    weights: dict

    @classmethod
    def of(cls, model: nn.Module, epoch: int, valid: Metrics) -> "Best":
        """The present weights of ``model``, copied."""
        weights = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
        return cls(epoch, valid, weights)


def find_weights(folder: Path) -> Path:
    """The best weights of a run, or the last ones where no best were saved.

    Raises CheckpointError if there are none.
    """
    for path in (folder / BEST, folder / LAST):
        if os.path.lexists(path):  # that best_model.pth is no file is reported when it is read
            return path
    raise CheckpointError(
        f"no checkpoint at {folder / BEST}, and no {LAST.name} beside it: this is not a run, or "
        "its first epoch has not finished"
    )


def read(path: Path) -> dict:
    """The content of a checkpoint on the CPU; only tensors and plain containers are accepted.

    Raises CheckpointError for a missing, damaged or unsafe file.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        check_sums(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they warn of is refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch.load raises a dozen types for damaged or unsafe files, and pages of text with some.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        if "weights_only" in str(error).lower() or "unsupported" in reason.lower():
            reason = (
                "it holds more than tensors, such as a whole pickled network, which could run code "
                "when read; if you trust it, convert it where it comes from by "
                "torch.save(torch.load(FILE, weights_only=False).state_dict(), NEW_FILE)"
            )
        raise CheckpointError(f"{path} is not a readable checkpoint: {reason[:250]}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a state_dict")
    return content


def check_sums(path: Path) -> None:
    """OSError if a part of the archive is not as it was written, by the sums it carries."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
                raise OSError("it claims to hold more than its size")  # a zip bomb
            damaged = archive.testzip()
        if damaged is not None:
            raise OSError(f"its part {damaged} is damaged")


def read_weights(path: Path) -> dict:
    """The weights in a checkpoint: a plain state_dict, or one that this or other code has put into
    a dictionary with more, or under names with a prefix (DataParallel, torch.compile).

    Raises CheckpointError if there are none, or as `read`.
    """
    weights = read(path)
    for _ in WRAPPINGS:
        weights = next((weights[name] for name in WRAPPINGS if name in weights), weights)
        if not isinstance(weights, dict):
            raise CheckpointError(f"{path} holds no state_dict")
    while weights and (prefix := next(filter(_is_before_all(weights), PREFIXES), None)):
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def _is_before_all(weights: dict) -> Callable[[str], bool]:
    return lambda prefix: all(str(name).startswith(prefix) for name in weights)


def load_weights(model: nn.Module, path: Path) -> None:
    """Load the weights of a checkpoint into ``model``, strictly.

    Raises CheckpointError if the file is unreadable or does not fit, naming the first difference.
    """
    weights = model.own_weights(read_weights(path))
    difference = first_difference(model.state_dict(), weights)
    if difference:
        raise CheckpointError(
            f"{path} does not fit this model ({difference}): give the model options it was "
            "trained with"
        )
    model.load_state_dict(weights, strict=True)


def first_difference(expected: dict, given: dict) -> str | None:
    """What keeps ``given`` from being loaded as ``expected``, in words; None if nothing does."""
    if not isinstance(given, dict):
        return "it holds no state_dict"
    for name, tensor in expected.items():
        if name not in given:
            return f"'{name}' is missing"
        if not isinstance(given[name], torch.Tensor):
            return f"'{name}' is not a tensor"
        if given[name].shape != tensor.shape:
            return f"'{name}' is {list(given[name].shape)} instead of {list(tensor.shape)}"
    unknown = [name for name in given if name not in expected]
    return f"'{unknown[0]}' is not in the model" if unknown else None


def save_state(path: Path, trained: Trained, progress: Progress, best: Best | None) -> None:
    """Write the whole state of a training to ``path``, keeping the one before beside it."""
    content = {
        "format": FORMAT,
        **{name: part.state_dict() for name, part in trained._asdict().items()},
        "rng": random_state(trained.device),
        "progress": asdict(progress),
        "best": best and {**vars(best), "valid": best.valid.to_dict()},
    }
    if path.exists():
        keep_previous(path)
    files.write_torch(path, content)


def keep_previous(path: Path) -> None:
    """Give the present file a second name, so that replacing it leaves one to fall back to."""

    def copy(temporary: Path) -> None:
        try:
            os.link(path, temporary)
        except OSError:  # file systems without hard links
            shutil.copyfile(path, temporary)

    files.write_atomic(previous(path), copy)


def load_state(path: Path) -> dict:
    """The state in ``path``, or, where that is damaged, the one before it.

    Raises CheckpointError if neither can be read.
    """
    try:
        return read_state(path)
    except CheckpointError as error:
        if not previous(path).is_file():
            raise
        content = read_state(previous(path))
        log.warning("%s; resuming from the state before it", error)
        return content


def read_state(path: Path) -> dict:
    """One file, checked; CheckpointError if it is no state of a training."""
    content = read(path)
    wanted = {"format", "model", "optimizer", "scheduler", "rng", "progress", "best"}
    if not wanted <= content.keys() or content["format"] != FORMAT:
        raise CheckpointError(f"{path} holds no training state that this version can resume")
    return content


def for_this_device(content: dict, optimizer: torch.optim.Optimizer) -> dict:
    """The optimiser's part of a state, which may come from another kind of device, for this one."""
    implementation = ("fused", "foreach", "capturable")
    saved = content["optimizer"]
    groups = [
        {**own, **group, **{name: own[name] for name in implementation}}
        for group, own in zip(saved["param_groups"], optimizer.param_groups, strict=True)
    ]
    return {**saved, "param_groups": groups}


def check_moments(saved: dict, optimizer: torch.optim.Optimizer) -> None:
    """ValueError for moments that Adam cannot have kept, and for rates that it cannot follow."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, kept in saved["state"].items():
        parameter, mean, square = parameters[number], kept["exp_avg"], kept["exp_avg_sq"]
        fits = all(
            x.shape == parameter.shape and x.dtype == parameter.dtype for x in (mean, square)
        )
        if not (fits and mean.isfinite().all() and 0 <= square.min() <= square.max() < math.inf):
            raise ValueError
        if not 0 < kept["step"] < math.inf:
            raise ValueError
    if not all(0 <= group["lr"] < math.inf for group in saved["param_groups"]):
        raise ValueError


def restore_state(content: dict, path: Path, trained: Trained) -> tuple[Progress, Best | None]:
    """Put ``trained`` and the generators into the state that ``save_state`` wrote.

    Raises CheckpointError, naming ``path``, if it does not fit.
    """
    best, (model, optimizer, scheduler) = content["best"], trained
    for weights in (content["model"], *([best["weights"]] if best else [])):
        if difference := first_difference(model.state_dict(), weights):
            raise CheckpointError(f"{path} does not fit this model ({difference})")
    try:
        model.load_state_dict(content["model"])
        check_moments(content["optimizer"], optimizer)
        optimizer.load_state_dict(for_this_device(content, optimizer))
        if any(math.isnan(content["scheduler"][name]) for name in COUNTED):
            raise ValueError
        scheduler.load_state_dict(content["scheduler"])
        progress = Progress(**content["progress"])
        best = best and Best(best["epoch"], Metrics(**best["valid"]), best["weights"])
        restore_random_state(content["rng"], trained.device)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        raise CheckpointError(
            f"{path} holds a training state that is damaged or does not fit: replace it by "
            f"{previous(path).name} beside it, or start again with --new_exp_folder"
        ) from None
    return progress, best
