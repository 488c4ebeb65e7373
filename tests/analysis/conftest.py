# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Small finished runs of every model, reports on them, and small networks as folders of runs."""

import contextlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import main
from analysis.report import page
from analysis.report.__main__ import main as report_main
from parsers.load import Config
from tests.command_line import arguments
from tests.datasets.shd_files import write_spikes
from training.build import build_model
from training.record import checkpoint, files

NB_CLASSES = 20
SIZES = {"nb_hiddens": 12, "nb_steps": 15, "spatial_bin": 20, "batch_size": 8, "nb_epochs": 2}
OPTIONAL = ("nir", "nirtorch", "neurobench", "snntorch", "onnx", "onnxscript", "onnxruntime")


def pytest_collection_modifyitems(items):
    """Skip the tests marked ``optional`` where requirements-analysis.txt is not installed."""
    if not all(map(importlib.util.find_spec, OPTIONAL)):
        for item in items:
            if item.get_closest_marker("optional"):
                item.add_marker(pytest.mark.skip(reason="needs requirements-analysis.txt"))


def write_run(folder: Path, classes: int = 20, **options) -> Path:
    """A folder as a run leaves it, with the weights that training starts from."""
    sizes = {"nb_steps": 20, "spatial_bin": 5, "nb_hiddens": 6, "dt_max": 5.0}
    config = Config.from_dict({"dataset_name": "demo", **sizes, **options})
    torch.manual_seed(0)
    (folder / "checkpoints").mkdir(parents=True)
    model = build_model(config, 700 // config.training.spatial_bin, classes)
    files.write_torch(folder / checkpoint.BEST, model.state_dict())
    (folder / "config.yaml").write_text(yaml.safe_dump(config.to_dict()))
    return folder


def small_runs(folder: Path, neurons: tuple[str, ...]) -> dict[str, Path]:
    """One folder for a network of each neuron."""
    return {name: write_run(folder / f"run_{name}", model_type=name) for name in neurons}


def clips_of(labels: np.ndarray, seed: int) -> dict:
    """Dense clips, so that networks fire: a class is a band of channels."""
    rng = np.random.default_rng(seed)
    return {
        "times": [np.sort(rng.uniform(0, 0.95, 400)).astype("f2") for _ in labels],
        "units": [(35 * label + rng.integers(0, 70, 400)) % 700 for label in labels],
        "labels": labels,
    }


@pytest.fixture(scope="session")
def bands(tmp_path_factory) -> Path:
    """Folder with shd_train.h5 (2 clips a class) and shd_test.h5 (one clip a class, and 3 more)."""
    folder = tmp_path_factory.mktemp("bands")
    train, test = np.repeat(np.arange(NB_CLASSES), 2), np.arange(NB_CLASSES + 3) % NB_CLASSES
    write_spikes(folder / "shd_train.h5", clips_of(train, 0))
    write_spikes(folder / "shd_test.h5", clips_of(test, 1))
    return folder


@pytest.fixture(scope="session")
def make_run(bands, tmp_path_factory) -> Callable[..., Path]:
    """Train a small network, once for each set of options; the folder of the run."""
    made = {}

    def make(**options) -> Path:
        key = tuple(sorted(options.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("run") / "run"
            fixed = {"data_folder": bands, "lr": 0.02, "seed": 13, "backend": "naive", **SIZES}
            argv = arguments(new_exp_folder=folder, **{**fixed, **options})
            with contextlib.chdir(folder.parent):
                assert main.main(argv) == 0
            made[key] = folder
        return made[key]

    return make


@pytest.fixture
def report(tmp_path, capsys, monkeypatch):
    """Make a report; (exit status, its folder, numbers, last line printed).

    Pictures take most of the time: they have few pixels, and none unless ``drawn``.
    """
    monkeypatch.setattr(page, "DPI", 70)
    draw = page.as_png

    def call(folder, *flags, drawn=False):
        monkeypatch.setattr(page, "as_png", draw if drawn else lambda figure: b"no picture")
        out = tmp_path / "page"
        status = report_main([str(folder), "--output", str(out), *flags])
        said = capsys.readouterr()
        assert said.err.count("\n") == (status != 0)
        numbers = json.loads((out / "report.json").read_text()) if status == 0 else None
        return status, out, numbers, (said.err or said.out).splitlines()[-1]

    return call
