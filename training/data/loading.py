# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""From the options of a run to batches on its device."""

import hashlib
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datasets.interface import SPLITS, Augmentation, Batch, Data, Split
from datasets.registry import DATASETS
from parsers.options import options_of
from parsers.training_config import TrainingConfig
from training.device.graphs import stream_for
from training.errors import ExperimentError
from training.terminal.console import log

DEVICE_SHARE = 0.5  # of a GPU's free memory, for clips; the rest is for the network's work
LEAD = 2  # steps that may be queued on a GPU when a batch is copied; each holds on to its batch


def load_data(
    options: TrainingConfig,
    splits: Collection[str] = SPLITS,
    say: Callable[[str], None] = log.info,
) -> Data:
    """The splits that ``options`` ask for; DataError for a fault in the files.

    Raises ExperimentError if they have more classes than ``--nb_outputs``.
    """
    data = DATASETS[options.dataset_name].load(options, splits, say)
    classes, count = data.classes, options.nb_outputs or data.nb_classes
    if count < len(classes):
        raise ExperimentError(
            f"--nb_outputs {count}: the data have {len(classes)} classes, and each needs an output"
        )
    unused = [f"unused output {number}" for number in range(len(classes), count)]
    return replace(data, classes=[*classes, *unused])


def on_device(data: Data, device: torch.device, placement: str = "auto") -> Data:
    """``data`` with its batches on ``device``; a split that serves twice is placed once.

    Args:
        data: on the CPU.
        device: where the network computes.
        placement: ``resident`` copies the clips to the device, ``streamed`` leaves them in host
            memory and copies batches, one ahead. ``auto`` makes splits resident, the training
            split first, as long as they fit into ``DEVICE_SHARE`` of the device's free memory.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()  # else what a run before has left would not count as free
    room = free_memory(device) * DEVICE_SHARE
    placed = {}
    for name in SPLITS:
        split = getattr(data, name)
        if split is None or id(split) in placed:
            continue
        if placement == "resident" or (placement == "auto" and split.nbytes <= room):
            room -= split.nbytes
            placed[id(split)] = split.to(device)
        else:
            log.info("The %s clips (%.1f GB) stay in host memory", name, split.nbytes / 1e9)
            placed[id(split)] = Streamed(split.with_batches_on(device), device)
    splits = {name: placed.get(id(getattr(data, name))) for name in SPLITS}
    return replace(data, **splits)


def free_memory(device: torch.device) -> float:
    """Bytes that are free on a GPU; data on the CPU are where they should be already."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf


class Streamed:
    """A split whose clips stay in host memory; it hands out the same batches as ``split``.

    While the network works on a batch, ``prefetch`` gathers the next one in a thread, and on a GPU
    copies it from pinned memory on a stream of its own. The thread waits for a GPU that is more
    than ``LEAD`` steps behind: batches would pile up there.

    Args:
        split: a FrameSet or an AudioSet with its clips on the CPU and its labels on ``device``.
        device: where the batches are wanted.
    """

    def __init__(self, split, device: torch.device):
        self.split = split
        self.device = device
        self.stream = stream_for("batches", device) if device.type == "cuda" else None
        self._queued: deque[torch.cuda.Event] = deque()  # behind the steps before a batch
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="sprache-batches")
        self._ahead: tuple[Tensor, Future] | None = None

    def __len__(self) -> int:
        return len(self.split)

    def __getattr__(self, name: str):
        return getattr(self.__dict__["split"], name)

    def prefetch(self, indices: Tensor) -> None:
        """Start on the batch that will be requested next, by the same ``indices`` object."""
        self._ahead = indices, self._worker.submit(self._fetch, indices, self._earlier_steps())

    def _earlier_steps(self) -> torch.cuda.Event | None:
        """The event behind all queued steps but the last ``LEAD``."""
        if self.stream is None:
            return None
        event = torch.cuda.Event(blocking=True)  # a thread that waits for it sleeps
        event.record(torch.cuda.current_stream(self.device))
        self._queued.append(event)
        return self._queued.popleft() if len(self._queued) > LEAD else None

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """As the ``batch`` of the split."""
        x, y = self.counted(indices)
        return x.to(torch.float32), y

    def counted(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """As ``counted`` of the split."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] is not indices:
            return self.split.counted(indices)
        x, y, copied = ahead[1].result()
        if copied is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(copied)
            for tensor in (x, y):  # else their memory could be given to the batch after next
                tensor.record_stream(current)
        return x, y

    def _fetch(self, indices: Tensor, earlier_steps: torch.cuda.Event | None) -> tuple:
        """The batch, and the event behind its copies to a GPU."""
        if self.stream is None:
            return *self.split.counted(indices), None
        if earlier_steps is not None:
            earlier_steps.synchronize()
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            x, y = self.split.counted(indices)
            copied = torch.cuda.Event()
            copied.record(self.stream)
        return x, y, copied


def order_of_batches(size: int, batch_size: int, *, shuffle: bool) -> DataLoader:
    """The indices of every batch of an epoch, [B] int64 each.

    A DataLoader, because its draws from torch's global generator are part of the random stream of
    the published code: with them a seed gives its order of clips and its initial states.
    """
    return DataLoader(range(size), batch_size, shuffle=shuffle, collate_fn=torch.tensor)


def batches(frames, batch_size: int, order: Iterable[Tensor] | None = None) -> Iterator[tuple]:
    """Batches (x [B, T, F], y [B]) of ``frames``, as `Split.counted` gives them, in ``order`` or as
    they are stored."""
    if order is None:
        order = order_of_batches(len(frames), batch_size, shuffle=False)
    order = iter(order)
    indices = next(order, None)
    while indices is not None:
        batch = frames.counted(indices)
        indices = next(order, None)
        if indices is not None and hasattr(frames, "prefetch"):
            frames.prefetch(indices)
        yield batch


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
    augmentation = Augmentation.of(options)
    if not split.is_changed_by(augmentation):
        return split
    return _Augmented(split, augmentation, options.seed, epoch, step, torch.Generator(device))


@dataclass
class _Augmented:
    """A split whose batches follow from the seed, the epoch and their place in it.

    Not from torch's global generator: the order of clips and the initial states of a seed are those
    it has without augmentation, and an epoch that was interrupted is resumed as it would have been.
    """

    split: Split
    augmentation: Augmentation
    seed: int
    epoch: int
    step: int
    generator: torch.Generator

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

    counted = batch


def data_key(options: TrainingConfig) -> tuple:
    """What the data of a run depend on; runs with the same key can share them."""
    loads = (name for name, option in options_of(type(options)).items() if option.rules.loads)
    also = DATASETS[options.dataset_name].also_depends_on(options)
    return *(getattr(options, name) for name in loads), *also


class DataCache:
    """Keeps the last dataset, so that runs which differ in other options share it."""

    def __init__(self, device: torch.device, splits: Collection[str] = SPLITS):
        self.device = device
        self.splits = splits
        self.key = None
        self.data = None
        self.remarks: list[str] = []  # on the files of the data

    def get(self, options: TrainingConfig) -> Data:
        """The dataset of ``options`` on the device."""
        key = data_key(options)
        if key != self.key:
            self.data, self.remarks = None, []  # frees the old one first
            loaded = load_data(options, self.splits, self.remark)
            self.data = on_device(loaded, self.device, options.data_placement)
            self.key = key
        else:
            for remark in self.remarks:
                log.debug(remark)  # for the log file of this run; the terminal has seen it
        return self.data

    def remark(self, text: str) -> None:
        """Log a remark on the data, and keep it for the runs that share them."""
        self.remarks.append(text)
        log.info(text)


def data_record(options: TrainingConfig, data: Data) -> dict:
    """What data.json says of the data of a run, in plain values."""
    return {
        "dataset_name": options.dataset_name,
        "classes": list(data.classes),
        "clips": {name: len(getattr(data, name)) for name in SPLITS},
        "sample_rate": data.sample_rate,
        "nb_channels": data.nb_channels,
        "seconds": data.seconds,
        "inner_ear_seed": data.ear_seed,
        "checksums": data.checksums,
    }
