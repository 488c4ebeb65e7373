# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A disk that is full ends no training, and what it had no room for is made good."""

import os
from pathlib import Path

import pytest
import torch
from resumption import OPTIONS, final_state, same_results

from training.record import files


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
