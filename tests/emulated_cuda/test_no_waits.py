# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Within an epoch the host never waits for the device; what it asks of streams and events."""

import io
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from tests.dynamics.cases import feedback_inputs, run_feedback
from training import experiment
from training.data.loading import LEAD, Streamed
from training.device.graphs import Launcher
from training.terminal import console

# Before: kernels are tried, the time of a step is measured, a graph is made.
SETTLED = 6  # steps


@pytest.fixture
def waits(monkeypatch):
    """(pass, step, what) of every wait between two steps of a pass."""
    found = []
    ops, original = torch.ops.emulated_cuda, experiment.batches

    def batches(frames, batch_size, order=None):
        name, before = "test" if order is None else "train", None
        for step, batch in enumerate(original(frames, batch_size, order)):
            if step > SETTLED and ops.waits() > before:
                found.append((name, step, ops.last_wait()))
            before = ops.waits()
            yield batch

    monkeypatch.setattr(experiment, "batches", batches)
    return found


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="launched or as a graph"),
        *(
            pytest.param(options.split(), id=options, marks=pytest.mark.slow)
            for options in (
                "--data_placement streamed",
                "--cuda_graph off --max_grad_norm 1 --use_regularizers True",
                "--cuda_graph off --augm_channel_shift 3 --augm_event_drop 0.2 --augm_cutmix 0.5",
                "--model_type RadLIF --backend naive",
                "--model_type GRU --precision bf16",
            )
        ),
    ],
)
def test_no_step_waits_for_the_device(options, waits, train, monkeypatch):
    bars = io.StringIO()
    monkeypatch.setattr(
        console,
        "progress_bar",
        lambda total, label: console.tqdm(total=total, desc=label, file=bars),
    )
    assert train("run", *options) == 0
    assert " acc " in bars.getvalue()
    assert waits == []


@pytest.mark.slow
@pytest.mark.parametrize("neuron", ["LIF", "inside", "balanced"])
def test_recurrent_delays_do_not_wait(neuron):
    """Both passes on the device, launched and as a graph."""
    given = feedback_inputs(neuron, 2, 7, 40, taps=3, latest=4)
    given = {k: x.cuda() if torch.is_tensor(x) else x for k, x in given.items()}
    leaves = [given[name].requires_grad_() for name in ("I", "V", "taps", "line")]

    def both_passes():
        spikes, *_, line = run_feedback("cuda", neuron, **given)
        return torch.autograd.grad(spikes.cumsum(1).sum() + line.cos().sum(), leaves)

    both_passes()  # compiles the kernels
    waits = torch.ops.emulated_cuda.waits()
    launched = both_passes()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = both_passes()
    graph.replay()
    assert torch.ops.emulated_cuda.waits() == waits
    assert all(map(torch.equal, launched, captured))
    assert all(x.any() for x in captured)


@pytest.mark.slow
def test_a_step_that_waits_is_found(waits, train, monkeypatch):
    advance = experiment.LiveBar.advance

    def waiting(bar, count):
        float(bar.meter.sums[0])
        advance(bar, count)

    monkeypatch.setattr(experiment.LiveBar, "advance", waiting)
    assert train("run", "--model_type", "MLP") == 0
    assert ("train", SETTLED + 1, "item") in waits


GPU = torch.device("cuda", 0)


class Split:
    """Batches that hold their own indices."""

    def counted(self, indices):
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
