# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Google Speech Commands, Heidelberg Digits, and any folder of spoken words, as log-mel frames."""

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from datasets.cache import Cached, Sink, load_or_make
from datasets.errors import DataError
from datasets.features import FRAME_MS, NB_BINS, PARAMETERS, frame_counts, log_mel
from datasets.recordings import (
    FULL_SCALE,
    BadRecordingError,
    Recording,
    prevailing_rate,
    read_in_order,
    resample,
)
from datasets.splits import NO_CLASS, SPLITS, Listing, list_digits, list_words

REPO = Path(__file__).resolve().parents[1]
GROUP_SAMPLES = 1 << 22  # padded samples that become features together: 16 MiB
PUBLISHED_WORDS = 35
SPLIT_NAMES = {"train": "training", "valid": "validation", "test": "test"}
WAY_OUT = "repair or remove it, or leave such files out with --skip_bad_files True"


@dataclass(frozen=True)
class AudioDataset:
    """One data set of recordings; ``default_folder`` is relative to the repository."""

    list_clips: Callable[[Path], Listing]
    expected: str
    default_folder: str
    url: str


AUDIO = {
    "sc": AudioDataset(
        list_words,
        "folders of words with WAV files",
        "data/GSC",
        "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    ),
    "hd": AudioDataset(
        list_digits,
        "audio/*.flac, train_filenames.txt and test_filenames.txt",
        "data/HD",
        "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/",
    ),
}


@dataclass(frozen=True)
class AudioSet:
    """The clips of one split, as log-mel frames of 10 ms.

    ``features`` [sum of lengths, 40] float32 holds the clips one after another, of ``lengths`` [N]
    int64 frames; ``labels`` [N] int64. ``files`` are their paths below the data folder. Where the
    waveforms are kept, ``samples`` [sum of durations] int16 are those of all clips at
    ``sample_rate`` Hz, and ``durations`` [N] int64 their numbers.

    ``features`` and ``labels`` live on the device; the others on the CPU.
    """

    features: Tensor
    lengths: Tensor
    labels: Tensor
    files: list[str]
    sample_rate: int
    samples: Tensor | None = None
    durations: Tensor | None = None

    def __len__(self) -> int:
        return len(self.files)

    def to(self, device: torch.device | str) -> "AudioSet":
        """The same clips on ``device``; waveforms follow batch by batch."""
        return replace(self, features=self.features.to(device), labels=self.labels.to(device))

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The clips at ``indices`` [B] int64 as (x [B, T, 40] float32, y [B] int64).

        T is the length of the longest of them; shorter ones end in zeros.
        """
        device, indices = self.features.device, indices.cpu()
        lengths, starts = self.lengths[indices], self._starts[indices]
        steps = torch.arange(int(lengths.max()), device=device)
        outside = steps >= lengths.to(device)[:, None]
        rows = (starts.to(device)[:, None] + steps).masked_fill_(outside, 0)
        x = self.features.index_select(0, rows.flatten()).view(*rows.shape, -1)
        y = self.labels.index_select(0, indices.to(device))
        return x.masked_fill_(outside[..., None], 0.0), y

    def waveforms(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The same clips as (waveforms [B, S] float32 in -1..1, samples [B] int64 of each).

        S is the length of the longest of them; shorter ones end in zeros. For `log_mel`.
        """
        assert self.samples is not None, "load_audio was not asked to keep_waveforms"
        device, indices = self.features.device, indices.cpu()
        durations, starts = self.durations[indices], self._sample_starts[indices]
        padded = torch.zeros(len(indices), int(durations.max()), dtype=torch.int16)
        for row, start, duration in zip(padded, starts.tolist(), durations.tolist(), strict=True):
            row[:duration] = self.samples[start : start + duration]
        return padded.to(device).float().div_(FULL_SCALE), durations.to(device)

    @cached_property
    def _starts(self) -> Tensor:
        return self.lengths.cumsum(0) - self.lengths

    @cached_property
    def _sample_starts(self) -> Tensor:
        return self.durations.cumsum(0) - self.durations


@dataclass(frozen=True)
class AudioData:
    """The splits that were asked for, None for the others, and what validation means here.

    ``classes`` are the names of the labels.
    """

    train: AudioSet | None
    valid: AudioSet | None
    test: AudioSet | None
    nb_classes: int
    nb_features: int
    validation: str
    classes: list[str]


def load_audio(
    name: str,
    folder: str | Path | None = None,
    *,
    num_workers: int = 1,
    splits: Collection[str] = SPLITS,
    skip_bad_files: bool = False,
    keep_waveforms: bool = False,
    say: Callable[[str], None] = print,
) -> AudioData:
    """Load a data set of recordings as log-mel frames; see `datasets.features.log_mel`.

    Every recording is read once. Features, and waveforms where they are kept, are cached in
    ``.frames/`` in the data folder or, where that is read-only, in the user's cache folder
    (``$SPRACHE_CACHE``, else ``~/.cache/sprache``), for as long as name, size and modification time
    of all files stay the same. Recordings at another rate than most are resampled.

    The published features of Heidelberg Digits took their 48 kHz for 16 kHz, so that a frame of
    theirs lasts a third of one here.

    Args:
        name: key of ``AUDIO``.
        folder: where the files lie; None is the data set's default folder in the repository.
        num_workers: threads that read files.
        splits: those of train, valid, test that are needed; the clips of others are not read.
        skip_bad_files: leave out what cannot be used, instead of raising.
        keep_waveforms: also keep the samples, see `AudioSet.waveforms`.
        say: takes one line at a time for the user.

    Returns:
        AudioData whose splits are AudioSets.

    Raises:
        DataError: no such folder, its lists or a recording are not as they should be, or a split
            is left without clips.
    """
    if name not in AUDIO:
        raise DataError(f"dataset_name {name!r} is not one of {', '.join(AUDIO)}")
    for split in splits:
        if split not in SPLITS:
            raise DataError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    folder = REPO / AUDIO[name].default_folder if folder is None else Path(folder).expanduser()
    listing = _list_clips(name, folder)
    _report_listing(name, listing, say)
    reader = _Reader(name, folder, listing, num_workers, skip_bad_files, say)

    sources = {split: split if split in listing.clips else "test" for split in splits}
    loaded = {
        source: reader.load(source, keep_waveforms)
        for source in SPLITS
        if source in sources.values()
    }
    reader.report()
    train, valid, test = (loaded.get(sources.get(split)) for split in SPLITS)
    return AudioData(
        train=train,
        valid=valid,
        test=test,
        nb_classes=len(listing.classes),
        nb_features=NB_BINS,
        validation=listing.validation,
        classes=listing.classes,
    )


def _list_clips(name: str, folder: Path) -> Listing:
    dataset = AUDIO[name]
    try:
        if not folder.is_dir():
            raise DataError(
                f"no folder {folder} for {dataset.expected}: get the data from {dataset.url} or "
                "say where with --data_folder"
            )
        return dataset.list_clips(folder)
    except OSError as error:
        raise DataError(f"cannot look into {error.filename} ({error.strerror})") from error


def _report_listing(name: str, listing: Listing, say: Callable[[str], None]) -> None:
    counts = [
        f"{len(listing.clips[split]):,} {SPLIT_NAMES[split]}"
        for split in SPLITS
        if split in listing.clips
    ]
    say(
        f"{name}: {', '.join(counts[:-1])} and {counts[-1]} clips of {len(listing.classes)} "
        f"classes, split by {listing.rule}"
    )
    if name == "sc" and len(listing.classes) != PUBLISHED_WORDS:
        say(
            f"{name}: {len(listing.classes)} words here, where Google Speech Commands has "
            f"{PUBLISHED_WORDS}: results do not compare with published ones"
        )


class _Reader:
    """Turns the clips of a listing into AudioSets, by way of the cache."""

    def __init__(
        self,
        name: str,
        folder: Path,
        listing: Listing,
        num_workers: int,
        skip_bad_files: bool,
        say: Callable[[str], None],
    ):
        self.name, self.folder, self.listing = name, folder, listing
        self.num_workers, self.skip_bad_files, self.say = num_workers, skip_bad_files, say
        self.digest = _digest(folder, listing)
        self.bad: list[str] = []
        self.resampled: list[str] = []
        self.rate: int | None = None

    def load(self, split: str, keep_waveforms: bool) -> AudioSet:
        """The clips of a split that can be used."""
        clips = self.listing.clips[split]
        if not clips:
            raise DataError(
                f"{self.folder}: {self.listing.rule} leaves no {SPLIT_NAMES[split]} clip; name "
                "some in such a list"
            )
        waveforms = None
        if keep_waveforms:
            waveforms = self._cached(split, "waveforms", self._make_waveforms)
        cached = self._cached(
            split,
            "features",
            lambda sink, split: self._make_features(sink, split, waveforms),
        )
        self._note(split, cached.facts)
        lengths = torch.from_numpy(cached.arrays["lengths"])
        good = (lengths > 0).nonzero().flatten()
        if len(good) == 0:
            raise DataError(f"{self.folder}: no {SPLIT_NAMES[split]} clip is left")
        kept = {}
        if waveforms is not None:
            kept = {
                "samples": torch.from_numpy(waveforms.arrays["samples"]),
                "durations": torch.from_numpy(waveforms.arrays["durations"])[good],
            }
        return AudioSet(
            features=torch.from_numpy(cached.arrays["features"]),
            lengths=lengths[good],
            labels=torch.tensor([label for _, label in clips])[good],
            files=[clips[i][0] for i in good.tolist()],
            sample_rate=cached.facts["rate"],
            **kept,
        )

    def report(self) -> None:
        """Say what was left out and what was resampled, in a line each."""
        if self.bad:
            files = "file is" if len(self.bad) == 1 else "files are"
            self.say(f"{len(self.bad)} bad {files} left out, the first: {self.bad[0]}")
        if self.resampled:
            files = "file is" if len(self.resampled) == 1 else "files are"
            self.say(f"{len(self.resampled)} {files} resampled, the first: {self.resampled[0]}")

    def _note(self, split: str, facts: dict[str, Any]) -> None:
        """Remember what is said about a split; DataError for a bad file that may not be skipped."""
        clips = self.listing.clips[split]
        for index, reason in facts["bad"]:
            message = f"{self.folder / clips[index][0]} {reason}"
            if not self.skip_bad_files:
                raise DataError(f"{message}: {WAY_OUT}")
            self.bad.append(message)
        for index, rate in facts["resampled"]:
            path = self.folder / clips[index][0]
            self.resampled.append(f"{path}, from {rate} to {facts['rate']} Hz")

    def _cached(self, split: str, content: str, make: Callable[[Sink, str], dict]) -> Cached:
        clips = f"{SPLIT_NAMES[split]} clips"
        key = {"content": content, "split": split, "clips": self.digest, **PARAMETERS}
        try:
            return load_or_make(
                self.folder,
                f"{self.name}-{split}-{content}.frames",
                key,
                lambda sink: make(sink, split),
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
                features, counts = _features(group, facts["rate"])
                sink.append("features", features)
                lengths.append(counts)
        sink.append("lengths", np.concatenate(lengths))
        return facts

    def _new_facts(self) -> dict[str, Any]:
        if self.rate is None:
            files = [file for split in self.listing.clips.values() for file, _ in split]
            sampled = files[:: max(1, len(files) // 101)]
            self.rate = prevailing_rate([self.folder / file for file in sampled])
        return {"rate": self.rate, "bad": [], "resampled": []}

    def _recordings(self, split: str, facts: dict[str, Any]) -> Iterator[np.ndarray]:
        """Samples of every clip, none for a bad one; what is odd is added to ``facts``."""
        clips = self.listing.clips[split]
        paths = (self.folder / file for file, _ in clips)
        # disable=None: no bar where stderr is not a terminal.
        with tqdm(
            total=len(clips),
            desc=f"reading {SPLIT_NAMES[split]} clips",
            unit="clip",
            leave=False,
            disable=None,
        ) as bar:
            for index, found in enumerate(read_in_order(paths, self.num_workers)):
                bar.update()
                samples = _usable(found, clips[index][1], facts["rate"])
                if isinstance(samples, str):
                    facts["bad"].append((index, samples))
                    if not self.skip_bad_files:
                        self._note(split, facts)
                    samples = np.empty(0, np.int16)
                elif found.rate != facts["rate"]:
                    facts["resampled"].append((index, found.rate))
                yield samples


def _digest(folder: Path, listing: Listing) -> str:
    """Names the clips and their state on disk, without opening them."""
    digest = hashlib.sha256()
    for split, clips in listing.clips.items():
        for file, _ in clips:
            try:
                stat = os.stat(f"{folder}/{file}")
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
        return "is named in a list but is no clip of a word"
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


def _features(group: list[np.ndarray], rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames of all clips one after another [sum of counts, 40], and their counts [n]."""
    durations = np.array([len(samples) for samples in group])
    padded = np.zeros((len(group), durations.max()), np.float32)
    for row, samples in zip(padded, group, strict=True):
        row[: len(samples)] = samples
    features = log_mel(torch.from_numpy(padded).div_(FULL_SCALE), rate)
    counts = frame_counts(durations, rate)
    return features.numpy()[np.arange(features.shape[1]) < counts[:, None]], counts
