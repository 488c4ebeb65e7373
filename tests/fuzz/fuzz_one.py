# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One fuzzer at work: ``python -m tests.fuzz.fuzz_one TARGET [libFuzzer options] CORPUS``."""

import sys

import atheris

with atheris.instrument_imports(
    include=["parsers", "datasets", "training", "yaml", "zipfile", "torch._weights_only_unpickler"]
):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Hand this process over to libFuzzer."""
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
