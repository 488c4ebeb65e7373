# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What the benchmarks have in common: their arguments, and the file they write."""

import argparse
import json
from pathlib import Path

import torch

from parsers.program import check_file, numeric
from training.device.choice import keep_freed_memory
from training.record.files import write_text

RESULTS = Path(__file__).parent / "results"
MOST_THREADS = 1024


def add_common(parser: argparse.ArgumentParser) -> None:
    """The arguments of every benchmark."""
    parser.add_argument("--quick", action="store_true", help="small and few rounds: a check")
    parser.add_argument(
        "--threads",
        type=numeric(int, 1, MOST_THREADS),
        help="CPU threads; by default PyTorch's choice",
    )
    add_out(parser)


def add_out(parser: argparse.ArgumentParser) -> None:
    """The argument that says where the results go."""
    parser.add_argument("--out", type=Path, help="JSON file to write; by default in results/")


def set_up(options: argparse.Namespace, name: str, device: str) -> Path:
    """Take over ``--threads``, treat memory as training does; the file to write, which can be."""
    if options.threads:
        torch.set_num_threads(options.threads)
    if device == "cpu":
        keep_freed_memory()
    return to_write(options.out, f"{name}_{device}_{torch.get_num_threads()}threads.json")


def to_write(out: Path | None, name: str) -> Path:
    """``out``, else ``name`` in results/, with its folder; ConfigError if it cannot be written."""
    file = out or RESULTS / name
    check_file("--out", file)
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def write(file: Path, result: dict) -> None:
    """Write what was measured so far."""
    write_text(file, json.dumps(result, indent=1) + "\n")
