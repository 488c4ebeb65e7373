# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Options that are valid one by one and cannot go together, or do nothing together."""

from collections.abc import Mapping
from typing import Any

from parsers.options import ConfigError, Option, parts
from parsers.training_config import SPIKES

SHD_CHANNELS = 700


def check_together(values: Mapping[str, Any], options: Mapping[str, Option]) -> None:
    """Raise ConfigError if `values`, one for each of `options`, cannot go together."""
    for name, option in options.items():
        value, needs, limit = values[name], option.rules.only_for, option.rules.not_above
        if needs and value != option.default and not needs.are_met(values):
            raise ConfigError(
                f"--{name} {value} is for {needs}, not for --{needs.option} {values[needs.option]}"
            )
        if limit and value > values[limit]:
            raise ConfigError(f"--{name} {value} is larger than --{limit} {values[limit]}")
    layers, hidden = parts(values["model_type"]), values["nb_layers"] - 1
    if len(layers) not in (1, hidden):
        raise ConfigError(
            f"--model_type {values['model_type']} is for {len(layers)} hidden layers, and "
            f"--nb_layers {values['nb_layers']}, with the readout, makes {hidden}"
        )
    if values["resume"] is not None and values["overwrite"]:
        raise ConfigError("--resume goes on with a run and --overwrite replaces it: choose one")
    if values["resume"] is not None and values["evaluate_pretrained"]:
        raise ConfigError("--resume goes on with training; --evaluate_pretrained True trains none")
    if SPIKES.are_met(values):
        _check_spikes(values)


def _check_spikes(values: Mapping[str, Any]) -> None:
    channels, rest = divmod(SHD_CHANNELS, values["spatial_bin"])
    if rest:
        raise ConfigError(
            f"--spatial_bin {values['spatial_bin']} does not divide the {SHD_CHANNELS} channels of "
            f"--dataset_name {values['dataset_name']}"
        )
    if values["augm_channel_shift"] >= channels:
        raise ConfigError(
            f"--augm_channel_shift {values['augm_channel_shift']} moves clips out of the "
            f"{channels} channels that --spatial_bin {values['spatial_bin']} leaves"
        )
    if values["augm_time_shift"] >= values["max_time"]:
        raise ConfigError(
            f"--augm_time_shift {values['augm_time_shift']} moves clips out of --max_time "
            f"{values['max_time']}"
        )


def without_effect(values: Mapping[str, Any], options: Mapping[str, Option]) -> dict[str, str]:
    """The options that do nothing beside the other `values`, and what they are for."""
    found = {}
    for name, option in options.items():
        needs = option.rules.needs
        if values["evaluate_pretrained"] and not option.rules.in_tests:
            found[name] = "training"
        elif needs and not needs.are_met(values):
            found[name] = str(needs)
    return found
