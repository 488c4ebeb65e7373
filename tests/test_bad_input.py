# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a user can get wrong: one line that names it, exit code 2, nothing written."""

import math

import pytest
from refusal import SMALL, refused

import main
from training import checks


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--nb_hidden", "8"], "nb_hiddens"),
        (["--lr", "fast"], "lr"),
        (["--lr=-0.1"], "lr"),
        (["--lr", "nan"], "lr"),
        (["--pdrop", "2"], "pdrop"),
        (["--nb_layers", "1"], "nb_layers"),
        (["--nb_hiddens", "0"], "nb_hiddens"),
        (["--nb_hiddens", "12.5"], "nb_hiddens"),
        (["--batch_size", "0"], "batch_size"),
        (["--nb_epochs", "0"], "nb_epochs"),
        (["--nb_steps", "1"], "nb_steps"),
        (["--max_time", "0"], "max_time"),
        (["--spatial_bin", "3"], "spatial_bin"),
        (["--model_type", "SiLIFF"], "SiLIF"),
        (["--dataset_name", "mnist"], "dataset_name"),
        (["--normalization", "group"], "normalization"),
        (["--use_bias", "maybe"], "use_bias"),
        (["--seed", "-1"], "seed"),
        (["--seed", "1", "1"], "seed"),
        (["--scheduler_factor", "1.5"], "scheduler_factor"),
        (["--dt_min", "2", "--dt_max", "1"], "dt_min"),
        (["--model_type", "MLP", "--bidirectional", "True"], "bidirectional"),
        (["--model_type", "GRU", "--use_regularizers", "True"], "use_regularizers"),
        (["--gpu_device", "63"], "gpu_device"),
        (["--config", "ssc_silif_5ms.yaml"], "ssc_silif_4ms"),
        (["--evaluate_pretrained", "True"], "load_exp_folder"),
        (["--evaluate_pretrained", "True", "--load_exp_folder", "nowhere"], "nowhere"),
        (["--sweep_id", "abc"], "sweep_id"),
        (["--backend", "fortran"], "backend"),
        (["--lr", "-1e-3"], "out of range"),
        (["--lr", "-1E+3"], "out of range"),
        (["--lr", "0"], "out of range"),
        (["--lr", "1e38"], "out of range"),
        (["--lr", "1e999"], "finite"),
        (["--lr", ""], "lr"),
        (["--lr", "0.1", "0.10"], "more than once"),
        (["--lr"], "lr"),
        (["--pdrop", "-0.1"], "pdrop"),
        (["--seed", "9" * 25], "seed"),
        (["--seed", "1", "--seed", "2"], "twice"),
        (["--nb_hiddens", "1e3"], "whole number"),
        (["--nb_hiddens", "1_000"], "whole number"),
        (["--nb_hiddens", "9" * 40], "whole number"),
        (["--batch_size", "1", "2"], "--batch_size: takes one value; '2' is one too many"),
        (["ref_model", "--batch_size=1", "2"], "one too many"),
        (["--batch_size", "1", "ref_model"], "unexpected argument 'ref_model'"),
        (["--backend", "cuda"], "needs cuda tensors"),
        (["--evaluate_pretrained", "True", "demo_LIF", "--backend", "cuda"], "needs cuda tensors"),
        (["--cuda_graph", "on"], "needs a CUDA device"),
        (["--max_time", "nan"], "finite"),
        (["--max_time", "-1e0"], "out of range"),
        (["--spatial_bin", "701"], "700"),
        (["--max_grad_norm", "0"], "max_grad_norm"),
        (["--max_grad_norm", "nan"], "finite"),
        (["--deterministic", "perhaps"], "boolean"),
        (["--checkpoint_minutes", "0"], "checkpoint_minutes"),
        (["--scheduler_patience", "-1"], "scheduler_patience"),
        (["--reg_fmin", "2"], "reg_fmin"),
        (["--reg_fmin", "0.5", "--reg_fmax", "0.1"], "reg_fmax"),
        (["--dt_min", "0"], "dt_min"),
        (["--dt_max", "-1"], "dt_max"),
        (["--init_state", "ones"], "init_state"),
        (["--shd_validation", "train"], "shd_validation"),
        (["--dataset_name", "ssc", "--shd_validation", "random"], "fixed validation"),
        (["--bn_statistics", "frozen"], "bn_statistics"),
        (["--num_workers", "-2"], "num_workers"),
        (["--start_epoch", "-1"], "start_epoch"),
        (["--resume", "nowhere"], "nowhere"),
        (["--resume", "auto", "--overwrite"], "overwrite"),
        (["--resume", "auto", "--evaluate_pretrained", "True"], "does not train"),
        (["--debug", "True"], "--debug"),
        (["--debug=True"], "debug"),
        (["ref_model"], "unexpected argument"),
        (["--debug", "one", "two"], "only one"),
        (["-x"], "-x"),
        (["--use_augm", "True"], "audio"),
        (["--augm_channel_shift", "200"], "augm_channel_shift"),
        (["--augm_time_shift", "5"], "augm_time_shift"),
        (["--config", ""], "empty"),
        (["--config", "data"], "folder"),
        (["--config", "no\nsuch\nfile"], "not a file"),
        (["--config", "../../no such file"], "not a file"),
        (["--config", "nul\0byte"], "config"),
        (["--new_exp_folder", ""], "empty"),
        (["--new_exp_folder", "nul\0byte"], "new_exp_folder"),
        (["--new_exp_folder", "x" * 5000], "too long"),
        (["--evaluate_pretrained", "True", "--load_exp_folder", "a\nb"], "not a folder"),
        (["--evaluate_pretrained", "True", "--load_exp_folder", "nul\0byte"], "load_exp_folder"),
    ],
)
def test_options(argv, named, data, tmp_path, monkeypatch, capsys):
    line = refused(["--data_folder", data, *argv], tmp_path, monkeypatch, capsys)
    assert named in line


BOMB = "&a [" + "x, " * 9 + "x]"
for _outer, _inner in zip("bcdefghijk", "abcdefghij", strict=True):
    BOMB = f"[{BOMB}, &{_outer} [" + f"*{_inner}, " * 9 + f"*{_inner}]]"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("lrr: 0.1\n", "lr"),
        ("lr: fast\n", "lr"),
        ("- lr\n- 0.1\n", "list"),
        ("just words\n", "config.yaml"),
        ("lr: [0.1\n", "line"),
        ("lr: 0.1\nlr: 0.2\n", "lr"),
        ("batch_size: [1, 2]\n", "batch_size"),
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("lr: !!python/object/apply:os.mkdir [exploded]\n", "lr"),
        ("!!python/object:os.system {}\n", "Python object"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nlr: [*b, *b]\n", "unknown key"),
        (f"lr: {BOMB}\n", "lr"),
        ("lr: &a [*a]\n", "lr"),
        ("lr: *nothing\n", "alias"),
        ("lr: .nan\n", "lr"),
        ("lr: .inf\n", "lr"),
        ("lr: 1e400\n", "finite"),
        (f"seed: {'9' * 5000}\n", "seed"),
        ("lr:\n", "no value"),
        ("lr: []\n", "empty list"),
        ("lr: {a: 1}\n", "value"),
        ("lr: [[0.1]]\n", "list"),
        ("lr: [0.1, 0.1]\n", "more than once"),
        ("lr:\t0.1\n\tpdrop: 0.1\n", "line 1"),
        ("[lr]: 0.1\n", "a key must be a name"),
        ("~: 0.1\n", "a key must be a name"),
        ("base: &b {lr: 1}\n<<: *b\n", "unknown key"),
        ("lr: 0.1\n---\nlr: 0.2\n", "document"),
        ("[" * 3000, "nested"),
        (b"lr: \xff\xfe\n", "UTF-8"),
        (b"lr: 0.1\x00\n", "not allowed"),
        (b"\x7fELF\x02\x01\x01", "not allowed"),
        ("parameters: [lr]\n", "parameters"),
        ("parameters: {}\n", "parameters"),
        ("parameters: {lr: {values: 0.1}}\n", "values"),
        ("parameters: {lr: {value: [0.1]}}\n", "value"),
        ("parameters: {lr: {min: 0, max: 1}}\n", "lr"),
        ("parameters: {lrr: {value: 0.1}}\n", "lrr"),
        ("lr: 0.1\nparameters: {pdrop: 0.1}\n", "parameters"),
        ("by_model: [LIF]\n", "by_model"),
        ("by_model: {LIFF: {lr: 0.1}}\n", "LIFF"),
        ("by_model: {LIF: {lrr: 0.1}}\n", "lrr"),
        ("by_model: {LIF: {lr: [0.1, 0.2]}}\n", "one value"),
        (f"seed: {list(range(2000))}\nnb_hiddens: {list(range(1, 2000))}\n", "runs"),
        ('model_type: "SiLIF\\n"\n', "model_type"),
    ],
)
def test_configs(text, named, tmp_path, monkeypatch, capsys):
    config = tmp_path / "config.yaml"
    config.write_bytes(text if isinstance(text, bytes) else text.encode())
    line = refused(["--config", config], tmp_path, monkeypatch, capsys)
    assert named in line
    assert str(config) in line


def test_an_experiment_is_not_overwritten(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = ["--data_folder", str(data), *SMALL, "--new_exp_folder", "out"]
    assert main.main(argv) == 0
    capsys.readouterr()
    line = refused(argv, tmp_path, monkeypatch, capsys)
    assert "--overwrite" in line
    assert main.main([*argv, "--overwrite"]) == 0


def test_output_folders_that_cannot_be(data, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("mine")
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    for folder in ("file", "file/below", "locked", "locked/below"):
        argv = ["--data_folder", data, *SMALL, "--new_exp_folder", folder]
        line = refused(argv, tmp_path, monkeypatch, capsys)
        assert folder.split("/")[0] in line
        assert "--new_exp_folder" in line


def test_a_network_larger_than_the_memory(data, tmp_path, monkeypatch, capsys):
    argv = ["--data_folder", data, *SMALL[2:], "--nb_hiddens", "100000000000"]
    line = refused(argv, tmp_path, monkeypatch, capsys)
    assert "may use" in line
    assert "--nb_hiddens 100000000000" in line
    monkeypatch.setattr(checks, "_memory", lambda: math.inf)  # a system that does not tell
    line = refused(argv, tmp_path, monkeypatch, capsys)
    assert "out of memory" in line
    assert "nb_hiddens" in line


def test_several_seeds_are_refused_as_quietly_as_one(data, tmp_path, monkeypatch, capsys):
    (data / "shd_train.h5").unlink()
    monkeypatch.chdir(tmp_path)
    assert main.main(["--data_folder", str(data), *SMALL[:6], "--seed", "1", "2"]) == 2
    assert capsys.readouterr().out == ""
