# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whether a network meets the data that it was trained on: data.json in the folder of a run.

Labels are numbers. Where a word is added to a folder of recordings, or taken out, the words behind
it get other numbers, and nothing else in a checkpoint would show it.
"""

import json
from dataclasses import replace
from pathlib import Path

from datasets.binning import NB_UNITS
from datasets.files import readable
from datasets.interface import Data
from datasets.registry import DATASETS
from parsers.training_config import TrainingConfig
from training.data.loading import DataCache, data_record
from training.errors import ExperimentError

NAME = "data.json"


def recorded(folder: Path) -> dict | None:
    """What ``folder`` says of its data; None for one that says nothing.

    Raises ExperimentError if it cannot be read.
    """
    path = folder / NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        parts = {name: dict(found[name]) for name in ("clips", "checksums")}
        return {**found, **parts, "classes": [readable(str(name)) for name in found["classes"]]}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError):
        raise ExperimentError(f"{path} is not readable: remove it to continue without it") from None


def data_of(folder: Path, options: TrainingConfig, cache: DataCache) -> Data:
    """The data of ``options`` as the network in ``folder`` met them, by its data.json.

    Unless ``options`` name a sampling rate or a number of channels, it is that of the training.
    Networks of earlier versions have as many outputs as the published data set has classes, and
    numbers for names, also where ``extra/keys`` names others: their data get these classes.

    Raises:
        ExperimentError: the classes of the network are others.
        DataError: a fault in the files.
    """
    before = recorded(folder)
    if before is None or before.get("dataset_name") != options.dataset_name:
        return cache.get(options)
    data = cache.get(as_recorded(before, options))
    then, now = before["classes"], list(data.classes)
    if then == DATASETS[options.dataset_name].unnamed_classes and len(now) <= len(then):
        return replace(data, classes=then)
    if then != now:
        raise ExperimentError(
            f"{folder} was trained on {len(then)} classes, and {options.data_folder or 'the data'} "
            f"has {len(now)}: {difference(then, now)}. Labels would mean other words; name the "
            "data it was trained on with --data_folder"
        )
    return data


def as_recorded(record: dict | None, options: TrainingConfig) -> TrainingConfig:
    """``options`` with the sampling rate and the number of channels of a record, where they name
    none. Networks of earlier versions have 700 channels, whatever the files hold."""
    if record is None:
        return options
    return replace(
        options,
        sample_rate=options.sample_rate or record.get("sample_rate") or 0,
        nb_channels=options.nb_channels or record.get("nb_channels", NB_UNITS),
    )


def difference(then: list[str], now: list[str]) -> str:
    """How two lists of names differ, in words."""
    parts = []
    for names, others, what in ((then, now, "is missing"), (now, then, "is new")):
        only = [name for name in names if name not in others]
        if only:
            more = f" (and {len(only) - 1} more)" if len(only) > 1 else ""
            parts.append(f"{only[0]!r}{more} {what}")
    return ", ".join(parts) or "their order differs"


def check_unchanged(folder: Path, options: TrainingConfig, data: Data) -> None:
    """Whether a training in ``folder`` can be resumed with ``data``.

    Raises ExperimentError if numbers of clips or contents are not what they were.
    """
    before, now = recorded(folder), data_record(options, data)
    if before is None:
        return
    changes = [
        f"it had {then:,} {name} clips, and there are {count:,} now"
        for name, count in now["clips"].items()
        if (then := before["clips"].get(name, count)) != count
    ]
    changes += [
        f"its data have changed since ({name})"
        for name, found in now["checksums"].items()
        if before["checksums"].get(name, found) != found
    ]
    if changes:
        raise ExperimentError(
            f"cannot resume {folder}: {changes[0]}; restore the data, or start again with "
            "--new_exp_folder"
        )
