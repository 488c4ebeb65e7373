# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The floor that measured times are compared with, that the benchmarks run, and what they say."""

import json
import sys
import types

import pytest
import torch

from benchmarks import (
    baselines,
    delays,
    dynamics,
    measure,
    mechanisms,
    precision,
    state_space,
    train,
)  # fmt: skip
from datasets.binning import Binning, bin_events
from training.errors import ExperimentError

ACCURACY = {("fp32", 1): 0.90, ("fp32", 2): 0.94, ("bf16", 1): 0.91, ("bf16", 2): 0.93}
ACCURACY |= {("none", 1): 0.80, ("none", 2): 0.82, ("axonal", 1): 0.85, ("axonal", 2): 0.89}


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


def test_whole_steps_are_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "POOL", 8)
    monkeypatch.setattr(train, "CLIPS_ON_CPU", 32)
    monkeypatch.setattr(measure, "COPIED", {"cpu": 1 << 20})
    out = tmp_path / "train.json"
    train.main(["--quick", "--cases", "SHD", "--out", str(out)])
    rows = json.loads(out.read_text())["cases"][0]["rows"]
    assert rows.keys() == {"slow", "ours", "ours, naive"}
    assert all(row["clips_per_s"] > 0 and row["epoch_s"] > 0 for row in rows.values())
    assert "clips/s" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(
    "kinds", [(("none", None), ("axonal", 15.0)), (("dense", None), ("recurrent", 10.0))]
)
def test_layers_with_delays_are_measured(monkeypatch, kinds):
    monkeypatch.setattr(delays, "peak_on_cpu", lambda case, shape: None)
    cases = [delays.Case(*pair, "cpu") for pair in kinds]
    plain, delayed = delays.compare(cases, (4, 30, 32), "cpu", rounds=1)
    assert plain["step_x_undelayed"] == plain["test_x_undelayed"] == 1
    assert min(delayed["step_ms"], delayed["test_ms"]) > 0
    assert delayed["kept_mib"] > plain["kept_mib"]
    sent = []
    answer = types.SimpleNamespace(send=sent.append)
    delays.measure_peak(cases[1], (64, 100, 64), torch.get_num_threads(), answer)
    assert 1 < sent[0] < 1000  # an input alone are 1.6 MiB


def test_s4d_as_it_is_usually_written_is_the_same_function(tmp_path, capsys):
    nets = state_space.networks([6, 6, 3], torch.device("cpu"))
    x, found = torch.randn(2, 20, state_space.FEATURES), []
    for net in nets:
        torch.manual_seed(1)
        output = net(x)
        output = output[0] if isinstance(output, tuple) else output
        output.square().sum().backward()
        found.append([output, *(p.grad for p in net.parameters())])
    for plain, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
    out = tmp_path / "state_space.json"
    state_space.main(["--quick", "--out", str(out)])
    assert json.loads(out.read_text())["steps"]["12"]["ours"]["ratio"] > 0
    assert "times faster" in capsys.readouterr().out


def test_baselines_are_measured():
    result = dynamics.time_baseline("GRU", (2, 3, 8), "cpu", rounds=1)
    assert result["backends"]["naive"]["ms"] > 0


def test_the_selective_scan_is_measured():
    pytest.importorskip("numba")
    result = dynamics.compare_scan((2, 30, 32, 8), "cpu", rounds=1)
    assert result["shape"] == [2, 30, 32]
    assert min(found["ms"] for found in result["backends"].values()) > 0
    assert result["backends"]["cpu"]["kept_mib"] < result["backends"]["naive"]["kept_mib"]


@pytest.fixture
def trained(monkeypatch):
    """Stands in for training; the commands it was given."""
    commands = []

    def main(argv):
        commands.append(argv)
        given = dict(zip(argv[::2], argv[1::2], strict=False))
        case = given.get("--precision") or given.get("--delay", "none")
        folder = argv[argv.index("--new_exp_folder") + 1]
        for seed in argv[argv.index("--seed") + 1 : argv.index("--new_exp_folder")]:
            path = precision.Path(folder) / f"run_{seed}"
            path.mkdir(parents=True)
            test = {"accuracy": ACCURACY[case, int(seed)]}
            (path / "summary.json").write_text(json.dumps({"seed": int(seed), "test": test}))
        return 0

    monkeypatch.setattr(precision.sprache, "main", main)
    return commands


def test_differences_are_taken_seed_by_seed(trained, tmp_path, capsys):
    out = tmp_path / "precision.json"
    where = ["--work", str(tmp_path / "work"), "--out", str(out)]
    precision.main(["--seeds", "2", "1", *where])
    found = json.loads(out.read_text())["data"]["demo"]
    accuracy = found["fp32"]["test_accuracy"]
    assert (accuracy["values"], found["fp32"]["difference"]) == ([0.94, 0.90], None)
    assert (accuracy["mean"], accuracy["std"]) == pytest.approx((0.92, 0.02828), abs=1e-5)
    difference = found["bf16"]["difference"]
    assert difference["values"] == pytest.approx([-0.01, 0.01])
    assert difference["mean"] == pytest.approx(0, abs=1e-12)
    assert difference["standard_error"] == pytest.approx(0.01)
    shown = capsys.readouterr().out
    assert "92.00 ± 2.83 %" in shown
    assert "± 1.00 %" in shown


def test_mechanisms_are_compared_by_welchs_test(trained, tmp_path, capsys):
    out = tmp_path / "mechanisms.json"
    cases = ["--neurons", "SiLIF", "--mechanisms", "none", "axonal", "--seeds", "1", "2"]
    mechanisms.main([str(tmp_path), *cases, "--work", str(tmp_path / "w"), "--out", str(out)])
    found = json.loads(out.read_text())["neurons"]["SiLIF"]
    assert found["none"]["welch"] is None
    assert found["axonal"]["difference"] == pytest.approx(0.06)
    # (0.87 - 0.81) / sqrt(0.0002 / 2 + 0.0008 / 2), whose degrees of freedom are 25 / 17
    assert found["axonal"]["welch"]["t"] == pytest.approx(0.06 / 0.0005**0.5)
    assert found["axonal"]["welch"]["df"] == pytest.approx(25 / 17)
    assert "87.0 ± 2.8 (t +2.7" in capsys.readouterr().out
    assert all(str(tmp_path) in command for command in trained)


@pytest.mark.slow
def test_networks_are_compared_at_as_many_parameters(tmp_path, monkeypatch, capsys):
    out, work = tmp_path / "baselines.json", ["--work", str(tmp_path / "runs")]
    command = ["--networks", "SiLIF", "S4D", "--seeds", "1", "--nb_epochs", "1", *work]
    baselines.main([*command, "--out", str(out)])
    found = json.loads(out.read_text())["data"]["demo"]
    spiking, real = found["SiLIF"], found["S4D"]
    assert 1 <= real["parameters"] / spiking["parameters"] < 1.1
    assert (spiking["sop"] > 0, real["sop"]) == (True, 0)
    pj = 4.6 * spiking["mac"] + 0.9 * spiking["ac"]  # Horowitz 2014
    assert spiking["energy_uj"] == pytest.approx(pj / 1e6)
    assert min(spiking["energy_uj"], spiking["epoch_s"], real["epoch_s"]) > 0
    assert "39,556" in capsys.readouterr().out
    monkeypatch.setattr(baselines, "ALIKE", 0.01)
    assert baselines.main([*command, "--out", str(out)]) == 2
    assert "parameters differ too much" in capsys.readouterr().err


def test_a_run_that_fails_is_not_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(precision.sprache, "main", lambda argv: 1)
    with pytest.raises(ExperimentError, match="did not finish"):
        precision.accuracies([], [1], tmp_path)
