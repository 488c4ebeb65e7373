# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What is known of a run when it has ended: summary.json."""

import contextlib
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import torch
from torch import nn

from datasets.interface import Data
from parsers.load import Config
from training.metrics import Metrics, count_parameters
from training.record.checkpoint import Best

REPOSITORY = Path(__file__).resolve().parents[2]
GIT_SECONDS = 10  # a git that waits for a network drive holds up no training
LIBRARIES = ("torch", "numpy", "scipy", "h5py", "soundfile", "numba", "triton")


def summarize(
    config: Config,
    data: Data,
    model: nn.Module,
    best: Best,
    history: list[dict],
    test: Metrics,
    seconds: float,
) -> dict:
    """The content of summary.json, in plain values.

    Args:
        config: of the run.
        data: what it was trained on.
        model: the network, on its device.
        best: the epoch that was tested.
        history: the records of metrics.jsonl so far.
        test: the figures of the test.
        seconds: that the run took.
    """
    options, device = config.training, next(model.parameters()).device
    return {
        "model_type": config.model.model_type,
        "dataset_name": options.dataset_name,
        "seed": options.seed,
        "best_epoch": best.epoch,
        "epochs": options.nb_epochs,
        "validated_on": data.validation,
        "valid": best.valid.to_dict(),
        "test": test.to_dict(),
        **counts(model, data),
        "classes": data.nb_classes,
        "seconds": seconds,
        "seconds_per_epoch": sum(record["seconds"] for record in history) / options.nb_epochs,
        "data_checksums": data.checksums,
        **data.facts,
        "device": device_facts(device),
        "code": code_version(),
        "versions": versions(device),
    }


def counts(model: nn.Module, data: Data) -> dict:
    """How large the network and its data are."""
    clips = {name: len(getattr(data, name)) for name in ("train", "valid", "test")}
    return {
        "parameters": count_parameters(model),
        "state_variables": model.nb_state_variables() if model.is_snn else None,
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
    if _git(folder, "ls-files", "--error-unmatch", "main.py") is None:
        return None  # a checkout around the code, of something else
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    new = _git(folder, "ls-files", "--others", "--exclude-standard", "--", "*.py")
    if commit is None or changed is None or new is None:
        return None
    files = [line[3:] for line in changed.splitlines()] + new.splitlines()
    return {"commit": commit.strip(), "dirty": bool(files), "changed_files": sorted(files)[:20]}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, None if it cannot be run or refuses."""
    # Hooks set variables that point git to another checkout.
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            env=environment,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
