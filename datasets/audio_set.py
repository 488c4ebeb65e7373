# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recordings of words as batches of log-mel frames, or of waveforms."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn.utils.rnn import pad_sequence

from datasets.augment import Augmentation, augment_features, augment_waveforms
from datasets.features import frame_counts, log_mel
from datasets.interface import Batch, Split, gathered, moved
from datasets.recordings import FULL_SCALE
from datasets.shares import speaker_pattern


@dataclass(frozen=True)
class AudioSet(Split):
    """The clips of one split, as log-mel frames of 10 ms.

    ``features`` [sum of lengths, 40] float32 holds the clips one after another, of ``lengths`` [N]
    int64 frames; ``labels`` [N] int64. ``files`` are their paths below the data folder. Where the
    waveforms are kept, ``samples`` [sum of durations] int16 are those of all clips at
    ``sample_rate`` Hz, and ``durations`` [N] int64 their numbers; ``filterbank`` makes their
    features where they are augmented, see `datasets.features`.

    Batches are made on the device where the ``labels`` live. ``features`` live there too, or on the
    CPU; the others on the CPU.
    """

    features: Tensor
    lengths: Tensor
    labels: Tensor
    files: list[str]
    sample_rate: int
    samples: Tensor | None = None
    durations: Tensor | None = None
    filterbank: Callable[[Tensor, int, Tensor], Tensor] = log_mel

    def to(self, device: torch.device | str) -> "AudioSet":
        """The same clips on ``device``; waveforms follow batch by batch."""
        return replace(self, features=self.features.to(device), labels=self.labels.to(device))

    @property
    def nbytes(self) -> int:
        """Memory that the features take."""
        return self.features.nbytes

    @property
    def speaker_names(self) -> list[str]:
        """What the names of the files say, where all do."""
        names = [Path(file).name for file in self.files]
        pattern = speaker_pattern(names)
        return [re.search(pattern, name)[1] for name in names] if pattern else []

    @property
    def clip_names(self) -> list[str]:
        """See `Split.clip_names`."""
        return self.files

    def longest(self) -> tuple[int, str]:
        """Frames and file of the longest clip."""
        index = int(self.lengths.argmax())
        return int(self.lengths[index]), self.files[index]

    def batch(self, indices: Tensor) -> Batch:
        """The clips at ``indices`` [B] int64 as (x [B, T, 40] float32, y [B] int64).

        T is the length of the longest of them; shorter ones end in zeros.
        """
        device, indices = self.features.device, indices.cpu()
        lengths, starts = self.lengths[indices], self._starts[indices]
        steps = torch.arange(int(lengths.max()), device=device)
        outside = steps >= moved(lengths, device)[:, None]
        rows = (moved(starts, device)[:, None] + steps).masked_fill_(outside, 0)
        x = self.features.index_select(0, rows.flatten()).view(*rows.shape, -1)
        x = x.masked_fill_(outside[..., None], 0.0)
        return moved(x, self.labels.device), gathered(self.labels, indices, self.labels.device)

    def waveforms(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The same clips as (waveforms [B, S] float32 in -1..1, samples [B] int64 of each).

        S is the length of the longest of them; shorter ones end in zeros. For `log_mel`.
        """
        assert self.samples is not None, "loaded without the augmentation of waveforms"
        device, indices = self.labels.device, indices.cpu()
        durations, starts = self.durations[indices], self._sample_starts[indices]
        clips = [self.samples[i : i + n] for i, n in zip(starts, durations, strict=True)]
        padded = pad_sequence(clips, batch_first=True)
        return moved(padded, device).float().div_(FULL_SCALE), moved(durations, device)

    def is_changed_by(self, augmentation: Augmentation) -> bool:
        """By what changes waveforms or features."""
        return augmentation.of_waveforms or augmentation.of_features

    def starts_from_batches(self, augmentation: Augmentation) -> bool:
        """Where waveforms change, their features are computed anew."""
        return not augmentation.of_waveforms

    def augmented(
        self,
        indices: Tensor,
        batch: Callable[[Tensor], Batch],
        augmentation: Augmentation,
        generator: Generator,
    ) -> Batch:
        """See `Split.augmented`."""
        if augmentation.of_waveforms:
            rate = self.sample_rate
            waveforms, samples = self.waveforms(indices)
            waveforms = augment_waveforms(waveforms, samples, rate, augmentation, generator)
            x, lengths = self.filterbank(waveforms, rate, samples), frame_counts(samples, rate)
            y = gathered(self.labels, indices, self.labels.device)
        else:
            x, y = batch(indices)
            lengths = moved(self.lengths[indices.cpu()], x.device)
        return augment_features(x, lengths, augmentation, generator), y

    @cached_property
    def _starts(self) -> Tensor:
        return self.lengths.cumsum(0) - self.lengths

    @cached_property
    def _sample_starts(self) -> Tensor:
        return self.durations.cumsum(0) - self.durations
