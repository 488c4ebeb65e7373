# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Trained networks on the shelf: which there are, the options they came from, their weights."""

import fnmatch
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from analysis.run import step_seconds
from datasets.registry import DATASETS
from models.snns import SNN
from parsers.load import Config, ConfigError, load_plan, resolve_pretrained
from parsers.model_config import SNN_TYPES
from training.build import build_model
from training.data import same_data
from training.errors import CheckpointError
from training.record import checkpoint
from training.results.gather import SWEEP_SUMMARIES
from training.results.groups import data_name, model_name

REPO = Path(__file__).resolve().parents[1]
SHELF = REPO / "reference_models"
# The networks that Fabre et al. (2025) publish come without their options.
AUTHORS = {
    "ref_SSC_CadLIF": "ssc_cadlif_4ms",
    "ref_SSC_CSiLIF": "ssc_csilif_4ms",
    "ref_SSC_SiLIF": "ssc_silif_4ms",
    "ref_SSC_RF": "ssc_rf",
}
OURS = {
    "demo_CadLIF": "demo_cadlif",
    "demo_CSiLIF": "demo_csilif",
    "demo_SiLIF": "demo_silif",
    "demo_RF": "demo_rf",
    "demo_adLIF": "demo_adlif",
    "demo_LIF": "demo_lif",
    "demo_RLIF": "demo_rlif",
    "demo_RadLIF": "demo_radlif",
}


@dataclass(frozen=True)
class Trained:
    """A folder with a trained network, and one resolved config per test seed."""

    folder: Path
    configs: tuple[Config, ...]

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.name

    @property
    def config(self) -> Config:
        """The options of the first seed; the network is the same for all."""
        return self.configs[0]

    @property
    def model_type(self) -> str:
        """The neuron, as ``--model_type`` spells it."""
        return self.config.model.model_type

    @property
    def title(self) -> str:
        """The neuron, as papers spell it."""
        return model_name(self.model_type)

    @property
    def data(self) -> str:
        """The data set, as papers spell it, or the folder of one that is none of theirs."""
        return data_name(self.record())

    @property
    def checkpoint(self) -> Path:
        """The file with the weights."""
        return self.folder / checkpoint.BEST

    @property
    def step(self) -> float:
        """Seconds of a time step."""
        return step_seconds(self.config)

    def record(self) -> dict:
        """Its options as "values" and, if the folder tells, "classes" and "data_checksums" of the
        data that it was trained on."""
        values = {"values": self.config.to_dict()}
        if (before := same_data.recorded(self.folder)) is not None:
            classes, checksums = len(before["classes"]), before["checksums"]
            return {**values, "classes": classes, "data_checksums": checksums}
        try:
            summary = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))
            told = {"classes", "data_checksums"} & summary.keys()
        except (OSError, ValueError, AttributeError):
            return values
        return {**values, **{name: summary[name] for name in told}}

    def checksum(self) -> str:
        """SHA-256 of the checkpoint; CheckpointError if there is none."""
        checkpoint.read(self.checkpoint)
        return hashlib.sha256(self.checkpoint.read_bytes()).hexdigest()

    def network(self) -> SNN:
        """The network with its weights, in evaluation mode, on the CPU.

        Raises CheckpointError if the weights cannot be read or do not fit the options.
        """
        training = self.config.training
        features = DATASETS[training.dataset_name].nb_features(training)
        weights = checkpoint.read_weights(self.checkpoint)
        sizes = [
            len(value)
            for name, value in weights.items()
            if name.endswith("W.weight") and isinstance(value, Tensor) and value.ndim
        ]
        if not sizes:
            raise CheckpointError(f"{self.checkpoint} holds no layer of a network")
        model = build_model(self.config, features, nb_classes=sizes[-1])
        checkpoint.load_weights(model, self.checkpoint)
        return model.eval()


def open_model(
    name: str | Path, seeds: tuple[int, ...] = (13,), data_folder: str | None = None
) -> Trained:
    """The trained network in a folder, or of a name in ``reference_models/``.

    Its options are those in its config.yaml or, for the authors' networks, in our config for it.
    There is one config for each of ``seeds``; ``data_folder`` replaces the one that it names.

    Raises:
        ConfigError: no such folder, no options, or no spiking network.
    """
    folder = resolve_pretrained(name)
    argv = [str(folder), "--evaluate_pretrained", "True", "--seed", *map(str, seeds)]
    if data_folder is not None:
        argv += ["--data_folder", data_folder]
    if not (folder / "config.yaml").is_file():
        if folder.name not in AUTHORS:
            raise ConfigError(
                f"{folder} has no config.yaml, which holds the options of its network: name the "
                f"folder of a run, or one of {', '.join(AUTHORS)}"
            )
        argv += ["--config", AUTHORS[folder.name]]
    points = load_plan(argv).points
    if points[0].model.model_type not in SNN_TYPES:
        raise ConfigError(f"{folder} holds a {points[0].model.model_type}, which does not spike")
    return Trained(folder, points)


def open_all(
    names: Sequence[str | Path], seeds: tuple[int, ...] = (13,), data_folder: str | None = None
) -> list[Trained]:
    """`open_model` of every name; the table of a sweep, which FOLDER/* names, too, is no network.

    Raises ConfigError if there is nothing else.
    """
    folders = [name for name in names if not is_table_of_a_sweep(Path(name))]
    return [open_model(name, seeds, data_folder) for name in folders or names]


def is_table_of_a_sweep(path: Path) -> bool:
    """Whether a path is what a sweep writes beside the folders of its runs."""
    return fnmatch.fnmatch(path.name, SWEEP_SUMMARIES) and path.is_file()


def names_apart(models: Sequence[Trained]) -> list[str]:
    """The folders' names, with those above them as far as it takes to tell each from the others."""
    paths = [model.folder.resolve().parts for model in models]
    names = []
    for path in paths:
        others = [other for other in paths if other != path]
        depth = next(
            n for n in range(1, len(path) + 1) if path[-n:] not in [o[-n:] for o in others]
        )
        names.append("/".join(path[-depth:]))
    return names


def labels_apart(labels: Sequence[str], models: Sequence[Trained], between: str) -> list[str]:
    """``labels`` of networks, those that coincide followed by the names of their folders.

    What stands between underscores in all these names is left out.
    """
    names = names_apart(models)
    told = []
    for label, name in zip(labels, names, strict=True):
        alike = [other for text, other in zip(labels, names, strict=True) if text == label]
        common = set.intersection(*(set(other.split("_")) for other in alike))
        own = "_".join(part for part in name.split("_") if part not in common) or name
        told.append(f"{label}{between}{own}" if len(alike) > 1 else label)
    return told


def is_there(name: str, shelf: Path = SHELF) -> bool:
    """Whether the shelf has the weights of that name."""
    return (shelf / name / checkpoint.BEST).is_file()
