# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The examples run, and their networks learn."""

import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.analysis.conftest import clips_of
from tests.datasets.shd_files import write_spikes
from tests.datasets.wav_files import WORDS, write_words

REPO = Path(__file__).resolve().parents[2]
EXAMPLES = REPO / "examples"


def example(name: str) -> ModuleType:
    """The module in a file of ``examples/``."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def easy_data(tmp_path_factory) -> dict:
    """Options of data with classes that lie in different channels."""
    folder = tmp_path_factory.mktemp("easy")
    labels = np.arange(120) % 20
    for seed, split in enumerate(("train", "test")):
        write_spikes(folder / f"shd_{split}.h5", clips_of(labels, seed))
    return {"dataset_name": "shd", "data_folder": str(folder), "nb_steps": 20}


def losses(printed: str) -> list[float]:
    """Those that an example prints, epoch by epoch."""
    return [float(found) for found in re.findall(r"loss\D* (\d\.\d+)", printed)]


def test_the_own_loop_has_40_lines():
    code = (EXAMPLES / "own_loop.py").read_text(encoding="utf-8").split('"""', 2)[2]
    assert len(code.strip().splitlines()) <= 40


@pytest.mark.slow
def test_the_own_loop_learns(capsys):
    example("own_loop").main(epochs=2, hidden=32)
    found = re.findall(r"accuracy (\d+\.\d)%", capsys.readouterr().out)
    assert len(found) == 3
    assert float(found[-1]) > 25  # of 20 classes


def test_neurons_behind_convolutions_learn(easy_data, capsys):
    net = example("conv_front_end").main(epochs=5, **easy_data)
    found = losses(capsys.readouterr().out)
    assert found[-1] < found[0] - 0.1
    spikes = net.front(torch.rand(2, 140, 20))
    assert spikes.shape == (2, 64, 10)


def test_own_words_are_learned_and_named(tmp_path, capsys):
    folder = write_words(tmp_path / "words", nb_clips=10)
    net = example("own_data").main(str(folder), epochs=20, hidden=32)
    printed = capsys.readouterr().out
    assert losses(printed)[-1] < losses(printed)[0] - 0.1
    heard = re.findall(r"^(\w+): heard (\w+) \(\d+%\)$", printed, re.M)
    assert [said for said, _ in heard] == list(net.classes) == list(WORDS)
    assert {answer for _, answer in heard} <= set(WORDS)


@pytest.mark.slow
def test_the_notebook_runs(monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    path = os.pathsep.join(filter(None, [str(REPO / "src"), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    notebook = nbformat.read(EXAMPLES / "first_steps.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # committed without
    nbclient.NotebookClient(notebook, timeout=120).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    assert float(re.search(r"(\S+)% of 64 clips", printed)[1]) > 80
    assert any("image/png" in output.get("data", {}) for output in outputs)
