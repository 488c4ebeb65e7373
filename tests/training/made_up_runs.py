# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Folders of runs with figures that are made up, and the table of them."""

import csv
import io

from parsers.load import Config
from training.record import files
from training.results import __main__ as results


def write_run(folder, accuracy=0.8, finished=True, epochs=3, **options):
    """A run as training leaves it, with figures that are made up."""
    values = {"nb_epochs": epochs, **options}
    values = Config.from_dict({"dataset_name": "ssc", "seed": 1, **values}).to_dict()
    folder.mkdir(parents=True)
    files.write_yaml(folder / "config.yaml", values)
    for epoch in range(1, epochs + 1 if finished else epochs):
        for split in ("train", "valid"):
            figures = {"loss": 2.0 / epoch + accuracy, "accuracy": accuracy * epoch / epochs}
            files.append_line(folder / "metrics.jsonl", {"epoch": epoch, "split": split, **figures})
    if not finished:
        return folder
    test = {"accuracy": accuracy, "loss": 1.0, "sop": 1000 * accuracy}
    files.append_line(folder / "metrics.jsonl", {"epoch": epochs, "split": "test", **test})
    summary = {
        "model_type": values["model_type"],
        "dataset_name": "ssc",
        "seed": values["seed"],
        "best_epoch": epochs,
        "epochs": epochs,
        "validated_on": "the dataset's own validation split",
        "valid": {"accuracy": accuracy + 0.01, "loss": 0.9},
        "test": test,
        "parameters": 12345,
        "state_variables": 2048,
        "seconds": 90.0,
        "seconds_per_epoch": 30.0,
        "data_checksums": {"ssc_train.h5": "abc"},
    }
    files.write_json(folder / "summary.json", summary)
    return folder


def call(*argv):
    return results.main([str(arg) for arg in argv])


def table_of(capsys, *argv):
    """The rows of the CSV, and what was said beside it."""
    assert call(*argv, "--csv") == 0
    said = capsys.readouterr()
    return list(csv.DictReader(io.StringIO(said.out))), said.err
