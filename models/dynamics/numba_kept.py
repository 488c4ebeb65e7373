# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How CPU kernels are compiled, and kept on disk for the next start.

Numba finds what it has kept by a function's file, name, bytecode and closure, and by the types of
the arguments. So a name here says as well what the function uses, wherever that is defined: nobody
gets a kernel that was made of older code, or another neuron's.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable
from functools import partial
from types import CodeType

import numba
import numpy as np
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.codegen import get_host_cpu_features
from numba.core.compiler import Compiler
from numba.core.runtime import rtsys
from numba.extending import intrinsic

log = logging.getLogger("sprache")

CONSTANTS = bool, int, float, str, tuple, np.generic


def widen_vectors() -> bool:
    """Let LLVM use vectors of 512 bits where they do not slow the processor down.

    It avoids them on Intel's, the first of which lowered their clock for them; those with VBMI2,
    Ice Lake and later, hardly do. Whether this is one with VBMI2.
    """
    features = numba.config.CPU_FEATURES or get_host_cpu_features()
    has_vbmi2 = "+avx512vbmi2" in features.split(",")
    if numba.config.CPU_FEATURES is None and has_vbmi2:
        numba.config.CPU_FEATURES = f"{features},-prefer-256-bit"
    return has_vbmi2


HAS_VBMI2 = widen_vectors()


def brief(text: str) -> str:
    """What stands for ``text`` in the name of a file."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def identity(function: Callable, fastmath: Iterable[str] = ()) -> str:
    """What stands for the code of ``function`` and of all that it uses, the same at every start."""
    codes = [function.__code__]
    for code in codes:  # with what is defined within, such as the `code` of an instruction
        codes += [x for x in code.co_consts if isinstance(x, CodeType)]
    used = [function.__globals__.get(name) for code in codes for name in code.co_names]
    used += [cell.cell_contents for cell in function.__closure__ or ()]
    known = [x if isinstance(x, CONSTANTS) else getattr(x, "_uuid", None) for x in used]
    constants = [[x for x in code.co_consts if isinstance(x, CONSTANTS)] for code in codes]
    written = [(code.co_code, code.co_names) for code in codes]
    return brief(repr((written, constants, known, sorted(fastmath))))


def instruction(function: Callable) -> Callable:
    """As Numba's ``intrinsic``, for kernels that are kept."""
    made = intrinsic(function)
    made._set_uuid(f"{function.__module__}.{function.__qualname__} {identity(function)}")
    return made


def inlined(function: Callable) -> Callable:
    """Compile ``function`` into every kernel that calls it."""
    compiled = numba.njit(inline="always", error_model="numpy")(function)
    compiled._set_uuid(f"{function.__module__}.{function.__qualname__} {identity(function)}")
    return compiled


class _DistinctArrays(Compiler):
    """Numba's usual pipeline, with the promise that the array arguments of a kernel never overlap.

    Without that LLVM guards or gives up the vectorisation of loops over this many arrays, which
    makes a backward pass four times slower.
    """

    def define_pipelines(self):
        self.state.flags.noalias = True
        return super().define_pipelines()


class _OwnFiles(IndexDataCacheFile):
    """What Numba keeps of a function, each in a file that is named by what it is for.

    Numba numbers them. Of two processes that compile at the same time, each for other types, both
    may take the same number, and from then on one would run what is the other's.
    """

    def load(self, key):
        """What is kept for ``key``; None also where a file cannot be read or was cut short."""
        try:
            return super().load(key)
        except Exception as error:  # pickle raises nearly anything
            log.debug("a kept kernel cannot be read: %s", error)
            return None

    def save(self, key, data):
        """Keep ``data``; where two processes do at once, one of them may have to compile again, and
        where there is no room on the disk, every start."""
        name = f"{self._index_name.removesuffix('.nbi')}.{brief(repr(key))}.nbc"
        try:
            self._save_data(name, data)
            self._save_index(self._known() | {key: name})
        except OSError as error:
            log.debug("a compiled kernel is not kept: %s", error)

    def _known(self) -> dict:
        """The index, empty where it cannot be read."""
        try:
            return self._load_index()
        except Exception:
            return {}


class _Kept(FunctionCache):
    """What Numba keeps of a function, read without loading first what only a compilation needs."""

    def __init__(self, function: Callable):
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _OwnFiles(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig, target_context):
        rtsys.initialize(target_context)  # what counts the references to arrays
        return self._load_overload(sig, target_context)


def kernel(function: Callable, fastmath: Iterable[str] = ()) -> Callable:
    """Compile ``function(first_row, end_row, ...)`` on its first call; keep the result on disk.

    Strict IEEE arithmetic: nothing is re-associated or contracted, so that spikes equal the
    specification's. Array arguments must not overlap.
    """
    # The module is part of the name, too: `sprache` calls it otherwise.
    own = f"{function.__module__}.{function.__qualname__}.{identity(function, fastmath)}"
    function.__qualname__ = own
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath)}
    options |= {"pipeline_class": _DistinctArrays, "no_cfunc_wrapper": True}  # no C code calls it
    compiled = numba.njit(**options)(function)
    try:
        compiled._cache = _Kept(function)
    except RuntimeError as error:  # neither beside the source nor in the user's cache folder
        log.debug("compiled kernels are not kept: %s", error)
    compiled._set_uuid(own)
    return compiled


# Where only rounding is at stake, a product and a sum may be one instruction.
contracting_kernel = partial(kernel, fastmath={"contract"})
summing_kernel = partial(kernel, fastmath={"contract", "reassoc", "nsz"})  # in any order
