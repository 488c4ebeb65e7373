# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Files that are never incomplete, checksums of data files, and the first read of new ones."""

import hashlib
import os
import platform
import pwd
import shutil
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
from loading import load
from shd_files import random_clips, write_spikes

from datasets import files, guard
from datasets.errors import DataError
from datasets.files import atomic_file, known_sum, remove_leftovers, sha256_of_file
from tests.test_bad_files import claim_of_many_clips


@pytest.fixture
def shd(tmp_path):
    for seed, split in enumerate(("train", "test")):
        write_spikes(tmp_path / f"shd_{split}.h5", random_clips(12, seed))
    return tmp_path


class TestAtomicFile:
    def test_leftovers_of_killed_writers_are_removed_after_a_day(self, tmp_path):
        old, young, other = (tmp_path / f".{name}.tmp" for name in ("a.1-x", "a.2-y", "b.1-x"))
        for path in (old, young, other):
            path.write_text("half")
        for path in (old, other):
            os.utime(path, (1e9, 1e9))
        with atomic_file(tmp_path / "a") as file:
            file.write(b"whole")
        assert sorted(tmp_path.iterdir()) == [young, other, tmp_path / "a"]

    def test_leftovers_of_a_dead_process_of_this_machine_are_removed_at_once(self, tmp_path):
        gone, node = subprocess.Popen(["true"]), platform.node()
        gone.wait()
        dead, alive, elsewhere = (
            tmp_path / f".a.{where}-{number}-beef.tmp"
            for where, number in ((node, gone.pid), (node, os.getpid()), ("x-1", gone.pid))
        )
        for path in (dead, alive, elsewhere):
            path.write_text("half")
        remove_leftovers(tmp_path, "a")
        assert sorted(tmp_path.iterdir()) == sorted([alive, elsewhere])

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_that_ends_the_process_leaves_no_file(self, tmp_path, number):
        code = f"""
import os, sys
from pathlib import Path
from datasets.files import atomic_file
with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    os.kill(os.getpid(), {int(number)})
"""
        command = [sys.executable, "-c", code, tmp_path / "a"]
        assert subprocess.run(command, cwd=guard.PLACE).returncode == -number
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["~/.cache", "~nobody-of-this-name/cache"])
def test_without_a_home_there_is_no_user_cache(tmp_path, monkeypatch, place):
    monkeypatch.delenv("SPRACHE_CACHE")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda number: {}[number])
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    write_spikes(tmp_path / "shd_train.h5", random_clips())
    shutil.copy(tmp_path / "shd_train.h5", tmp_path / "shd_test.h5")
    monkeypatch.chdir(tmp_path)
    load("shd", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".frames",
        "shd_test.h5",
        "shd_train.h5",
    ]
    with pytest.raises(DataError, match="no folder ~nobody-of-this-name/data"):
        load("shd", "~nobody-of-this-name/data")


class TestChecksums:
    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "data" / "data.h5"
        path.parent.mkdir()
        path.write_bytes(b"before")
        return path

    def test_a_file_is_hashed_once(self, path, monkeypatch):
        assert known_sum(path) is None
        assert sha256_of_file(path) == hashlib.sha256(b"before").hexdigest()
        monkeypatch.setattr(files, "_hash", lambda path: pytest.fail("hashed again"))
        assert sha256_of_file(path) == known_sum(path) == hashlib.sha256(b"before").hexdigest()

    def test_a_file_that_changed_is_hashed_again(self, path):
        sha256_of_file(path)
        path.write_bytes(b"behind")
        os.utime(path, ns=(1, 1))
        assert known_sum(path) is None
        assert sha256_of_file(path) == hashlib.sha256(b"behind").hexdigest()

    def test_a_damaged_note_is_replaced(self, path):
        expected = sha256_of_file(path)
        (note,) = (path.parent / ".frames").iterdir()
        note.write_text('{"bytes": 6}')
        assert known_sum(path) is None
        assert sha256_of_file(path) == known_sum(path) == expected

    def test_sums_of_a_read_only_folder_are_kept_elsewhere(self, path, user_cache):
        path.parent.chmod(0o555)
        assert sha256_of_file(path) == known_sum(path)
        assert list(user_cache.rglob("*.json"))

    def test_data_have_the_sums_of_all_files_that_were_read(self, shd):
        assert load("shd", shd).checksums == {
            name: hashlib.sha256((shd / name).read_bytes()).hexdigest()
            for name in ("shd_train.h5", "shd_test.h5")
        }


class TestGuard:
    @pytest.fixture(autouse=True)
    def no_guard(self):
        """Here it is what is tested."""

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            ("os.kill(os.getpid(), signal.SIGSEGV)", f"dies .*{signal.strsignal(signal.SIGSEGV)}"),
            # What the watchdog does, armed as it must be.
            ("os._exit(1 if armed[-1] == (30.5, True) else 9)", "hangs"),
            ("bytearray(1 << 40)", "wants more memory"),
        ],
    )
    def test_a_file_that_the_library_cannot_survive_is_named(
        self, shd, monkeypatch, fault, message
    ):
        code = f"""
import os, signal, sys
from datasets import guard
armed = []
guard.faulthandler.dump_traceback_later = lambda seconds, exit: armed.append((seconds, exit))
labels = guard.read_annotations
guard.read_annotations = lambda path, n: {fault} if "test" in path.name else labels(path, n)
guard.main(*sys.argv[1:])
"""
        start = subprocess.Popen
        monkeypatch.setattr(
            guard.subprocess,
            "Popen",
            lambda command, **options: start([sys.executable, "-c", code, *command[3:]], **options),
        )
        paths = [shd / "shd_train.h5", shd / "shd_test.h5"]
        with pytest.raises(
            DataError, match=rf"shd_test\.h5 is damaged: the HDF5 library {message}"
        ):
            guard.check_new_files(paths, patience=30.5)

    @pytest.mark.parametrize("name", ["extra/keys", "extra/speaker"])
    def test_a_list_of_gigabytes_that_are_not_there_is_refused(self, shd, name):
        with h5py.File(shd / "shd_test.h5", "a") as file:
            file.pop(name, None)
            file.create_dataset(name, (1 << 31,), "i8", chunks=(1024,))
        with pytest.raises(DataError, match=r"shd_test\.h5 is damaged: .* wants more memory"):
            guard.check_new_files([shd / "shd_test.h5"])

    def test_clips_by_the_billion_are_not_looked_for(self, shd):
        claim_of_many_clips(shd / "shd_test.h5")
        guard.check_new_files([shd / "shd_test.h5"])  # ends; the reader refuses it

    def test_a_clip_that_claims_gigabytes_is_refused(self, shd):
        path = shd / "shd_test.h5"
        with h5py.File(path, "a") as file:
            file["spikes/times"][5] = np.zeros(61, np.float16)
        content = path.read_bytes()
        claim = (61).to_bytes(4, "little")
        assert content.count(claim) == 1
        path.write_bytes(content.replace(claim, (1 << 31).to_bytes(4, "little")))
        with pytest.raises(DataError, match=r"shd_test\.h5 is damaged: the HDF5 library"):
            guard.check_new_files([path])

    def test_known_files_are_not_read_again(self, shd, monkeypatch):
        load("shd", shd)
        monkeypatch.setattr(guard.subprocess, "Popen", lambda *_, **__: pytest.fail("read again"))
        load("shd", shd, nb_steps=12)

    def test_the_child_reads_to_the_end_or_to_a_fault_that_the_reader_reports(self, shd):
        good, bad = shd / "shd_train.h5", shd / "shd_test.h5"
        bad.write_bytes(b"no HDF5")
        command = [sys.executable, "-m", "datasets.guard", "60", good, bad]
        child = subprocess.run(command, cwd=guard.PLACE, capture_output=True, text=True)
        assert (child.returncode, child.stderr) == (0, "")
        assert child.stdout.splitlines() == ["0 0 1", "0 0 12", "1 0 1"]
