# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What is known of a run when it has ended: summary.json and the learning curves."""

import platform

import h5py
import numpy
import torch

from training import files
from training.curves import draw_curves
from training.metrics import Metrics, count_parameters


def finish(experiment) -> dict:
    """Test the best model of ``experiment``; write and return its summary, and draw its curves."""
    experiment.model.load_state_dict(experiment.best.weights)
    test = experiment.test(experiment.options.seed)
    record = {"epoch": experiment.best.epoch, "split": "test", **test.to_dict()}
    files.append_line(experiment.folder / "metrics.jsonl", record)
    summary = summarize(experiment, test)
    files.write_json(experiment.folder / "summary.json", summary)
    draw_curves(experiment.history, summary, experiment.folder / "curves.png")
    return summary


def summarize(experiment, test: Metrics) -> dict:
    """The content of summary.json, in plain values."""
    options, best = experiment.options, experiment.best
    passes = [record["seconds"] for record in experiment.history]
    return {
        "model_type": experiment.config.model.model_type,
        "dataset_name": options.dataset_name,
        "seed": options.seed,
        "best_epoch": best.epoch,
        "epochs": options.nb_epochs,
        "validated_on": experiment.data.validation,
        "valid": best.valid.to_dict(),
        "test": test.to_dict(),
        **counts(experiment.model, experiment.data),
        "seconds": experiment.progress.seconds + test.seconds,
        "seconds_per_epoch": sum(passes) / options.nb_epochs,
        "versions": versions(experiment.device),
    }


def counts(model: torch.nn.Module, data) -> dict:
    """How large the network and its data are."""
    clips = {name: len(getattr(data, name)) for name in ("train", "valid", "test")}
    return {
        "parameters": count_parameters(model),
        "state_variables": model.nb_state_variables() if model.is_snn else None,
        "clips": clips,
    }


def versions(device: torch.device) -> dict:
    """What the run was computed with."""
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "h5py": h5py.__version__,
        "device": processor,
        "platform": platform.platform(),
    }
