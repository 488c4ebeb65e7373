# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whole runs through main.py on folders of spoken words."""

import json
import shutil

import pytest

from datasets import recordings


@pytest.fixture
def train_words(train, words_folder, tmp_path):
    """Call main.py on the words; the summary of the run."""

    def call(**options):
        values = {"dataset_name": "sc", "data_folder": words_folder, "new_exp_folder": "out"}
        status = train(**{**values, "batch_size": 8, **options})
        assert status == 0
        return json.loads((tmp_path / "out" / "summary.json").read_text())

    return call


@pytest.mark.parametrize("model", ["RadLIF", "GRU"])
def test_a_model_trains_on_words(train_words, model):
    summary = train_words(model_type=model, nb_epochs=1)
    assert summary["dataset_name"] == "sc"
    assert summary["clips"] == {"train": 30, "valid": 9, "test": 9}
    assert summary["validated_on"] == "the dataset's own validation split"
    assert ("sop" in summary["test"]) == (model == "RadLIF")


def test_it_learns_and_starts_again_without_the_recordings(train_words, monkeypatch, capsys):
    options = {"nb_hiddens": 64, "pdrop": 0.0, "lr": 0.02, "nb_epochs": 15}
    options["bn_statistics"] = "recalibrated"  # running ones lag behind so few steps
    first = train_words(**options)
    assert first["test"]["accuracy"] > 0.75
    assert first["split_by"] == "validation_list.txt and testing_list.txt"
    assert first["files_left_out"] == 0
    monkeypatch.setattr(recordings, "read_recording", None)
    again = train_words(**options, new_exp_folder="again")
    assert again["test"]["accuracy"] == first["test"]["accuracy"]
    assert capsys.readouterr().out.count("split by validation_list.txt and testing_list.txt") == 2


def test_bad_files_are_refused_or_skipped(train, words_folder, tmp_path, capsys):
    data = shutil.copytree(words_folder, tmp_path / "data", ignore=lambda *_: [".frames"])
    bad = data / "rise" / "07.wav"
    bad.write_text("no sound")
    options = {"dataset_name": "sc", "data_folder": data, "nb_epochs": 1}
    assert train(**options) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"main.py: error: {bad} is no WAV or FLAC file")
    assert "--skip_bad_files True" in line
    assert not (tmp_path / "exp").exists()
    assert train(**options, skip_bad_files=True) == 0
    assert "1 bad file is skipped" in capsys.readouterr().out


def test_a_missing_data_folder_says_where_to_get_the_data(train, tmp_path, capsys):
    assert train(dataset_name="sc", data_folder=tmp_path / "GSC") == 2
    line = capsys.readouterr().err
    for part in (str(tmp_path / "GSC"), "speech_commands_v0.02.tar.gz", "--data_folder"):
        assert part in line
    assert train(skip_bad_files=True) == 2
    assert "--skip_bad_files" in capsys.readouterr().err
