# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Within an epoch the host never waits for the device; ../test_emulated_cuda.py starts these."""

import io
import os

import pytest
import torch

if "SPRACHE_EMULATES_CUDA" not in os.environ:
    pytest.skip("no emulated devices", allow_module_level=True)

import main
from training import experiment
from training.terminal import console

# Before: kernels are tried, the time of a step is measured, a graph is made.
SETTLED = 6  # steps
OPTIONS = ["--config=demo.yaml", "--debug", "--nb_hiddens", "16", "--nb_steps", "8"]
AUGMENTED = ["--augm_channel_shift", "3", "--augm_event_drop", "0.2", "--augm_cutmix", "0.5"]


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
        [],
        ["--data_placement", "streamed"],
        ["--cuda_graph", "off", "--max_grad_norm", "1", "--use_regularizers", "True"],
        ["--cuda_graph", "off", *AUGMENTED],
        ["--model_type", "RadLIF", "--backend", "naive"],
        ["--model_type", "GRU", "--precision", "bf16"],
    ],
    ids=" ".join,
)
def test_no_step_waits_for_the_device(options, waits, tmp_path, monkeypatch):
    bars = io.StringIO()
    monkeypatch.setattr(console, "_bars", dict(console._bars))
    console.send_progress(bars, 100)
    folder = ["--new_exp_folder", str(tmp_path / "run"), "--nb_epochs", "1"]
    assert main.main([*OPTIONS, *folder, *options]) == 0
    assert " acc " in bars.getvalue()
    assert waits == []


def test_a_step_that_waits_is_found(waits, tmp_path, monkeypatch):
    advance = experiment.LiveBar.advance

    def waiting(bar, count):
        float(bar.meter.sums[0])
        advance(bar, count)

    monkeypatch.setattr(experiment.LiveBar, "advance", waiting)
    folder = ["--new_exp_folder", str(tmp_path / "run"), "--nb_epochs", "1"]
    assert main.main([*OPTIONS, *folder, "--model_type", "MLP"]) == 0
    assert ("train", SETTLED + 1, "item") in waits
