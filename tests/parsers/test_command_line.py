# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

import subprocess
import sys

import pytest
import yaml

from parsers.load import OPTIONS, REPOSITORY, load_plan
from parsers.model_config import ANN_TYPES, SNN_TYPES


def test_without_arguments_every_option_has_its_default(repository):
    plan = repository.plan()
    assert plan.axes == {"seed": (13, 42, 73, 190, 268)}
    assert [point.training.seed for point in plan.points] == [13, 42, 73, 190, 268]
    assert plan.config_file is None
    assert plan.notes == ()
    values = plan.points[0].to_dict()
    assert values == {name: option.default for name, option in OPTIONS.items()}


@pytest.mark.parametrize(
    ("flag", "texts", "value"),
    [
        *(("model_type", (name, name.lower()), name) for name in SNN_TYPES + ANN_TYPES),
        ("model_type", ("RF", "rf", "resonatefire"), "ResonateFire"),
        ("model_type", ("C-SiLIF",), "CSiLIF"),
        ("model_type", ("SiLIF+RadLIF", "silif + radlif"), "SiLIF+RadLIF"),
        ("model_type", ("c-silif+RF",), "CSiLIF+ResonateFire"),
        ("dataset_name", ("gsc", "GSC"), "sc"),
        ("normalization", ("None",), "none"),
        ("use_bias", ("True", "true", "TRUE", "1", "yes", "Yes"), True),
        ("save_best", ("False", "false", "FALSE", "0", "no", "NO"), False),
    ],
)
def test_spellings_of_a_value(repository, flag, texts, value):
    for text in texts:
        assert repository.plan(f"--{flag}", text).points[0].to_dict()[flag] == value


def test_published_command_for_shd(repository):
    command = "--model_type adLIF --dataset_name shd --data_folder ../shd --new_exp_folder OUT"
    training = repository.plan(*command.split()).points[0].training
    assert training.data_folder == repository.cwd.parent / "shd"
    assert training.new_exp_folder == repository.cwd / "OUT"


def test_grid_runs_every_combination_with_the_seed_fastest(repository):
    plan = repository.plan("--seed", "1", "2", "--lr", "0.1", "0.2", "--nb_layers", "2", "3")
    assert plan.axes == {"nb_layers": (2, 3), "lr": (0.1, 0.2), "seed": (1, 2)}
    points = [(p.model.nb_layers, p.training.lr, p.training.seed) for p in plan.points]
    assert points == [
        (layers, lr, seed) for layers in (2, 3) for lr in (0.1, 0.2) for seed in (1, 2)
    ]


@pytest.mark.parametrize(
    ("config", "flags", "seed", "left_out"),
    [
        ("", "--debug", 13, ["seed 13 only; dropped: 42, 73, 190, 268"]),
        ("", "--debug --seed 9 13", 9, ["seed 9 only; dropped: 13"]),
        ("seed: [9, 15]\ndebug: true\n", "", 13, ["seed 13 only; dropped: 9, 15"]),
        ("seed: 7\n", "--debug", 7, []),
        ("lr: [0.2, 0.1]\nseed: 7\n", "--debug", 7, ["lr 0.2 only; dropped: 0.1"]),
    ],
)
def test_debug_runs_one_point_and_names_what_it_dropped(repository, config, flags, seed, left_out):
    repository.write(f"nb_hiddens: 8\n{config}")
    plan = repository.plan("--config=mine", *flags.split())
    (point,) = plan.points
    assert (point.training.seed, point.training.debug, plan.axes) == (seed, True, {})
    assert plan.notes == tuple(f"debug: {note}" for note in left_out)
    repository.write(yaml.safe_dump(point.to_dict()), "config.yaml")
    repeated = repository.plan("--config=config", "--seed", str(seed))
    assert (repeated.points, repeated.notes) == (plan.points, ())


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ("--batch-size 3", ["--batch-size", "'--batch_size'"]),
        ("--lrr=3", ["--lrr", "'--lr'"]),
        ("-debug", ["-debug", "'--debug'"]),
        ("--model SiLIF", ["unknown flag '--model'"]),
        ("--qqqq 3", ["--qqqq", "--help"]),
        ("--learning_rate 0.1", ["unknown flag '--learning_rate'; did you mean '--lr'?"]),
        ("--hidden-size=64", ["did you mean '--nb_hiddens'?"]),
        ("--lr", ["--lr has no value; write a number > 0"]),
        ("--use_bias", ["--use_bias has no value; write True or False after it"]),
        ("--use_bias --lr 0.1", ["--use_bias has no value; write True or False after it"]),
        ("--normalization", ["write one of batchnorm, layernorm, none"]),
        ("--config", ["--config", "expected one argument, NAME"]),
        ("--lr 0.1 0.10", ["--lr", "0.1 more than once"]),
        ("--model_type RF ResonateFire", ["--model_type", "ResonateFire more than once"]),
        ("--seed 13 --seed 42", ["--seed", "twice", "several values"]),
        ("--model_type SILF", ["--model_type", "'SILF'", "CadLIF", "did you mean 'SiLIF'"]),
        ("--debug=True", ["--debug", "takes no value"]),
        ("--debug False", ["'False'", "--debug, --overwrite, --list_points take no value"]),
        ("--batch_size 1 2", ["'2'"]),
        ("one two --evaluate_pretrained True", ["'two'", "only one"]),
        ("--model_type MLP --bidirectional True", ["--bidirectional", "--model_type MLP"]),
        ("--model_type LIF GRU --use_regularizers True", ["--use_regularizers", "GRU"]),
        ("--reg_fmin 0.6", ["--reg_fmin 0.6", "--reg_fmax 0.5"]),
        ("--use_augm True", ["--use_augm", "--dataset_name shd"]),
        ("--augm_time_mask 5", ["--augm_time_mask 5", "--dataset_name shd"]),
        ("--augm_cutmix 0.5 --dataset_name sc", ["--augm_cutmix 0.5", "--dataset_name sc"]),
        ("--augm_channel_shift 2 --dataset_name gsc", ["--augm_channel_shift 2", "sc"]),
        ("--augm_channel_shift 35 --spatial_bin 20", ["--augm_channel_shift 35", "35 channels"]),
        ("--augm_time_shift 1", ["--augm_time_shift 1.0", "--max_time 1.0"]),
        ("--min_snr 1 --dataset_name sc", ["--min_snr 1.0", "--max_snr 0.9"]),
        ("--model_type SiLIF+RadLIF --nb_layers 4", ["SiLIF+RadLIF is for 2", "--nb_layers 4"]),
        ("--model_type SiLIF+GRU", ["--model_type", "GRU cannot be joined with others"]),
        ("--model_type SiLIF+", ["--model_type", "'SiLIF+' lacks a name"]),
        ("--delay axonal --model_type MLP", ["--delay axonal", "--model_type MLP"]),
        ("--delay axonal --delay_layers 1+4", ["--delay_layers 1+4", "3 layers", "1+3"]),
        ("--recurrent_layers 3", ["--recurrent_layers 3", "the 2 layers", "as in 1+2"]),
        ("--readout spike_count --model_type GRU", ["--readout spike_count", "GRU"]),
        ("--model_type SiLIF+Radlif SILIF+RadLIF", ["--model_type", "more than once"]),
        ("--start_epoch 5", ["--start_epoch 5", "--load_exp_folder"]),
        ("--model_type TauLIF", ["'adLIF'", "needs its name in parsers/model_config.py too"]),
        ("--only_point 3 --seed 1 2", ["--only_point 3", "2 runs"]),
        ("--gpu_device 0 0", ["--gpu_device", "more than once"]),
        ("--jobs 2 --evaluate_pretrained 1 --load_exp_folder .", ["--jobs 2"]),
        ("--gpu_device 0 1 --evaluate_pretrained 1 --load_exp_folder .", ["--gpu_device 0 1"]),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(repository, argv, named):
    message = repository.error(*argv.split())
    for text in named:
        assert text in message


WRONG = {int: ("x", "1.0", "1_0", "9" * 40), float: ("fast", "nan", "inf", "1e999", "1_0")}
BEYOND = {">=": -1, ">": 0, "<": 0, "<=": 1}  # what is added to a limit that it does not allow


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_values_that_an_option_accepts_and_refuses(repository, option):
    for name in (*option.rules.choices, *option.rules.aliases):
        assert option.convert(name) in option.rules.choices
    for text in WRONG.get(option.kind, ()):
        assert f"--{option.name}: '{text}"[:50] in repository.error(f"--{option.name}", text)
    if option.kind is bool and not option.rules.switch:
        assert "'maybe' is not a boolean" in repository.error(f"--{option.name}", "maybe")
    if option.rules.choices:
        message = repository.error(f"--{option.name}", "unheard")
        assert f"'unheard' is not one of {', '.join(option.rules.choices)}" in message
        for file in filter(None, [option.rules.registry]):
            assert (REPOSITORY / file).is_file()
            assert f"new entry of {file} needs its name in {option.file} too" in message
            assert (REPOSITORY / option.file).is_file()
    if option.kind is str and not option.rules.choices:
        assert repository.error(f"--{option.name}", "") == f"--{option.name}: is empty"
    for bound in option.rules.within.split(" and ") if option.rules.within else ():
        sign, limit = bound.split()
        if "=" in sign:
            assert option.convert(limit) == float(limit)
        beyond = str(option.kind(float(limit)) + BEYOND[sign])
        message = repository.error(f"--{option.name}", beyond)
        assert message.startswith(f"--{option.name}: ")
        assert message.endswith(f"is out of range; it must be {option.rules.within}")


def test_a_value_with_line_breaks_stays_on_one_line(repository):
    assert "two\\nlines" in repository.error("--lr", "two\nlines")
    assert len(repository.error("--lr", "9" * 500 + "x")) < 150


@pytest.mark.parametrize(
    "argv",
    [
        "--dt_min 0.5",
        "--model_type RNN --bidirectional True",
        "--delay axonal synaptic --delay_layers all 2+3 --max_delay_ms 100 300",
        "--use_regularizers True False",
        "--reg_fmin 0.5",
        "--dataset_name sc --use_augm True --spatial_bin 3",
        "--dataset_name hd --augm_time_shift 0.1 --augm_time_mask 20 --augm_freq_mask 39",
        "--augm_time_shift 0.1 --augm_channel_shift 0 139 --augm_event_drop 0.9 --augm_cutmix 1",
        "--spatial_bin 700",
        "--dataset_name demo --shd_validation speakers",
        "--pdrop 0 --scheduler_patience 0 --num_workers 0 --nb_layers 2 --nb_steps 2 --seed 0",
    ],
)
def test_limits_of_what_can_go_together(repository, argv):
    assert repository.plan(*argv.split()).points


def test_help_names_every_option_with_its_default(capsys):
    with pytest.raises(SystemExit) as caught:
        load_plan(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()) <= 100
    words = " ".join(text.split())
    for name, option in OPTIONS.items():
        assert f"--{name} " in words
        assert option.rules.help in words
        for choice in option.rules.choices:
            assert choice in words
    assert words.count("(several values = grid)") == sum(o.rules.grid for o in OPTIONS.values())
    assert "default: 13 42 73 190 268" in words
    assert "one on the command line at the working directory" in words


def test_parsers_do_not_import_torch():
    code = "import parsers.load, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_commas_between_values_get_a_hint(repository):
    hint = "'1,2' is not a whole number; put spaces between several values, and no commas"
    assert hint in repository.error("--seed", "1,2")


def test_several_devices_are_no_grid(repository):
    plan = repository.plan("--seed", "1", "2", "--gpu_device", "0", "2")
    assert plan.axes == {"seed": (1, 2)}
    assert (plan.devices, plan.jobs) == ((0, 2), 2)
    assert [point.training.gpu_device for point in plan.points] == [0, 0]
    assert repository.plan("--gpu_device", "3").devices == (3,)
    repository.write("gpu_device: [1, 2]\n")
    assert repository.plan("--config=mine").devices == (1, 2)
    assert repository.plan("--config=mine", "--jobs", "5").jobs == 5


def test_how_runs_are_spread_is_not_recorded_in_them(repository):
    plain = repository.plan("--seed", "1", "2")
    spread = repository.plan("--seed", "1", "2", "--jobs", "3", "--only_point", "2")
    assert (spread.jobs, spread.only_point, spread.list_points) == (3, 2, False)
    assert spread.points == plain.points
    assert repository.plan("--list_points").list_points
