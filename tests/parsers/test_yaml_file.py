# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

import dataclasses

import pytest

from parsers.load import Config

PUBLISHED_LAYOUT = """\
program: main.py
method: grid
metric: {name: accuracy, goal: maximize}
name: sweep
parameters:
  model_type: {values: [RF, CSiLIF]}
  lr: {value: 0.02}
  seed: {values: [1, 2, 3]}
"""


def test_precedence_is_default_then_yaml_then_command_line(repository):
    repository.write("lr: 0.02\nbatch_size: 32\nseed: [1, 2]\n")
    plan = repository.plan("--config=mine.yaml", "--lr", "0.3", "--seed", "5")
    training = plan.points[0].training
    assert (training.lr, training.batch_size, training.nb_epochs) == (0.3, 32, 100)
    assert [point.training.seed for point in plan.points] == [5]


def test_published_layout(repository):
    repository.write(PUBLISHED_LAYOUT)
    plan = repository.plan("--config=mine.yaml")
    assert plan.axes == {"model_type": ("ResonateFire", "CSiLIF"), "seed": (1, 2, 3)}
    assert len(plan.points) == 6
    assert plan.points[0].training.lr == 0.02


def test_a_typed_grid_replaces_the_axis_of_the_config(repository):
    repository.write("lr: [0.1, 0.2, 0.3]\nseed: 4\n")
    assert repository.plan("--config", "mine", "--lr", "0.5", "0.6").axes == {"lr": (0.5, 0.6)}
    assert repository.plan("--config", "mine", "--lr", "0.5").axes == {}


@pytest.mark.parametrize(
    ("name", "texts", "value"),
    [
        ("lr", ("1e-2", "'0.01'", "[0.01]", "{value: 1.0e-2}", "{values: [.01]}"), 0.01),
        ("lr", ("1", "+1", "1.0"), 1.0),
        ("nb_hiddens", ("010", "'10'", "+10"), 10),  # YAML 1.1 says 8
        ("use_bias", ("true", "True", "yes", "1", "'True'"), True),
        ("overwrite", ("true", "yes", "1"), True),
        ("load_exp_folder", ("", "~", "null", "None"), None),
        ("sweep_id", ("", "~", "null", "None"), None),
        ("model_type", ("SiLIF+rf", "[[SiLIF, RF]]", "{value: [SiLIF, RF]}"), "SiLIF+ResonateFire"),
    ],
)
def test_spellings_of_a_value(repository, name, texts, value):
    for text in texts:
        repository.write(f"{name}: {text}\n")
        found = repository.plan("--config=mine").points[0].values()[name]
        assert (found, type(found)) == (value, type(value))


def test_a_grid_of_mixed_and_other_networks(repository):
    repository.write("model_type: [LIF, [LIF, CSiLIF], SiLIF+RadLIF]\nnb_layers: 3\n")
    axis = ("LIF", "LIF+CSiLIF", "SiLIF+RadLIF")
    plan = repository.plan("--config=mine", "--seed=1")
    assert plan.axes == {"model_type": axis}
    assert [Config.from_dict(p.to_dict()).model.model_type for p in plan.points] == list(axis)


@pytest.mark.parametrize(
    "text",
    [
        "state_size: [16, 32]\ns4_opt: true\nseed: 1\n",
        "parameters: {state_size: {values: [16, 32]}, s4_opt: {value: 1}, seed: {value: 1}}\n",
    ],
)
def test_retired_options_are_accepted_with_a_note(repository, text):
    repository.write(text)
    plan = repository.plan("--config=mine", "--state_size", "16", "32", "--s4_opt", "False")
    assert plan == dataclasses.replace(repository.plan("--config=mine"), notes=plan.notes)
    assert [note.split(" has ")[0] for note in plan.notes] == ["--state_size", "--s4_opt"]
    assert plan.points == repository.plan("--seed=1").points
    repository.write("seed: 1\nby_model:\n  SiLIF: {s4_opt: true, lr: 0.5}\n")
    assert repository.plan("--config=mine").points[0].training.lr == 0.5
    repository.write("s4_opt: fast\n")
    assert "'fast' is not a boolean" in repository.error("--config=mine", "--list_points")
    assert "'big' is not a whole number" in repository.error("--state_size", "big")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("learning: 3\nlrr: 0.1\n", ["unknown key 'learning'"]),
        ("nb_hidden: 3\n", ["'nb_hidden'", "did you mean 'nb_hiddens'"]),
        ("parameters: {nb_hidden: {value: 3}}\n", ["'nb_hidden'", "did you mean 'nb_hiddens'"]),
        ("method: grid\nlr: 0.1\n", ["unknown key 'method'"]),
        ("lr: 0.1\nseed: 1\nlr: 0.2\n", ["line 3", "'lr'", "twice", "line 1"]),
        ("parameters:\n  lr: {value: 1, value: 2}\n", ["line 2", "'value'", "twice"]),
        ("? [1, 2]\n: 3\n", ["line 1", "key must be a name"]),
        ("~: 3\n", ["key must be a name"]),
        ("- lr\n- seed\n", ["a list"]),
        ("lr\n", ["a single value"]),
        ("", ["is empty"]),
        ("lr: [0.1, 0.2\nseed: 3\n", ["line 2"]),
        ("lr: 0.1\n\tseed: 3\n", ["line 2"]),
        ("lr: *nowhere\n", ["line 1", "nowhere"]),
        ("lr: 0.1\n---\nlr: 0.2\n", ["line 2"]),
        ("lr: &a [*a]\n", ["line 1"]),
        ("lr: \x01\n", ["'\\x01'"]),
        ("[" * 5000, ["nested"]),
        (b"lr: 0.1 # \xff\n", ["UTF-8"]),
        ("parameters:\n", ["parameters must hold"]),
        ("parameters: [1]\n", ["parameters must hold"]),
        ("parameters: {seed: {value: 3}}\nlr: 0.1\n", ["'lr'", "below parameters"]),
        ("parameters: {seed: {value: 3}}\nfoo: 0.1\n", ["'foo'", "remove it"]),
        ("lr: {min: 0.1, max: 0.2}\n", ["lr", "value or values", "'min'"]),
        ("lr: {value: 1, values: [1]}\n", ["lr", "value or values"]),
        ("lr: {values: 0.1}\n", ["lr", "values must be a list"]),
        ("lr: {value: [0.1]}\n", ["lr", "single value"]),
        ("lr: []\n", ["lr", "empty list"]),
        ("lr: [0.1, 0.1]\n", ["lr", "0.1 more than once"]),
        ("model_type: [[SiLIF, GRU]]\n", ["model_type", "GRU cannot be joined"]),
        ("model_type: [[]]\n", ["model_type", "a list, not a single value"]),
        ("model_type: [[SiLIF, LIF, RLIF]]\n", ["SiLIF+LIF+RLIF is for 3 hidden", "--nb_layers 3"]),
        ("lr: [[0.1]]\n", ["lr", "a list, not a single value"]),
        ("lr: [{a: 1}]\n", ["lr", "a mapping, not a single value"]),
        ("lr:\n", ["lr", "no value"]),
        ("lr: .nan\n", ["lr", "'.nan'"]),
        ("nb_layers: 3.0\n", ["nb_layers", "'3.0'", "whole"]),
        ("batch_size: [32, 64]\n", ["batch_size", "takes one value; '64' is one too many"]),
        ("model_type: silf\n", ["model_type", "did you mean 'SiLIF'"]),
        ("data_folder: ''\n", ["data_folder", "is empty"]),
        ("use_augm: true\n", ["--use_augm"]),
    ],
)
def test_wrong_configs_are_named_in_one_line(repository, text, named):
    path = repository.write(text)
    message = repository.error("--config=mine.yaml")
    for part in [str(path), *named]:
        assert part in message


def test_tags_that_build_python_objects_are_refused(repository):
    repository.write("lr: !!python/object/apply:os.getpid []\n")
    assert "asks for a Python object" in repository.error("--config=mine")


def test_byte_order_mark_is_accepted(repository):
    repository.write(b"\xef\xbb\xbflr: 0.5\n")
    assert repository.plan("--config=mine").points[0].training.lr == 0.5


def test_a_path_comes_before_the_configs_folder(repository):
    repository.write("lr: 0.1\n")
    (repository.cwd / "mine.yaml").write_text("lr: 0.2\n")
    plan = repository.plan("--config=mine.yaml")
    assert plan.points[0].training.lr == 0.2
    assert plan.config_file == repository.cwd / "mine.yaml"
    (repository.cwd / "mine.yaml").unlink()
    (repository.cwd / "mine.yaml").mkdir()
    assert repository.plan("--config=mine.yaml").points[0].training.lr == 0.1


def test_missing_config_says_where_it_looked_and_what_is_near(repository):
    repository.write("lr: 0.1\n", "shd_silif.yaml")
    for name in ("shd_silf.yaml", "shd_silf"):
        message = repository.error("--config", name)
        assert name in message
        assert str(repository.cwd) in message
        assert str(repository.configs) in message
        assert "did you mean 'shd_silif.yaml'" in message
    assert "shd_silif.yaml" in repository.error("--config", "zzz")
    assert "/no/such.yaml is not a file" in repository.error("--config", "/no/such.yaml")


def test_config_that_is_a_folder_or_nothing(repository):
    assert "is a folder" in repository.error("--config", str(repository.configs))
    assert "--config is empty" in repository.error("--config", "")
    assert "is not a file" in repository.error("--config", "x" * 5000)


def test_the_place_of_a_cross_check_names_the_config(repository):
    path = repository.write("spatial_bin: 3\n")
    message = repository.error("--config=mine")
    assert "--spatial_bin 3" in message
    assert str(path) in message
