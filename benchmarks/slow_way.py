# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What training costs without any of this: every clip is made anew, by itself, at every access."""

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from datasets.features import log_mel

POOL = 512  # different clips; a data set repeats them
UNITS = 700


class EventClips(Dataset):
    """Clips of random events in the SHD layout that are binned when they are asked for."""

    def __init__(self, count: int, events: int, nb_steps: int, max_time: float, spatial_bin: int):
        rng = np.random.default_rng(0)
        self.count = count
        self.times = np.sort(rng.uniform(0, max_time, (POOL, events))).astype(np.float16)
        self.units = rng.integers(0, UNITS, (POOL, events)).astype(np.uint16)
        self.edges = np.linspace(0, max_time, nb_steps)
        self.spatial_bin = spatial_bin

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        times = self.times[index % POOL].astype(np.float32)
        steps = np.digitize(times, self.edges)
        kept = steps < len(self.edges)
        frames = np.zeros((len(self.edges), UNITS // self.spatial_bin), np.float32)
        channels = self.units[index % POOL][kept] // self.spatial_bin
        np.add.at(frames, (steps[kept], channels), 1.0)
        return torch.from_numpy(frames), index % 20


class WaveformClips(Dataset):
    """Recordings of noise whose features are computed when they are asked for."""

    def __init__(self, count: int, samples: int, sample_rate: int):
        generator = torch.Generator().manual_seed(0)
        self.count = count
        self.waves = 0.1 * torch.randn(POOL, samples, generator=generator)
        self.sample_rate = sample_rate

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        wave = self.waves[index % POOL]
        return log_mel(wave[None], self.sample_rate)[0], index % 20


def endless(clips: Dataset, batch_size: int, device: torch.device, workers: int):
    """Batches of whole size on ``device``, epoch after epoch."""
    loader = DataLoader(
        clips,
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    while True:
        for x, y in loader:
            yield x.to(device), y.to(device)
