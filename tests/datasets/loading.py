# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Loading a data set as a run does, with small defaults."""

from datasets.interface import SPLITS, Data
from datasets.registry import DATASETS
from parsers.load import Config

SMALL = {"nb_steps": 25, "num_workers": 2}


def load(name: str, folder, say=lambda line: None, splits=SPLITS, **options) -> Data:
    values = {"dataset_name": name, "data_folder": folder, **SMALL, **options}
    return DATASETS[name].load(Config.from_dict(values).training, splits, say)
