# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Small trainings on emulated devices; ../test_emulated_cuda.py starts the tests beside this."""

import os
from pathlib import Path

import pytest

import main
from tests.command_line import arguments
from tests.datasets.shd_files import random_clips, write_spikes

if "SPRACHE_EMULATES_CUDA" not in os.environ:
    collect_ignore_glob = ["test_*.py"]

SMALL = arguments(
    dataset_name="shd",
    shd_validation="test",
    seed=3,
    nb_hiddens=8,
    nb_steps=8,
    spatial_bin=70,
    batch_size=4,
)


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """Folder with 15 batches to train on, 10 to validate and 10 to test."""
    folder = tmp_path_factory.mktemp("clips")
    for split, count in (("train", 60), ("test", 40)):
        write_spikes(folder / f"shd_{split}.h5", random_clips(count))
    return folder


@pytest.fixture
def train(clips, tmp_path):
    """Train on them in a folder of a name; the exit status."""

    def run(name, *options, epochs=1) -> int:
        folders = arguments(data_folder=clips, new_exp_folder=tmp_path / name)
        return main.main([*SMALL, *folders, "--nb_epochs", str(epochs), *map(str, options)])

    return run
