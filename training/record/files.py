# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Writing files so that a half-written one never stands under its final name."""

import contextlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from training.terminal.console import log


@contextlib.contextmanager
def going_on_without(what: str) -> Iterator[None]:
    """Log an error of the disk instead of ending the training."""
    try:
        yield
    except OSError as error:
        log.error(
            "Cannot write %s (%s); training continues without it", what, error.strerror or error
        )


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then give it its final name.

    The temporary file is removed if anything fails; OSError passes through.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writers that were killed; none may be at work in ``folder``."""
    for path in folder.glob(".*.tmp"):
        if re.fullmatch(r"\..+\.(\d+|previous)\.tmp", path.name):
            with contextlib.suppress(OSError):
                path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_yaml(path: Path, content: dict) -> None:
    """Write ``content`` as YAML, keys in their own order."""
    write_text(path, yaml.safe_dump(content, sort_keys=False))


def write_torch(path: Path, content: Any) -> None:
    """Write tensors and plain containers so that ``torch.load(weights_only=True)`` reads them."""
    whole = io.BytesIO()  # torch.save into a file makes a RuntimeError of a disk that is full
    torch.save(content, whole)
    write_atomic(path, lambda temporary: temporary.write_bytes(whole.getbuffer()))


def as_line(record: dict) -> str:
    """One JSON object as a line."""
    return json.dumps(record, allow_nan=False) + "\n"


def append_line(path: Path, record: dict) -> None:
    """Append one JSON object as a line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(as_line(record))


def read_lines(path: Path) -> list[dict]:
    """The objects of a file of lines; a last line cut short by a crash is skipped."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return records
