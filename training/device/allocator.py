# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Host memory that a training step gives back and takes again."""

import ctypes
import os
import sys

# Parameters of mallopt, malloc.h of the GNU C library.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST = (1 << 31) - 1
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed, for the next step to use; whether it will.

    By default large tensors are fresh mappings that the kernel fills with zeros page by page, about
    a tenth of a training step on a CPU. Of other C libraries, and where the user has set one of
    ``VARIABLES``, nothing is changed.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in VARIABLES):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return all(mallopt(name, LARGEST) for name in (MMAP_THRESHOLD, TRIM_THRESHOLD))
