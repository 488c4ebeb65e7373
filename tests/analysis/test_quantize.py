# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The table of accuracy and size is that of the networks that it names, and reaches the report."""

import json
import shutil

import pytest
import torch

import main as program
from analysis.deploy.one_step import OneStep
from analysis.quantize import main, parameter_bytes, state_bytes
from tests.analysis.small_networks import PARTS, F, network


@pytest.fixture
def run(make_run, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(make_run(model_type="SiLIF"), tmp_path / "run")


def test_the_table_is_that_of_tests_with_these_bits(run, tmp_path, capsys, monkeypatch):
    assert main([str(run), "--weight_bits", "4", "--fraction_bits", "1"]) == 0
    said = capsys.readouterr().out
    found = json.loads((run / "quantization.json").read_text())
    rows = {(row["weight_bits"], row["fraction_bits"]): row for row in found["rows"]}
    assert list(rows) == [(None, None), (None, 1), (4, None), (4, 1)]
    assert "4 bits" in said
    assert "Q14.1" in said
    assert (run / "quantization.png").read_bytes()[:4] == b"\x89PNG"
    tests = {None: json.loads((run / "summary.json").read_text())["test"]["accuracy"]}
    monkeypatch.chdir(tmp_path)
    argv = [str(run), "--evaluate_pretrained", "True", "--weight_bits", "4"]
    assert program.main([*argv, "--seed", "13", "--new_exp_folder", "test"]) == 0
    summary = json.loads((tmp_path / "test" / "evaluation_summary.json").read_text())
    tests[4] = summary["runs"][0]["test"]["accuracy"]
    for bits, accuracy in tests.items():
        assert rows[bits, None]["accuracy"] == accuracy
    assert rows[None, None]["same_class"] == rows[None, None]["clips"] == 23
    assert rows[None, 1]["same_class"] < 23, "half a threshold is a coarse grid"


def test_the_report_shows_the_table_of_these_weights(run, report):
    assert "quantization" not in report(run)[2]
    assert main([str(run), "--clips", "3"]) == 0
    status, page, numbers, _ = report(run)
    assert status == 0
    assert [row["clips"] for row in numbers["quantization"]] == [3] * 6
    assert "Fewer bits" in (page / "index.html").read_text()
    (run / "quantization.json").write_text('{"rows": [], "checkpoint": "other"}')
    status, page, numbers, _ = report(run)
    assert status == 0
    assert "of other weights, or damaged" in (page / "index.html").read_text()


def test_sizes():
    steps = {
        bits: OneStep(network("LIF", delay="axonal", delay_taps=9), bits) for bits in (None, 8, 4)
    }
    weights = {
        None: 4 * (7 * 6 + 6 * 5 + 5 * 4),
        8: 7 * 6 + 6 * 5 + 5 * 4,
        4: 4 * 6 + 3 * 5 + 3 * 4,
    }
    neurons = 4 * (6 + 5 + 4)  # alpha, the readout's included; one of bias and factor each
    for bits, step in steps.items():
        delays = 2 * (F + 6 + 5)
        assert parameter_bytes(step) == weights[bits] + (2 + (bits is not None)) * neurons + delays
    lines = sum(4 * layer.line.length * layer.line.features for layer in steps[None].layers)
    assert state_bytes(steps[None]) == 5 * (6 + 5) + 4 * (4 + 4) + lines
    fixed = OneStep(network(**PARTS["last"]), fraction_bits=11)
    assert state_bytes(fixed) == (2 + 2 + 1) * (6 + 5) + 2 * 4
    assert all(buffer.dtype != torch.float64 for buffer in fixed.buffers())


def test_networks_without_steps_are_refused(make_run, capsys):
    assert main([str(make_run(model_type="GRU"))]) == 2
    assert "only networks of spiking neurons" in capsys.readouterr().err
