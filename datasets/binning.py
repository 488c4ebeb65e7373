# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Files of the SHD layout (Cramer et al. 2020): checked, and read into binned counts."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from datasets.errors import DataError
from datasets.files import readable

NB_UNITS = 700  # channels of the published cochlea model (Cramer et al. 2020)
MOST_UNITS = 1 << 19
LIKE_SHD = "one array for each clip (dtype h5py.vlen_dtype), as datasets.shd_file.write_shd does"
CHUNK_CLIPS = 128
RECORDINGS = "extra/recording"  # that clips come from, of which `datasets.cochlea` made spikes
EAR_SEED = "inner_ear_seed"  # its attribute


@dataclass(frozen=True)
class Binning:
    """How events become frames: ``nb_steps`` bins over ``max_time`` seconds, grouped units.

    Raises DataError for values that leave no bin to fill, or a ``spatial_bin`` that does not
    divide the published number of units; of any other number, the last group may be smaller.
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
        fitting = range(1, self.nb_units + 1)
        if self.nb_units == NB_UNITS:
            fitting = [n for n in fitting if NB_UNITS % n == 0]
        if self.spatial_bin not in fitting:
            use = f"one of {', '.join(map(str, fitting))}"
            if self.nb_units != NB_UNITS:
                use = f"1 to {self.nb_units}"
            raise DataError(
                f"spatial_bin = {self.spatial_bin} does not divide the {self.nb_units} units: "
                f"use {use}"
            )

    @property
    def nb_features(self) -> int:
        """Channels of a frame, C."""
        return -(-self.nb_units // self.spatial_bin)

    @property
    def bin_seconds(self) -> float:
        """Width of a time bin in s."""
        return self.max_time / (self.nb_steps - 1)

    @classmethod
    def of(cls, options) -> "Binning":
        """From the options of a run; 700 units where they name no number."""
        nb_units = options.nb_channels or NB_UNITS
        return cls(options.nb_steps, options.max_time, options.spatial_bin, nb_units)


def bin_events(times: np.ndarray, units: np.ndarray, binning: Binning) -> tuple[np.ndarray, int]:
    """Count the events of one clip, binned as in the published SpArch code.

    ``edges = linspace(0, max_time, nb_steps)`` and ``bin = digitize(t, edges)``: bin 0 stays empty
    and the others are ``max_time / (nb_steps - 1)`` wide. An event at or after ``max_time`` falls
    in bin ``nb_steps``, which does not exist, and is dropped.

    ``times`` [E] are in seconds, float16 being binned from exact float64 copies, and ``units`` [E]
    integers in 0..nb_units-1. Returns counts [T, C] in the smallest unsigned type that holds them
    (uint8 or wider), and the number of dropped events.

    Raises DataError where lengths differ, a time is negative or not finite, or a unit is out of
    range.
    """
    times, units = np.asarray(times), np.asarray(units)
    _check_events(times, units, binning.nb_units)
    T, C = binning.nb_steps, binning.nb_features
    # One row more than there are bins, so that events past the end need no mask.
    cells = _time_bins(times, binning) * C
    if units.size:
        units = units if units.dtype == np.uint16 else units.astype(np.int64)
        cells += units // units.dtype.type(binning.spatial_bin)
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
        raise DataError(f"units are {units.dtype}, not whole numbers")
    for unit in (units.min(), units.max()):
        if not 0 <= unit < nb_units:
            raise DataError(
                f"unit {unit} is outside 0..{nb_units - 1}: count from 0, and name the number of "
                "channels with --nb_channels"
            )


def _time_bins(times: np.ndarray, binning: Binning) -> np.ndarray:
    """Bin of every time, [E] int64: exactly ``numpy.digitize(times, edges)``."""
    if times.dtype == np.float16:
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
    """What a file says about its clips: ``labels`` [N] int64, ``speakers`` [N] int64 or None.

    Where a file names speakers by texts, ``names`` are these, and ``speakers`` are their indices.
    Where `datasets.cochlea` made the spikes, ``recordings`` are the files [N] that it heard, and
    ``ear_seed`` is the seed of its fibres.
    """

    labels: np.ndarray
    speakers: np.ndarray | None
    names: tuple[str, ...] = ()
    recordings: tuple[str, ...] = ()
    ear_seed: int | None = None


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
        nb_clips = _count_clips(file, path)
        labels = _read_integers(file, "labels", path)
        speakers, names = None, ()
        if _is_named(file, "extra/speaker"):
            if _is_text(file, "extra/speaker"):
                texts = _texts(_read_list(file, "extra/speaker", path, "speakers"))
                names = tuple(sorted(set(texts)))
                speakers = np.array([names.index(text) for text in texts])
            else:
                speakers = _read_integers(file, "extra/speaker", path)
            if len(speakers) == 1:  # of all clips
                speakers = speakers.repeat(nb_clips)
            if len(speakers) != nb_clips:
                raise DataError(
                    f"{path}: {len(speakers)} entries in extra/speaker but {nb_clips} labels"
                )
        recordings, ear_seed = (), None
        if _is_text(file, RECORDINGS) and file[RECORDINGS].shape == (nb_clips,):
            recordings = tuple(_texts(_read_list(file, RECORDINGS, path, "names")))
            ear_seed = int(file[RECORDINGS].attrs.get(EAR_SEED, 0))
    outside = np.flatnonzero((labels < 0) | (labels >= nb_classes))
    if outside.size:
        clip = outside[0]
        wrong = "is negative" if labels[clip] < 0 else f"is outside 0..{nb_classes - 1}"
        raise DataError(
            f"{path}, clip {clip}: label {labels[clip]} {wrong}: count labels from 0, and name "
            "every class in extra/keys (see 'Add a data set' in CONTRIBUTING.md), or their number "
            "with --nb_outputs"
        )
    return Annotations(labels, speakers, names, recordings, ear_seed)


def read_largest_label(path: Path) -> int:
    """The largest label in a file, -1 if it has none."""
    with _open_spikes(path) as file:
        return int(_read_integers(file, "labels", path).max(initial=-1))


def _count_clips(file: h5py.File, path: Path) -> int:
    """The number of clips, which all data sets share."""
    nb_clips = max(file["labels"].shape)
    if nb_clips > path.stat().st_size:  # the events of a clip take several bytes
        raise DataError(f"{path} claims {nb_clips} clips, more than its bytes can hold")
    for name in ("spikes/times", "spikes/units"):
        rows = file[name]
        if rows.size != len(rows) or h5py.check_vlen_dtype(rows.dtype) is None:
            raise DataError(
                f"{path}: {name} is {rows.dtype} {rows.shape}, not a list of lists of numbers: "
                f"write {LIKE_SHD}"
            )
        if len(rows) != nb_clips:
            raise DataError(f"{path}: {len(rows)} clips in {name} but {nb_clips} labels")
    if nb_clips == 0:
        raise DataError(f"{path} holds no clips")
    return nb_clips


def read_largest_unit(path: Path) -> int:
    """The largest unit in a file, -1 if there is none, or units are not integers."""
    largest = -1
    with _open_spikes(path) as file:
        nb_clips, units = _count_clips(file, path), file["spikes/units"]
        for start in range(0, nb_clips, CHUNK_CLIPS):
            rows = map(_whole, _read(units, slice(start, start + CHUNK_CLIPS), path).reshape(-1))
            highest = (int(row.max()) for row in rows if row.size and row.dtype.kind in "iu")
            largest = max(largest, max(highest, default=-1))
    return largest


def read_nb_channels(path: Path) -> int | None:
    """The attribute ``nb_channels`` of a file, None where it has none.

    Raises DataError for one that is no number of channels.
    """
    with _open_spikes(path) as file:
        value = file.attrs.get("nb_channels")
    if value is None:
        return None
    try:
        (number,) = np.ravel(value).tolist()
        if 0 < (whole := int(number)) <= MOST_UNITS and float(number) == whole:
            return whole
    except (OverflowError, TypeError, ValueError):
        pass
    raise DataError(
        f"{path}: its attribute nb_channels is {value!s}, not 1 to {MOST_UNITS}: name the number "
        "with --nb_channels"
    )


def read_class_names(path: Path) -> list[str]:
    """The names of the classes in ``extra/keys``, by label; none if a file does not name them.

    A single text may list them between commas, semicolons or line ends. Raises DataError where the
    entry is no list of names.
    """
    with _open_spikes(path) as file:
        if not _is_named(file, "extra/keys"):
            return []
        keys = _read_list(file, "extra/keys", path, "names")
        kind = file["extra/keys"].dtype
        if kind.kind not in "iu" and not _is_text(file, "extra/keys"):
            raise DataError(f"{path}: extra/keys is {kind} {keys.shape}, not a list of names")
    names = _texts(keys)
    if len(names) == 1:
        names = [name.strip() for name in re.split("[,;\n]", names[0]) if name.strip()]
    return names


def _is_text(file: h5py.File, name: str) -> bool:
    return _has_dataset(file, name) and h5py.check_string_dtype(file[name].dtype) is not None


def _texts(values: np.ndarray) -> list[str]:
    """Names as they are compared; some programs pad them with blanks."""
    texts = (os.fsdecode(v) if isinstance(v, bytes) else str(v) for v in values.tolist())
    return [readable(text).strip() for text in texts]


def _whole(values: np.ndarray) -> np.ndarray:
    """Integers, where a file holds whole numbers as floats."""
    if values.dtype.kind == "f":
        exact = values.astype(np.float64)
        if ((np.abs(exact) < 2**31) & (np.floor(exact) == exact)).all():
            return values.astype(np.int64)
    return values


def _open_spikes(path: Path) -> h5py.File:
    try:
        # Read-only network disks often refuse locks, which reading does not need.
        file = h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        raise DataError(
            f"{path} is not a complete HDF5 file ({error}): download it again"
        ) from error
    for name in ("spikes/times", "spikes/units", "labels"):
        if not _has_dataset(file, name) or file[name].ndim == 0:
            file.close()
            raise DataError(f"{path} has no data set {name}: it is not in the SHD layout")
    return file


def _has_dataset(file: h5py.File, name: str) -> bool:
    try:
        entry = file.get(name)
    except (OSError, RuntimeError, ValueError):  # what h5py raises at a damaged index
        return False
    return isinstance(entry, h5py.Dataset)


def _is_named(file: h5py.File, name: str) -> bool:
    try:
        return name in file
    except (OSError, RuntimeError, ValueError):  # a damaged index
        return True


def _read_integers(file: h5py.File, name: str, path: Path) -> np.ndarray:
    values = _whole(_read_list(file, name, path, "integers"))
    if values.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {name} is {values.dtype} {values.shape}, not a list of integers"
            + (": number the classes from 0, and name them in extra/keys" * (name == "labels"))
        )
    return values.astype(np.int64)


def _read_list(file: h5py.File, name: str, path: Path, kind: str) -> np.ndarray:
    """A list [N], which may be stored as a column, a row or a single value."""
    if not _has_dataset(file, name):
        raise DataError(f"{path}: {name} is not a data set that can be read")
    entry = file[name]
    if entry.shape is None or entry.size != max(entry.shape, default=1):
        raise DataError(f"{path}: {name} is {entry.dtype} {entry.shape}, not a list of {kind}")
    return np.asarray(_read(entry, (), path)).reshape(-1)


def _read(dataset: h5py.Dataset, part: slice | tuple[()], path: Path) -> np.ndarray:
    try:
        return dataset[part]
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{path} is damaged at {dataset.name} ({error}): download it again"
        ) from error


def read_clips(path: Path) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The number of the first, the times and the units of ``CHUNK_CLIPS`` clips at a time.

    One process is enough: h5py reads under one lock, and handing the counts of a chunk from
    process to process takes longer than counting them.

    Raises DataError for a file that cannot be read.
    """
    with _open_spikes(path) as file:
        for start in range(0, _count_clips(file, path), CHUNK_CLIPS):
            part = slice(start, start + CHUNK_CLIPS)
            times = _read(file["spikes/times"], part, path).reshape(-1)
            units = _read(file["spikes/units"], part, path).reshape(-1)
            yield start, times, [_whole(row) for row in units]


def bin_clips(
    times: Sequence[np.ndarray],
    units: Sequence[np.ndarray],
    binning: Binning,
    path: Path,
    first: int = 0,
) -> BinnedClips:
    """Clips, each binned as by `bin_events`; ``first`` is the number of the first one in ``path``.

    Raises DataError, naming file and clip, for events that cannot be binned.
    """
    counts = np.empty((len(times), binning.nb_steps, binning.nb_features), np.uint8)
    total = dropped = empty = 0
    for i in range(len(times)):
        try:
            clip_counts, clip_dropped = bin_events(times[i], units[i], binning)
            if clip_counts.dtype != np.uint8:
                step, channel = np.unravel_index(clip_counts.argmax(), clip_counts.shape)
                raise DataError(
                    f"{clip_counts.max()} events in time bin {step}, channel {channel}, where a "
                    "frame holds 255 at most: use more nb_steps or a smaller spatial_bin"
                )
        except DataError as error:
            raise DataError(f"{path}, clip {first + i}: {error}") from error
        counts[i] = clip_counts
        total += len(times[i])
        dropped += clip_dropped
        empty += len(times[i]) == 0
    return BinnedClips(counts, total, dropped, empty)
