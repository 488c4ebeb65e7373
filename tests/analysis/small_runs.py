# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Small networks, as folders of runs."""

from pathlib import Path

import torch
import yaml

from parsers.load import Config
from training.build import build_model
from training.record import checkpoint, files


def write_run(folder: Path, classes: int = 20, **options) -> Path:
    """A folder as a run leaves it, with the weights that training starts from."""
    values = {
        "dataset_name": "demo",
        "nb_steps": 20,
        "spatial_bin": 5,
        "nb_hiddens": 6,
        "dt_max": 5.0,
        **options,
    }
    config = Config.from_dict(values)
    torch.manual_seed(0)
    (folder / "checkpoints").mkdir(parents=True)
    model = build_model(config, 700 // config.training.spatial_bin, classes)
    files.write_torch(folder / checkpoint.BEST, model.state_dict())
    (folder / "config.yaml").write_text(yaml.safe_dump(config.to_dict()))
    return folder


def small_runs(folder: Path, neurons: tuple[str, ...]) -> dict[str, Path]:
    """One folder for a network of each neuron."""
    return {name: write_run(folder / f"run_{name}", model_type=name) for name in neurons}
