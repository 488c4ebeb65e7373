# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Within an epoch the host never waits for the device."""

import io

import pytest
import torch

from training import experiment
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
def test_a_step_that_waits_is_found(waits, train, monkeypatch):
    advance = experiment.LiveBar.advance

    def waiting(bar, count):
        float(bar.meter.sums[0])
        advance(bar, count)

    monkeypatch.setattr(experiment.LiveBar, "advance", waiting)
    assert train("run", "--model_type", "MLP") == 0
    assert ("train", SETTLED + 1, "item") in waits
