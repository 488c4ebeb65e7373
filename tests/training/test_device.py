# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The device of a run, its memory, and that the same seed gives the same bits there."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from resumption import same_results

from training.device import choice
from training.device.choice import choose_device, determinism
from training.errors import ExperimentError

REPO = Path(__file__).resolve().parents[2]
PAGE_FAULTS = """
import resource
import numpy
from training.device.choice import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.empty(64 << 20, numpy.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def least():
    faults()
    return min(faults() for _ in range(3))

print(least(), keep_freed_memory(), least())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_used_again():
    environment = {k: v for k, v in os.environ.items() if k not in choice.VARIABLES}
    command = [sys.executable, "-c", PAGE_FAULTS]
    finished = subprocess.run(
        command, cwd=REPO, env=environment, capture_output=True, text=True, check=True
    )
    before, kept, after = finished.stdout.split()
    assert kept == "True"
    assert int(after) < 100
    assert int(before) > int(after)


HUGE_PAGES = """
import resource
import numpy
from training.device.choice import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [numpy.full(1 << 20, 1, numpy.uint8) for _ in range(64)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
print(faults())
"""
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(
    not SETTING.exists() or "[never]" in SETTING.read_text(), reason="the system has small pages"
)
def test_memory_comes_in_huge_pages():
    environment = {k: v for k, v in os.environ.items() if k not in choice.VARIABLES}
    command = [sys.executable, "-c", HUGE_PAGES]
    finished = subprocess.run(
        command, cwd=REPO, env=environment, capture_output=True, text=True, check=True
    )
    assert int(finished.stdout) < 1000  # 64 MB are 16,384 small pages


def test_no_address_space_is_no_fault(monkeypatch):
    monkeypatch.setattr(choice, "HEAP", 1 << 62)
    assert choice.keep_freed_memory() == (platform.libc_ver()[0] == "glibc")


@pytest.mark.parametrize("name", choice.VARIABLES)
def test_what_the_user_has_set_stays(name, monkeypatch):
    monkeypatch.setenv(name, "131072")
    assert not choice.keep_freed_memory()


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not choice.keep_freed_memory()


def test_small_networks_wake_no_other_threads(train, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("OMP_NUM_THREADS")
    torch.set_num_threads(4)  # the next test has the usual number again
    assert train(new_exp_folder="small") == 0
    assert "on the CPU with 1 of 4 threads, as more would slow down" in capsys.readouterr().out
    assert json.loads((tmp_path / "small/summary.json").read_text())["device"]["threads"] == 1
    assert train("small", evaluate_pretrained=True, new_exp_folder="tested") == 0
    assert "on the CPU with 1 of 4 threads" in capsys.readouterr().out
    assert torch.get_num_threads() == 4


def test_threads_follow_the_size_of_a_batch_unless_the_user_sets_them(monkeypatch):
    def within(neuron_steps: int) -> int:
        with choice.threads_worth_waking(neuron_steps) as most:
            assert most == 4
            return torch.get_num_threads()

    sizes = 1, 2 * choice.WORTH_A_THREAD, 9 * choice.WORTH_A_THREAD
    torch.set_num_threads(4)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert [within(size) for size in sizes] == [4, 4, 4]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [within(size) for size in sizes] == [1, 2, 4]
    assert torch.get_num_threads() == 4


def test_an_absent_device_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device(1) == torch.device("cuda", 1)
    with pytest.raises(ExperimentError, match="numbered from 0 to 1"):
        choose_device(2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(0) == torch.device("cpu")
    with pytest.raises(ExperimentError, match="0 CUDA devices"):
        choose_device(3)


def test_determinism_is_a_setting_of_its_block(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    filling = torch.utils.deterministic
    before = filling.fill_uninitialized_memory
    with determinism(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert not torch.backends.cudnn.benchmark
        assert not filling.fill_uninitialized_memory
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark
    assert filling.fill_uninitialized_memory == before
    with determinism(False):
        assert not torch.are_deterministic_algorithms_enabled()


def run_twice(train, tmp_path, model, **more):
    for name in ("first", "second"):
        options = {"model_type": model, "pdrop": 0.3, "deterministic": True, **more}
        assert train(new_exp_folder=name, **options) == 0
        torch.manual_seed(99)
    same_results(tmp_path / "first", tmp_path / "second")


@pytest.mark.parametrize("model", ["RadLIF", "CSiLIF"])
def test_two_runs_are_the_same_in_every_bit(train, tmp_path, model):
    run_twice(train, tmp_path, model)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["naive", "cuda"])
@pytest.mark.parametrize("model", ["SiLIF", "RadLIF", "CSiLIF"])
def test_two_runs_on_a_gpu_are_the_same_in_every_bit(train, tmp_path, model, backend):
    run_twice(train, tmp_path, model, backend=backend)
