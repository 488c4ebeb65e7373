# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a program does on a GPU, on emulated ones (`tests.emulated_cuda`)."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulated_cuda import CannotEmulateError, built

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def library():
    pytest.importorskip("triton")
    try:
        return built()
    except CannotEmulateError as error:
        pytest.skip(f"no emulated devices: {error}")


def run_tests(marked, *folders):
    """All tests of this mark in these folders pass on emulated devices, and none is skipped."""
    command = [sys.executable, "-m", "tests.emulated_cuda", "-m", "pytest", "-q", "-m", marked]
    command += ["-p", "no:cacheprovider", *folders]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "skipped" not in said


def test_the_devices_are_as_strict_as_they_claim_and_a_training_does_not_wait():
    run_tests("not slow", "tests/emulated_cuda")


@pytest.mark.slow
def test_no_training_waits():
    run_tests("slow", "tests/emulated_cuda")


@pytest.mark.slow
def test_the_tests_for_gpus_pass():
    run_tests("gpu", "tests/training", "tests/models", "tests/datasets")
