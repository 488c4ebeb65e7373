# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Test figures of trained networks over seeds, measured once and kept."""

import hashlib
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from analysis.trained import Trained
from parsers.load import OPTIONS, Config
from training.data.loading import DataCache
from training.device.choice import choose_device
from training.errors import ExperimentError
from training.evaluation import open_trained
from training.record import files

FIGURES = ("accuracy", "loss", "sop", "recurrent_sop", "firing_rates")


class Evaluations:
    """A JSON file of evaluations, each under the checksum of all that decides it.

    Args:
        path: the file, made when there is something to keep.
        refresh: measure again what is known already.

    Raises:
        ExperimentError: the file exists and holds something else.
    """

    def __init__(self, path: Path, *, refresh: bool = False):
        self.path = path
        self.refresh = refresh
        self.known = read_kept(path)
        self.cache: DataCache | None = None

    def of(self, models: Sequence[Trained]) -> list[list[dict]]:
        """For each model the figures of each of its seeds; a bar while they are measured."""
        total = sum(len(model.configs) for model in models)
        results = []
        with tqdm(total=total, desc="evaluations", leave=False, disable=None) as bar:
            for model in models:
                checksum = model.checksum()
                bar.set_postfix_str(model.name)
                results.append([])
                for config in model.configs:
                    key = key_of(config, checksum)
                    if self.refresh or key not in self.known:
                        facts = {"model": model.name, "seed": config.training.seed}
                        facts |= {"checkpoint": checksum, **self.measure(model, config)}
                        self.known[key] = facts
                        self.path.parent.mkdir(parents=True, exist_ok=True)
                        files.write_json(self.path, self.known)
                    results[-1].append(self.known[key])
                    bar.update()
        return results

    def measure(self, model: Trained, config: Config) -> dict:
        """Test the network once; DataError if the data are not there."""
        if self.cache is None:
            self.cache = DataCache(choose_device(config.training.gpu_device), ("test",))
        experiment = open_trained(config, model.checkpoint, self.cache)
        figures = experiment.test(config.training.seed).to_dict()
        return {name: figures[name] for name in FIGURES}


# Options that came after evaluations had been kept, and that were there when they were, each with
# the value that all of those had.
ADDED_LATER = {
    "sample_rate": 0,
    "nb_channels": None,
    "surrogate": "boxcar",
    "surrogate_width": None,
    "readout": "softmax_sum",
    "loss": "cross_entropy",
    "label_smoothing": 0.0,
}
RETIRED = {"state_size": 64}


def key_of(config: Config, checksum: str) -> str:
    """What an evaluation is kept under: the weights, and the options that a test depends on."""
    options = {
        name: value
        for name, value in config.to_dict().items()
        if (OPTIONS[name].rules.recalled or name == "seed") and ADDED_LATER.get(name, ...) != value
    }
    content = json.dumps({"checkpoint": checksum, **RETIRED, **options}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def read_kept(path: Path) -> dict:
    """The evaluations in a file, {} if there is none; ExperimentError if it holds others."""
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        whole = all(set(FIGURES) <= set(figures) for figures in known.values())
    except (UnicodeDecodeError, ValueError, AttributeError, TypeError):
        whole = False
    if not whole:
        raise ExperimentError(f"{path} holds no evaluations: move it away to have it made again")
    return known


def over_seeds(results: Sequence[dict], figure: str) -> tuple[float, float]:
    """Mean and sample standard deviation of a figure over the seeds; 0 for a single one."""
    values = [result[figure] for result in results]
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
