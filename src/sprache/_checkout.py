# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The repository as the package ``sprache``.

Its modules name each other from the root of the repository, as in ``from models.snns import SNN``.
Installed, they are parts of ``sprache`` and leave names such as ``datasets`` to other packages:
:func:`inside` turns the former into the latter. ``setup.py`` does that once, when a wheel is built;
after ``pip install -e`` :class:`Finder` does it at every import. In a program that imports both
``sprache.models`` and ``models`` of the repository, in any order, they are the same module.
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
PART = rf"(?:{'|'.join(PARTS)})\b"
IMPORT = re.compile(rf"^(\s*(?:from|import) )(?={PART})", re.MULTILINE)
COMMAND = re.compile(rf'(\bpython -m |^PROGRAM = ")(?={PART})', re.MULTILINE)


def inside(source: str) -> str:
    """``source`` with imports from ``sprache``, line by line where they were from its parts, and
    the commands that it tells users as they are then."""
    source = COMMAND.sub(r"\1sprache.", IMPORT.sub(r"\1sprache.", source))
    source = source.replace('PROGRAM = "sprache.main.py"', 'PROGRAM = "sprache"')
    return source.replace("python main.py", "python -m sprache")


class Loader(SourceFileLoader):
    """Loads a part of ``sprache`` from its file in the repository."""

    def get_code(self, fullname):
        return self.source_to_code(inside(self.get_source(fullname)), self.path)


class Alias(abc.Loader):
    """Gives a module that is imported under its ``other`` name."""

    def __init__(self, other: str):
        self.other = other

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.other)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # as it was before it had two names


class Finder(abc.MetaPathFinder):
    """Finds ``sprache.models`` and so on in the folders of the repository.

    The name by which a part is imported first is its modules' own; the other gives the same ones.
    """

    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        plain = fullname.removeprefix("sprache.")
        part, *below = plain.split(".")
        if part not in PARTS:
            return None
        if plain != fullname:
            if is_first(part, part):
                return ModuleSpec(fullname, Alias(plain))
            spec = PathFinder.find_spec(fullname, path if below else [str(ROOT)])
            if spec is not None and isinstance(spec.loader, SourceFileLoader):
                spec.loader = Loader(spec.loader.name, spec.loader.path)
            return spec
        if not is_first(f"sprache.{part}", part):
            return None
        # Another package may be called like the part.
        top = sys.modules.get(part) if below else PathFinder.find_spec(part)
        found = getattr(top, "__file__" if below else "origin", None)
        return ModuleSpec(fullname, Alias(f"sprache.{plain}")) if is_ours(found, part) else None


def is_first(name: str, part: str) -> bool:
    """Whether a ``part`` of the repository has been imported, and first by this ``name``."""
    module = sys.modules.get(name)
    return getattr(module, "__name__", None) == name and is_ours(module.__file__, part)


def is_ours(file: str | None, part: str) -> bool:
    """Whether a ``part`` in this file is that of the repository."""
    ours = ROOT / part / "__init__.py", ROOT / f"{part}.py"
    return file is not None and Path(file).resolve() in ours


def install() -> None:
    """Let Python import the parts of ``sprache`` from the repository."""
    sys.meta_path.insert(0, Finder())
