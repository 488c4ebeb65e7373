# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A model that is tested without a config brings the options it was trained with."""

import pytest
import yaml

from parsers.load import Config, ConfigError, load_plan


@pytest.fixture
def trained(tmp_path):
    options = Config.from_dict(
        {
            "model_type": "LIF",
            "nb_hiddens": 24,
            "nb_steps": 60,
            "batch_size": 48,
            "lr": 0.5,
            "seed": 7,
        }
    )
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(options.to_dict()))
    return folder


def test_its_network_and_data_are_taken_and_said(trained):
    plan = load_plan([str(trained), "--evaluate_pretrained", "True"])
    config = plan.points[0]
    assert (config.model.model_type, config.model.nb_hiddens) == ("LIF", 24)
    assert config.training.nb_steps == 60
    assert config.training.batch_size == 48
    assert config.training.lr == 0.01
    assert plan.axes == {"seed": (13, 42, 73, 190, 268)}
    assert str(trained / "config.yaml") in plan.notes[0]


def test_the_command_line_comes_before_it(trained):
    argv = ["--evaluate_pretrained", "True", "--load_exp_folder", str(trained), "--nb_steps", "80"]
    assert load_plan(argv).points[0].training.nb_steps == 80


def test_a_named_config_replaces_it(trained):
    argv = ["--config", "shd_silif", str(trained), "--evaluate_pretrained", "True"]
    assert load_plan(argv).points[0].model.model_type == "SiLIF"


def test_a_damaged_record_is_told(trained):
    (trained / "config.yaml").write_text("nb_hiddens: many\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: nb_hiddens"):
        load_plan([str(trained), "--evaluate_pretrained", "True"])
