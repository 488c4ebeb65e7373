# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Training again and again leaves nothing behind, and killed runs resume to the same bits."""

import gc
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import main
from parsers.model_config import ANN_TYPES, SNN_TYPES
from tests.command_line import arguments

REPO = Path(__file__).resolve().parents[2]
SIZES = {
    "nb_epochs": 1,
    "seed": 1,
    "nb_hiddens": 8,
    "nb_steps": 10,
    "spatial_bin": 35,
    "batch_size": 8,
}


def held() -> tuple[int, int, int]:
    """Open files, threads and tensors of this process (Linux)."""
    gc.collect()
    tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), tensors


@pytest.mark.slow
def test_trainings_of_every_model_leave_nothing_behind(sound_data, tmp_path):
    found = []
    for _ in range(3):  # the first round fills caches
        for model in (*SNN_TYPES, *ANN_TYPES):
            folders = {"data_folder": sound_data, "new_exp_folder": tmp_path / "out"}
            assert main.main(arguments(model_type=model, **folders, **SIZES)) == 0
            shutil.rmtree(tmp_path / "out")
        found.append(held())
    assert found[2] == found[1]


@pytest.mark.slow
def test_killed_runs_resume_to_the_same_bits():
    command = [sys.executable, "-m", "tests.tools.kills", "6"]  # shares no threads with this one
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("every resumed run the same") == 2
