# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Events of the SHD layout -> counts per time bin and channel, on NumPy and h5py alone.

Nothing here imports torch, so that the worker processes that bin a large file start quickly.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from datasets.errors import DataError

NB_UNITS = 700  # channels of the published cochlea model (Cramer et al. 2020)
CHUNK_CLIPS = 128
MAX_COUNT = 255  # frames are kept as uint8

# Below this a second process costs more (interpreter start, passing counts back) than it saves.
MIN_BYTES_FOR_WORKERS = 400_000_000


@dataclass(frozen=True)
class Binning:
    """How events become frames: ``nb_steps`` bins over ``max_time`` seconds, grouped units.

    Raises DataError for values that leave no bin to fill, or a ``spatial_bin`` that does not
    divide the number of units.
    """

    nb_steps: int
    max_time: float
    spatial_bin: int
    nb_units: int = NB_UNITS

    def __post_init__(self) -> None:
        if self.nb_steps < 2:
            raise DataError(f"nb_steps = {self.nb_steps} leaves no time bin: use 2 or more")
        if not (np.isfinite(self.max_time) and self.max_time > 0):
            raise DataError(f"max_time = {self.max_time} is not a positive number of seconds")
        if self.spatial_bin < 1 or self.nb_units % self.spatial_bin:
            raise DataError(
                f"spatial_bin = {self.spatial_bin} does not divide the {self.nb_units} units: "
                f"use one of {', '.join(map(str, _divisors(self.nb_units)))}"
            )

    @property
    def nb_features(self) -> int:
        """Channels of a frame, C."""
        return self.nb_units // self.spatial_bin


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def bin_events(
    times: np.ndarray,
    units: np.ndarray,
    *,
    nb_steps: int,
    max_time: float,
    spatial_bin: int,
    nb_units: int = NB_UNITS,
) -> tuple[np.ndarray, int]:
    """Count the events of one clip, binned as in the published SpArch code.

    ``edges = linspace(0, max_time, nb_steps)`` and ``bin = digitize(t, edges)``: bin 0 stays empty
    and the others are ``max_time / (nb_steps - 1)`` wide. An event at or after ``max_time`` falls
    in bin ``nb_steps``, which does not exist, and is dropped.

    Args:
        times: [E] event times in seconds; float16 is binned from exact float64 copies.
        units: [E] integers in 0..nb_units-1.
        nb_steps: number of time bins T.
        max_time: seconds covered by the bins.
        spatial_bin: neighbouring units summed into one channel; divides ``nb_units``.
        nb_units: number of units in the data.

    Returns:
        Counts [T, C] with C = nb_units // spatial_bin, in the smallest unsigned type that holds
        them (uint8 or wider), and the number of dropped events.

    Raises:
        DataError: lengths differ, a time is negative or not finite, or a unit is out of range.
    """
    return _count_events(times, units, Binning(nb_steps, max_time, spatial_bin, nb_units))


def _count_events(
    times: np.ndarray, units: np.ndarray, binning: Binning
) -> tuple[np.ndarray, int]:
    times, units = np.asarray(times), np.asarray(units)
    _check_events(times, units, binning.nb_units)
    T, C = binning.nb_steps, binning.nb_features
    # One row more than there are bins, so that events past the end need no mask.
    cells = _time_bins(times, binning) * C
    cells += units // units.dtype.type(binning.spatial_bin) if units.size else 0
    counts = np.bincount(cells, minlength=(T + 1) * C)
    dropped = int(counts[T * C :].sum())
    counts = counts[: T * C].reshape(T, C)
    return counts.astype(np.min_scalar_type(counts.max())), dropped


def _check_events(times: np.ndarray, units: np.ndarray, nb_units: int) -> None:
    if times.shape != units.shape or times.ndim != 1:
        raise DataError(f"{times.size} event times but {units.size} units")
    if times.size == 0:
        return
    if times.dtype.kind not in "fiu":
        raise DataError(f"event times are {times.dtype}, not numbers")
    if units.dtype.kind not in "iu":
        raise DataError(f"units are {units.dtype}, not integers")
    lowest, highest = units.min(), units.max()
    if lowest < 0 or highest >= nb_units:
        wrong = lowest if lowest < 0 else highest
        raise DataError(f"unit {wrong} is outside 0..{nb_units - 1}")


def _time_bins(times: np.ndarray, binning: Binning) -> np.ndarray:
    """Bin of every time, [E] int64: exactly ``numpy.digitize(times, edges)``."""
    if times.dtype.kind == "f" and times.dtype.itemsize == 2:
        table = _float16_bins(binning.nb_steps, binning.max_time)
        bins = table[np.ascontiguousarray(times, np.float16).view(np.uint16)]
    else:
        bins = _digitize(times.astype(np.float64), binning.nb_steps, binning.max_time)
    if bins.size and bins.min() < 0:
        wrong = times[bins.argmin()]
        raise DataError(f"event time {wrong} s is negative or not a finite number")
    return bins


@lru_cache(maxsize=8)
def _float16_bins(nb_steps: int, max_time: float) -> np.ndarray:
    """Bin of each of the 65,536 float16 values, indexed by its bits; [65536] int64."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    return _digitize(every.astype(np.float64), nb_steps, max_time)


def _digitize(times: np.ndarray, nb_steps: int, max_time: float) -> np.ndarray:
    """``numpy.digitize``, with -1 for times that cannot be an event's; [E] int64."""
    edges = np.linspace(0, max_time, nb_steps)
    bins = np.searchsorted(edges, times, side="right").astype(np.int64)
    bins[~(np.isfinite(times) & (times >= 0))] = -1
    return bins


class Annotations(NamedTuple):
    """What a file says about its clips: ``labels`` [N] int64, ``speakers`` [N] int64 or None."""

    labels: np.ndarray
    speakers: np.ndarray | None


class BinnedClips(NamedTuple):
    """Consecutive clips as ``counts`` [n, T, C] uint8, and what their events add up to."""

    counts: np.ndarray
    total_events: int
    dropped_events: int
    empty_clips: int


def read_annotations(path: Path, nb_classes: int) -> Annotations:
    """Labels and speakers of an SHD-layout file, checked before its events are read.

    Raises DataError where the file is not HDF5, lacks a data set, holds no clips, or has a label
    outside 0..nb_classes-1.
    """
    with _open_spikes(path) as file:
        nb_clips = len(file["labels"])
        for name in ("spikes/times", "spikes/units"):
            if len(file[name]) != nb_clips:
                raise DataError(f"{path}: {len(file[name])} clips in {name} but {nb_clips} labels")
        if nb_clips == 0:
            raise DataError(f"{path} holds no clips")
        labels = _read_integers(file, "labels", path)
        has_speakers = isinstance(file.get("extra/speaker"), h5py.Dataset)
        speakers = _read_integers(file, "extra/speaker", path) if has_speakers else None
    outside = np.flatnonzero((labels < 0) | (labels >= nb_classes))
    if outside.size:
        clip = outside[0]
        raise DataError(
            f"{path}, clip {clip}: label {labels[clip]} is outside 0..{nb_classes - 1}"
        )
    if speakers is not None and speakers.shape != labels.shape:
        raise DataError(f"{path}: {speakers.size} entries in extra/speaker but {nb_clips} labels")
    return Annotations(labels, speakers)


def _open_spikes(path: Path) -> h5py.File:
    try:
        # Read-only network disks often refuse locks, which reading does not need.
        file = h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        raise DataError(
            f"{path} is not a complete HDF5 file ({_one_line(error)}): download it again"
        ) from error
    for name in ("spikes/times", "spikes/units", "labels"):
        dataset = file.get(name)
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim == 0:
            file.close()
            raise DataError(f"{path} has no data set {name}: it is not in the SHD layout")
    return file


def _read_integers(file: h5py.File, name: str, path: Path) -> np.ndarray:
    values = _read(file[name], slice(None), path)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise DataError(f"{path}: {name} is {values.dtype} {values.shape}, not a list of integers")
    return values.astype(np.int64)


def _read(dataset: h5py.Dataset, part: slice, path: Path) -> np.ndarray:
    try:
        return dataset[part]
    except OSError as error:
        raise DataError(
            f"{path} is damaged at {dataset.name} ({_one_line(error)}): download it again"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def bin_clips(path: Path, start: int, stop: int, binning: Binning) -> BinnedClips:
    """Read and bin the clips ``start <= i < stop``; DataErrors name the file and the clip."""
    with _open_spikes(path) as file:
        times = _read(file["spikes/times"], slice(start, stop), path)
        units = _read(file["spikes/units"], slice(start, stop), path)
    counts = np.empty((len(times), binning.nb_steps, binning.nb_features), np.uint8)
    total = dropped = empty = 0
    for i in range(len(times)):
        try:
            clip_counts, clip_dropped = _count_events(times[i], units[i], binning)
        except DataError as error:
            raise DataError(f"{path}, clip {start + i}: {error}") from error
        if clip_counts.dtype != np.uint8:
            time_bin, channel = np.unravel_index(clip_counts.argmax(), clip_counts.shape)
            raise DataError(
                f"{path}, clip {start + i}: {clip_counts.max()} events in time bin {time_bin}, "
                f"channel {channel}, more than {MAX_COUNT}: use more nb_steps or a smaller "
                "spatial_bin"
            )
        counts[i] = clip_counts
        total += len(times[i])
        dropped += clip_dropped
        empty += len(times[i]) == 0
    return BinnedClips(counts, total, dropped, empty)


def bin_file(
    path: Path,
    nb_clips: int,
    binning: Binning,
    *,
    num_workers: int = 1,
    say: Callable[[str], None] = print,
) -> Iterator[BinnedClips]:
    """All clips of a file in order, a chunk at a time; large files use several processes."""
    starts = range(0, nb_clips, CHUNK_CLIPS)
    jobs = [(path, start, min(start + CHUNK_CLIPS, nb_clips), binning) for start in starts]
    num_workers = min(num_workers, _usable_cpus(), len(jobs))
    done = 0
    if num_workers > 1 and path.stat().st_size >= MIN_BYTES_FOR_WORKERS:
        try:
            for clips in _bin_in_processes(jobs, num_workers):
                yield clips
                done += 1
        except BrokenProcessPool:
            say(f"{path.name}: the worker processes could not run; binning goes on in this one")
    for job in jobs[done:]:
        yield bin_clips(*job)


def _bin_in_processes(jobs: list[tuple], num_workers: int) -> Iterator[BinnedClips]:
    # Spawn: a forked child could inherit locks of the threads that torch has started.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, context, initializer=_ignore_interrupt)
    waiting, todo = deque(), deque(jobs)
    try:
        while waiting or todo:
            # A short queue bounds the memory held by chunks that nobody has taken yet.
            while todo and len(waiting) < 2 * num_workers:
                waiting.append(pool.submit(bin_clips, *todo.popleft()))
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
