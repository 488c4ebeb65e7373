# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One fuzzer at work: ``python -m tests.fuzz.fuzz_one TARGET [libFuzzer options] CORPUS``."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["parsers", "datasets", "training", "yaml", "zipfile", "torch._weights_only_unpickler"]
):
    from tests.fuzz.targets import TARGETS


def keeping(target: Callable[[bytes], None], folder: str) -> Callable[[bytes], None]:
    """``target``, with every input that it raises for kept in ``folder``.

    libFuzzer keeps what hangs or kills the process, but not always what ends in an exception.
    """

    def read(data: bytes) -> None:
        try:
            target(data)
        except Exception as error:
            name = f"{type(error).__name__}-{hashlib.sha256(data).hexdigest()[:16]}"
            (Path(folder) / name).write_bytes(data)
            raise

    return read


def main() -> None:
    """Hand this process over to libFuzzer."""
    target = TARGETS[sys.argv.pop(1)]
    folder = next(a.split("=", 1)[1] for a in sys.argv if a.startswith("-artifact_prefix="))
    atheris.Setup(sys.argv, keeping(target, folder))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
