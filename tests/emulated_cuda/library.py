# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The C++ part of the emulated devices, compiled once for a source and a release of PyTorch."""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
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
