# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Where tests of GPU kernels run: on a GPU and, without one, on the CPU in two ways.

Triton's interpreter runs the source of a kernel, and an emulated GPU what it is compiled to. Both
are switched on for a whole process, so each has one of its own: nothing else of the suite sees the
switch.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

REPO = Path(__file__).resolve().parents[2]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
EMULATED = "SPRACHE_EMULATES_GPU" in os.environ and not INTERPRETED
DEVICE = "cpu" if INTERPRETED or EMULATED else "cuda"

if EMULATED:
    from emulated_gpu import emulate_gpu

    emulate_gpu()


def without_gpu(test):
    """Runs in the processes that ``run_without_gpu`` starts."""
    return test if INTERPRETED or EMULATED else None


def with_or_without_gpu(test):
    """The same, and runs on a GPU where there is one."""
    return without_gpu(test) or pytest.mark.gpu(test)


def run_without_gpu(*files, **switch):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=REPO,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **switch},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def specified_on_cpu(run):
    """``run``, on the CPU if it is ``naive``: PyTorch's complex product on a GPU contracts."""

    def run_there(backend, **inputs):
        if backend == "naive":
            inputs = {name: x.cpu() if torch.is_tensor(x) else x for name, x in inputs.items()}
        return [x.to(DEVICE) for x in run(backend, **inputs)]

    return run_there
