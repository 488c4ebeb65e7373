# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""SHA-256 sums of data files, computed once for each state of a file."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from datasets.unpack import BLOCK, atomic_file, path_digest, user_cache_folder

LEAST_SHOWN = 1 << 30  # bytes; smaller files are hashed before a bar could be read


def sha256_of_file(path: Path) -> str:
    """SHA-256 of the content of ``path``, in hexadecimal digits.

    It is noted in ``.frames/`` beside the file or, where that cannot be written, in the user's
    cache folder, and read back for as long as size and modification time stay the same.
    """
    known = known_sum(path)
    if known is not None:
        return known
    stat = path.stat()
    found = _hash(path)
    note = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": found}
    for target in _notes(path):
        with suppress(OSError), atomic_file(target) as file:
            file.write(json.dumps(note).encode())
            break
    return found


def known_sum(path: Path) -> str | None:
    """The SHA-256 that was noted for the present state of ``path``, None where there is none."""
    stat = path.stat()
    for target in _notes(path):
        with suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(target.read_text(encoding="utf-8"))
            if (note["bytes"], note["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns):
                return note["sha256"]
    return None


def _notes(path: Path) -> tuple[Path, Path]:
    name = f"{path.name}.sha256.json"
    elsewhere = user_cache_folder() / "frames" / path_digest(path.parent)
    return path.parent / ".frames" / name, elsewhere / name


def _hash(path: Path) -> str:
    digest, size = hashlib.sha256(), path.stat().st_size
    with (
        open(path, "rb") as file,
        tqdm(
            total=size,
            desc=f"checksum of {path.name}",
            unit="B",
            unit_scale=True,
            leave=False,
            disable=None if size > LEAST_SHOWN else True,
        ) as bar,
    ):
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()
