# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Which version of the code computes."""

import os
import subprocess
from functools import cache
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PATIENCE = 10  # s; a git that waits for a network drive holds up no training


@cache
def code_version(folder: Path = REPO) -> dict | None:
    """Commit of the git checkout that the code lies in, and whether files differ from it.

    New Python files count as a difference too. None without git, or where the code lies in no
    checkout. It is asked once, early in a run: what is edited later is not what computes.
    """
    if _git(folder, "ls-files", "--error-unmatch", "main.py") is None:
        return None  # a checkout around the code, of something else
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    new = _git(folder, "ls-files", "--others", "--exclude-standard", "--", "*.py")
    if commit is None or changed is None or new is None:
        return None
    files = [line[3:] for line in changed.splitlines()] + new.splitlines()
    return {"commit": commit.strip(), "dirty": bool(files), "changed_files": sorted(files)[:20]}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, None if it cannot be run or refuses."""
    # Hooks set variables that point git to another checkout.
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            env=environment,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
