# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""How the effect of a precision on the accuracy is told."""

import json

import pytest

from benchmarks import precision
from training.errors import ExperimentError

ACCURACY = {("fp32", 1): 0.90, ("fp32", 2): 0.94, ("bf16", 1): 0.91, ("bf16", 2): 0.93}


@pytest.fixture
def trained(monkeypatch):
    """Stands in for training; the commands it was given."""
    commands = []

    def main(argv):
        commands.append(argv)
        given = dict(zip(argv[1::2], argv[2::2], strict=False))
        folder = argv[argv.index("--new_exp_folder") + 1]
        for seed in argv[argv.index("--seed") + 1 : argv.index("--new_exp_folder")]:
            path = precision.Path(folder) / f"run_{seed}"
            path.mkdir(parents=True)
            test = {"accuracy": ACCURACY[given.get("--precision"), int(seed)]}
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


def test_a_run_that_fails_is_not_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(precision.sprache, "main", lambda argv: 1)
    with pytest.raises(ExperimentError, match="did not end"):
        precision.accuracies([], "fp32", [1], tmp_path)
