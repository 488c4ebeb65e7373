# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Runs whose weights have few bits: from a trained run, stopped and resumed, tested, refused."""

import json

import torch
from resumption import OPTIONS, same_results

import main
from models.linear import rounded
from training.record import checkpoint

BITS = {"weight_bits": 4, "model_type": "RadLIF"}


def test_a_run_with_few_bits_resumes_as_if_nothing_had_happened(train, interrupt, tmp_path):
    options = {**OPTIONS, **BITS, "nb_epochs": 2}
    assert train(new_exp_folder="whole", **options) == 0
    assert interrupt(9, new_exp_folder="crashed", **options) is None
    assert main.main(["--resume", "crashed"]) == 0
    same_results(tmp_path / "whole", tmp_path / "crashed")


def test_a_trained_run_is_trained_on_with_few_bits(train, tmp_path):
    assert train(new_exp_folder="float", model_type="RadLIF") == 0
    start = {"load_exp_folder": "float", "start_epoch": 2, "nb_epochs": 1, "lr": 1e-4}
    assert train(new_exp_folder="few", **BITS, **start) == 0
    before, after = (
        torch.load(tmp_path / name / checkpoint.BEST, weights_only=True)
        for name in ("float", "few")
    )
    moved = (after["snn.0.W.weight"] - before["snn.0.W.weight"]).abs()
    assert 0 < moved.max() < 0.01
    assert not rounded(after["snn.0.W.weight"], 4).equal(after["snn.0.W.weight"])
    summary = json.loads((tmp_path / "few" / "summary.json").read_text())
    argv = ["few", "--evaluate_pretrained", "True", "--seed", "13", "--new_exp_folder", "test"]
    assert main.main(argv) == 0
    found = json.loads((tmp_path / "test" / "evaluation_summary.json").read_text())["runs"][0]
    assert found["values"]["weight_bits"] == 4
    assert found["test"]["loss"] == summary["test"]["loss"]


def test_other_networks_and_bits_are_refused(train, capsys):
    for options, said in (
        ({"model_type": "GRU", "weight_bits": 8}, "--weight_bits 8 is for models of spiking"),
        ({"model_type": "S4D", "weight_bits": 8}, "--weight_bits 8 is for models of spiking"),
        ({"weight_bits": 9}, "--weight_bits: 9 is out of range; it must be >= 2 and <= 8"),
    ):
        assert train(new_exp_folder="none", **options) == 2
        line = capsys.readouterr().err
        assert said in line
        assert line.count("\n") == 1
