# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Build the package ``sprache`` from the folders of the repository; pyproject.toml has the rest."""

import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CHECKOUT = runpy.run_path("src/sprache/_checkout.py")
DATA = ("configs/*.yaml", "datasets/demo/*.gz*", "reference_models/demo_*/**/*.*")


class Build(build_py):
    """Put the repository's modules, and the files that they open, below ``sprache``.

    After ``pip install -e`` they stay where they are.
    """

    def run(self):
        package = Path(self.build_lib, "sprache")
        if not self.editable_mode:
            shutil.rmtree(package, ignore_errors=True)  # modules of an earlier build
        super().run()
        if self.editable_mode:
            return
        for part in CHECKOUT["PARTS"]:
            for path in [Path(f"{part}.py"), *Path(part).rglob("*.py")]:
                if path.is_file():
                    source = path.read_text(encoding="utf-8")
                    self.write(package / path, CHECKOUT["inside"](source).encode())
        for pattern in DATA:
            for path in filter(Path.is_file, Path().glob(pattern)):
                self.write(package / path, path.read_bytes())
        Path(package, "_checkout.py").unlink()

    def write(self, path: Path, content: bytes) -> None:
        """Write a file of the package."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


setup(cmdclass={"build_py": Build})
