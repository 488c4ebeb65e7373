# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a program does on a GPU, on emulated ones (`tests.emulated_cuda`)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulated_cuda.library import CannotEmulateError, built

REPO = Path(__file__).resolve().parents[1]
SMALL = ["--config=demo.yaml", "--debug", "--nb_hiddens", "16", "--nb_steps", "8"]


@pytest.fixture(scope="module", autouse=True)
def library():
    pytest.importorskip("triton")
    try:
        return built()
    except CannotEmulateError as error:
        pytest.skip(f"no emulated devices: {error}")


def python(*arguments, status=0):
    """What Python says with emulated devices."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.emulated_cuda", *map(str, arguments)],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    return said


def test_the_devices_are_as_strict_as_they_say_and_nothing_waits():
    said = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/emulated_cuda")
    assert "skipped" not in said


@pytest.mark.parametrize(
    "folders", [["tests/training"], ["tests/models", "tests/datasets"]], ids=["training", "rest"]
)
def test_the_tests_for_gpus_pass(folders):
    said = python("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *folders)
    assert "skipped" not in said


def test_a_training_and_its_resumption(tmp_path):
    """The same numbers launched and as a graph, in one go and in two."""

    def figures(name):
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [{**json.loads(line), "seconds": None} for line in lines]

    one = python("main.py", *SMALL, "--nb_epochs", 2, "--new_exp_folder", tmp_path / "one")
    assert "Running on Emulated GPU (cuda:0)" in one
    assert "it becomes a CUDA graph" in one
    assert [line for line in one.splitlines() if line.startswith("Dynamics: ")] == [
        "Dynamics: fused GPU kernels (triton)"
    ]
    device = json.loads((tmp_path / "one" / "summary.json").read_text())["device"]
    assert device["name"] == "Emulated GPU"
    options = ["--cuda_graph", "off", "--data_placement", "streamed", "--gpu_device", 1]
    two = [*SMALL, *options, "--new_exp_folder", tmp_path / "two"]
    assert "(cuda:1)" in python("main.py", *two, "--nb_epochs", 1)
    assert "Resuming after epoch 1" in python(
        "main.py", "--resume", tmp_path / "two", "--nb_epochs", 2
    )
    assert [line for line in figures("two") if line["split"] != "test"][:4] == [
        line for line in figures("one") if line["split"] != "test"
    ]
    assert "All figures agree" in python("-m", "training.verify", tmp_path / "one")


def test_too_little_memory_is_said_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("SPRACHE_EMULATED_MEMORY", str(6 * 10**6))
    options = ["--config=demo.yaml", "--debug", "--new_exp_folder", tmp_path / "run"]
    said = python("main.py", *options, status=2)
    assert "out of memory" in said
    assert "lower batch_size, nb_steps or nb_hiddens" in said
