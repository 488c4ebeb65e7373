# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""All options of one run, each with its single value."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parsers.model_config import ModelConfig
from parsers.options import RETIRED, ConfigError, near, options_of, parts, show
from parsers.training_config import SPIKES, TrainingConfig

OPTIONS = options_of(ModelConfig, TrainingConfig)
SHD_CHANNELS = 700


@dataclass(frozen=True)
class Config:
    """One run: the network and its training, every value resolved and single."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def values(self) -> dict[str, Any]:
        """Every value by option name."""
        return vars(self.model) | vars(self.training)

    def to_dict(self) -> dict[str, bool | int | float | str | None]:
        """Every value by option name, in types that YAML and JSON know; a valid flat config."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in self.values().items()
        }

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Config":
        """The config with these values, in their types; missing options take their defaults."""
        sections = (
            kind(**{name: values[name] for name in options_of(kind) if name in values})
            for kind in (ModelConfig, TrainingConfig)
        )
        return cls(*sections)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """The config whose `to_dict` is `values`; missing options take their defaults.

        Raises ConfigError for an unknown name, a wrong type, or a value out of range.
        """
        converted = {}
        for name, value in values.items():
            if name in RETIRED:
                continue
            if name not in OPTIONS:
                raise ConfigError(f"unknown option {show(name)}{near(str(name), OPTIONS)}")
            (converted[name],) = OPTIONS[name].read([value], name)
        config = cls.of(converted)
        config.check()
        return config

    def check(self) -> None:
        """Raise ConfigError if options that are valid one by one contradict each other."""
        values = self.values()
        for name, option in OPTIONS.items():
            value, needs, limit = values[name], option.rules.only_for, option.rules.not_above
            if needs and value != option.default and not needs.are_met(values):
                other = f"--{needs.option} {values[needs.option]}"
                raise ConfigError(f"--{name} {value} is for {needs}, not for {other}")
            if limit and value > values[limit]:
                raise ConfigError(f"--{name} {value} is larger than --{limit} {values[limit]}")
        _check_layers(self.model)
        _check_command(self.training)
        if SPIKES.are_met(values):
            _check_spikes(self.training)

    def without_effect(self) -> dict[str, str]:
        """The options that have no effect in this run, and what they are for."""
        values, found = self.values(), {}
        for name, option in OPTIONS.items():
            needs = option.rules.needs
            if self.training.evaluate_pretrained and not option.rules.in_tests:
                found[name] = "training"
            elif needs and not needs.are_met(values):
                found[name] = str(needs)
        return found


def _check_layers(model: ModelConfig) -> None:
    types, hidden = parts(model.model_type), model.nb_layers - 1
    if len(types) not in (1, hidden):
        raise ConfigError(
            f"--model_type {model.model_type} is for {len(types)} hidden layers, and --nb_layers "
            f"{model.nb_layers}, with the readout, makes {hidden}"
        )


def _check_command(training: TrainingConfig) -> None:
    if training.resume is not None and training.overwrite:
        raise ConfigError("--resume continues a run and --overwrite replaces it: choose one")
    if training.resume is not None and training.evaluate_pretrained:
        raise ConfigError("--resume continues training; --evaluate_pretrained True does not train")


def _check_spikes(training: TrainingConfig) -> None:
    channels, rest = divmod(SHD_CHANNELS, training.spatial_bin)
    if rest:
        raise ConfigError(
            f"--spatial_bin {training.spatial_bin} does not divide the {SHD_CHANNELS} channels of "
            f"--dataset_name {training.dataset_name}"
        )
    if training.augm_channel_shift >= channels:
        raise ConfigError(
            f"--augm_channel_shift {training.augm_channel_shift} moves clips out of the {channels} "
            f"channels that --spatial_bin {training.spatial_bin} leaves"
        )
    if training.augm_time_shift >= training.max_time:
        raise ConfigError(
            f"--augm_time_shift {training.augm_time_shift} moves clips out of --max_time "
            f"{training.max_time}"
        )
