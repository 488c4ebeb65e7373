# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Clips as dense frames of event counts, binned once and cached on disk."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from datasets.augment import Augmentation, augment_frames
from datasets.binning import Binning, bin_clips, read_annotations, read_clips, read_largest_unit
from datasets.cache import Sink, load_or_make
from datasets.errors import DataError
from datasets.files import progress
from datasets.interface import Batch, DataSet, Split, gathered

INTEGER = np.dtype("<i8")
TOTALS = ("total_events", "dropped_events", "empty_clips")
# Shares of dropped events. Times in ms leave a thousandth of a clip of one second; what a short
# max_time leaves on purpose, such as its first tenth, is more, so it is reported, not refused.
LOST, MUCH = 0.99, 0.5


@dataclass(frozen=True)
class FrameSet(Split):
    """Clips of one length, as counts of events per time bin and channel.

    ``counts`` [N, T, C] uint8, ``labels`` [N] int64, ``speakers`` [N] int64 or None, which are
    indices of ``names`` if there are any. A time bin is ``bin_seconds`` wide. ``files`` [N] are the
    recordings that clips come from, where they are known, and ``ear_seed`` is then that of
    `datasets.cochlea`.
    """

    counts: Tensor
    labels: Tensor
    bin_seconds: float
    speakers: Tensor | None = None
    names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    ear_seed: int | None = None

    @property
    def shape(self) -> torch.Size:
        """(N, T, C)"""
        return self.counts.shape

    @property
    def nbytes(self) -> int:
        """Memory that the counts take."""
        return self.counts.nbytes

    @property
    def speaker_names(self) -> list[str]:
        """The names or numbers of the files."""
        speakers = [] if self.speakers is None else self.speakers.tolist()
        return [self.names[s] if self.names else str(s) for s in speakers]

    @property
    def clip_names(self) -> list[str]:
        """See `Split.clip_names`."""
        return list(self.files) or super().clip_names

    def longest(self) -> tuple[int, str]:
        """T, and no file."""
        return self.counts.shape[1], ""

    def subset(self, indices: Tensor) -> "FrameSet":
        """The clips at ``indices`` [M] int64, in that order, copied."""
        files = tuple(self.files[i] for i in indices.tolist()) if self.files else ()
        chosen = self._map(lambda x: x.index_select(0, indices.to(x.device)))
        return replace(chosen, files=files)

    def to(self, device: torch.device | str) -> "FrameSet":
        """The same clips on ``device``."""
        return self._map(lambda x: x.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> "FrameSet":
        speakers = None if self.speakers is None else change(self.speakers)
        return replace(
            self, counts=change(self.counts), labels=change(self.labels), speakers=speakers
        )

    def batch(self, indices: Tensor) -> Batch:
        """See `Split.batch`; the frames are [B, T, C]."""
        x, y = self._stored(indices)
        return x.to(torch.float32), y

    def counted(self, indices: Tensor) -> Batch:
        """See `Split.counted`; a GPU gets numbers."""
        on_cpu = self.labels.device.type == "cpu"
        return self._stored(indices) if on_cpu else self.batch(indices)

    def _stored(self, indices: Tensor) -> Batch:
        device = self.labels.device
        return gathered(self.counts, indices, device), gathered(self.labels, indices, device)

    def is_changed_by(self, augmentation: Augmentation) -> bool:
        """By what changes frames."""
        return augmentation.of_frames

    def augmented(
        self,
        indices: Tensor,
        batch: Callable[[Tensor], Batch],
        augmentation: Augmentation,
        generator: Generator,
    ) -> Batch:
        """See `Split.augmented`."""
        x, y = batch(indices)
        return augment_frames(x, y, self.bin_seconds, augmentation, generator), y


class FramesDataSet(DataSet):
    """A data set whose splits are FrameSets, binned as the options of a run say."""

    def nb_features(self, options) -> int:
        """Channels of a frame."""
        return Binning.of(options).nb_features

    def step_seconds(self, options) -> float:
        """Width of a time bin."""
        return Binning(options.nb_steps, options.max_time, spatial_bin=1).bin_seconds


def load_frames(
    path: Path,
    binning: Binning,
    *,
    nb_classes: int,
    say: Callable[[str], None] = print,
) -> FrameSet:
    """Frames [N, nb_steps, nb_features] of an SHD-layout .h5 file with labels 0..nb_classes-1.

    They are binned once, and cached (see `load_or_make`) for one binning and one size and
    modification time of the file. ``say`` takes one line at a time for the user: events dropped,
    empty clips, no cache.

    Raises DataError where the file is damaged, or its contents cannot be binned.
    """
    try:
        cached = load_or_make(
            path.parent,
            f"{path.stem}-{binning.nb_steps}steps-{float(binning.max_time)}s"
            f"-bin{binning.spatial_bin}.frames",
            _cache_key(path, binning, nb_classes),
            lambda sink: _bin_into(sink, path, binning, nb_classes),
            what=f"the frames of {path.name}",
            remake=f"binning {path.name} again",
            say=say,
        )
    except MemoryError as error:
        raise DataError(
            f"the frames of {path}, {binning.nb_steps} x {binning.nb_features} bytes for each "
            "clip, do not fit in memory: use fewer nb_steps or a larger spatial_bin"
        ) from error
    _refuse_lost(path, binning, **cached.facts)  # earlier versions cached such frames
    _report(path, binning, say, **{name: cached.facts[name] for name in TOTALS})
    integers = {
        name: torch.from_numpy(cached.arrays[name].astype(np.int64))
        for name in ("labels", "speakers")
        if name in cached.arrays
    }
    counts = torch.from_numpy(cached.arrays["counts"])
    names, files = (tuple(cached.facts.get(name, ())) for name in ("speakers", "recordings"))
    heard = {"files": files, "ear_seed": cached.facts.get("ear_seed")}
    return FrameSet(counts, bin_seconds=binning.bin_seconds, names=names, **heard, **integers)


def largest_unit(path: Path) -> int:
    """The largest unit in an SHD-layout .h5 file, -1 if there is none; looked for once."""
    cached = load_or_make(
        path.parent,
        f"{path.stem}-units.frames",
        _source(path),
        lambda sink: {"largest": read_largest_unit(path)},
        what="",
        remake="",
        say=lambda line: None,
    )
    return cached.facts["largest"]


def _source(path: Path) -> dict[str, Any]:
    # The state of the source is in the key, not in the name: a stale cache is overwritten.
    stat = path.stat()
    return {
        "source": path.name,
        "source_bytes": stat.st_size,
        "source_mtime_ns": stat.st_mtime_ns,
    }


def _cache_key(path: Path, binning: Binning, nb_classes: int) -> dict[str, Any]:
    return {
        **_source(path),
        "nb_classes": nb_classes,
        **asdict(binning),
        "max_time": float(binning.max_time),
    }


def _bin_into(sink: Sink, path: Path, binning: Binning, nb_classes: int) -> dict[str, Any]:
    """Pass labels, speakers and counts to ``sink``; the totals and names as a dict."""
    annotations = read_annotations(path, nb_classes)
    for name in ("labels", "speakers"):
        if (integers := getattr(annotations, name)) is not None:
            sink.append(name, integers.astype(INTEGER))
    nb_clips = len(annotations.labels)
    totals = dict.fromkeys(TOTALS, 0)
    with progress(f"binning {path.name}", nb_clips, "clip") as bar:
        for first, times, units in read_clips(path):
            clips = bin_clips(times, units, binning, path, first)
            sink.append("counts", clips.counts, of=nb_clips)
            for name in TOTALS:
                totals[name] += getattr(clips, name)
            bar.update(len(clips.counts))
    if totals["total_events"] == 0:
        raise DataError(f"none of the {nb_clips} clips of {path} holds an event")
    _refuse_lost(path, binning, **totals)
    facts = {"speakers": annotations.names, "recordings": annotations.recordings}
    facts = {name: fact for name, fact in facts.items() if fact}
    return {**totals, **facts, "ear_seed": annotations.ear_seed}


def _refuse_lost(path: Path, binning: Binning, total_events: int, dropped_events: int, **_) -> None:
    """DataError where next to no event is left."""
    kept = total_events - dropped_events
    if dropped_events > LOST * total_events:
        but = f" but {_short(kept)} of {_short(total_events)}" if kept else ""
        raise DataError(
            f"all events of {path}{but} lie at or after max_time = {binning.max_time} s: are its "
            "times in seconds? If so, use a longer --max_time"
        )


def _report(
    path: Path, binning: Binning, say, total_events: int, dropped_events: int, empty_clips: int
) -> None:
    if empty_clips:
        clips, hold = ("clip", "holds") if empty_clips == 1 else ("clips", "hold")
        say(f"{empty_clips} {clips} of {path.name} {hold} no events")
    share = dropped_events / total_events
    if dropped_events:
        shown = "less than 0.01%" if share < 1e-4 else f"{share:.2%}"
        say(
            f"{path.name}: {shown} of {_short(total_events)} events lie at or after "
            f"max_time = {float(binning.max_time)} s and are dropped"
        )
    if share > MUCH:
        say(
            f"most events of {path.name} are lost: are its times in seconds, and is --max_time "
            f"{float(binning.max_time)} meant?"
        )


def _short(n: int) -> str:
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if n >= size:
            return f"{n / size:.1f} {letter}"
    return str(n)
