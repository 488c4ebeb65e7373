# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Sums of data files, and the first look at new ones."""

import hashlib
import os
import platform
import signal
import subprocess
import sys

import pytest
from shd_files import random_clips, write_spikes

from datasets import checksums, guard
from datasets.checksums import known_sum, sha256_of_file
from datasets.errors import DataError
from datasets.spiking import load_spiking
from datasets.unpack import atomic_file, remove_leftovers

CHOICE = {"nb_steps": 10, "max_time": 1.0, "spatial_bin": 100, "say": lambda line: None}


@pytest.fixture
def shd(tmp_path):
    for seed, split in enumerate(("train", "test")):
        write_spikes(tmp_path / f"shd_{split}.h5", random_clips(12, seed))
    return tmp_path


def test_what_killed_writers_left_is_removed_after_a_day(tmp_path):
    old, young, other = (tmp_path / f".{name}.tmp" for name in ("a.1-x", "a.2-y", "b.1-x"))
    for path in (old, young, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (1e9, 1e9))
    with atomic_file(tmp_path / "a") as file:
        file.write(b"whole")
    assert sorted(tmp_path.iterdir()) == [young, other, tmp_path / "a"]


def test_what_a_process_of_this_machine_left_is_removed_at_once(tmp_path):
    gone, node = subprocess.Popen(["true"]), platform.node()
    gone.wait()
    dead, alive, elsewhere = (
        tmp_path / f".a.{where}-{number}-beef.tmp"
        for where, number in ((node, gone.pid), (node, os.getpid()), ("x-1", gone.pid))
    )
    for path in (dead, alive, elsewhere):
        path.write_text("half")
    remove_leftovers(tmp_path / "a")
    assert sorted(tmp_path.iterdir()) == sorted([alive, elsewhere])


def test_a_file_is_hashed_once(tmp_path, monkeypatch):
    path = tmp_path / "data.h5"
    path.write_bytes(b"spikes" * 1000)
    expected = hashlib.sha256(b"spikes" * 1000).hexdigest()
    assert known_sum(path) is None
    assert sha256_of_file(path) == expected
    monkeypatch.setattr(checksums, "_hash", lambda path: pytest.fail("hashed again"))
    assert sha256_of_file(path) == known_sum(path) == expected


def test_a_file_that_changed_is_hashed_again(tmp_path):
    path = tmp_path / "data.h5"
    path.write_bytes(b"before")
    before = sha256_of_file(path)
    path.write_bytes(b"behind")
    os.utime(path, ns=(1, 1))
    assert known_sum(path) is None
    assert sha256_of_file(path) == hashlib.sha256(b"behind").hexdigest() != before


def test_a_damaged_note_is_written_anew(tmp_path):
    path = tmp_path / "data.h5"
    path.write_bytes(b"spikes")
    expected = sha256_of_file(path)
    (note,) = (tmp_path / ".frames").iterdir()
    note.write_text('{"bytes": 6}')
    assert known_sum(path) is None
    assert sha256_of_file(path) == known_sum(path) == expected


def test_a_read_only_folder_keeps_its_sums_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("SPRACHE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "data.h5").write_bytes(b"spikes")
    folder.chmod(0o555)
    assert sha256_of_file(folder / "data.h5") == known_sum(folder / "data.h5")
    assert list((tmp_path / "cache").rglob("*.json"))


def test_the_sums_of_what_was_read_are_told(shd):
    data = load_spiking("shd", shd, **CHOICE)
    assert data.checksums == {
        name: hashlib.sha256((shd / name).read_bytes()).hexdigest()
        for name in ("shd_train.h5", "shd_test.h5")
    }


def child(monkeypatch, code):
    """Let the child process run ``code`` instead."""
    start = guard.subprocess.Popen

    def popen(command, **options):
        return start([sys.executable, "-c", code], **options)

    monkeypatch.setattr(guard.subprocess, "Popen", popen)


def test_a_file_that_kills_the_library_is_told(shd, monkeypatch):
    child(monkeypatch, "import os; print(1, 0, 1, flush=True); os.kill(os.getpid(), 11)")
    with pytest.raises(
        DataError, match=r"shd_test\.h5 is damaged: the HDF5 library dies"
    ) as caught:
        load_spiking("shd", shd, **CHOICE)
    assert signal.strsignal(signal.SIGSEGV) in str(caught.value)


def test_a_file_that_hangs_the_library_is_told(shd, monkeypatch):
    child(monkeypatch, "import time; print(0, 0, 1, flush=True); time.sleep(60)")
    with pytest.raises(DataError, match=r"shd_train\.h5 is damaged: the HDF5 library hangs"):
        guard.look_at([shd / "shd_train.h5"], patience=1)


def test_known_files_are_not_looked_at_again(shd, monkeypatch):
    load_spiking("shd", shd, **CHOICE)
    monkeypatch.setattr(guard.subprocess, "Popen", lambda *_, **__: pytest.fail("looked again"))
    load_spiking("shd", shd, **CHOICE | {"nb_steps": 12})


def test_the_child_reads_to_the_end(shd, capsys):
    assert guard.main([shd / "shd_train.h5", shd / "shd_test.h5"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 0 12"
    (shd / "shd_train.h5").write_bytes(b"no HDF5")
    assert guard.main([shd / "shd_train.h5"]) == 1
