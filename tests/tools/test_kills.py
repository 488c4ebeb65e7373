# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The 25 kills of each kind of neuron, in a process that shares no threads with this one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_killed_runs_end_as_if_they_had_not_been():
    command = [sys.executable, "-m", "tests.tools.kills", "--kills", "25"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [report["model"] for report in reports] == ["SiLIF", "RadLIF"], done.stderr[-2000:]
    for report in reports:
        assert report["differ"] == []
        assert report["same"] == report["kills"] == 25
