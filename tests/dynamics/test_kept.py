# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Compiled kernels that are kept on disk are those that are wanted."""

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")
kept = importlib.import_module("models.dynamics.numba_kept")
cpu = importlib.import_module("models.dynamics.cpu")
clips = importlib.import_module("models.dynamics.cpu_clips")


class Late(kept._OwnFiles):
    """What another process keeps, which looked at the folder before there was anything."""

    def _load_index(self):
        return {}


def test_what_two_processes_keep_at_once_is_not_mixed_up(tmp_path):
    class First(kept._OwnFiles):
        def _save_data(self, name, data):
            Late(*folder).save("second", "that of the second")
            super()._save_data(name, data)

    folder = str(tmp_path), "kernel", "stamp"
    First(*folder).save("first", "that of the first")
    found = kept._OwnFiles(*folder)
    assert (found.load("first"), found.load("second")) == (
        "that of the first",
        "that of the second",
    )


def test_the_same_is_kept_once(tmp_path):
    folder = str(tmp_path), "kernel", "stamp"
    for data in ("old", "new"):
        kept._OwnFiles(*folder).save("key", data)
    assert kept._OwnFiles(*folder).load("key") == "new"
    assert len(list(tmp_path.glob("*.nbc"))) == 1


def test_files_that_were_cut_short_are_written_again(tmp_path):
    files = kept._OwnFiles(str(tmp_path), "kernel", "stamp")
    for ending in (".nbc", ".nbi"):
        files.save("key", ["what is kept"] * 100)
        assert files.load("key") == ["what is kept"] * 100
        (file,) = tmp_path.glob(f"*{ending}")
        file.write_bytes(file.read_bytes()[:-5])
        assert files.load("key") is None
    files.save("key", "new")
    assert files.load("key") == "new"


def test_a_full_disk_only_means_that_nothing_is_kept(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    files = kept._OwnFiles(str(tmp_path), "kernel", "stamp")
    monkeypatch.setattr(kept._OwnFiles, "_open_for_write", full)
    files.save("key", "what is kept")
    assert files.load("key") is None


CALLS = """
@inlined
def change(x):
    return x {change}

def double(first, end, x):
    for row in range(first, end):
        x[row] = {scale} * change(x[row])
"""


def called(change, scale="SCALE"):
    """A function that calls another."""
    names = {"inlined": kept.inlined, "SCALE": 2, "__name__": "made"}
    exec(CALLS.format(change=change, scale=scale), names)
    return names["double"]


def test_a_kernel_is_known_by_all_that_it_uses():
    first, *others = (
        kept.identity(called(*given)) for given in (["+ 1"], ["+ 1"], ["+ 2"], ["+ 1", "3"])
    )
    assert [other == first for other in others] == [True, False, False]
    other = called("+ 1")
    other.__globals__["SCALE"] = 3
    assert kept.identity(other) != first
    assert kept.identity(called("+ 1"), {"contract"}) != first


def test_an_instruction_is_known_by_the_code_within_it():
    def instruction(operator):
        names = {}
        exec(f"def made(x):\n    def code(y):\n        return y {operator}\n    return code", names)
        return kept.identity(names["made"])

    assert instruction("+ 1") == instruction("+ 1")
    assert len({instruction(operator) for operator in ("+ 1", "+ 2", "- 1")}) == 3


def test_a_kernel_does_what_its_function_says():
    x = np.ones(3)
    compiled = kept.kernel(called("+ 1"))
    compiled(0, 2, x)
    assert x.tolist() == [4, 4, 1]
    assert kept.identity(called("+ 1")) in compiled.py_func.__qualname__


def test_neurons_have_kernels_of_their_own_names():
    """The forward kernel is the same whether it folds or not."""
    kinds = ("LIF", "adaptive", "inside", "outside", "balanced", "adapts scales", "hard")
    made = {
        (kind, surrogate, each, folds): cpu._kernels(kind, surrogate, each, folds)
        for kind in kinds
        for surrogate in ("boxcar", "triangle")
        for each in (False, True)
        for folds in (False, True)
    }
    names = {of: kernels.backward.py_func.__qualname__ for of, kernels in made.items()}
    assert len(set(names.values())) == len(names) == 56
    for find in (lambda kernels: kernels, clips.clip_kernels):
        found = [find(k).forward for (*_, folds), k in made.items() if not folds]
        assert len({compiled.py_func.__qualname__ for compiled in found}) == 28


LOADED = """
import sys, torch
from models.events_cpu import add_counts, sum_counts
assert sum_counts(torch.ones(2, 3, 70, dtype=torch.uint8)).tolist() == [[3] * 70] * 2
print(sum(add_counts.stats.cache_hits.values()), "numba.np.linalg" in sys.modules)
"""


def test_what_is_kept_is_read_without_what_compiling_needs(tmp_path):
    """Numba loads SciPy and half of itself, which takes longer than the first training step."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    repository = Path(kept.__file__).parents[2]
    said = [
        subprocess.run(
            [sys.executable, "-c", LOADED],
            cwd=repository, env=environment, check=True, text=True, stdout=subprocess.PIPE,
        ).stdout.split()
        for _ in "ab"
    ]  # fmt: skip
    assert said == [["0", "True"], ["1", "False"]]
