# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""CUDA devices on a machine without any, for the tests.

    python -m tests.emulated_cuda main.py --config=demo.yaml --debug
    python -m tests.emulated_cuda -m pytest -m gpu

run Python with these arguments, and every Python that it starts, on ``cuda:0`` and ``cuda:1``: all
that is special to a GPU happens as it would there. Our kernels, compiled to PTX, are run by
`tests.dynamics.emulated_gpu`; operations of PyTorch by the CPU (`device.cpp`); a CUDA graph is a
list of both, which is done again in the same memory. So the numbers are those of a CPU, and nothing
is learnt about speed.

These devices are stricter than real ones: new memory holds NaN, and so does memory that is given
back; what waits for a device can be counted or forbidden; a graph that touches memory which is no
longer there is an error.
"""

import ctypes
import sys

from tests.emulated_cuda.library import CannotEmulateError, built, folder_of_torch


def emulate() -> None:
    """Give this process its devices; PyTorch must not have been imported yet.

    Raises CannotEmulateError where that cannot be.
    """
    if "torch" in sys.modules:
        raise CannotEmulateError("PyTorch has been imported already")
    library, folder = built(), folder_of_torch() / "lib"
    ctypes.CDLL(str(folder / "libtorch_global_deps.so"), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(folder / "libtorch_cpu.so"))
    ctypes.CDLL(str(library))  # before PyTorch asks, once, what devices there are
    from tests.emulated_cuda.driver import replace_driver

    replace_driver()
