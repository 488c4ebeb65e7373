# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Threads for compiled CPU kernels: PyTorch's own where they can be had.

Where PyTorch computes by OpenMP, its idle threads wait for more work by spinning, for milliseconds,
and would sit on the cores that threads of our own need. So the work is handed to them: a parallel
region of the OpenMP library that PyTorch has loaded is entered here, too. Elsewhere, and in forked
processes, where the threads of OpenMP are gone, there is a pool of our own; its idle threads sleep.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch

_Region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

_forked = False
_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def _after_fork() -> None:
    """Threads do not survive a fork; neither does a lock that one of them may hold."""
    global _forked, _pool, _pool_lock
    _forked, _pool, _pool_lock = True, None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@cache
def openmp() -> Callable | None:
    """The function by which PyTorch's OpenMP library enters a parallel region; None: it has none.

    GCC calls it for `#pragma omp parallel`, and LLVM's library has it under the same name:
    GOMP_parallel(region, data, threads, flags).
    """
    if "ATen parallel backend: OpenMP" not in torch.__config__.parallel_info():
        return None
    try:
        # A symbol is looked up in a library and in those that it needs itself.
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        enter = library.GOMP_parallel
    except (OSError, AttributeError):
        return None
    enter.argtypes = [_Region, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    enter.restype = None
    return enter


def run_on(threads: int, work: Callable[[], None]) -> None:
    """Call ``work()`` on up to ``threads`` threads at once, this one included, and wait for all.

    There may be fewer: every call has to take what is left to do, and ``work`` is called once more
    here when all others are done. What one of the calls raises is raised here.
    """
    enter = None if _forked else openmp()
    if enter is None:
        _run_on_own(threads, work)
    else:
        _run_in_region(enter, threads, work)
    work()


def _run_in_region(enter: Callable, threads: int, work: Callable[[], None]) -> None:
    errors = []

    def region(_):
        try:
            work()
        except BaseException as error:  # a signal's, too: nothing passes through a C function
            errors.append(error)

    enter(_Region(region), None, threads, 0)
    if errors:
        raise errors[0]


def _run_on_own(threads: int, work: Callable[[], None]) -> None:
    helpers = [_own().submit(work) for _ in range(threads - 1)]
    work()
    for helper in helpers:
        if not helper.cancel():  # a helper that never got its turn has nothing left to do
            helper.result()


def _own() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="sprache-dynamics")
        return _pool
