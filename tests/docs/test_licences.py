# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Every file of the repository says under which licence it is, as https://reuse.software asks."""

import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


def test_every_file_has_a_licence():
    """Which a file that was added by mistake has not."""
    if not (REPO / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, check=True)
    names = listed.stdout.decode().strip("\0").split("\0")
    annotated = tomllib.loads((REPO / "REUSE.toml").read_text())["annotations"]
    patterns = [pattern for entry in annotated for pattern in entry["path"]]

    def is_licensed(name: str) -> bool:
        if name.startswith("LICENSES/") or f"{name}.license" in names:
            return True
        if any(fnmatch(name, pattern) for pattern in patterns):
            return True
        return b"SPDX-License-Identifier: " in (REPO / name).read_bytes()[:1000]

    assert not [name for name in names if not is_licensed(name)]
