# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The whole state of a training, so that it can go on as if it had never stopped."""

import os
import random
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from training.errors import CheckpointError
from training.metrics import Metrics
from training.record import checkpoint, files
from training.terminal.console import log

if TYPE_CHECKING:
    from training.experiment import Experiment

FORMAT = 1


@dataclass
class Progress:
    """How far a training has come.

    ``rng`` is the random state at the begin of the epoch under way, from which its order of clips
    is drawn again; ``meter`` holds its sums so far.
    """

    epoch: int  # epochs that are finished
    step: int = 0  # batches done of the next one
    epoch_seconds: float = 0.0  # time spent on that one
    seconds: float = 0.0  # time spent on the run
    rng: dict = field(default_factory=dict)
    meter: dict = field(default_factory=dict)


@dataclass
class Best:
    """The best epoch so far by validation accuracy, and its weights on the CPU."""

    epoch: int
    valid: Metrics
    weights: dict


def random_state(device: torch.device) -> dict:
    """The state of every random number generator a run draws from, as tensors and lists."""
    version, internal, gauss = random.getstate()
    name, keys, *rest = np.random.get_state()
    state = {
        "torch": torch.get_rng_state(),
        "python": [version, list(internal), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict, device: torch.device) -> None:
    """Set every generator to a state that ``random_state`` gave."""
    torch.set_rng_state(state["torch"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def save(experiment: "Experiment", path: Path) -> None:
    """Write the state of ``experiment`` to ``path``, keeping the one before beside it."""
    best = experiment.best
    content = {
        "format": FORMAT,
        "model": experiment.model.state_dict(),
        "optimizer": experiment.optimizer.state_dict(),
        "scheduler": experiment.scheduler.state_dict(),
        "rng": random_state(experiment.device),
        "progress": asdict(experiment.progress),
        "best": best and {**vars(best), "valid": best.valid.to_dict()},
    }
    if path.exists():
        keep_previous(path)
    files.write_torch(path, content)


def previous(path: Path) -> Path:
    """Where the state before the last one lies."""
    return path.with_name(f"{path.stem}_previous{path.suffix}")


def keep_previous(path: Path) -> None:
    """Give the present file a second name, so that replacing it leaves one to fall back to."""
    temporary = path.with_name(f".{path.name}.previous.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # file systems without hard links
        shutil.copyfile(path, temporary)
    os.replace(temporary, previous(path))


def load(path: Path) -> dict:
    """The state in ``path``, or, where that is damaged, the one before it.

    Raises CheckpointError if neither can be read.
    """
    try:
        return read(path)
    except CheckpointError as error:
        if not previous(path).is_file():
            raise
        content = read(previous(path))
        log.warning("%s; going on from the state before it", error)
        return content


def read(path: Path) -> dict:
    """One file, checked; CheckpointError if it is no state of a training."""
    content = checkpoint.read(path)
    wanted = {"format", "model", "optimizer", "scheduler", "rng", "progress", "best"}
    if not wanted <= content.keys() or content["format"] != FORMAT:
        raise CheckpointError(f"{path} holds no training state that this version can go on from")
    return content


def for_this_device(content: dict, optimizer: torch.optim.Optimizer) -> dict:
    """The optimiser's part of a state, which may come from another kind of device, for this one."""
    implementation = ("fused", "foreach", "capturable")
    saved = content["optimizer"]
    groups = [
        {**group, **{name: own[name] for name in implementation}}
        for group, own in zip(saved["param_groups"], optimizer.param_groups, strict=True)
    ]
    return {**saved, "param_groups": groups}


def restore(experiment: "Experiment", content: dict, path: Path) -> None:
    """Put ``experiment`` into the state that ``save`` wrote; CheckpointError if it does not fit."""
    best, model = content["best"], experiment.model
    for weights in (content["model"], *([best["weights"]] if best else [])):
        if difference := checkpoint.first_difference(model.state_dict(), weights):
            raise CheckpointError(f"{path} does not fit this model ({difference})")
    try:
        model.load_state_dict(content["model"])
        saved = for_this_device(content, experiment.optimizer)
        experiment.optimizer.load_state_dict(saved)
        check_moments(experiment.optimizer)
        experiment.scheduler.load_state_dict(content["scheduler"])
        check_numbers(content["scheduler"])
        experiment.progress = Progress(**content["progress"])
        experiment.best = best and Best(best["epoch"], Metrics(**best["valid"]), best["weights"])
        restore_random_state(content["rng"], experiment.device)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        raise CheckpointError(f"{path} holds a training state that does not fit") from None


def check_moments(optimizer: torch.optim.Optimizer) -> None:
    """ValueError unless the tensors that an optimiser keeps have the shapes of its parameters."""
    for parameter, kept in optimizer.state.items():
        for value in kept.values():
            if torch.is_tensor(value) and value.ndim and value.shape != parameter.shape:
                raise ValueError(f"{list(value.shape)} for a parameter {list(parameter.shape)}")


def check_numbers(scheduler: dict) -> None:
    """TypeError or LookupError unless the state of a scheduler holds what it counts with."""
    for name in ("best", "num_bad_epochs", "last_epoch"):
        if not isinstance(scheduler[name], int | float):
            raise TypeError(f"{name} is {scheduler[name]!r}")
