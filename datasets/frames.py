# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Clips as dense frames of event counts, binned once and cached on disk."""

import errno
import json
import math
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from datasets.binning import Annotations, Binning, bin_events, bin_file, read_annotations
from datasets.errors import DataError
from datasets.unpack import BLOCK, atomic_file, is_disk_full, path_digest, user_cache_folder

__all__ = ["Binning", "FrameSet", "bin_events", "load_frames"]

FORMAT_VERSION = 1
MAGIC = b"SPRACHE-FRAMES "
FIRST_LINE = len(MAGIC) + 9  # the checksum in 8 hexadecimal digits, and a newline
HEADER_BYTES = 4096  # one page, so that the arrays behind it are aligned
INTEGER = np.dtype("<i8")


@dataclass(frozen=True)
class FrameSet:
    """The clips of one split, as counts of events per time bin and channel.

    ``counts`` [N, T, C] uint8, ``labels`` [N] int64, ``speakers`` [N] int64 or None. Of the
    ``total_events`` in the file the clips come from, ``dropped_events`` lie past the last bin;
    a subset keeps the two figures of its whole.
    """

    counts: Tensor
    labels: Tensor
    speakers: Tensor | None
    dropped_events: int
    total_events: int
    nb_classes: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> torch.Size:
        """(N, T, C)"""
        return self.counts.shape

    def subset(self, indices: Tensor) -> "FrameSet":
        """The clips at ``indices`` [M] int64, in that order, copied."""
        return self._map(lambda x: x.index_select(0, indices.to(x.device)))

    def to(self, device: torch.device | str) -> "FrameSet":
        """The same clips on ``device``."""
        return self._map(lambda x: x.to(device))

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The clips at ``indices`` [B] int64 as (x [B, T, C] float32, y [B] int64).

        Both are made on the device where the counts live.
        """
        indices = indices.to(self.counts.device)
        x = self.counts.index_select(0, indices).to(torch.float32)
        return x, self.labels.index_select(0, indices)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "FrameSet":
        speakers = None if self.speakers is None else change(self.speakers)
        return replace(
            self, counts=change(self.counts), labels=change(self.labels), speakers=speakers
        )


def load_frames(
    path: Path,
    binning: Binning,
    *,
    nb_classes: int,
    say: Callable[[str], None] = print,
) -> FrameSet:
    """Frames of an SHD-layout .h5 file, from the cache or else binned and cached.

    The cache lies in ``.frames/`` beside the file or, where that folder is read-only, in the
    user's cache folder (``$SPRACHE_CACHE``, else ``~/.cache/sprache``). It is valid for one
    binning and one size and modification time of the file.

    Args:
        path: the .h5 file.
        binning: how its events become frames.
        nb_classes: labels are 0..nb_classes-1.
        say: takes one line at a time for the user: events dropped, empty clips, no cache.

    Returns:
        FrameSet with counts [N, nb_steps, nb_features].

    Raises:
        DataError: the file is damaged, or its contents cannot be binned.
    """
    key = _cache_key(path, binning, nb_classes)
    targets = _cache_targets(path, binning)
    frames, totals = _from_cache(targets, key, say) or _bin_and_cache(
        path, binning, key, targets, say
    )
    _report(path, binning, totals, say)
    return frames


@dataclass
class _Totals:
    """What the events of a file add up to."""

    total_events: int = 0
    dropped_events: int = 0
    empty_clips: int = 0


class _DamagedCacheError(Exception):
    """A cache file that is not as it was written."""


def _cache_key(path: Path, binning: Binning, nb_classes: int) -> dict[str, Any]:
    stat = path.stat()
    return {
        "version": FORMAT_VERSION,
        "source": path.name,
        "source_bytes": stat.st_size,
        "source_mtime_ns": stat.st_mtime_ns,
        "nb_classes": nb_classes,
        **asdict(binning),
        "max_time": float(binning.max_time),
    }


def _cache_targets(path: Path, binning: Binning) -> list[Path]:
    # The state of the source is in the header, not in the name: a stale cache is overwritten.
    name = (
        f"{path.stem}-{binning.nb_steps}steps-{float(binning.max_time)}s"
        f"-bin{binning.spatial_bin}.frames"
    )
    in_user_cache = user_cache_folder() / "frames" / path_digest(path.parent)
    return [path.parent / ".frames" / name, in_user_cache / name]


def _from_cache(
    targets: list[Path], key: dict[str, Any], say: Callable[[str], None]
) -> tuple[FrameSet, _Totals] | None:
    for target in targets:
        try:
            cached = _read_cache(target, key)
        except _DamagedCacheError:
            say(f"{target} is damaged: binning {key['source']} again")
            continue
        if cached is not None:
            return cached
    return None


def _read_cache(path: Path, key: dict[str, Any]) -> tuple[FrameSet, _Totals] | None:
    """Read a cache file; None where there is none or it belongs to another key."""
    try:
        file = open(path, "rb")  # noqa: SIM115 (only its absence is forgiven)
    except OSError:
        return None
    with file:
        try:
            first_line, header = file.read(FIRST_LINE), file.read(HEADER_BYTES - FIRST_LINE)
            meta = json.loads(header)
            if any(meta[name] != value for name, value in key.items()):
                return None
            if os.fstat(file.fileno()).st_size != _file_bytes(meta):
                raise ValueError("wrong size")
            annotations, counts, checksum = _read_arrays(file, meta)
            if first_line != _first_line(zlib.crc32(header, checksum)):
                raise ValueError("wrong checksum")
        except DataError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _DamagedCacheError from error
    totals = _Totals(meta["total_events"], meta["dropped_events"], meta["empty_clips"])
    return _frame_set(counts, annotations, totals, meta["nb_classes"]), totals


def _file_bytes(meta: dict[str, Any]) -> int:
    integers = (1 + meta["has_speakers"]) * INTEGER.itemsize
    return HEADER_BYTES + meta["nb_clips"] * (integers + math.prod(_frame_shape(meta)))


def _frame_shape(meta: dict[str, Any]) -> tuple[int, int]:
    return meta["nb_steps"], meta["nb_units"] // meta["spatial_bin"]


def _first_line(checksum: int) -> bytes:
    return MAGIC + b"%08x\n" % checksum


def _read_arrays(file: BinaryIO, meta: dict[str, Any]) -> tuple[Annotations, np.ndarray, int]:
    """Labels and speakers, counts, and the checksum of them all."""
    # Read rather than mapped: what was checked is what is used, and a file that is cut short
    # during training cannot end the process.
    nb_clips = meta["nb_clips"]
    labels = np.empty(nb_clips, INTEGER)
    speakers = np.empty(nb_clips, INTEGER) if meta["has_speakers"] else None
    counts = _empty_frames((nb_clips, *_frame_shape(meta)))
    checksum = 0
    for array in (labels, speakers, counts):
        flat = memoryview(b"" if array is None else array.reshape(-1).view(np.uint8))
        for start in range(0, len(flat), BLOCK):
            block = flat[start : start + BLOCK]
            file.readinto(block)
            checksum = zlib.crc32(block, checksum)
    speakers = None if speakers is None else speakers.astype(np.int64)
    return Annotations(labels.astype(np.int64), speakers), counts, checksum


def _empty_frames(shape: tuple[int, int, int]) -> np.ndarray:
    try:
        return np.empty(shape, np.uint8)
    except MemoryError as error:
        raise DataError(
            f"frames of {' x '.join(map(str, shape))} bytes do not fit in memory: use fewer "
            "nb_steps or a larger spatial_bin"
        ) from error


def _frame_set(
    counts: np.ndarray, annotations: Annotations, totals: _Totals, nb_classes: int
) -> FrameSet:
    labels, speakers = annotations
    return FrameSet(
        counts=torch.from_numpy(counts),
        labels=torch.from_numpy(labels),
        speakers=None if speakers is None else torch.from_numpy(speakers),
        dropped_events=totals.dropped_events,
        total_events=totals.total_events,
        nb_classes=nb_classes,
    )


def _bin_and_cache(
    path: Path,
    binning: Binning,
    key: dict[str, Any],
    targets: list[Path],
    say: Callable[[str], None],
) -> tuple[FrameSet, _Totals]:
    annotations = read_annotations(path, key["nb_classes"])
    refusals = []
    for target in targets:
        try:
            _write_cache(target, path, binning, annotations, key)
            if cached := _read_cache(target, key):
                return cached
        except _DamagedCacheError:
            refusals.append(f"{target.parent}: does not keep what is written to it")
        except OSError as error:
            refusals.append(f"{target.parent}: {error.strerror or error}")
            if is_disk_full(error):
                break
    say(f"the frames of {path.name} are not cached ({'; '.join(refusals)})")
    return _bin_in_memory(path, binning, annotations, key["nb_classes"])


def _write_cache(
    target: Path, path: Path, binning: Binning, annotations: Annotations, key: dict[str, Any]
) -> None:
    """Bin straight into the cache file, so that a large split never lies in memory as a whole."""
    meta = {
        **key,
        "nb_clips": len(annotations.labels),
        "has_speakers": annotations.speakers is not None,
    }
    checksum = 0
    with atomic_file(target) as file:
        if shutil.disk_usage(target.parent).free < _file_bytes(meta):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def write(array: np.ndarray) -> None:
            nonlocal checksum
            block = np.ascontiguousarray(array).data
            file.write(block)
            checksum = zlib.crc32(block, checksum)

        file.seek(HEADER_BYTES)
        for integers in annotations:
            if integers is not None:
                write(integers.astype(INTEGER))
        meta |= asdict(_bin_into(write, path, binning, len(annotations.labels)))
        header = json.dumps(meta).encode().ljust(HEADER_BYTES - FIRST_LINE)
        file.seek(0)
        file.write(_first_line(zlib.crc32(header, checksum)) + header)


def _bin_in_memory(
    path: Path, binning: Binning, annotations: Annotations, nb_classes: int
) -> tuple[FrameSet, _Totals]:
    counts = _empty_frames((len(annotations.labels), binning.nb_steps, binning.nb_features))
    filled = 0

    def place(chunk: np.ndarray) -> None:
        nonlocal filled
        counts[filled : filled + len(chunk)] = chunk
        filled += len(chunk)

    totals = _bin_into(place, path, binning, len(counts))
    return _frame_set(counts, annotations, totals, nb_classes), totals


def _bin_into(
    take: Callable[[np.ndarray], None], path: Path, binning: Binning, nb_clips: int
) -> _Totals:
    """Pass the counts of all clips to ``take`` in order, [n, T, C] uint8 at a time."""
    totals = _Totals()
    # disable=None: no bar where stderr is not a terminal.
    with tqdm(
        total=nb_clips, desc=f"binning {path.name}", unit="clip", leave=False, disable=None
    ) as bar:
        for clips in bin_file(path, binning):
            take(clips.counts)
            totals.total_events += clips.total_events
            totals.dropped_events += clips.dropped_events
            totals.empty_clips += clips.empty_clips
            bar.update(len(clips.counts))
    if totals.total_events == 0:
        raise DataError(f"none of the {nb_clips} clips of {path} holds an event")
    if totals.dropped_events == totals.total_events:
        raise DataError(
            f"all events of {path} lie at or after max_time = {binning.max_time} s: are its times "
            "in seconds?"
        )
    return totals


def _report(path: Path, binning: Binning, totals: _Totals, say: Callable[[str], None]) -> None:
    if totals.empty_clips:
        clips, hold = ("clip", "holds") if totals.empty_clips == 1 else ("clips", "hold")
        say(f"{totals.empty_clips} {clips} of {path.name} {hold} no events")
    share = totals.dropped_events / totals.total_events
    shown = "less than 0.01%" if 0 < share < 1e-4 else f"{share:.2%}"
    say(
        f"{path.name}: {shown} of {_short(totals.total_events)} events lie at or after "
        f"max_time = {float(binning.max_time)} s and are dropped"
    )


def _short(n: int) -> str:
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if n >= size:
            return f"{n / size:.1f} {letter}"
    return str(n)
