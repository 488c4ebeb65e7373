# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""All options of one run, each with its single value."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parsers.consistency import check_together, without_effect
from parsers.model_config import ModelConfig
from parsers.options import RETIRED, ConfigError, near, options_of, show
from parsers.training_config import TrainingConfig

OPTIONS = options_of(ModelConfig, TrainingConfig)


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
        """The config with these values, in their types; what is missing takes its default."""
        sections = (
            kind(**{name: values[name] for name in options_of(kind) if name in values})
            for kind in (ModelConfig, TrainingConfig)
        )
        return cls(*sections)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """The config whose `to_dict` is `values`; what is missing takes its default.

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
        """Raise ConfigError if options that are valid one by one cannot go together."""
        check_together(self.values(), OPTIONS)

    def without_effect(self) -> dict[str, str]:
        """The options that do nothing in this run, and what they are for."""
        return without_effect(self.values(), OPTIONS)
