# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How the clips of each kind of split are shown, plain and augmented."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor
from torch.nn.utils.rnn import pad_sequence

from datasets import augment
from datasets.audio_set import AudioSet
from datasets.augment import Augmentation
from datasets.features import FRAME_MS, SHIFT_MS, frame_counts, log_mel
from datasets.files import readable
from datasets.frames import FrameSet
from datasets.interface import Data
from datasets.preview import figures
from datasets.preview.figures import Quantity, Sound
from datasets.recordings import FULL_SCALE, read_or_refuse, resample
from datasets.registry import DATASETS
from parsers.training_config import TrainingConfig

BLOCK = 2048  # clips whose counts are widened together
Change = Callable[[Tensor, Tensor, Generator], Tensor]  # of waveforms and their lengths
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


class View:
    """Pictures of the training clips of ``data``, as ``options`` read them and as augmentations of
    ``strengths`` change them, and captions that say what they show.

    Each kind has a ``sentence`` (what a time step and its features are), a ``sheet`` of the clips
    at ``indices`` [B], as they are read, ``changes`` (file name, title, caption and figure of every
    augmentation of the clips), and ``quantities`` (what is counted of every clip of a split).
    """

    def __init__(self, data: Data, options: TrainingConfig, strengths: Augmentation, seed: int):
        self.data, self.clips, self.options = data, data.train, options
        self.strengths, self.seed = strengths, seed

    def generator(self) -> Generator:
        """In the same state whenever it is asked for."""
        return Generator().manual_seed(self.seed)

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
        width = DATASETS[self.options.dataset_name].step_ms(self.options)
        units = self.options.spatial_bin
        return f"{steps} bins of {width:g} ms, {channels} channels of {units} units each"

    def sheet(self, indices: Tensor) -> Figure:
        clips, titles = self.clips, []
        for i in indices.tolist():
            speaker = "" if clips.speakers is None else f", speaker {clips.speaker_names[i]}"
            events = int(clips.counts[i].sum(dtype=torch.int64))
            titles.append(f"{self.title(i)}{speaker}\nclip {i}, {events:,} events")
        return figures.spike_sheet(clips.counts[indices].numpy(), titles, clips.bin_seconds)

    def changes(self, indices: Tensor) -> Iterator[tuple[str, str, str, Figure]]:
        step = self.clips.bin_seconds
        # Behind the clips that are shown, another of each one's class for CutMix.
        others = [another(self.clips.labels, index) for index in indices.tolist()]
        frames, labels = self.clips.batch(torch.cat([indices, torch.tensor(others)]))
        before = frames[: len(indices)].numpy()
        titles = [self.word(index) for index in indices.tolist()]
        changes = list(changes_of(self.strengths, OF_FRAMES))
        if len(changes) > 1:
            changes.append(("together", "All of these together, as in training", self.strengths))
        for name, title, strengths in changes:
            mixed = name == "cutmix"
            if mixed:  # of a few clips, draw all
                strengths = Augmentation(augm_cutmix=1.0)
            changed = augment.augment_frames(frames, labels, step, strengths, self.generator())
            after = changed[: len(indices)].numpy()
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
    activity = torch.cat([block.sum(2, dtype=torch.int64) for block in counts.split(BLOCK)])
    last = ((activity > 0) * torch.arange(counts.shape[1])).amax(1)
    return activity.sum(1).numpy(), last.numpy()


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
        chosen = indices.tolist()
        titles = [f"{self.title(i)}\n{readable(self.clips.files[i])}" for i in chosen]
        sounds = self._sounds(*self._waveforms(indices))
        return figures.sound_sheet(sounds, titles, self.clips.sample_rate)

    def changes(self, indices: Tensor) -> Iterator[tuple[str, str, str, Figure]]:
        waves, lengths = self._waveforms(indices)
        before = self._sounds(waves, lengths)
        words = [self.word(index) for index in indices.tolist()]
        for name, title, change, masks in self._changes():
            generator = self.generator()
            changed = waves if change is None else change(waves, lengths, generator)
            after = self._sounds(changed, lengths, masks, generator)
            figure = figures.sound_pairs(
                before, after, words, self.clips.sample_rate, title, with_waveforms=bool(change)
            )
            yield name, title, f"{BEFORE_AND_AFTER}.", figure

    def _changes(self) -> Iterator[tuple[str, str, Change | None, Augmentation]]:
        """(file name, title, change of all waveforms, masks of their features)."""
        rate, options, none = self.clips.sample_rate, self.strengths, Augmentation()
        noise, (low, high) = (options.min_snr, options.max_snr), augment.GAIN_DB

        def by(options: Augmentation) -> Change:
            return lambda w, n, g: augment.augment_waveforms(w, n, rate, options, g)

        if options.use_augm:
            for name, title, change in (
                ("polarity", "Polarity inversion", lambda w, n, g: augment.invert_polarity(w, g)),
                (
                    "noise",
                    "Noise, {:g} to {:g} times as strong as the clip".format(*noise),
                    lambda w, n, g: augment.add_noise(w, n, noise, g),
                ),
                (
                    "gain",
                    f"Gain of {low:g} to {high:g} dB",
                    lambda w, n, g: augment.change_gain(w, g),
                ),
                ("reverb", "Reverberation", lambda w, n, g: augment.reverberate(w, n, rate, g)),
            ):
                yield name, title, change, none
        for name, title, alone in changes_of(options, {"augm_time_shift": TIME_SHIFT}):
            yield name, title, by(alone), none
        for name, title, alone in changes_of(options, OF_FEATURES):
            yield name, title, None, alone
        if options.of_waveforms or options.of_features:
            title = "All of these together, each with its probability, as in training"
            yield "together", title, by(options), options

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
        folder = DATASETS[self.options.dataset_name].folder(self.options)
        recordings = (read_or_refuse(folder / self.clips.files[i]) for i in indices.tolist())
        rate = self.clips.sample_rate
        rows = [
            torch.from_numpy(resample(r, rate).samples).float() / FULL_SCALE for r in recordings
        ]
        lengths = torch.tensor([len(row) for row in rows])
        return pad_sequence(rows, batch_first=True), lengths

    def _sounds(self, waves: Tensor, lengths: Tensor, *masks) -> list[Sound]:
        """Clips without their padding, and their features; ``masks`` are the last arguments of
        `augment_features`, if any."""
        rate = self.clips.sample_rate
        features, frames = log_mel(waves, rate, lengths), frame_counts(lengths, rate)
        if masks:
            features = augment.augment_features(features, frames, *masks)
        rows = zip(waves, lengths.tolist(), features, frames.tolist(), strict=True)
        return [Sound(wave[:n].numpy(), x[:t].numpy()) for wave, n, x, t in rows]


VIEWS: dict[type, type[View]] = {FrameSet: SpikeView, AudioSet: AudioView}
