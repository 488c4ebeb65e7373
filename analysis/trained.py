# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Trained networks: those on the shelf with their options and weights, and whole runs with data."""

import argparse
import fnmatch
import hashlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from datasets.registry import DATASETS
from models.network import Network
from parsers.load import Config, ConfigError, load_plan, resolve_pretrained
from parsers.model_config import SNN_TYPES
from parsers.program import add_gpu_device
from training.build import build_model
from training.data import same_data
from training.data.loading import DataCache
from training.device.choice import choose_device
from training.errors import CheckpointError, ExperimentError
from training.evaluation import open_trained
from training.experiment import Experiment
from training.record import checkpoint, files
from training.results.gather import SWEEP_SUMMARIES, read_summary
from training.results.groups import data_name, model_name
from training.shared import is_shared, local_run

REPO = Path(__file__).resolve().parents[1]
RUN = "folder of a run, a name in reference_models/, RUN.zip or https://HOST/RUN.zip#sha256=HEX"
SHELF = REPO / "reference_models"
# The networks that Fabre et al. (2025) publish come without their options.
AUTHORS = {
    "ref_SSC_CadLIF": "ssc_cadlif_4ms",
    "ref_SSC_CSiLIF": "ssc_csilif_4ms",
    "ref_SSC_SiLIF": "ssc_silif_4ms",
    "ref_SSC_RF": "ssc_rf",
}
LAST_WEIGHTS = ("W.weight", "linear.weight")  # of layers and of heads
NEURONS = ("CadLIF", "CSiLIF", "SiLIF", "RF", "adLIF", "LIF", "RLIF", "RadLIF")
OURS = {f"demo_{neuron}": f"demo_{neuron.lower()}" for neuron in NEURONS}


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
        """The data set, as papers spell it, or the folder of any other."""
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
        """Its options as "values" and, if the folder says, "classes" and "data_checksums" of the
        data that it was trained on."""
        values = self.config.to_dict()
        found, _ = read_summary(self.folder, values)
        if (before := same_data.recorded(self.folder)) is not None:
            found = {"classes": len(before["classes"]), "data_checksums": before["checksums"]}
        known = {"classes", "data_checksums"} & {*found}
        return {"values": values, **{name: found[name] for name in known}}

    def checksum(self) -> str:
        """SHA-256 of the checkpoint; CheckpointError if there is none."""
        checkpoint.read(self.checkpoint)
        return hashlib.sha256(self.checkpoint.read_bytes()).hexdigest()

    def network(self) -> Network:
        """The network with its weights and the names of its classes, in evaluation mode, on the
        CPU; classes without names have numbers.

        Raises CheckpointError if the weights cannot be read or do not fit the options.
        """
        training = self.config.training
        record = same_data.recorded(self.folder)
        features = DATASETS[training.dataset_name].nb_features(
            same_data.as_recorded(record, training)
        )
        path = checkpoint.find_weights(self.folder)
        weights = checkpoint.read_weights(path)
        sizes = [
            len(value)
            for name, value in weights.items()
            if name.endswith(LAST_WEIGHTS) and isinstance(value, Tensor) and value.ndim
        ]
        if not sizes:
            raise CheckpointError(f"{path} holds no layer of a network")
        model = build_model(self.config, features, nb_classes=sizes[-1])
        checkpoint.load_weights(model, path)
        model.classes = record["classes"] if record else [str(n) for n in range(sizes[-1])]
        return model.eval()


def run_folder(name: str | Path) -> Path:
    """The folder of a run, by its path, its name in ``reference_models/``, or as others share it:
    a zip archive, or the address of one with its checksum, see `training.shared`."""
    return resolve_pretrained(local_run(name))


def open_model(
    name: str | Path,
    seeds: tuple[int, ...] = (13,),
    data_folder: str | None = None,
    *,
    spiking: bool = True,
) -> Trained:
    """The trained network in a folder, or of a name in ``reference_models/``.

    Its options are those in its config.yaml or, for the authors' networks, in our config for it.
    There is one config for each of ``seeds``; ``data_folder`` replaces the one that it names. Only
    networks of ``spiking`` neurons are opened unless it is False.

    Raises:
        ConfigError: no such folder, no options, or no spiking network.
    """
    folder = run_folder(name)
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
    if spiking and (name := points[0].model.model_type) not in SNN_TYPES:
        raise ConfigError(f"{folder} holds a {name}, which is no network of one spiking neuron")
    return Trained(folder, points)


def open_all(
    names: Sequence[str | Path],
    seeds: tuple[int, ...] = (13,),
    data_folder: str | None = None,
    *,
    spiking: bool = True,
) -> list[Trained]:
    """`open_model` of every name but the summary table of a sweep, which FOLDER/* also matches.

    Raises ConfigError if nothing else is named.
    """
    tables = [
        name
        for name in names
        if fnmatch.fnmatch(Path(name).name, SWEEP_SUMMARIES) and Path(name).is_file()
    ]
    folders = [name for name in names if name not in tables]
    return [open_model(name, seeds, data_folder, spiking=spiking) for name in folders or names]


def names_apart(models: Sequence[Trained]) -> list[str]:
    """The folders' names, with those above them as far as it takes to tell each from the others."""
    paths = [model.folder.resolve().parts for model in models]
    names = []
    for path in paths:
        others = [other for other in paths if other != path]
        depth = 1
        while depth < len(path) and any(path[-depth:] == other[-depth:] for other in others):
            depth += 1
        names.append("/".join(path[-depth:]))
    return names


def labels_apart(labels: Sequence[str], models: Sequence[Trained], between: str) -> list[str]:
    """``labels`` of networks, those that coincide followed by the names of their folders.

    What stands between underscores in all these names is omitted.
    """
    names, unique = names_apart(models), []
    for label, name in zip(labels, names, strict=True):
        alike = [other for text, other in zip(labels, names, strict=True) if text == label]
        common = set.intersection(*(set(other.split("_")) for other in alike))
        own = "_".join(part for part in name.split("_") if part not in common) or name
        unique.append(f"{label}{between}{own}" if len(alike) > 1 else label)
    return unique


def is_there(name: str) -> bool:
    """Whether the shelf has the weights of that name."""
    return (SHELF / name / checkpoint.BEST).is_file()


def add_models(parser: argparse.ArgumentParser, which: str, default: str) -> None:
    """Add ``--models``, which names the networks to draw; `open_all` opens them."""
    what = f"{which}, or names in reference_models/ [default: {default}]"
    parser.add_argument("--models", nargs="+", metavar="FOLDER", help=what)


@dataclass(frozen=True)
class OpenedRun:
    """A run whose network has its trained weights.

    ``records`` are the lines of metrics.jsonl, ``summary`` is None for a run that has not ended;
    ``weights`` is the file that the trained weights came from.
    """

    folder: Path
    config: Config
    records: list[dict]
    summary: dict | None
    weights: Path
    experiment: Experiment

    @property
    def model(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        return self.experiment.model

    @property
    def step_seconds(self) -> float:
        """Seconds between two time steps."""
        return step_seconds(self.config)

    @property
    def step_ms(self) -> float:
        """The same in ms, as it is named."""
        training = self.config.training
        return DATASETS[training.dataset_name].step_ms(training)

    def initial_model(self) -> tuple[nn.Module, str]:
        """The network as its training began, as far as can be found out, and what that is."""
        experiment, options = self.experiment, self.config.training
        model = Experiment(self.config, experiment.data, None, experiment.device).model.eval()
        if options.start_epoch == 0 or options.load_exp_folder is None:
            return model, "what the run's seed draws again"
        folder = Path(options.load_exp_folder)
        try:
            checkpoint.load_weights(model, checkpoint.find_weights(folder))
        except CheckpointError:
            return model, (
                f"what the run's seed draws, and not the weights in {folder} that the run started "
                "from: they cannot be read"
            )
        return model, f"the weights in {folder}, from which the run started"


def step_seconds(config: Config) -> float:
    """Width of a time bin of spiking data, or distance between two frames of audio, in s."""
    return DATASETS[config.training.dataset_name].step_seconds(config.training)


def open_run(
    name: str | Path,
    *,
    config: str | None = None,
    data_folder: str | Path | None = None,
    gpu_device: int = 0,
) -> OpenedRun:
    """Open an experiment folder, or one of that name in ``reference_models/``.

    Args:
        name: the folder.
        config: a config for a folder that has none of its own, such as a published model's.
        data_folder: where the data are now, if they have moved.
        gpu_device: CUDA device to compute on, where there is one.

    Raises:
        ConfigError, ExperimentError, DataError: what the user can mend, in one line.
    """
    folder = run_folder(name)
    options = read_options(folder, config)
    if data_folder is not None:
        moved = Path(os.path.expanduser(data_folder)).absolute()
        options = replace(options, training=replace(options.training, data_folder=moved))
    device = choose_device(gpu_device)
    weights = checkpoint.find_weights(folder)
    experiment = open_trained(options, weights, DataCache(device, ("test",)))
    experiment.model.eval()
    return OpenedRun(
        folder=folder,
        config=options,
        records=files.read_lines(folder / "metrics.jsonl"),
        summary=files.read_summary(folder) if (folder / "summary.json").is_file() else None,
        weights=weights,
        experiment=experiment,
    )


def read_options(folder: Path, config: str | None) -> Config:
    """The options recorded in ``folder``, or those of the first run of ``config``."""
    if config is not None:
        return load_plan(["--config", config, "--debug"]).points[0]
    if (folder / "config.yaml").is_file():
        return files.recorded_config(folder)
    runs = sorted(path.parent.name for path in folder.glob("*/config.yaml"))
    way_out = (
        f"name one of the runs in it: {', '.join(runs)}"
        if runs
        else "say which options it was trained with by --config NAME"
    )
    raise ExperimentError(f"{folder} holds no config.yaml: {way_out}")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a run; `open_named` opens it."""
    parser.add_argument("folder", metavar="EXP_FOLDER", help=RUN)
    options = "options of a folder without a config.yaml"
    parser.add_argument("--config", metavar="NAME", help=options)
    parser.add_argument("--data_folder", help="where the data are, if they have moved")
    add_gpu_device(parser)


def open_named(arguments: argparse.Namespace) -> OpenedRun:
    """The run that a command line names."""
    return open_run(
        arguments.folder,
        config=arguments.config,
        data_folder=arguments.data_folder,
        gpu_device=arguments.gpu_device,
    )


def beside(name: str, output: str) -> Path:
    """Where ``output`` of a run is written by default: in its folder.

    Raises ConfigError for a run that is shared, and has no folder to write to.
    """
    if is_shared(name):
        raise ConfigError(f"{name} is an archive: say where to write by --output")
    return resolve_pretrained(name) / output


def need(packages: Sequence[str]) -> None:
    """ConfigError, with the command that installs it, for a missing optional package."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"{package} is not installed; it is optional: pip install --no-deps -r "
                "requirements-analysis.txt, a file of the repository"
            )
