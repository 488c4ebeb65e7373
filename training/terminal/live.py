# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Loss and accuracy on the progress bar, without making the device wait for the host."""

import time

import torch

from training.metrics import Meter
from training.terminal.console import percent, progress_bar

BAR_REFRESH = 0.3  # s between two figures on the bar


class LiveBar:
    """A progress bar over the clips of a pass that shows what ``meter`` has summed so far.

    The figures are those of a moment ago: a copy to the host is asked for and shown when it is
    there, so that no step waits for one before it.
    """

    def __init__(self, total: int, label: str, meter: Meter):
        self.bar = progress_bar(total, label)
        self.meter = meter
        self.copy: _HostCopy | None = None
        self.last = 0.0

    def __enter__(self) -> "LiveBar":
        self.bar.update(self.meter.samples)
        return self

    def __exit__(self, *exception) -> None:
        self.bar.close()

    def advance(self, count: int) -> None:
        """Go on by ``count`` clips; the figures follow a few times a second."""
        if self.bar.disable:
            return
        if self.copy is None and time.monotonic() - self.last > BAR_REFRESH:
            self.last = time.monotonic()
            self.copy = _HostCopy(self.meter)
        if self.copy is not None and self.copy.arrived():
            loss, accuracy = self.copy.loss_and_accuracy()
            self.bar.set_postfix_str(f"loss {loss:.3f} acc {percent(accuracy, 1)}", refresh=False)
            self.copy = None
        self.bar.update(count)


class _HostCopy:
    """The sums of a meter on their way to the host."""

    def __init__(self, meter: Meter):
        self.samples = meter.samples
        if meter.sums.is_cuda:
            # copy_ to pinned memory is queued like a kernel; it sees the sums of this moment.
            self.sums = torch.empty_like(meter.sums, device="cpu", pin_memory=True)
            self.sums.copy_(meter.sums, non_blocking=True)
            self.event = torch.cuda.Event()
            self.event.record(torch.cuda.current_stream(meter.sums.device))
        else:
            self.sums, self.event = meter.sums.clone(), None

    def arrived(self) -> bool:
        """Whether the copy is complete; asks, and does not wait."""
        return self.event is None or self.event.query()

    def loss_and_accuracy(self) -> tuple[float, float]:
        """Means over the clips summed when the copy was asked for."""
        loss, correct = (self.sums[:2] / max(self.samples, 1)).tolist()
        return loss, correct
