# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Fuzz a reader: ``python -m tests.fuzz TARGET --work FOLDER [libFuzzer options]``.

Needs ``pip install -r requirements-fuzz.txt``; with ``-max_total_time=600`` it takes ten minutes. A
finding ends it. FOLDER keeps the corpus, so that the next call goes on from it, and the findings;
add those to ``tests/fuzz/findings/TARGET`` with the change that mends them.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["parsers", "datasets", "training", "yaml", "zipfile", "torch._weights_only_unpickler"]
):
    from tests.fuzz.targets import PATIENCE, TARGETS, write_seeds

LARGEST = {"yaml": 2000, "hdf5": 16000, "wav": 4000, "checkpoint": 8000}  # bytes


def keeping(target: Callable[[bytes], None], folder: Path) -> Callable[[bytes], None]:
    """``target``, with every input that it raises for kept in ``folder``.

    libFuzzer keeps what hangs or kills the process, but not always what ends in an exception.
    """

    def read(data: bytes) -> None:
        try:
            target(data)
        except Exception as error:
            name = f"{type(error).__name__}-{hashlib.sha256(data).hexdigest()[:16]}"
            (folder / name).write_bytes(data)
            raise

    return read


def main() -> None:
    """Hand this process over to libFuzzer."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--work", type=Path, default=Path("fuzz"))
    options, others = parser.parse_known_args()
    corpus, findings = (options.work / options.target / name for name in ("corpus", "findings"))
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    write_seeds(options.target, corpus)
    limits = [f"-max_len={LARGEST[options.target]}", f"-timeout={PATIENCE}", "-rss_limit_mb=4096"]
    argv = [sys.argv[0], f"-artifact_prefix={findings}/", *limits, *others, str(corpus)]
    atheris.Setup(argv, keeping(TARGETS[options.target], findings))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
