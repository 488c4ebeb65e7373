# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Test figures of trained networks over seeds, measured once and kept."""

import hashlib
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from analysis.style import FIGURES as FIGURES_FOLDER
from analysis.trained import Trained
from datasets.errors import DataError
from parsers.load import OPTIONS, Config
from parsers.options import Rules
from training.data import same_data
from training.data.loading import DataCache
from training.device.choice import choose_device
from training.errors import ExperimentError
from training.evaluation import open_trained
from training.record import files
from training.results.groups import tested_on

FIGURES = ("accuracy", "loss", "sop", "recurrent_sop", "firing_rates", "mac")
KEPT = "figure3_evaluations.json"
SHIPPED = FIGURES_FOLDER / KEPT


class Evaluations:
    """A JSON file of evaluations, each under the checksum of all that decides it.

    Args:
        path: the file, made when there is something to keep that is not in ``SHIPPED``.
        refresh: measure again what is known already.

    Raises:
        ExperimentError: the file exists and holds something else.
    """

    def __init__(self, path: Path, *, refresh: bool = False):
        self.path = path
        self.refresh = refresh
        self.kept = read_kept(path)
        self.known = {} if refresh else read_kept(SHIPPED) | self.kept
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
                    key = key_of(config, checksum, self.data_of(model, config))
                    if key not in self.known:
                        facts = {"model": model.name, "seed": config.training.seed}
                        facts |= {"checkpoint": checksum, **self.measure(model, config)}
                        self.known[key] = self.kept[key] = facts
                        self.path.parent.mkdir(parents=True, exist_ok=True)
                        files.write_json(self.path, self.kept)
                    results[-1].append(self.known[key])
                    bar.update()
        return results

    def data_of(self, model: Trained, config: Config) -> list[str]:
        """Checksums of the test split or, where it is not there, of that which the model met."""
        if self.cache is None:
            self.cache = DataCache(choose_device(config.training.gpu_device), ("test",))
        record = model.record()
        try:
            data = same_data.data_of(model.folder, config.training, self.cache)
        except DataError:
            if "data_checksums" not in record:
                raise
        else:
            record["data_checksums"] = data.checksums
        return tested_on(record)[1]

    def measure(self, model: Trained, config: Config) -> dict:
        """Test the network once; DataError if the data are not there."""
        experiment = open_trained(config, model.checkpoint, self.cache)
        figures = experiment.test(config.training.seed).to_dict()
        return {name: figures[name] for name in FIGURES if name in figures}


def key_of(config: Config, checksum: str, data: Sequence[str]) -> str:
    """What an evaluation is kept under: the weights, the data, and the options that a test depends
    on where they are not the default, so that an option which is added later changes nothing."""
    options = {
        name: value
        for name, value in config.to_dict().items()
        if value != OPTIONS[name].default and decides_a_test(OPTIONS[name].rules)
    }
    options |= {"checkpoint": checksum, "data": list(data), "seed": config.training.seed}
    content = json.dumps(options, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def decides_a_test(rules: Rules) -> bool:
    """Whether the figures of a test, on data that are known, depend on an option."""
    return rules.recalled and rules.in_tests and rules.compared and not rules.may_change


def read_kept(path: Path) -> dict:
    """The evaluations in a file, {} if there is none; ExperimentError if it holds others."""
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        whole = all({"accuracy", "loss"} <= set(figures) for figures in known.values())
    except (UnicodeDecodeError, ValueError, AttributeError, TypeError):
        whole = False
    if not whole:
        raise ExperimentError(f"{path} holds no evaluations: move it away to have it made again")
    return known


def over_seeds(results: Sequence[dict], figure: str) -> tuple[float, float]:
    """Mean and sample standard deviation of a figure over the seeds; 0 for a single one.

    0 as well where the network has no such figure.
    """
    values = [result.get(figure, 0.0) for result in results]
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
