# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What the host asks of streams and events."""

import threading
import time
from types import SimpleNamespace

import pytest
import torch

from training import experiment
from training.data.loading import LEAD, Streamed
from training.device.graphs import Launcher

GPU = torch.device("cuda", 0)


class Split:
    """Batches that hold their own indices."""

    def batch(self, indices):
        return indices.to(GPU, non_blocking=True).float(), indices.to(GPU)


def test_runs_share_one_stream_for_steps_and_one_for_batches():
    devices = GPU, GPU, torch.device("cuda", 1)
    steps = [SimpleNamespace(device=device, optimizer=None) for device in devices]
    *launchers, other = [Launcher(those, "auto") for those in steps]
    splits = [Streamed(Split(), GPU) for _ in range(2)]
    assert launchers[0].stream is launchers[1].stream
    assert splits[0].stream is splits[1].stream
    others = other.stream, splits[0].stream
    assert all(launchers[0].stream is not other for other in others)


def test_a_batch_is_copied_when_few_steps_are_queued(monkeypatch):
    """Where a GPU is slow, batches would pile up there."""
    recorded, waited, threads = [], {}, set()
    Event = torch.cuda.Event

    class Watched(Event):
        def record(self, stream=None):
            super().record(stream)
            recorded.append(self)

        def synchronize(self):
            threads.add(threading.current_thread())
            waited[len(recorded_steps())] = recorded_steps().index(self)
            super().synchronize()

    def recorded_steps():
        return [event for event in recorded if event.on_default]

    def event(**options):
        made = Watched(**options)
        made.on_default = options == {"blocking": True}
        return made

    monkeypatch.setattr(torch.cuda, "Event", event)
    streamed = Streamed(Split(), GPU)
    indices = [torch.tensor([i]).pin_memory() for i in range(7)]
    streamed.prefetch(indices[0])
    for this, following in zip(indices, [*indices[1:], None], strict=True):
        x, _ = streamed.batch(this)
        assert x.item() == this.item()
        if following is not None:
            streamed.prefetch(following)
            streamed._ahead[1].result()
    assert waited == {steps: steps - 1 - LEAD for steps in range(LEAD + 1, 8)}
    assert threading.current_thread() not in threads


@pytest.mark.slow
def test_the_time_of_a_test_includes_what_the_device_does(monkeypatch, train):
    """The clock is read after a wait, not when all is asked for."""
    ends, ops = [], torch.ops.emulated_cuda
    original = experiment.Experiment.evaluate

    def perf_counter():
        ends.append(ops.last_wait())
        return time.perf_counter()

    def evaluate(run, split, label):
        ops.add_wait("something else")
        metrics = original(run, split, label)
        assert ends[-1] == "synchronize"
        return metrics

    monkeypatch.setattr(
        experiment, "time", SimpleNamespace(perf_counter=perf_counter, monotonic=time.monotonic)
    )
    monkeypatch.setattr(experiment.Experiment, "evaluate", evaluate)
    assert train("run", "--model_type", "MLP") == 0
    assert len(ends) > 2
