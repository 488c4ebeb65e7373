# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Small finished runs of every model."""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import main

sys.path.append(str(Path(__file__).resolve().parents[1] / "datasets"))
from shd_files import write_spikes

NB_CLASSES = 20


def clips_of(labels: np.ndarray, seed: int) -> dict:
    """Dense clips, so that networks fire: a class is a band of channels."""
    rng = np.random.default_rng(seed)
    return {
        "times": [np.sort(rng.uniform(0, 0.95, 400)).astype("f2") for _ in labels],
        "units": [(35 * label + rng.integers(0, 70, 400)) % 700 for label in labels],
        "labels": labels,
    }


@pytest.fixture(scope="session")
def bands(tmp_path_factory) -> Path:
    """Folder with shd_train.h5 (2 clips a class) and shd_test.h5 (one clip a class, and 3 more)."""
    folder = tmp_path_factory.mktemp("bands")
    train, test = np.repeat(np.arange(NB_CLASSES), 2), np.arange(NB_CLASSES + 3) % NB_CLASSES
    write_spikes(folder / "shd_train.h5", clips_of(train, 0))
    write_spikes(folder / "shd_test.h5", clips_of(test, 1))
    return folder


@pytest.fixture(scope="session")
def make_run(bands, tmp_path_factory) -> Callable[..., Path]:
    """Train a small network, once for each set of options; the folder of the run."""
    made = {}

    def make(**options) -> Path:
        key = tuple(sorted(options.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("run") / "run"
            values = {
                "new_exp_folder": folder,
                "data_folder": bands,
                "nb_hiddens": 12,
                "nb_steps": 15,
                "spatial_bin": 20,
                "batch_size": 8,
                "nb_epochs": 2,
                "lr": 0.02,
                "seed": 13,
                **options,
            }
            argv = [str(part) for name, value in values.items() for part in (f"--{name}", value)]
            with contextlib.chdir(folder.parent):
                assert main.main(argv) == 0
            made[key] = folder
        return made[key]

    return make
