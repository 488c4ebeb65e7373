# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Splits that are too large for the device: batches come from host memory, one ahead."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from training.device.graphs import stream_for

LEAD = 2  # steps that may be queued on a GPU when a batch is copied; each holds on to its batch


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
        """Begin with the batch that will be asked for next, by the same ``indices`` object."""
        self._ahead = indices, self._worker.submit(self._fetch, indices, self._earlier_steps())

    def _earlier_steps(self) -> torch.cuda.Event | None:
        """What is recorded behind all steps that are asked for but the last ``LEAD`` ones."""
        if self.stream is None:
            return None
        event = torch.cuda.Event(blocking=True)  # a thread that waits for it sleeps
        event.record(torch.cuda.current_stream(self.device))
        self._queued.append(event)
        return self._queued.popleft() if len(self._queued) > LEAD else None

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """As the ``batch`` of the split."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] is not indices:
            return self.split.batch(indices)
        x, y, copied = ahead[1].result()
        if copied is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(copied)
            for tensor in (x, y):  # else their memory could be given to the batch after next
                tensor.record_stream(current)
        return x, y

    def _fetch(self, indices: Tensor, earlier_steps: torch.cuda.Event | None) -> tuple:
        """The batch, and what is recorded behind its copies to a GPU."""
        if self.stream is None:
            return *self.split.batch(indices), None
        if earlier_steps is not None:
            earlier_steps.synchronize()
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            x, y = self.split.batch(indices)
            copied = torch.cuda.Event()
            copied.record(self.stream)
        return x, y, copied
