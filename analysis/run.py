# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A run on disk, opened again: its options, records, data and trained network."""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from datasets.registry import DATASETS
from parsers.load import Config, ConfigError, load_plan, read_config, resolve_pretrained
from training.data import same_data
from training.data.loading import load_data, on_device
from training.device.choice import choose_device
from training.errors import ExperimentError
from training.experiment import Experiment
from training.record import checkpoint, files


@dataclass(frozen=True)
class OpenedRun:
    """A run whose network has its trained weights.

    ``records`` are the lines of metrics.jsonl, ``summary`` is None for a run that has not ended,
    ``initial`` the weights that its seed gives, before training; ``weights`` is the file that the
    trained ones came from.
    """

    folder: Path
    config: Config
    records: list[dict]
    summary: dict | None
    weights: Path
    initial: dict[str, Tensor]
    experiment: Experiment

    @property
    def model(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        return self.experiment.model

    @property
    def step_seconds(self) -> float:
        """Seconds between two time steps."""
        return step_seconds(self.config)

    def initial_model(self) -> nn.Module:
        """The network as its seed made it."""
        untrained = Experiment(
            self.config, self.experiment.data, None, self.experiment.device
        ).model.eval()
        untrained.load_state_dict(self.initial)
        return untrained


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
        data_folder: where the data lie now, if they have moved since.
        gpu_device: CUDA device to compute on, where there is one.

    Raises:
        ConfigError, ExperimentError, DataError: what the user can mend, in one line.
    """
    folder = resolve_pretrained(name)
    options = read_options(folder, config)
    if data_folder is not None:
        moved = Path(data_folder).expanduser().absolute()
        options = replace(options, training=replace(options.training, data_folder=moved))
    device = choose_device(gpu_device)
    weights = checkpoint.find_weights(folder)
    checkpoint.read(weights)  # a bad file is reported before the data are read
    data = load_data(same_data.with_recorded_rate(options.training, folder), ("test",))
    data = same_data.with_classes_of(folder, options.training, data)
    data = on_device(data, device)
    experiment = Experiment(options, data, None, device)
    initial = {key: value.clone() for key, value in experiment.model.state_dict().items()}
    checkpoint.load_weights(experiment.model, weights)
    experiment.model.eval()
    return OpenedRun(
        folder=folder,
        config=options,
        records=files.read_lines(folder / "metrics.jsonl"),
        summary=read_summary(folder),
        weights=weights,
        initial=initial,
        experiment=experiment,
    )


def read_options(folder: Path, config: str | None) -> Config:
    """The options recorded in ``folder``, or those of the first run of ``config``."""
    recorded = folder / "config.yaml"
    if config is not None:
        return load_plan(["--config", config, "--debug"]).points[0]
    if recorded.is_file():
        values = read_config(recorded).values
        try:
            return Config.from_dict({name: several[0] for name, several in values.items()})
        except ConfigError as error:
            raise ConfigError(f"{recorded}: {error}") from None
    runs = sorted(path.parent.name for path in folder.glob("*/config.yaml"))
    way_out = (
        f"name one of the runs in it: {', '.join(runs)}"
        if runs
        else "say which options it was trained with by --config NAME"
    )
    raise ExperimentError(f"{folder} holds no config.yaml: {way_out}")


def read_summary(folder: Path) -> dict | None:
    """The content of summary.json, None for a run that has not ended."""
    path = folder / "summary.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExperimentError(f"{path} is not readable ({error})") from None


def open_named(arguments: argparse.Namespace) -> OpenedRun:
    """The run that a command line names."""
    return open_run(
        arguments.folder,
        config=arguments.config,
        data_folder=arguments.data_folder,
        gpu_device=arguments.gpu_device,
    )
