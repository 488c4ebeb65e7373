# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Fuzz the readers: ``python -m tests.fuzz [TARGET ...] --minutes 10 --work FOLDER``.

Needs ``pip install -r requirements-fuzz.txt``. Every fuzzer runs in a process of its own, which is
started again after a finding. The work folder keeps the corpus, so that a later run goes on from
it, and the findings; add those to ``tests/fuzz/findings/TARGET`` with the change that mends them.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.targets import MEMORY, PATIENCE, TARGETS, write_seeds

REPO = Path(__file__).resolve().parents[2]
LARGEST = {"yaml": 2000, "hdf5": 16000, "wav": 4000, "checkpoint": 8000}  # bytes


def fuzz(target: str, seconds: float, work: Path) -> dict:
    """Fuzz one target; how many inputs it tried, and the findings."""
    corpus, findings = work / target / "corpus", work / target / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    write_seeds(target, corpus)
    end, tried, starts = time.monotonic() + seconds, 0, 0
    while (left := end - time.monotonic()) > 1:
        starts += 1
        tried += fuzz_until_finding(target, left, corpus, findings, work / target / "log.txt")
    return {
        "target": target,
        "minutes": round(seconds / 60, 1),
        "starts": starts,
        "inputs": tried,
        "corpus": len(list(corpus.iterdir())),
        "findings": sorted(path.name for path in findings.iterdir()),
    }


def fuzz_until_finding(target: str, seconds: float, corpus: Path, findings: Path, log: Path) -> int:
    """Run one fuzzer until it finds something or the time is over; the inputs it tried."""
    command = [
        *(sys.executable, "-m", "tests.fuzz.fuzz_one", target),
        *(f"-artifact_prefix={findings}/", f"-max_total_time={max(1, int(seconds))}"),
        *(f"-max_len={LARGEST[target]}", f"-timeout={PATIENCE}", "-rss_limit_mb=4096"),
        *("-print_final_stats=1", str(corpus)),
    ]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, errors="replace")
    with log.open("a", encoding="utf-8") as file:
        file.write(done.stderr[-20000:] + done.stdout[-20000:])
    counts = re.findall(r"number_of_executed_units:\s*(\d+)", done.stderr)
    counts = counts or re.findall(r"^#(\d+)\s", done.stderr, re.MULTILINE)
    return int(counts[-1]) if counts else 0


def main() -> int:
    """Fuzz, and print what came of it as JSON; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", default=[])
    parser.add_argument("--minutes", type=float, default=10, help="for each target")
    parser.add_argument("--work", type=Path, default=Path((MEMORY or Path.cwd()) / "fuzz"))
    options = parser.parse_args()
    results = []
    for target in options.targets or TARGETS:
        results.append(fuzz(target, 60 * options.minutes, options.work))
        print(json.dumps(results[-1]), flush=True)
    return int(any(result["findings"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
