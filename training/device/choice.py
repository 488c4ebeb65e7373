# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Where a run computes, how that device is set up, and the random numbers it draws."""

import contextlib
import ctypes
import mmap
import os
import random
import sys
from collections.abc import Iterator

import numpy as np
import torch

from training.errors import ExperimentError

# Parameters of mallopt, malloc.h of the GNU C library.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST = (1 << 31) - 1
HEAP, HUGE_PAGE = 3 << 29, 1 << 21  # bytes; above LARGEST it would be a mapping of its own
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
WORTH_A_THREAD = 400_000  # neuron steps of a batch (neurons x time steps x clips), as measured


def choose_device(gpu_device: int) -> torch.device:
    """CUDA device ``gpu_device``, or the CPU on a machine without any.

    Raises ExperimentError for a device that does not exist.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpu_device < available:
        return torch.device("cuda", gpu_device)
    if gpu_device == 0:
        return torch.device("cpu")
    raise ExperimentError(
        f"--gpu_device {gpu_device}: this machine has {available} CUDA devices"
        + (f", numbered from 0 to {available - 1}" if available else "; leave the flag out")
    )


def set_up(device: torch.device) -> None:
    """Make ``device`` ready for training steps."""
    if device.type == "cpu":
        keep_freed_memory()
    else:
        torch.cuda.set_device(device)  # PyTorch asks some things of "the" GPU


def describe_device(device: torch.device, most: int) -> str:
    """One line that says where the run computes; ``most`` CPU threads were at hand."""
    if device.type == "cuda":
        return f"Running on {torch.cuda.get_device_name(device)} ({device})"
    threads = torch.get_num_threads()
    found = f"No CUDA device found: running on the CPU with {threads}"
    if threads < most:
        return f"{found} of {most} threads, as more would slow down so small a network"
    return f"{found} thread{'s' * (threads > 1)}"


@contextlib.contextmanager
def threads_worth_waking(neuron_steps: int) -> Iterator[int]:
    """Within it PyTorch uses only as many CPU threads as speed up batches of so many neuron steps.

    Small operations are over before other threads have woken up. Gives the number there was, which
    stays as it is where the user has set ``OMP_NUM_THREADS``.
    """
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(before, max(1, neuron_steps // WORTH_A_THREAD)))
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> bool:
    """Have the C library keep freed memory for the next step; whether it will.

    By default large tensors are fresh mappings that the kernel fills with zeros page by page, about
    a tenth of a training step on a CPU. Of other C libraries, and where the user has set one of
    ``VARIABLES``, nothing is changed.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in VARIABLES):
        return False
    library = ctypes.CDLL(None)
    try:
        mallopt = library.mallopt
    except AttributeError:  # another C library
        return False
    keeps = all(mallopt(name, LARGEST) for name in (MMAP_THRESHOLD, TRIM_THRESHOLD))
    if keeps:
        use_huge_pages(library)
    return keeps


def use_huge_pages(library: ctypes.CDLL) -> None:
    """Have the next memory that the C ``library`` hands out come in pages of 2 MB, as far as the
    system has them: looking up where pages of 4 KB lie takes up to a fifth of a training step.

    It is asked for address space, and keeps that for what it is asked for next; memory is taken
    when it is first written.
    """
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if space := library.malloc(HEAP):
        begin = -(-space // HUGE_PAGE) * HUGE_PAGE
        library.madvise(begin, space + HEAP - begin, mmap.MADV_HUGEPAGE)
        library.free(space)


@contextlib.contextmanager
def determinism(asked: bool) -> Iterator[None]:
    """Within it PyTorch computes the same from the same, or refuses an operation that cannot.

    A run with the same seed on the same machine and back end then repeats bit by bit, also on a
    GPU. It has to be entered before the first matrix product there: cuBLAS reads its workspace
    setting once (https://docs.pytorch.org/docs/stable/notes/randomness.html). PyTorch would also
    fill new memory, in case something reads it before anything was written; that takes time, and
    nothing here does.
    """
    if not asked:
        yield
        return
    cudnn, filling = torch.backends.cudnn, torch.utils.deterministic
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        filling.fill_uninitialized_memory,
    )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    filling.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory = before[2:]


def generator_of(device: torch.device) -> torch.Generator:
    """The generator that steps on ``device`` (a GPU with its index) draw from."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index]
    return torch.default_generator


def random_state(device: torch.device) -> dict:
    """The state of every random number generator a run draws from, as tensors and lists."""
    version, internal, gauss = random.getstate()
    name, keys, *rest = np.random.get_state()
    state = {
        "torch": torch.get_rng_state(),
        "python": [version, list(internal), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict, device: torch.device) -> None:
    """Set every generator to a state that ``random_state`` gave."""
    torch.set_rng_state(state["torch"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
