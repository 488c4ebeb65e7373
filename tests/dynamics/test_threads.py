# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How compiled CPU kernels share the threads."""

import importlib
import os
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("numba")
support = importlib.import_module("models.dynamics.numba_support")
sharing = importlib.import_module("models.dynamics.numba_threads")
kept = importlib.import_module("models.dynamics.numba_kept")

both = pytest.mark.parametrize("in_region", [True, False])


@pytest.fixture
def way(in_region, monkeypatch):
    """Threads of PyTorch's OpenMP library, or without it."""
    if in_region and sharing.openmp() is None:
        pytest.skip("this PyTorch has no OpenMP library that can be called")
    if not in_region:
        monkeypatch.setattr(sharing, "openmp", lambda: None)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or "OpenMP" not in torch.__config__.parallel_info(),
    reason="of PyTorch's wheels for Linux",
)
def test_the_openmp_library_is_found():
    assert sharing.openmp() is not None


@kept.kernel
def visit(first, end, factor, seen, own):
    """Count visits of rows, and in ``own`` [1] those of a thread, which takes milliseconds each."""
    for row in range(first, end):
        value = seen[row] + factor
        for _ in range(2_000_000):
            value = value * factor
        seen[row] = value
        own[0] += 1


@both
def test_threads_share_the_pieces(way):
    """Every row is visited once, whatever its numbers are; each thread has its own scratch."""
    for dtype in (np.float32, np.float64, np.float32):
        seen, own = np.zeros(40, dtype), np.zeros((2, 1), np.int64)
        bounds = [0, 0, 1, 7, *range(8, 41)]
        support.compile_first(visit, (dtype(1), seen, own[0]))
        sharing.run_pieces(visit, bounds, 2, (dtype(1), seen), (own,))
        assert (seen == 1).all()
        assert own.sum() == 40
        assert (own > 0).all()


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("in_region", [True])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_pytorchs_threads_outlive_work_for_fewer(way, four_threads):
    """GCC's library ends the threads that a region leaves out."""
    x, own = torch.zeros(4 << 20), np.zeros((2, 1), np.int64)

    def threads():
        x.add_(1)
        return set(os.listdir("/proc/self/task"))

    before = threads()
    for _ in range(3):
        seen = np.zeros(4, np.float32)
        sharing.run_pieces(visit, [0, 1, 2, 3, 4], 2, (np.float32(1), seen), (own,))
        assert (seen == 1).all()
        assert threads() == before


@kept.kernel
def increase(first, end, by, x):
    for row in range(first, end):
        x[row] += by


@both
@pytest.mark.parametrize("numbers", [(2, 1.5, np.float32(0.25), 3), (1.5, 2, True)])
def test_no_argument_is_converted_to_what_came_first(way, numbers):
    for step in (1, 2, 1):  # contiguous rows, and others
        for number in numbers:
            x = np.zeros(16, np.float32)[::step]
            sharing.run_pieces(increase, [0, 2, 4, 8], 2, (number, x), ())
            assert (x[:8] == np.float32(number)).all()


@kept.kernel
def refuse(first, end, row):
    if first <= row < end:
        raise ValueError("this row")


@both
def test_what_a_kernel_raises_on_a_thread_is_raised(way):
    support.compile_first(refuse, (5,))
    with pytest.raises((ValueError, RuntimeError), match=r"this row|refuse failed on one of 2"):
        sharing.run_pieces(refuse, list(range(10)), 2, (5,), ())
    sharing.run_pieces(refuse, list(range(10)), 2, (50,), ())


@both
def test_working_arrays_of_threads_do_not_meet(way):
    """As they are padded their parts lie apart, and begin with a line of the cache."""
    seen, own = np.zeros(9, np.float32), support.room(3, 5, 7, dtype=torch.int64, zero=True)
    assert all(part.ctypes.data % 64 == 0 for part in own)
    sharing.run_pieces(visit_plane, [0, 3, 6, 9], 3, (seen,), (own,))
    assert (seen == 1).all()
    assert (own == own[:, :1, :1]).all()
    assert own[:, 0, 0].sum() == 9


@kept.kernel
def visit_plane(first, end, seen, own):
    """The same with scratch [n, m], all of which is counted up."""
    for row in range(first, end):
        seen[row] += 1
        own[:] += 1
