# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The first read of new HDF5 files, in a process that may die of it."""

import signal
import sys

import pytest
from loading import load
from shd_files import random_clips, write_spikes

from datasets import files, guard
from datasets.errors import DataError


@pytest.fixture(autouse=True)
def no_guard():
    """Here it is what is tested."""


@pytest.fixture
def shd(tmp_path):
    for seed, split in enumerate(("train", "test")):
        write_spikes(tmp_path / f"shd_{split}.h5", random_clips(12, seed))
    return tmp_path


def child(monkeypatch, code):
    """Let the child process run ``code`` instead."""
    start = files.subprocess.Popen

    def popen(command, **options):
        return start([sys.executable, "-c", code], **options)

    monkeypatch.setattr(files.subprocess, "Popen", popen)


def test_a_file_that_kills_the_library_is_told(shd, monkeypatch):
    child(monkeypatch, "import os; print(1, 0, 1, flush=True); os.kill(os.getpid(), 11)")
    with pytest.raises(
        DataError, match=r"shd_test\.h5 is damaged: the HDF5 library dies"
    ) as caught:
        load("shd", shd)
    assert signal.strsignal(signal.SIGSEGV) in str(caught.value)


def test_a_file_that_hangs_the_library_is_told(shd, monkeypatch):
    child(monkeypatch, "import time; print(0, 0, 1, flush=True); time.sleep(60)")
    with pytest.raises(DataError, match=r"shd_train\.h5 is damaged: the HDF5 library hangs"):
        files.check_new_files([shd / "shd_train.h5"], patience=1)


def test_known_files_are_not_looked_at_again(shd, monkeypatch):
    load("shd", shd)
    monkeypatch.setattr(files.subprocess, "Popen", lambda *_, **__: pytest.fail("looked again"))
    load("shd", shd, nb_steps=12)


def test_the_child_reads_to_the_end(shd, capsys):
    assert guard.main([shd / "shd_train.h5", shd / "shd_test.h5"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 0 12"
    (shd / "shd_train.h5").write_bytes(b"no HDF5")
    assert guard.main([shd / "shd_train.h5"]) == 1
