# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""NeuroBench's figures are ours, or differ by what the program says."""

import importlib.util
import json

import pytest

from analysis.neurobench import main
from models.snns import LAYERS

H, C, F, T = 12, 20, 35, 15
RECURRENT = ("RLIF", "RadLIF")


@pytest.fixture
def bench(tmp_path, capsys):
    """Run the command; (exit status, rows by name, what was said)."""

    def call(folder, *flags):
        file = tmp_path / "found.json"
        status = main([str(folder), "--output", str(file), *flags])
        said = capsys.readouterr()
        if status:
            assert said.err.count("\n") == 1
            return status, {}, said.err
        rows = json.loads(file.read_text())["rows"]
        return status, {row["name"].strip(): row for row in rows}, said.out

    return call


@pytest.mark.optional
@pytest.mark.parametrize(
    ("model", "options"),
    [
        *((model, {}) for model in LAYERS),
        *((model, {"bidirectional": True}) for model in ("SiLIF", "RadLIF", "CSiLIF")),
        ("RLIF", {"init_state": "zero"}),
    ],
)
def test_what_both_count_is_the_same(make_run, bench, model, options):
    folder = make_run(model_type=model, **options)
    status, rows, said = bench(folder)
    assert status == 0, said
    summary = json.loads((folder / "summary.json").read_text())
    assert rows["accuracy"]["theirs"] == pytest.approx(summary["test"]["accuracy"])
    assert rows["parameters"]["theirs"] == summary["parameters"]
    for name in ("accuracy", "parameters", "activation sparsity", "layer 1", "layer 2"):
        assert rows[name]["agrees"], rows[name]
    found, ours = rows["ACs and MACs"]["theirs"], rows["ACs and MACs"]["ours"]
    directions = 2 if options.get("bidirectional") else 1
    starts = model in RECURRENT and options.get("init_state") != "zero"
    first_step = 2 * directions * H * (H - 1) if starts else 0
    assert found == pytest.approx(ours + first_step, rel=1e-5)
    assert ("random initial spikes" in said) == starts
    if directions == 1:
        test = summary["test"]
        assert ours == pytest.approx(test["sop"] + test["recurrent_sop"], rel=1e-5)
    dense = T * directions * (F * H + directions * H * H + H * C)
    recurrent = 2 * T * directions * H if model in RECURRENT else 0
    if model in RECURRENT:
        dense += 2 * T * directions * H * H
    assert rows["dense operations"]["theirs"] == pytest.approx(dense)
    assert rows["dense operations"]["ours"] == pytest.approx(dense - recurrent)
    buffers = 2 * (2 * H + C) * 4 + 3 * 8  # means and variances, and how many batches they saw
    assert rows["footprint (bytes)"]["theirs"] == 4 * summary["parameters"] + buffers


@pytest.mark.optional
def test_networks_without_spikes_are_refused(make_run, bench):
    status, _, line = bench(make_run(model_type="GRU"))
    assert status == 2
    assert "holds a GRU, which does not spike" in line


def test_without_the_package(make_run, bench, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    status, _, line = bench("anything")
    assert status == 2
    assert line.startswith("analysis.neurobench: error: neurobench is not installed")
    assert "pip install --no-deps -r requirements-analysis.txt" in line
