# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How compiled CPU kernels get threads.

Where PyTorch computes by OpenMP, its idle threads spin for milliseconds while they wait for more
work, and would occupy the cores that threads of our own need. So the work is handed to them: a
parallel region of the OpenMP library that PyTorch has loaded is entered here, too. Elsewhere, and
in forked processes, where the threads of OpenMP are gone, there is a pool whose idle threads sleep.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch

_Region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_STARTED_IN = os.getpid()


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
    enter = openmp() if os.getpid() == _STARTED_IN else None
    if enter is None:
        helpers = [_own(os.getpid()).submit(work) for _ in range(threads - 1)]
        work()
        for helper in helpers:
            if not helper.cancel():  # a helper that never got its turn has nothing left to do
                helper.result()
    else:
        errors = []

        def region(_):
            try:
                work()
            except BaseException as error:  # a signal's, too: nothing passes through a C function
                errors.append(error)

        enter(_Region(region), None, threads, 0)
        if errors:
            raise errors[0]
    work()


@cache
def _own(process: int) -> ThreadPoolExecutor:
    """The pool of a process: threads do not survive a fork."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="sprache-dynamics")
