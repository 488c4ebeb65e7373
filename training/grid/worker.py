# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One run of a grid in a process of its own, as ``training.grid.parallel`` starts it.

Standard input brings one line of JSON: the options of the run and its folder. When standard input
ends, the program that started this one is gone, and the run saves its state and stops.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from parsers.load import Config
from training.data.loading import DataCache
from training.device.choice import choose_device, determinism
from training.run import train_point
from training.terminal.console import exit_status, start_logging


def main() -> int:
    """Make the run; 0 if it has ended with a summary."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=stop_without_parent, daemon=True).start()
    start_logging()
    return exit_status("training.grid.worker", lambda: train(order))


def train(order: dict) -> int:
    """Train and test one point in its folder; 1 if it diverged."""
    point = Config.from_dict(order["values"])
    cache = DataCache(choose_device(point.training.gpu_device))
    with determinism(point.training.deterministic):
        result = train_point(point, Path(order["folder"]), cache, alone=False)
    return int("error" in result or "unwritten" in result)


def stop_without_parent() -> None:
    """Wait for the end of standard input, then stop this process as SIGTERM does."""
    while os.read(sys.stdin.fileno(), 1):  # sys.stdin itself must not be locked at exit
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
