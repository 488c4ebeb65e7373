# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The training split as the network sees it: clips that are changed anew in every epoch."""

import hashlib

import torch
from torch import Tensor

from datasets.augment import Augmentation
from datasets.interface import Batch, Split
from parsers.training_config import TrainingConfig


def augmented(
    split: Split, options: TrainingConfig, *, epoch: int, step: int, device: torch.device
):
    """``split`` with batches that are augmented as ``options`` say, or itself where they do not.

    Args:
        split: the training clips.
        options: how to augment them, and the seed.
        epoch: the number of the pass over the clips.
        step: of its batches, how many are done.
        device: where the batches are made.
    """
    if not split.is_changed_by(Augmentation.of(options)):
        return split
    return _Augmented(split, options, epoch, step, device)


class _Augmented:
    """A split whose batches follow from the seed, the epoch and their place in it.

    Not from torch's global generator: the order of clips and the initial states of a seed are those
    it has without augmentation, and an epoch that was interrupted is resumed as it would have been.
    """

    def __init__(self, split, options, epoch: int, step: int, device: torch.device):
        self.split = split
        self.augmentation = Augmentation.of(options)
        self.seed = options.seed
        self.epoch = epoch
        self.step = step
        self.generator = torch.Generator(device)

    def __len__(self) -> int:
        return len(self.split)

    def prefetch(self, indices: Tensor) -> None:
        """Let a split that streams its clips begin with these."""
        if hasattr(self.split, "prefetch") and self.split.starts_from_batches(self.augmentation):
            self.split.prefetch(indices)

    def batch(self, indices: Tensor) -> Batch:
        """The clips at ``indices`` [B] int64 as (x [B, T, F] float32, y [B] int64)."""
        name = f"{self.seed} {self.epoch} {self.step}".encode()
        seed = int.from_bytes(hashlib.sha256(name).digest()[:8], "big")
        self.generator.manual_seed(seed >> 1)
        self.step += 1
        return self.split.augmented(indices, self.split.batch, self.augmentation, self.generator)
