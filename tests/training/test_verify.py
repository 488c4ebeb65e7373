# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Runs are tested again, and what does not agree is shown."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from parsers.load import REPOSITORY
from training import verify
from training.record import checkpoint, files


@pytest.fixture
def run(whole, tmp_path):
    """A run that a test may change."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def edit(run, change):
    path = run / "summary.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_run_agrees_with_itself(run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert verify.main([str(run)]) == 0
    said = capsys.readouterr().out
    assert "All figures agree" in said
    assert "DIFFERS" not in said
    for figure in ("test accuracy", "test loss", "validation accuracy", "shd_train.h5", "clips"):
        assert figure in said


CHANGES = {
    "test accuracy": lambda summary: summary["test"].update(accuracy=0.999),
    "test loss": lambda summary: summary["test"].update(loss=summary["test"]["loss"] + 1e-4),
    "parameters": lambda summary: summary.update(parameters=1),
    "best epoch": lambda summary: summary.update(best_epoch=9),
    "shd_test.h5": lambda summary: summary["data_checksums"].update({"shd_test.h5": "0" * 64}),
}


@pytest.mark.parametrize("figure", CHANGES)
def test_a_summary_that_was_changed(run, capsys, figure):
    edit(run, CHANGES[figure])
    assert verify.main([str(run)]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "DIFFERS" in line]
    assert figure in line


def test_weights_that_were_changed(run, capsys):
    weights = torch.load(run / checkpoint.BEST, weights_only=True)
    weights["snn.2.W.weight"] = -weights["snn.2.W.weight"]
    files.write_torch(run / checkpoint.BEST, weights)
    assert verify.main([str(run)]) == 1
    assert "test accuracy" in capsys.readouterr().out


def test_a_name_on_the_shelf_is_a_run():
    shelf = REPOSITORY / "reference_models" / "demo_LIF"
    assert verify.runs_below(Path("demo_LIF")) == verify.runs_below(shelf) == [shelf]


def test_other_versions_are_shown_and_rounding_is_accepted(run, capsys):
    def elsewhere(summary):
        summary["versions"]["torch"] = "1.0"
        summary["test"]["loss"] += 1e-4

    edit(run, elsewhere)
    assert verify.main([str(run)]) == 0
    assert "versions: torch" in capsys.readouterr().out


def test_a_run_of_several_that_has_not_ended_hides_no_other(run, capsys):
    for name in ("seed1", "seed2"):
        shutil.copytree(run, run.parent / "sweep" / name)
    (run.parent / "sweep" / "seed2" / "summary.json").unlink()
    assert verify.main([str(run.parent / "sweep"), str(run)]) == 1
    said = capsys.readouterr().out
    assert said.count("test accuracy") == 2
    assert "seed2 has no summary.json" in said
    assert "All figures agree" in said
    assert "DIFFERS" not in said


def test_data_elsewhere(run, spikes_folder, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(spikes_folder, moved, ignore=shutil.ignore_patterns(".frames"))
    config = (run / "config.yaml").read_text().replace(str(spikes_folder), "/nowhere")
    (run / "config.yaml").write_text(config)
    assert verify.main([str(run)]) == 2
    assert "/nowhere" in capsys.readouterr().err
    assert verify.main([str(run), "--data_folder", str(moved)]) == 0


DAMAGES = {
    "no summary": lambda run: (run / "summary.json").unlink(),
    "empty summary": lambda run: (run / "summary.json").write_text("{}"),
    "no best epoch": lambda run: edit(run, lambda summary: summary.pop("best_epoch")),
    "no config": lambda run: (run / "config.yaml").unlink(),
    "wrong config": lambda run: (run / "config.yaml").write_text("lr: fast\n"),
    "no weights": lambda run: (run / checkpoint.BEST).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_checked(run, capsys, damage):
    DAMAGES[damage](run)
    assert verify.main([str(run)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert str(run) in line


@pytest.mark.parametrize(
    ("before", "now", "samples", "agrees"),
    [
        (1 / 60, 7 / 60, 60, True),  # of a network that guesses
        (0.95, 0.80, 60, True),
        (0.95, 0.70, 60, False),
        (0.80, 0.805, 9981, True),
        (0.80, 0.78, 9981, False),
    ],
)
def test_validation_from_other_states_agrees_within_chance(before, now, samples, agrees):
    now = {"accuracy": now, "samples": samples}
    assert verify.compare_validation({"accuracy": before}, now, False).agrees is agrees
    assert verify.compare_validation({"accuracy": before}, now, True).agrees is False
