# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A config may give single models options of their own."""

import pytest

from parsers.load import ConfigError, load_plan

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


def test_the_command_line_comes_before_them(config):
    argv = ["--config", config(), "--model_type", "LIF", "--lr", "0.3"]
    training = load_plan(argv).points[0].training
    assert (training.lr, training.nb_steps) == (0.3, 50)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("by_model: 3\n", "by_model must hold models"),
        ("by_model:\n  LIFF: {lr: 1}\n", "LIF"),
        ("by_model:\n  LIF: 3\n", "LIF must hold options"),
        ("by_model:\n  LIF: {lrr: 1}\n", "unknown key"),
        ("by_model:\n  LIF: {lr: fast}\n", "LIF: lr"),
        ("by_model:\n  LIF: {lr: [1, 2]}\n", "takes one value"),
        ("by_model:\n  LIF: {seed: 3}\n", "takes one value"),
        ("by_model:\n  LIF: {pdrop: 3}\n", "pdrop"),
    ],
)
def test_mistakes_are_told_in_one_line(config, text, named):
    with pytest.raises(ConfigError) as caught:
        load_plan(["--config", config(text)])
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
