# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whole runs through main.py on folders of spoken words."""

import json
import shutil

import pytest
import torch

import main
from datasets import recordings
from models.anns import LAYERS as ANN_LAYERS
from models.snns import LAYERS as SNN_LAYERS
from training.record import checkpoint

MODELS = [*SNN_LAYERS, *ANN_LAYERS]


@pytest.fixture
def train_words(train, words_folder, tmp_path):
    """Call main.py on the words; the summary of the run."""

    def call(**options):
        values = {"dataset_name": "sc", "data_folder": words_folder, "new_exp_folder": "out"}
        status = train(**{**values, "batch_size": 8, **options})
        assert status == 0
        return json.loads((tmp_path / "out" / "summary.json").read_text())

    return call


@pytest.mark.parametrize("model", MODELS)
def test_every_model_trains_on_words(train_words, model):
    summary = train_words(model_type=model, nb_epochs=1)
    assert summary["dataset_name"] == "sc"
    assert summary["clips"] == {"train": 30, "valid": 9, "test": 9}
    assert summary["validated_on"] == "the dataset's own validation split"
    assert ("sop" in summary["test"]) == (model in SNN_LAYERS)


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


def test_default_folders_have_the_published_names(train, words_folder, tmp_path):
    options = {"dataset_name": "gsc", "data_folder": words_folder, "nb_steps": 100}
    assert train(**options, nb_epochs=1, nb_hiddens=512, nb_layers=2) == 0
    (folder,) = (tmp_path / "exp" / "test_exps").iterdir()
    assert folder.name == "sc_100steps_SiLIF_2lay512_lr0_01_drop0_1_seed13"


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


class Crash(BaseException):
    """Nothing that the program does after it counts, as after kill -9."""


def test_a_crashed_augmented_run_goes_on_as_if_it_had_not(train_words, tmp_path, monkeypatch):
    options = {
        "nb_epochs": 2,
        "use_augm": True,
        "augm_time_shift": 0.02,
        "augm_time_mask": 3,
        "augm_freq_mask": 5,
        "checkpoint_minutes": 1e-9,
    }
    train_words(new_exp_folder="out", **options)
    whole = last_state(tmp_path / "out")
    saves, save = iter(range(100)), checkpoint.save_state

    def save_then_crash(*args):
        save(*args)
        if next(saves) == 5:
            raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_state", save_then_crash)
        with pytest.raises(Crash):
            train_words(new_exp_folder="crashed", **options)
    assert main.main(["--resume", "crashed"]) == 0
    crashed = last_state(tmp_path / "crashed")
    assert whole["best"]["valid"]["loss"] == crashed["best"]["valid"]["loss"]
    for name, weights in whole["model"].items():
        assert torch.equal(weights, crashed["model"][name]), name


def last_state(folder):
    return torch.load(folder / checkpoint.LAST, weights_only=True)
