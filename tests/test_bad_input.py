# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a user can get wrong: one line that names it, exit code 2, nothing written."""

import gzip
import math
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from refusal import SMALL, good_clips, refused, small_data, write_clips

import main
from training import checks

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture
def data(tmp_path):
    """A small sound data set; tests damage it."""
    return small_data(tmp_path / "data")


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
        (["--s4_opt", "True"], "state-space"),
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
        (["--batch_size", "1", "2"], "--batch_size takes one value; '2' is one too many"),
        (["ref_model", "--batch_size=1", "2"], "--batch_size takes one value"),
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
        (["--resume", "auto", "--evaluate_pretrained", "True"], "load_exp_folder"),
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


def no_train_file(folder):
    (folder / "shd_train.h5").unlink()


def no_folder(folder):
    shutil.rmtree(folder)


def truncated(folder):
    path = folder / "shd_train.h5"
    path.write_bytes(path.read_bytes()[:3000])


def no_hdf5(folder):
    (folder / "shd_train.h5").write_text("times,units\n")


def no_labels(folder):
    with h5py.File(folder / "shd_train.h5", "a") as file:
        del file["labels"]


def truncated_archive(folder):
    path = folder / "shd_train.h5"
    packed = gzip.compress(path.read_bytes())
    path.unlink()
    path.with_suffix(".h5.gz").write_bytes(packed[:-50])


def change(times=None, units=None, label=None):
    """Put one fault into clip 5."""

    def damage(folder):
        clips = good_clips()
        for values, new in zip(clips, (times, units, label), strict=True):
            if new is not None:
                values[5] = new
        write_clips(folder / "shd_train.h5", *clips)

    return damage


def no_clips(folder):
    write_clips(folder / "shd_train.h5", [], [], [])


def only_empty_clips(folder):
    write_clips(folder / "shd_train.h5", [[]] * 4, [[]] * 4, [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (no_train_file, "zenkelab.org"),
        (no_folder, "--data_folder"),
        (truncated, "download it again"),
        (no_hdf5, "HDF5"),
        (no_labels, "labels"),
        (truncated_archive, "shd_train.h5.gz"),
        (change(units=[3, 900] * 25), "clip 5"),
        (change(times=[0.1, np.nan] * 25), "clip 5"),
        (change(times=[0.1, -0.1] * 25), "clip 5"),
        (change(times=[0.1, 0.2]), "clip 5"),
        (change(label=20), "clip 5"),
        (no_clips, "no clips"),
        (only_empty_clips, "none of the 4 clips"),
    ],
)
def test_data(damage, named, data, tmp_path, monkeypatch, capsys):
    damage(data)
    line = refused(["--data_folder", data, *SMALL], tmp_path, monkeypatch, capsys)
    assert named in line
    assert "shd_train" in line or damage is no_folder


def test_an_empty_clip_among_others_is_counted_and_kept(data, tmp_path, monkeypatch, capsys):
    change(times=[], units=[])(data)
    monkeypatch.chdir(tmp_path)
    assert main.main(["--data_folder", str(data), *SMALL]) == 0
    assert "1 clip of shd_train.h5 holds no events" in capsys.readouterr().out


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


def write_bomb(path):
    path.write_bytes(pickle.dumps({"snn.0.W.weight": Bomb()}))


def write_text(path):
    path.write_text("weights")


def write_nothing(path):
    path.parent.rmdir()


@pytest.mark.parametrize("write", [write_bomb, write_text, write_nothing])
def test_checkpoints(write, data, tmp_path, monkeypatch, capsys):
    path = tmp_path / "trained" / "checkpoints" / "best_model.pth"
    path.parent.mkdir(parents=True)
    write(path)
    argv = [tmp_path / "trained", "--evaluate_pretrained", "True", "--data_folder", data, *SMALL]
    line = refused(argv, tmp_path, monkeypatch, capsys)
    assert str(path) in line
    assert not (tmp_path / "exploded").exists()


def test_a_checkpoint_of_another_model(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = ["--data_folder", str(data), *SMALL]
    assert main.main([*argv, "--new_exp_folder", "lif", "--model_type", "LIF"]) == 0
    capsys.readouterr()
    flags = ["--evaluate_pretrained", "True", "--load_exp_folder", "lif", "--model_type", "GRU"]
    line = refused([*argv, *flags], tmp_path, monkeypatch, capsys)
    assert "does not fit this model" in line


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
    no_train_file(data)
    monkeypatch.chdir(tmp_path)
    assert main.main(["--data_folder", str(data), *SMALL[:-2], "--seed", "1", "2"]) == 2
    assert capsys.readouterr().out == ""


def test_from_the_shell(tmp_path):
    """No traceback and no usage text reach the terminal, and --help answers."""
    command = [sys.executable, str(REPO / "main.py")]
    wrong = subprocess.run(
        [*command, "--nb_hiden", "8"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.count("\n") == 1
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "--nb_hiddens" in shown.stdout
