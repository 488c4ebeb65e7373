# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a run writes down: where figures come from; a full disk ends no training."""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from resumption import OPTIONS, final_state, same_results

from training import experiment
from training.record import files, recorder
from training.record.recorder import code_version
from training.results import groups
from training.terminal.console import log, log_file


def test_a_disk_that_fills_within_a_file_does_not_end_a_training(
    train, tmp_path, monkeypatch, capsys
):
    """As PyTorch's archives are written piece by piece."""
    write = Path.write_bytes

    def full(path, content):
        if "last.pth" in path.name:
            write(path, bytes(content)[:1000])
            raise OSError(28, os.strerror(28))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert train(new_exp_folder="out") == 0
    assert "Cannot write the state to resume from (No space left" in capsys.readouterr().out
    assert (tmp_path / "out" / "summary.json").exists()
    assert sorted(f.name for f in (tmp_path / "out" / "checkpoints").iterdir()) == [
        "best_model.pth"
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_reported_as_one(monkeypatch):
    def onto_full(path, fill):
        fill(Path("/dev/full"))

    monkeypatch.setattr(files, "write_atomic", onto_full)
    with pytest.raises(OSError, match="No space left"):
        files.write_torch(Path("best.pth"), {"weights": torch.zeros(100_000)})


def test_names_that_are_not_utf_8_are_written_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "handlers", [])  # pytest's among them; its workers send UTF-8 only
    name = os.fsdecode("dä".encode("latin-1"))
    files.write_text(tmp_path / "page", f"<p>{name}")
    assert (tmp_path / "page").read_text(encoding="utf-8") == "<p>dä"
    with log_file(tmp_path / "log"):
        log.warning("read %s", name)
    assert "read d\\udce4" in (tmp_path / "log").read_text(encoding="utf-8")


def refuse_the_best(monkeypatch, refused):
    """Let the disk have no room for the best weights in some of its calls."""
    write, calls = files.write_atomic, iter(range(10_000))

    def full(path, fill):
        if path.name == "best_model.pth" and next(calls) in refused:
            raise OSError(28, os.strerror(28))
        write(path, fill)

    monkeypatch.setattr(files, "write_atomic", full)


def test_the_best_weights_are_tried_again_at_the_end(train, whole, tmp_path, monkeypatch):
    bests = sum("  best" in line for line in (whole / "log/exp.log").open())
    refuse_the_best(monkeypatch, range(bests))
    assert train(new_exp_folder="out", **OPTIONS) == 0
    same_results(whole, tmp_path / "out")


def test_a_run_without_its_best_weights_is_unfinished_and_resumed(
    train, whole, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patched:
        refuse_the_best(patched, range(10_000))
        assert train(new_exp_folder="out", **OPTIONS) == 1
    assert "No summary.json without the best model" in capsys.readouterr().out
    assert not (tmp_path / "out" / "summary.json").exists()
    assert train(new_exp_folder="out", resume="auto", **OPTIONS) == 0
    resumed, expected = final_state(tmp_path / "out"), final_state(whole)
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in expected.items())


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


@pytest.mark.parametrize("lost", ["draw_curves", "log_summary", "group_over_seeds"])
def test_no_picture_and_no_table_costs_a_run(lost, train, tmp_path, monkeypatch, capsys):
    place = {"log_summary": experiment, "group_over_seeds": groups}.get(lost, recorder)
    with monkeypatch.context() as patched:
        patched.setattr(place, lost, Mock(side_effect=ValueError("not a valid backend")))
        assert train(new_exp_folder="out", seed=[1, 2], nb_epochs=1) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "Cannot write" in line]
    assert len(said) == (1 if lost == "group_over_seeds" else 2)
    assert all("(ValueError: not a valid backend)" in line for line in said)
    assert len(list(tmp_path.glob("out/*/summary.json"))) == 2
    for jobs in (1, 2):
        for picture in tmp_path.glob("out/*/curves.png"):
            picture.unlink()
        assert train(new_exp_folder="out", seed=[1, 2], nb_epochs=1, resume="auto", jobs=jobs) == 0
        assert len(list(tmp_path.glob("out/*/curves.png"))) == 2
