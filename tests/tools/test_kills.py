# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""25 kills of each kind of neuron, in a process that shares no threads with this one."""

import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_killed_runs_resume_to_the_same_bits():
    command = [sys.executable, "-m", "tests.tools.kills", "25"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("every resumed run the same") == 2
