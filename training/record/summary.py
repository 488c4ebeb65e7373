# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What is known of a run when it has ended: summary.json and the learning curves."""

import contextlib
import platform
from importlib import metadata
from typing import TYPE_CHECKING

import torch

from datasets.audio import AudioData
from datasets.spiking import SpikingData
from training.metrics import Metrics, count_parameters
from training.record import checkpoint, files
from training.record.curves import draw_curves
from training.record.repository import code_version
from training.terminal.console import log

if TYPE_CHECKING:
    from training.experiment import Experiment

LIBRARIES = ("torch", "numpy", "scipy", "h5py", "soundfile", "numba", "triton")


def finish(experiment: "Experiment") -> dict:
    """Test the best model of ``experiment``; write and return its summary, and draw its curves.

    What cannot be written is said, and named by ``unwritten`` in the summary that is returned.
    Without the best weights there is no summary.json: the run is unfinished, and can be resumed.
    """
    experiment.model.load_state_dict(experiment.best.weights)
    test = experiment.test(experiment.options.seed)
    summary = summarize(experiment, test)
    experiment.mend_folder()
    if experiment.lacks_best:
        experiment.write_best()
    folder = experiment.folder
    record = {"epoch": experiment.best.epoch, "split": "test", **test.to_dict()}
    writes = {
        "metrics.jsonl": lambda path: files.append_line(path, record),
        "summary.json": lambda path: files.write_json(path, summary),
        "curves.png": lambda path: draw_curves(experiment.history, summary, path),
    }
    unwritten = {*writes, *([str(checkpoint.BEST)] if experiment.lacks_best else [])}
    if experiment.lacks_best:
        log.error("No summary.json without the best model: --resume auto writes both once it can")
        del writes["summary.json"]
    for name, write in writes.items():
        with files.going_on_without(name):
            write(folder / name)
            unwritten.remove(name)
    return {**summary, "unwritten": sorted(unwritten)} if unwritten else summary


def summarize(experiment: "Experiment", test: Metrics) -> dict:
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
        "classes": experiment.data.nb_classes,
        "seconds": experiment.progress.seconds + test.seconds,
        "seconds_per_epoch": sum(passes) / options.nb_epochs,
        "data_checksums": experiment.data.checksums,
        **listing_facts(experiment.data),
        "device": device_facts(experiment.device),
        "code": code_version(),
        "versions": versions(experiment.device),
    }


def counts(model: torch.nn.Module, data: SpikingData | AudioData) -> dict:
    """How large the network and its data are."""
    clips = {name: len(getattr(data, name)) for name in ("train", "valid", "test")}
    return {
        "parameters": count_parameters(model),
        "state_variables": model.nb_state_variables() if model.is_snn else None,
        "clips": clips,
    }


def listing_facts(data: SpikingData | AudioData) -> dict:
    """Who split recordings, and how many files could not be used; nothing for spikes."""
    if not isinstance(data, AudioData):
        return {}
    return {"split_by": data.split_by, "files_left_out": data.left_out}


def device_facts(device: torch.device) -> dict:
    """Where the run computed; the number of CPU threads can change the last bits of a sum."""
    facts = {"type": device.type, "threads": torch.get_num_threads()}
    if device.type == "cuda":
        facts |= {"name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return facts


def versions(device: torch.device) -> dict:
    """What the run was computed with; libraries that are not installed are left out."""
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    # The local part (+cpu, +cu130) says which build it is.
    found |= {"torch": torch.__version__, "device": processor, "platform": platform.platform()}
    return found
