# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One declaration is all that a new option needs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from parsers.load import REPOSITORY

LAST = "    only_createsweep: bool"
DECLARATION = """\
    made_up: float = schedule(
        0.5, within=">= 0", needs=AUDIO, help="an option that nothing uses"
    )
"""


def test_an_option_is_added_in_one_place(tmp_path):
    path = shutil.copytree(REPOSITORY / "parsers", tmp_path / "parsers") / "training_config.py"
    text = path.read_text()
    assert text.count(LAST) == 1
    path.write_text(text.replace(LAST, DECLARATION + LAST))
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("use_made_up.py")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
