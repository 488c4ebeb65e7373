# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Data sets of recordings, one spoken word each: read once, and cached as log-mel frames."""

import hashlib
import os
import statistics
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from datasets.audio_set import AudioSet
from datasets.augment import Augmentation
from datasets.cache import Cached, Sink, load_or_make
from datasets.errors import DataError
from datasets.features import (
    FILTERBANKS,
    FRAME_MS,
    NB_BINS,
    PARAMETERS,
    SHIFT_MS,
    frame_counts,
    torchaudio_fbank,
)
from datasets.files import progress
from datasets.interface import SPLITS, Data, DataSet
from datasets.recordings import (
    FULL_SCALE,
    MAX_RATE,
    MIN_RATE,
    SUFFIXES,
    BadRecordingError,
    Recording,
    prevailing_rate,
    read_in_order,
    resample,
)
from datasets.splits import NO_CLASS, SPLIT_NAMES, Listing, some
from parsers.options import AUTO

GROUP_SAMPLES = 1 << 22  # padded samples that become features together: 16 MiB
MOST_NAMED = 50  # skipped files
MUCH_PADDING = 0.1  # share of the frames in batches
FEW_LONGER = 0.95  # quantile of durations to which about every batch is padded
LONG = 4  # times the usual length, from which a clip is worth a line
NO_TORCHAUDIO = "the features are those of --feature_backend torch"
NO_WORD = "is named in a list but is not a clip of a word"
WAY_OUT = "repair or remove it, or skip such files with --skip_bad_files True"
LIST_WAY_OUT = "correct the list that names it, or skip such files with --skip_bad_files True"


@dataclass(frozen=True)
class AudioDataSet(DataSet):
    """A data set of recordings, which ``list_clips`` finds in its folder.

    Its splits are AudioSets; see `datasets.features.log_mel`. Every recording is read once.
    Features, and waveforms where augmentation needs them, are cached (see `load_or_make`) for as
    long as name, size and modification time of all files stay the same. Recordings at another rate
    than ``options.sample_rate``, or than most if it is 0, are resampled.

    The published features of Heidelberg Digits took their 48 kHz for 16 kHz, so that a frame of
    theirs lasts a third of one here.
    """

    name: str
    nb_classes: int
    list_clips: Callable[[Path], Listing]
    expected: str  # in the folder, in words
    default_folder: str
    url: str
    title: str
    clips: Mapping[str, int]

    has_portable_checksums = False  # those of earlier versions hold modification times

    def nb_features(self, options) -> int:
        """Mel bands."""
        return NB_BINS

    def step_seconds(self, options) -> float:
        """From one frame to the next."""
        return SHIFT_MS / 1000

    def also_depends_on(self, options) -> tuple:
        """Whether the waveforms are kept."""
        return (Augmentation.of(options).of_waveforms,)

    def look_up(self, options) -> None:
        """See `DataSet.look_up`."""
        folder = self.folder(options)
        if not any(path.name.lower().endswith(SUFFIXES) for path in folder.glob("*/*")):
            self._list_clips(folder)

    def load(
        self, options, splits: Collection[str] = SPLITS, say: Callable[[str], None] = print
    ) -> Data:
        """See `DataSet.load`; with ``options.skip_bad_files`` a bad recording is no error.

        The checksums are those of labels and samples, one of each split.
        """
        rate = options.sample_rate
        if rate and not MIN_RATE <= rate <= MAX_RATE:
            raise DataError(f"--sample_rate {rate}: {MIN_RATE} to {MAX_RATE} Hz can be used")
        folder = self.folder(options)
        listing = self._list_clips(folder)
        self._report(listing, say)
        reader = _Reader(self.name, folder, listing, options, say)
        keep_waveforms = "train" in splits and Augmentation.of(options).of_waveforms
        sources = {split: split if split in listing.clips else "test" for split in splits}
        loaded = {
            source: reader.load(source, keep_waveforms=keep_waveforms)
            for source in SPLITS
            if source in sources.values()
        }
        seconds = reader.report()
        return Data(
            **{split: loaded[source] for split, source in sources.items()},
            nb_features=NB_BINS,
            classes=listing.classes,
            validation=listing.validation,
            checksums=reader.checksums,
            sample_rate=next(iter(loaded.values())).sample_rate,
            facts={
                "split_by": listing.rule,
                "files_left_out": len(reader.bad),
                "feature_backend": reader.backend,
            },
            settled={"feature_backend": reader.backend},
            seconds=seconds,
            unpublished=self.unpublished({"": sum(map(len, listing.clips.values()))}),
        )

    def _list_clips(self, folder: Path) -> Listing:
        try:
            if folder.is_dir():
                return self.list_clips(folder)
        except OSError as error:
            raise DataError(f"cannot open {error.filename} ({error.strerror})") from error
        raise DataError(
            f"no folder {folder} for {self.expected}: `python -m datasets.download {self.name}` "
            f"gets the data from {self.url}; or say where they are with --data_folder"
        )

    def _report(self, listing: Listing, say: Callable[[str], None]) -> None:
        clips = {SPLIT_NAMES[name]: listing.clips[name] for name in SPLITS if name in listing.clips}
        *counts, last = [f"{len(paths):,} {name}" for name, paths in clips.items()]
        say(
            f"{self.name}: {', '.join(counts)} and {last} clips of {len(listing.classes)} classes, "
            f"split by {listing.rule}"
        )
        for note in listing.notes:
            say(f"{self.name}: {note}")
        if len(listing.classes) != self.nb_classes:
            say(
                f"{self.name}: {len(listing.classes)} words here, where {self.title} has "
                f"{self.nb_classes}: results do not compare with published ones"
            )


class _Reader:
    """Turns the clips of a listing, whose paths are relative to ``folder``, into AudioSets, by way
    of cache files whose names begin with ``name``."""

    def __init__(self, name: str, folder: Path, listing: Listing, options, say):
        self.name, self.folder, self.listing, self.say = name, folder, listing, say
        self.num_workers, self.skip_bad_files = options.num_workers, options.skip_bad_files
        self.rate = options.sample_rate  # 0 until that of most files is known
        self.asked = {"rate": self.rate} if self.rate else {}
        self.backend = options.feature_backend
        if self.backend != "torch" and torchaudio_fbank() is None:
            say(f"{name}: torchaudio does not import beside this build of PyTorch: {NO_TORCHAUDIO}")
            self.backend = "torch"
        elif self.backend == AUTO:
            self.backend = "torchaudio"
        self.filterbank = FILTERBANKS[self.backend]
        self.digest = _digest(folder, listing)
        self.bad: list[str] = []
        self.resampled: list[str] = []
        self.checksums: dict[str, str] = {}  # of labels and samples, by split
        self.frames: list[tuple[int, str]] = []  # of every clip that is used, and its path

    def load(self, split: str, *, keep_waveforms: bool) -> AudioSet:
        """The usable clips of a split; DataError for a bad one, or if none remains."""
        clips = self.listing.clips[split]
        if not clips:
            raise DataError(
                f"{self.folder}: there is no {SPLIT_NAMES[split]} clip according to "
                f"{self.listing.rule}; {self.listing.way_out}"
            )
        waveforms = None
        if keep_waveforms:
            waveforms = self._cached(split, "waveforms", self._make_waveforms)
        # Those by torch have the name that they had when there were no others.
        content = "features" if self.backend == "torch" else f"features by {self.backend}"
        cached = self._cached(split, content, self._make_features, waveforms)
        self._refuse_bad(split, cached.facts)
        path, facts = self._path, cached.facts
        self.bad += [f"{path(split, i)} {reason}" for i, reason in facts["bad"]]
        to = f"to {facts['rate']} Hz"
        self.resampled += [f"{path(split, i)}, from {n} {to}" for i, n in facts["resampled"]]
        self.checksums[f"{split} clips"] = facts.get("content", self.digest)
        lengths = torch.from_numpy(cached.arrays["lengths"])
        good = (lengths > 0).nonzero().flatten()
        if len(good) == 0:
            raise DataError(f"{self.folder}: no {SPLIT_NAMES[split]} clip remains")
        labels = torch.tensor([label for _, label in clips])[good]
        heard = set(labels.tolist())
        unheard = [repr(word) for i, word in enumerate(self.listing.classes) if i not in heard]
        if unheard:
            effect = ": it cannot be learnt" if split == "train" else ""
            self.say(f"no {SPLIT_NAMES[split]} clip is of class {some(unheard)}{effect}")
        self.frames += [(int(n), clips[i][0]) for n, i in zip(lengths[good], good, strict=True)]
        kept = {}
        if waveforms is not None:
            kept = {
                "samples": torch.from_numpy(waveforms.arrays["samples"]),
                "durations": torch.from_numpy(waveforms.arrays["durations"])[good],
            }
        return AudioSet(
            features=torch.from_numpy(cached.arrays["features"]),
            lengths=lengths[good],
            labels=labels,
            files=[clips[i][0] for i in good.tolist()],
            sample_rate=facts["rate"],
            filterbank=self.filterbank,
            **kept,
        )

    def report(self) -> tuple[float, float, float]:
        """Report what was skipped, what was resampled and what is long, in a line each; the usual
        duration in s, that which few clips exceed, and the longest."""
        for files, kind, done in ((self.bad, "bad ", "skipped"), (self.resampled, "", "resampled")):
            if files:
                are = "file is" if len(files) == 1 else "files are"
                self.say(f"{len(files)} {kind}{are} {done}, the first: {files[0]}")
        for path in self.bad[1:MOST_NAMED]:
            self.say(f"also skipped: {path}")
        if len(self.bad) > MOST_NAMED:
            self.say(f"and {len(self.bad) - MOST_NAMED} more are skipped")
        seconds = [n * SHIFT_MS / 1000 for n, _ in self.frames]
        (_, path), longest = max(self.frames), max(seconds)
        usual = statistics.median_low(seconds)
        if longest > LONG * usual:
            self.say(
                f"{self.folder / path} takes {longest:.1f} s and most clips about {usual:.1f} s: "
                "every batch is as long as its longest clip"
            )
        if statistics.fmean(seconds) < (1 - MUCH_PADDING) * longest:
            self.say(
                f"clips take {min(seconds):.1f} to {longest:.1f} s, and zeros pad them to the "
                "longest one of a batch, as published: networks hear them, so that accuracy, "
                "firing rates and energy depend on --batch_size"
            )
        return usual, sorted(seconds)[int(FEW_LONGER * (len(seconds) - 1))], longest

    def _path(self, split: str, index: int) -> Path:
        return self.folder / self.listing.clips[split][index][0]

    def _refuse_bad(self, split: str, facts: dict[str, Any]) -> None:
        """DataError for files that cannot be used, unless they are skipped."""
        if self.skip_bad_files or not facts["bad"]:
            return
        (index, reason), *others = facts["bad"]
        path = self._path(split, index)
        what = f"{len(others)} other {SPLIT_NAMES[split]} clip{'s' if len(others) > 1 else ''}"
        more = f" (and {what} cannot be used)" if others else ""
        listed = os.path.lexists(path) and reason != NO_WORD
        raise DataError(f"{path} {reason}{more}: {WAY_OUT if listed else LIST_WAY_OUT}")

    def _cached(self, split: str, content: str, make: Callable[..., dict], *given) -> Cached:
        clips = f"{SPLIT_NAMES[split]} clips"
        key = {"content": content, "split": split, "clips": self.digest, **PARAMETERS, **self.asked}
        try:
            return load_or_make(
                self.folder,
                f"{self.name}-{split}-{content.replace(' ', '-')}.frames",
                key,
                lambda sink: make(sink, split, *given),
                what=f"the {content} of the {clips} in {self.folder}",
                remake=f"making the {content} of the {clips} again",
                say=self.say,
            )
        except MemoryError as error:
            raise DataError(f"the {clips} in {self.folder} do not fit in memory") from error

    def _make_waveforms(self, sink: Sink, split: str) -> dict[str, Any]:
        facts = self._new_facts()
        durations = []
        sink.append("samples", np.empty(0, np.int16))
        for samples in self._recordings(split, facts):
            sink.append("samples", samples)
            durations.append(len(samples))
        sink.append("durations", np.array(durations, np.int64))
        return facts

    def _make_features(self, sink: Sink, split: str, waveforms: Cached | None) -> dict[str, Any]:
        if waveforms is None:
            facts = self._new_facts()
            recordings = self._recordings(split, facts)
        else:
            facts = waveforms.facts
            ends = waveforms.arrays["durations"].cumsum()[:-1]
            recordings = iter(np.split(waveforms.arrays["samples"], ends))
        lengths = []
        sink.append("features", np.empty((0, NB_BINS), np.float32))
        with _one_torch_thread():
            for group in _groups(recordings):
                features, counts = _features(group, facts["rate"], self.filterbank)
                sink.append("features", features)
                lengths.append(counts)
        sink.append("lengths", np.concatenate(lengths))
        return facts

    def _new_facts(self) -> dict[str, Any]:
        if not self.rate:
            files = [file for split in self.listing.clips.values() for file, _ in split]
            sampled = files[:: max(1, len(files) // 101)]
            self.rate = prevailing_rate([self.folder / file for file in sampled])
        return {"rate": self.rate, "bad": [], "resampled": []}

    def _recordings(self, split: str, facts: dict[str, Any]) -> Iterator[np.ndarray]:
        """Samples of every clip, none for a bad one; anything unusual is added to ``facts``."""
        clips = self.listing.clips[split]
        paths = (self.folder / file for file, _ in clips)
        content = hashlib.sha256()
        with progress(f"reading {SPLIT_NAMES[split]} clips", len(clips), "clip") as bar:
            for index, found in enumerate(read_in_order(paths, self.num_workers)):
                bar.update()
                samples = _usable(found, clips[index][1], facts["rate"])
                if isinstance(samples, str):
                    facts["bad"].append((index, samples))
                    samples = np.empty(0, np.int16)
                elif found.rate != facts["rate"]:
                    facts["resampled"].append((index, found.rate))
                if not isinstance(found, BadRecordingError):  # at its own sampling rate
                    line = f"{index} {clips[index][1]} {found.rate} {len(found.samples)}\n"
                    content.update(line.encode())
                    content.update(np.ascontiguousarray(found.samples).data)
                yield samples
        facts["content"] = content.hexdigest()
        self._refuse_bad(split, facts)


def _digest(folder: Path, listing: Listing) -> str:
    """Names the clips and their state on disk, without opening them."""
    digest = hashlib.sha256()
    for split, clips in listing.clips.items():
        for file, _ in clips:
            try:
                stat = os.stat(os.path.join(folder, file))
                state = f"{stat.st_size} {stat.st_mtime_ns}"
            except OSError:
                state = "missing"
            digest.update(f"{split} {file} {state}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _usable(found: Recording | BadRecordingError, label: int, rate: int) -> np.ndarray | str:
    """Samples at ``rate`` Hz, or why the file cannot be used."""
    if isinstance(found, BadRecordingError):
        return str(found)
    if label == NO_CLASS:
        return NO_WORD
    samples = resample(found, rate).samples
    if frame_counts(len(samples), rate) == 0:
        return f"is too short: {1000 * len(samples) / rate:.1f} ms, where a frame takes {FRAME_MS}"
    return samples


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Leaves the other processors to reading; torch's threads would wait for each other's blocks
    of a millisecond, and on a busy machine that takes far longer than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _groups(recordings: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Consecutive clips whose padded batch is of moderate size."""
    group, longest = [], 0
    for samples in recordings:
        longest = max(longest, len(samples))
        if group and longest * (len(group) + 1) > GROUP_SAMPLES:
            yield group
            group, longest = [], len(samples)
        group.append(samples)
    if group:
        yield group


def _features(
    group: list[np.ndarray], rate: int, filterbank: Callable[..., torch.Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Frames of all clips one after another [sum of counts, 40], and their counts [n]."""
    padded = pad_sequence([torch.from_numpy(samples) for samples in group], batch_first=True)
    durations = np.array([len(samples) for samples in group])
    features = filterbank(padded.float().div_(FULL_SCALE), rate, torch.from_numpy(durations))
    counts = frame_counts(durations, rate)
    return features.numpy()[np.arange(features.shape[1]) < counts[:, None]], counts
