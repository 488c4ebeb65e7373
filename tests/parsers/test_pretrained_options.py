# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A model that is tested without a config brings the options it was trained with."""

import pytest
import yaml

from parsers.load import Config, ConfigError, load_plan


@pytest.fixture
def trained(tmp_path):
    """The folder of a run of an earlier version."""
    given = {"nb_hiddens": 24, "nb_steps": 60, "batch_size": 48, "lr": 0.5, "seed": 7}
    options = Config.from_dict({"model_type": "LIF", **given}).to_dict()
    for name in ("surrogate", "surrogate_width", "readout", "loss", "label_smoothing"):
        del options[name]
    folder = tmp_path / "trained"
    folder.mkdir()
    text = yaml.safe_dump({**options, "state_size": 64, "s4_opt": False})
    (folder / "config.yaml").write_text(text)
    return folder


def test_its_network_and_data_are_taken_and_said(trained):
    plan = load_plan([str(trained), "--evaluate_pretrained", "True"])
    config = plan.points[0]
    assert (config.model.model_type, config.model.nb_hiddens) == ("LIF", 24)
    assert (config.training.nb_steps, config.training.batch_size) == (60, 48)
    assert config.training.lr == 0.01
    assert plan.axes == {"seed": (13, 42, 73, 190, 268)}
    note = f"options of the model and its data: those recorded in {trained / 'config.yaml'}"
    assert plan.notes == (note,)


def test_the_command_line_comes_before_it(trained):
    argv = ["--evaluate_pretrained", "True", "--load_exp_folder", str(trained), "--nb_steps", "80"]
    plan = load_plan([*argv, "--readout", "mean", "--surrogate", "atan"])
    assert plan.points[0].training.nb_steps == 80
    (note,) = other_options(plan)
    assert note.endswith("config.yaml: readout mean (softmax_sum), nb_steps 80 (60)")
    assert "--surrogate has no effect here: it is for training" in plan.notes


def test_a_resumed_run_brings_all_its_options(trained):
    argv = ["--resume", str(trained)]
    plan = load_plan(argv)
    (point,) = plan.points
    assert (point.training.lr, point.training.seed, point.model.nb_hiddens) == (0.5, 7, 24)
    assert point.training.new_exp_folder == trained
    assert plan.notes == (f"options of the run: those recorded in {trained / 'config.yaml'}",)
    for flags, fault in (
        (["--new_exp_folder", "other"], "remove --new_exp_folder"),
        (["--lr", "1", "2"], "give --lr one value"),
        (["--config", "demo"], "remove --config"),
    ):
        with pytest.raises(ConfigError, match=fault):
            load_plan([*argv, *flags])


def test_a_named_config_replaces_it(trained):
    argv = ["--config", "shd_silif", str(trained), "--evaluate_pretrained", "True"]
    assert load_plan(argv).points[0].model.model_type == "SiLIF"
    assert load_plan(["--config", str(trained / "config.yaml")]).notes == ()


def test_a_damaged_record_is_told(trained):
    (trained / "config.yaml").write_text("nb_hiddens: many\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: nb_hiddens"):
        load_plan([str(trained), "--evaluate_pretrained", "True"])


def other_options(plan):
    return [note for note in plan.notes if "options other than those recorded" in note]


def test_options_of_a_config_that_are_not_the_recorded_ones_are_noted(trained, tmp_path):
    config = tmp_path / "mine.yaml"
    text = "model_type: LIF\nnb_hiddens: 24\nbatch_size: 48\nlr: 0.3\npdrop: 0.5\nnb_steps: 100\n"
    evaluate = "evaluate_pretrained: true\nload_exp_folder: "
    config.write_text(text)
    typed = ["--config", str(config), str(trained), "--evaluate_pretrained", "True"]
    (note,) = other_options(load_plan(typed))
    assert note.endswith(f"{trained / 'config.yaml'}: nb_steps 100 (60)")
    config.write_text(f"{text}{evaluate}{trained}\n")
    assert other_options(load_plan(["--config", str(config)])) == [note]
    assert not other_options(load_plan([*typed, "--nb_steps", "60"]))
    assert not other_options(load_plan(["--config", str(config), "--evaluate_pretrained", "False"]))


def test_at_most_five_of_them_are_named(trained):
    typed = ["--use_bias=1", "--init_state=zero", "--nb_layers=4", "--nb_steps=80"]
    typed += ["--max_time=0.5", "--spatial_bin=10", "--batch_size=16"]
    (note,) = other_options(load_plan([str(trained), "--evaluate_pretrained", "True", *typed]))
    assert note.count("(") == 1 + 5
    assert ": nb_layers 4 (3), use_bias True (False), init_state zero (rand), nb_steps" in note
    assert note.endswith(" and 2 more")


@pytest.mark.parametrize("record", [None, "nb_hiddens: many\n", "- 1\n"])
def test_a_config_does_not_need_the_record(trained, record):
    path = trained / "config.yaml"
    path.unlink()
    if record is not None:
        path.write_text(record)
    argv = ["--config", "shd_silif", str(trained), "--evaluate_pretrained", "True"]
    assert not other_options(load_plan(argv))
