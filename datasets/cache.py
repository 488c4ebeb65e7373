# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Arrays that are computed once, kept in one checked file, and read back by later runs."""

import io
import json
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from datasets.files import (
    BLOCK,
    LEAST_SHOWN,
    atomic_file,
    cache_files,
    in_words,
    is_disk_full,
    remove_leftovers,
    require_room,
)

FORMAT_VERSION = 2
MAGIC = b"SPRACHE-FRAMES "
FIRST_LINE = len(MAGIC) + 9  # the checksum in 8 hexadecimal digits, and a newline
HEADER_BYTES = 4096  # one page, so that the arrays behind it are aligned
FACTS = "facts"  # the array that holds them as JSON


class Cached(NamedTuple):
    """``facts`` (what JSON can hold) and ``arrays`` by name."""

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Sink:
    """Writes arrays behind one another; ``layout`` is [name, type, shape] of each.

    ``folder`` is where ``file`` lies, None for one in memory; ``tell`` is told the size of a large
    array before it is written.
    """

    def __init__(self, file: BinaryIO, folder: Path | None, tell: Callable[[str], None] = print):
        self.file, self.folder, self.tell = file, folder, tell
        self.checksum = 0
        self.layout: list[tuple[str, str, list[int]]] = []

    def append(self, name: str, rows: np.ndarray, *, of: int | None = None) -> None:
        """Add ``rows`` [n, ...] to array ``name``, which has ``of`` rows in the end, if known.

        The pieces of an array follow each other. Raises OSError where its end has no room, and
        MemoryError where it will not fit in memory.
        """
        rows = np.ascontiguousarray(rows)
        if self.layout and self.layout[-1][0] == name:
            self.layout[-1][2][0] += len(rows)
        else:
            nbytes = rows[:1].nbytes * (of or 0)
            np.empty(nbytes, np.uint8)  # it is read as a whole: a MemoryError now, not then
            if self.folder is not None:
                require_room(self.folder, nbytes)
                if nbytes > LEAST_SHOWN:
                    self.tell(f"{in_words(nbytes)} in {self.folder}")
            self.layout.append((name, rows.dtype.str, list(rows.shape)))
        block = rows.reshape(-1).view(np.uint8).data
        self.file.write(block)
        self.checksum = zlib.crc32(block, self.checksum)


def load_or_make(
    folder: Path,
    name: str,
    key: dict[str, Any],
    make: Callable[[Sink], dict[str, Any]],
    *,
    what: str,
    remake: str,
    say: Callable[[str], None],
) -> Cached:
    """What ``make`` computes, from the cache or else computed and cached.

    The cache is the file ``name`` in ``folder/.frames`` or, where that cannot be written, in the
    user's cache folder (``$SPRACHE_CACHE``, else ``~/.cache/sprache``). Without room anywhere the
    arrays are made in memory.

    Args:
        folder: where the data lie.
        name: of the file; a cache under another key is overwritten.
        key: what the arrays depend on, as plain JSON.
        make: passes arrays to the sink, and returns facts as plain JSON. It may be called again
            when the disk fills up.
        what, remake: words for the lines about a cache that cannot be kept or is damaged.
        say: takes one line at a time for the user.

    Raises MemoryError where the arrays do not fit in memory, and what ``make`` raises.
    """
    key = {"version": FORMAT_VERSION, **key}
    targets = cache_files(folder, name)
    for target in targets:
        remove_leftovers(target.parent)
        try:
            cached = _read(target, key)
        except _DamagedCacheError:
            say(f"{target} is damaged: {remake}")
            continue
        if cached is not None:
            return cached
    refusals = []
    for target in targets:
        try:
            with atomic_file(target) as file:
                _fill(Sink(file, target.parent, lambda size: say(f"{what} take {size}")), key, make)
            if cached := _read(target, key):
                return cached
        except _DamagedCacheError:
            refusals.append(f"{target.parent}: does not keep what is written to it")
        except OSError as error:
            refusals.append(f"{target.parent}: {error.strerror or error}")
            if is_disk_full(error):
                break
    say(f"{what} are not cached ({'; '.join(refusals)})")
    memory = io.BytesIO()
    _fill(Sink(memory, None), key, make)
    memory.seek(0)
    return _parse(memory, key)


class _DamagedCacheError(Exception):
    """A cache file that is not as it was written."""


def _fill(sink: Sink, key: dict[str, Any], make: Callable[[Sink], dict[str, Any]]) -> None:
    """Compute straight into the file, so that large arrays never lie in memory as a whole."""
    sink.file.seek(HEADER_BYTES)
    facts = json.dumps(make(sink)).encode()
    sink.append(FACTS, np.frombuffer(facts, np.uint8))
    header = json.dumps({"key": key, "arrays": sink.layout}).encode()
    header = header.ljust(HEADER_BYTES - FIRST_LINE)
    assert len(header) == HEADER_BYTES - FIRST_LINE
    sink.file.seek(0)
    sink.file.write(_first_line(zlib.crc32(header, sink.checksum)) + header)


def _read(path: Path, key: dict[str, Any]) -> Cached | None:
    """Read a cache file; None where there is none or it belongs to another key."""
    try:
        file = open(path, "rb")  # noqa: SIM115 (only its absence is forgiven)
    except OSError:
        return None
    with file:
        try:
            return _parse(file, key)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _DamagedCacheError from error


def _parse(file: BinaryIO, key: dict[str, Any]) -> Cached | None:
    first_line, header = file.read(FIRST_LINE), file.read(HEADER_BYTES - FIRST_LINE)
    meta = json.loads(header)
    if meta.get("key") != key:
        return None
    layout = [(name, np.dtype(dtype), shape) for name, dtype, shape in meta["arrays"]]
    nbytes = sum(dtype.itemsize * math.prod(shape) for _, dtype, shape in layout)
    if file.seek(0, os.SEEK_END) != HEADER_BYTES + nbytes:
        raise ValueError("wrong size")
    file.seek(HEADER_BYTES)
    arrays, checksum = _read_arrays(file, layout)
    if first_line != _first_line(zlib.crc32(header, checksum)):
        raise ValueError("wrong checksum")
    return Cached(json.loads(arrays.pop(FACTS).tobytes()), arrays)


def _first_line(checksum: int) -> bytes:
    return MAGIC + b"%08x\n" % checksum


def _read_arrays(
    file: BinaryIO, layout: list[tuple[str, np.dtype, list[int]]]
) -> tuple[dict[str, np.ndarray], int]:
    """The arrays and their checksum."""
    # Read rather than mapped: what was checked is what is used, and a file that is cut short
    # during training cannot end the process.
    arrays, checksum = {}, 0
    for name, dtype, shape in layout:
        arrays[name] = np.empty(shape, dtype)
        flat = arrays[name].reshape(-1).view(np.uint8).data
        for start in range(0, len(flat), BLOCK):
            block = flat[start : start + BLOCK]
            file.readinto(block)
            checksum = zlib.crc32(block, checksum)
    return arrays, checksum
