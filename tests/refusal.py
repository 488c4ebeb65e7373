# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How a user's mistake is answered: one line, exit code 2, no file touched. And what may go wrong
with any file: each damage takes the path of a sound one."""

import os
import pickle
from pathlib import Path

import numpy as np

import main
from tests.datasets.shd_files import write_spikes

SMALL = ["--nb_hiddens", "8", "--nb_steps", "10", "--nb_epochs", "1", "--seed", "1"]
SMALL += ["--backend", "naive"]


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


def good_clips(count: int = 24) -> dict:
    """Contents of a sound file in the SHD layout."""
    rng = np.random.default_rng(1)
    return {
        "times": [np.sort(rng.uniform(0, 0.9, 50)).astype("f2") for _ in range(count)],
        "units": [rng.integers(0, 700, 50).astype("u2") for _ in range(count)],
        "labels": (np.arange(count) % 20).astype("u2"),
    }


def small_data(folder: Path) -> Path:
    """A new folder with a small sound data set in the SHD layout."""
    folder.mkdir()
    for split in ("train", "test"):
        write_spikes(folder / f"shd_{split}.h5", good_clips())
    return folder


def cut(share):
    def damage(path):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return damage


def directory(path):
    path.unlink()
    path.mkdir()


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def symlink_loop(path):
    path.unlink()
    path.symlink_to(path.name)


def no_bytes(path):
    path.write_bytes(b"")


class Bomb:
    """Unpickled, it makes a folder ``exploded``."""

    def __reduce__(self):
        return (os.mkdir, ("exploded",))


def pickled(path):
    path.write_bytes(pickle.dumps({"snn.0.W.weight": Bomb()}))
