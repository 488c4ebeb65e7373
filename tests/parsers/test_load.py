# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

import json
from pathlib import Path

import pytest
import yaml

from parsers.load import OPTIONS, Config, ConfigError, load_plan
from parsers.options import ELSEWHERE

EVALUATE = ("--evaluate_pretrained", "True")


@pytest.fixture
def shelf(repository):
    """A repository with two reference models."""
    for name in ("ref_SSC_SiLIF", "ref_SSC_RF"):
        (repository.root / "reference_models" / name).mkdir(parents=True)
    repository.write("load_exp_folder: reference_models/ref_SSC_SiLIF\n")
    return repository.root / "reference_models"


def loaded(plan) -> Path:
    return plan.points[0].training.load_exp_folder


def test_every_option_is_declared_soundly():
    for option in OPTIONS.values():
        assert option.rules.help
        assert option.kind in (bool, int, float, str, Path)
        if option.default is not None:
            assert option.read(option.default_values, "here") == option.default_values
            assert isinstance(option.default, option.kind)
            assert option.default_values[0] == option.default


def test_round_trip_through_dict_yaml_json_and_a_saved_config(repository):
    repository.write("lr: [1e-6, 0.2]\nmodel_type: C-SiLIF\ndata_folder: ./data\nuse_bias: yes\n")
    for point in repository.plan("--config=mine", "--overwrite").points:
        values = point.to_dict()
        repository.write(yaml.safe_dump(values), "saved.yaml")
        assert repository.plan("--config=saved").points == (point,)
        assert Config.from_dict(values) == point
        assert Config.from_dict(yaml.safe_load(yaml.safe_dump(values))) == point
        assert Config.from_dict(json.loads(json.dumps(values))) == point


def test_from_dict_takes_defaults_for_what_is_missing():
    assert Config.from_dict({}) == Config()
    assert Config.from_dict({"lr": 1}).training.lr == 1.0
    assert Config.from_dict({"data_folder": Path("/x")}).training.data_folder == Path("/x")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"lrr": 1}, "'lrr'; did you mean 'lr'"),
        ({"nb_layers": True}, "nb_layers"),
        ({"lr": [0.1, 0.2]}, "lr"),
        ({"spatial_bin": 3}, "--spatial_bin"),
    ],
)
def test_from_dict_checks(values, named):
    with pytest.raises(ConfigError, match=named):
        Config.from_dict(values)


def test_names_from_elsewhere_lead_to_options():
    assert ELSEWHERE.keys() <= OPTIONS.keys()
    with pytest.raises(ConfigError, match="'learning_rate'; did you mean 'lr'"):
        Config.from_dict({"learning_rate": 1})


def test_folders_of_a_config_are_relative_to_the_repository(repository, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    repository.write("data_folder: ./data/SHD\nnew_exp_folder: exp/mine\n")
    training = repository.plan("--config=mine").points[0].training
    assert training.data_folder == repository.root / "data" / "SHD"
    assert training.new_exp_folder == repository.root / "exp" / "mine"
    typed = repository.plan("--config=mine", "--data_folder", "here").points[0].training
    assert typed.data_folder == repository.cwd / "here"
    assert typed.new_exp_folder == repository.root / "exp" / "mine"
    repository.write("data_folder: ~/SHD\nnew_exp_folder: /scratch/out\n")
    training = repository.plan("--config=mine").points[0].training
    assert training.data_folder == Path("/home/someone/SHD")
    assert training.new_exp_folder == Path("/scratch/out")


@pytest.mark.parametrize(
    "argv",
    [
        ["--config=mine.yaml", *EVALUATE],
        ["--config=mine.yaml", "ref_SSC_SiLIF", *EVALUATE],
        ["ref_SSC_SiLIF", "--config=mine.yaml", *EVALUATE],
        ["--config", "mine.yaml", *EVALUATE, "ref_SSC_SiLIF"],
        ["ref_SSC_SiLIF", *EVALUATE],
        ["reference_models/ref_SSC_SiLIF", *EVALUATE],
        ["--load_exp_folder", "ref_SSC_SiLIF", *EVALUATE],
        ["--seed", "1", "2", "3", "4", "5", "ref_SSC_SiLIF", *EVALUATE],
        ["--load_exp_folder", "../repo/reference_models/ref_SSC_SiLIF", *EVALUATE],
    ],
)
def test_ways_to_name_a_reference_model(repository, shelf, argv):
    plan = repository.plan(*argv)
    assert loaded(plan) == shelf / "ref_SSC_SiLIF"
    assert len(plan.points) == 5


def test_the_positional_folder_overrides_config_and_flag(repository, shelf):
    plan = repository.plan(
        "--config=mine", "ref_SSC_RF", "--load_exp_folder", "ref_SSC_SiLIF", *EVALUATE
    )
    assert loaded(plan) == shelf / "ref_SSC_RF"


def test_a_folder_here_comes_before_the_reference_models(repository, shelf):
    (repository.cwd / "ref_SSC_RF").mkdir()
    assert loaded(repository.plan("ref_SSC_RF", *EVALUATE)) == repository.cwd / "ref_SSC_RF"


def test_a_config_trains_without_its_reference_model(repository):
    repository.write("load_exp_folder: reference_models/ref_SSC_SiLIF\n")
    plan = repository.plan("--config=mine")
    assert loaded(plan) == repository.root / "reference_models" / "ref_SSC_SiLIF"
    assert "is not a folder" in repository.error("--config=mine", *EVALUATE)


def test_a_missing_pretrained_model_lists_what_is_there(repository, shelf):
    message = repository.error("ref_SSC_SLIF", *EVALUATE)
    assert "ref_SSC_SLIF is not a folder; did you mean 'ref_SSC_SiLIF'" in message
    assert "has ref_SSC_RF, ref_SSC_SiLIF" in message


def test_a_missing_model_of_the_authors_leads_to_the_readme(repository):
    message = repository.error("ref_SSC_SiLIF", *EVALUATE)
    assert "ref_SSC_SiLIF is not a folder: the authors' models are not here" in message
    assert message.endswith("reference_models/README.md says how to add them")


def test_a_pretrained_file_is_refused(repository):
    (repository.cwd / "best.pth").touch()
    assert "best.pth is a file" in repository.error("best.pth", *EVALUATE)
    assert "reference_models has no models" in repository.error("best", *EVALUATE)


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (EVALUATE, ["--evaluate_pretrained", "--load_exp_folder"]),
        (("ref_SSC_SiLIF",), ["'ref_SSC_SiLIF'", "add --evaluate_pretrained True"]),
        (("mine.yaml",), ["'mine.yaml'", "write --config mine.yaml to"]),
        (("--lr", "0.1", "mine.yaml"), ["--lr", "'mine.yaml'"]),
        (("--seed", "13", "nowhere", *EVALUATE), ["nowhere is not a folder"]),
    ],
)
def test_misplaced_pretrained_folder(repository, shelf, argv, named):
    message = repository.error(*argv)
    for text in named:
        assert text in message


def test_a_wrong_value_is_not_taken_for_a_folder(repository):
    assert "folder" not in repository.error("--seed", "13", "1.5")
    assert "folder" not in repository.error("--seed", "fast")


EVALUATE_HERE = "--evaluate_pretrained True --load_exp_folder . --batch_size 8 --seed 3"


@pytest.mark.parametrize(
    ("flags", "idle"),
    [
        (
            "--dataset_name sc --nb_steps 50",
            "--nb_steps has no effect here: it is for spiking data",
        ),
        (
            "--model_type S4D --s4_opt True --optimizer adamw --weight_decay 0.1",
            "--optimizer, --weight_decay have no effect here: they are for trainings without "
            "--s4_opt True",
        ),
        ("--max_lr 1", "--max_lr has no effect here: it is for --scheduler onecycle"),
        ("--delay_lr_factor 1", "--delay_lr_factor has no effect here: it is for delays"),
        (
            "--max_delay_ms 9 --recurrent_delay axonal",
            "--max_delay_ms has no effect here: it is for --delay axonal or dendritic or synaptic",
        ),
        (
            "--dt_min 0.1",
            "--dt_min has no effect here: it is for --model_type CSiLIF or S4D or SpikingS4D or "
            "Mamba",
        ),
        (
            "--state_size 16",
            "--state_size has no effect here: it is for state-space models",
        ),
        (
            "--state_size 15 --s4_opt True --model_type Mamba",
            "--s4_opt has no effect here: it is for --model_type S4D or SpikingS4D",
        ),
        ("--state_size 16 --s4_opt True --model_type S4D", None),
        (
            "--model_type S4D --readout mean",
            "--readout has no effect here: it is for models other than state-space models",
        ),
        ("--dt_min 0.1 --model_type SiLIF CSiLIF", None),
        ("--reg_fmin 0.1", "--reg_fmin has no effect here: it is for --use_regularizers True"),
        ("--reg_fmin 0.1 --use_regularizers True --nb_steps 50", None),
        ("--bn_statistics recalibrated --normalization layernorm batchnorm", None),
        (
            f"{EVALUATE_HERE} --pdrop 0.3 --lr 0.1 --use_regularizers True --reg_fmin 0.1",
            "--pdrop, --lr, --use_regularizers, --reg_fmin have no effect here: they are for "
            "training",
        ),
        (f"{EVALUATE_HERE} --precision bf16 --nb_steps 50", None),
    ],
)
def test_typed_options_without_effect_are_noted(repository, flags, idle):
    notes = [note for note in repository.plan(*flags.split()).notes if "no effect" in note]
    assert notes == [idle] * (idle is not None) or notes[0].startswith(f"{idle} (")


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


def test_an_evaluation_uses_the_recorded_network_and_data(trained):
    plan = load_plan([str(trained), "--evaluate_pretrained", "True"])
    config = plan.points[0]
    assert (config.model.model_type, config.model.nb_hiddens) == ("LIF", 24)
    assert (config.training.nb_steps, config.training.batch_size) == (60, 48)
    assert config.training.lr == 0.01
    assert plan.axes == {"seed": (13, 42, 73, 190, 268)}
    note = f"options of the model and its data: those recorded in {trained / 'config.yaml'}"
    assert plan.notes == (note,)


def test_the_command_line_overrides_the_recorded_options(trained):
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


def test_a_named_config_replaces_the_recorded_options(trained):
    argv = ["--config", "shd_silif", str(trained), "--evaluate_pretrained", "True"]
    assert load_plan(argv).points[0].model.model_type == "SiLIF"
    assert load_plan(["--config", str(trained / "config.yaml")]).notes == ()


def test_a_damaged_record_is_refused(trained):
    (trained / "config.yaml").write_text("nb_hiddens: many\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: nb_hiddens"):
        load_plan([str(trained), "--evaluate_pretrained", "True"])


def other_options(plan):
    return [note for note in plan.notes if "options other than those recorded" in note]


def test_options_that_differ_from_the_recorded_ones_are_noted(trained, tmp_path):
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


@pytest.mark.parametrize("record", [None, "nb_hiddens: many\n", "- 1\n"])
def test_a_named_config_needs_no_record(trained, record):
    path = trained / "config.yaml"
    path.unlink()
    if record is not None:
        path.write_text(record)
    argv = ["--config", "shd_silif", str(trained), "--evaluate_pretrained", "True"]
    assert not other_options(load_plan(argv))
