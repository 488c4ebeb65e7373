# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""CUDA devices on a machine without any, for the tests.

    python -m tests.emulated_cuda main.py --config=demo.yaml --debug
    python -m tests.emulated_cuda -m pytest -m gpu

run Python with these arguments, and every Python that it starts, on ``cuda:0`` and ``cuda:1``: all
that is special to a GPU happens as it would there. Our kernels, compiled to PTX, are run by
`tests.dynamics.emulated_gpu`; operations of PyTorch by the CPU (`device.cpp`); a CUDA graph is a
list of both, which is repeated in the same memory. So the numbers are those of a CPU, and nothing
is learnt about speed.

These devices are stricter than real ones: new memory holds NaN, and so does memory that is given
back; waits for a device can be counted or forbidden; a graph that touches memory which has been
freed is an error.
"""

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("device.cpp")


class CannotEmulateError(Exception):
    """There can be no emulated devices on this machine, or with this build of PyTorch."""


def folder_of_torch() -> Path:
    """Where PyTorch is installed; does not import it."""
    return Path(importlib.util.find_spec("torch").origin).parent


def built() -> Path:
    """The library, compiled if it is not in the user's cache folder.

    Raises CannotEmulateError where there is no compiler, or a PyTorch with CUDA.
    """
    torch = folder_of_torch()
    if (torch / "lib" / "libtorch_cuda.so").exists():
        raise CannotEmulateError("this build of PyTorch has CUDA of its own")
    compiler = shutil.which("g++")
    if compiler is None:
        raise CannotEmulateError("there is no g++")
    key = SOURCE.read_bytes() + importlib.metadata.version("torch").encode()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    library = caches / "sprache" / f"emulated_cuda_{hashlib.sha256(key).hexdigest()[:16]}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        _compile(compiler, torch, library)
    return library


def _compile(compiler: str, torch: Path, library: Path) -> None:
    includes = [torch / "include", torch / "include" / "torch" / "csrc" / "api" / "include"]
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [compiler, "-std=c++20", "-O1", "-w", "-shared", "-fPIC"]
        command += [f"-I{include}" for include in includes]
        command += [str(SOURCE), "-o", str(made), f"-L{torch / 'lib'}", "-lc10", "-ltorch_cpu"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotEmulateError(f"g++ cannot compile {SOURCE.name}:\n{done.stderr[:2000]}")
        made.replace(library)


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
