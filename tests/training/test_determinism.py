# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The same seed gives the same bits."""

import json
import os

import pytest
import torch

from training.device.choice import determinism
from training.record import checkpoint, files


def same_bits(first, second):
    """Weights and optimiser states are equal in every bit, and metrics in all but times."""
    for name in (checkpoint.BEST, checkpoint.LAST):
        states = [torch.load(folder / name, weights_only=True) for folder in (first, second)]
        for a, b in zip(*map(leaves, states), strict=True):
            assert torch.equal(a, b)
    records = [files.read_lines(folder / "metrics.jsonl") for folder in (first, second)]
    for a, b in zip(*records, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}
    tests = [
        json.loads((folder / "summary.json").read_text())["test"] for folder in (first, second)
    ]
    assert {**tests[0], "seconds": 0} == {**tests[1], "seconds": 0}


def leaves(content):
    """The tensors in nested dicts and lists, times left out."""
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, dict):
        for name, entry in content.items():
            if "seconds" not in str(name):
                yield from leaves(entry)
    elif isinstance(content, list):
        for entry in content:
            yield from leaves(entry)


def test_new_memory_is_not_filled():
    filling = torch.utils.deterministic
    before = filling.fill_uninitialized_memory
    with determinism(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not filling.fill_uninitialized_memory
    assert filling.fill_uninitialized_memory == before


def run_twice(train, tmp_path, model):
    for name in ("first", "second"):
        options = {"model_type": model, "pdrop": 0.3, "deterministic": True}
        assert train(new_exp_folder=name, **options) == 0
        torch.manual_seed(99)
    same_bits(tmp_path / "first", tmp_path / "second")


@pytest.mark.parametrize("model", ["RadLIF", "CSiLIF"])
def test_two_runs_are_the_same_in_every_bit(train, tmp_path, model):
    run_twice(train, tmp_path, model)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["naive", "cuda"])
@pytest.mark.parametrize("model", ["SiLIF", "RadLIF", "CSiLIF"])
def test_two_runs_on_a_gpu_are_the_same_in_every_bit(train, tmp_path, model, backend):
    def train_there(**options):
        return train(backend=backend, **options)

    run_twice(train_there, tmp_path, model)


def test_settings_are_taken_back(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    with determinism(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert not torch.backends.cudnn.benchmark
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark
    with determinism(False):
        assert not torch.are_deterministic_algorithms_enabled()
