# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How a user's mistake is to be answered: one line, exit code 2, no file touched."""

import os
from pathlib import Path

import h5py
import numpy as np

import main

SMALL = ["--nb_hiddens", "8", "--nb_steps", "10", "--nb_epochs", "1", "--seed", "1"]


def snapshot(folder: Path) -> dict:
    """Every file below ``folder`` with its content; frames beside data and locks are left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if ".frames" in path.parts or path.name == ".lock":
            continue
        if path.is_symlink():
            found[path] = os.readlink(path)
        else:
            found[path] = path.read_bytes() if path.is_file() else None
    return found


def refused(argv, tmp_path, monkeypatch, capsys) -> str:
    """Run main.py, check the manners of its refusal, and return the line."""
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    status = main.main([str(arg) for arg in argv])
    captured = capsys.readouterr()
    assert status == 2, captured
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("main.py: error: ")
    assert "Traceback" not in captured.out
    after = snapshot(tmp_path)
    assert after == before, [str(path) for path in {*after} ^ {*before}]
    return captured.err.strip()


def write_clips(path, times, units, labels):
    """A file in the SHD layout."""
    with h5py.File(path, "w") as file:
        for name, values, kind in (("times", times, "f2"), ("units", units, "u2")):
            rows = file.create_dataset(
                f"spikes/{name}", (len(values),), h5py.vlen_dtype(np.dtype(kind))
            )
            for i, row in enumerate(values):
                rows[i] = np.asarray(row, kind)
        file["labels"] = np.asarray(labels, "u2")


def good_clips(count=24):
    """Times, units and labels of sound clips."""
    rng = np.random.default_rng(1)
    times = [np.sort(rng.uniform(0, 0.9, 50)) for _ in range(count)]
    units = [rng.integers(0, 700, 50) for _ in range(count)]
    return times, units, list(np.arange(count) % 20)


def small_data(folder: Path) -> Path:
    """A new folder with a small sound data set in the SHD layout."""
    folder.mkdir()
    for split in ("train", "test"):
        write_clips(folder / f"shd_{split}.h5", *good_clips())
    return folder
