# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Sums of data files."""

import hashlib
import os
import platform
import subprocess

import pytest
from loading import load
from shd_files import random_clips, write_spikes

from datasets import files
from datasets.files import atomic_file, known_sum, remove_leftovers, sha256_of_file


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
    monkeypatch.setattr(files, "_hash", lambda path: pytest.fail("hashed again"))
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
    data = load("shd", shd)
    assert data.checksums == {
        name: hashlib.sha256((shd / name).read_bytes()).hexdigest()
        for name in ("shd_train.h5", "shd_test.h5")
    }
