# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The floor that measured times are compared with, and that the benchmarks run."""

import json

import pytest
import torch

from benchmarks import dynamics, measure, train
from datasets.binning import Binning, bin_events


def test_floor_of_a_recurrence():
    passes = 2 * 3 * 4 * measure.FLOAT * measure.DYNAMICS_PASSES
    assert measure.dynamics_floor(2, 3, 4, bandwidth=10.0) == passes / 10
    # s @ V forward, its gradient to s, and dV: each 2 B T H H operations
    expected = passes / 10 + 3 * 2 * (2 * 3 * 4 * 4) / 100
    assert measure.dynamics_floor(2, 3, 4, 10.0, product=100.0) == pytest.approx(expected)


def test_floor_of_a_step():
    rows = 2 * 3
    first = 2 * (5 + 4) + 5 * 4  # forward product and dW; the recurrence
    second = 3 * (4 + 7) + 5 * 7  # also dx
    moved = rows * 4 * (first + second)
    operations = rows * 2 * (2 * 5 * 4 + 3 * 4 * 7)
    expected = moved / 10 + operations / 100
    assert measure.step_floor(2, 3, [5, 4, 7], 10.0, 100.0) == pytest.approx(expected)


def test_the_slow_loader_bins_as_ours_does():
    clips = train.EventClips(3, 200, nb_steps=20, max_time=1.0, spatial_bin=20)
    frames, label = clips[2]
    counts, dropped = bin_events(clips.times[2], clips.units[2], Binning(20, 1.0, 20))
    assert torch.equal(frames, torch.from_numpy(counts).float())
    assert (frames.sum(), label) == (200 - dropped, 2)


def test_whole_steps_are_measured(tmp_path, capsys):
    out = tmp_path / "train.json"
    train.main(["--quick", "--cases", "SHD", "--out", str(out)])
    rows = json.loads(out.read_text())["cases"][0]["rows"]
    assert rows.keys() == {"slow", "ours", "ours, naive"}
    assert all(row["clips_per_s"] > 0 and row["epoch_s"] > 0 for row in rows.values())
    assert "clips/s" in capsys.readouterr().out


def test_baselines_are_measured():
    result = dynamics.time_baseline("GRU", (2, 3, 8), "cpu", rounds=1)
    assert result["backends"]["naive"]["ms"] > 0
