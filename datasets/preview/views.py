# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How the clips of each kind of split are shown, plain and augmented."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor

from datasets import augment
from datasets.audio_set import AudioSet
from datasets.augment import Augmentation
from datasets.errors import DataError
from datasets.features import FRAME_MS, SHIFT_MS, frame_counts, log_mel
from datasets.frames import FrameSet
from datasets.interface import Data, Split
from datasets.preview import figures
from datasets.preview.figures import Quantity, Sound
from datasets.preview.page import Request
from datasets.recordings import FULL_SCALE, BadRecordingError, read_recording, resample
from datasets.registry import DATASETS

BLOCK = 2048  # clips whose counts are widened together
Change = Callable[..., Tensor]
BEFORE_AND_AFTER = "Training clips before and after"
TIME_SHIFT = "Time shift of up to {:g} s to either side"
OF_FRAMES = {
    "augm_time_shift": TIME_SHIFT,
    "augm_channel_shift": "Channel shift of up to {} channels, up or down",
    "augm_event_drop": "Event drop, each with probability {:g}",
    "augm_cutmix": "CutMix with another clip of the class",
}
OF_FEATURES = {
    "augm_time_mask": "Time mask of up to {} frames",
    "augm_freq_mask": "Frequency mask of up to {} bands",
}


def changes_of(
    options: Augmentation, titles: dict[str, str]
) -> Iterator[tuple[str, str, Augmentation]]:
    """(file name, title, strengths) of each augmentation in ``titles`` that is asked for."""
    for option, title in titles.items():
        if strength := getattr(options, option):
            alone = Augmentation(**{option: strength})
            yield option.removeprefix("augm_"), title.format(strength), alone


class View(ABC):
    """Pictures of one data set, and captions that say what they show."""

    clips_caption: str
    lengths_title: str
    lengths_caption: str

    def __init__(self, request: Request, data: Data):
        self.request, self.data, self.clips = request, data, data.train
        self.strengths = request.strengths

    @property
    @abstractmethod
    def sentence(self) -> str:
        """What a time step and its features are."""

    @abstractmethod
    def sheet(self, indices: Tensor) -> Figure:
        """The clips at ``indices`` [B], as they are read."""

    @abstractmethod
    def changes(self, indices: Tensor) -> Iterator[tuple[str, str, str, Figure]]:
        """(file name, title, caption, figure) of every augmentation of the clips."""

    @abstractmethod
    def quantities(self, splits: dict[str, Split]) -> list[Quantity]:
        """What is counted of every clip."""

    def word(self, index: int) -> str:
        """The class of a clip."""
        return self.data.classes[int(self.clips.labels[index])]

    def title(self, index: int) -> str:
        """The class of a clip and its number."""
        word, label = self.word(index), int(self.clips.labels[index])
        return f"class {label}" if word == str(label) else f"{word} (class {label})"


class SpikeView(View):
    """Counts of events."""

    clips_caption = (
        "Events in each bin and channel of training clips; below, the sum over channels."
    )
    lengths_title = "Events and lengths"
    lengths_caption = "Events that are kept by the binning, and when the last of a clip comes."

    @property
    def sentence(self) -> str:
        _, steps, channels = self.clips.shape
        width = 1000 * self.clips.bin_seconds
        units = self.request.options.spatial_bin
        return f"{steps} bins of {width:.3g} ms, {channels} channels of {units} units each"

    def sheet(self, indices: Tensor) -> Figure:
        counts = list(self.clips.counts[indices].numpy())
        titles = [self._describe(index) for index in indices.tolist()]
        return figures.spike_sheet(counts, titles, self.clips.bin_seconds)

    def _describe(self, index: int) -> str:
        clips = self.clips
        speaker = "" if clips.speakers is None else f", speaker {int(clips.speakers[index])}"
        events = int(clips.counts[index].sum(dtype=torch.int64))
        return f"{self.title(index)}{speaker}\nclip {index}, {events:,} events"

    def changes(self, indices: Tensor) -> Iterator[tuple[str, str, str, Figure]]:
        step = self.clips.bin_seconds
        # Behind the clips that are shown, another of each one's class for CutMix.
        others = [another(self.clips.labels, index) for index in indices.tolist()]
        frames, labels = self.clips.batch(torch.cat([indices, torch.tensor(others)]))
        before = list(frames[: len(indices)].numpy())
        titles = [self.word(index) for index in indices.tolist()]
        changes = list(changes_of(self.strengths, OF_FRAMES))
        if len(changes) > 1:
            changes.append(("together", "All of these together, as in training", self.strengths))
        for name, title, strengths in changes:
            if name == "cutmix":  # of a few clips, draw all
                strengths = Augmentation(augm_cutmix=1.0)
            generator = self.request.generator()
            changed = augment.augment_frames(frames, labels, step, strengths, generator)
            after = list(changed[: len(indices)].numpy())
            mixed = name == "cutmix"
            mark = "; what comes from another clip lies between the lines." if mixed else "."
            figure = figures.spike_pairs(before, after, titles, step, title, mark=mixed)
            yield name, title, BEFORE_AND_AFTER + mark, figure

    def quantities(self, splits: dict[str, FrameSet]) -> list[Quantity]:
        step, events, ends = self.clips.bin_seconds, {}, {}
        for name, split in splits.items():
            events[name], last_bins = events_and_last_bins(split.counts)
            ends[name] = last_bins * step
        return [
            Quantity("events in a clip", 1, events),
            Quantity("time of the last event (s)", step, ends),
        ]


def another(labels: Tensor, index: int) -> int:
    """The next clip of the class of clip ``index``, itself if it has no other."""
    same = (labels == labels[index]).nonzero()[:, 0]
    return int(same[(int((same == index).nonzero()) + 1) % len(same)])


def events_and_last_bins(counts: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Events of each clip, and the last bin with one, [N] each."""
    events, last = [], []
    bins = torch.arange(counts.shape[1])
    for block in counts.split(BLOCK):
        activity = block.sum(2, dtype=torch.int64)
        events.append(activity.sum(1))
        last.append(((activity > 0) * bins).amax(1))
    return torch.cat(events).numpy(), torch.cat(last).numpy()


class AudioView(View):
    """Recordings and their features."""

    clips_caption = (
        "Training clips and their features, the logarithms of the energies in mel bands."
    )
    lengths_title = "Lengths and levels"
    lengths_caption = "How long clips are, and how loud: silent ones lie far to the left."

    @property
    def sentence(self) -> str:
        bands = self.data.nb_features
        return f"{self.clips.sample_rate} Hz, {bands} log-mel bands, a frame every {SHIFT_MS} ms"

    def sheet(self, indices: Tensor) -> Figure:
        titles = [f"{self.title(i)}\n{self.clips.files[i]}" for i in indices.tolist()]
        sounds = self._sounds(*self._waveforms(indices))
        return figures.sound_sheet(sounds, titles, self.clips.sample_rate)

    def changes(self, indices: Tensor) -> Iterator[tuple[str, str, str, Figure]]:
        waves, lengths = self._waveforms(indices)
        before = self._sounds(waves, lengths)
        words = [self.word(index) for index in indices.tolist()]
        rate, options = self.clips.sample_rate, self.strengths

        def pairs(title: str, after: list[Sound], with_waveforms: bool = True) -> Figure:
            return figures.sound_pairs(
                before, after, words, rate, title, with_waveforms=with_waveforms
            )

        for name, title, change in changes_of_waveforms(options, rate):
            after = self._sounds(change(waves, lengths, self.request.generator()), lengths)
            yield name, title, f"{BEFORE_AND_AFTER}.", pairs(title, after)
        for name, title, strengths in changes_of(options, OF_FEATURES):
            after = self._sounds(waves, lengths, strengths, self.request.generator())
            yield name, title, f"{BEFORE_AND_AFTER}.", pairs(title, after, with_waveforms=False)
        if options.of_waveforms or options.of_features:
            generator = self.request.generator()
            changed = augment.augment_waveforms(waves, lengths, rate, options, generator)
            after = self._sounds(changed, lengths, options, generator)
            title = "All of these together, each with its probability, as in training"
            yield "together", title, f"{BEFORE_AND_AFTER}.", pairs(title, after)

    def quantities(self, splits: dict[str, AudioSet]) -> list[Quantity]:
        seconds, levels = {}, {}
        for name, split in splits.items():
            seconds[name] = ((split.lengths - 1) * SHIFT_MS + FRAME_MS).numpy() / 1000
            sums = split.features.mean(1).double().cumsum(0)
            totals = sums[split.lengths.cumsum(0) - 1].diff(prepend=sums.new_zeros(1))
            levels[name] = (totals / split.lengths).numpy()
        return [
            Quantity("length of a clip (s)", SHIFT_MS / 1000, seconds),
            Quantity("mean ln energy of a clip", None, levels),
        ]

    def _waveforms(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The clips at ``indices`` [B] read again, as (waveforms [B, S], samples [B] of each)."""
        options = self.request.options
        folder = DATASETS[options.dataset_name].folder(options)
        rows = []
        for index in indices.tolist():
            path = folder / self.clips.files[index]
            try:
                samples = resample(read_recording(path), self.clips.sample_rate).samples
            except BadRecordingError as reason:
                raise DataError(f"{path} {reason}") from reason
            rows.append(torch.from_numpy(samples).float() / FULL_SCALE)
        lengths = torch.tensor([len(row) for row in rows])
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths

    def _sounds(
        self,
        waves: Tensor,
        lengths: Tensor,
        strengths: Augmentation | None = None,
        generator: Generator | None = None,
    ) -> list[Sound]:
        """Clips without their padding, and their features, masked as ``strengths`` say."""
        rate = self.clips.sample_rate
        features, frames = log_mel(waves, rate, lengths), frame_counts(lengths, rate)
        if strengths is not None:
            features = augment.augment_features(features, frames, strengths, generator)
        rows = zip(waves, lengths.tolist(), features, frames.tolist(), strict=True)
        return [Sound(wave[:n].numpy(), x[:t].numpy()) for wave, n, x, t in rows]


def changes_of_waveforms(options: Augmentation, rate: int) -> list[tuple[str, str, Change]]:
    """(file name, title, function) of every change that ``options`` ask for, made to all clips."""
    changes = []
    if options.use_augm:
        noise = (options.min_snr, options.max_snr)
        low, high = augment.GAIN_DB
        changes += [
            ("polarity", "Polarity inversion", lambda w, n, g: augment.invert_polarity(w, g)),
            (
                "noise",
                f"Noise, {noise[0]:g} to {noise[1]:g} times as strong as the clip",
                lambda w, n, g: augment.add_noise(w, n, noise, g),
            ),
            ("gain", f"Gain of {low:g} to {high:g} dB", lambda w, n, g: augment.change_gain(w, g)),
            ("reverb", "Reverberation", lambda w, n, g: augment.reverberate(w, n, rate, g)),
        ]
    for name, title, alone in changes_of(options, {"augm_time_shift": TIME_SHIFT}):

        def shifted(w: Tensor, n: Tensor, g: Generator, alone: Augmentation = alone) -> Tensor:
            return augment.augment_waveforms(w, n, rate, alone, g)

        changes.append((name, title, shifted))
    return changes


VIEWS: dict[type, type[View]] = {FrameSet: SpikeView, AudioSet: AudioView}
