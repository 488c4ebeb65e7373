# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A run that is stopped and resumed, and what it has to have in common with one that is not."""

import json
import time

import torch

from tests.command_line import arguments
from training.record import checkpoint, files

SMALL = {  # what `train` adds
    "nb_hiddens": 16,
    "nb_steps": 20,
    "spatial_bin": 20,
    "batch_size": 32,
    "nb_epochs": 2,
    "seed": 13,
    "shd_validation": "test",
    "bn_statistics": "running",
}
OPTIONS = {
    "nb_epochs": 3,
    "pdrop": 0.3,
    "scheduler_patience": 0,
    "scheduler_factor": 0.5,
    "batch_size": 24,
    "checkpoint_minutes": 1e-9,
}
PLANNED = {  # over all epochs
    "scheduler": "onecycle",
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "delay": "axonal",
    "recurrent": "dense",
    "recurrent_delay": "axonal",
}


def whole_run(data_folder, folder, **more) -> list[str]:
    """The command line of a run with ``OPTIONS`` and ``more``, as `train` makes it."""
    options = {**SMALL, **OPTIONS, **more}
    return arguments(**options, data_folder=data_folder, new_exp_folder=folder)


def final_state(folder):
    last = torch.load(folder / checkpoint.LAST, weights_only=True)
    best = torch.load(folder / checkpoint.BEST, weights_only=True)
    return {**last["model"], **{f"best.{k}": v for k, v in best.items()}}


def last_weights(folder):
    """The weights at the end of the last epoch of a run."""
    return torch.load(folder / checkpoint.LAST, weights_only=True)["model"]


def wait_until(true, seconds=400):
    """Wait for what other processes do."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def same_results(first, second):
    weights, others = final_state(first), final_state(second)
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name
    records = [files.read_lines(folder / "metrics.jsonl") for folder in (first, second)]
    for a, b in zip(*records, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (first, second)]
    assert summaries[0]["test"]["loss"] == summaries[1]["test"]["loss"]
