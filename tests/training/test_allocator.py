# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Freed memory stays with the process: later tensors of that size cause no page faults."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from training.device import choice as allocator

REPO = Path(__file__).resolve().parents[2]
PAGE_FAULTS = """
import resource
import numpy
from training.device.choice import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.empty(64 << 20, numpy.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def least():
    faults()
    return min(faults() for _ in range(3))

print(least(), keep_freed_memory(), least())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_used_again():
    environment = {k: v for k, v in os.environ.items() if k not in allocator.VARIABLES}
    command = [sys.executable, "-c", PAGE_FAULTS]
    finished = subprocess.run(
        command, cwd=REPO, env=environment, capture_output=True, text=True, check=True
    )
    before, kept, after = finished.stdout.split()
    assert kept == "True"
    assert int(after) < 100
    assert int(before) > int(after)


@pytest.mark.parametrize("name", allocator.VARIABLES)
def test_what_the_user_has_set_stays(name, monkeypatch):
    monkeypatch.setenv(name, "131072")
    assert not allocator.keep_freed_memory()


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()
