# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The worked examples of CONTRIBUTING.md as code that can be run."""

import re
import sys
import types
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"


def python_blocks(section: str = "Add a neuron") -> list[str]:
    """The Python blocks of a section of the page.

    Those of "Add a neuron" are a layer of a known recurrence, a recurrence of its own, and the
    layer of that.
    """
    page = PAGE.read_text(encoding="utf-8")
    _, _, text = page.partition(f"\n## {section}\n")
    return re.findall(r"^```python\n(.*?)^```$", text.partition("\n## ")[0], re.M | re.S)


def run_block(code: str, name: str = "example") -> types.ModuleType:
    """A module of that name which holds what ``code`` defines."""
    module = types.ModuleType(name)
    exec(compile(code, str(PAGE), "exec"), vars(module))
    return module


def own_recurrence(monkeypatch) -> type:
    """The example's layer with a recurrence of its own, whose module is put where it is sought."""
    _, recurrence, layer = python_blocks()
    name = "models.dynamics.threshold"
    monkeypatch.setitem(sys.modules, name, run_block(recurrence, name))
    return run_block(layer).ALIFLayer
