# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Train small networks one after another, and watch for growth: ``python -m tests.tools.soak``.

One process runs ``main.py`` again and again, over all models, and notes after every run its
resident memory, open files and threads. The first third of the runs fills caches and compiles
loops; over the rest a straight line is fitted to each, and growth of more than ``ALLOWED`` fails.
Prints the figures as JSON.
"""

import argparse
import contextlib
import gc
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import main as program
from parsers.model_config import ANN_TYPES, SNN_TYPES
from tests.tools.kills import write_data

MODELS = (*SNN_TYPES, *ANN_TYPES)
ALLOWED = {"rss_mb": 0.05, "open_files": 0.02, "threads": 0.02}  # growth over the rest, as a share
OPTIONS = {
    "dataset_name": "shd",
    "nb_epochs": 2,
    "nb_hiddens": 12,
    "nb_steps": 12,
    "spatial_bin": 35,
    "batch_size": 16,
    "seed": 3,
}


def run_once(number: int, data: Path, out: Path) -> None:
    """One training; RuntimeError if it does not end well."""
    values = {**OPTIONS, "data_folder": data, "new_exp_folder": out}
    values["model_type"] = MODELS[number % len(MODELS)]
    argv = [str(part) for name, value in values.items() for part in (f"--{name}", value)]
    with contextlib.redirect_stdout(io.StringIO()):
        status = program.main(argv)
    if status != 0:
        raise RuntimeError(f"run {number} ended with status {status}")
    shutil.rmtree(out)


def usage() -> dict:
    """What this process holds now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "rss_mb": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        "open_files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "python_threads": threading.active_count(),
    }


def growth(values: list[float]) -> float:
    """Rise of the fitted line over all values, as a share of their mean."""
    slope = statistics.linear_regression(range(len(values)), values).slope
    return slope * (len(values) - 1) / statistics.fmean(values)


def soak(minutes: float) -> dict:
    """Train for ``minutes``; the figures and the verdict."""
    records, begin = [], time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        data.mkdir()
        write_data(data)
        while time.monotonic() - begin < 60 * minutes or len(records) < 2 * len(MODELS):
            run_once(len(records), data, Path(name) / "out")
            gc.collect()
            records.append({"seconds": round(time.monotonic() - begin, 1), **usage()})
            print(f"run {len(records)}: {records[-1]}", file=sys.stderr, flush=True)
    rest = records[len(records) // 3 :]
    grown = {name: growth([record[name] for record in rest]) for name in ALLOWED}
    return {
        "minutes": round(records[-1]["seconds"] / 60, 1),
        "runs": len(records),
        "models": MODELS,
        "growth_over_last_two_thirds": {name: round(value, 4) for name, value in grown.items()},
        "allowed": ALLOWED,
        "verdict": "steady" if all(grown[n] <= ALLOWED[n] for n in ALLOWED) else "growing",
        "records": records[:: max(1, len(records) // 40)],
    }


def main(argv: list[str] | None = None) -> int:
    """Print the figures; 0 if nothing grows."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    result = soak(parser.parse_args(argv).minutes)
    print(json.dumps(result, indent=1))
    return int(result["verdict"] != "steady")


if __name__ == "__main__":
    sys.exit(main())
