# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A config may give single models options of their own."""

from pathlib import Path

import pytest

import main
from parsers.load import OPTIONS, ConfigError, load_plan
from training.tracking import wandb_sweep

CONFIG = """\
lr: 0.02
by_model:
  LIF:
    lr: 0.5
    nb_steps: 50
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"

    def write(text=CONFIG):
        path.write_text(text)
        return str(path)

    return write


def test_only_its_model_takes_them(config):
    argv = ["--config", config(), "--model_type", "LIF", "SiLIF", "--seed", "1"]
    lif, silif = (point.training for point in load_plan(argv).points)
    assert (lif.lr, lif.nb_steps) == (0.5, 50)
    assert (silif.lr, silif.nb_steps) == (0.02, 100)


def test_models_have_their_short_names(config):
    text = "by_model:\n  RF: {lr: 0.5}\n  c-silif: {lr: 0.3}\n  lif+silif: {lr: 0.1}\n"
    argv = ["--config", config(text), "--model_type", "RF", "CSiLIF", "LIF+SiLIF", "--seed", "1"]
    assert [point.training.lr for point in load_plan(argv).points] == [0.5, 0.3, 0.1]


def test_their_folders_are_relative_to_the_repository(repository):
    folders = "{data_folder: data/mine, load_exp_folder: ~/trained}"
    repository.write(f"seed: 1\nmodel_type: [LIF, SiLIF]\nby_model:\n  LIF: {folders}\n")
    lif, silif = (point.training for point in repository.plan("--config=mine").points)
    assert lif.data_folder == repository.root / "data" / "mine"
    assert lif.load_exp_folder == Path.home() / "trained"
    assert (silif.data_folder, silif.load_exp_folder) == (None, None)


def test_only_the_folder_of_a_model_that_is_tested_must_be_there(repository):
    (repository.cwd / "here").mkdir()
    section = "{load_exp_folder: nowhere}"
    repository.write(f"model_type: SiLIF\nby_model:\n  LIF: {section}\n")
    argv = ["--config=mine", "--evaluate_pretrained", "True", "--load_exp_folder", "here"]
    assert repository.plan(*argv).points[0].training.load_exp_folder == repository.cwd / "here"
    assert repository.plan(*argv, "--model_type", "LIF").points


def test_the_command_line_comes_before_them(config):
    argv = ["--config", config(), "--model_type", "LIF", "--lr", "0.3"]
    training = load_plan(argv).points[0].training
    assert (training.lr, training.nb_steps) == (0.3, 50)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("by_model: 3\n", "by_model must hold models"),
        ("by_model:\n  LIFF: {lr: 1}\n", "LIF"),
        ("parameters: {by_model: {LIF: {lr: 1}}}\n", "by_model cannot be inside parameters"),
        ("by_model:\n  LIF: 3\n", "LIF must hold options"),
        ("by_model:\n  LIF: {lrr: 1}\n", "unknown key"),
        ("by_model:\n  LIF: {lr: fast}\n", "LIF: lr"),
        ("by_model:\n  LIF: {lr: [1, 2]}\n", "takes one value"),
        ("by_model:\n  LIF: {seed: 3}\n", "takes one value"),
        ("by_model:\n  LIF: {pdrop: 3}\n", "pdrop"),
        ("by_model:\n  RF: {lr: 1}\n  ResonateFire: {pdrop: 0}\n", "ResonateFire is given twice"),
        *(
            (f"by_model:\n  LIF: {{{name}: 1}}\n", f"LIF: {name}: is the same for all models")
            for name, option in OPTIONS.items()
            if option.rules.scope != "run"
        ),
    ],
)
def test_mistakes_are_told_in_one_line(config, text, named):
    with pytest.raises(ConfigError) as caught:
        load_plan(["--config", config(text)])
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


TWINS = """\
model_type: [SiLIF, ResonateFire]
lr: [0.01, 0.02]
seed: [1, 2]
by_model: {ResonateFire: {lr: 0.1}}
"""


def test_runs_that_it_makes_equal_are_made_once(config, capsys):
    plan = load_plan(["--config", config(TWINS)])
    runs = [(p.model.model_type, p.training.lr, p.training.seed) for p in plan.points]
    silif = [("SiLIF", lr, seed) for lr in (0.01, 0.02) for seed in (1, 2)]
    assert runs == [*silif, ("ResonateFire", 0.1, 1), ("ResonateFire", 0.1, 2)]
    assert plan.combinations == 8
    (note,) = plan.notes
    assert note.startswith("by_model in ")
    assert note.endswith("makes runs of the grid equal: 6 of 8 remain, each made once")
    assert load_plan(["--config", config(TWINS), "--only_point", "6"]).only_point == 6
    assert main.main(["--config", config(TWINS), "--list_points"]) == 0
    folders = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
    assert len(set(folders)) == len(folders) == 6
    for flags, fault in (
        (["--only_point", "7"], "there are 6 runs"),
        (["--only_createsweep", "True"], "would hand them out twice"),
    ):
        with pytest.raises(ConfigError, match=fault):
            load_plan(["--config", config(TWINS), *flags])


def test_they_are_trained_here_and_not_as_a_sweep(config, monkeypatch):
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    monkeypatch.setattr(wandb_sweep.link, "mode", lambda _: wandb_sweep.ONLINE)
    argv = ["--config", config(TWINS)]
    unequal = load_plan([*argv, "--lr", "0.3", "0.4"])
    assert (len(unequal.points), unequal.notes) == (8, ())
    assert wandb_sweep.makes_sweep(unequal, 8)
    assert not wandb_sweep.makes_sweep(load_plan(argv), 6)
