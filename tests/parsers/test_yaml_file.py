# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.load import OPTIONS, Config, ConfigError, load_plan
from training.record import files
from training.tracking import wandb_sweep

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
    ("text", "named"),
    [
        ("nb_hidden: 3\n", ["'nb_hidden'", "did you mean 'nb_hiddens'"]),
        ("lr: 0.1\nseed: 1\nlr: 0.2\n", ["line 3", "'lr'", "twice", "line 1"]),
        ("parameters:\n  lr: {value: 1, value: 2}\n", ["line 2", "'value'", "twice"]),
        ("? [1, 2]\n: 3\n", ["line 1", "key must be a name"]),
        ("~: 3\n", ["key must be a name"]),
        ("- lr\n- seed\n", ["a list"]),
        ("lr\n", ["a single value"]),
        ("", ["is empty"]),
        ("lr: [0.1, 0.2\nseed: 3\n", ["line 2"]),
        ("parameters:\n", ["parameters must hold"]),
        ("parameters: {seed: {value: 3}}\nlr: 0.1\n", ["'lr'", "below parameters"]),
        ("parameters: {seed: {value: 3}}\nfoo: 0.1\n", ["'foo'", "remove it"]),
        ("lr: {min: 0.1, max: 0.2}\n", ["lr", "value or values", "'min'"]),
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
        ("batch_size: [32, 64]\n", ["batch_size", "takes one value; '64' is one too many"]),
        ("model_type: silf\n", ["model_type", "did you mean 'SiLIF'"]),
        ("data_folder: ''\n", ["data_folder", "is empty"]),
    ],
)
def test_wrong_configs_are_refused_in_one_line(repository, text, named):
    path = repository.write(text)
    message = repository.error("--config=mine.yaml")
    for part in [str(path), *named]:
        assert part in message


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


BY_MODEL = "lr: 0.02\nby_model:\n  LIF:\n    lr: 0.5\n    nb_steps: 50\n"


def test_options_by_model_apply_to_that_model_only(repository):
    repository.write(BY_MODEL)
    argv = ["--config=mine", "--model_type", "LIF", "SiLIF", "--seed", "1"]
    lif, silif = (point.training for point in repository.plan(*argv).points)
    assert (lif.lr, lif.nb_steps) == (0.5, 50)
    assert (silif.lr, silif.nb_steps) == (0.02, 100)
    lif, _ = (point.training for point in repository.plan(*argv, "--lr", "0.3").points)
    assert (lif.lr, lif.nb_steps) == (0.3, 50)  # the command line comes first


def test_by_model_takes_short_names_of_models(repository):
    repository.write("by_model:\n  RF: {lr: 0.5}\n  c-silif: {lr: 0.3}\n  lif+silif: {lr: 0.1}\n")
    argv = ["--config=mine", "--model_type", "RF", "CSiLIF", "LIF+SiLIF", "--seed", "1"]
    assert [point.training.lr for point in repository.plan(*argv).points] == [0.5, 0.3, 0.1]


def test_folders_by_model_are_relative_to_the_repository(repository):
    folders = "{data_folder: data/mine, load_exp_folder: ~/trained}"
    repository.write(f"seed: 1\nmodel_type: [LIF, SiLIF]\nby_model:\n  LIF: {folders}\n")
    lif, silif = (point.training for point in repository.plan("--config=mine").points)
    assert lif.data_folder == repository.root / "data" / "mine"
    assert lif.load_exp_folder == Path.home() / "trained"
    assert (silif.data_folder, silif.load_exp_folder) == (None, None)


def test_only_the_folder_of_a_model_that_is_tested_must_exist(repository):
    (repository.cwd / "here").mkdir()
    repository.write("model_type: SiLIF\nby_model:\n  LIF: {load_exp_folder: nowhere}\n")
    argv = ["--config=mine", "--evaluate_pretrained", "True", "--load_exp_folder", "here"]
    assert repository.plan(*argv).points[0].training.load_exp_folder == repository.cwd / "here"
    assert repository.plan(*argv, "--model_type", "LIF").points


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("parameters: {by_model: {LIF: {lr: 1}}}\n", "by_model cannot be inside parameters"),
        ("by_model:\n  LIF: 3\n", "LIF must hold options"),
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
def test_mistakes_in_by_model_are_refused_in_one_line(repository, text, named):
    repository.write(text)
    assert named in repository.error("--config=mine")


TWINS = """\
model_type: [SiLIF, ResonateFire]
lr: [0.01, 0.02]
seed: [1, 2]
by_model: {ResonateFire: {lr: 0.1}}
"""


def test_runs_that_by_model_makes_equal_are_made_once(repository, monkeypatch):
    path = repository.write(TWINS)
    plan = repository.plan("--config=mine")
    runs = [(p.model.model_type, p.training.lr, p.training.seed) for p in plan.points]
    silif = [("SiLIF", lr, seed) for lr in (0.01, 0.02) for seed in (1, 2)]
    assert runs == [*silif, ("ResonateFire", 0.1, 1), ("ResonateFire", 0.1, 2)]
    note = "makes runs of the grid equal: 6 of 8 remain, each made once"
    assert plan.notes == (f"by_model in {path} {note}",)
    assert len({*files.run_folders(plan)}) == 6
    assert repository.plan("--config=mine", "--only_point", "6").only_point == 6
    assert "there are 6 runs" in repository.error("--config=mine", "--only_point", "7")
    sweep = ["--config=mine", "--only_createsweep", "True"]
    assert "would hand them out twice" in repository.error(*sweep)

    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    monkeypatch.setattr(wandb_sweep.link, "mode", lambda _: wandb_sweep.ONLINE)
    unequal = repository.plan("--config=mine", "--lr", "0.3", "0.4")
    assert (len(unequal.points), unequal.notes) == (8, ())
    assert wandb_sweep.makes_sweep(unequal, 8)
    assert not wandb_sweep.makes_sweep(plan, 6)  # they are trained here


# Whatever a config or a command line says: runs that are in order, or one line.
FEW = settings(max_examples=40, derandomize=True, deadline=None, database=None)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1e-3", "0x10", "1_000", "-0", "~", "LIF", "shd", "auto", "../..", "a\nb"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
names = st.sampled_from([*OPTIONS, "parameters", "by_model", "lrr"])


def outcome(*argv):
    """Check the plan of a command line, or the one line that refuses it."""
    line = None
    try:
        plan = load_plan(list(argv))
    except ConfigError as error:
        line = str(error)
    if line is not None:
        assert line.strip()
        assert len(line.splitlines()) == 1
        return
    for point in plan.points:
        point.check()
        assert Config.from_dict(point.to_dict()) == point


@FEW
@given(content=st.dictionaries(names, values, max_size=4))
def test_any_options(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8", errors="replace")
    outcome("--config", str(path))


@FEW
@given(arguments=st.lists(st.sampled_from([*(f"--{n}" for n in OPTIONS), "--lr=1"]) | st.text()))
def test_any_command_line(arguments):
    if not {"-h", "--help"} & set(arguments):
        outcome(*arguments)
