# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What summary.json says about where figures come from."""

import hashlib
import json
import subprocess

import pytest

from training.record.recorder import code_version


def git(folder, *arguments):
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *author, *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    """A repository with one commit, which is not asked about before."""
    code_version.cache_clear()
    git(tmp_path, "init", "-q")
    (tmp_path / "main.py").write_text("print()\n")
    git(tmp_path, "add", "main.py")
    git(tmp_path, "commit", "-qm", "first")
    yield tmp_path
    code_version.cache_clear()


def test_a_clean_checkout(checkout):
    (checkout / "exp").mkdir()
    (checkout / "exp" / "notes.txt").write_text("no code")
    found = code_version(checkout)
    assert len(found["commit"]) == 40
    assert (found["dirty"], found["changed_files"]) == (False, [])


@pytest.mark.parametrize("name", ["main.py", "neuron.py"])
def test_changed_and_new_code_is_dirty(checkout, name):
    (checkout / name).write_text("print(1)\n")
    found = code_version(checkout)
    assert (found["dirty"], found["changed_files"]) == (True, [name])


def test_a_checkout_around_the_code_says_nothing_about_it(checkout):
    inner = checkout / "unpacked"
    inner.mkdir()
    (inner / "main.py").write_text("print()\n")
    assert code_version(inner) is None


def test_without_git_or_with_one_that_hangs(checkout, monkeypatch):
    def hang(*_, **__):
        raise subprocess.TimeoutExpired("git", 10)

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", hang)
        assert code_version(checkout) is None
    code_version.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert code_version(checkout) is None


def test_a_summary_names_code_data_and_device(whole, spikes_folder):
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["code"] == code_version()
    assert summary["device"]["type"] in ("cpu", "cuda")
    assert {"python", "torch", "numpy", "h5py"} <= summary["versions"].keys()
    assert summary["data_checksums"] == {
        name: hashlib.sha256((spikes_folder / name).read_bytes()).hexdigest()
        for name in ("shd_train.h5", "shd_test.h5")
    }
