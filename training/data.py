# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""From the options of a run to batches on its device."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datasets.audio import AUDIO, AudioData, load_audio
from datasets.spiking import SpikingData, load_spiking
from training.augmentation import needs_waveforms
from training.console import log


def load_data(
    options, splits: tuple[str, ...] = ("train", "valid", "test")
) -> SpikingData | AudioData:
    """The splits that ``options`` (a TrainingConfig) ask for.

    Raises DataError for a fault in the files.
    """
    common = {"splits": splits, "say": log.info}
    if options.dataset_name in AUDIO:
        return load_audio(
            options.dataset_name,
            options.data_folder,
            skip_bad_files=options.skip_bad_files,
            keep_waveforms="train" in splits and needs_waveforms(options),
            num_workers=options.num_workers,
            **common,
        )
    return load_spiking(
        options.dataset_name,
        options.data_folder,
        nb_steps=options.nb_steps,
        max_time=options.max_time,
        spatial_bin=options.spatial_bin,
        validation=options.shd_validation,
        **common,
    )


def on_device(data: SpikingData | AudioData, device: torch.device) -> SpikingData | AudioData:
    """``data`` with its clips on ``device``; a split that serves twice is moved once."""
    moved = {}
    for name in ("train", "valid", "test"):
        split = getattr(data, name)
        if split is not None and id(split) not in moved:
            moved[id(split)] = split.to(device)
    splits = {name: moved.get(id(getattr(data, name))) for name in ("train", "valid", "test")}
    return replace(data, **splits)


def order_of_batches(size: int, batch_size: int, *, shuffle: bool) -> DataLoader:
    """The indices of every batch of an epoch, [B] int64 each.

    A DataLoader, because its draws from torch's global generator are part of the random stream of
    the published code: with them a seed gives its order of clips and its initial states.
    """
    return DataLoader(range(size), batch_size, shuffle=shuffle, collate_fn=torch.tensor)


def batches(frames, batch_size: int, order: Iterable[Tensor] | None = None) -> Iterator[tuple]:
    """Batches (x [B, T, F] float, y [B]) of ``frames``, in ``order`` or as they lie."""
    if order is None:
        order = order_of_batches(len(frames), batch_size, shuffle=False)
    for indices in order:
        yield frames.batch(indices)
