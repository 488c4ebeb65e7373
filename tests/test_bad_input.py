# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a user can get wrong: one line that names it, exit code 2, nothing written."""

import math

import pytest
from refusal import SMALL, refused

import main
from training import build


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--nb_hidden", "8"], "nb_hiddens"),
        (["--dt_min", "2", "--dt_max", "1"], "dt_min"),
        (["--gpu_device", "63"], "gpu_device"),
        (["--config", "ssc_silif_5ms.yaml"], "ssc_silif_4ms"),
        (["--evaluate_pretrained", "True"], "load_exp_folder"),
        (["--evaluate_pretrained", "True", "--load_exp_folder", "nowhere"], "nowhere"),
        (["--sweep_id", "abc"], "sweep_id"),
        (["--backend", "fortran"], "backend"),
        (["--lr", "-1E+3"], "out of range"),
        (["ref_model", "--batch_size=1", "2"], "one too many"),
        (["--batch_size", "1", "ref_model"], "unexpected argument 'ref_model'"),
        (["--backend", "cuda"], "needs cuda tensors"),
        (["--evaluate_pretrained", "True", "demo_LIF", "--backend", "cuda"], "needs cuda tensors"),
        (["--cuda_graph", "on"], "needs a CUDA device"),
        (["--spatial_bin", "701"], "700"),
        (["--dataset_name", "ssc", "--shd_validation", "random"], "fixed validation"),
        (["--resume", "nowhere"], "nowhere"),
        (["--resume", "auto", "--overwrite"], "overwrite"),
        (["--resume", "auto", "--evaluate_pretrained", "True"], "does not train"),
        (["--augm_channel_shift", "200"], "augm_channel_shift"),
        (["--config", "data"], "folder"),
        (["--config", "no\nsuch\nfile"], "not a file"),
        (["--config", "../../no such file"], "not a file"),
        (["--new_exp_folder", ""], "empty"),
        (["--new_exp_folder", "nul\0byte"], "new_exp_folder"),
        (["--new_exp_folder", "x" * 5000], "too long"),
        (["--evaluate_pretrained", "True", "--load_exp_folder", "a\nb"], "not a folder"),
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
        ("lr: !!python/object/apply:os.mkdir [exploded]\n", "lr"),
        ("!!python/object:os.system {}\n", "Python object"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nlr: [*b, *b]\n", "unknown key"),
        (f"lr: {BOMB}\n", "lr"),
        (f"model_type: {BOMB}\n", "model_type"),
        (f"seed: {'9' * 5000}\n", "seed"),
        ("base: &b {lr: 1}\n<<: *b\n", "unknown key"),
        ("lr: 0.1\n---\nlr: 0.2\n", "document"),
        ("[" * 1000, "nested"),
        (b"lr: \xff\xfe\n", "UTF-8"),
        (b"lr: 0.1\x00\n", "not allowed"),
        (b"\x7fELF\x02\x01\x01", "not allowed"),
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
    monkeypatch.setattr(build, "_memory", lambda: math.inf)  # a system that does not tell
    line = refused(argv, tmp_path, monkeypatch, capsys)
    assert "out of memory" in line
    assert "nb_hiddens" in line


def test_several_seeds_are_refused_once(data, tmp_path, monkeypatch, capsys):
    (data / "shd_train.h5").unlink()
    monkeypatch.chdir(tmp_path)
    assert main.main(["--data_folder", str(data), *SMALL[:6], "--seed", "1", "2"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
