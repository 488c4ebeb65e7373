# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Fuzz a reader: ``python -m tests.fuzz TARGET FOLDER [libFuzzer options]``.

Needs ``pip install -r requirements-fuzz.txt``; with ``-max_total_time=600`` it takes ten minutes. A
finding ends it. FOLDER keeps the corpus, which the next call continues from, and the findings; add
those to ``tests/fuzz/findings/TARGET`` with the change that fixes them.
"""

import hashlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["parsers", "datasets", "training", "yaml", "zipfile", "torch._weights_only_unpickler"]
):
    from tests.fuzz.targets import PATIENCE, TARGETS, write_seeds


def main() -> None:
    """Hand this process over to libFuzzer."""
    program, target, folder, *others = sys.argv
    corpus, findings = (Path(folder) / name for name in ("corpus", "findings"))
    for place in (corpus, findings):
        place.mkdir(parents=True, exist_ok=True)
    write_seeds(target, corpus)

    def read(data: bytes) -> None:
        try:
            TARGETS[target](data)
        except Exception:  # libFuzzer keeps what hangs or kills the process, but not always these
            (findings / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
            raise

    limits = ["-max_len=16000", f"-timeout={PATIENCE}", "-rss_limit_mb=4096"]
    atheris.Setup([program, f"-artifact_prefix={findings}/", *limits, *others, str(corpus)], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
