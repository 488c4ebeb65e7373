# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Work spread over PyTorch's threads, or over a pool of our own."""

import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from models.dynamics import threads

REPO = Path(__file__).resolve().parents[2]

both = pytest.mark.parametrize("in_region", [True, False])


@pytest.fixture
def way(in_region, monkeypatch):
    """Threads of PyTorch's OpenMP library, or without it."""
    if in_region and threads.openmp() is None:
        pytest.skip("this PyTorch has no OpenMP library that can be called")
    if not in_region:
        monkeypatch.setattr(threads, "openmp", lambda: None)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or "OpenMP" not in torch.__config__.parallel_info(),
    reason="of PyTorch's wheels for Linux",
)
def test_the_openmp_library_is_found():
    assert threads.openmp() is not None


@both
def test_everything_is_done_once_by_several_threads(way):
    turns, seen, who = itertools.count(), [], set()

    def work():
        while (turn := next(turns)) < 40:
            time.sleep(0.002)  # the others get their turn
            seen.append(turn)
            who.add(threading.get_ident())

    threads.run_on(3, work)
    assert sorted(seen) == list(range(40))
    assert 1 < len(who) <= 3


@both
def test_what_is_left_is_done_here(way):
    """If no other thread came, or one of them stopped early."""
    turns, seen = itertools.count(), []

    def work():
        seen.append(next(turns))  # one turn a call, three calls at most, and one more at the end

    threads.run_on(3, work)
    assert 2 <= len(seen) <= 4
    assert seen[-1] == len(seen) - 1


@both
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_errors_come_back(way, kind):
    calls = itertools.count()

    def work():
        if next(calls) == 0:
            raise kind("of a thread")

    with pytest.raises(kind, match="of a thread"):
        threads.run_on(2, work)


def test_the_threads_are_pytorchs():
    """A region of as many threads as PyTorch has makes none of its own."""
    code = (
        "import os, torch\n"
        "from models.dynamics import threads\n"
        "torch.set_num_threads(3)\n"
        "torch.ones(1 << 22).exp().sum()\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "threads.run_on(3, lambda: None)\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    if threads.openmp() is None or not Path("/proc/self/task").is_dir():
        pytest.skip("no threads to be counted")
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, check=True)
    assert done.stdout.split() == [b"0"]
