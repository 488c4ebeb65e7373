# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The check of everything that needs a GPU: robust, and honest about what it did not measure."""

import json
import sys

import pytest
import torch

from benchmarks import gpu_check
from benchmarks.gpu_check import Part, goals, run


def dynamics(ratio, x_floor):
    names = "SiLIF", *gpu_check.FEED_FORWARD, *gpu_check.RECURRENT
    fast = {"ratio": ratio, "x_floor": x_floor}
    slower = {"ratio": ratio / 2, "x_floor": x_floor * 2}
    backends = {"naive": {"ratio": 1.0, "x_floor": 900}, "cuda": slower, "cuda, graph": fast}
    neurons = [{"neuron": name, "backends": backends} for name in names]
    return {"neurons": [*neurons, {"neuron": "GRU", "backends": {"naive": {"ratio": 1.0}}}]}


def trained(ratio, epoch, peak):
    rows = {
        "slow": {"ratio": 1, "epoch_s": 300, "peak_mib": 100},
        "ours": {"ratio": ratio, "epoch_s": epoch, "peak_mib": peak},
    }
    return {"cases": [{"case": name, "rows": rows} for name in ("SSC 4 ms", "GSC")]}


def features(ratio):
    times = {"torchaudio, per clip": {"ms": 3 * ratio}, "Sprache, batch": {"ms": 3}}
    return {"cuda": times, "largest_difference": {"cuda": 0.01 / ratio**2}}


def verdicts(*results):
    return [goal.verdict for goal in goals(*results)]


def test_goals_are_judged_by_the_faster_way():
    assert set(verdicts(dynamics(100, 2), trained(50, 6, 20), features(5))) == {"reached"}
    assert verdicts(dynamics(99, 2.1), trained(49, 6.1, 21), features(4)) == [
        "missed", *["reached"] * 9, *["missed"] * 4, "reached", "missed", "reached",
    ]  # fmt: skip
    assert set(verdicts(dynamics(7, 3), trained(7, 9, 90), features(1))) == {"missed"}


def test_what_is_missing_is_not_measured():
    assert set(verdicts(None, None, None)) == {"not measured"}
    assert verdicts(dynamics(100, 2), {"cases": []}, {"cpu": {}})[-6:] == ["not measured"] * 6
    on_a_cpu = verdicts(None, trained(99, 1, None), None)
    assert on_a_cpu[-6:-2] == ["reached", "reached", "not measured", "reached"]


@pytest.mark.parametrize(
    ("code", "limit", "ended"),
    [
        ("print('well')", 60, "exit status 0"),
        ("raise SystemExit(3)", 60, "exit status 3"),
        ("import time; time.sleep(99)", 0.5, "stopped after 0.5 s"),
    ],
)
def test_a_part_ends_in_any_case(tmp_path, code, limit, ended):
    result = run(Part("part", [sys.executable, "-c", code], limit), tmp_path)
    assert result["ended"] == ended


def test_all_limits_together_are_less_than_ten_minutes(tmp_path):
    parts = gpu_check.parts(tmp_path, dry_run=False)
    assert sum(part.limit for part in parts) < 600
    assert not any("--quick" in part.command for part in parts)


def test_recurrent_delays_are_tested_and_measured():
    files = gpu_check.tests_for_gpus()
    assert {"tests/dynamics/test_triton.py", "tests/dynamics/test_triton_feedback.py"} <= {*files}
    named = [goal.what for goal in goals(None, None, None)]
    assert "RLIF, delays, sigma 10, dynamics, times naive" in named


def test_one_failing_part_stops_no_other(tmp_path, monkeypatch, capsys):
    def pretended(part, folder):
        (folder / f"{part.name}.log").write_text(f"{part.name} spoke\n")
        if part.name == "dynamics":
            (folder / "dynamics.json").write_text(json.dumps(dynamics(120, 1.5)))
        if part.name == "train":
            (folder / "train.json").write_text('{"cases": [')  # stopped while writing
        if part.name in ("launched", "graph"):
            (folder / part.name).mkdir()
            record = {"epoch": 1, "loss": 0.5, "seconds": len(part.name)}
            (folder / part.name / "metrics.jsonl").write_text(json.dumps(record) + "\n")
        failed = part.name in ("tests", "train")
        return {"ended": "exit status 1" if failed else "exit status 0", "seconds": 1.0}

    monkeypatch.setattr(gpu_check, "run", pretended)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert gpu_check.main([str(tmp_path)]) == 1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [part["ended"] for part in summary["parts"].values()].count("exit status 0") == 5
    assert summary["same_numbers_with_and_without_graph"] is True
    assert summary["goals"][0]["measured"] == 120
    shown = capsys.readouterr().out
    assert "dynamics spoke" in shown
    assert "not measured" in shown


def test_without_a_gpu_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main([str(tmp_path / "results")]) == 2
    assert "there is no GPU here; --dry_run" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_different_trainings_are_noticed(tmp_path):
    assert gpu_check.same_training(tmp_path) is None
    for name, loss in (("launched", 0.5), ("graph", 0.6)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps({"loss": loss}) + "\n")
    assert gpu_check.same_training(tmp_path) is False
