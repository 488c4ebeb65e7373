# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Which module may import which: no circles, and floors in order."""

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
# What each package may import besides itself.
FLOORS = {
    "parsers": set(),
    "models": {"parsers"},
    "datasets": {"parsers", "models"},
    "training": {"parsers", "models", "datasets"},
    "analysis": {"parsers", "models", "datasets", "training"},
    "benchmarks": {"parsers", "models", "datasets", "training", "analysis"},
}


def module_name(path: Path) -> str:
    """parsers/load.py -> parsers.load, training/grid/__init__.py -> training.grid."""
    parts = path.relative_to(REPO).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {
    module_name(path): path for floor in FLOORS for path in sorted((REPO / floor).rglob("*.py"))
}


def imported(path: Path) -> set[str]:
    """Our modules that a file names in any import, within functions and for types as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not followed here"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in PATHS else node.module for name in full]
        else:
            continue
        found.update(name for name in names if name in PATHS)
    return found


@functools.cache
def imports() -> dict[str, set[str]]:
    """What each of our modules imports."""
    return {name: imported(path) for name, path in PATHS.items()}


def test_no_import_circle():
    try:
        graphlib.TopologicalSorter(imports()).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("floor", FLOORS)
def test_floors_stay_in_order(floor):
    allowed = FLOORS[floor] | {floor}
    wrong = {
        f"{name} imports {other}"
        for name, others in imports().items()
        if name.partition(".")[0] == floor
        for other in others
        if other.partition(".")[0] not in allowed
    }
    assert not wrong


# Floors below stay imported: a circle through them would be one between floors.
IMPORT_ALONE = """
import importlib, sys

for name in sys.argv[1:]:
    for loaded in [m for m in sys.modules if m.partition(".")[0] == name.partition(".")[0]]:
        del sys.modules[loaded]
    importlib.import_module(name)
"""


@pytest.mark.slow
def test_every_module_can_be_imported_alone():
    command = [sys.executable, "-c", IMPORT_ALONE, *PATHS]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
