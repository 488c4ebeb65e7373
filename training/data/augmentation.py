# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The training split as the network sees it: clips that are changed afresh in every epoch."""

import hashlib

import torch
from torch import Tensor

from datasets.audio import AUDIO
from datasets.augment import Augmentation, augment_features, augment_frames, augment_waveforms
from datasets.binning import Binning
from datasets.features import frame_counts, log_mel
from datasets.placement import gathered, moved
from parsers.training_config import TrainingConfig


def needs_waveforms(options: TrainingConfig) -> bool:
    """Whether the training clips of ``options`` are changed as waveforms."""
    return options.dataset_name in AUDIO and Augmentation.of(options).of_waveforms


def augmented(split, options: TrainingConfig, *, epoch: int, step: int, device: torch.device):
    """``split`` with batches that are augmented as ``options`` say, or itself where they do not.

    Args:
        split: the training clips, a FrameSet or an AudioSet.
        options: a TrainingConfig.
        epoch: the number of the pass over the clips.
        step: of its batches, how many are done.
        device: where the batches are made.
    """
    augmentation = Augmentation.of(options)
    if options.dataset_name in AUDIO:
        asked = augmentation.of_waveforms or augmentation.of_features
        kind = _AugmentedAudio
    else:
        asked = augmentation.of_frames
        kind = _AugmentedFrames
    return kind(split, options, epoch, step, device) if asked else split


class _Augmented:
    """A split whose batches follow from the seed, the epoch and their place in it.

    Not from torch's global generator: the order of clips and the initial states of a seed are those
    it has without augmentation, and an epoch that was interrupted goes on as it would have.
    """

    def __init__(self, split, options, epoch: int, step: int, device: torch.device):
        self.split = split
        self.options = options
        self.augmentation = Augmentation.of(options)
        self.epoch = epoch
        self.step = step
        self.generator = torch.Generator(device)

    def __len__(self) -> int:
        return len(self.split)

    def prefetch(self, indices: Tensor) -> None:
        """Let a split that streams its clips begin with these."""
        if hasattr(self.split, "prefetch"):
            self.split.prefetch(indices)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The clips at ``indices`` [B] int64 as (x [B, T, F] float32, y [B] int64)."""
        name = f"{self.options.seed} {self.epoch} {self.step}".encode()
        seed = int.from_bytes(hashlib.sha256(name).digest()[:8], "big")
        self.generator.manual_seed(seed >> 1)
        self.step += 1
        return self.change(indices)


class _AugmentedFrames(_Augmented):
    def change(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        x, y = self.split.batch(indices)
        step_seconds = Binning.of(self.options).bin_seconds
        return augment_frames(x, y, step_seconds, self.augmentation, self.generator), y


class _AugmentedAudio(_Augmented):
    def prefetch(self, indices: Tensor) -> None:
        if not self.augmentation.of_waveforms:  # else the features of the split are not used
            super().prefetch(indices)

    def change(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        if self.augmentation.of_waveforms:
            x, y, lengths = self._changed_waveforms(indices)
        else:
            x, y = self.split.batch(indices)
            lengths = moved(self.split.lengths[indices.cpu()], x.device)
        return augment_features(x, lengths, self.augmentation, self.generator), y

    def _changed_waveforms(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        waveforms, lengths = self.split.waveforms(indices)
        rate = self.split.sample_rate
        waveforms = augment_waveforms(waveforms, lengths, rate, self.augmentation, self.generator)
        labels = self.split.labels
        y = gathered(labels, indices, labels.device)
        return log_mel(waveforms, rate, lengths), y, frame_counts(lengths, rate)
