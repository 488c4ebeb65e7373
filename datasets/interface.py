# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The interface of a data set: a `DataSet` loads `Data`, and each of its splits is a `Split`."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Generator, Tensor

from datasets.files import refuse_file

REPO = Path(__file__).resolve().parents[1]
SPLITS = ("train", "valid", "test")
Batch = tuple[Tensor, Tensor]  # x [B, T, F] float32 and y [B] int64


@dataclass(frozen=True)
class Augmentation:
    """How strongly to change the clips; the fields are named after the options.

    Waveforms: ``use_augm`` is the set of SpArch (Bittar and Garner 2022) with noise between
    ``min_snr`` and ``max_snr``, which, despite their names, are ratios of noise to signal in
    amplitude. Waveforms and frames: ``augm_time_shift`` s to either side. Features:
    ``augm_time_mask`` frames and ``augm_freq_mask`` bands at most. Frames: ``augm_channel_shift``
    channels to either side, the share ``augm_event_drop`` of events, and ``augm_cutmix``, the
    probability that a clip is mixed.
    """

    use_augm: bool = False
    min_snr: float = 0.0001
    max_snr: float = 0.9
    augm_time_shift: float = 0.0
    augm_time_mask: int = 0
    augm_freq_mask: int = 0
    augm_channel_shift: int = 0
    augm_event_drop: float = 0.0
    augm_cutmix: float = 0.0

    @classmethod
    def of(cls, options) -> "Augmentation":
        """From anything with attributes of these names."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})

    @property
    def of_waveforms(self) -> bool:
        """Whether `augment_waveforms` changes anything."""
        return self.use_augm or self.augm_time_shift > 0

    @property
    def of_features(self) -> bool:
        """Whether `augment_features` changes anything."""
        return self.augm_time_mask > 0 or self.augm_freq_mask > 0

    @property
    def of_frames(self) -> bool:
        """Whether `augment_frames` changes anything."""
        own = (self.augm_channel_shift, self.augm_event_drop, self.augm_cutmix)
        return self.augm_time_shift > 0 or any(strength > 0 for strength in own)


class Split(ABC):
    """The clips of one split, a dataclass with ``labels`` [N] int64.

    Batches are made on the device where the labels live; the clips may lie in host memory.
    """

    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Memory that the clips take."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """The same clips on ``device``."""

    def with_batches_on(self, device: torch.device | str) -> Self:
        """The same clips where they are; only their batches are made on ``device``."""
        return replace(self, labels=self.labels.to(device))

    @abstractmethod
    def batch(self, indices: Tensor) -> Batch:
        """The clips at ``indices`` [B] int64 as (x [B, T, F] float32, y [B] int64)."""

    def counted(self, indices: Tensor) -> Batch:
        """As `batch`, but counts of events may stay uint8: a network takes both, and gives the
        same."""
        return self.batch(indices)

    @property
    def speaker_names(self) -> list[str]:
        """Who speaks each clip; empty where that is not known."""
        return []

    @property
    def clip_names(self) -> list[str]:
        """A name of each clip: its file below the data folder, or else its number."""
        return list(map(str, range(len(self))))

    @abstractmethod
    def longest(self) -> tuple[int, str]:
        """Time steps of the longest clip, and its file; no file where all are of one length."""

    def is_changed_by(self, augmentation: Augmentation) -> bool:
        """Whether ``augmentation`` asks for anything that such clips can undergo."""
        return False

    def starts_from_batches(self, augmentation: Augmentation) -> bool:
        """Whether `augmented` reads plain batches, so that they are worth fetching ahead."""
        return True

    def augmented(
        self,
        indices: Tensor,
        batch: Callable[[Tensor], Batch],
        augmentation: Augmentation,
        generator: Generator,
    ) -> Batch:
        """As `batch`, changed at random by a generator of the device where batches are made.

        ``batch`` gives the plain ones: that of this split, or of one that fetches them ahead.
        """
        return batch(indices)


@dataclass(frozen=True)
class Data:
    """The splits that were asked for, None for the others, and what is known of them.

    ``validation`` says what validation means here. ``checksums`` holds SHA-256 sums of all that was
    read, by the name of a file or a split; a run that is resumed must find the same. ``classes``
    are the names of the labels, ``sample_rate`` that of recordings in Hz, ``nb_channels`` how many
    spikes have before binning. ``facts`` are noted in summary.json as they are. ``unpublished``
    says why these are not the clips of the published set, and is empty where they are; ``settled``
    is what the data made of options that were `auto`, by their names. ``seconds`` are the usual
    duration of recordings, that which few exceed, and the longest; ``ear_seed`` is the seed of the
    fibres of the inner ear, `datasets.cochlea`, where spikes come from it.
    """

    nb_features: int
    classes: list[str]
    validation: str
    train: Any = None
    valid: Any = None
    test: Any = None
    checksums: dict[str, str] = field(default_factory=dict)
    sample_rate: int | None = None
    nb_channels: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    unpublished: str = "another data set"
    settled: dict[str, str] = field(default_factory=dict)
    seconds: tuple[float, float, float] | None = None
    ear_seed: int | None = None

    @property
    def nb_classes(self) -> int:
        """Outputs of a network for these data."""
        return len(self.classes)


class DataSet(ABC):
    """A data set: where it lies, and how its files become splits.

    ``nb_classes`` are the classes of the published data, and ``clips`` the number of clips in each
    file, or with the key "" in all; ``default_folder`` is relative to the repository, and ``title``
    is the name in papers. ``unnamed_classes`` are the names of classes that the files do not name,
    None where they always do. ``has_portable_checksums`` says whether checksums are of contents
    alone in runs of all versions, and compare between machines.
    """

    nb_classes: int
    clips: Mapping[str, int]
    default_folder: str
    title: str
    unnamed_classes: list[str] | None = None
    has_portable_checksums = True

    def unpublished(self, found: Mapping[str, int]) -> str:
        """Where ``found`` clips differ from the published ones in number; empty if nowhere."""
        for name, count in found.items():
            if count != (there := self.clips.get(name, count)):
                clips = f"{name} clips".lstrip()
                return f"{count:,} {clips}, where {self.title} has {there:,}"
        return "" if self.clips else "another data set"

    def folder(self, options) -> Path:
        """Where the data lie."""
        if options.data_folder is None:
            return REPO / self.default_folder
        folder = Path(os.path.expanduser(options.data_folder))
        refuse_file(folder)
        return folder

    def look_up(self, options) -> None:
        """Raise DataError, at once, for files that are not there; not for what is in them."""
        return  # where `load` looks soon enough

    @abstractmethod
    def load(
        self, options, splits: Collection[str] = SPLITS, say: Callable[[str], None] = print
    ) -> Data:
        """Read what is asked for.

        ``options`` are the `TrainingConfig` of a run, and ``splits`` those of train, valid, test
        that are needed; the files of others are not opened. ``say`` takes one line at a time for
        the user. Raises DataError for a file or contents that are not as they should be.
        """

    def also_depends_on(self, options) -> tuple:
        """What besides the options of data decides what `load` keeps in memory."""
        return ()

    @abstractmethod
    def nb_features(self, options) -> int:
        """Features of a time step, known before the data are read."""

    @abstractmethod
    def step_seconds(self, options) -> float:
        """Time from one step to the next."""

    def step_ms(self, options) -> float:
        """The same in ms as it is named, to two digits: 100 edges in 1 s make bins of 10 ms."""
        return float(f"{1000 * self.step_seconds(options):.2g}")


# A plain copy to a GPU makes the host wait until everything queued before it is done. From pinned
# memory it is queued behind that instead.
def moved(x: Tensor, device: torch.device) -> Tensor:
    """``x`` on ``device``."""
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def gathered(rows: Tensor, indices: Tensor, device: torch.device) -> Tensor:
    """``rows`` [N, ...] at ``indices`` [B] int64, on ``device``, wherever the rows lie."""
    indices = moved(indices, rows.device)
    if device.type == "cuda" and rows.device.type == "cpu":
        staged = torch.empty(
            (len(indices), *rows.shape[1:]), dtype=rows.dtype, device="cpu", pin_memory=True
        )
        torch.index_select(rows, 0, indices, out=staged)
        return staged.to(device, non_blocking=True)
    return rows.index_select(0, indices).to(device)
