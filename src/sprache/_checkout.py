# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The repository as the package ``sprache``.

Its modules name each other from the root of the repository, as in ``from models.snns import SNN``.
Installed, they are parts of ``sprache`` and leave names such as ``datasets`` to other packages:
:func:`inside` turns the former into the latter. ``setup.py`` does that once, when a wheel is built;
after ``pip install -e`` :class:`Finder` does it at every import. In a program that has imported
``models`` of the repository already, ``sprache.models`` is the same module.
"""

import importlib
import re
import sys
from importlib import abc
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("analysis", "datasets", "main", "models", "parsers", "training")
IMPORT = re.compile(rf"^(\s*(?:from|import) )(?=(?:{'|'.join(PARTS)})\b)", re.MULTILINE)


def inside(source: str) -> str:
    """``source`` with imports from ``sprache``, line by line where they were from its parts."""
    return IMPORT.sub(r"\1sprache.", source)


class Loader(SourceFileLoader):
    """Loads a part of ``sprache`` from its file in the repository."""

    def get_code(self, fullname):
        return self.source_to_code(inside(self.get_source(fullname)), self.path)


class Alias(abc.Loader):
    """Gives a part of ``sprache`` that is imported under its own name."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(spec.name.removeprefix("sprache."))
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # as it was before it had two names


class Finder(abc.MetaPathFinder):
    """Finds ``sprache.models`` and so on in the folders of the repository."""

    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        package, *below = fullname.split(".")
        if package != "sprache" or not below or below[0] not in PARTS:
            return None
        ours = str(ROOT / below[0] / "__init__.py"), str(ROOT / f"{below[0]}.py")
        if getattr(sys.modules.get(below[0]), "__file__", None) in ours:
            return ModuleSpec(fullname, Alias())
        spec = PathFinder.find_spec(fullname, [str(ROOT)] if len(below) == 1 else path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Let Python import the parts of ``sprache`` from the repository."""
    sys.meta_path.insert(0, Finder())
