# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Folders of runs that name none: apart where runs differ, and found again by --resume auto."""

import shutil
from pathlib import Path

import pytest

from parsers.load import load_plan
from training.record import files

PUBLISHED = "shd_100steps_SiLIF_3lay512_lr0_01_drop0_1"


def folders(*argv: str) -> list[str]:
    return [path.name for path in files.run_folders(load_plan(argv))]


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """Leave what a run leaves that was begun by a command line; its folder."""
    monkeypatch.chdir(tmp_path)

    def begin(*argv: str) -> Path:
        plan = load_plan(argv)
        (folder,) = files.run_folders(plan)
        files.lay_out(folder, plan.points[0].to_dict(), {})
        return folder

    return begin


@pytest.mark.parametrize(
    ("typed", "added"),
    [
        ("", ""),
        ("--batch_size 128 --num_workers 3 --gpu_device 1 --debug", ""),  # the same run
        ("--batch_size 64 --nb_epochs 30 --precision bf16", "_batch64_epochs30_bf16"),
        ("--data_folder a/words --max_grad_norm 0.5", "_words_max_grad_norm0_5"),
        ("--load_exp_folder out/run7", ""),
        ("--load_exp_folder out/run7 --start_epoch 3", "_start_epoch3_load_exp_folderrun7"),
    ],
)
def test_a_name_holds_what_the_command_line_changes(typed, added):
    (name,) = folders("--dataset_name", "shd", "--seed", "13", *typed.split())
    assert name == f"{PUBLISHED}{added}_seed13"


def test_a_config_is_what_a_name_is_compared_with():
    short = folders("--config=demo.yaml", "--debug")
    assert folders("--config=demo.yaml", "--debug", "--batch_size", "32") == short
    assert "_batch64_" in folders("--config=demo.yaml", "--debug", "--batch_size", "64")[0]


def test_audio_has_no_steps_and_long_names_end():
    assert folders("--dataset_name=sc", "--seed=1") == ["sc_SiLIF_3lay512_lr0_01_drop0_1_seed1"]
    (name,) = folders("--data_folder", "x" * 200, "--seed", "1")
    assert len(name) < 80


def test_runs_that_share_a_name_get_folders_of_their_own(begun):
    one = begun("--data_folder=one/words", "--seed=1")
    other = begun("--data_folder=two/words", "--seed=1")
    assert one != other
    assert begun("--data_folder=one/words", "--seed=1") == one
    assert begun("--data_folder=two/words", "--seed=1") == other
    assert begun("--data_folder=two/words", "--seed=1", "--resume=auto") == other


def test_a_run_under_an_older_name_is_resumed(begun):
    typed = ["--dataset_name=sc", "--batch_size=64", "--nb_epochs=5", "--seed=1"]
    older = Path("exp/test_exps/sc_100steps_SiLIF_3lay512_lr0_01_drop0_1_seed1")
    begun(*typed).rename(older)
    assert begun(*typed, "--resume=auto") == older
    more = [word.replace("=5", "=9") for word in typed]
    assert begun(*more, "--resume=auto") == older
    for changed in ("--nb_epochs=4", "--batch_size=32", "--data_folder=other"):
        others = [word for word in typed if word.split("=")[0] != changed.split("=")[0]]
        assert begun(*others, changed, "--resume=auto") != older


def test_data_that_were_moved_are_found(begun, tmp_path):
    (tmp_path / "before").mkdir()
    run = begun("--data_folder=before", "--seed=1")
    assert begun("--data_folder=after", "--seed=1", "--resume=auto") != run
    shutil.rmtree("exp")
    run = begun("--data_folder=before", "--seed=1")
    (tmp_path / "before").rename(tmp_path / "after")
    assert begun("--data_folder=after", "--seed=1", "--resume=auto") == run


def test_a_second_data_folder_and_a_third_that_is_not_there(train, spikes_folder, tmp_path, capsys):
    shutil.copytree(spikes_folder, tmp_path / "own" / "spikes0")
    assert train(nb_epochs=1) == 0
    assert train(nb_epochs=1, data_folder="own/spikes0") == 0
    assert train(nb_epochs=1) == 2
    assert "already holds an experiment" in capsys.readouterr().err
    assert train(nb_epochs=1, data_folder="/nope") == 2
    assert "no folder /nope" in capsys.readouterr().err
    used = next(tmp_path.glob("exp/test_exps/*"))
    assert train(nb_epochs=1, data_folder="/nope", new_exp_folder=used) == 2
    assert "no folder /nope" in capsys.readouterr().err
    assert train(dataset_name="sc", data_folder=used, new_exp_folder=used) == 2
    assert "has no folders of words" in capsys.readouterr().err
